"""Sets of ports as one number each: bit n stands for port n. Set operations on all ports cost microseconds."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator

Ranges = tuple[tuple[int, int], ...]
_BYTES = 8192
ALL = (1 << 65536) - 2
"""The ports 1 to 65535."""


def of_ranges(ranges: Iterable[tuple[int, int]]) -> int:
    """Return the set of the ports in some ranges, both ends included."""
    found = 0
    for low, high in ranges:
        found |= (1 << (high + 1)) - (1 << low)
    return found


def of_ports(ports: Iterable[int]) -> int:
    """Return the set of some ports."""
    return of_ranges((port, port) for port in ports)


def ranges_of(ports: int) -> Ranges:
    """Return a set as ranges, lowest first."""
    found, at = [], 0
    while ports:
        skip = (ports & -ports).bit_length() - 1
        ports >>= skip
        at += skip
        run = (~ports & (ports + 1)).bit_length() - 1
        found.append((at, at + run - 1))
        ports >>= run
        at += run
    return tuple(found)


def members(ports: int) -> Iterator[int]:
    """Yield the ports of a set, lowest first."""
    for low, high in ranges_of(ports):
        yield from range(low, high + 1)


def words(ports: int) -> str:
    """Return a set in words: ``22, 80, 1000-1099``."""
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges_of(ports))


def packed(ports: int) -> str:
    """Return a set as the agent reads it: a bit map, deflated, in base64."""
    return base64.b64encode(zlib.compress(ports.to_bytes(_BYTES, "little"))).decode()


def unpacked(text: str) -> int:
    """Return a set that the agent wrote; raises ValueError for what is none."""
    inflate = zlib.decompressobj()
    try:
        bits = inflate.decompress(base64.b64decode(text, validate=True), _BYTES)
    except zlib.error as error:
        raise ValueError("not a deflated bit map") from error
    if len(bits) != _BYTES:
        raise ValueError(f"a bit map has {_BYTES} bytes, not {len(bits)}")
    return int.from_bytes(bits, "little")
