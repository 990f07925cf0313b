"""Reading rule counters of a host: through its agent where one runs, else by the command of its tier."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fwproof.decision import RuleRef
from fwproof.errors import Garbled, HostError
from fwproof.flow import Family
from fwproof.probing.channel import Agent
from fwproof.ruleset.iptables import parse

if TYPE_CHECKING:
    from fwproof.audit.field import Field

_COMMANDS = {Family.IPV4: "iptables-save", Family.IPV6: "ip6tables-save"}


def read_counters(field: Field, host: str, families: Iterable[Family]) -> dict[RuleRef, int]:
    """Return the packets that each rule and each chain's policy has counted so far; raises HostError."""
    found: dict[RuleRef, int] = {}
    for family in families:
        for table in parse(_save(field, host, _COMMANDS[family]), family).tables.values():
            for chain in table.chains.values():
                found |= {rule.ref: rule.counters.packets for rule in chain.rules if rule.counters}
                if chain.default is not None and chain.counters is not None:
                    policy = RuleRef(
                        family=family.table_family, table=table.name, chain=chain.name, rule=None, text=chain.default
                    )
                    found[policy] = chain.counters.packets
    return found


def counting_argvs(families: Iterable[Family]) -> tuple[tuple[str, ...], ...]:
    """Return what is run on a host to read its counters; the agent runs the same without sudo."""
    return tuple(save_argv(_COMMANDS[family]) for family in families)


def save_argv(command: str) -> tuple[str, ...]:
    """Return the words of a command that prints rules with their counters."""
    return ("/usr/bin/sudo", "-n", f"/usr/sbin/{command}", "-c")


def _save(field: Field, host: str, command: str) -> str:
    agent = field.agents.get(host)
    if isinstance(agent, Agent):
        answer = agent.call("counters", name=command)
        if answer["status"] != 0:
            raise HostError(host, f"{command} failed: {answer['stderr']}")
        return str(answer["stdout"])
    capture = field.transports[host].run(save_argv(command), name=command)
    if capture.status != 0:
        raise Garbled(host, f"{command} failed: {capture.stderr.strip()}")
    return capture.stdout


def moved(before: dict[RuleRef, int], after: dict[RuleRef, int], rule: RuleRef) -> int | None:
    """Return how far a rule's counter moved; None where that tells nothing.

    That is so where the rule was not there both times (the tables changed), and for a chain's policy that has
    never counted: iptables-nft gives a chain counters only once its policy is set, and prints [0:0] until then.
    """
    if rule not in before or rule not in after or (rule.rule is None and after[rule] == 0):
        return None
    return after[rule] - before[rule]
