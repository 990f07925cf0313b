"""The front ends of one host together: names for the kernel's rules in their words, and commands that mend."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.frontends import docker, kubernetes
from fwproof.frontends.firewalld import Firewalld, read_firewalld
from fwproof.frontends.recognise import Manager, Presence, managers, owner_of
from fwproof.frontends.ufw import Ufw, read_ufw
from fwproof.frontends.wish import Opening, Wish
from fwproof.ruleset.model import Ruleset
from fwproof.snapshot import Snapshot

_NAMED = {Manager.UFW, Manager.FIREWALLD, Manager.DOCKER, Manager.KUBERNETES}
"""Whose rules have names."""
_PLACE = re.compile(r"\b(?:ip6?|inet) (?:\S+ ){2}(?:rule \d+|policy): ")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontEnd:
    """Who manages a host. ``refs`` are its rules and policies by how :class:`RuleRef` shows their place."""

    managers: tuple[Presence, ...] = ()
    refs: Mapping[str, RuleRef] = field(default_factory=dict)
    ufw: Ufw | None = None
    firewalld: Firewalld | None = None

    @property
    def rulers(self) -> tuple[Presence, ...]:
        """Those who decide who gets in."""
        return tuple(each for each in self.managers if each.rules)

    def name(self, ref: RuleRef) -> str:
        """Return what the front end calls a rule of the kernel; empty where none of them made it."""
        found = docker.name(ref) or (self.firewalld.name(ref) if self.firewalld else "")
        found = found or (self.ufw.name(ref) if self.ufw else "")
        return found or ("a rule of kube-proxy's" if owner_of(ref.chain) is Manager.KUBERNETES else "")

    def spoken(self, text: str) -> str:
        """Return a text in which each rule of the kernel has its front end's name before it."""
        parts, at = [], 0
        for found in _PLACE.finditer(text) if self.refs else ():
            ref = self.refs.get(found[0])
            shown = "" if ref is None or found.start() < at else str(ref)
            if ref is None or not shown or not text.startswith(shown, found.start()):
                continue
            name = self.name(ref)
            if name:
                parts += [text[at : found.start()], f"{name} [{shown}]"]
                at = found.start() + len(shown)
        return "".join([*parts, text[at:]])

    def closes(self, family: Family | None) -> bool:
        """Whether the front end lets nothing through in a family, as it does not manage it."""
        return self.ufw is not None and not self.ufw.ipv6 and family is Family.IPV6

    def limiting(self, opening: Opening) -> str:
        """Return the front end's commands that limit a service's new connections; empty where it has none."""
        return self.ufw.limiting(opening) if self.ufw else ""

    def mend(self, wish: Wish) -> str:
        """Return the front end's commands that would make it as wished; empty where it has none."""
        if wish.wrong == "open" and any(owner_of(ref.chain) is Manager.KUBERNETES for ref in wish.by[:1]):
            return kubernetes.mend(wish)
        published = tuple(ref for ref in wish.by if docker.publishes(ref))
        if wish.wrong != "open" or not published:
            return self._mend(wish)
        about = docker.mend(replace(wish, by=published), "ufw" if self.ufw else "firewalld" if self.firewalld else "")
        rest = tuple(ref for ref in wish.by if ref not in published)
        others = self._mend(replace(wish, by=rest)) if rest else ""
        return f"{about}. For the rest: {others}" if others else about

    def _mend(self, wish: Wish) -> str:
        # where two managers rule, the one that decides is the one to tell
        first = self.firewalld is not None and any(self.firewalld.name(ref) for ref in wish.by[:1])
        chosen = self.firewalld if first or self.ufw is None else self.ufw
        return chosen.mend(wish) if chosen is not None else ""


def front_end_of(snapshot: Snapshot, rulesets: Mapping[Family, tuple[Ruleset, ...]]) -> FrontEnd:
    """Return the front ends of a host, from what was read of it and its tables."""
    present = managers(snapshot, rulesets)
    refs: dict[str, RuleRef] = {}
    if any(each.manager in _NAMED for each in present):
        for ruleset in (each for found in rulesets.values() for each in found):
            for table in ruleset.tables.values():
                for chain in table.chains.values():
                    refs |= {_place(rule.ref): rule.ref for rule in chain.rules}
                    if chain.default and not ruleset.native:
                        policy = RuleRef(family=ruleset.family.table_family, table=table.name, chain=chain.name,
                                         rule=None, text=chain.default)  # fmt: skip
                        refs[_place(policy)] = policy
    return FrontEnd(
        managers=present, refs=refs, ufw=read_ufw(snapshot, rulesets), firewalld=read_firewalld(snapshot, rulesets)
    )


def _place(ref: RuleRef) -> str:
    return str(ref).removesuffix(ref.text)
