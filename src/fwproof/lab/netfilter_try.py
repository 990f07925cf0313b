"""Asks the kernel, by netlink, which parts of netfilter it has; no iptables program is needed.

Run inside a network namespace of one's own: some of the questions load kernel modules, and the log group is bound
for a moment. Message layouts: linux/netfilter/nfnetlink.h, nf_tables_compat.h, nfnetlink_log.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

_NETLINK_NETFILTER = 12
_REQUEST, _ACK, _ERROR = 0x1, 0x4, 0x2
_LOG, _NF_TABLES, _COMPAT = 4, 10, 11
_SOL_NETLINK, _ADD_MEMBERSHIP, _CONNTRACK_NEW = 270, 1, 1
_LEGACY_GET_INFO = 64  # IPT_SO_GET_INFO and IP6T_SO_GET_INFO
_LEGACY_INFO_SIZE = 84  # struct ipt_getinfo

MATCHES = (
    ("conntrack", socket.AF_INET),
    ("state", socket.AF_INET),
    ("recent", socket.AF_INET),
    ("limit", socket.AF_INET),
    ("tcp", socket.AF_INET),
    ("icmp6", socket.AF_INET6),
    ("hl", socket.AF_INET6),
)
TARGETS = (("NFLOG", socket.AF_INET), ("REJECT", socket.AF_INET), ("REJECT", socket.AF_INET6))


def nf_tables() -> None:
    """Ask for the generation of the rule tables; raises OSError where nf_tables is missing."""
    _ask(_NF_TABLES, 16, socket.AF_UNSPEC, b"")  # NFT_MSG_GETGEN


def extension(name: str, family: int, *, target: bool) -> None:
    """Ask whether an xtables match or target exists, loading its module; raises OSError where it does not."""
    body = _attribute(1, name.encode() + b"\0")  # NFTA_COMPAT_NAME
    body += _attribute(2, struct.pack("!I", 0))  # NFTA_COMPAT_REV
    body += _attribute(3, struct.pack("!I", int(target)))  # NFTA_COMPAT_TYPE
    try:
        _ask(_COMPAT, 0, family, body)
    except OSError as error:
        if error.errno != errno.EPROTONOSUPPORT:  # the extension is there, only without revision 0
            raise


def log_group(group: int = 5) -> None:
    """Bind a packet log group, as ulogd does; raises OSError where nfnetlink_log is missing."""
    _ask(_LOG, 1, socket.AF_INET, _attribute(1, b"\1"), group)  # NFULNL_MSG_CONFIG, NFULNL_CFG_CMD_BIND


def conntrack_events() -> None:
    """Subscribe to new connections; raises OSError where conntrack or its netlink is missing."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as events:
        events.bind((0, 0))
        events.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _CONNTRACK_NEW)
    _ask(1, 5, socket.AF_INET, b"")  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET_STATS


def legacy_tables() -> None:
    """Ask the old iptables interface for its filter table; raises OSError where it is missing."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        wanted = b"filter".ljust(_LEGACY_INFO_SIZE, b"\0")
        _getsockopt(raw.fileno(), wanted)


def _getsockopt(descriptor: int, wanted: bytes) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(wanted, len(wanted))
    length = ctypes.c_uint(len(wanted))
    if libc.getsockopt(descriptor, socket.IPPROTO_IP, _LEGACY_GET_INFO, buffer, ctypes.byref(length)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _attribute(kind: int, data: bytes) -> bytes:
    padding = b"\0" * (-len(data) % 4)
    return struct.pack("=HH", 4 + len(data), kind) + data + padding


def _ask(subsystem: int, message: int, family: int, body: bytes, resource: int = 0) -> None:
    payload = struct.pack("!BBH", family, 0, resource) + body
    header = struct.pack("=IHHII", 16 + len(payload), subsystem << 8 | message, _REQUEST | _ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as asking:
        asking.settimeout(5)
        asking.bind((0, 0))
        asking.send(header + payload)
        answer = asking.recv(65536)
    kind = struct.unpack_from("=H", answer, 4)[0]
    if kind == _ERROR:
        number = -struct.unpack_from("=i", answer, 16)[0]
        if number:
            raise OSError(number, os.strerror(number))
