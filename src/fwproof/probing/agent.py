#!/usr/bin/python3 -IS
# ruff: noqa: UP006, UP035, UP045, EXE001, PTH112, PTH118, PTH123, PTH208, SIM105, TRY301, TRY004
"""fwproof-agent: sends and captures probe packets on one host; JSON lines on stdin and stdout.

One file, standard library only, Python 3.6 syntax and newer (the host's Python, not the auditor's). It runs
either streamed into a Python interpreter (root tier) or as a root-owned file that sudo allows by name with no
argument (observe tier). It leaves nothing behind, and ends on end of input, ``bye`` or its own deadline.

What whoever may start it gains, and why no more than that (the auditing account may be stolen):

* Capture is for marked packets only. The kernel filter keeps the port block 61000-64999, ICMP errors, fragments
  whose identification is of the block, IPv6 with extension headers, and what begins like a probe of another protocol;
  of those, only packets of a flow whose first packet carries the 32-bit marker (or that this process sent) are
  kept, without TCP payload, at most SNAPLEN bytes, MAX_PER_FLOW per flow. Other people's traffic never leaves.
* Neighbour discovery is told of addresses that were named, at most MAX_SOLICITED: who on the link asks for them, and
  with which MAC they answer, which whoever stands on that link can ask as well.
* Sending is for probe forms only: empty TCP with the marker as sequence number, UDP and ICMP echo whose payload
  is the marker and zeros, a neighbour solicitation for a unicast address. Source addresses are the host's own, source
  ports of the block, no multicast or broadcast, rate and number capped. Packets go through raw IP
  sockets, so the kernel routes them and the host's own OUTPUT rules apply.
* A sweep sends one such TCP or UDP probe to many ports of one address, from a port of 65000-65499, at most
  SWEEP_PPS packets and one second at a time: it stops when nobody asks for the next second, when anything comes
  in or the input ends, and when this host's connection table is half full. What is seen of it is told as one bit
  a port and kind of packet, and MAX_SAMPLES packets; the marker decides what counts, as above.
* Probes in other forms are as inert. Source ports below 1024 (LOW_PORTS) reach ports of the block only, where nobody
  serves, so nobody who trusts such a port can be spoken to. An SCTP INIT carries the marker as its tag and opens
  nothing; GRE, ESP and IGMP hold nothing that a tunnel, an SA or a router would take. ICMP redirects name
  no gateway, and advertisements no router; in IPv6 their hop limit is not 255, so every host ignores them (RFC 4861).
  IPv6 extension headers are padding, and a routing header has nowhere left to go. Fragments must make up one whole
  probe, and agree where they overlap. They skip the reassembly of this host's own conntrack (IP_NODEFRAG), so its
  OUTPUT rules meet them one by one: what can get past them is a probe, which is inert, and no data.
* A foreign source address is refused to the installed file, whoever asks: the protocol lets its user speak for this
  host only. A streamed agent may use up to MAX_SPOOFED: whoever streams it is root of this network namespace already.
* ``connect`` and ``hold`` open ordinary TCP connections with the privileges of the user who called sudo, never root's.
* Conntrack events are told of marked flows only. ``counters`` runs fixed commands without parameters.
* ``trace`` asks the kernel which rules marked packets meet. It is refused to the installed file unless sudo allows it
  the one argument ``--trace``. The trigger is a table of the agent's own with ``flags owner``, which the kernel removes
  with the socket that made it, SIGKILL included; it changes nothing about a packet but its trace bit, and takes only
  packets that carry the marker (its 16 bits that are the run's), of each form TRACE_PPS a second at most. Rules of
  iptables-legacy speak through nf_log: where there are such tables, ``net.netfilter.nf_log`` is nfnetlink_log
  meanwhile, and NFLOG group 0 this agent's (refused where it is somebody else's), so messages of
  ``nf_conntrack_log_invalid`` and of other people's TRACE rules are not logged so long. A process of its own waits for
  this one's end, however it comes, and puts the old value back unless somebody else has changed it; only whoever kills
  both prevents that. Events are told of marked packets alone: names of table and chain, number and verdict of the
  rule, all of which ``counters`` prints. What is held is bounded, and what was lost is counted. The kernel may load
  its modules of nf_tables for this, and keeps them.
* ``forget`` and ``unban`` act only on an address from which this very process saw a marked packet arrive:
  whoever can make that happen controls that address anyway.
* Whoever asks may go away, be killed or lose the connection: an operation ends within TICK seconds of the end of input,
  none sends for longer than SEND_SECONDS, and connections that are kept open are reset after LEASE seconds without a
  request. The end, however it comes, takes back what was begun: kept connections are reset, addresses whose lists were
  asked to forget them are forgotten again, and what ``owe`` noted, which ``unban`` could do as well, is unbanned as
  soon as the ban is there, for OWED_SECONDS at most.
* The name that an auditor gives is told to the next one, who finds the host taken; it is cut to plain characters.
* Nothing from the input reaches a shell, a path or an option: names are looked up in the kernel's or fail2ban's
  own list, addresses are parsed and printed again.

Requests are ``{"ref": n, "op": name, ...}``; answers ``{"ref": n, "ok": {...}}`` or
``{"ref": n, "error": text, "kind": "refused" | "bad" | "failed"}``. Packets are hex, times nanoseconds of
CLOCK_REALTIME. Sources: packet(7), raw(7), netlink(7), linux/filter.h, nfnetlink_conntrack.h, rtnetlink(7).
"""

import base64
import ctypes
import errno
import fcntl
import json
import mmap
import os
import random
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import zlib
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

VERSION = 1
PORT_LOW, PORT_HIGH = 61000, 64999
MARK = b"fwproof probe "
MARK_WORD = 0x66777072  # "fwpr"
SNAPLEN = 128
MAX_FRAME = 128
MAX_PER_FLOW = 24
MAX_FLOWS = 200000
MAX_SOLICITED = 4096
MAX_HELD = 200000
MAX_PACKETS = 1000000
MAX_COOKIES = 64
MAX_HELD_OPEN = 256
MIN_GAP = 1 / 20000.0
SWEEP_LOW, SWEEP_HIGH = 65000, 65499
SWEEP_PPS = 50000
SWEEP_SECONDS = 1.0
MAX_WATCHES = 8
MAX_SAMPLES = 64
LIFETIME = 4 * 3600
IDLE = 1800
TICK = 0.2
SEND_SECONDS = 1.0
LEASE = 1.0
OWED_SECONDS = 8.0
MAX_OWED = 8
LOCK = b"\0fwproof-agent"
HOLDER = "@fwproof-agent held by "
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
SCTP, GRE, ESP, IGMP = 132, 47, 50, 2
PORTED = (TCP, UDP, SCTP)
LOW_PORTS = {TCP: (20, 53, 80, 443), UDP: (53, 67, 123)}
QUERIES = {ICMP: {8: 0, 13: 14, 15: 16, 17: 18}, ICMPV6: {128: 129}}
TAIL_AT = {
    (GRE, None): 4, (ESP, None): 8, (IGMP, None): 8,
    (ICMP, 5): 8, (ICMP, 9): 8, (ICMP, 10): 8, (ICMP, 13): 20, (ICMP, 15): 8, (ICMP, 17): 12,
    (ICMPV6, 133): 8, (ICMPV6, 134): 16, (ICMPV6, 137): 40,
}  # fmt: skip
MAX_SPOOFED = 64
MAX_WAITING = 256
STREAMED = "__file__" not in globals()
EXTENSIONS = (0, 43, 44, 60)  # hop-by-hop options, routing, fragment, destination options
FRAGMENT = 44
SOL_PACKET, SOL_NETLINK = 263, 270
IP_NODEFRAG = 22
IP_RECVERR = 11
V4_MAPPED = bytes(10) + b"\xff\xff"
PACKET_OUTGOING = 4
SO_RCVBUFFORCE, SO_ATTACH_FILTER, SO_TIMESTAMPNS = 33, 26, 35
FIXED_COMMANDS = {
    "iptables-save": ("iptables-save", "-c"),
    "ip6tables-save": ("ip6tables-save", "-c"),
    "iptables-legacy-save": ("iptables-legacy-save", "-c"),
    "ip6tables-legacy-save": ("ip6tables-legacy-save", "-c"),
    "nft": ("nft", "-j", "list", "ruleset"),
}
RECENT = "/proc/net/xt_recent"
MAY_TRACE = STREAMED or sys.argv[1:] == ["--trace"]
TRACE_TABLE = b"fwproof_trace\0"
MAX_TRACED = 100000
TRACE_PPS = 2000
NF_LOG = "/proc/sys/net/netfilter/nf_log/{}"
LEGACY_TABLES = {2: "/proc/net/ip_tables_names", 10: "/proc/net/ip6_tables_names"}
CONNTRACK = "/proc/sys/net/netfilter/nf_conntrack_"

Tuple5 = Tuple[int, bytes, int, bytes, int]
Request = Dict[str, Any]
Answer = Dict[str, Any]


class Refused(Exception):
    """What was asked for is not among the things this agent does."""


class Ended(BaseException):
    """Nobody is there any more who asks, or it is time to end."""


def check16(cookie: int, port: int) -> int:
    """Return the lower half of the marker: a checksum that ordinary traffic has by chance 1 time in 65536."""
    return zlib.crc32(b"fwproof" + struct.pack("!HH", cookie, port)) & 0xFFFF


def marker(cookie: int, port: int) -> int:
    """Return the 32-bit marker of a probe: TCP sequence number, and the end of UDP and ICMP payloads."""
    return (cookie << 16) | check16(cookie, port)


def payload(cookie: int, port: int) -> bytes:
    """Return the inert payload of UDP and ICMP probes."""
    return MARK + struct.pack("!I", marker(cookie, port))


def text(address: bytes) -> str:
    """Return an address of 4 or 16 bytes as text."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def packed(address: str) -> bytes:
    """Return the bytes of an address given as text; ValueError when it is none."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except (OSError, TypeError):
        raise ValueError("not an IP address") from None


def in_block(port: int) -> bool:
    """Tell whether a port is of the probes' block."""
    return PORT_LOW <= port <= PORT_HIGH


# ---- the kernel's packet filter: classic BPF over the IP packet (linux/filter.h) ----------------------------

_LDB, _LDH, _LDW, _LDHX, _LDBX, _LDWX, _MSH = 0x30, 0x28, 0x20, 0x48, 0x50, 0x40, 0xB1
_AND, _JEQ, _JGT, _JGE, _JSET, _RET = 0x54, 0x15, 0x25, 0x35, 0x45, 0x06


def _in_range(load: int, offset: int, miss: str) -> List[Tuple[Any, ...]]:
    return [(load, offset), (_JGE, PORT_LOW, None, miss), (_JGT, PORT_HIGH, miss, "keep")]


def bpf_source() -> List[Any]:
    """Return the filter as instructions (code, k, where if true, where if false) and labels; None is the next."""
    return [
        *[(_LDB, 0), (_AND, 0xF0), (_JEQ, 0x40, "v4", None), (_JEQ, 0x60, "v6", "drop")],
        *_bpf_four(),
        *_bpf_six(),
        *["keep", (_RET, SNAPLEN), "drop", (_RET, 0)],
    ]


def _any_of(values: Tuple[int, ...], where: str) -> List[Tuple[Any, ...]]:
    return [(_JEQ, value, where, None) for value in values]


