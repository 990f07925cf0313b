"""A whole connection: what becomes of its first packet, of those after it, of the answers, and of errors about it.

What conntrack keeps of the first packet decides about the others: their state, their mark, and how they are translated
(nf_conntrack_core.c, nf_nat_core.c). So a port that is open while no answer leaves is told from one that works.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fwproof.decision import Decision, Ruling
from fwproof.flow import ICMP, ICMPV6, TCP, CtState, Flow, Hook
from fwproof.flows import ECHO
from fwproof.semantics.context import TURNED, Connection
from fwproof.semantics.model import HostModel
from fwproof.semantics.packet import Packet
from fwproof.semantics.route import paths
from fwproof.semantics.ruling import rule_on
from fwproof.semantics.walk import Leaf, TooLarge

_TOO_BIG = {4: (ICMP, 3, 4), 6: (ICMPV6, 2, 0)}
"""Protocol, type and code of "this packet is too big for the next link" (RFC 1191, RFC 4443)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One packet of a connection as it reaches the host, and what happens to it.

    ``unknown`` are fields of the flow that hang on what nat picks; the values that it has there mean nothing. ``after``
    is the packet as it leaves, None where it does not, or not in one and the same way.
    """

    flow: Flow
    ruling: Ruling
    unknown: frozenset[str] = frozenset()
    after: Flow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The packets of one connection.

    ``later`` goes the way of the request, ``reply`` comes back, ``error`` says to the sender that a packet was too big.
    All three are None where the request is refused for certain, ``later`` and ``error`` also where conntrack has no
    entry: a rule has kept the connection from it.
    """

    request: Part
    later: Part | None = None
    reply: Part | None = None
    error: Part | None = None

    @property
    def works(self) -> bool:
        """Whether the request and its answer pass, for every value of the oracles."""
        return self.request.ruling.accepted and self.reply is not None and self.reply.ruling.accepted


def converse(model: HostModel, flow: Flow, *, local: bool | None = None) -> Conversation:
    """Follow a connection that begins with ``flow``, whose state has to be NEW; raises ValueError for another.

    ``local`` is whether it ends in the host itself, where the host's addresses do not tell.
    """
    if flow.ctstate is not CtState.NEW:
        raise ValueError(f"a connection begins with a NEW packet, not with {flow.ctstate.value}")
    try:
        leaves = model.leaves(flow)
    except TooLarge:
        return Conversation(request=Part(flow=flow, ruling=model.evaluate(flow)))
    request = Part(flow=flow, ruling=rule_on(leaves), after=_leaving(leaves))
    passed = [_Passed(model, flow, leaf) for leaf in leaves if leaf.decision is Decision.ACCEPT]
    passed = [each for each in passed if local is None or each.known or each.local == local]
    if not passed:
        return Conversation(request=request)
    tracked = [each for each in passed if each.tracked]
    return Conversation(
        request=request, later=_part(model, [each.later() for each in tracked]),
        reply=_part(model, [each.answer() for each in passed]), error=_part(model, [each.error() for each in tracked]),
    )  # fmt: skip


_Case = tuple[Flow, Connection | None]


def _part(model: HostModel, cases: Iterable[_Case]) -> Part | None:
    """Return the ruling on one packet in every case; equal cases are one."""
    leaves: list[Leaf[Packet]] = []
    first: Part | None = None
    for flow, connection in dict.fromkeys(cases):
        hidden = frozenset[str]() if connection is None else connection.hidden(flow.ctdir)
        try:
            leaves += model.leaves(flow, connection=connection)
        except TooLarge:
            return Part(flow=flow, ruling=model.evaluate(flow), unknown=hidden)
        first = first or Part(flow=flow, ruling=_united(leaves), unknown=hidden)
    return None if first is None else replace(first, ruling=_united(leaves), after=_leaving(leaves))


def _leaving(leaves: list[Leaf[Packet]]) -> Flow | None:
    """Return a packet as it leaves."""
    if len(leaves) != 1 or leaves[0].decision is not Decision.ACCEPT or leaves[0].subject.unknown & TURNED.keys():
        return None
    return leaves[0].subject.flow


