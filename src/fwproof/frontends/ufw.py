"""ufw: which of its rules and files a rule of the kernel comes from, and the ufw commands that change it.

The chains are those of ufw 0.36 (ufw-framework(8), src/ufw-init-functions): rules of the administrator in
``ufw-user-*``, those of /etc/ufw/before.rules and after.rules in ``ufw-before-*`` and ``ufw-after-*``, defaults in the
policies of the built-in chains; ``ufw6-`` in IPv6.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.frontends.commands import command, deletion, listed
from fwproof.frontends.recognise import setting, ufw_enabled
from fwproof.frontends.ufw_rules import UfwRule, read_rules
from fwproof.frontends.wish import Opening, Way, Wish, address
from fwproof.ruleset.iptables import parse
from fwproof.ruleset.model import Rule, Ruleset
from fwproof.semantics.compare import meaning
from fwproof.snapshot import Snapshot

_HOOKS = {Way.IN: "incoming", Way.OUT: "outgoing", Way.THROUGH: "routed"}
_CHAINS = {"INPUT": Way.IN, "OUTPUT": Way.OUT, "FORWARD": Way.THROUGH}
_OWN = re.compile(r"ufw6?-(?:(not-local)|(?:user|before|after)-(logging)-.*|(logging)-.*|(user)-(limit)(?:-accept)?"
                  r"|(user|before|after|skip-to-policy|reject|track)-(input|output|forward))")  # fmt: skip
_USER = re.compile(r"ufw6?-user-(?:input|output|forward)")
_SUFFIX = {"input": Way.IN, "output": Way.OUT, "forward": Way.THROUGH}
LIMIT = "5 new connections in 30 s per source, the 6th being refused"
_RATE = (5, 30.0, "source")
"""What ``ufw limit`` always means: "6 or more connections within 30 seconds" are denied (ufw(8))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ufw:
    """ufw on one host. ``unread`` says why its rules could not be read, empty where they were.

    ``known`` are the kernel's rules that belong to a rule of ufw; ``ipv6``: whether it manages IPv6 (IPV6=yes).
    ``strangers`` run in the chains of its rules, and are none of them.
    """

    rules: tuple[UfwRule, ...]
    known: Mapping[RuleRef, UfwRule]
    ipv6: bool
    unread: str = ""
    strangers: tuple[RuleRef, ...] = ()

    def name(self, ref: RuleRef) -> str:
        """Return what ufw calls a rule or policy of the kernel; empty for one that has nothing to do with ufw."""
        if ref in self.known:
            return str(self.known[ref])
        if ref.chain in _CHAINS and ref.table == "filter":
            return self._of_base_chain(ref)
        found = _OWN.fullmatch(ref.chain)
        if found is None:
            return ""
        part, *suffix = filter(None, found.groups())
        return self._of_own_chain(part, suffix[0] if suffix else "", "6" if found[0].startswith("ufw6") else "")

    def _of_own_chain(self, part: str, suffix: str, v6: str) -> str:
        """Return whose rules are in a chain of ufw's, by the parts of its name."""
        if suffix == "limit":
            return f"ufw's limit of {LIMIT}"
        if part == "user" and self.unread:
            return f"a rule of ufw's that cannot be told ({self.unread})"
        files = {"before": f"/etc/ufw/before{v6}.rules", "after": f"/etc/ufw/after{v6}.rules"}
        if part in {"skip-to-policy", "reject", "track"}:
            return f"ufw's default for {_HOOKS[_SUFFIX[suffix]]} packets"
        unknown = f"no rule that ufw knows: it is not in /etc/ufw/user{v6}.rules and goes with the next `ufw reload`"
        return (files | {"not-local": files["before"], "user": unknown, "logging": "ufw's logging"})[part]

    def _of_base_chain(self, ref: RuleRef) -> str:
        if ref.family == "ip6" and not self.ipv6:
            closed = ref.text == "DROP" or ref.text.endswith(("-i lo -j ACCEPT", "-o lo -j ACCEPT"))
            return "ufw's IPV6=no, which closes IPv6 but for loopback" if closed else "IPv6 that ufw does not manage"
        if ref.rule is None:
            return f"ufw's default for {_HOOKS[_CHAINS[ref.chain]]} packets"
        return "" if re.search(r"-j ufw6?-", ref.text) else f"a rule in {ref.chain} that ufw did not make"

    def mend(self, wish: Wish) -> str:
        """Return the ufw commands that would make it as wished, in words; empty where ufw has none."""
        if wish.family is Family.IPV6 and not self.ipv6:
            return self._with_ipv6(wish)
        steps = self._open(wish) if wish.wrong == "open" else self._shut(wish)
        parts = [part for part in steps if part]
        return ", then ".join(dict.fromkeys(parts))

    def _with_ipv6(self, wish: Wish) -> str:
        if wish.wrong == "open":
            return "set IPV6=yes in /etc/default/ufw, then `ufw reload`: until then ufw does not manage IPv6"
        later = listed(_allow(each, wish.way, families=(Family.IPV6,)) for each in _wanted(wish))
        return "set IPV6=yes in /etc/default/ufw, then `ufw reload`" + (f", then {later}" if later else "")

    def _open(self, wish: Wish) -> Iterator[str]:
        taken = list(dict.fromkeys(self.known[ref] for ref in wish.by if ref in self.known))
        taken += self._limits(wish)
        for rule in taken:
            allows = [each for each in wish.allowed if covers(rule, each)] if not rule.routed else []
            # the narrower rules first, so that nobody who may get in is locked out in between
            yield listed(_allow(each, wish.way, "limit" if rule.action == "limit" else "") for each in allows)
            yield f"`{rule.deletion}`" if rule.deletion else f"`ufw delete {rule.number}`"
        others = [ref for ref in wish.by if ref not in self.known]
        if any("default for" in self.name(ref) for ref in others):
            yield listed(_allow(each, wish.way) for each in wish.allowed)
            yield f"`ufw default deny {_HOOKS[wish.way]}`"
        for path in dict.fromkeys(filter(None, (self._file(ref) for ref in others))):
            yield f"take the rule out of {path}, which no ufw command changes, and `ufw reload`"
        for ref in others:
            if ref.chain in _CHAINS and ref.rule is not None and "ufw did not make" in self.name(ref):
                yield by_hand(ref)

    def limiting(self, opening: Opening) -> str:
        """Return how a service's new connections are limited to the rate that is wanted, in words."""
        if opening.rate != _RATE or opening.port is None:
            return f"`ufw limit` always means {LIMIT}; another limit goes into /etc/ufw/before.rules, then `ufw reload`"
        taken = [rule for rule in self.rules if rule.action == "allow" and not rule.routed and covers(rule, opening)]
        steps = [listed([_allow(opening, Way.IN)])]
        return ", then ".join(dict.fromkeys([*steps, *(f"`{rule.deletion}`" for rule in taken if rule.deletion)]))

    def _limits(self, wish: Wish) -> list[UfwRule]:
        """Return the limit rules behind the chain that all of them share."""
        if wish.wanted is None or not any(re.fullmatch(r"ufw6?-user-limit(-accept)?", ref.chain) for ref in wish.by):
            return []
        v6 = wish.family is Family.IPV6
        return [r for r in self.rules if r.action == "limit" and r.v6 is v6 and covers(r, wish.wanted)]

    def _file(self, ref: RuleRef) -> str:
        name = self.name(ref)
        return name if name.startswith("/etc/ufw/") else ""

    def _shut(self, wish: Wish) -> Iterator[str]:
        for rule in dict.fromkeys(self.known[ref] for ref in wish.by if ref in self.known):
            yield f"`{rule.deletion}`" if rule.deletion else f"`ufw delete {rule.number}`"
        for ref in wish.by:
            if "ufw did not make" in self.name(ref):
                yield by_hand(ref)
        if wish.way is Way.IN and any("output" in ref.chain.lower() for ref in wish.by):
            return  # it is the answers that are refused, and no rule for the service lets those out
        for each in _wanted(wish):
            if each.port is None:
                v6 = "6" if wish.family is Family.IPV6 else ""
                yield f"accept it in /etc/ufw/before{v6}.rules, which is where ufw keeps ICMP, and `ufw reload`"
            else:
                yield listed([_allow(each, wish.way, families=(wish.family,))])