def _bpf_four() -> List[Any]:
    lines: List[Any] = ["v4", (_LDH, 6), (_JSET, 0x1FFF, "piece4", None), (_MSH, 0), (_LDB, 9)]
    lines += [*_any_of(PORTED, "ports4"), (_JEQ, ICMP, "icmp4", None), (_JEQ, GRE, "at4", None)]
    lines += [*_any_of((ESP, IGMP), "at8"), (_JEQ, 256, "drop", "drop")]
    lines += ["ports4", *_in_range(_LDHX, 0, "dport4"), "dport4", *_in_range(_LDHX, 2, "drop")]
    lines += [
        "icmp4",
        (_LDBX, 0),
        *_any_of((3, 11, 12), "keep"),
        *_any_of((0, 8), "echo4"),
        *_any_of((5, 9, 10), "at8"),
    ]
    lines += [(_JGE, 13, None, "drop"), (_JGT, 18, "drop", None)]
    lines += ["echo4", *_in_range(_LDHX, 4, "drop"), "piece4", *_in_range(_LDH, 4, "drop")]
    for offset in (4, 8):
        lines += [f"at{offset}", (_LDWX, offset), (_JEQ, MARK_WORD, "keep", "drop")]
    return lines


def _bpf_six() -> List[Any]:
    lines: List[Any] = ["v6", (_LDB, 6), *_any_of(PORTED, "ports6"), (_JEQ, ICMPV6, "icmp6", None)]
    lines += [*_any_of(EXTENSIONS, "keep"), (_JEQ, GRE, "at44", None), *_any_of((ESP, IGMP), "at48")]
    lines += [(_JEQ, 256, "drop", "drop")]
    lines += ["ports6", *_in_range(_LDH, 40, "dport6"), "dport6", *_in_range(_LDH, 42, "drop")]
    lines += [
        "icmp6",
        (_LDB, 40),
        (_JGE, 128, None, "keep"),
        *_any_of((128, 129), "echo6"),
        *_any_of((135, 136), "keep"),
    ]
    lines += [(_JEQ, 133, "at48", None), (_JEQ, 134, "at56", None), (_JEQ, 137, "at80", "drop")]
    lines += ["echo6", *_in_range(_LDH, 44, "drop")]
    for offset in (44, 48, 56, 80):
        lines += [f"at{offset}", (_LDW, offset), (_JEQ, MARK_WORD, "keep", "drop")]
    return lines


def assemble(lines: List[Any]) -> List[Tuple[int, int, int, int]]:
    """Turn labelled instructions into (code, jt, jf, k) rows with relative jumps."""
    places: Dict[str, int] = {}
    rows: List[Tuple[Any, ...]] = []
    for line in lines:
        if isinstance(line, str):
            places[line] = len(rows)
        else:
            rows.append(line)
    program = []
    for index, row in enumerate(rows):
        jumps = [0 if label is None else places[label] - index - 1 for label in row[2:]] or [0, 0]
        program.append((row[0], jumps[0], jumps[1], row[1]))
    return program


def roomy(sock: socket.socket, size: int) -> None:
    """Let a socket hold more that is unread; losses are counted in any case."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except OSError:  # without CAP_NET_ADMIN of the machine, what any socket may have has to do
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def attach_filter(sock: socket.socket, program: List[Tuple[int, int, int, int]]) -> None:
    """Attach a classic BPF program to a socket (socket(7), SO_ATTACH_FILTER)."""
    code = b"".join(struct.pack("HBBI", *row) for row in program)
    held = ctypes.create_string_buffer(code)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(held)))


# ---- packets -----------------------------------------------------------------------------------------------


class Header(NamedTuple):
    """What the agent reads of a packet: protocol, addresses, offset of the transport header."""

    proto: int
    src: bytes
    dst: bytes
    at: int


def chain(packet: bytes) -> Tuple[int, int, List[Tuple[int, bytes]]]:
    """Return an IPv6 packet's protocol, where its transport header begins, and its extension headers in order."""
    proto, at = packet[6], 40
    found: List[Tuple[int, bytes]] = []
    while proto in EXTENSIONS and len(found) < 6 and at + 8 <= len(packet):
        size = 8 if proto == FRAGMENT else (packet[at + 1] + 1) * 8
        found.append((proto, packet[at : at + size]))
        proto, at = packet[at], at + size
    return proto, at, found


class Piece(NamedTuple):
    """What makes a packet a fragment: of which datagram, where in it (bytes), where its data begins, whether more."""

    key: Tuple[bytes, bytes, int]
    offset: int
    at: int
    more: bool


def piece_of(packet: bytes) -> Optional[Piece]:
    """Read what a fragment says of itself; None for a whole packet, and for what is too short to tell."""
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        field = struct.unpack_from("!H", packet, 6)[0]
        key = (packet[12:16], packet[16:20], struct.unpack_from("!H", packet, 4)[0])
        at, flag = (packet[0] & 15) * 4, 0x2000
        offset = (field & 0x1FFF) * 8
    elif len(packet) >= 48 and packet[0] >> 4 == 6:
        own = next((data for number, data in chain(packet)[2] if number == FRAGMENT), None)
        if own is None:
            return None
        field, identification = struct.unpack_from("!HI", own, 2)
        key, at, flag = (packet[8:24], packet[24:40], identification), packet.index(own, 40) + 8, 1
        offset = field & 0xFFF8
    else:
        return None
    more = bool(field & flag)
    return Piece(key, offset, at, more) if offset or more else None


def header(packet: bytes) -> Optional[Header]:
    """Read the headers up to the transport's; None for later fragments, and less than 8 bytes of transport."""
    if len(packet) >= 28 and packet[0] >> 4 == 4 and not struct.unpack_from("!H", packet, 6)[0] & 0x1FFF:
        at = (packet[0] & 15) * 4
        return Header(packet[9], packet[12:16], packet[16:20], at) if 20 <= at <= len(packet) - 8 else None
    if len(packet) >= 48 and packet[0] >> 4 == 6:
        proto, at, headers = chain(packet)
        later = any(number == FRAGMENT and struct.unpack_from("!H", data, 2)[0] & 0xFFF8 for number, data in headers)
        if later or proto in EXTENSIONS or at > len(packet) - 8:
            return None
        return Header(proto, packet[8:24], packet[24:40], at)
    return None


def tail(cookie: int, ident: int) -> bytes:
    """Return what probes end with whose protocol has no field for an identity."""
    return MARK + struct.pack("!IH", marker(cookie, ident), ident)


def tail_at(packet: bytes, head: Header) -> Optional[int]:
    """Return where in the packet the tail of such a probe is; None for other protocols and ICMP types."""
    kind = packet[head.at] if head.proto in (ICMP, ICMPV6) else None
    offset = TAIL_AT.get((head.proto, kind))
    return None if offset is None else head.at + offset


def identity(flow: Tuple5) -> Optional[int]:
    """Return the number of the block that a flow is known by: its source port, or where that is low, the other."""
    if in_block(flow[2]):
        return flow[2]
    return flow[4] if flow[2] in LOW_PORTS.get(flow[0], ()) and in_block(flow[4]) else None


def flow_of(packet: bytes, head: Header) -> Optional[Tuple5]:
    """Return the packet's flow as it stands: its ports, or the identifier of an ICMP query, or that in its tail."""
    if head.proto in PORTED:
        sport, dport = struct.unpack_from("!HH", packet, head.at)
        return (head.proto, head.src, sport, head.dst, dport)
    if packet[head.at] in QUERIES.get(head.proto, {}):
        return (head.proto, head.src, struct.unpack_from("!H", packet, head.at + 4)[0], head.dst, 0)
    at = tail_at(packet, head)
    if at is not None and packet[at : at + len(MARK)] == MARK and len(packet) >= at + 20:
        return (head.proto, head.src, struct.unpack_from("!H", packet, at + 18)[0], head.dst, 0)
    return None


def reverse_of(packet: bytes, head: Header) -> Optional[Tuple5]:
    """Return the flow that the packet answers."""
    if head.proto in PORTED:
        sport, dport = struct.unpack_from("!HH", packet, head.at)
        return (head.proto, head.dst, dport, head.src, sport)
    if packet[head.at] in QUERIES.get(head.proto, {}).values():
        return (head.proto, head.dst, struct.unpack_from("!H", packet, head.at + 4)[0], head.src, 0)
    return None


def is_error(packet: bytes, head: Header) -> bool:
    """Tell whether the packet is an ICMP error, which quotes the packet it is about."""
    kind = packet[head.at]
    return (head.proto == ICMP and kind in (3, 11, 12)) or (head.proto == ICMPV6 and kind < 128)


def is_marked(packet: bytes, head: Header, cookies: Set[int]) -> bool:
    """Tell whether the packet is the first of a probe flow of this agent's runs."""
    flow = flow_of(packet, head)
    ident = identity(flow) if flow else None
    if ident is None:
        return False
    if head.proto in (TCP, SCTP):
        at = head.at + (4 if head.proto == TCP else 16)
        if len(packet) < at + 4:
            return False
        number = struct.unpack_from("!I", packet, at)[0]
        return number >> 16 in cookies and number & 0xFFFF == check16(number >> 16, ident)
    at_tail = tail_at(packet, head)
    if at_tail is not None:
        return any(packet[at_tail:].startswith(tail(cookie, ident)) for cookie in cookies)
    return any(packet[head.at + 8 :].startswith(payload(cookie, ident)) for cookie in cookies)


def without_payload(packet: bytes, head: Header) -> bytes:
    """Cut the payload of a TCP packet: headers are evidence, contents are nobody's business."""
    if head.proto == TCP and len(packet) > head.at + 12:
        return packet[: head.at + (packet[head.at + 12] >> 4) * 4]
    return packet


# ---- netlink -----------------------------------------------------------------------------------------------


def attributes(data: bytes) -> Dict[int, bytes]:
    """Return netlink attributes by number, without the nested and byte-order flags."""
    found: Dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def messages(data: bytes) -> List[Tuple[int, bytes]]:
    """Split what a netlink socket delivered into (type, body)."""
    found: List[Tuple[int, bytes]] = []
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 16:
            break
        found.append((kind, data[at + 16 : at + length]))
        at += (length + 3) & ~3
    return found


def rtnetlink(kind: int, body: bytes, *, dump: bool) -> List[bytes]:
    """Send one rtnetlink request and return the bodies of the answer; OSError carries the kernel's errno."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.bind((0, 0))
        sock.settimeout(5)
        sock.send(struct.pack("=IHHII", 16 + len(body), kind, 0x301 if dump else 0x001, 1, 0) + body)
        found: List[bytes] = []
        while True:
            for answer, content in messages(sock.recv(1 << 18)):
                if answer == 3:
                    return found
                if answer == 2:
                    code = -struct.unpack_from("=i", content)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return found
                found.append(content)
            if not dump and found:
                return found


def interfaces() -> List[Dict[str, Any]]:
    """Return the host's interfaces: name, index, MAC, whether up, addresses as text."""
    links: Dict[int, Dict[str, Any]] = {}
    for body in rtnetlink(18, struct.pack("=BxHiII", 0, 0, 0, 0, 0), dump=True):
        _, _, index, flags, _ = struct.unpack_from("=BxHiII", body)
        found = attributes(body[16:])
        name = found.get(3, b"").rstrip(b"\0").decode("ascii", "replace")
        mac = ":".join(f"{byte:02x}" for byte in found.get(1, b""))
        links[index] = {"name": name, "index": index, "mac": mac, "up": bool(flags & 1), "addresses": []}
    for body in rtnetlink(22, struct.pack("=BBBBi", 0, 0, 0, 0, 0), dump=True):
        index = struct.unpack_from("=BBBBi", body)[4]
        found = attributes(body[8:])
        address = found.get(2) or found.get(1)
        if address and index in links:
            links[index]["addresses"].append(text(address))
    return [links[index] for index in sorted(links)]


def own_addresses() -> Set[str]:
    """Return the addresses of this host."""
    return {address for link in interfaces() for address in link["addresses"]}


def connections() -> Tuple[int, int]:
    """Return how many connections conntrack holds and how many it may; zeros where there is none."""
    try:
        with open(CONNTRACK + "count") as count, open(CONNTRACK + "max") as most:
            return int(count.read()), int(most.read())
    except (OSError, ValueError):
        return 0, 0


