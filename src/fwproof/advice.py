"""What could be better in policies that load without a fault: what nothing uses, nothing asks and nobody answers for.

``warning``: something that is written has no effect, or is not what it seems. ``note``: something is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from fwproof.inventory import Inventory
from fwproof.plan import Check
from fwproof.policy.document import Document, Keys
from fwproof.policy.expectation import Expectation
from fwproof.policy.model import Allow, Default, Draft, Passing, Policy, Question, Sample
from fwproof.policy.relations import expectations
from fwproof.remark import KINDS, Advice

ANYWHERE = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Linted:
    """A policy with the file it was read from, and the checks that it plans."""

    policy: Policy
    document: Document
    checks: tuple[Check, ...]

    def at(self, keys: Keys, kind: str, message: str) -> Advice:
        """Return a remark about the value at ``keys``."""
        place = self.document.key_place(keys)
        return Advice(self.document.file, place.line, place.column, kind, message)

    def on(self, expectation: Expectation, kind: str, message: str) -> Advice:
        """Return a remark about an expectation."""
        keys = next((keys for keys in self._places() if self.document.key_place(keys).line == expectation.line), ())
        column = self.document.key_place(keys).column if keys else 1
        return Advice(self.document.file, expectation.line, column, kind, message)

    def _places(self) -> Iterator[Keys]:
        plain = self.document.plain()
        for key, value in plain.items():
            yield (key,)
            for inner, items in value.items() if isinstance(value, dict) else ():
                yield (key, inner)
                yield from ((key, inner, index) for index in range(len(items) if isinstance(items, list) else 0))
            yield from ((key, index) for index in range(len(value) if isinstance(value, list) else 0))


def advice(linted: Sequence[Linted], inventory: Inventory, around: Document) -> list[Advice]:
    """Return the remarks about policies and about the inventory that they are read with, in the order of the files.

    ``around`` is the inventory's own file. What no policy uses of it is only said of all policies together.
    """
    found = [remark for one in linted for rule in _RULES for remark in rule(one, inventory)]
    found += _two_defaults(linted)
    found += _unused(linted, inventory, around)
    return sorted(set(found))


def _unused_services(one: Linted, inventory: Inventory) -> Iterator[Advice]:
    del inventory
    policy = one.policy
    samples = [s.service for d in _defaults(policy).values() for s in d.samples]
    published = [p.published for p in policy.forward if p.published]
    used = {
        s.name for s in (*samples, *published, *(a.service for a in _allows(policy)), *(b.service for b in policy.bans))
    }
    for name in policy.services:
        if name not in used:
            yield one.at(("services", name), "unused-service", f"no expectation is about the service '{name}'")


def _allows(policy: Policy) -> tuple[Allow | Passing, ...]:
    return (*policy.inbound, *policy.outbound, *policy.forward)


def _defaults(policy: Policy) -> dict[str, Default]:
    every = {"inbound": policy.inbound_default, "outbound": policy.outbound_default, "forward": policy.forward_default}
    return {name: default for name, default in every.items() if default is not None}


def _unasked(one: Linted, inventory: Inventory) -> Iterator[Advice]:
    """Yield expectations about traffic that no vantage asks, or that only one side of asks."""
    del inventory
    for allow in _allows(one.policy):
        sent = [check for check in one.checks if check.expectation is allow and check.vantage is not None]
        if not sent:
            yield one.on(allow, "no-vantage", f"no host of the inventory can send or watch for '{allow.id}':"
                         " it is proved on the tables, and nothing is seen on the wire")  # fmt: skip
            continue
        asked = {check.expected for check in sent}
        if asked == {"deny"}:
            yield one.on(allow, "one-sided", f"no vantage stands in {allow.peers.name}: that '{allow.id}' works is"
                         " only proved")  # fmt: skip
        elif asked == {"allow"} and allow in one.policy.inbound and allow.peers.name != ANYWHERE:
            yield one.on(allow, "one-sided", f"every vantage stands in {allow.peers.name}: that '{allow.id}' keeps"
                         " others out is only proved")  # fmt: skip


def _samples(one: Linted, inventory: Inventory) -> Iterator[Advice]:
    del inventory
    for section, default in _defaults(one.policy).items():
        if not default.samples:
            yield one.on(default, "no-samples", f"'{section}' has no samples: that its default denies is only proved")
        for index, sample in enumerate(default.samples):
            if not any(_asks(check, default, sample) for check in one.checks):
                keys: Keys = (section, "samples", index)
                to = f" to {sample.to.name}" if sample.to else ""
                words = f"nothing sends the sample {sample.service}{to}: no vantage can, or an expectation allows it"
                yield one.at(keys, "sample-not-asked", words)


def _asks(check: Check, default: Default, sample: Sample) -> bool:
    return check.expectation is default and check.vantage is not None and check.service == sample.service


def _open(one: Linted, inventory: Inventory) -> Iterator[Advice]:
    del inventory
    for allow in one.policy.inbound:
        everybody = any(network.prefixlen == 0 for network in allow.peers.networks)
        if everybody and not allow.justification:
            yield one.on(allow, "open-to-any", f"'{allow.id}' is open to everybody, and no 'justification' says why")
    written = one.document.plain()
    for section in ("inbound", "outbound", "forward"):
        if section not in written:
            yield one.at((), "unchecked", f"'{section}' is not there: nothing is said about that direction")
        elif section not in _defaults(one.policy):
            words = f"'{section}' is unchecked: what no expectation names may pass"
            yield one.at((section, "default"), "unchecked", words)


def _left_out(one: Linted, inventory: Inventory) -> Iterator[Advice]:
    del inventory
    every = [each for each in expectations(one.policy) if not isinstance(each, Draft | Question)]
    yield from _lacking(one, "no-controls", "controls", every, [each for each in every if not each.controls])
    allows = _allows(one.policy)
    yield from _lacking(one, "no-owner", "owner", allows, [each for each in allows if not each.owner])
    if "severity" not in _words(one.document.plain()):
        yield one.at(("policy",), "no-severity", "no expectation has a severity: every violation is taken for high")
    if one.policy.draft is not None:
        count = len(one.policy.questions)
        words = f"a draft with {count} open question{'' if count == 1 else 's'}: no audit passes"
        yield one.at(("status",), "draft", words)


def _lacking(
    one: Linted, kind: str, what: str, every: Sequence[Expectation], lacking: Sequence[Expectation]
) -> Iterator[Advice]:
    """Yield what lacks something, or one remark where everything does."""
    if len(lacking) == len(every) > 1:
        yield one.at(("policy",), kind, f"no expectation of the policy has '{what}'")
    else:
        yield from (one.on(each, kind, f"'{each.id}' has no '{what}'") for each in lacking)


def _words(plain: Any) -> set[str]:
    """Return every key and every text of a document."""
    if isinstance(plain, dict):
        return {str(key) for key in plain} | {word for value in plain.values() for word in _words(value)}
    if isinstance(plain, list):
        return {word for value in plain for word in _words(value)}
    return {plain} if isinstance(plain, str) else set()


_RULES: tuple[Callable[[Linted, Inventory], Iterator[Advice]], ...] = (
    _unused_services, _unasked, _samples, _open, _left_out,
)  # fmt: skip


def _two_defaults(linted: Sequence[Linted]) -> Iterator[Advice]:
    """Yield policies that each deny what the other allows on the same host."""
    for first, second in combinations(linted, 2):
        hosts = [name for name in second.policy.hosts if name in first.policy.hosts]
        here, there = _defaults(first.policy), _defaults(second.policy)
        for section in here.keys() & there.keys() if hosts else ():
            others = {_key(each) for each in _allows(first.policy)} ^ {_key(each) for each in _allows(second.policy)}
            if others:
                where = f"{here[section].file}:{here[section].line}"
                words = f"{hosts[0]} has a default of '{section}' in {where} too: each denies what the other allows"
                yield second.on(there[section], "two-defaults", words)


def _key(allow: Allow | Passing) -> tuple[str, str]:
    return str(allow.service), allow.peers.name


def _unused(linted: Sequence[Linted], inventory: Inventory, around: Document) -> Iterator[Advice]:
    named = {word for one in linted for word in _words(one.document.plain())}
    audited = {name for one in linted for name in one.policy.hosts}
    if any(one.policy.parity is not None for one in linted):  # every zone may do the same in both families
        named |= set(inventory.zones)
    for name in inventory.zones:
        if name not in named:
            place = around.key_place(("zones", name))
            yield Advice(around.file, place.line, place.column, "unused-zone", f"no policy names the zone '{name}'")
    for name, host in inventory.hosts.items():
        if name not in audited and not host.vantage and not _is_far_end(host.addresses, linted):
            place = around.key_place(("hosts", name))
            words = f"'{name}' is audited by no policy here, and nothing is sent from it"
            yield Advice(around.file, place.line, place.column, "unused-host", words)


def _is_far_end(addresses: Sequence[object], linted: Sequence[Linted]) -> bool:
    """Whether a host is what an expectation leads to."""
    ends = [each.peers for one in linted for each in one.policy.outbound]
    ends += [each.to for one in linted for each in one.policy.forward]
    return any(address in end for address in addresses for end in ends)


def counts(found: Sequence[Advice]) -> Mapping[str, int]:
    """Return how many remarks there are of each kind, in the order of :data:`KINDS`."""
    return {kind: number for kind in KINDS if (number := sum(each.kind == kind for each in found))}
