"""What lines of a packet log are counted by: their sort, and the hour they are of."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from fwproof.evidence.packet_line import Packet
from fwproof.policy.model import Allow

HOUR = 3600
UNDATED = -1
"""The hour of lines whose time is not known."""
MANY = -1
"""Stands for ports that are not told apart."""
OTHER_PREFIXES = "(other prefixes)"
Key = tuple[int, str, str]
"""What tells logging rules apart in a log: IP version, way and prefix."""


class Sort(NamedTuple):
    """What lines have in common that are counted together.

    ``way`` is ``in``, ``out``, ``forward`` or, where the line names no interface, ``none``. ``opens`` is ``new`` for
    what starts something, ``answer`` for what belongs to something earlier, ``odd`` for TCP flags that no program
    sends, ``many`` for what was sent to many. ``port`` is the destination port or ICMP type, None where it does not
    matter. ``merged``: some of it is left out for want of room.
    """

    version: int
    way: str
    prefix: str
    src: str = ""
    dst: str = ""
    proto: int = 0
    port: int | None = None
    opens: str = "new"
    let_in: bool = False
    iif: str = ""
    oif: str = ""
    merged: bool = False

    @property
    def key(self) -> Key:
        """What tells the rule that logged it from others."""
        return self.version, self.way, self.prefix

    @property
    def asks(self) -> bool:
        """Whether somebody wanted something that can be named."""
        return self.opens in {"new", "odd"} and not self.merged

    @classmethod
    def of(cls, packet: Packet, prefix: str) -> Sort:
        """Return the sort of a packet, under a prefix that may stand for its own."""
        iif, oif, opens = packet.iif, packet.oif, packet.opens
        port = packet.dport if packet.icmp_type is None else packet.icmp_type
        word = "many" if packet.broadcast else "new" if opens else "odd" if opens is None else "answer"
        if word == "answer" and packet.icmp_type is None:
            port = None
        way = "forward" if iif and oif else "in" if iif else "out" if oif else "none"
        src, dst = packet.src, packet.dst
        return cls(src.version, way, prefix, src.text, dst.text, packet.proto, port, word, packet.let_in, iif, oif)


class Share(Enum):
    """Whose room a sort takes: sources of ours and what the policy allows, all others, and what was merged."""

    OURS = 1
    OTHERS = 2
    MERGED = 3


class Cell:
    """Lines of one sort in one hour: how many, the first and last time (0 where undated), and one of them."""

    __slots__ = ("count", "example", "first", "last")

    def __init__(self) -> None:
        self.count = 0
        self.first = self.last = 0.0
        self.example = ""

    def add(self, time: float | None) -> None:
        """Count one line."""
        self.count += 1
        if time is not None:
            if time < self.first or not self.first:
                self.first = time
            self.last = max(self.last, time)

    def take(self, other: Cell) -> None:
        """Add the lines of another one."""
        self.count += other.count
        self.first = min(self.first or other.first, other.first or self.first)
        self.last = max(self.last, other.last)


class Hours(dict[int, Cell]):
    """The cells of one sort by their hour, whose room they take, and the expectation that allows such lines."""

    __slots__ = ("allow", "share")

    def __init__(self, share: Share, allow: Allow | None) -> None:
        super().__init__()
        self.share, self.allow = share, allow
