"""Reading a measurement: from who was let in when, to the limit's numbers. The same for the wire and the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import ceil, inf

from fwproof.measured import Crowd, Interval, Manner, Measured
from fwproof.probing.limit_schedule import Role, Source, shared_bits

TICK = 0.01
"""The coarsest clock of a kernel's limiters: one jiffy at 100 Hz, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one packet: when it arrived (seconds), and whether it was let in, None where nobody saw."""

    role: Role
    source: Source
    at: float
    let_in: bool | None


def read(answers: Sequence[Answer], gaps: Iterable[str] = ()) -> Measured:
    """Return the numbers that the answers, in order of time, allow."""
    told = list(gaps)
    lost = sum(answer.let_in is None for answer in answers)
    if lost:
        told.append(f"{lost} of {len(answers)} packets were lost before the host, or nobody saw what became of them")
    seen = [answer for answer in answers if answer.let_in is not None]
    burst = _of(answers, Role.BURST)
    if not burst:
        return Measured(sent=0, burst=None, gaps=tuple(told))
    first = burst[0].source
    size = _size(burst)
    if size is None:
        whole = all(answer.let_in for answer in burst)
        return Measured(
            sent=len(burst), burst=None, manner=Manner.NONE if whole else Manner.UNSEEN, gaps=tuple(told)
        )  # fmt: skip
    rate = _rate(_of(seen, Role.POLL))
    others = [a for a in seen if a.role in {Role.APART, Role.FILL}]
    apart, together = _group(first, [a for a in others if a.at > burst[size].at])
    early = apart is None and any(a.at <= burst[size].at for a in others)
    if early:
        told.append("how many are let in at once: another source, which may share the limit, was there too early")
    window = _window(seen, first, size) if not rate else None
    let_in = _refilled(burst, rate) if rate else size
    return Measured(
        sent=len(burst), burst=None if early else let_in, manner=_manner(seen, rate, window),
        window=window, rate=rate, apart=apart, together=together, extends=_extends(seen, first, window),
        crowd=_crowd(seen), gaps=tuple(told),
    )  # fmt: skip


def _of(answers: Iterable[Answer], role: Role) -> list[Answer]:
    return [answer for answer in answers if answer.role is role]


def _size(burst: Sequence[Answer]) -> int | None:
    """Return how many were let in before the first refusal; None where none was refused, or one was lost before."""
    for number, answer in enumerate(burst):
        if answer.let_in is None:
            return None
        if not answer.let_in:
            return number
    return None


def _refilled(burst: Sequence[Answer], rate: Interval) -> int | None:
    """Return the size of a bucket that was refilled at ``rate`` while the burst went on; None if two may be it."""
    size = _size(burst)
    assert size is not None
    start, refused = burst[0].at, burst[size].at
    last = burst[size - 1].at if size else start
    least = ceil(size - rate.high * (last - start) - 1e-9)
    most = ceil(size + 1 - rate.low * (refused - start) - 1e-9) - 1
    return least if least == most else None


def _rate(polls: Sequence[Answer]) -> Interval | None:
    """Return a bucket's refills a second, from the refusals right before what was let in; None where too few were.

    A token came after the refusal before its use and not after the use. Between the uses of any two lie as many refills
    as were let in after the first; all pairs together make a hole in the polling harmless. None as well where the
    pairs contradict each other, as they do when tokens went elsewhere or ran over.
    """
    used: list[tuple[float, float]] = []
    refused: float | None = None
    for before, answer in pairwise(polls):
        refused = refused if before.let_in else before.at
        if answer.let_in and refused is not None:
            used.append((refused, answer.at))
    low, high = 0.0, inf
    for (one, (refused, let_in)), (other, (refused_later, let_in_later)) in combinations(enumerate(used), 2):
        count, shortest = other - one, refused_later - let_in - TICK
        low = max(low, count / (let_in_later - refused + TICK))
        high = min(high, count / shortest) if shortest > 0 else high
    return Interval(low, high) if low <= high < inf else None


def _group(first: Source, others: Iterable[Answer]) -> tuple[int | None, int | None]:
    """Return the longest prefix shared with a source counted apart, and the shortest with one counted together."""
    known: dict[Source, list[bool]] = {}
    for answer in others:
        known.setdefault(answer.source, []).append(bool(answer.let_in))
    # a shared bucket refills meanwhile, and lets in one or two of several
    free = {source: 2 * sum(each) > len(each) for source, each in known.items()}
    bits = {source: shared_bits(first.address, source.address) for source in known}
    apart = max((bits[source] for source in known if free[source]), default=None)
    together = min((bits[source] for source in known if not free[source]), default=None)
    return apart, together


def _window(seen: Sequence[Answer], first: Source, size: int) -> Interval | None:
    """Return how long a used-up limit stays so, None where nobody asked.

    The window begins with a source's first packet. Canaries that had used up theirs tell it, and the first source as
    well where its refused attempts turn out not to count. A refused attempt may be stamped twice; as long as those
    cannot fill the limit by themselves, a later one still tells the same.
    """
    if _dripped(seen):
        return None
    low, high, asked = 0.0, inf, False
    for source in {answer.source for answer in seen if answer.role is Role.FILL} | {first}:
        own = [a for a in seen if a.source == source and a.role is not Role.RECALL]
        if sum(bool(a.let_in) for a in own if a.role in {Role.FILL, Role.BURST}) != size:
            continue
        later = [a for a in own if a.role in {Role.INSIST, Role.ASK}]
        refused = sum(not a.let_in for a in own if a.role is Role.BURST)
        for number, ask in enumerate(later, refused):
            since, silent = ask.at - own[0].at, 2 * number + 1 < size or not number
            if ask.let_in:
                high, asked = min(high, since), True
                break
            if silent:
                low, asked = max(low, since), True
    return Interval(low, high) if asked else None


def _dripped(seen: Iterable[Answer]) -> bool:
    """Whether a used-up limit let in some of those that insisted and not all, as a bucket does."""
    return {bool(answer.let_in) for answer in seen if answer.role is Role.INSIST} == {True, False}


def _manner(seen: Sequence[Answer], rate: Interval | None, window: Interval | None) -> Manner:
    if rate or _dripped(seen) or any(answer.let_in for answer in _of(seen, Role.POLL)):
        return Manner.BUCKET
    insisted = _of(seen, Role.INSIST)
    if window is not None and window.high < inf and insisted and not any(answer.let_in for answer in insisted):
        return Manner.WINDOW
    return Manner.UNSEEN


def _extends(seen: Sequence[Answer], first: Source, window: Interval | None) -> bool | None:
    """Return whether a source that insisted is still refused when the window of those who kept silent is over."""
    own = [a for a in seen if a.source == first and a.role in {Role.BURST, Role.INSIST, Role.ASK}]
    insisted, asked = _of(own, Role.INSIST), _of(own, Role.ASK)
    if _dripped(insisted):
        return False
    if not insisted or not asked or any(answer.let_in for answer in insisted):
        return None
    if asked[-1].let_in:
        return False
    return True if window is not None and asked[-1].at - own[0].at >= window.high else None


def _crowd(seen: Sequence[Answer]) -> Crowd | None:
    recalled = _of(seen, Role.RECALL)
    if not recalled:
        return None
    return Crowd(sources=len(_of(seen, Role.CROWD)), evicted=bool(recalled[0].let_in))
