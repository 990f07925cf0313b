"""Reading rule counters of a host: through its agent where one runs, else by the command of its tier."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fwproof.decision import RuleRef
from fwproof.errors import Garbled, HostError
from fwproof.flow import Family
from fwproof.probing.channel import Agent
from fwproof.redact import redacted
from fwproof.ruleset.iptables import parse
from fwproof.ruleset.model import Chain
from fwproof.semantics.model import HostModel

if TYPE_CHECKING:
    from fwproof.audit.field import Field

Place = tuple[str, str, str, int]
"""Family, table and chain of a rule, and its number in the chain."""
_COMMANDS = {Family.IPV4: "iptables-save", Family.IPV6: "ip6tables-save"}


def read_counters(field: Field, host: str, families: Iterable[Family]) -> dict[RuleRef, int]:
    """Return the packets that each rule and each chain's policy has counted so far; raises HostError."""
    found: dict[RuleRef, int] = {}
    for family in families:
        found |= _counters(_save(field, host, _COMMANDS[family]), family)
    return found


def all_counters(field: Field, host: str, families: Iterable[Family], model: object) -> dict[RuleRef, int]:
    """Return what :func:`read_counters` does and, of a host with tables of nftables' own, what their rules count."""
    wanted = tuple(families)
    if not isinstance(model, HostModel) or not any(
        each.native and each.tables for family in wanted for each in model.rulesets.get(family, ())
    ):
        return read_counters(field, host, wanted)
    found: dict[RuleRef, int] = {}
    for family in wanted:
        found |= Reader(field, host, model, family).read()
    return found


def counting_argvs(families: Iterable[Family]) -> tuple[tuple[str, ...], ...]:
    """Return what is run on a host to read its counters; the agent runs the same without sudo."""
    return tuple(save_argv(_COMMANDS[family]) for family in families)


def save_argv(command: str) -> tuple[str, ...]:
    """Return the words of a command that prints rules with their counters."""
    words = (f"/usr/sbin/{command}", "-c") if command != "nft" else ("/usr/sbin/nft", "-j", "list", "ruleset")
    return ("/usr/bin/sudo", "-n", *words)


def _save(field: Field, host: str, command: str) -> str:
    agent = field.agents.get(host)
    if isinstance(agent, Agent):
        answer = agent.call("counters", name=command)
        if answer["status"] != 0:
            raise HostError(host, f"{command} failed: {answer['stderr']}")
        return redacted(str(answer["stdout"]))
    capture = field.transports[host].run(save_argv(command), name=command)
    if capture.status != 0:
        raise Garbled(host, f"{command} failed: {capture.stderr.strip()}")
    return redacted(capture.stdout)


def moved(before: dict[RuleRef, int], after: dict[RuleRef, int], rule: RuleRef) -> int | None:
    """Return how far a rule's counter moved; None where that tells nothing.

    That is so where the rule was not there both times (the tables changed), and for a chain's policy that has
    never counted: iptables-nft gives a chain counters only once its policy is set, and prints [0:0] until then.
    """
    if rule not in before or rule not in after or (rule.rule is None and after[rule] == 0):
        return None
    return after[rule] - before[rule]


