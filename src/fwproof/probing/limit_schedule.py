"""What to send to measure a rate limit, from which sources and when: the least that settles it.

A limit is used up once by each source and is then asked once or more. A sliding window is asked by *canaries*, which
stay silent in between, because a refused attempt may count again; a bucket is asked all the time by the same
source, because a refusal costs no token. ``reference``: xt_recent.c, xt_limit.c, xt_hashlimit.c, nft_limit.c.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fwproof.flow import Address
from fwproof.measured import Part

GAP = 0.002
"""Seconds between two packets of a burst, where no bucket refills faster."""
SPARE = 2
"""Packets of a burst beyond what should be let in: the first tells where the limit is, the second that it stays."""
STEP = 0.06
"""How long before and after the end of a window it is asked, in seconds."""
MOST = 2500
"""Packets of one measurement at most; each needs a source port of its own, of which there are 4000."""
_REST = 0.1
_TURN = 0.03
"""Seconds that an agent needs between two salvos at most, so that none delays the next."""
_FEW = 5
"""Packets of another source that a bucket refuses, as it refills by one or two meanwhile."""
_POLLS = 400
_FASTEST = 0.002
_SHORTEST_POLLING, _REFILLS = 3.2, 2.3
_CANARIES = 6
_MIDDLE = 0.53
"""When a refused source insists, as a part of the window: not at a time that a shorter window may well have."""


class Role(StrEnum):
    """What a salvo is for."""

    BURST = "burst"
    APART = "apart"
    FILL = "fill"
    INSIST = "insist"
    POLL = "poll"
    ASK = "ask"
    CROWD = "crowd"
    RECALL = "recall"


@dataclass(frozen=True, slots=True)
class Source:
    """An address that packets are sent from, and the vantage that has it."""

    vantage: str
    address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvo:
    """``count`` new connections from one source, ``gap`` seconds apart, from ``at`` seconds after the start on."""

    role: Role
    source: Source
    at: float
    count: int = 1
    gap: float = GAP


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a limit is said to do, by the rules or else by the policy.

    ``burst`` connections at once; then ``window`` (seconds, sliding) or ``rate`` (a bucket's refills a second).
    ``shared``: by all sources together. ``gap``: seconds between two connections, where it takes more than GAP.
    """

    burst: int
    window: float | None = None
    rate: float | None = None
    shared: bool = False
    gap: float = GAP


@dataclass(frozen=True, slots=True)
class Schedule:
    """The salvos of one measurement in order of time, and why parts of it are left out."""

    salvos: tuple[Salvo, ...]
    gaps: tuple[str, ...] = ()

    def shots(self) -> tuple[tuple[float, Salvo], ...]:
        """Return every packet as its time and its salvo, in order of time."""
        each = [(salvo.at + number * salvo.gap, salvo) for salvo in self.salvos for number in range(salvo.count)]
        return tuple(sorted(each, key=lambda shot: shot[0]))

    @property
    def packets(self) -> int:
        """How many packets it sends."""
        return sum(salvo.count for salvo in self.salvos)

    @property
    def seconds(self) -> float:
        """How long it takes from the first packet to the last."""
        return max((salvo.at + (salvo.count - 1) * salvo.gap for salvo in self.salvos), default=0.0)


def shared_bits(one: Address, other: Address) -> int:
    """Return how many leading bits two addresses of one family share."""
    return one.max_prefixlen - (int(one) ^ int(other)).bit_length()


def schedule(claim: Claim, sources: Sequence[Source], wanted: Iterable[Part], crowd: Sequence[Source] = ()) -> Schedule:
    """Return what measures the ``wanted`` parts of a limit from the given sources, the first of which is refused.

    Every source must have sent nothing lately that the limit may have counted. ``crowd`` are sources for eviction.
    """
    maker, parts = _Maker(claim, sources), set(wanted)
    maker.burst()
    if Part.ISOLATION in parts:
        maker.isolation(canaries=Part.WINDOW in parts and claim.window is not None and not claim.shared)
    if Part.EVICTION in parts:
        maker.eviction(crowd)
    if Part.WINDOW in parts:
        maker.coming_back()
    found = Schedule(tuple(sorted(maker.salvos, key=lambda salvo: salvo.at)), tuple(maker.gaps))
    if found.packets > MOST:
        gap = f"{found.packets} packets would be needed, and a measurement sends {MOST} at most"
        return Schedule((), (gap,))
    return found


