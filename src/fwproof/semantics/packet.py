"""Packet: one flow on its way through the tables, and what each test says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from fwproof.decision import RuleRef
from fwproof.flow import AH, ESP, ICMP, ICMPV6, TCP, CtState, Flow, Hook
from fwproof.ruleset.asks import (
    AddressType,
    AnyOf,
    Bits,
    Constant,
    EitherPort,
    Fragment,
    Interface,
    OneOf,
    Oracle,
    Outside,
    Recent,
    ReversePath,
    Test,
    Within,
    atoms,
)  # fmt: skip
from fwproof.ruleset.model import TEMPLATE, Act, Match, Target
from fwproof.semantics import any_of, nat
from fwproof.semantics.context import Answer, Context, Question, question_of, settle
from fwproof.semantics.flow_changes import flag_bits, marked, rewritten
from fwproof.semantics.reverse import followed, leads_back
from fwproof.semantics.routing import Router, own_for
from fwproof.semantics.stages import Way
from fwproof.semantics.subject import Place

PORTED = frozenset({6, 17, 33, 132, 136})
"""TCP, UDP, DCCP, SCTP, UDP-Lite: the protocols whose header starts with two ports."""

SECURED = frozenset({ESP, AH})
"""The protocols whose header has a security parameter index."""

Simulate = Callable[[Test, "Packet", RuleRef], bool | None]
"""Answers an oracle from simulated state, None where it cannot; the text is the rule that asks."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One flow on its way. ``iif`` and ``oif`` None are not known; ``unknown`` are fields a target has changed.

    ``listed`` are the recent lists that a rule has put the packet's address on, on this very walk. ``router`` is
    what the host knows of addresses and routes, ``original`` the flow as it was before nat, ``settled`` the sides
    that a nat target has dealt with and ``translated`` those it has changed. ``own_dst``: nat has sent the packet
    to the host itself; ``notrack``: a rule has kept it from conntrack. ``edits`` counts what was written into it.
    """

    flow: Flow
    local: Callable[[int, frozenset[str]], bool | None]
    not_loopback: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    listed: frozenset[tuple[str, str]] = frozenset()
    simulate: Simulate | None = None
    router: Router | None = None
    original: Flow | None = None
    settled: frozenset[str] = frozenset()
    translated: frozenset[str] = frozenset()
    own_dst: bool = False
    notrack: bool = False
    edits: int = 0

    def meets_nat(self, context: Context) -> bool:
        """Whether a nat chain sees the packet: a first packet whose side no other nat chain has dealt with."""
        side = "dst" if context.hook in {Hook.PREROUTING, Hook.OUTPUT} else "src"
        return self.first and side not in self.settled

    @property
    def first(self) -> bool:
        """NEW, or RELATED unless an ICMP error (nf_nat_inet_fn)."""
        state = self.flow.ctstate
        return state is CtState.NEW or (state is CtState.RELATED and self.flow.proto not in {ICMP, ICMPV6})

    def split(self, match: Match, context: Context, rule: RuleRef, visit: int) -> Iterable[tuple[Answer, Packet]]:
        """Return the one answer that a packet gives to a match, which may be a question back."""
        test, negated = settle(
            match, self.flow.ctstate, self.flow.ctdir, context.after(notrack=self.notrack), self.translated,
            self.unknown,
        )  # fmt: skip
        if isinstance(test, Outside):
            return (self._ask(test, Place(rule, visit, self.edits + context.hops_lost), negated=negated),)
        if isinstance(test, AnyOf):
            answer = self._any_of(test, Place(rule, visit, self.edits + context.hops_lost))
        else:
            answer = self._answer(test)
        return ((False if answer is None else _turn(answer, negated=negated), self),)

    def _answer(self, test: Test) -> Answer | None:
        return None if self.flow.fragment and _transport(test) else self._exact(test)

    def _any_of(self, test: AnyOf, place: Place) -> Answer | None:
        if self.flow.fragment and _transport(test):
            return None

        def ask(part: Test, negated: bool) -> Answer | None:  # noqa: FBT001 - a literal of the product
            if isinstance(part, Outside):
                return self._ask(part, place, negated=negated)[0]
            said = self._any_of(part, place) if isinstance(part, AnyOf) else self._answer(part)
            return None if said is None else _turn(said, negated=negated)

        return any_of.answer(test, ask)

    def _ask(self, test: Outside, place: Place, *, negated: bool) -> tuple[Answer, Packet]:
        after, certain = self, None
        if isinstance(test, Recent):
            spot = (test.list, test.side)
            if test.action == "set":
                after, certain = replace(self, listed=self.listed | {spot}), True
            elif test.action in {"rcheck", "update"} and spot in self.listed and test.hitcount <= 1:
                certain = True
        if isinstance(test, Oracle) and test.kind == "extension":
            certain = False  # a flow is a packet whose transport header comes first
        if isinstance(test, Oracle) and test.kind == "bridged" and self.router is not None:
            certain = False if self.router.bridges() is False else None
        if self.simulate is not None:
            simulated = self.simulate(test, self, place.rule)
            certain = certain if simulated is None else simulated
        if certain is not None:
            return certain != negated, after
        asked = question_of(test, place.rule, place.visit)
        if isinstance(test, Oracle) and test.changeable and not test.each and place.version:
            asked = replace(asked, key=f"{asked.key} after {place.version} changes")
        return _turn(asked, negated=negated), after

    def _exact(self, test: Test) -> Answer | None:  # noqa: PLR0911 - one return for each kind of test
        """Return what the header says; None where the protocol lacks the field, which no negation turns."""
        if isinstance(test, Constant):
            return test.value
        if isinstance(test, Interface):
            return self._interface(test)
        if isinstance(test, Within | Bits):
            return self._number(test)
        if isinstance(test, EitherPort):
            return self._either(test)
        if isinstance(test, Fragment):
            return self.flow.fragment
        if isinstance(test, OneOf):
            word = self.flow.pkttype if test.field == "pkttype" else self.flow.mac_src
            return Question("source MAC not given", "source MAC not given") if word is None else word in test.words
        if isinstance(test, AddressType):
            return self._kind(test)
        if isinstance(test, ReversePath):
            return self._back(test)
        raise AssertionError(test)

    def _back(self, test: ReversePath) -> Answer:
        flow, router = self.flow, self.router
        if flow.iif is not None and router is not None and (followed(router) or flow.iif == "lo"):
            known = leads_back(router, test, flow.src, flow.dst, flow.iif)
            if known is not None and not self.unknown & {"src", "dst"}:
                return known
        return Question(f"{test.text} # {self.edits}", test.text)

    def _interface(self, test: Interface) -> Answer:
        name = self.flow.iif if test.field == "iif" else self.flow.oif
        if name is not None:
            return test.covers(name)
        if test.name == "+":
            return True
        if test.name == "lo" and test.field in self.not_loopback:
            return False
        side = "input" if test.field == "iif" else "output"
        return Question(f"{side} {test.name}", f"{side} interface {test.name} (not given)")

    def _number(self, test: Within | Bits) -> Answer | None:
        if nat.BASE.get(test.field, test.field) in self.unknown and not test.field.startswith("orig_"):
            return Question(f"{test} changed {self.edits}", f"{test.field} after a target changed it")
        value = self._value(test.field)
        if isinstance(value, Question) or value is None:
            return value
        if isinstance(test, Bits):
            return value & test.mask == test.value
        return any(low <= value <= high for low, high in test.ranges)

    def _value(self, field: str) -> int | Question | None:  # noqa: PLR0911 - one return for each field
        flow = self.flow
        if field.startswith("orig_") and self.original is not None:
            flow = self.original
        if field in nat.PORTS and flow.proto not in PORTED:
            return Question(f"conntrack {field}", f"conntrack's {field} of a protocol without ports")
        field = nat.BASE.get(field, field)
        if field in {"src", "dst"}:
            return int(flow.src if field == "src" else flow.dst)
        if field in {"sport", "dport"}:
            if flow.proto not in PORTED:
                return None
            return _given(flow.sport if field == "sport" else flow.dport, f"{field} not given")
        if field == "icmp":
            if flow.proto not in {ICMP, ICMPV6}:
                return None
            kind = flow.icmp_type
            return _given(None if kind is None else kind * 256 + (flow.icmp_code or 0), "ICMP type not given")
        if field == "flags":
            return flag_bits(flow) if flow.proto == TCP else None
        if field == "spi":
            return _given(flow.spi, "SPI not given") if flow.proto in SECURED else None
        number: int = getattr(flow, field)
        return number

    def _either(self, test: EitherPort) -> Answer | None:
        answers = [self._number(Within(field, test.ranges)) for field in ("sport", "dport")]
        if None in answers:
            return None
        if True in answers:
            return True
        return next((answer for answer in answers if isinstance(answer, Question)), False)

    def _kind(self, test: AddressType) -> Answer:
        if test.field in self.unknown:
            return Question(
                f"addrtype {test.text} changed {self.edits}", f"addrtype {test.text} after a target changed it"
            )
        address = int(self.flow.src if test.field == "src" else self.flow.dst)
        answer = self.local(address, test.kinds)
        return Question(f"addrtype {test.text} {address}", f"addrtype {test.text}") if answer is None else answer

    def translate(self, target: Target, context: Context, rule: RuleRef) -> Sequence[Way[Packet]] | None:
        """Return what a nat target may make of the packet: one way for each choice that the kernel has."""
        side = nat.side_of(target, context.hook)
        if side is None or target.nat is None:
            return None
        flow, port_field = self.flow, "sport" if side == "src" else "dport"
        address = nat.UNKNOWN if side in self.unknown else int(flow.src if side == "src" else flow.dst)
        port = (flow.sport if side == "src" else flow.dport) if flow.proto in PORTED else None
        if port_field in self.unknown or (port is None and flow.proto in PORTED):
            port = nat.UNKNOWN
        found = nat.outcomes(target.nat, side, address, port, lambda end: self._own(end, context))
        return nat.ways(found, target, rule, flow.family, lambda outcome: self._written(side, outcome))

    def _own(self, side: str, context: Context) -> Sequence[int] | None:
        if self.router is None or (side == "dst" and context.hook is Hook.PREROUTING and self.flow.iif is None):
            return None
        iif = self.flow.iif if context.hook is Hook.PREROUTING else None
        return own_for(self.router, side, iif, self.flow.oif, self.flow.src if side == "dst" else self.flow.dst)

    def _written(self, side: str, outcome: nat.Outcome) -> Packet:
        flow, unknown = self.flow, set(self.unknown) - {side, f"{side[0]}port"}
        if outcome.address == nat.UNKNOWN:
            unknown.add(side)
        else:
            address = type(flow.dst)(outcome.address)
            flow = replace(flow, src=address) if side == "src" else replace(flow, dst=address)
        if outcome.port == nat.UNKNOWN:
            unknown.add(f"{side[0]}port")
        elif outcome.port is not None:
            flow = replace(flow, sport=outcome.port) if side == "src" else replace(flow, dport=outcome.port)
        changed = flow != self.flow or not unknown <= self.unknown
        return replace(
            self, flow=flow, unknown=frozenset(unknown), original=self.original or self.flow,
            settled=self.settled | {side}, translated=self.translated | ({side} if changed else set()),
            own_dst=outcome.own if side == "dst" else self.own_dst, edits=self.edits + 1,
        )  # fmt: skip

    def change(self, target: Target, context: Context) -> Packet:
        """Return the packet as a target leaves it: marks, notrack, header fields that are not known any more."""
        if target.act is Act.NOTRACK:
            if not context.untracked_yet or TEMPLATE in self.unknown:
                return self
            return replace(self, flow=replace(self.flow, ctstate=CtState.UNTRACKED), notrack=True)
        if target.act is Act.CHANGE:
            flow, unknown = rewritten(self.flow, self.unknown, target, context, notrack=self.notrack)
            edits = self.edits + bool(target.changes)
            return replace(self, flow=flow, unknown=unknown, edits=edits)
        if target.act is Act.CONNMARK and (
            context.untracked_yet or self.flow.ctstate in {CtState.INVALID, CtState.UNTRACKED}
        ):
            return self
        flow, unknown = marked(self.flow, self.unknown, target)
        return replace(self, flow=flow, unknown=unknown)


def _given(number: int | None, missing: str) -> int | Question:
    return Question(missing, missing) if number is None else number


def _transport(test: Test) -> bool:
    """Whether a test looks at the transport header, which a later fragment does not have."""
    return any(
        isinstance(atom, EitherPort) or getattr(atom, "field", "") in {"sport", "dport", "icmp", "flags", "spi"}
        for atom in atoms(test)
    )


def _turn(answer: Answer, *, negated: bool) -> Answer:
    if isinstance(answer, Question):
        return replace(answer, turned=answer.turned != negated)
    return answer != negated
