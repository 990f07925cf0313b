"""The lock-out guard: whether the host can be managed under new tables, and at every moment until they stand.

Two things are asked of each state: that a new log-in gets in and is answered, and that one which stands goes on, since
it is the one that runs the script.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from fwproof.decision import Ruling
from fwproof.flow import TCP, CtState, Flow
from fwproof.flows import reply
from fwproof.gating.states import State, Step
from fwproof.gating.ways import ManagementPath
from fwproof.judging.flow import past
from fwproof.semantics.conversation import converse
from fwproof.semantics.model import HostModel

SECONDS = 20.0
"""How long the states of a script may be looked at before the rest is said to be not known."""


class Harm(StrEnum):
    """What a guard finds, the worst first. The last two are told and fail nothing by themselves."""

    LOCKED_OUT = "locked out"
    CUT = "cut in between"
    UNKNOWN = "not known"
    NO_LOGIN = "no new log-in in between"
    OPEN = "open in between"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One finding: on which way, in words, and from which command on until which one; None is from the start, or on.

    ``by`` says which rule or policy decides.
    """

    harm: Harm
    way: str
    text: str
    by: str = ""
    first: Step | None = None
    until: Step | None = None
    witness: Flow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """What the guard says: the ways that it looked at, in how many states, and what it found."""

    ways: tuple[str, ...]
    states: int
    found: tuple[Found, ...]
    cut_short: str = ""

    @property
    def failed(self) -> bool:
        """Whether somebody is or might be locked out."""
        return any(each.harm in {Harm.LOCKED_OUT, Harm.CUT} for each in self.found)

    @property
    def unclear(self) -> bool:
        """Whether it is not known of some way or state."""
        return not self.ways or bool(self.cut_short) or any(each.harm is Harm.UNKNOWN for each in self.found)


@dataclass(frozen=True, slots=True)
class _Answer:
    """How a packet fares: True it passes, False it does not, None nobody knows; with the packet and its ruling."""

    passes: bool | None
    what: str = ""
    ruling: Ruling | None = None

    @property
    def by(self) -> str:
        return str(self.ruling.by or "") if self.ruling else ""


_PASSES = _Answer(passes=True)


@dataclass(frozen=True, slots=True)
class _Moment:
    """A state, and how a new log-in and one that stands fare in it."""

    state: State
    new: _Answer
    standing: _Answer


def guarded(ways: Sequence[ManagementPath], states: Sequence[State], *, tracked: bool | None = None) -> Guarded:
    """Return what happens to the ways of managing a host over states, of which the last is to stay.

    ``tracked`` is whether conntrack knows the connections that stand already, None where the first state's tables tell.
    """
    begun, short = time.monotonic(), ""
    known = all(states[0].model.tracking(way.flow.family).connections for way in ways) if tracked is None else tracked
    seen: dict[ManagementPath, list[_Moment]] = {way: [] for way in ways}
    for number, state in enumerate(states):
        last = number == len(states) - 1
        if number and state.model is states[number - 1].model and not last:
            continue
        if time.monotonic() - begun > SECONDS and not last:
            short = short or f"looking at every state took longer than {SECONDS:.0f} s: from {state.command} on"
            continue
        for way, moments in seen.items():
            standing = _standing(state.model, way.flow, tracked=known)
            moments.append(_Moment(state, _new(state.model, way.flow), standing))
    found = [each for way, moments in seen.items() for each in _findings(way, moments)]
    order = list(Harm)
    return Guarded(
        ways=tuple(map(str, ways)), states=len(states), cut_short=short,
        found=tuple(sorted(found, key=lambda each: order.index(each.harm))),
    )  # fmt: skip


def _new(model: HostModel, flow: Flow) -> _Answer:
    """Return whether a new log-in gets in and is answered."""
    talk = converse(model, flow)
    first = _answer("a new log-in", talk.request.ruling)
    if first.passes is not True:
        return first
    return _PASSES if talk.reply is None else _answer("the answer to a new log-in", talk.reply.ruling)


def _standing(model: HostModel, flow: Flow, *, tracked: bool) -> _Answer:
    """Return whether a connection that stands goes on, in both directions.

    One that conntrack does not know yet is picked up by its next packet, as a new one without SYN
    (nf_conntrack_tcp_loose), where the tables let that pass.
    """
    flags = frozenset({"ACK"}) if flow.proto == TCP else frozenset[str]()
    state = CtState.ESTABLISHED if tracked or not model.tracking(flow.family).connections else CtState.NEW
    there = replace(flow, ctstate=state, flags=flags)
    back = replace(reply(flow), flags=flags)
    name = "a packet of a log-in that stands" + (
        "" if state is CtState.ESTABLISHED else ", which conntrack does not know"
    )
    for what, packet in ((name, there), ("an answer of a log-in that stands", back)):
        answer = _answer(what, model.evaluate(packet))
        if answer.passes is not True:
            return answer
    return _PASSES


def _answer(what: str, ruling: Ruling) -> _Answer:
    if ruling.accepted:
        return _PASSES
    return _Answer(False if ruling.refused else None, what, ruling)


def _findings(way: ManagementPath, moments: Sequence[_Moment]) -> Iterator[Found]:
    """Yield what is wrong on a way, for log-ins that stand and for new ones."""
    states = [moment.state for moment in moments]
    yield from _of_one(way, states, [moment.standing for moment in moments], Harm.CUT)
    yield from _of_one(way, states, [moment.new for moment in moments], Harm.NO_LOGIN)


def _of_one(
    way: ManagementPath, states: Sequence[State], answers: Sequence[_Answer], between: Harm
) -> Iterator[Found]:  # fmt: skip
    """Yield from when on, or for how long, one kind of packets does not pass; the first state is as things are now."""
    last = len(answers) - 1
    if answers[last].passes is not True:
        first = last
        while first > 0 and answers[first - 1].passes is not True:
            first -= 1
        yield _found(way, answers[last], states[first].command, None, Harm.LOCKED_OUT)
        return
    first = next((n for n in range(1, last) if answers[n].passes is not True), 0)
    if first:
        until = next(n for n in range(first, last + 1) if answers[n].passes is True)
        yield _found(way, answers[first], states[first].command, states[until].command, between)


def _found(
    way: ManagementPath, answer: _Answer, first: Step | None, until: Step | None, harm: Harm
) -> Found:  # fmt: skip
    ruling = answer.ruling
    assert ruling is not None
    if answer.passes is None:
        depends = f" ({', '.join(ruling.depends_on)})" if ruling.depends_on else ""
        text, harm = f"it is not known whether {answer.what} passes{depends}", Harm.UNKNOWN
    else:
        text = f"{answer.what} is {past(ruling.decision)}"
    return Found(harm=harm, way=str(way), text=text, by=answer.by, first=first, until=until)