def _wanted(wish: Wish) -> tuple[Opening, ...]:
    return (wish.wanted,) if wish.wanted is not None else ()


def by_hand(ref: RuleRef) -> str:
    """Return how a rule is taken out that nobody but a person made."""
    tool = "ip6tables" if ref.family == "ip6" else "iptables"
    line = deletion(tool, ref.text)
    return f"`{line}`" if line else f"delete rule {ref.rule} of {ref.chain} with {tool}"


def covers(rule: UfwRule, opening: Opening) -> bool:
    """Whether a rule of ufw is about the port of a service."""
    if opening.port is None or rule.proto not in {"any", opening.proto}:
        return False
    if rule.dport == "any":
        return True
    ranges = re.findall(r"(?<![0-9:])([0-9]{1,5})(?::([0-9]{1,5}))?(?![0-9:])", rule.dport)
    return any(int(low) <= opening.port <= int(high or low) for low, high in ranges)


def _allow(opening: Opening, way: Way, verb: str = "", families: tuple[Family, ...] = tuple(Family)) -> str:
    """Return the commands that let a service through for its peers, joined; empty where ufw has no command."""
    if opening.port is None:
        return ""
    verb = verb or ("limit" if opening.rate == _RATE and way is Way.IN else "allow")
    port, out = str(opening.port), ["out"] if way is Way.OUT else []
    head = ["ufw", *(["route"] if way is Way.THROUGH else []), verb, *out]
    if opening.is_for_all and families == tuple(Family):
        return command([*head, f"{port}/{opening.proto}"])
    lines = []
    for family in families:
        for network in opening.of(family):
            ends = (
                ["to", address(network), "port", port] if out else ["from", address(network), "to", "any", "port", port]
            )
            lines.append(command([*head, *ends, "proto", opening.proto]))
    return "; ".join(lines)


