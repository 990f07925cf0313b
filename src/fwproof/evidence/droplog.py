"""Lines of a packet log, as the kernel's LOG target and ulogd's LOGEMU write them (``nf_log_syslog.c``).

Both print ``PREFIX IN=eth0 OUT= MAC=… SRC=… DST=… … PROTO=TCP SPT=… DPT=…``, so one parser serves both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from fwproof.flow import ICMP, ICMPV6, PROTOCOLS, Address, Flow

_FIELD = re.compile(r"\b(IN|OUT|SRC|DST|PROTO|SPT|DPT|TYPE|CODE)=(\S*)")
_BODY = re.compile(r"^(?P<head>.*?)\bIN=\S* OUT=\S*.*\bSRC=\S+ DST=\S+")
_STAMP = re.compile(
    r"^(?:\w{3}\s+\d+ [\d:]+|\d{4}-\d\d-\d\d[T ][\d:.,+\-Z]+)\s+\S+\s+(?:kernel:\s*)?(?:\[\s*[\d.]+\]\s*)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropLine:
    """One logged packet. Ports are None where the protocol has none; ``text`` is the whole line."""

    text: str
    prefix: str
    iif: str
    oif: str
    src: Address
    dst: Address
    proto: int
    sport: int | None
    dport: int | None
    icmp_type: int | None

    def is_of(self, flow: Flow) -> bool:
        """Whether this line is about that very packet: addresses, protocol and both ports (or the ICMP type)."""
        mine = (self.src, self.dst, self.proto)
        if mine != (flow.src, flow.dst, flow.proto):
            return False
        if self.proto in (ICMP, ICMPV6):
            return self.icmp_type == flow.icmp_type
        return (self.sport, self.dport) == (flow.sport, flow.dport)


def _protocol(text: str) -> int | None:
    if text.isdigit():
        return int(text)
    return PROTOCOLS.get(text.lower())


def parse_line(line: str) -> DropLine | None:
    """Return what a line says, None when it is not a packet log line."""
    body = _BODY.match(line)
    if body is None:
        return None
    fields: dict[str, str] = {}
    for key, value in _FIELD.findall(line):
        fields.setdefault(key, value)  # an ICMP error quotes a second header in brackets: the first one counts
    proto = _protocol(fields.get("PROTO", ""))
    if proto is None:
        return None
    try:
        src, dst = ip_address(fields["SRC"]), ip_address(fields["DST"])
    except (KeyError, ValueError):
        return None

    def number(key: str) -> int | None:
        return int(fields[key]) if fields.get(key, "").isdigit() else None

    return DropLine(
        text=line.rstrip("\n"), prefix=_STAMP.sub("", body["head"]).strip(), iif=fields.get("IN", ""),
        oif=fields.get("OUT", ""), src=src, dst=dst, proto=proto, sport=number("SPT"), dport=number("DPT"),
        icmp_type=number("TYPE"),
    )  # fmt: skip


def parse_log(text: str) -> Iterator[DropLine]:
    """Yield every packet log line of a text, in order."""
    for line in text.splitlines():
        found = parse_line(line)
        if found is not None:
            yield found