class Reader:
    """Reads the counters of every rule of one family of a host: those of iptables, its legacy tables, and nftables."""

    def __init__(self, field: Field, host: str, model: HostModel, family: Family) -> None:
        self._field, self._host, self._family = field, host, family
        self._sets = model.rulesets.get(family, ())
        self._native = {
            _place(rule.ref): rule.ref for each in self._sets if each.native for rule in each.rules()
        }  # fmt: skip
        self._bare, self._tables = set[RuleRef](), dict[str, bool]()
        self._look_behind()

    def read(self) -> dict[RuleRef, int]:
        """Return the packets that each rule and each chain's policy has counted so far; raises HostError."""
        found: dict[RuleRef, int] = {}
        base = _COMMANDS[self._family]
        for each in self._sets:
            if not each.tables:
                continue
            if each.native:
                found |= self._nft(_save(self._field, self._host, "nft"))
            else:
                legacy = each.backend == "legacy"
                command = base.replace("-save", "-legacy-save") if legacy else base
                found |= _counters(_save(self._field, self._host, command), self._family)
        return found

    def _nft(self, text: str) -> dict[RuleRef, int]:
        counts = {self._native.get(place): _nft_count(rule.get("expr")) for place, rule in self._listed(text)}
        return {ref: count for ref, count in counts.items() if ref is not None and count is not None}

    def _listed(self, text: str) -> Iterator[tuple[Place, Mapping[str, Any]]]:
        """Yield every rule of nft's list with its place; raises Garbled."""
        try:
            rules = [each["rule"] for each in json.loads(text)["nftables"] if "rule" in each]
            places = [(str(rule["family"]), str(rule["table"]), str(rule["chain"])) for rule in rules]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Garbled(self._host, f"nft printed what is no list of rules: {error}") from error
        numbers: Counter[tuple[str, str, str]] = Counter()
        for rule, place in zip(rules, places, strict=True):
            numbers[place] += 1
            yield (*place, numbers[place]), rule

    def _look_behind(self) -> None:
        """Note what iptables-nft shows with counters of 0 that do not exist: rules, and policies, that nft made.

        Only tables with an xt statement are certain to be made by iptables, which gives all of them counters.
        """
        shown = {
            _place(rule.ref): rule.ref for each in self._sets if not each.native and each.backend != "legacy"
            for rule in each.rules()
        }  # fmt: skip
        with suppress(HostError):  # a host without nft has no tables that nft made
            for place, rule in self._listed(_save(self._field, self._host, "nft")) if shown else ():
                if place in shown:
                    statements = rule.get("expr")
                    self._tables.setdefault(place[1], False)
                    self._tables[place[1]] |= _named(statements, "xt")
                    self._bare |= set() if _named(statements, "counter") else {shown[place]}

    def moved(self, before: Mapping[RuleRef, int], after: Mapping[RuleRef, int]) -> dict[RuleRef, int] | None:
        """Return how far each counter moved; None where the tables have changed meanwhile: then it means nothing."""
        if before.keys() != after.keys() or any(after[rule] < count for rule, count in before.items()):
            return None
        return {rule: after[rule] - count for rule, count in before.items()}

    def silent(self, counts: Mapping[RuleRef, int]) -> dict[RuleRef, str]:
        """Return why rules have no counter that tells anything."""
        found: dict[RuleRef, str] = {}
        for each in self._sets:
            found |= {
                rule.ref: "it has no counter, or one before a condition"
                for rule in each.rules() if rule.ref not in counts or rule.ref in self._bare
            }  # fmt: skip
            for table in each.tables.values():
                for chain in table.chains.values():
                    policy = _policy(table.family or self._family.table_family, table.name, chain)
                    if policy is None or counts.get(policy):
                        continue
                    # until iptables-nft was told a policy, its chain has no counter, and prints 0
                    set_ = policy.text == "DROP" and self._tables.get(table.name, True)
                    if each.native or not set_:
                        found[policy] = "its policy has no counter, or has never counted"
        return found


def _counters(text: str, family: Family) -> dict[RuleRef, int]:
    found: dict[RuleRef, int] = {}
    for table in parse(text, family).tables.values():
        for chain in table.chains.values():
            found |= {rule.ref: rule.counters.packets for rule in chain.rules if rule.counters}
            policy = _policy(family.table_family, table.name, chain)
            if policy is not None and chain.counters is not None:
                found[policy] = chain.counters.packets
    return found


def _policy(family: str, table: str, chain: Chain) -> RuleRef | None:
    if chain.default is None:
        return None
    return RuleRef(family=family, table=table, chain=chain.name, rule=None, text=chain.default)


def _place(ref: RuleRef) -> Place:
    return ref.family, ref.table, ref.chain, ref.rule or 0


def _named(statements: object, name: str) -> bool:
    """Whether a rule of nft has a statement of a name."""
    return isinstance(statements, list) and any(isinstance(each, dict) and name in each for each in statements)


def _nft_count(statements: object) -> int | None:
    """Return what a rule's own counter counts, None where it has none, or where conditions come after it."""
    count: int | None = None
    for statement in statements if isinstance(statements, list) else ():
        name, body = next(iter(statement.items())) if isinstance(statement, dict) and statement else ("", None)
        if name == "counter" and isinstance(body, dict) and isinstance(body.get("packets"), int):
            count = body["packets"]
        elif name in _CONDITIONS or (name == "xt" and isinstance(body, dict) and body.get("type") == "match"):
            count = None
    return count


_CONDITIONS = frozenset({"match", "limit", "ct count", "quota", "vmap"})
"""Statements of nft after which there may be fewer packets."""