def read_ufw(snapshot: Snapshot, rulesets: Mapping[Family, tuple[Ruleset, ...]]) -> Ufw | None:
    """Return ufw as it is on a host, None where it is not enabled."""
    if not ufw_enabled(snapshot):
        return None
    defaults = snapshot.captures.get("ufw-defaults")
    ipv6 = defaults is None or setting(defaults.stdout, "IPV6").lower() != "no"
    rules: list[UfwRule] = []
    known: dict[RuleRef, UfwRule] = {}
    unread = ""
    for family, name in ((Family.IPV4, "ufw-rules"), (Family.IPV6, "ufw-rules6")):
        v6 = family is Family.IPV6
        if v6 and not ipv6:
            continue
        if name in snapshot.faults or name not in snapshot.captures:
            unread = unread or f"{name} was not read"
            continue
        text = snapshot.captures[name].stdout
        mine = read_rules(text, v6=v6, first=max((rule.number for rule in rules), default=0) + 1)
        rules += mine
        known |= _joined(mine, family, rulesets.get(family, ()))
    strangers = [
        rule.ref
        for family, found in rulesets.items() if ipv6 or family is Family.IPV4
        for ruleset in found for rule in ruleset.rules()
        if _USER.fullmatch(rule.ref.chain) and rule.ref not in known
    ]  # fmt: skip
    return Ufw(rules=tuple(rules), known=known, ipv6=ipv6, unread=unread, strangers=tuple(strangers))


def _joined(rules: tuple[UfwRule, ...], family: Family, rulesets: tuple[Ruleset, ...]) -> dict[RuleRef, UfwRule]:
    """Return the running rules that are those of ufw's file: equal in meaning, taken in order."""
    wanted: dict[tuple[str, object], list[UfwRule]] = {}
    for rule in rules:
        for written in _written(rule.lines, family):
            wanted.setdefault((written.ref.chain, meaning(written)), []).append(rule)
    found: dict[RuleRef, UfwRule] = {}
    for ruleset in rulesets:
        for table in ruleset.tables.values():
            for chain in table.chains.values():
                for running in chain.rules if chain.name.startswith(("ufw-user-", "ufw6-user-")) else ():
                    same = wanted.get((chain.name, meaning(running)))
                    if same:
                        found[running.ref] = same.pop(0) if len(same) > 1 else same[0]
    return found


def _written(lines: tuple[str, ...], family: Family) -> tuple[Rule, ...]:
    """Return the rules in lines of ufw's file, which are for iptables-restore, as if they were a table of their own."""
    names = dict.fromkeys(word for line in lines for word in line.split() if word.startswith(("ufw-", "ufw6-")))
    text = [f":{name} - [0:0]" for name in names] + list(lines)
    return parse("\n".join(["*filter", *text, "COMMIT", ""]), family, "user.rules").rules()
