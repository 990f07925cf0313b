"""What bursts left behind: a limit that was used up stays so for its window, also for the next audit.

Where the host's kernel lets the agent take the source off its list, nothing stays; in the lab, and for limits
that cannot be emptied, the next audit waits until the window has passed.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from fwproof.flow import Address

_LOCK = threading.Lock()
"""Bursts from several threads are noted in one file; other processes are kept off by the audit's lock."""


@dataclass(frozen=True, slots=True)
class Memory:
    """A file of bursts: target and source address to the time at which their window ends (seconds, epoch)."""

    path: Path

    def note(self, target: Address, source: Address, window: float) -> None:
        """Remember that a burst was sent now, whose effect lasts ``window`` seconds."""
        with _LOCK:
            known = {key: end for key, end in self._read().items() if end > time.time()}
            known[f"{target} {source}"] = time.time() + window
            self.path.parent.mkdir(parents=True, exist_ok=True)
            aside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            aside.write_text(json.dumps(known), encoding="utf-8")
            aside.replace(self.path)

    def left(self, target: Address, source: Address) -> float:
        """Return how many seconds an earlier burst from ``source`` still counts at ``target``."""
        return max(0.0, self._read().get(f"{target} {source}", 0.0) - time.time())

    def _read(self) -> dict[str, float]:
        try:
            known = json.loads(self.path.read_text(encoding="utf-8"))
            return {str(key): float(end) for key, end in known.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}  # without a memory the worst is one burst that finds its limit used up, which then shows