NEIGHBOUR_STATES = {
    1: "incomplete", 2: "reachable", 4: "stale", 8: "delay", 16: "probe", 32: "failed", 64: "noarp", 128: "permanent"
}  # fmt: skip


def neighbours(family: int) -> Dict[Tuple[int, bytes], Tuple[str, str]]:
    """Return the neighbour table: (interface index, address) to (state, MAC)."""
    table = {}
    for body in rtnetlink(30, struct.pack("=BxxxiHBB", family, 0, 0, 0, 0), dump=True):
        _, index, state = struct.unpack_from("=BxxxiH", body)
        found = attributes(body[12:])
        if 1 in found:
            mac = ":".join(f"{byte:02x}" for byte in found.get(2, b""))
            table[(index, found[1])] = (NEIGHBOUR_STATES.get(state, "none"), mac)
    return table


def route(dst: bytes, src: Optional[bytes]) -> Answer:
    """Return how the kernel would send to an address, and whether the next hop is known on the link."""
    family = socket.AF_INET if len(dst) == 4 else socket.AF_INET6
    body = struct.pack("=BBBBBBBBI", family, len(dst) * 8, len(src or b"") * 8, 0, 0, 0, 0, 0, 0)
    body += struct.pack("=HH", 4 + len(dst), 1) + dst
    if src:
        body += struct.pack("=HH", 4 + len(src), 2) + src
    answer = rtnetlink(26, body, dump=False)[0]
    kind, found = answer[7], attributes(answer[12:])
    index = struct.unpack("=I", found[4])[0]
    via = found.get(5)
    state, mac = neighbours(family).get((index, via or dst), ("none", ""))
    return {
        "interface": socket.if_indextoname(index),
        "index": index,
        "via": text(via) if via else None,
        "source": text(found[7]) if 7 in found else None,
        "local": kind == 2,
        "neighbour": state,
        "mac": mac,
    }


def conntrack_flow(body: bytes) -> Optional[Tuple5]:
    """Return the original direction of a conntrack event (nfnetlink_conntrack.h)."""
    original = attributes(attributes(body[4:]).get(1, b""))
    address, proto = attributes(original.get(1, b"")), attributes(original.get(2, b""))
    src, dst = address.get(1) or address.get(3), address.get(2) or address.get(4)
    if not src or not dst or 1 not in proto:
        return None
    number = proto[1][0]
    if number in PORTED and 2 in proto and 3 in proto:
        return (number, src, struct.unpack("!H", proto[2])[0], dst, struct.unpack("!H", proto[3])[0])
    identifier = proto.get(4) or proto.get(7)
    if number in (ICMP, ICMPV6) and identifier:
        return (number, src, struct.unpack("!H", identifier)[0], dst, 0)
    return (number, src, 0, dst, 0) if (number, None) in TAIL_AT else None


# ---- capture -----------------------------------------------------------------------------------------------


class Capture:
    """Captures marked packets on all interfaces, in and out, and new conntrack entries of marked flows."""

    def __init__(self) -> None:
        self.cookies: Set[int] = set()
        self.flows: Dict[Tuple5, int] = {}
        self.sources: Set[bytes] = set()
        self.solicited: Set[bytes] = set()
        self.portless: Dict[Tuple[int, bytes, bytes], Tuple5] = {}
        self.heads: Dict[Tuple[int, bytes, bytes, bytes], Tuple5] = {}
        self.pieces: Dict[Tuple[bytes, bytes, int], Tuple5] = {}
        self.waiting: List[Tuple[Tuple[bytes, bytes, int], List[Any]]] = []
        self.packets: List[List[Any]] = []
        self.confirmed: List[Tuple5] = []
        self.events = {4: 0, 6: 0}
        self.lost = 0
        self.watches: Dict[int, Watch] = {}
        self.tracer: Optional[Tracer] = None
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        attach_filter(self.sock, assemble(bpf_source()))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.sock.setblocking(False)
        self.tracker = self._open_tracker()
        for sock in self.descriptors():
            roomy(sock, 32 << 20)

    def _open_tracker(self) -> Optional[socket.socket]:
        try:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        except OSError:
            return None
        try:
            sock.bind((0, 0))
            sock.setsockopt(SOL_NETLINK, 1, 1)  # NETLINK_ADD_MEMBERSHIP, NFNLGRP_CONNTRACK_NEW
        except OSError:
            sock.close()
            return None
        sock.setblocking(False)
        return sock

    def descriptors(self) -> List[socket.socket]:
        """Return the sockets to wait for."""
        others = [*(w.sock for w in self.watches.values()), *(self.tracer.sockets() if self.tracer else [])]
        return [self.sock, *others] + ([self.tracker] if self.tracker else [])

    def pump(self) -> None:
        """Take what the kernel has for us."""
        # first, for what it tells of came in before: the capture then knows whose it is
        traced = self.tracer.drain() if self.tracer else []
        for watch in self.watches.values():
            watch.drain()
        for _ in range(10000):
            try:
                data, extra, _, sender = self.sock.recvmsg(SNAPLEN, 128)
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                if error.errno in (errno.ENETDOWN, errno.ENOBUFS):
                    self.lost += error.errno == errno.ENOBUFS
                    continue
                break
            stamp = next((value for level, kind, value in extra if kind == SO_TIMESTAMPNS), b"")
            when = struct.unpack("=qq", stamp) if len(stamp) == 16 else (int(time.time()), 0)
            outgoing = sender[2] == PACKET_OUTGOING
            self.take(data, outgoing, sender[0], when[0] * 1000000000 + when[1])
        self.pump_events()
        if self.tracer:
            self.tracer.sort(traced, self)

    def pump_events(self) -> None:
        """Take the conntrack events that the kernel has for us."""
        while self.tracker:
            try:
                data = self.tracker.recv(1 << 18)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    self.lost += 1
                    for watch in self.watches.values():
                        watch.lost += 1
                    continue
                break
            if not self.watches or not self.swept(data):
                for _, body in messages(data):
                    self.note_event(conntrack_flow(body))

    def swept(self, data: bytes) -> bool:
        """Take one conntrack event at a known layout if it is of a sweep: conntrack_flow is too slow for those."""
        if len(data) < 60 or struct.unpack_from("=I", data)[0] != len(data):
            return False
        original, size = struct.unpack_from("=xxHH", data, 20)
        at = 24 + ((size + 3) & ~3)  # past CTA_TUPLE_IP, at CTA_TUPLE_PROTO: number, source port, destination port
        if original & 0x3FFF != 1 or len(data) < at + 26 or struct.unpack_from("=H", data, at + 2)[0] & 0x3FFF != 2:
            return False
        watch = self.watches.get((data[at + 16] << 8) | data[at + 17])
        if watch is None or data[at + 8] != watch.proto or data[32 : 32 + len(watch.src)] != watch.src:
            return False
        self.events[4 if watch.four else 6] += 1
        watch.hit("C", (data[at + 24] << 8) | data[at + 25])
        return True

    def note_event(self, flow: Optional[Tuple5]) -> None:
        """Keep a conntrack event that may be of a probe; count the others, so that activity is known."""
        if flow is not None:
            self.events[4 if len(flow[1]) == 4 else 6] += 1
            ours = identity(flow) is not None or (flow[0], None) in TAIL_AT
            if ours and len(self.confirmed) < MAX_HELD:
                self.confirmed.append(flow)

    def learn(self, flow: Tuple5) -> None:
        """Remember a probe's flow: its later packets and its answers are captured."""
        if len(self.flows) >= MAX_FLOWS:
            self.flows.clear()
            self.heads.clear()
            self.pieces.clear()
        self.flows.setdefault(flow, 0)
        if (flow[0], None) in TAIL_AT:  # conntrack knows these by their addresses alone
            self.portless[flow[0], flow[1], flow[3]] = flow

    def take(self, packet: bytes, outgoing: bool, interface: str, when: int) -> None:  # noqa: FBT001
        """Keep a packet if it belongs to a probe."""
        piece, row = piece_of(packet), [when, "out" if outgoing else "in", interface]
        if piece is not None and piece.offset:
            self.take_piece(piece, [*row, "piece", 0, 0, packet.hex()])
            return
        head = header(packet)
        found = self.classify(packet, head, outgoing) if head else None
        if head is None or found is None:
            return
        role, port = found
        self.keep([*row, role, head.proto, port, without_payload(packet, head).hex()])
        flow = flow_of(packet, head)
        if piece is not None and flow is not None and role == "probe":
            self.pieces[piece.key] = flow
            early = [held for key, held in self.waiting if key == piece.key]
            self.waiting = [each for each in self.waiting if each[0] != piece.key]
            for held in early:
                self.take_piece(piece, held)

    def take_piece(self, piece: Piece, row: List[Any]) -> None:
        """Keep a later fragment of a probe; one that comes before the first waits for it, and is never told alone."""
        flow = self.pieces.get(piece.key)
        if flow is None:
            self.waiting = [*self.waiting[-MAX_WAITING:], (piece.key, row)]
            return
        found = self.count(flow, "piece", identity(flow) or 0)
        if found is not None:
            self.keep([*row[:4], flow[0], found[1], row[6]])

    def keep(self, row: List[Any]) -> None:
        """Hold what is to be handed over."""
        if len(self.packets) >= MAX_HELD:
            self.lost += 1
            return
        self.packets.append(row)

    def classify(self, packet: bytes, head: Header, outgoing: bool) -> Optional[Tuple[str, int]]:  # noqa: FBT001
        """Return the packet's role (probe, answer, error, neighbour) and the probe's source port."""
        if head.proto in (ICMP, ICMPV6) and is_error(packet, head):
            quoted = packet[head.at + 8 :]
            inner = header(quoted)
            flow = flow_of(quoted, inner) if inner else None
            if inner is None or flow is None:
                return None
            known = flow in self.flows or is_marked(quoted, inner, self.cookies)
            return self.count(flow, "error", identity(flow) or 0) if known else None
        if head.proto == ICMPV6 and packet[head.at] in (135, 136):
            return ("neighbour", 0) if packet[head.at + 8 : head.at + 24] in self.solicited else None
        flow = flow_of(packet, head)
        if flow is not None and (flow in self.flows or is_marked(packet, head, self.cookies)):
            if not outgoing and is_marked(packet, head, self.cookies):
                self.sources.add(head.src)
            self.learn(flow)
            if tail_at(packet, head) is not None:  # a trace shows no more of these than how they begin
                self.heads[head.proto, head.src, head.dst, packet[head.at : head.at + 4]] = flow
            return self.count(flow, "probe", identity(flow) or 0)
        flow = reverse_of(packet, head)
        if flow is not None and flow in self.flows:
            return self.count(flow, "answer", identity(flow) or 0)
        return None

    def count(self, flow: Tuple5, role: str, port: int) -> Optional[Tuple[str, int]]:
        """Hold a flow to its share of packets, so that marking a flow does not tap a connection."""
        seen = self.flows.get(flow, 0) + 1
        self.flows[flow] = seen
        return (role, port) if seen <= MAX_PER_FLOW else None

    def fetch(self) -> Answer:
        """Hand over what was captured since the last time."""
        self.pump()
        dropped = struct.unpack("=II", self.sock.getsockopt(SOL_PACKET, 6, 8))[1]  # PACKET_STATISTICS
        named = [self.portless.get((flow[0], flow[1], flow[3]), flow) for flow in self.confirmed]
        confirmed = [
            [flow[0], text(flow[1]), identity(flow), text(flow[3]), flow[4]] for flow in named if flow in self.flows
        ]
        answer = {
            "packets": self.packets,
            "confirmed": confirmed,
            "lost": self.lost + dropped,
            "tracking": self.tracking(),
        }
        self.packets, self.confirmed, self.lost = [], [], 0
        if self.tracer:
            answer["traced"], answer["untold"] = self.tracer.rows, self.tracer.lost
            self.tracer.rows, self.tracer.lost = [], 0
        return answer

    def tracking(self) -> Dict[str, bool]:
        """Tell per family whether conntrack is at work: an event was seen, or (both families) it has entries."""
        if self.tracker is None:
            return {"ipv4": False, "ipv6": False}
        try:
            with open(CONNTRACK + "count") as file:
                entries = int(file.read()) > 0
            with open(CONNTRACK + "events") as file:
                silenced = int(file.read()) == 0
        except (OSError, ValueError):
            entries = silenced = False
        if silenced:
            return {"ipv4": False, "ipv6": False}
        return {"ipv4": entries or self.events[4] > 0, "ipv6": entries or self.events[6] > 0}

    def close(self) -> None:
        """Stop capturing."""
        if self.tracer:
            self.tracer.close()
            self.tracer = None
        for sock in self.descriptors():
            sock.close()


