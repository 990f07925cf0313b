"""Captured packets as a pcap file that Wireshark and tcpdump open.

The classic format with nanosecond time stamps and link type RAW, packets starting at the IP header
(draft-ietf-opsawg-pcap; LINKTYPE_RAW is 101). TCP packets hold no payload: the agent cuts it off.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from fwproof.observation import Seen

_MAGIC_NANOSECONDS = 0xA1B23C4D
_LINKTYPE_RAW = 101
_SNAPLEN = 65535


def pcap_bytes(packets: Iterable[Seen]) -> bytes:
    """Return the file's content, packets in order of time."""
    parts = [struct.pack("<IHHiIII", _MAGIC_NANOSECONDS, 2, 4, 0, 0, _SNAPLEN, _LINKTYPE_RAW)]
    for seen in sorted(packets, key=lambda each: each.time):
        nanoseconds = round(seen.time * 1_000_000_000)
        length = _original_length(seen.raw)
        seconds, rest = divmod(nanoseconds, 1_000_000_000)
        parts.append(struct.pack("<IIII", seconds, rest, len(seen.raw), length) + seen.raw)
    return b"".join(parts)


def _original_length(raw: bytes) -> int:
    """Return the length on the wire, as the IP header says, so that readers show what was cut."""
    if len(raw) >= 20 and raw[0] >> 4 == 4:
        return max(len(raw), int.from_bytes(raw[2:4], "big"))
    if len(raw) >= 40 and raw[0] >> 4 == 6:
        return max(len(raw), 40 + int.from_bytes(raw[4:6], "big"))
    return len(raw)
