"""The host that a draft is about: what was read of it, its tables, its addresses, and what it was seen to be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fwproof.decision import RuleRef
from fwproof.errors import HostError
from fwproof.evidence.fail2ban import parse_jails
from fwproof.evidence.sockets import Sockets, parse_sockets
from fwproof.facts import JailFacts
from fwproof.flow import Address, Family, Hook, Network
from fwproof.frontends.front_end import FrontEnd
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import own_of
from fwproof.semantics.understood import total, understood
from fwproof.snapshot import Snapshot

_SHOWN = 40
_BASE = {"INPUT": Hook.INPUT, "OUTPUT": Hook.OUTPUT, "FORWARD": Hook.FORWARD}


UNTRIED = HostError("", "fail2ban's filters were not tried, as that takes the host itself")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One host as it was read; ``addresses`` has the one of each family that is audited.

    ``jails`` is what fail2ban's filters do with real lines, or why nobody tried them.
    """

    name: str
    snapshot: Snapshot
    model: HostModel
    front: FrontEnd
    addresses: Mapping[Family, Address]
    jails: JailFacts | HostError = UNTRIED

    @property
    def sockets(self) -> Sockets:
        """The sockets that listen; none where they could not be read."""
        for name in ("socket-owners", "sockets"):
            if name in self.snapshot.captures:
                return parse_sockets(self.snapshot.captures[name].stdout)
        return Sockets(())

    @property
    def links(self) -> tuple[Network, ...]:
        """The networks that the audited addresses stand in."""
        known = self.model.addresses.own if self.model.addresses else ()
        return tuple(each.prefix.network for each in known if each.prefix.ip in self.addresses.values())

    def packets(self, ref: RuleRef) -> int | None:
        """Return how many packets a rule has counted, None where it does not count or was not read with counters."""
        rules = (rule for family in Family for rule in self.model.rules(family) if rule.ref == ref)
        return next((rule.counters.packets for rule in rules if rule.counters), None)

    def rule_words(self, ref: RuleRef) -> str:
        """Return a rule by the name of its front end and by the kernel's, with what it has counted."""
        count, name = self.packets(ref), self.front.name(ref)
        counted = "" if count is None else f" ({count:,} packets so far)"
        return f"{f'{name}, ' if name else ''}{ref}{counted}"

    def seen(self) -> Iterator[str]:
        """Yield what was seen of the host, in lines for people."""
        yield f"read: {self._text('uname').strip() or 'a host that does not tell its kernel'}, {self._at()}"
        system = re.search(r'^PRETTY_NAME="?([^"\n]*)', self._text("os-release"), re.MULTILINE)
        if system:
            yield f"system: {system[1]}"
        rulers = ", ".join(each.manager for each in self.front.rulers) or "nobody"
        guests = ", ".join(each.manager for each in self.front.managers if each.places and not each.rules)
        yield f"managed by: {rulers}" + (f"; rules of {guests} as well" if guests else "")
        for family in Family:
            count = total(understood(self.model, [family]))
            yield f"{family} rules: " + ", ".join(f"{number} {word}" for word, number in count.items())
        yield from self._defaults()
        yield from self._roads()
        yield from self._extras()
        yield from self._listeners()

    def _text(self, name: str) -> str:
        return self.snapshot.captures[name].stdout if name in self.snapshot.captures else ""

    def _at(self) -> str:
        times = sorted(capture.at for capture in self.snapshot.captures.values() if capture.at)
        return f"at {times[-1]}" if times else "at a time not told"

    def _defaults(self) -> Iterator[str]:
        for family in Family:
            for ruleset in self.model.rulesets.get(family, ()):
                table = ruleset.tables.get("filter")
                chains = table.chains.values() if table is not None and not ruleset.native else ()
                told = [f"{c.name} {c.default}" + (f" ({c.counters.packets:,} packets)" if c.counters else "")
                        for c in chains if c.name in _BASE and c.default]  # fmt: skip
                if told:
                    yield f"{family} defaults: {', '.join(told)}"

    def _roads(self) -> Iterator[str]:
        known = self.model.addresses.own if self.model.addresses else ()
        for own in known[:_SHOWN]:
            if not (own.prefix.ip.is_loopback or own.prefix.ip.is_link_local):
                yield f"interface {own.interface}: {own.prefix}"
        for family in Family:
            words = {True: "are", False: "are not", None: "may be"}[self.model.forwards(family)]
            yield f"packets of others {words} passed on in {family}"

    def _extras(self) -> Iterator[str]:
        for name, members in list(self.model.sets.sets.items())[:_SHOWN]:
            yield f"IP set {name}: {len(members.members)} members"
        jails = parse_jails(self._text("fail2ban-status"))
        if jails:
            yield f"fail2ban jails: {', '.join(jails)}"
        unread = [name for name, fault in self.snapshot.faults.items() if type(fault).__name__ != "NotThere"]
        if unread:
            yield f"could not be read, so nothing is known of it: {', '.join(sorted(unread))}"

    def _listeners(self) -> Iterator[str]:
        sockets = self.sockets
        lines = dict.fromkeys(f"{each}{' (this host only)' if each.local else ''}" for each in sockets.listed)
        yield from (f"listens: {line}" for line in list(lines)[:_SHOWN])
        rest = len(lines) - _SHOWN
        if rest > 0:
            yield f"listens: and {rest} more sockets"
        if sockets.strange:
            yield f"{len(sockets.strange)} lines about sockets were not understood"


def audited_addresses(model: HostModel, known: Address | None = None) -> dict[Family, Address]:
    """Return one address of each family to audit: ``known``, and of the other family one of the same interface."""
    own = model.addresses.own if model.addresses else ()
    here = next((each.interface for each in own if each.prefix.ip == known), None)
    found: dict[Family, Address] = {}
    for family in Family:
        usable = own_of(model, family)
        mine = [each.prefix.ip for each in own if each.interface == here and each.prefix.ip in usable]
        if known is not None and Family.of(known) is family:
            found[family] = known
        elif mine or usable:
            found[family] = (mine or list(usable))[0]
    return found