# ---- trace -------------------------------------------------------------------------------------------------


def attribute(kind: int, *data: bytes) -> bytes:
    """Return a netlink attribute (netlink(7)); nested ones are given as several."""
    joint = b"".join(data)
    return struct.pack("=HH", 4 + len(joint), kind) + joint + bytes(-len(joint) % 4)


def word(kind: int, value: int) -> bytes:
    """Return an attribute of 32 bits in network order."""
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


def expression(name: bytes, *parts: bytes) -> bytes:
    """Return an expression of an nft rule (nf_tables.h: NFTA_LIST_ELEM of NFTA_EXPR_NAME and NFTA_EXPR_DATA)."""
    return attribute(0x8001, attribute(1, name + b"\0"), attribute(0x8002, *parts))


def is_at(offset: int, data: bytes) -> bytes:
    """Return expressions that hold where a packet's transport header has these bytes at an offset."""
    return transport(offset, len(data)) + equal(data)


def transport(offset: int, length: int) -> bytes:
    """Return the expression that loads bytes of the transport header into register 1."""
    return expression(b"payload", word(1, 1), word(2, 2), word(3, offset), word(4, length))


def equal(data: bytes) -> bytes:
    """Return the expression that holds where register 1 has these bytes."""
    return expression(b"cmp", word(1, 1), word(2, 0), attribute(0x8003, attribute(1, data)))


def of_block(offset: int) -> bytes:
    """Return expressions that hold where the port at an offset of the transport header is of the probes' block."""
    low, high = (attribute(1, struct.pack("!H", port)) for port in (PORT_LOW, PORT_HIGH))
    return transport(offset, 2) + expression(
        b"range", word(1, 1), word(2, 0), attribute(0x8003, low), attribute(0x8004, high)
    )


def triggers(cookie: int) -> List[bytes]:
    """Return the rules, as lists of expressions, that set the trace bit of packets with a run's marker.

    A reset is none: it also has the marker's upper half, and is no probe.
    """
    mark = struct.pack("!H", cookie)
    protocol = expression(b"meta", word(1, 1), word(2, 16))
    no_reset = transport(13, 1) + expression(
        b"bitwise", word(1, 1), word(2, 1), word(3, 1),
        attribute(0x8004, attribute(1, b"\4")), attribute(0x8005, attribute(1, b"\0")),
    ) + equal(b"\0")  # fmt: skip
    tcp = protocol + equal(bytes((TCP,))) + is_at(4, mark) + no_reset
    found = [tcp + of_block(0), tcp + of_block(2), protocol + equal(bytes((SCTP,))) + of_block(0) + is_at(16, mark)]
    found += [is_at(offset, MARK + mark) for offset in sorted({8, *TAIL_AT.values()})]
    rate = struct.pack("!Q", TRACE_PPS)
    on = expression(b"limit", attribute(1, rate), attribute(2, struct.pack("!Q", 1)), word(3, TRACE_PPS), word(4, 0))
    on += expression(b"immediate", word(1, 1), attribute(0x8002, attribute(1, b"\1")))
    return [rule + on + expression(b"meta", word(2, 12), word(3, 1)) for rule in found]


def nft_request(kind: int, flags: int, family: int, body: bytes, number: int) -> bytes:
    """Return one message to nf_tables; 0x10 and 0x11 begin and end a batch (nfnetlink.h)."""
    batch = kind in (0x10, 0x11)
    content = struct.pack("!BBH", family, 0, 10 if batch else 0) + body
    return struct.pack("=IHHII", 16 + len(content), kind if batch else 0xA00 | kind, flags, number, 0) + content


def netfilter() -> socket.socket:
    """Open a socket to nfnetlink."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    sock.bind((0, 0))
    sock.settimeout(5)
    return sock


def acknowledge(sock: socket.socket, wanted: int) -> None:
    """Read so many acknowledgements; OSError carries the kernel's errno of the first that is none."""
    while wanted > 0:
        for kind, content in messages(sock.recv(1 << 16)):
            code = -struct.unpack_from("=i", content)[0] if kind == 2 else 0
            if code:
                raise OSError(code, os.strerror(code))
            wanted -= kind == 2


def rule_handles() -> List[List[Any]]:
    """Return the handles of the rules of each chain of nf_tables, in order: family, table, chain, handles."""
    found: Dict[Tuple[int, bytes, bytes], List[int]] = {}
    with netfilter() as sock:
        sock.send(nft_request(7, 0x301, 0, b"", 1))
        while True:
            for kind, content in messages(sock.recv(1 << 18)):
                if kind == 3:
                    return [
                        [key[0], *(name.decode("utf-8", "replace") for name in key[1:]), found[key]] for key in found
                    ]
                if kind == 2:
                    code = -struct.unpack_from("=i", content)[0]
                    raise OSError(code, os.strerror(code))
                parts = attributes(content[4:])
                if parts[1] == TRACE_TABLE:
                    continue
                key = (content[0], parts[1].rstrip(b"\0"), parts[2].rstrip(b"\0"))
                found.setdefault(key, []).append(struct.unpack("!Q", parts[3])[0])


class Tracer:
    """Has the kernel tell which rules marked packets meet, until it is closed or this process ends.

    A row is what nf_tables tells of one rule: number of the probe, family, table, chain, type (1 policy, 2 return,
    3 rule), handle, verdict, chain jumped to, policy, packet id (nf_tables.h, NFTA_TRACE_*); or what iptables-legacy
    tells: number of the probe, family, prefix (xt_LOG's, ip_tables.c trace_packet()).
    """

    def __init__(self, cookies: Set[int]) -> None:
        self.rows: List[List[Any]] = []
        self.lost = 0
        self.packets: Dict[bytes, int] = {}
        self.saved: Dict[str, str] = {}
        self.child, self.rope = 0, -1
        self.open: List[socket.socket] = []
        try:
            self.events = self.add(netfilter())
            self.events.setsockopt(SOL_NETLINK, 1, 9)  # NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTRACE
            self.legacy = [family for family, path in LEGACY_TABLES.items() if filled(path)]
            self.log = self.add(netfilter()) if self.legacy else None
            if self.log is not None:
                self.take_log(self.log)
            self.owner = self.add(netfilter())
            self.pull(cookies)
        except (OSError, Refused):
            self.close()
            raise
        for sock in self.sockets():
            sock.setblocking(False)
            roomy(sock, 16 << 20)

    def add(self, sock: socket.socket) -> socket.socket:
        """Note a socket that is to be closed."""
        self.open.append(sock)
        return sock

    def sockets(self) -> List[socket.socket]:
        """Return the sockets to wait for."""
        return [self.events] + ([self.log] if self.log else [])

    def pull(self, cookies: Set[int]) -> None:
        """Make the table that sets the trace bit, before every rule and conntrack, of what comes in and of our own."""
        table, create = attribute(1, TRACE_TABLE), 0x605  # NLM_F_REQUEST, ACK, EXCL, CREATE
        batch = [(0x10, 1, b""), (0, create, table + word(2, 2))]  # NFT_TABLE_F_OWNER
        for hook, name in ((0, b"in\0"), (3, b"out\0")):
            where = attribute(0x8004, word(1, hook), word(2, -301))
            batch.append((3, create, table + attribute(3, name) + where + attribute(7, b"filter\0")))
            rules = [attribute(0x8004, rule) for cookie in sorted(cookies) for rule in triggers(cookie)]
            batch += [(6, 0xC05, table + attribute(2, name) + rule) for rule in rules]  # NLM_F_APPEND
        batch.append((0x11, 1, b""))
        inet = [nft_request(kind, flags, 1, body, at) for at, (kind, flags, body) in enumerate(batch, 1)]
        try:
            self.owner.send(b"".join(inet))
            acknowledge(self.owner, len(batch) - 2)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                raise Refused("this kernel makes no table that ends with its maker (Linux 5.12 does)") from None
            raise

    def take_log(self, log: socket.socket) -> None:
        """Bind NFLOG group 0, and have legacy rules speak there until the watchdog restores what was before."""
        for number, body in enumerate((attribute(1, b"\1"), attribute(2, struct.pack("!IBx", SNAPLEN, 2)),
                                       word(5, 1)), 1):  # fmt: skip
            content = struct.pack("!BBH", 0, 0, 0) + body
            log.send(struct.pack("=IHHII", 16 + len(content), 0x401, 5, number, 0) + content)
            try:
                acknowledge(log, 1)
            except OSError as error:
                raise Refused(f"NFLOG group 0 cannot be had ({error.strerror}): a logger reads it") from None
        self.saved = {NF_LOG.format(family): read(NF_LOG.format(family)) for family in self.legacy}
        self.child, self.rope = watchdog(self.saved)
        for path in self.saved:
            with open(path, "w") as file:
                file.write("nfnetlink_log")

    def drain(self) -> List[Tuple[int, bytes]]:
        """Take what the kernel has told."""
        found: List[Tuple[int, bytes]] = []
        for sock in self.sockets():
            while len(found) < MAX_TRACED:
                try:
                    found += messages(sock.recv(1 << 18))
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        break
                    self.lost += 1
        return found

    def sort(self, found: List[Tuple[int, bytes]], capture: Capture) -> None:
        """Keep what is about marked packets."""
        for kind, body in found:
            row = None
            if len(body) < 4:
                continue
            if kind == 0xA11:
                row = self.of_nft(body[0], attributes(body[4:]), capture)
            elif kind == 0x400:
                row = self.of_log(body[0], attributes(body[4:]), capture)
            if row is not None and len(self.rows) < MAX_TRACED:
                self.rows.append(row)
            elif row is not None:
                self.lost += 1

    def of_nft(self, family: int, parts: Dict[int, bytes], capture: Capture) -> Optional[List[Any]]:
        """Return the row of an event of nf_tables; the one of our own table tells whose the packet is."""
        table, packet = parts.get(1, b""), parts.get(6, b"")
        if table == TRACE_TABLE:
            self.begin(packet, parts, capture)
        if packet not in self.packets or (table == TRACE_TABLE and 8 not in parts):
            return None
        verdict = attributes(parts.get(5, b""))
        texts = (table, parts.get(2, b""), verdict.get(2, b""))
        names = [name.rstrip(b"\0").decode("utf-8", "replace") for name in texts]
        kind, handle, code, policy = (
            int.from_bytes(each, "big", signed=True) if each else None
            for each in (parts.get(4), parts.get(3), verdict.get(1), parts.get(16))
        )
        return [self.packets[packet], family, names[0], names[1], kind, handle, code, names[2], policy, packet.hex()]

    def begin(self, packet: bytes, parts: Dict[int, bytes], capture: Capture) -> None:
        """Note whose packet the kernel begins to tell of; only the first event has its headers."""
        if len(self.packets) >= MAX_FLOWS:
            self.packets.clear()
        port = number_of(parts.get(8, b""), parts.get(9, b""), capture)
        if port is not None:
            self.packets[packet] = port
        elif 8 in parts:
            self.packets.pop(packet, None)

    def of_log(self, family: int, parts: Dict[int, bytes], capture: Capture) -> Optional[List[Any]]:
        """Return the row of a message of a legacy rule, None for other messages of the group."""
        prefix, packet = parts.get(10, b""), parts.get(9, b"")
        head = header(packet) if prefix.startswith(b"TRACE: ") else None
        if head is None or not is_marked(packet, head, capture.cookies) or reverse_of(packet, head) in capture.flows:
            return None
        return [identity(flow_of(packet, head) or (0, b"", 0, b"", 0)), family,
                prefix.rstrip(b"\0").decode("utf-8", "replace")]  # fmt: skip

    def close(self) -> None:
        """End tracing: the kernel removes the table, and the watchdog restores the log, or where it is gone, this."""
        for sock in self.open:
            sock.close()
        if self.child:
            os.close(self.rope)
            os.waitpid(self.child, 0)
            self.child = 0
        for path, value in self.saved.items():
            restore(path, value)


