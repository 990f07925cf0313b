"""One rule as whoever manages the host would have it: its words, its place among the others, and the command.

Sources: iptables(8), nft(8) ("index" counts from 0), ufw(8) ("prepend", since 0.36), firewall-cmd(1) and
firewalld.richlanguage(5), Docker's documentation of DOCKER-USER.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fwproof.decision import RuleRef
from fwproof.explaining.edits import Edit, Place, chain_at, is_legacy, is_native, rule_of
from fwproof.flow import ICMPV6, TCP, UDP, Family, Flow
from fwproof.frontends import docker
from fwproof.frontends.commands import command
from fwproof.frontends.front_end import FrontEnd
from fwproof.frontends.ufw import Ufw
from fwproof.semantics.model import HostModel

_NAMES = {TCP: "tcp", UDP: "udp"}
_ZONE = re.compile(r"filter_IN_(?!policy_)(.+?)(?:_(?:pre|log|deny|allow|post))?")


@dataclass(frozen=True, slots=True)
class Rough:
    """A rule that is wanted: for which packet, on which way, to ``drop``, ``accept`` or ``accept new``; before ``by``.

    ``rewritten`` is the packet as nat has made it, where that is what the rule sees. ``answer``: the packet is one.
    """

    flow: Flow
    way: str
    does: str
    by: RuleRef
    rewritten: Flow | None = None
    answer: bool = False


def spelled(rough: Rough, model: HostModel, front: FrontEnd) -> Edit | None:
    """Return the change that puts the rule in, None where there is no place for it."""
    if rough.does == "drop" and docker.publishes(rough.by):
        found = _before_docker(rough, model)
        if found is not None:
            return found
    if front.ufw is not None and (front.ufw.ipv6 or rough.flow.family is Family.IPV4) and not rough.answer:
        found = _by_ufw(rough, model)
        if found is not None:
            return found
    if rough.by.table == "firewalld":
        return _by_firewalld(rough, model, front)
    return _by_hand(rough, model)


def _by_hand(rough: Rough, model: HostModel) -> Edit | None:
    flow, place = rough.rewritten or rough.flow, Place.of(rough.by)
    if chain_at(model, flow.family, place) is None:
        return None
    at, words = rough.by.rule, _words(flow, rough)
    if is_native(model, flow.family, place):
        text = _native(flow, rough)
        where = f"{place.family} {place.table} {place.chain}"
        verb = ["insert", "rule", *where.split(), "index", str(at - 1)] if at else ["add", "rule", *where.split()]
        line, rule = command(["nft", *verb, *text.split()]), rule_of(words, flow.family, text)
        return Edit(family=flow.family, place=place, at=at, rule=rule, command=line)
    tool = _tool(model, flow.family, place)
    table = [] if place.table == "filter" else ["-t", place.table]
    spot = ["-I", place.chain, at] if at else ["-A", place.chain]
    line = command([tool, *table, *spot, *words.split()])
    return Edit(family=flow.family, place=place, at=at, rule=rule_of(words, flow.family), command=line)


def _tool(model: HostModel, family: Family, place: Place) -> str:
    tool = "ip6tables" if family is Family.IPV6 else "iptables"
    return f"{tool}-legacy" if is_legacy(model, family, place) else tool


def _words(flow: Flow, rough: Rough) -> str:
    """Return the rule as iptables has it, without its chain."""
    parts = ["-s", str(flow.src)] if rough.way != "out" or rough.answer else []
    parts += ["-d", str(flow.dst)] if rough.way != "in" or rough.answer else []
    if flow.proto in _NAMES:
        name = _NAMES[flow.proto]
        parts += [
            "-p",
            name,
            "-m",
            name,
            *(["--sport", str(flow.sport)] if rough.answer else ["--dport", str(flow.dport)]),
        ]
    elif flow.icmp_type is not None:
        six = flow.proto == ICMPV6
        parts += ["-p", "ipv6-icmp" if six else "icmp", "-m", "icmp6" if six else "icmp"]
        parts += ["--icmpv6-type" if six else "--icmp-type", str(flow.icmp_type)]
    else:
        parts += ["-p", str(flow.proto)]
    state = "ESTABLISHED" if rough.answer else "NEW" if rough.does == "accept new" else ""
    parts += ["-m", "conntrack", "--ctstate", state] if state else []
    return " ".join([*parts, "-j", "DROP" if rough.does == "drop" else "ACCEPT"])


def _native(flow: Flow, rough: Rough) -> str:
    """Return the rule as nft has it."""
    word = "ip6" if flow.family is Family.IPV6 else "ip"
    parts = [f"{word} saddr {flow.src}"] if rough.way != "out" or rough.answer else []
    parts += [f"{word} daddr {flow.dst}"] if rough.way != "in" or rough.answer else []
    if flow.proto in _NAMES:
        parts.append(f"{_NAMES[flow.proto]} {f'sport {flow.sport}' if rough.answer else f'dport {flow.dport}'}")
    elif flow.icmp_type is not None:
        parts.append(f"{'icmpv6' if flow.proto == ICMPV6 else 'icmp'} type {flow.icmp_type}")
    else:
        parts.append(f"meta l4proto {flow.proto}")
    state = "established" if rough.answer else "new" if rough.does == "accept new" else ""
    parts += [f"ct state {state}"] if state else []
    return " ".join([*parts, "drop" if rough.does == "drop" else "accept"])


def _before_docker(rough: Rough, model: HostModel) -> Edit | None:
    """Return the rule in the chain that Docker leaves to administrators, which sees the port that was asked for."""
    family, flow = rough.flow.family, rough.flow
    place = Place(family=family.table_family, table="filter", chain="DOCKER-USER")
    if chain_at(model, family, place) is None or flow.proto not in _NAMES:
        return None
    words = (f"-s {flow.src} -p {_NAMES[flow.proto]} -m conntrack --ctstate DNAT --ctorigdstport {flow.dport}"
             " --ctdir ORIGINAL -j DROP")  # fmt: skip
    line = command([_tool(model, family, place), "-I", "DOCKER-USER", *words.split()])
    return Edit(family=family, place=place, at=1, rule=rule_of(words, family), command=line)


def _by_ufw(rough: Rough, model: HostModel) -> Edit | None:
    """Return the rule as the first of ufw's; None for what ufw has no rule for."""
    flow = rough.flow
    suffix = {"in": "input", "out": "output"}.get(rough.way)
    if suffix is None or flow.proto not in _NAMES:
        return None
    chain = f"ufw{'6' if flow.family is Family.IPV6 else ''}-user-{suffix}"
    place = Place(family=flow.family.table_family, table="filter", chain=chain)
    if chain_at(model, flow.family, place) is None:
        return None
    verb = "deny" if rough.does == "drop" else "allow"
    ends = ["from", flow.src, "to", "any"] if rough.way == "in" else ["out", "from", "any", "to", flow.dst]
    line = command(["ufw", "prepend", verb, *ends, "port", flow.dport, "proto", _NAMES[flow.proto]])
    words = _words(flow, Rough(flow, rough.way, rough.does.removesuffix(" new"), rough.by))
    return Edit(family=flow.family, place=place, at=1, rule=rule_of(words, flow.family), command=line)