def _united(leaves: list[Leaf[Packet]]) -> Ruling:
    """Rule on the leaves of several walks, which share no questions."""
    if len({leaf.decision for leaf in leaves}) == 1:
        return rule_on(leaves[:1])
    if any(leaf.decision is Decision.UNKNOWN for leaf in leaves):
        return rule_on(leaves)
    names = dict.fromkeys(question.name for leaf in leaves for question, _ in leaf.choices)
    refused = next(leaf for leaf in leaves if leaf.decision is not Decision.ACCEPT)
    return Ruling(
        decision=Decision.DEPENDS, by=refused.by, may=frozenset(leaf.decision for leaf in leaves),
        depends_on=tuple(names) or ("what became of the first packet",), reject_with=refused.reject_with,
        trace=refused.trace,
    )  # fmt: skip


class _Passed:
    """A first packet that was let through, as it came and as it left."""

    def __init__(self, model: HostModel, flow: Flow, leaf: Leaf[Packet]) -> None:
        packet, answers = leaf.subject, {question.key: value for question, value in leaf.choices}
        self.flow, self.after = flow, packet.flow
        self.connection = Connection(packet.original or packet.flow, packet.flow, packet.translated, packet.unknown)
        self.tracked = self.after.ctstate is not CtState.UNTRACKED
        self.known = model.addresses is not None
        way = paths(flow, None, model.addresses)[0].hooks
        self.outward = answers.get("own source", way[0] is Hook.OUTPUT)
        answered = next(
            (value for key, value in answers.items() if key.startswith("own ") and "source" not in key), None
        )
        own = None if "dst" in packet.unknown else model.router(flow.family).is_own(self.after.dst)
        self.local = bool(packet.own_dst or own if answered is None else answered)

    def later(self) -> _Case:
        """Return the next packet of the same direction, as it comes to the host."""
        flags = frozenset({"ACK"}) if self.flow.proto == TCP else frozenset[str]()
        flow = replace(_bare(self.flow), ctstate=CtState.ESTABLISHED, flags=flags, connmark=self.after.connmark)
        return flow, self.connection

    def answer(self) -> _Case:
        """Return the first answer as the far end sends it, or as the host itself does."""
        after, kinds = self.after, dict(ECHO.values())
        iif, oif = self._way_back()
        flow = replace(
            _bare(after), src=after.dst, dst=after.src, sport=after.dport, dport=after.sport, iif=iif, oif=oif,
            flags=frozenset({"SYN", "ACK"}) if after.proto == TCP else frozenset(), ctdir="reply",
            icmp_type=None if after.icmp_type is None else kinds.get(after.icmp_type, after.icmp_type),
        )  # fmt: skip
        if self.tracked:
            return replace(flow, ctstate=CtState.ESTABLISHED), self.connection
        # without an entry conntrack takes an answer of TCP or ICMP for invalid, and one of UDP for a request
        alone = CtState.INVALID if after.proto in {TCP, ICMP, ICMPV6} else CtState.NEW
        return replace(flow, ctstate=alone, ctdir="original", connmark=0), None

    def error(self) -> _Case:
        """Return a message of the far end, or of the host itself, that a packet was too big."""
        proto, kind, code = _TOO_BIG[self.after.dst.version]
        answer, connection = self.answer()
        return replace(
            answer, proto=proto, sport=None, dport=None, flags=frozenset(), icmp_type=kind, icmp_code=code,
            ctstate=CtState.RELATED,
        ), connection  # fmt: skip

    def _way_back(self) -> tuple[str | None, str | None]:
        """Return the interfaces of an answer: it comes in where the request left, or the host itself sends it."""
        if not self.local:
            return self.after.oif, None
        return None, None if self.known else "lo" if self.outward else self.flow.iif


def _bare(flow: Flow) -> Flow:
    """Return a packet without what belongs to the first one only: its mark, its hardware address, its kind."""
    return replace(flow, mark=0, mac_src=None, pkttype="host", ttl=64, fragment=False)
