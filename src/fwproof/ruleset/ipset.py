"""``ipset save``: the members of the kernel's IP sets, and what ``-m set --match-set`` asks once they are known.

Members are those of the moment of the snapshot; ones that time out later still count. A set that rules fill (target
SET), one of a type that is not modelled, and one that is not listed stay oracles. Sources: ipset(8) and
net/netfilter/ipset/ip_set_*.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fwproof.flow import Family
from fwproof.ruleset.asks import Oracle, Test
from fwproof.ruleset.ipset_members import TYPES, IpSet, member_test
from fwproof.ruleset.model import Match, Rule, Ruleset, Table, Unparsed
from fwproof.ruleset.words import split

Sets = Mapping[str, IpSet]
_VALUED = frozenset({
    "family", "hashsize", "maxelem", "timeout", "range", "netmask", "bitmask", "markmask", "size", "bucketsize",
    "initval",
})  # fmt: skip
_FLAGS = frozenset({"counters", "comment", "skbinfo", "forceadd", "wildcard"})
_OF_MEMBERS = frozenset({"timeout", "packets", "bytes", "comment", "skbmark", "skbprio", "skbqueue"})
"""What may stand behind a member, each with a value; ``nomatch`` has none."""


@dataclass(frozen=True, slots=True)
class IpSets:
    """All sets of one ``ipset save``, and the lines that were not understood; ``source`` names the text."""

    sets: Sets
    unparsed: tuple[Unparsed, ...] = ()
    source: str = ""


def parse(text: str, source: str = "ipset-save") -> IpSets:
    """Return the sets of a text. Never raises on any text: what is not understood makes its sets oracles.

    ``source`` names the text in the reasons.
    """
    sets: dict[str, IpSet] = {}
    members: dict[str, list[tuple[str, bool]]] = {}
    unparsed: list[Unparsed] = []
    doubts: dict[str, str] = {}
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        words = [word.text for word in split(line.rstrip("\r"))[0]]
        if not words or words[0].startswith("#"):
            continue
        try:
            _read(sets, members, words)
        except (ValueError, KeyError, IndexError):
            reason = f"{source}:{number}: this line of `ipset save` is not understood"
            unparsed.append(Unparsed(number, line, reason))
            doubts.setdefault(words[1] if len(words) > 1 else "", reason)
    if lines[-1].strip():
        doubts[""] = f"{source}:{len(lines)}: the last line has no end: the text is cut off"
        unparsed.append(Unparsed(len(lines), lines[-1], doubts[""]))
    # what is said of no known set may be about any of them
    general = next((reason for name, reason in doubts.items() if name not in sets), "")
    sets = {name: replace(each, doubt=each.doubt or doubts.get(name) or general) for name, each in sets.items()}
    return IpSets({n: replace(each, members=tuple(members[n])) for n, each in sets.items()}, tuple(unparsed), source)


def _read(sets: dict[str, IpSet], members: dict[str, list[tuple[str, bool]]], words: Sequence[str]) -> None:
    command, name = words[0], words[1]
    if command == "create":
        members.setdefault(name, [])
        options = _options(words[3:])
        if name in sets or words[2] not in TYPES or "bitmask" in options:
            sets[name] = IpSet(name=name, kind=words[2], doubt=f"set {name} is of a kind that is not modelled")
            return
        sets[name] = IpSet(
            name=name, kind=words[2], six=options.get("family") == "inet6",
            netmask=int(options["netmask"]) if "netmask" in options else None,
        )  # fmt: skip
    elif command == "add":
        members[name].append((words[2], _is_hole(words[3:])))
    else:
        raise ValueError(command)


def _is_hole(words: Sequence[str]) -> bool:
    """Whether ``nomatch`` stands behind a member; ValueError for what ipset never prints there."""
    rest = list(words)
    while rest and rest[0] in _OF_MEMBERS:
        del rest[:2]
    if rest not in ([], ["nomatch"]):
        raise ValueError(rest)
    return bool(rest)


def _options(words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(words):
        if words[at] in _VALUED:
            found[words[at]] = words[at + 1]
            at += 2
        elif words[at] in _FLAGS:
            at += 1
        else:
            raise ValueError(words[at])
    return found


def resolved(ruleset: Ruleset, known: IpSets, others: Iterable[Ruleset] = ()) -> Ruleset:
    """Return a ruleset whose ``-m set`` matches ask for the members, where those are known.

    ``others`` are the rulesets whose rules may fill a set as well.
    """
    filled = {
        word
        for each in (ruleset, *others)
        for rule in each.rules()
        if rule.target.name == "SET"
        for word in rule.target.text.split()
    }  # fmt: skip
    sets = {name: each for name, each in known.sets.items() if name not in filled}

    def match(each: Match) -> Match:
        test = _resolved(each.test, sets, ruleset.family)
        return each if test is None else replace(each, test=test)

    def rule(each: Rule) -> Rule:
        if not any(isinstance(m.test, Oracle) and m.test.kind == "set" for m in each.matches):
            return each
        return replace(each, matches=tuple(match(m) for m in each.matches))

    tables: dict[str, Table] = {}
    for name, table in ruleset.tables.items():
        chains = {c: replace(chain, rules=tuple(rule(r) for r in chain.rules)) for c, chain in table.chains.items()}
        tables[name] = replace(table, chains=chains)
    return replace(ruleset, tables=tables)


def _resolved(test: Test, sets: Sets, family: Family) -> Test | None:
    """Return the test of a set's members; None where it is no set or its members are not known."""
    if not isinstance(test, Oracle) or test.kind != "set":
        return None
    words = test.name.split()
    if len(words) != 3 or words[1] not in sets:
        return None
    try:
        return member_test(sets[words[1]], tuple(words[2].split(",")), family, sets)
    except (ValueError, KeyError, IndexError):
        return None