def _by_firewalld(rough: Rough, model: HostModel, front: FrontEnd) -> Edit | None:
    """Return a rich rule of the zone that decides; None where it is no zone's matter."""
    flow = rough.flow
    zone = _ZONE.fullmatch(rough.by.chain)
    name = zone[1] if zone else _only_zone(front)
    if rough.way != "in" or rough.answer or not name or flow.proto not in _NAMES:
        return None
    drop = rough.does == "drop"
    place = Place(family=rough.by.family, table="firewalld", chain=f"filter_IN_{name}_{'deny' if drop else 'allow'}")
    if chain_at(model, flow.family, place) is None:
        return None
    rich = (f'rule family="{flow.family.value}" source address="{flow.src}" '
            f'port port="{flow.dport}" protocol="{_NAMES[flow.proto]}" {"drop" if drop else "accept"}')  # fmt: skip
    line = command(["firewall-cmd", "--permanent", f"--zone={name}", f"--add-rich-rule={rich}"])
    words = _words(flow, Rough(flow, "in", "drop" if drop else "accept new", rough.by))
    text = _native(flow, Rough(flow, "in", "drop" if drop else "accept new", rough.by))
    rule, line = rule_of(words, flow.family, text), f"{line} && firewall-cmd --reload"
    return Edit(family=flow.family, place=place, at=1, rule=rule, command=line)


def _only_zone(front: FrontEnd) -> str:
    """Return the zone that has interfaces, where it is but one; empty where that is not sure."""
    zones = front.firewalld.running.values() if front.firewalld else ()
    active = [zone.name for zone in zones if zone.of("interfaces")]
    return active[0] if len(active) == 1 else ""


def taken_out(ref: RuleRef, model: HostModel, front: FrontEnd, family: Family) -> tuple[Edit, ...]:
    """Return the changes that take a rule out; none for a policy and for what only its maker can take out."""
    if ref.rule is None or docker.publishes(ref):
        return ()
    if front.ufw is not None and ref in front.ufw.known:
        return _ufw_rule_out(ref, front.ufw)
    place, line = Place.of(ref), ""
    if front.firewalld is not None and ref in front.firewalld.known:
        line = front.firewalld.known[ref].removals()
    elif front.name(ref):
        return ()  # it comes back with the next reload of whoever made it
    elif is_native(model, family, place):
        where = f"{place.family} {place.table} {place.chain}"
        line = f"nft delete rule {where} handle N    (the handle of rule {ref.rule} in `nft -a list chain {where}`)"
    else:
        table = [] if place.table == "filter" else ["-t", place.table]
        line = command([_tool(model, family, place), *table, "-D", place.chain, ref.rule])
    return (Edit(family=family, place=place, at=ref.rule, rule=None, command=line),) if line else ()


def _ufw_rule_out(ref: RuleRef, ufw: Ufw) -> tuple[Edit, ...]:
    """Return everything that goes with a rule of ufw: its kernel rules of both families, the last of a chain first."""
    rule = ufw.known[ref]
    line = rule.deletion or f"ufw delete {rule.number}"
    gone = [each for each, other in ufw.known.items() if each == ref or (rule.deletion and other.deletion == line)]
    families = {family.table_family: family for family in Family}
    return tuple(
        Edit(family=families[each.family], place=Place.of(each), at=each.rule, rule=None, command=line)
        for each in sorted(gone, key=lambda each: each.rule or 0, reverse=True)
    )
