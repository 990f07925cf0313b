"""From the statements of a rule to what they do, in order: conditions, deeds, and choices between deeds.

A statement that is not understood becomes a deed that is unknown, with the reason: nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from fwproof.flow import TCP, UDP, Family
from fwproof.ruleset import nft_words as words
from fwproof.ruleset.asks import ConnLimit, Literal, Oracle, Test, Within
from fwproof.ruleset.model import Act, Match, Target
from fwproof.ruleset.nft import Json
from fwproof.ruleset.nft_items import Do, Item, When, choice, needed, unknown
from fwproof.ruleset.nft_joined import joined, neighbours
from fwproof.ruleset.nft_mangle import TCP_ONLY, changing, mangled
from fwproof.ruleset.nft_match import MISREAD, Surroundings, match_of
from fwproof.ruleset.nft_meters import limit_test, meter_conditions
from fwproof.ruleset.nft_nat import nat_target
from fwproof.ruleset.nft_text import statement_text
from fwproof.ruleset.targets import target_of
from fwproof.ruleset.words import Instance, Option

_QUIET = frozenset({
    "counter", "last", "dup", "ct helper", "ct timeout", "ct expectation", "secmark", "comment", "objref",
})  # fmt: skip
"""Statements that change nothing that a table looks at."""
_BY_OPTIONS = frozenset({"DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP", "MARK", "CONNMARK", "CT", "SET"})
"""Targets of iptables of which the name alone says nothing."""
_PROXIED: Mapping[str, Literal] = {
    "synproxy": TCP_ONLY, "tproxy": (Within("proto", ((TCP, TCP), (UDP, UDP))), False),
}  # fmt: skip
"""Statements that break off the rule for other protocols (nft_synproxy.c, nft_tproxy.c)."""


def items_of(statements: Sequence[Json], around: Surroundings, chains: Collection[str]) -> list[Item]:
    """Return what the statements of a rule do, in order."""
    found: list[Item] = []
    at = 0
    while at < len(statements):
        pair = statements[at : at + 2]
        if len(pair) == 2 and neighbours(*pair):
            found.append(When(_pair(pair, around)))
            at += 2
        else:
            found += _items(statements[at], around, chains)
            at += 1
    return found


def _pair(pair: Sequence[Json], around: Surroundings) -> tuple[Match, ...]:
    """Return the conditions of two comparisons that nft may have joined."""
    first, second = (match_of(statement["match"], around) for statement in pair)
    text = " ".join(statement_text(statement) for statement in pair)
    ends = ((first[-1].test, first[-1].negated), (second[-1].test, second[-1].negated))
    return (*first[:-1], *second[:-1], Match(module="nft", text=text, test=joined(*ends, text)))


def _items(statement: Json, around: Surroundings, chains: Collection[str]) -> list[Item]:
    text = statement_text(statement)
    try:
        ((kind, body),) = statement.items()
        return _read(kind, body, around, chains)
    except MISREAD:
        return [unknown(text)]


def _read(  # noqa: PLR0911 - one return for each kind of statement
    kind: str, body: Json, around: Surroundings, chains: Collection[str]
) -> list[Item]:
    text = statement_text({kind: body})
    if kind in _QUIET:
        return []
    if kind == "match":
        return [When(tuple(match_of(body, around)))]
    if kind == "xt" and body["type"] == "match":
        # nft does not print what it asks, so no two of them are known to be one question
        return [When((_as_match(Oracle("xt", f"{text} (nft does not print the rest)", each=True), text),))]
    if kind == "vmap":
        return choice(body, around, text, lambda verdict: verdict_target(verdict, chains))
    if kind in _CONDITIONS:
        return [When(tuple(_CONDITIONS[kind](body, text, around)))]
    if kind == "mangle":
        return mangled(body, around, text)
    if kind == "reset":
        return [*needed([TCP_ONLY], text, ""), Do(changing(text, "options"))]
    if kind in {"snat", "dnat", "masquerade", "redirect"}:
        return _nat(kind, body or {}, around, text)
    if kind == "reject":
        return _reject(body or {}, around, text)
    head = needed([_PROXIED[kind]], text, "") if kind in _PROXIED else []
    return [*head, Do(verdict_target({kind: body}, chains))]


def verdict_target(verdict: Json, chains: Collection[str]) -> Target:  # noqa: PLR0911 - one return for each kind
    """Return the target of a verdict, a log or whatever ends or accompanies a rule; ValueError if it is no such."""
    ((kind, body),) = verdict.items()
    text = statement_text(verdict)
    if kind in {"jump", "goto"}:
        name = body["target"]
        if name not in chains:
            reason = f"{text}: its table has no such chain"
            return Target(act=Act.UNKNOWN, name="nft", text=text, reason=reason)
        return Target(act=Act.JUMP if kind == "jump" else Act.GOTO, name=name, text=text, chain=name)
    plain = {"accept": Act.ACCEPT, "drop": Act.DROP, "return": Act.RETURN, "continue": Act.NOTHING,
             "notrack": Act.NOTRACK}  # fmt: skip
    if kind in plain:
        return Target(act=plain[kind], name=kind, text=text)
    if kind == "log":
        return _log(body or {}, text)
    if kind == "flow":
        return Target(act=Act.CHANGE, name="flow", text=text)
    if kind == "xt":
        return _compat(body or {}, text)
    elsewhere = {
        "queue": ("NFQUEUE", "asks a program on the host"), "tproxy": ("TPROXY", "hands the packet to a local proxy"),
        "synproxy": ("SYNPROXY", "answers for the server"), "fwd": ("fwd", "sends the packet out without routing"),
    }  # fmt: skip
    name, words_ = elsewhere[kind]
    return Target(act=Act.ELSEWHERE, name=name, text=text, reason=f"{kind} {words_}")


def _log(body: Mapping[str, Json], text: str) -> Target:
    prefix, group = body.get("prefix", ""), body.get("group")
    if group is None:
        found = target_of(_instance("LOG", {"--log-prefix": prefix}), goto=False, chains=(), family=Family.IPV4)
    else:
        options = {"--nflog-prefix": prefix, "--nflog-group": str(group)}
        found = target_of(_instance("NFLOG", options), goto=False, chains=(), family=Family.IPV4)
    return replace(found, text=text)


def _compat(body: Mapping[str, Json], text: str) -> Target:
    """Read a target of iptables by its name only: nft does not print its options (xt compat expressions)."""
    name = body["name"]
    if body.get("type") != "target" or name in _BY_OPTIONS:
        raise ValueError(text)
    found = target_of(_instance(name, {}), goto=False, chains=(), family=Family.IPV4)
    return replace(found, text=text, reject_with=None)


def _instance(name: str, options: Mapping[str, str]) -> Instance:
    return Instance(name, [Option(option, (value,)) for option, value in options.items()])


def _nat(kind: str, body: Mapping[str, Json], around: Surroundings, text: str) -> list[Item]:
    family = around.scope.family
    if "family" in body and body["family"] != family.table_family:
        return needed([around.scope.only(Family.IPV4 if body["family"] == "ip" else Family.IPV6)], text, {"ct": {}})
    for part in ("addr", "port"):
        value = body.get(part)
        if isinstance(value, dict) and set(value) == {"map"}:
            return choice(
                value["map"], around, text,
                lambda each, part=part: nat_target(kind, {**body, part: each}, family, text),  # type: ignore[misc]
            )  # fmt: skip
    return [Do(nat_target(kind, body, family, text))]


def _reject(body: Mapping[str, Json], around: Surroundings, text: str) -> list[Item]:
    family = around.scope.family
    kind, name = body.get("type"), body.get("expr", "port-unreachable")
    four = family is Family.IPV4
    head: list[Item] = []
    if kind == "tcp reset":
        head, answer = needed([(Within("proto", ((TCP, TCP),)), False)], text, ""), "tcp-reset"
    else:
        if kind in {None, "icmpx"}:
            kind, name = ("icmp" if four else "icmpv6"), words.ICMPX[name][not four]
        head = needed([around.scope.only(Family.IPV4 if kind == "icmp" else Family.IPV6)], text, "")
        answer = words.REJECT[kind][name]
    return [*head, Do(Target(act=Act.REJECT, name="reject", text=text, reject_with=answer))]


def _as_match(test: Test, text: str, *, negated: bool = False, module: str = "nft") -> Match:
    return Match(module=module, text=text, test=test, negated=negated)


def _limit(body: Json, text: str, _around: Surroundings) -> list[Match]:
    if not isinstance(body, Mapping):
        return [_as_match(Oracle("limit", f"limit object {body}", each=True), text)]
    return [_as_match(limit_test(body), text, negated=bool(body.get("inv")))]


def _quota(body: Json, text: str, _around: Surroundings) -> list[Match]:
    name = f"quota object {body}" if not isinstance(body, Mapping) else text
    return [_as_match(Oracle("quota", name, each=True), text)]


def _count(body: Json, text: str, _around: Surroundings) -> list[Match]:
    test = ConnLimit(above=bool(body.get("inv")), limit=int(body["val"]), mask=0, side="src")
    return [_as_match(test, text, module="connlimit")]


def _dynamic(body: Json, text: str, around: Surroundings) -> list[Match]:
    return meter_conditions(body, text, around)


_CONDITIONS: dict[str, Callable[[Json, str, Surroundings], list[Match]]] = {
    "limit": _limit, "quota": _quota, "ct count": _count, "set": _dynamic, "map": _dynamic, "meter": _dynamic,
}  # fmt: skip
