"""The limit of a logging rule, replayed on the lines that it let through."""

from __future__ import annotations

from collections import Counter

from fwproof.review.sorts import HOUR

_JUMP = 60


class Bucket:
    """A bucket of tokens (xt_limit.c): ``burst`` of them, refilled with ``count`` every ``seconds``.

    ``used_up`` counts, by hour, the minutes in which it had nothing left: a further packet was not logged then. Stamps
    of whole seconds hide when within the second it was refilled, so what is all but used up counts as well.
    """

    def __init__(self, count: int, seconds: float, burst: int) -> None:
        self.rate = count / seconds
        self.most = float(burst)
        self.used_up: Counter[int] = Counter()
        self._credit = self.most
        self._last = float("-inf")
        self._minute = 0

    def take(self, time: float) -> None:
        """Count one line. Files may come in any order: after a jump back the bucket is full."""
        if time < self._last - _JUMP:
            self._credit, self._last = self.most, time
        self._credit = min(self.most, self._credit + max(0.0, time - self._last) * self.rate) - 1
        self._last = time
        if self._credit < 1 and int(time // 60) != self._minute:
            self._minute = int(time // 60)
            self.used_up[int(time // HOUR)] += 1
        self._credit = max(self._credit, 0.0)
