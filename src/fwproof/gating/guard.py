"""The lock-out guard: whether the host can be managed under new tables, and at every moment until they stand.

Two things are asked of each state: that a new log-in gets in and is answered, and that one which stands goes on, since
it is the one that runs the script.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from fwproof.decision import Ruling
from fwproof.flow import TCP, CtState, Flow
from fwproof.flows import reply
from fwproof.gating.script import Command
from fwproof.gating.states import State
from fwproof.gating.ways import ManagementPath
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
    first: Command | None = None
    until: Command | None = None
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


def guarded(ways: Sequence[ManagementPath], states: Iterable[State], *, tracked: bool | None = None) -> Guarded:
    """Return what happens to the ways of managing a host over states, of which the last is to stay.

    ``tracked`` is whether conntrack knows the connections that stand already, None where it is to be told by the first
    state's tables.
    """
    begun, count, short = time.monotonic(), 0, ""
    known: dict[ManagementPath, list[tuple[State, _Answer, _Answer]]] = {way: [] for way in ways}
    last: HostModel | None = None
    pending: State | None = None
    for state in states:
        tracked = _tracks(state.model, ways) if tracked is None else tracked
        pending, count = state, count + 1
        if state.model is last:
            continue
        if time.monotonic() - begun > SECONDS:
            short = short or f"looking at every state took longer than {SECONDS:.0f} s: those after {state.command}"
            continue
        last = state.model
        for way, answers in known.items():
            answers.append((state, _new(state.model, way.flow), _standing(state.model, way.flow, tracked=tracked)))
    if short and pending is not None:
        for way, answers in known.items():
            answers.append(
                (pending, _new(pending.model, way.flow), _standing(pending.model, way.flow, tracked=bool(tracked)))
            )
    found = [each for way, answers in known.items() for each in _findings(way, answers)]
    order = list(Harm)
    return Guarded(
        ways=tuple(map(str, ways)), states=count, cut_short=short,
        found=tuple(sorted(found, key=lambda each: order.index(each.harm))),
    )  # fmt: skip


def _tracks(model: HostModel, ways: Sequence[ManagementPath]) -> bool:
    return all(model.tracking(way.flow.family).connections for way in ways)


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
    name = "a packet of a log-in that stands" + ("" if state is CtState.ESTABLISHED else ", which conntrack does not know")
    for what, packet in ((name, there), ("an answer of a log-in that stands", back)):
        answer = _answer(what, model.evaluate(packet))
        if answer.passes is not True:
            return answer
    return _PASSES


def _answer(what: str, ruling: Ruling) -> _Answer:
    if ruling.accepted:
        return _PASSES
    return _Answer(False if ruling.refused else None, what, ruling)


def _findings(way: ManagementPath, answers: Sequence[tuple[State, _Answer, _Answer]]) -> list[Found]:
    if not answers:
        return []
    found: list[Found] = []
    final = answers[-1][1:]
    for which, harm in ((1, Harm.NO_LOGIN), (0, Harm.CUT)):  # those that stand are looked at first
        at = 2 if which == 0 else 1
        series = [(entry[0], entry[at]) for entry in answers]
        ended = series[-1][1]
        bad = [n for n, (_, answer) in enumerate(series) if answer.passes is not True and n > 0]
        if ended.passes is not True:
            start = len(series) - 1
            while start > 0 and series[start - 1][1].passes is not True:
                start -= 1
            wrong = Harm.LOCKED_OUT if ended.passes is False else Harm.UNKNOWN
            found.append(_found(wrong, way, ended, series[start][0].command if start else None, None))
        elif bad:
            first, until = series[bad[0]], _next_good(series, bad[0])
            wrong = harm if first[1].passes is False else Harm.UNKNOWN
            found.append(_found(wrong, way, first[1], first[0].command, until))
    del final
    return list({(each.harm, each.text, each.first): each for each in found}.values())


def _next_good(series: Sequence[tuple[State, _Answer]], at: int) -> Command | None:
    return next((state.command for state, answer in series[at:] if answer.passes is True), None)


def _found(
    harm: Harm, way: ManagementPath, answer: _Answer, first: Command | None, until: Command | None
) -> Found:  # fmt: skip
    ruling = answer.ruling
    assert ruling is not None
    how = {"accept": "accepted", "drop": "dropped", "reject": "rejected"}.get(ruling.decision.value, "")
    depends = f" ({', '.join(ruling.depends_on)})" if ruling.depends_on else ""
    text = f"{answer.what} is {how}" if how else f"it is not known whether {answer.what} passes{depends}"
    return Found(harm=harm, way=str(way), text=text, by=answer.by, first=first, until=until)


def by_kind(found: Iterable[Found]) -> Mapping[Harm, list[Found]]:
    """Return findings by what they are."""
    kinds: dict[Harm, list[Found]] = {}
    for each in found:
        kinds.setdefault(each.harm, []).append(each)
    return kinds
