"""State of the rate-limiting matches, simulated over a burst of packets with a clock of its own.

Follows net/netfilter/xt_recent.c, xt_limit.c, xt_hashlimit.c and xt_connlimit.c; time is in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fwproof.decision import RuleRef
from fwproof.ruleset.asks import ConnLimit, HashLimit, Limit, Opaque, Oracle, Rate, Recent, Test
from fwproof.ruleset.model import Rule
from fwproof.semantics.packet import SECURED, Packet

_DEFAULT_STAMPS = 32
"""Stamps that a list keeps for each address where no rule gives a hit count (XT_RECENT's nstamps mask)."""


@dataclass(slots=True)
class _Bucket:
    """A bucket of tokens: full at first, filled evenly, never over ``burst``."""

    rate: float
    burst: int
    tokens: float
    since: float

    def take(self, now: float) -> bool:
        self.tokens = min(float(self.burst), self.tokens + (now - self.since) * self.rate)
        self.since = now
        if self.tokens < 1 - 1e-9:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class Burst:
    """Answers the rate oracles for packet after packet; ``now`` is set by whoever sends them.

    ``admitted`` are the packets let in so far, whose connections are taken to stay open.
    """

    rules: Iterable[Rule]
    now: float = 0.0
    admitted: list[Packet] = field(default_factory=list)
    _stamps: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    _room: dict[str, int] = field(default_factory=dict)
    _buckets: dict[object, _Bucket] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for rule in self.rules:
            for match in rule.matches:
                if isinstance(match.test, Recent):
                    hits = match.test.hitcount
                    room = 1 << (hits - 1).bit_length() if hits else _DEFAULT_STAMPS
                    self._room[match.test.list] = max(room, self._room.get(match.test.list, 0))

    def answer(self, test: Test, packet: Packet, rule: RuleRef) -> bool | None:
        """Return what the kernel would say of an oracle now; None where no rate decides it."""
        if isinstance(test, Oracle | Opaque) or not isinstance(test, Rate):
            return None
        if isinstance(test, Recent):
            return None if test.ttl else self._recent(test, packet)
        if isinstance(test, Limit):
            # one rule may hold two equal limits, and each has a bucket of its own
            return self._bucket((rule, id(test)), test.count, test.seconds, test.burst).take(self.now)
        if isinstance(test, HashLimit):
            return self._hashlimit(test, packet)
        return self._connlimit(test, packet)

    def _recent(self, test: Recent, packet: Packet) -> bool:
        """Follow recent_mt(): the answer before ``!``, with the stamps that it leaves behind."""
        address = int(packet.flow.src if test.side == "src" else packet.flow.dst) & test.mask
        key = (test.list, address)
        stamps = self._stamps.get(key)
        if test.action == "set":
            self._stamp(key)
            return True
        if stamps is None:
            return False
        if test.action == "remove":
            del self._stamps[key]
            return True
        young = [stamp for stamp in stamps if not test.seconds or stamp >= self.now - test.seconds]
        holds = len(young) >= max(1, test.hitcount)
        if holds and test.action == "update":
            self._stamp(key)
        return holds

    def _stamp(self, key: tuple[str, int]) -> None:
        stamps = self._stamps.setdefault(key, [])
        stamps.append(self.now)
        del stamps[: -self._room.get(key[0], _DEFAULT_STAMPS)]

    def _bucket(self, key: object, count: int, seconds: int, burst: int) -> _Bucket:
        return self._buckets.setdefault(key, _Bucket(count / seconds, burst, float(burst), self.now))

    def _hashlimit(self, test: HashLimit, packet: Packet) -> bool:
        flow = packet.flow
        sport, dport = flow.sport or 0, flow.dport or 0
        if flow.spi is not None and flow.proto in SECURED:
            sport, dport = flow.spi >> 16, flow.spi & 0xFFFF  # what stands where ports would (proto_ports_offset)
        values = {"srcip": int(flow.src) & test.srcmask, "dstip": int(flow.dst), "srcport": sport, "dstport": dport}
        key = (test.list, *(values.get(mode) for mode in test.mode))
        old = self._buckets.get(key)
        if old is not None and self.now - old.since > test.expire:
            del self._buckets[key]
        return self._bucket(key, test.count, test.seconds, test.burst).take(self.now) != test.above

    def _connlimit(self, test: ConnLimit, packet: Packet) -> bool:
        def group(each: Packet) -> int:
            return int(each.flow.src if test.side == "src" else each.flow.dst) & test.mask

        connections = sum(group(each) == group(packet) for each in self.admitted) + 1
        return (connections > test.limit) == test.above
