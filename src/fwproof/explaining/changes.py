"""The smallest change that closes what is open, or opens what is closed: tried on the tables before it is named.

A change is named as the commands of whoever manages the host: ufw, firewalld, an administrator's chain before
Docker's, else iptables or nft. What it does is computed on the model: the packet is asked again, and all packets are
compared with before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from fwproof.decision import Decision, RuleRef, Ruling
from fwproof.explaining.edits import Edit, Place, applied, chain_at, touched
from fwproof.explaining.spelling import Rough, spelled, taken_out
from fwproof.flow import Family, Flow
from fwproof.frontends.front_end import FrontEnd
from fwproof.semantics.conversation import Conversation, converse
from fwproof.semantics.diff import Change, Comparison, Kind, Selection, compare
from fwproof.semantics.model import HostModel
from fwproof.semantics.space import Claim, SpaceTooLarge
from fwproof.semantics.walk import TooLarge

_MOST_STEPS = 3
_NO_TABLES = frozenset({"routing", "conntrack"})
BUILT_IN_HOOKS = frozenset({"INPUT", "OUTPUT", "FORWARD"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One packet that begins a connection, at one host; ``way`` is ``in``, ``out`` or ``through``."""

    model: HostModel
    front: FrontEnd
    flow: Flow
    found: Conversation
    way: str

    @property
    def family(self) -> Family:
        """The address family of the packet."""
        return self.flow.family

    @property
    def claims(self) -> tuple[Claim, Claim]:
        """The packets that the question is about, this service between these ends, and the answers to them."""
        flow = self.flow
        there = None if self.way == "in" else (ip_network(flow.dst),)
        ports = None if flow.dport is None else ((flow.dport, flow.dport),)
        kinds = None if flow.icmp_type is None else (flow.icmp_type,)
        source = None if self.way == "out" else (ip_network(flow.src),)
        there_and_back = Claim(
            proto=flow.proto, ports=ports, icmp_types=kinds, sources=(ip_network(flow.src),),
            destinations=(ip_network(flow.dst),),
        )  # fmt: skip
        mine = Claim(proto=flow.proto, ports=ports, icmp_types=kinds, sources=source, destinations=there)
        return mine, there_and_back.answers()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A change that does what it should, by the tables: its commands, what then happens, and what else changes.

    ``others`` are changes beyond the question's own packets; ``unknown`` says why it is not known whether there are
    any, empty where it is.
    """

    edits: tuple[Edit, ...]
    after: Conversation
    own: tuple[Change, ...]
    others: tuple[Change, ...]
    unknown: str = ""


def closing(asked: Asked) -> list[Verified]:
    """Return changes after which the packet is refused: for this sender alone, and by taking out what lets it in."""
    found: list[Verified] = []
    for edits in _closings(asked):
        tried = _tried(asked, edits)
        if tried.after.request.ruling.refused:
            found.append(tried)
    return found


def letting_in(model: HostModel, flow: Flow) -> list[RuleRef]:
    """Return the rules and policies that let a packet through, for some value of the oracles or for all."""
    try:
        found = [leaf.by for leaf in model.leaves(flow, traced=False) if leaf.decision is Decision.ACCEPT]
    except TooLarge:
        return []
    return [by for by in dict.fromkeys(found) if by is not None and by.table not in _NO_TABLES]


def _closings(asked: Asked) -> Iterator[tuple[Edit, ...]]:
    for rewritten in (None, asked.found.request.after):  # before nat, and as a rule behind it sees the packet
        edits = _closed(asked, rewritten)
        if edits:
            yield edits
            break
    by = letting_in(asked.model, asked.flow)
    gone = taken_out(by[0], asked.model, asked.front, asked.family) if len(by) == 1 else ()
    if gone:
        yield gone


def _closed(asked: Asked, rewritten: Flow | None) -> tuple[Edit, ...]:
    """Return the rules that refuse a packet, one before each that lets it in; none where that fails."""
    edits: list[Edit] = []
    for _ in range(_MOST_STEPS + 1):
        now = applied(asked.model, edits)
        by = letting_in(now, asked.flow)
        if not by:
            return tuple(edits) if converse(now, asked.flow).request.ruling.refused else ()
        edit = spelled(Rough(asked.flow, asked.way, "drop", by[0], rewritten), now, asked.front)
        if edit is None or edit in edits:
            break
        edits.append(edit)
    return ()


def opening(asked: Asked) -> list[Verified]:
    """Return the change after which the packet and its answers pass, if rules alone can do that."""
    ways = [edits for new_only in (True, False) if (edits := _opened(asked, new_only=new_only))]
    return [_tried(asked, min(ways, key=len))] if ways else []


def _opened(asked: Asked, *, new_only: bool) -> tuple[Edit, ...]:
    """Return the rules that let a connection through, one for each place that refuses it; none where that fails."""
    edits: list[Edit] = []
    for _ in range(_MOST_STEPS + 1):
        found = converse(applied(asked.model, edits), asked.flow)
        if found.works and (found.later is None or found.later.ruling.accepted):
            return tuple(edits)
        edit = _step(asked, found, new_only=new_only)
        if edit is None or edit in edits:
            break
        edits.append(edit)
    return ()


def _step(asked: Asked, found: Conversation, *, new_only: bool) -> Edit | None:
    parts = [part for part in (found.request, found.reply, found.later) if part and not part.ruling.accepted]
    by = parts[0].ruling.by if parts else None
    if by is None or by.table in _NO_TABLES:
        return None
    part = parts[0]
    first = part is found.request
    word = "accept" if not first or not new_only else "accept new"
    answer = part is found.reply
    at = _before(part.ruling, by, asked.model, asked.family)
    rough = Rough(part.flow, _turned(asked.way) if answer else asked.way, word, at, None, answer=answer)
    return spelled(rough, asked.model, asked.front)


def _before(ruling: Ruling, by: RuleRef, model: HostModel, family: Family) -> RuleRef:
    """Return the rule of a base chain that leads to the one that refuses: chains that log and drop serve others too."""
    for step in reversed(ruling.trace):
        chain = chain_at(model, family, Place.of(step.rule))
        is_base = chain is not None and (bool(chain.hook) or chain.name in BUILT_IN_HOOKS)
        if is_base and step.matched == "yes" and (step.rule.family, step.rule.table) == (by.family, by.table):
            return step.rule
    return by


def _turned(way: str) -> str:
    return {"in": "out", "out": "in"}.get(way, way)


def _tried(asked: Asked, edits: tuple[Edit, ...]) -> Verified:
    after = applied(asked.model, edits)
    own: list[Change] = []
    others: list[Change] = []
    unknown = ""
    chosen = [Selection(kind=kind, claims=asked.claims) for kind in (Kind.REACHABLE, Kind.UNREACHABLE)]
    for family in touched(edits):
        mine = family is asked.family
        try:
            found = compare(asked.model, after, family, selections=chosen if mine else ())
        except SpaceTooLarge as limit:
            unknown = str(limit)
            continue
        own += [change for change in found.changes if change.chosen is not None]
        others += [change for change in found.changes if change.chosen is None]
        unknown = unknown or _unknown(found)
    return Verified(
        edits=edits, after=converse(after, asked.flow), own=tuple(own), others=tuple(others), unknown=unknown
    )


def _unknown(found: Comparison) -> str:
    if found.blind:
        return "; ".join(found.blind)
    return f"{found.unlisted} more changes are not listed" if found.unlisted else ""


def way_of(model: HostModel, flow: Flow) -> str:
    """Return how a packet goes: ``out`` of the host, ``in`` to it, or ``through``."""
    own = model.addresses
    if own is None or (flow.iif is None and own.is_local(flow.src)):
        return "out" if own is not None else "in"
    return "in" if own.is_local(flow.dst) else "through"