class _Maker:
    """Collects the salvos of one schedule; ``now`` is when the next may begin."""

    def __init__(self, claim: Claim, sources: Sequence[Source]) -> None:
        self.claim, self.first = claim, sources[0]
        near = [s for s in sources[1:] if s.address.version == 6 and shared_bits(s.address, self.first.address) >= 64]
        self.near, self.far = near, [source for source in sources[1:] if source not in near]
        self.gap = min(GAP, 0.25 / (claim.rate * claim.burst)) if claim.rate else claim.gap
        self.salvos: list[Salvo] = []
        self.gaps: list[str] = []
        self.now = 0.0

    def add(self, role: Role, source: Source, at: float, count: int = 1, gap: float | None = None) -> None:
        """Add a salvo."""
        self.salvos.append(Salvo(role=role, source=source, at=at, count=count, gap=gap or self.gap))

    def burst(self) -> None:
        """Let the first source use up its limit, and a little more."""
        count = self.claim.burst + SPARE
        self.add(Role.BURST, self.first, 0.0, count)
        # other vantages must not come first, nor so late that a bucket has refilled by much
        self.now = (count - 1) * self.gap + min(_REST, 1.5 / self.claim.rate if self.claim.rate else _REST)

    def isolation(self, *, canaries: bool) -> None:
        """Let other sources send while the first is refused; canaries do so anyway."""
        if not self.near and not self.far:
            self.gaps.append("whether sources are counted apart: no second spare address stands among the peers")
        for source in (*self.near[:1], *(() if canaries else self.far[:1])):
            self.add(Role.APART, source, self.now, min(self.claim.burst, _FEW) if self.claim.rate else 1)
        if self.first.address.version == 6 and not self.near:
            self.gaps.append("whether a /64 is counted as one: no second spare address stands in the source's /64")

    def eviction(self, crowd: Sequence[Source]) -> None:
        """Let many others send once each, then the first again."""
        if not crowd:
            self.gaps.append("whether many sources push one off the list: no other spare addresses stand there")
            return
        for number, source in enumerate(crowd):
            self.add(Role.CROWD, source, self.now + (number + 1) * GAP)
        self.now += (len(crowd) + 1) * GAP + _REST
        self.add(Role.RECALL, self.first, self.now)
        self.now += _REST

    def coming_back(self) -> None:
        """Find out when and how a used-up limit lets in again."""
        if self.claim.rate:
            self.poll(self.claim.rate)
        elif self.claim.window:
            self.ask(self.claim.window)
        else:
            self.gaps.append("when the limit is free again: neither the rules nor the policy name a time")

    def poll(self, rate: float) -> None:
        """Ask a bucket all the time; three refills tell its rate, and more where they come fast."""
        seconds = max(_SHORTEST_POLLING, _REFILLS / rate)
        gap = max(_FASTEST, seconds / _POLLS)
        self.add(Role.POLL, self.first, self.now, int(seconds / gap), gap)

    def ask(self, window: float) -> None:
        """Let canaries ask around the end of a window, and the first source insist in between."""
        size = self.claim.burst
        self.add(Role.INSIST, self.first, _MIDDLE * window, size)
        self.add(Role.ASK, self.first, window + 3 * STEP)  # later after its own first packet than any canary
        if self.claim.shared or not self.far:
            self.gaps.append("the window by itself: only a second spare address that keeps silent can tell it")
            return
        canaries = self.far[:_CANARIES]
        for number, canary in enumerate(canaries):
            start = self.now + number * (size * self.gap + _TURN)
            self.add(Role.FILL, canary, start, size)
            for after in _moments(number, len(canaries), window, twice=size >= 4):
                self.add(Role.ASK, canary, start + after)


def _moments(number: int, count: int, window: float, *, twice: bool) -> tuple[float, ...]:
    """Return when a canary asks, after its own first packet.

    The first asks just before the end, and again just after it where a refused attempt, which may be stamped twice,
    cannot use up the limit by itself. Others ask earlier: were the window shorter, they would tell by how much.
    """
    before, after = window - STEP, window + STEP
    if count == 1:
        return (before, after) if twice else (after,)
    if number < 2:
        return (before,) if number == 0 else (after,)
    return (window * (number - 1) / (count - 1),)
