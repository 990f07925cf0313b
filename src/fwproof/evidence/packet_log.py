"""A packet log of any make, line by line: syslog files, dmesg, journalctl's JSON and export, ulogd's text and JSON.

Every line is one of the kinds of :class:`Kind`, and a reader can count them all. Anybody who can write to a log can
write a line that looks like a packet: what a program with a process id wrote, and what the journal did not get from the
kernel or from ulogd, is not believed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, BinaryIO, NamedTuple

from fwproof.evidence.log_stamps import Clock, Stamp
from fwproof.evidence.packet_line import Packet, packet_of, packet_of_json, place

LONGEST = 65_536
"""Bytes of a line that are read; the kernel's own lines have less than 1,024 (``LOG_LINE_MAX``, printk.c)."""
_LONGEST_PREFIX = 127
"""Characters of a log prefix at most (``NF_LOG_PREFIXLEN`` 128, nf_log.h)."""
_TRUSTED = frozenset({"kernel", "ulogd"})
_TAG = re.compile(r"(?P<tag>[\w./@-]{1,64})(?:\[(?P<pid>\d{1,10})\])?: ?", re.ASCII)
_UPTIME = re.compile(r"\[\s{0,12}\d{1,12}\.\d{1,9}\] ?", re.ASCII)
_NOT_IP = re.compile(r"(?:^| )(?:ARP HTYPE=|MACPROTO=(?!0800|86dd)|TRUNCATED)")
_FIELD = re.compile(r"\b(?:MAC|SRC|DST|PROTO|PHYSIN|PHYSOUT)=")
"""Without any of these behind them, ``IN=… OUT=…`` are some program's own words."""
_EXPORT = b"__CURSOR="
_FIELDS = frozenset(
    {"MESSAGE", "__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP", "_TRANSPORT", "SYSLOG_IDENTIFIER", "_COMM"}
    | {"_HOSTNAME"}
)


class Kind(StrEnum):
    """What a line is."""

    PACKET = "packet"
    NOT_IP = "not IP"
    NOT_UNDERSTOOD = "not understood"
    NOT_BELIEVED = "not believed"
    OTHER = "other"


class Line(NamedTuple):
    """One line of a log. ``time`` is in seconds since 1970, None where the line has none that can be believed."""

    kind: Kind
    text: str = ""
    time: float | None = None
    packet: Packet | None = None
    host: str = ""
    implausible: bool = False


_NOTHING = Line(Kind.OTHER)


def read_log(stream: BinaryIO, clock: Clock) -> Iterator[Line]:
    """Yield what each line of a log is, in order; never more of it in memory than one line.

    Raises OSError, EOFError and zlib.error as the stream does.
    """
    while raw := stream.readline(LONGEST):
        if raw.startswith(_EXPORT):
            yield _entry(_export(stream), clock)
            continue
        whole = raw.endswith(b"\n") or len(raw) < LONGEST
        while not whole and (more := stream.readline(LONGEST)):
            whole = more.endswith(b"\n")
        yield read_line(raw, clock)


def read_line(raw: bytes, clock: Clock) -> Line:
    """Return what one line is."""
    if raw[:1] in b"{\x1e" or raw.startswith(b"data: {"):
        return _json_line(raw, clock)
    if b"IN=" not in raw and b"SRC=" not in raw:
        return _NOTHING
    text = _text(raw)
    parts = place(text)
    if parts is None:
        return _no_packet(text)
    stamp = clock.read(text)
    host, prefix, believed = _head(parts[0], stamp)
    return _line(text, (prefix, *parts[1:]), stamp, host, believed=believed)


def _no_packet(text: str) -> Line:
    return Line(Kind.NOT_UNDERSTOOD if "SRC=" in text and "DST=" in text else Kind.OTHER, text)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape").rstrip("\r\n")


def _line(text: str, parts: tuple[str, str, str, str], stamp: Stamp, host: str, *, believed: bool) -> Line:
    if not believed or len(parts[0].strip()) > _LONGEST_PREFIX:
        return Line(Kind.NOT_BELIEVED, text, stamp.time, None, host)
    packet = packet_of(*parts)
    if packet is not None:
        return Line(Kind.PACKET, text, stamp.time, packet, host, stamp.implausible)
    if " SRC=" not in f" {parts[3]}" and _NOT_IP.search(parts[3]):
        return Line(Kind.NOT_IP, text, stamp.time, None, host)
    return Line(Kind.NOT_UNDERSTOOD if _FIELD.search(parts[3]) else Kind.OTHER, text, stamp.time, None, host)