def number_of(network: bytes, rest: bytes, capture: Capture) -> Optional[int]:
    """Return the number of the probe that a traced packet is, from the parts of its headers that the kernel tells."""
    if len(network) < 20 or len(rest) < 4:
        return None
    four = network[0] >> 4 == 4
    src, dst = (network[12:16], network[16:20]) if four else (network[8:24], network[24:40])
    proto, (sport, dport) = network[9] if four else network[6], struct.unpack_from("!HH", rest)
    for each in (TCP, UDP, SCTP, ICMPV6) if proto in EXTENSIONS and not four else (proto,):
        flow: Optional[Tuple5] = (each, src, sport, dst, dport)
        if each not in PORTED:
            query = (each, src, struct.unpack_from("!H", rest, 4)[0] if len(rest) > 5 else 0, dst, 0)
            flow = query if query in capture.flows else capture.heads.get((each, src, dst, rest[:4]))
        if flow is not None and flow in capture.flows:
            return identity(flow)
    return None


def read(path: str) -> str:
    """Return the text of a small file."""
    with open(path) as file:
        return file.read().strip()


def filled(path: str) -> bool:
    """Tell whether a list of tables of iptables-legacy can be read and has any."""
    try:
        return bool(read(path))
    except OSError:
        return False


def watchdog(saved: Dict[str, str]) -> Tuple[int, int]:
    """Start a process that restores settings when the returned descriptor is closed, by whatever ends this process."""
    here, rope = os.pipe()
    child = os.fork()
    if child:
        os.close(here)
        return child, rope
    try:
        os.setsid()  # what ends the session of this agent does not end it
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda *_: sys.exit())
        os.closerange(0, here)
        os.closerange(here + 1, 1 << 16)
        os.read(here, 1)
    finally:
        for path, value in saved.items():
            restore(path, value)
        os._exit(0)


def restore(path: str, value: str) -> None:
    """Write back a setting, unless somebody has changed it meanwhile."""
    try:
        if read(path) == "nfnetlink_log":
            with open(path, "w") as file:
                file.write(value)
    except OSError:
        pass


# ---- sweeps ------------------------------------------------------------------------------------------------


def sweep_filter(port: int) -> List[Any]:
    """Return a filter as that of bpf_source for one port of a sweep, at either end of TCP and UDP, and ICMP errors."""
    v4: List[Any] = ["v4", (_LDH, 6), (_JSET, 0x1FFF, "drop", None), (_MSH, 0), (_LDB, 9)]
    v4 += [(_JEQ, TCP, "ports4", None), (_JEQ, UDP, "ports4", None), (_JEQ, ICMP, "icmp4", "drop")]
    v4 += ["ports4", (_LDHX, 0), (_JEQ, port, "keep", None), (_LDHX, 2), (_JEQ, port, "keep", "drop")]
    v4 += ["icmp4", (_LDBX, 0), *((_JEQ, kind, "keep", None) for kind in (3, 11)), (_JEQ, 12, "keep", "drop")]
    v6: List[Any] = ["v6", (_LDB, 6), (_JEQ, TCP, "ports6", None), (_JEQ, UDP, "ports6", None)]
    v6 += [(_JEQ, ICMPV6, "icmp6", "drop")]
    v6 += ["ports6", (_LDH, 40), (_JEQ, port, "keep", None), (_LDH, 42), (_JEQ, port, "keep", "drop")]
    v6 += ["icmp6", (_LDB, 40), (_JGE, 128, "drop", "keep")]
    first: List[Any] = [(_LDB, 0), (_AND, 0xF0), (_JEQ, 0x40, "v4", None), (_JEQ, 0x60, "v6", "drop")]
    return first + v4 + v6 + ["keep", (_RET, SNAPLEN), "drop", (_RET, 0)]


class Template:
    """A probe to be sent to many ports: checked once, then patched so that its checksum stays what scapy made it.

    The one's complement sum does not change when what is added to the destination port is taken from a word that
    nobody looks at: the low half of a TCP timestamp, the last word of a UDP payload (RFC 1624).
    """

    def __init__(self, frame: bytes, cookies: Set[int]) -> None:
        head = header(frame)
        if head is None or len(frame) > MAX_FRAME or (len(head.src) == 4 and frame[6] & 0x3F):
            raise Refused(f"a frame is one whole IP packet of at most {MAX_FRAME} bytes")
        if head.dst[0] >= 224 and (len(head.dst) == 4 or head.dst[0] == 0xFF):
            raise Refused("probes go to unicast addresses")
        self.frame, self.head, self.proto, self.four = bytearray(frame), head, head.proto, len(head.dst) == 4
        at, tos = head.at, frame[1] if self.four else (frame[0] << 4 | frame[1] >> 4) & 0xFF
        self.tos, self.at, self.sport = tos, at + 2, struct.unpack_from("!H", frame, at)[0]
        if not SWEEP_LOW <= self.sport <= SWEEP_HIGH:
            raise Refused(f"sweeps are from ports {SWEEP_LOW}-{SWEEP_HIGH}")
        body = bytes(frame[at:])
        if head.proto == TCP:
            back = body[13] == 4  # the reset that takes a SYN back: one further in the sequence
            self.mark = struct.pack("!I", (struct.unpack_from("!I", body, 4)[0] - back) & 0xFFFFFFFF)
            plain = len(body) == 40 and body[12] >> 4 == 10 and body[13] in (2, 4) and body[26:28] == b"\x08\x0a"
            self.patch = at + 30
        else:
            self.mark = body[22:26]
            plain = head.proto == UDP and body[8:] == MARK + self.mark + bytes(2)
            self.patch = at + 26
        if not plain or self.mark not in {struct.pack("!I", marker(cookie, self.sport)) for cookie in cookies}:
            raise Refused("sweeps are an empty SYN with the marker and a timestamp, or UDP of the marker and two zeros")
        self.base = sum(struct.unpack_from("!H", frame, place)[0] for place in (self.at, self.patch))

    def name(self) -> str:
        """Return where it goes, for the kernel."""
        return text(self.head.dst)


