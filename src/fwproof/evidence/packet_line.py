"""One logged packet, in the words of the kernel's LOG target (``nf_log_syslog.c``), ulogd's LOGEMU, or ulogd's JSON.

LOG and LOGEMU print ``PREFIXIN=eth0 OUT= MAC=… SRC=… DST=… … PROTO=TCP SPT=… DPT=…``, so one reader serves both. A
prefix is free text and may hold fields of its own: the packet begins at the last ``IN=… OUT=…``, since nothing that
the kernel prints behind it looks like that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, NamedTuple

from fwproof.flow import ICMP, ICMPV6, PROTOCOLS, TCP, UDP

NAME = 15
"""Characters of an interface's name at most (IFNAMSIZ, if.h); the bound also keeps hostile lines cheap to read."""
_PLACE = re.compile(rf"(.*)IN=(\S{{0,{NAME}}}) OUT=(\S{{0,{NAME}}})(?: (.*))?$", re.DOTALL)
_ENDS = re.compile(r"(?:^| )SRC=(\S{2,45}) DST=(\S{2,45}) ")
_WHAT = re.compile(r" PROTO=(\w{1,16})(?: SPT=(\d{1,5}) DPT=(\d{1,5})| TYPE=(\d{1,3}))?", re.ASCII)
_FLAGS = re.compile(r" (SYN|ACK|FIN|RST)(?= )")
_EPHEMERAL = 32768
"""Where Linux begins to choose source ports (``ip_local_port_range``)."""
_ERRORS = {ICMP: frozenset({0, 3, 4, 11, 12}), ICMPV6: frozenset({1, 2, 3, 4, 129})}
"""ICMP types that answer something sent before: errors and echo replies (RFC 792, RFC 4443)."""
_LINK_BROADCAST = "=ff:ff:ff:ff:ff:ff"
"""Where a frame goes to everybody: the first address of ``MAC=``, or ``MACDST=``."""


class End(NamedTuple):
    """An address, as text in its usual form, its IP version, and whether it stands for many (multicast, broadcast)."""

    text: str
    version: int
    many: bool


class Packet(NamedTuple):
    """One logged packet. Ports are None where the protocol has none or the line lacks them.

    ``prefix`` is stripped. ``flags`` are the TCP flags SYN, ACK, FIN and RST that were set, None where the line
    does not show them. ``broadcast``: it was sent to many. ``let_in``: the log itself says that it was not refused.
    """

    prefix: str
    iif: str
    oif: str
    src: End
    dst: End
    proto: int
    sport: int | None
    dport: int | None
    icmp_type: int | None
    flags: frozenset[str] | None = None
    broadcast: bool = False
    let_in: bool = False

    @property
    def opens(self) -> bool | None:
        """Whether it wants something new; False for what answers or belongs to what was there before, None: odd flags.

        Where the line shows no flags it may be a first packet, and counts as one. UDP from a service's port to a port
        that Linux chooses for itself counts as an answer.
        """
        if self.proto == TCP and self.flags is not None:
            if self.flags == {"SYN"}:
                return True
            return False if self.flags & {"ACK", "RST"} else None
        if self.proto == UDP and self.sport is not None and self.dport is not None:
            return not (self.sport < 1024 and self.dport >= _EPHEMERAL)
        return self.icmp_type not in _ERRORS.get(self.proto, ())


@lru_cache(maxsize=1 << 16)
def end(text: str) -> End | None:
    """Return the address that a text is, None for any other text; the kernel prints no zones (``%eth0``)."""
    try:
        found = ip_address("" if "%" in text else text)
    except ValueError:
        return None
    return End(str(found), found.version, found.is_multicast or text == "255.255.255.255")


def place(text: str) -> tuple[str, str, str, str] | None:
    """Return what stands before a packet's fields, its two interfaces, and the fields; None where there are none."""
    found = _PLACE.match(text)
    return None if found is None else (found[1], found[2], found[3], f"{found[4] or ''} ")


def packet_of(prefix: str, iif: str, oif: str, fields: str) -> Packet | None:
    """Return the packet that fields tell of, as :func:`place` took them apart; None where they are not understood."""
    ends = _ENDS.search(fields)
    if ends is None:
        return None
    rest = fields[ends.end() - 1 :]
    quoted = rest.find(" [")  # an ICMP error quotes the header that it is about
    what = _WHAT.search(rest if quoted < 0 else rest[:quoted])
    src, dst = end(ends[1]), end(ends[2])
    if what is None or src is None or dst is None or src.version != dst.version:
        return None
    proto = int(what[1]) if what[1].isdigit() else PROTOCOLS.get(what[1].lower())
    sport, dport, kind = (None if each is None else int(each) for each in what.group(2, 3, 4))
    if proto is None or proto > 255 or max(sport or 0, dport or 0) > 65535 or (kind or 0) > 255:
        return None
    shown = proto == TCP and " WINDOW=" in rest
    return Packet(
        prefix.strip(), iif, oif, src, dst, proto, sport, dport, kind,
        frozenset(_FLAGS.findall(rest)) if shown else None,
        dst.many or _LINK_BROADCAST in fields,
    )  # fmt: skip


def packet_of_json(found: Mapping[str, Any]) -> Packet | None:
    """Return the packet of an object that ulogd_output_JSON.c wrote; None where it is not understood."""
    src, dst = (found.get(each) or found.get(other) for each, other in
                (("src_ip", "ip.saddr.str"), ("dest_ip", "ip.daddr.str")))  # fmt: skip
    proto = found.get("ip.protocol", found.get("ip6.nexthdr"))
    ends = [end(each) if isinstance(each, str) else None for each in (src, dst)]
    texts = [found.get(key) or "" for key in ("oob.prefix", "oob.in", "oob.out")]
    if not isinstance(proto, int) or not 0 <= proto <= 255 or not all(isinstance(text, str) for text in texts):
        return None
    if ends[0] is None or ends[1] is None or ends[0].version != ends[1].version:
        return None
    name = {TCP: "tcp", UDP: "udp", 132: "sctp"}.get(proto, "")
    prefix, iif, oif = texts
    flags = {flag.upper() for flag in ("syn", "ack", "fin", "rst") if found.get(f"tcp.{flag}") == 1}
    return Packet(
        prefix.strip(), iif, oif, ends[0], ends[1], proto,
        _number(found, 65535, "src_port", f"{name}.sport"), _number(found, 65535, "dest_port", f"{name}.dport"),
        _number(found, 255, "icmp.type" if proto == ICMP else "icmpv6.type") if proto in {ICMP, ICMPV6} else None,
        frozenset(flags) if proto == TCP and "tcp.syn" in found else None,
        ends[1].many or found.get("mac.daddr.str") == _LINK_BROADCAST[1:], found.get("action") == "allowed",
    )  # fmt: skip


def _number(found: Mapping[str, Any], most: int, *keys: str) -> int | None:
    for key in keys:
        value = found.get(key)
        if isinstance(value, int) and 0 <= value <= most:
            return int(value)
    return None