def _head(head: str, stamp: Stamp) -> tuple[str, str, bool]:
    """Return the host, the prefix and whether the kernel or ulogd wrote it, from what stands before a packet."""
    rest, host = head[stamp.end :], ""
    if stamp.named:
        host, _, rest = rest.lstrip(" ").partition(" ")
    elif rest.partition(" kernel: ")[1]:  # journalctl -o short-monotonic names the host as well
        host, _, rest = rest.partition(" ")
    tag = _TAG.match(rest)
    if tag is not None and tag["tag"] in _TRUSTED:
        rest = rest[tag.end() :]
        uptime = _UPTIME.match(rest)
        return host, rest[uptime.end() :] if uptime else rest, True
    return host, rest, tag is None or tag["pid"] is None


def _json_line(raw: bytes, clock: Clock) -> Line:
    text = _text(raw).lstrip("\x1e").removeprefix("data: ")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return Line(Kind.NOT_UNDERSTOOD if "SRC=" in text or "src_ip" in text else Kind.OTHER, text)
    if "MESSAGE" in found:
        return _entry(found, clock)
    if not {"oob.prefix", "src_ip", "ip.protocol", "oob.hook"} & found.keys():
        return _NOTHING
    seconds, micro = found.get("oob.time.sec"), found.get("oob.time.usec", 0)
    stamp = clock.read(f"{found.get('timestamp') or found.get('@timestamp') or ''} ")
    if isinstance(seconds, int) and isinstance(micro, int) and 0 < seconds < 1 << 40 and 0 <= micro < 1_000_000:
        stamp = clock.checked(seconds + micro / 1e6)
    packet = packet_of_json(found)
    if packet is None:
        ethertype = found.get("oob.protocol")  # if_ether.h
        arp = isinstance(ethertype, int) and ethertype not in {0x0800, 0x86DD} and "src_ip" not in found
        return Line(Kind.NOT_IP if arp else Kind.NOT_UNDERSTOOD, text, stamp.time)
    return Line(Kind.PACKET, text, stamp.time, packet, "", stamp.implausible)


def _entry(found: dict[str, Any], clock: Clock) -> Line:
    """Return what an entry of the journal is (systemd.journal-fields(7)); fields with ``_`` only the journal writes."""
    message = found.get("MESSAGE")
    if isinstance(message, list):  # bytes that are no text, as numbers
        try:
            message = bytes(message).decode("utf-8", "surrogateescape")
        except (ValueError, TypeError):
            message = None
    if not isinstance(message, str):
        return _NOTHING
    parts = place(message.rstrip("\r\n"))
    if parts is None:
        return _no_packet(message)
    stamp = Stamp(None)
    for key in ("_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP"):
        if re.fullmatch(r"\d{1,17}", str(found.get(key)), re.ASCII):
            stamp = clock.checked(int(str(found[key])) / 1e6)
            break
    by_kernel = found.get("_TRANSPORT", "kernel") == "kernel" and found.get("SYSLOG_IDENTIFIER", "kernel") == "kernel"
    believed = by_kernel or found.get("_COMM") == "ulogd"
    return _line(message, parts, stamp, str(found.get("_HOSTNAME", "")), believed=believed)


def _export(stream: BinaryIO) -> dict[str, Any]:
    """Read an entry of the journal's export format up to its blank line (systemd.io/JOURNAL_EXPORT_FORMATS)."""
    found: dict[str, Any] = {}
    while (raw := stream.readline(LONGEST)) not in {b"", b"\n"}:
        name, equals, value = raw.rstrip(b"\n").partition(b"=")
        if not equals:  # eight bytes of length, so many bytes, and a newline
            left = int.from_bytes(stream.read(8), "little") + 1
            value = stream.read(min(left, LONGEST)).rstrip(b"\n")
            left -= min(left, LONGEST)
            while left > 0 and (more := stream.read(min(left, LONGEST))):
                left -= len(more)
        key = name.decode("ascii", "replace")
        if key in _FIELDS:
            found[key] = value.decode("utf-8", "surrogateescape")
    return found