class Watch:
    """What one host sees of one sweep: a bit a port for each kind of packet, through a ring that keeps up.

    Kinds begin with i (came in) or o (went out): A the probe, X the prober's reset, S SYN/ACK, R a reset with the
    probe's TOS, J another reset, U UDP, T anything else of TCP, I<type>.<code> an ICMP error of the target and
    N<type>.<code> one of somebody else. C is a new conntrack entry. The ring is TPACKET_V3 (packet_mmap.rst).
    """

    BLOCK, BLOCKS = 1 << 16, 128  # a block is handed over every 4 ms at least: the ring holds half a second

    def __init__(self, template: Template, outgoing: bool) -> None:  # noqa: FBT001
        self.sport, self.proto, self.four = template.sport, template.proto, template.four
        self.mark, self.tos, self.dst = template.mark, template.tos, template.head.dst
        self.src, self.ends = template.head.src, (16, 20) if template.four else (24, 40)
        self.ports = struct.pack("!H", self.sport)
        self.seen_tos: Optional[int] = None
        self.kinds: Dict[str, bytearray] = {}
        self.counts: Dict[str, int] = {}
        self.samples: List[List[Any]] = []
        self.last, self.lost, self.block = time.time(), 0, 0
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        try:
            attach_filter(self.sock, assemble(sweep_filter(self.sport)))
            self.sock.setsockopt(SOL_PACKET, 10, 2)  # PACKET_VERSION, TPACKET_V3
            ring = struct.pack("=7I", self.BLOCK, self.BLOCKS, 2048, self.BLOCK * self.BLOCKS // 2048, 4, 0, 0)
            self.sock.setsockopt(SOL_PACKET, 5, ring)  # PACKET_RX_RING
            if not outgoing:
                try:
                    self.sock.setsockopt(SOL_PACKET, 23, 1)  # PACKET_IGNORE_OUTGOING, Linux 4.20
                except OSError:
                    pass
            self.ring = mmap.mmap(self.sock.fileno(), self.BLOCK * self.BLOCKS)
        except OSError:
            self.sock.close()
            raise

    def hit(self, kind: str, port: int) -> None:
        """Set a port's bit."""
        bits = self.kinds.get(kind)
        if bits is None:
            bits = self.kinds[kind] = bytearray(8192)
            self.counts[kind] = 0
        at, bit = port >> 3, 1 << (port & 7)
        if not bits[at] & bit:
            bits[at] |= bit
            self.counts[kind] += 1
            self.last = time.time()

    def count(self, kind: str) -> int:
        """Return how many bits of kinds that begin so are set."""
        return sum(number for each, number in self.counts.items() if each.startswith(kind))

    def drain(self) -> None:
        """Take the blocks that the kernel has filled."""
        ring, unpack = self.ring, struct.unpack_from
        for _ in range(self.BLOCKS):
            start = self.block * self.BLOCK
            status, number, first = unpack("=3I", ring, start + 8)
            if not status & 1:
                return
            at = start + first
            for _ in range(number):
                step, seconds, rest, size, _, _, _, net = unpack("=6I2H", ring, at)
                self.take(ring[at + net : at + net + size], ring[at + 58] == PACKET_OUTGOING, (seconds, rest))
                at += step
            ring[start + 8 : start + 12] = bytes(4)  # the block is the kernel's again
            self.block = (self.block + 1) % self.BLOCKS

    def take(self, packet: bytes, outgoing: bool, when: Tuple[int, int]) -> None:  # noqa: FBT001
        """Note a packet of the sweep under its kind."""
        found = self.kind_of(packet)
        if found is None:
            return
        kind, port = ("o" if outgoing else "i") + found[0], found[1]
        if self.counts.get(kind, 0) < 4 and len(self.samples) < MAX_SAMPLES:
            head = header(packet)
            data = without_payload(packet, head).hex() if head else ""
            self.samples.append([when[0] * 1000000000 + when[1], kind, port, data])
        self.hit(kind, port)

    def kind_of(self, packet: bytes) -> Optional[Tuple[str, int]]:
        """Return a packet's kind and the swept port that it is about, None for a stranger's."""
        if len(packet) < 48 and (len(packet) < 28 or packet[0] >> 4 == 6):
            return None
        if packet[0] >> 4 == 4:
            at, proto, tos = (packet[0] & 15) * 4, packet[9], packet[1]
        else:
            at, proto, tos = 40, packet[6], (packet[0] << 4 | packet[1] >> 4) & 0xFF
        if proto != self.proto:
            return self.error_of(packet, at)
        if packet[at : at + 2] == self.ports:
            return self.probe_of(packet, at, tos)
        here = int.from_bytes(packet[at : at + 2], "big")
        mine = packet[at + 2 : at + 4] == self.ports and packet[self.ends[0] : self.ends[1]] == self.src
        return (self.answer_of(packet[at:], tos), here) if mine and self.asked(here) else None

    def answer_of(self, segment: bytes, tos: int) -> str:
        """Return the kind of an answer, from its transport header."""
        if self.proto == UDP:
            return "U"
        if segment[13:14] and segment[13] & 4:
            return "R" if tos == self.seen_tos else "J"
        return "S" if segment[13:14] and segment[13] & 0x12 == 0x12 else "T"

    def probe_of(self, packet: bytes, at: int, tos: int) -> Optional[Tuple[str, int]]:
        """Tell the probe, by its marker, from the reset that takes it back."""
        port = int.from_bytes(packet[at + 2 : at + 4], "big")
        mark = at + (22 if self.proto == UDP else 4)
        if self.proto == TCP and packet[at + 13 : at + 14] and packet[at + 13] & 4:
            return ("X", port) if self.asked(port) else None
        if packet[mark : mark + 4] != self.mark:
            return None
        low, high = self.ends
        self.seen_tos, self.src = tos, packet[2 * low - high : low]
        return ("A", port)

    def asked(self, port: int) -> bool:
        """Whether a marked probe to this port was seen here; what this host only receives answers to was sent here."""
        bits = self.kinds.get("iA") or self.kinds.get("oA")
        return bits is not None and bool(bits[port >> 3] & 1 << (port & 7))

    def error_of(self, packet: bytes, at: int) -> Optional[Tuple[str, int]]:
        """Return the kind and port of an ICMP error about a probe of the sweep."""
        head = header(packet)
        inner = header(packet[at + 8 :]) if head and is_error(packet, head) else None
        if head is None or inner is None or inner.proto != self.proto:
            return None
        quoted = packet[at + 8 + inner.at :]
        port = (quoted[2] << 8) | quoted[3]
        if quoted[:2] != self.ports or not (quoted[4:8] == self.mark if self.proto == TCP else self.asked(port)):
            return None
        whose = "I" if head.src == self.dst else "N"
        return (f"{whose}{packet[at]}.{packet[at + 1]}", port)

    def report(self) -> Answer:
        """Return everything seen so far, as bit maps, deflated."""
        self.lost += struct.unpack("=3I", self.sock.getsockopt(SOL_PACKET, 6, 12))[1]
        maps = {kind: base64.b64encode(zlib.compress(bytes(bits))).decode() for kind, bits in self.kinds.items()}
        return {"kinds": maps, "samples": self.samples, "lost": self.lost, "tos": self.seen_tos}

    def close(self) -> None:
        """Stop watching."""
        self.ring.close()
        self.sock.close()


# ---- the agent ---------------------------------------------------------------------------------------------


class Agent:
    """Answers requests, one at a time, and captures in between."""

    def __init__(self) -> None:
        self.capture: Optional[Capture] = None
        self.locks: List[socket.socket] = []
        self.ordered: Tuple[Tuple[str, int], List[int]] = (("", 0), [])
        self.open: List[socket.socket] = []
        self.lease = 0.0
        self.owed: List[Tuple[str, bytes]] = []
        self.touched: Set[bytes] = set()
        self.began = time.time()
        self.senders: Dict[Tuple[bytes, bool], socket.socket] = {}
        self.spoofed: Set[str] = set()
        self.sent = 0
        self.done = False

    def op_hello(self, _request: Request) -> Answer:
        """Say what this agent is and where it runs."""
        with open("/proc/self/status") as file:
            capabilities = next((line.split()[1] for line in file if line.startswith("CapEff")), "0")
        return {
            "version": VERSION,
            "python": sys.version.split()[0],
            "uid": os.getuid(),
            "capabilities": int(capabilities, 16),
            "kernel": os.uname().release,
            "time": int(time.time() * 1e9),
            "interfaces": interfaces(),
        }

    def op_capture(self, request: Request) -> Answer:
        """Capture packets with a run's cookie, from now on; one audit at a time per host."""
        cookie = whole(request, "cookie", 0, 0xFFFF)
        if self.capture is None:
            self.locks = [named(LOCK)]
            who = "".join(c for c in str(request.get("who") or "") if c.isalnum() or c in "@.:-_ ")[:60]
            self.locks += [named(b"\0" + HOLDER[1:].encode() + who.encode("ascii", "ignore"))] if who else []
            self.capture = Capture()
        if len(self.capture.cookies | {cookie}) > MAX_COOKIES:
            raise Refused(f"at most {MAX_COOKIES} cookies")
        self.capture.cookies.add(cookie)
        return {"tracker": self.capture.tracker is not None}

    def op_get(self, request: Request) -> Answer:
        """Return captured packets; wait up to ``wait`` seconds for the first of them."""
        capture = self.capturing()
        end = time.time() + number(request, "wait", 0.0, 10.0)
        capture.pump()
        while not capture.packets and not capture.confirmed:
            left = end - time.time()
            if left <= 0:
                break
            select.select(capture.descriptors(), [], [], left)
            capture.pump()
        return capture.fetch()

    def op_send(self, request: Request) -> Answer:
        """Send frames ``gap`` seconds apart; return for each the errno (0 is sent) and the time."""
        capture = self.capturing()
        frames = [bytes.fromhex(frame) for frame in listed(request, "frames")]
        if self.sent + len(frames) > MAX_PACKETS:
            raise Refused(f"this agent has sent its {MAX_PACKETS} packets")
        own = own_addresses()
        self.check_sources(frames, own)
        for frame in joined(frames):
            check_frame(frame, capture, own | self.spoofed)
        gap = max(number(request, "gap", 0.0, 60.0), MIN_GAP)
        if (len(frames) - 1) * gap > SEND_SECONDS:
            raise Refused(f"at most {SEND_SECONDS:g} s at a time")
        start, results = time.time(), []
        for index, frame in enumerate(frames):
            self.rest(start + index * gap - time.time())
            results.append([self.transmit(frame), int(time.time() * 1e9)])
        self.sent += len(frames)
        return {"sent": results}

    def check_sources(self, frames: List[bytes], own: Set[str]) -> None:
        """Note foreign source addresses; Refused where this agent may not use them, or not that many."""
        foreign = {text(source) for source, _ in map(ends, frames)} - own
        if foreign and not STREAMED:
            raise Refused(f"{min(foreign)} is not an address of this host")
        if any(unusable(packed(source)) for source in foreign) or len(self.spoofed | foreign) > MAX_SPOOFED:
            raise Refused(f"foreign sources are at most {MAX_SPOOFED} unicast addresses")
        self.spoofed |= foreign

    def rest(self, seconds: float) -> None:
        """Capture while waiting."""
        end = time.time() + seconds
        while True:
            if self.capture:
                self.capture.pump()
            left = end - time.time()
            if left <= 0:
                return
            select.select(self.capture.descriptors() if self.capture else [], [], [], left)

    def transmit(self, frame: bytes) -> int:
        """Send one frame through a raw IP socket bound to its source; return 0 or the errno."""
        src, dst = ends(frame)
        try:
            sock = self.sender(src, cut=piece_of(frame) is not None)
            if len(src) == 4:
                sock.sendto(frame, (text(dst), 0))
            else:
                sock.sendto(frame, (text(dst), 0, 0, self.scope(src, dst)))
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def sender(self, src: bytes, *, cut: bool) -> socket.socket:
        """Return the socket that sends from an address; fragments have their own, which keeps them apart."""
        sock = self.senders.get((src, cut))
        if sock is None:
            family = socket.AF_INET if len(src) == 4 else socket.AF_INET6
            sock = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            if cut and len(src) == 4:
                sock.setsockopt(socket.IPPROTO_IP, IP_NODEFRAG, 1)
            if len(src) == 4:  # else a full queue or neighbour table is no error (net/ipv4/raw.c, raw_send_hdrinc())
                sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            if text(src) not in self.spoofed:
                sock.bind((text(src), 0))
            self.senders[src, cut] = sock
        return sock

    def scope(self, src: bytes, dst: bytes) -> int:
        """Return the interface index for a link-local or multicast destination, else 0."""
        if dst[0] != 0xFF and dst[:2] != b"\xfe\x80":
            return 0
        owner = next((link["index"] for link in interfaces() if text(src) in link["addresses"]), 0)
        return int(owner)

    def op_route(self, request: Request) -> Answer:
        """Tell how the kernel would send to ``dst``, and the state of the next hop's neighbour entry."""
        src = request.get("src")
        return route(packed(str(request.get("dst"))), packed(str(src)) if src else None)

    def op_connect(self, request: Request) -> Answer:
        """Open an ordinary TCP connection, send ``payload``, read up to ``limit`` bytes; tell how it went."""
        address, port = str(request.get("address")), whole(request, "port", 1, 65535)
        family = socket.AF_INET if len(packed(address)) == 4 else socket.AF_INET6
        data, limit = bytes.fromhex(str(request.get("payload") or "")), whole(request, "limit", 0, 65536)
        if len(data) > 4096:
            raise Refused("at most 4096 bytes of payload")
        end = time.time() + number(request, "patience", 0.01, 30.0)
        user = int(os.environ.get("SUDO_UID") or os.getuid())
        begun, local, answer, result = time.time(), None, b"", "connected"
        os.seteuid(user)  # root's packets may meet other rules (owner match) and other files
        try:
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                os.seteuid(os.getuid())
                if request.get("source"):
                    sock.bind((text(packed(str(request["source"]))), 0))
                sock.settimeout(max(end - time.time(), 0.01))
                sock.connect((address, port))
                local = list(sock.getsockname()[:2])
                sock.sendall(data)
                while limit and len(answer) < limit:
                    sock.settimeout(max(end - time.time(), 0.01))
                    chunk = sock.recv(limit - len(answer))
                    if not chunk:
                        break
                    answer += chunk
        except socket.timeout:  # noqa: UP041 - not the builtin before Python 3.10
            result = "timeout" if local is None else "silent"
        except OSError as error:
            result = errno.errorcode.get(error.errno or 0, "error") if local is None else "broken"
        finally:
            os.seteuid(os.getuid())
        return {"result": result, "seconds": time.time() - begun, "answer": answer.hex(), "local": local}

    def op_hold(self, request: Request) -> Answer:
        """Open ordinary TCP connections one after another and keep them, until one does not stand; tell how many."""
        address, port = packed(str(request.get("address"))), whole(request, "port", 1, 65535)
        count, patience = whole(request, "count", 1, MAX_HELD_OPEN), number(request, "patience", 0.01, 5.0)
        source = text(packed(str(request.get("source"))))
        if len(self.open) + count > MAX_HELD_OPEN:
            raise Refused(f"at most {MAX_HELD_OPEN} connections are kept")
        self.held_on()
        stood, result = 0, "connected"
        while stood < count and result == "connected":
            sock, result = opened(address, port, source, patience)
            if sock is not None:
                self.open.append(sock)
                stood += 1
        return {"stood": stood, "result": result}

    def held_on(self) -> None:
        """Raise Refused where connections had to be reset meanwhile, since nobody asked for anything."""
        if self.lease < 0:
            self.lease = 0.0
            raise Refused(f"the connections were reset, as nobody asked for anything for {LEASE:g} s")

    def op_alive(self, _request: Request) -> Answer:
        """Do nothing: who asks is still there."""
        return {}

    def op_finish(self, request: Request) -> Answer:
        """End the sending half of the connections that are kept; tell how many of the other ends acknowledge it."""
        end = time.time() + number(request, "patience", 0.01, 5.0)
        self.held_on()
        for sock in self.open:
            try:
                sock.shutdown(socket.SHUT_WR)
            except OSError:  # reset by the other end: it does not acknowledge
                pass
        while time.time() < end and not all(acknowledged(sock) for sock in self.open):
            self.rest(0.01)
        return {"kept": len(self.open), "acknowledged": sum(acknowledged(sock) for sock in self.open)}

    def op_release(self, _request: Request) -> Answer:
        """Reset the connections that are kept, so that nothing of them stays at the other end."""
        self.lease, count = 0.0, len(self.open)
        while self.open:
            sock = self.open.pop()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        return {"released": count}

    def op_counters(self, request: Request) -> Answer:
        """Run one of the fixed commands that print rules with their counters."""
        name = request.get("name")
        if name not in FIXED_COMMANDS:
            raise Refused("counters of " + ", ".join(sorted(FIXED_COMMANDS)))
        status, out, err = command(FIXED_COMMANDS[str(name)])
        return {"status": status, "stdout": out, "stderr": err, "time": int(time.time() * 1e9)}

    def op_trace(self, request: Request) -> Answer:
        """Begin or end tracing (``on``); at the beginning, tell the handles of the rules, to name them by."""
        capture = self.capturing()
        if not MAY_TRACE:
            raise Refused("tracing is not allowed here: sudo lets this agent be started without --trace only")
        if capture.tracer:
            capture.tracer.close()
            capture.tracer = None
        if request.get("on") is not True:
            return {}
        rules = rule_handles()
        capture.tracer = Tracer(capture.cookies)
        return {"rules": rules, "legacy": capture.tracer.legacy}

    def op_forget(self, request: Request) -> Answer:
        """Take an address whose probes arrived here off every xt_recent list, now and at the end; tell off which."""
        self.touched.add(packed(str(request.get("address"))))
        return {"lists": self.forgotten(self.prober(request))}

    def forgotten(self, address: bytes) -> List[str]:
        """Take an address off every xt_recent list; return their names."""
        lists = []
        for name in sorted(os.listdir(RECENT)) if os.path.isdir(RECENT) else []:
            path = os.path.join(RECENT, name)
            with open(path) as file:
                words = [line.split()[0][4:] for line in file if line.startswith("src=")]
            for entry in [word for word in words if covers(word, address)]:
                try:
                    with open(path, "w") as file:
                        file.write(f"-{text(packed(entry))}\n")
                except PermissionError:  # in a user namespace the lists stay the machine's root's
                    raise Refused(f"the kernel does not let this root change {name}; it forgets by itself") from None
                lists.append(name)
        return lists

    def op_unban(self, request: Request) -> Answer:
        """Lift a fail2ban ban of an address whose probes arrived here."""
        address = self.prober(request)
        jail = self.jail(request)
        status, out, err = command(("fail2ban-client", "set", jail, "unbanip", text(address)))
        return {"status": status, "stdout": out, "stderr": err}

    def op_owe(self, request: Request) -> Answer:
        """Note that an address whose probes arrived here is to be unbanned at the end; ``paid`` takes that back."""
        owed = (self.jail(request), self.prober(request))
        self.owed = [each for each in self.owed if each != owed]
        if request.get("paid") is not True:
            self.owed = [*self.owed[-MAX_OWED + 1 :], owed]
        return {}

    def jail(self, request: Request) -> str:
        """Return the request's jail in fail2ban's own words; Refused where it has none of that name."""
        status, out, err = command(("fail2ban-client", "status"))
        jails = out.partition("Jail list:")[2].replace(",", " ").split()
        if status != 0 or request.get("jail") not in jails:
            raise Refused("fail2ban has no such jail: " + (err.strip() or ", ".join(jails)))
        return jails[jails.index(str(request["jail"]))]

    def prober(self, request: Request) -> bytes:
        """Return the request's address if a marked packet arrived from it; Refused otherwise."""
        address = packed(str(request.get("address")))
        self.capturing().pump()
        if address not in self.capturing().sources:
            raise Refused(f"no probe of this run has arrived from {text(address)}")
        return address

    def op_solicited(self, request: Request) -> Answer:
        """Capture neighbour discovery about one address, too."""
        note_solicited(self.capturing(), packed(str(request.get("target"))))
        return {}

    def op_sweep_watch(self, request: Request) -> Answer:
        """Watch a sweep: tell by port what of it comes in here and what goes out."""
        capture = self.capturing()
        if len(capture.watches) >= MAX_WATCHES:
            raise Refused(f"at most {MAX_WATCHES} sweeps at once")
        template = Template(bytes.fromhex(str(request.get("frame"))), capture.cookies)
        if template.sport in capture.watches:
            raise Refused(f"port {template.sport} is being watched")
        own = text(template.head.src) in own_addresses()
        watch = Watch(template, not own)
        if own:
            watch.seen_tos = template.tos
        capture.watches = {**capture.watches, template.sport: watch}
        return {"room": connections()}

    def op_sweep_send(self, request: Request) -> Answer:
        """Send a part of a sweep, ``count`` ports from ``skip`` on in the order of ``seed``, ``pps`` a second."""
        capture = self.capturing()
        template = Template(bytes.fromhex(str(request.get("frame"))), capture.cookies)
        if text(template.head.src) not in own_addresses():
            raise Refused(f"{text(template.head.src)} is not an address of this host")
        watch = capture.watches.get(template.sport)
        if watch is None:
            raise Refused("watch the sweep first")
        pps, count = whole(request, "pps", 1, SWEEP_PPS), whole(request, "count", 1, SWEEP_PPS)
        if count > max(1, pps * SWEEP_SECONDS):
            raise Refused(f"at most {SWEEP_SECONDS:g} s at a time")
        if self.sent + count > MAX_PACKETS:
            raise Refused(f"this agent has sent its {MAX_PACKETS} packets")
        order = self.order_of(str(request.get("ports")), whole(request, "seed", 0, 1 << 32))
        skip = whole(request, "skip", 0, 65535)
        for port in order[skip : skip + count]:
            watch.hit("oA", port)
        return self.sweep(template, order[skip : skip + count], pps)

    def order_of(self, ports: str, seed: int) -> List[int]:
        """Return the ports of a deflated bit map, shuffled."""
        if self.ordered[0] != (ports, seed):
            try:
                bits = zlib.decompressobj().decompress(base64.b64decode(ports.encode()), 8192)
            except zlib.error:
                raise ValueError("ports must be a deflated bit map") from None
            if len(bits) != 8192:
                raise ValueError("ports must be a bit map of 8192 bytes")
            order = [port for port in range(1, 65536) if bits[port >> 3] & 1 << (port & 7)]
            random.Random(seed).shuffle(order)  # noqa: S311 - no secret, only an order
            self.ordered = ((ports, seed), order)
        return self.ordered[1]

    def sweep(self, template: Template, ports: List[int], pps: int) -> Answer:
        """Send the template to ports; stop early where the docstring of this file says so."""
        frame, name, pack = template.frame, template.name(), struct.Struct("!H").pack_into
        at, patch, base = template.at, template.patch, template.base
        where = (name, 0) if template.four else (name, 0, 0, self.scope(template.head.src, template.head.dst))
        sock = self.sender(template.head.src, cut=False)
        send, burst, begun, done, why = sock.sendto, max(1, min(64, pps // 500)), time.time(), 0, ""
        errors: Dict[str, int] = {}
        while done < len(ports) and not why:
            ahead = done / float(pps) - (time.time() - begun)
            if ahead > 0:
                self.rest(ahead)
            if done % 1024 < burst:
                self.capturing().pump()  # also where there is no time to rest
                why = self.interrupted()
            for port in [] if why else ports[done : done + burst]:
                pack(frame, at, port)
                pack(frame, patch, (base - port) % 65535)
                try:
                    send(frame, where)
                except OSError as error:
                    errors[str(port)] = error.errno or errno.EIO
            done += 0 if why else burst
        done = min(done, len(ports))
        self.sent += done
        self.rest(done / float(pps) - (time.time() - begun))  # so that the next part keeps to the rate
        return {"sent": done, "errors": errors, "stopped": why, "seconds": time.time() - begun}

    def interrupted(self) -> str:
        """Return why to stop a sweep, empty to go on."""
        if select.select([sys.stdin.fileno()], [], [], 0)[0]:
            return "asked to"
        entries, most = connections()
        return f"this host's connection table is half full ({entries} of {most})" if entries * 2 > most > 0 else ""

    def op_sweep_wait(self, request: Request) -> Answer:
        """Wait until ``want`` bits of kinds that begin so are set, or none was for ``quiet`` s, at most ``wait`` s."""
        watch = self.watch_of(request)
        kind, want = str(request.get("kind")), whole(request, "want", 0, 65536)
        begun = time.time()
        end, quiet = begun + number(request, "wait", 0.0, 10.0), number(request, "quiet", 0.0, 10.0)
        self.capturing().pump()
        while watch.count(kind) < want and time.time() < min(end, max(watch.last, begun) + quiet):
            self.rest(0.005)
        return {"count": watch.count(kind)}

    def op_sweep_get(self, request: Request) -> Answer:
        """Return what was seen of a sweep; ``close`` ends watching it."""
        watch = self.watch_of(request)
        self.capturing().pump()
        answer = watch.report()
        answer["room"], answer["tracking"] = connections(), self.capturing().tracking()
        answer["used"] = [time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
        if request.get("close") is True:
            self.capturing().watches = {p: w for p, w in self.capturing().watches.items() if w is not watch}
            watch.close()
        return answer

    def watch_of(self, request: Request) -> Watch:
        """Return the watch that a request names by its source port."""
        port = whole(request, "port", SWEEP_LOW, SWEEP_HIGH)
        if port not in self.capturing().watches:
            raise Refused(f"port {port} is not being watched")
        return self.capturing().watches[port]

    def op_connections(self, _request: Request) -> Answer:
        """Tell how many connections conntrack holds here, and how many it may."""
        return {"room": connections()}

    def op_bye(self, _request: Request) -> Answer:
        """End."""
        self.done = True
        return {}

    def capturing(self) -> Capture:
        """Return the running capture; Refused when there is none."""
        if self.capture is None:
            raise Refused("start the capture first")
        return self.capture

    def answer(self, line: bytes) -> None:
        """Answer one request."""
        ref = None
        try:
            request = json.loads(line.decode())
            if not isinstance(request, dict):
                raise ValueError("a request is a JSON object")
            ref = request.get("ref")
            operation = OPERATIONS.get(str(request.get("op")))
            if operation is None:
                raise Refused("operations: " + ", ".join(sorted(OPERATIONS)))
            reply = {"ref": ref, "ok": operation(self, request)}
        except Refused as error:
            reply = {"ref": ref, "error": str(error), "kind": "refused"}
        except (ValueError, KeyError, TypeError) as error:
            reply = {"ref": ref, "error": f"{type(error).__name__}: {error}", "kind": "bad"}
        except OSError as error:
            reply = {"ref": ref, "error": str(error), "kind": "failed", "errno": error.errno}
        sys.stdout.write(json.dumps(reply, separators=(",", ":")) + "\n")
        sys.stdout.flush()

    def run(self) -> None:
        """Serve until end of input, ``bye``, or the deadline; then take back what was begun."""
        ends = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
        for number in ends:
            signal.signal(number, ended)
        signal.signal(signal.SIGALRM, self.tick)
        signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
        try:
            self.serve()
        except (Ended, BrokenPipeError):
            pass
        finally:
            for number in (*ends, signal.SIGALRM):
                signal.signal(number, signal.SIG_IGN)
            self.settle()

    def tick(self, *_: Any) -> None:
        """Look whether anybody is still there; a signal's handler, so that no operation can keep it off."""
        now = time.time()
        if self.lease > 0 and now > self.lease:
            self.op_release({})
            self.lease = -1.0
        if now - self.began > LIFETIME or at_end(sys.stdin.fileno()):
            raise Ended

    def settle(self) -> None:
        """Take back what this process began and nobody took back; safe to call again."""
        self.op_release({})
        for address in self.touched & (self.capture.sources if self.capture else set()):
            try:
                self.forgotten(address)
            except (OSError, Refused):  # what cannot be forgotten ends by itself
                pass
        end = time.time() + OWED_SECONDS
        while self.owed and time.time() < end:
            jail, address = self.owed.pop(0)
            status, out, _ = command(("fail2ban-client", "set", jail, "unbanip", text(address)))
            if status == 0 and out.strip() == "0":  # the ban may still be on its way
                self.owed.append((jail, address))
                time.sleep(TICK)

    def serve(self) -> None:
        """Answer requests until end of input or ``bye``."""
        descriptor, pending, last = sys.stdin.fileno(), b"", time.time()
        while not self.done and time.time() - last < IDLE:
            sockets: List[Any] = list(self.capture.descriptors()) if self.capture else []
            ready = select.select([descriptor, *sockets], [], [], 5.0)[0]
            if self.capture:
                self.capture.pump()
            if descriptor not in ready:
                continue
            data = os.read(descriptor, 1 << 16)
            if not data:
                return
            pending = pending + data
            while b"\n" in pending and not self.done:
                line, pending = pending.split(b"\n", 1)
                self.lease = min(self.lease, 0.0)  # it runs while nobody asks
                self.answer(line)
                last = time.time()
                self.lease = last + LEASE if self.open else self.lease


OPERATIONS = {name[3:]: function for name, function in sorted(vars(Agent).items()) if name.startswith("op_")}


def opened(address: bytes, port: int, source: str, patience: float) -> Tuple[Optional[socket.socket], str]:
    """Open a TCP connection as the user who called sudo; return it, or None, and ``connected`` or why not."""
    sock, user = None, int(os.environ.get("SUDO_UID") or os.getuid())
    os.seteuid(user)  # root's packets may meet other rules (owner match)
    try:
        sock = socket.socket(socket.AF_INET if len(address) == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        os.seteuid(os.getuid())
        sock.bind((source, 0))
        sock.settimeout(patience)
        sock.connect((text(address), port))
    except socket.timeout:  # noqa: UP041 - not the builtin before Python 3.10
        result = "timeout"
    except OSError as error:
        result = errno.errorcode.get(error.errno or 0, "error")
    else:
        return sock, "connected"
    finally:
        os.seteuid(os.getuid())
    if sock is not None:
        sock.close()
    return None, result


def acknowledged(sock: socket.socket) -> bool:
    """Tell whether the other end has acknowledged the end of what was sent, and did not reset (tcp(7), TCP_INFO)."""
    try:
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return state in (5, 6) or (state == 7 and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0)
    except OSError:
        return False


def ended(*_: Any) -> None:
    """End, because a signal says so."""
    raise Ended


def at_end(descriptor: int) -> bool:
    """Tell whether an input has ended: it can be read, and there is nothing to read."""
    if not select.select([descriptor], [], [], 0)[0]:
        return False
    try:
        return fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)) == bytes(4)
    except OSError:
        return False


def named(name: bytes) -> socket.socket:
    """Return a socket with an abstract name: those belong to the network namespace and vanish with the process."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.bind(name)
    except OSError:
        sock.close()
        raise Refused("another fwproof audit is observing this host" + holder()) from None
    return sock


def holder() -> str:
    """Return who observes this host, as far as the agent of that audit was told."""
    with open("/proc/net/unix", errors="replace") as file:
        found = [line.partition(HOLDER)[2].strip() for line in file if HOLDER in line]
    return ": " + found[0] if found else "; who runs it is not known"


def whole(request: Request, name: str, low: int, high: int) -> int:
    """Return an integer argument; ValueError outside low..high."""
    value = request.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}")
    return value


def number(request: Request, name: str, low: float, high: float) -> float:
    """Return a number, ``low`` when it is not given; ValueError outside low..high."""
    value = request.get(name, low)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}")
    return float(value)


def listed(request: Request, name: str) -> List[str]:
    """Return a list of hex texts; ValueError for anything else."""
    value = request.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{name} must be a list of hex texts")
    return value


def covers(entry: str, address: bytes) -> bool:
    """Tell whether an entry of an xt_recent list is the address, or its network where the list has a mask."""
    try:
        held = packed(entry)
    except ValueError:
        return False
    if len(held) != len(address):
        return False
    whole_address = int.from_bytes(address, "big")
    masked = (whole_address >> bits << bits for bits in ((0, 8, 16) if len(address) == 4 else (0, 64, 72, 80)))
    return int.from_bytes(held, "big") in masked


def ends(frame: bytes) -> Tuple[bytes, bytes]:
    """Return source and destination of a packet; Refused when it is too short to have any."""
    if len(frame) >= 28 and frame[0] >> 4 == 4:
        return frame[12:16], frame[16:20]
    if len(frame) >= 48 and frame[0] >> 4 == 6:
        return frame[8:24], frame[24:40]
    raise Refused(f"a frame is one whole IP packet of at most {MAX_FRAME} bytes")


def unusable(address: bytes) -> bool:
    """Tell whether an address is no unicast one that a packet may come from, or goes nowhere."""
    if len(address) == 4:
        return address[0] in (0, 127) or address[0] >= 224
    return address[0] == 0xFF or address[:2] == b"\xfe\x80" or address[:15] == bytes(15) or address[:12] == V4_MAPPED


def joined(frames: List[bytes]) -> List[bytes]:
    """Return the datagrams that frames are or make up; Refused for fragments that make up none."""
    found, sets = [], {}  # type: List[bytes], Dict[Any, List[Tuple[Piece, bytes]]]
    for frame in frames:
        piece = piece_of(frame)
        if piece is None:
            found.append(frame)
        else:
            sets.setdefault(piece.key, []).append((piece, frame))
    return found + [whole_of(pieces) for pieces in sets.values()]


def whole_of(pieces: List[Tuple[Piece, bytes]]) -> bytes:
    """Put fragments together; they may overlap, but must then agree, and leave no gap."""
    pieces = sorted(pieces, key=lambda each: each[0].offset)
    first = pieces[0][1]
    data = b""
    for piece, frame in pieces:
        here, head = frame[piece.at :], frame[: piece.at]
        overlap = data[piece.offset : piece.offset + len(here)]
        if piece.offset > len(data) or not here.startswith(overlap):
            raise Refused("fragments make up one probe, without gaps, and agree where they overlap")
        if len(head) != pieces[0][0].at or (len(head) > 20 and head[40:-8] != first[40 : len(head) - 8]):
            raise Refused("fragments of one probe have the same headers")
        data += here[len(overlap) :]
    if pieces[0][0].offset or pieces[-1][0].more or len(data) > MAX_FRAME:
        raise Refused("fragments make up one probe, from its first byte to its last")
    at, four = pieces[0][0].at, first[0] >> 4 == 4
    kept = first[:6] + b"\0\0" + first[8:at] if four else first[: at - 6] + b"\0\0" + first[at - 4 : at]
    return kept + data


def check_frame(frame: bytes, capture: Capture, own: Set[str]) -> None:
    """Raise Refused unless the frame is a probe of this run from an address of this host."""
    head = header(frame)
    if head is None or len(frame) > MAX_FRAME or piece_of(frame) is not None:
        raise Refused(f"a frame is one whole IP packet of at most {MAX_FRAME} bytes")
    if text(head.src) not in own:
        raise Refused(f"{text(head.src)} is not an address of this host")
    if head.proto == ICMPV6 and frame[head.at] == 135:
        check_solicitation(frame, head, capture)
        return
    if (len(head.dst) == 4 and head.dst[0] >= 224) or (len(head.dst) == 16 and head.dst[0] == 0xFF):
        raise Refused("probes go to unicast addresses")
    flow = flow_of(frame, head)
    ident = identity(flow) if flow else None
    if flow is None or ident is None:
        raise Refused(f"probes are TCP, UDP or ICMP echo from ports {PORT_LOW}-{PORT_HIGH}, or another form of them")
    allowed = {marker(cookie, ident) for cookie in capture.cookies}
    check_extensions(frame, allowed)
    if head.proto == TCP:
        sequence = struct.unpack_from("!I", frame, head.at + 4)[0]
        if not {sequence, (sequence - 1) & 0xFFFFFFFF} & allowed or without_payload(frame, head) != frame:
            raise Refused("TCP probes are empty and carry the marker as sequence number")
    elif head.proto == SCTP or tail_at(frame, head) is not None:
        check_other(frame, head, ident, capture.cookies)
    elif frame[head.at + 8 :].rstrip(b"\0") not in {(MARK + struct.pack("!I", mark)).rstrip(b"\0") for mark in allowed}:
        raise Refused("UDP and ICMP probes carry the marker and zeros")
    capture.learn(flow)


def check_solicitation(frame: bytes, head: Header, capture: Capture) -> None:
    """Raise Refused unless a neighbour solicitation is small and goes where it should; let its answer be captured."""
    target = frame[head.at + 8 : head.at + 24]
    fits = len(frame) <= 80 and head.at == 40
    if not fits or head.dst not in (b"\xff\x02" + bytes(9) + b"\x01\xff" + target[13:], target):
        raise Refused("a neighbour solicitation asks the group of its target")
    note_solicited(capture, target)


def note_solicited(capture: Capture, target: bytes) -> None:
    """Let neighbour discovery about an address be captured from now on; Refused where there are many already."""
    if len(capture.solicited | {target}) > MAX_SOLICITED:
        raise Refused(f"neighbour discovery is told of at most {MAX_SOLICITED} addresses")
    capture.solicited.add(target)


def check_extensions(frame: bytes, allowed: Set[int]) -> None:
    """Raise Refused unless IPv4 has no options, and IPv6 extension headers are blank, and no two are alike."""
    if frame[0] >> 4 == 4:
        if frame[0] & 15 != 5:
            raise Refused("probes have no IPv4 options")
        return
    headers = chain(frame)[2]
    for number, data in headers:
        blank = {
            0: (b"\1\4\0\0\0\0",), 60: (b"\1\4\0\0\0\0",), 43: (bytes(6),),
            FRAGMENT: tuple(struct.pack("!HI", 0, mark) for mark in allowed),
        }  # fmt: skip
        if data[2:] not in blank[number]:
            raise Refused("extension headers are blank")
    if len({number for number, _ in headers}) < len(headers):
        raise Refused("no two extension headers are alike")


def check_other(frame: bytes, head: Header, ident: int, cookies: Set[int]) -> None:
    """Raise Refused unless a packet without ports, or an SCTP INIT, is inert: marker, zeros, and nothing else."""
    got = frame[head.at :]
    if head.proto == SCTP:
        port = struct.unpack_from("!H", got, 2)[0]
        blank = [struct.pack("!HHI", ident, port, 0) + got[8:12] + inert_init(cookie, ident) for cookie in cookies]
    elif head.proto in (ICMP, ICMPV6):
        if head.proto == ICMPV6 and frame[7] == 255:
            raise Refused("a hop limit of 255 would make it be obeyed")
        query = got[0] in QUERIES[head.proto]
        start = bytes((got[0], 0)) + got[2:4] + (struct.pack("!HH", ident, 1) if query else bytes(4))
        blank = [start.ljust(TAIL_AT[head.proto, got[0]], b"\0") + tail(cookie, ident) for cookie in cookies]
    else:
        starts = {GRE: bytes(4), IGMP: b"\0\0" + got[2:4] + bytes(4)}
        blank = [
            starts.get(head.proto, struct.pack("!II", marker(cookie, ident), ident)) + tail(cookie, ident)
            for cookie in cookies
        ]
    if got not in blank:
        raise Refused("probes of other protocols and ICMP types are blank but for the marker")


def inert_init(cookie: int, ident: int) -> bytes:
    """Return the one SCTP chunk that is sent: an INIT with the marker as its tag (RFC 9260, 3.3.2)."""
    return struct.pack("!BBHIIHHI", 1, 0, 20, marker(cookie, ident), 65536, 1, 1, 1)


def command(words: Tuple[str, ...]) -> Tuple[int, str, str]:
    """Run a fixed command from the system's own directories; return status and both outputs."""
    folders = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
    path = next((p for p in (os.path.join(d, words[0]) for d in folders) if os.access(p, os.X_OK)), None)
    if path is None:
        return 127, "", f"{words[0]} is not installed"
    environment = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    process = subprocess.Popen(
        (path, *words[1:]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    try:
        out, err = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return 124, "", f"{words[0]} did not end within 30 s"
    return process.returncode, out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "replace")


if __name__ == "__main__":
    Agent().run()
