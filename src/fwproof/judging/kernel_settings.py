"""The kernel's settings beside the rules: what each does, and what the kernel takes of ``all`` and of the interface.

Sources: Documentation/networking/ip-sysctl.rst and nf_conntrack-sysctl.rst; inetdevice.h for the joins of IPv4,
ip6_forward(), rt6_do_redirect(), ipv6_rthdr_rcv() and ipv6_accept_ra() for those of IPv6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from fwproof.flow import Family

Values = Mapping[str, str]
"""Settings by their path below ``/proc/sys/net``."""
ALL, DEFAULT = "all", "default"
_LOWEST, _HIGHEST = -(1 << 31), (1 << 31) - 1
_RANGES = {"off": (_LOWEST, 0), "on": (1, _HIGHEST), "strict": (1, 1), "loose": (1, _HIGHEST)}
"""What a word of a policy stands for; each also names the value that a fix writes."""
_WRITTEN = {"off": 0, "on": 1, "strict": 1, "loose": 2}


class Join(StrEnum):
    """What the kernel takes of ``all`` and of the interface, in words for a report."""

    LARGER = "the kernel takes the larger"
    EITHER = "one of the two is enough"
    BOTH = "it takes both"
    SMALLER = "the kernel takes the smaller"
    OWN = "the kernel looks at the interface's own alone"
    EVERY = "one for all interfaces"
    REDIRECTS = "one of the two is enough on an interface that does not forward, else it takes both"
    REDIRECTS6 = "the kernel looks at the interface's own, and refuses them where it forwards"
    ADVERTS = "the kernel looks at the interface's own, where 1 counts only while it does not forward"
    FORWARD6 = "it is on for all, or forced on the interface"
    ONE = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its name in a policy, its family (None: both at once), its path with ``{}`` for the interface.

    ``absent`` is what a kernel that lacks it does, None where every kernel has it. ``does`` says what it is good for.
    """

    name: str
    family: Family | None
    path: str
    join: Join
    does: str
    absent: int | None = None

    @property
    def key(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def each(self) -> bool:
        """Whether interfaces have it one by one."""
        return "{}" in self.path

    def number(self, values: Values, where: str) -> int | None:
        """Return the number that is set for an interface, ``all`` or ``default``."""
        return _number(values, self.path.format(where), self.absent)

    def effective(self, values: Values, where: str) -> int | None:
        """Return what counts for packets of an interface; None where it was not read."""
        if not self.each:
            return self.number(values, "")
        every, own = self.number(values, ALL), self.number(values, where)
        special = _SPECIAL.get(self.join)
        if special is not None:
            return special(values, where, every, own)
        if self.join is Join.OWN:
            return own
        if self.join is Join.EVERY:
            return every
        return None if every is None or own is None else _JOINS[self.join](every, own)


def fits(word: str, number: int) -> bool:
    """Whether a number is what a policy's word asks for."""
    low, high = _RANGES[word]
    return low <= number <= high


def lines(setting: Setting, word: str) -> list[str]:
    """Return the lines of a file in sysctl.d that set it so, for all interfaces there are and will be."""
    value = _WRITTEN[word]
    if setting.name == "forwarding":
        key = "ipv4.ip_forward" if setting.family is Family.IPV4 else "ipv6.conf.all.forwarding"
        return [f"net.{key} = {value}"]
    places = (ALL, DEFAULT, "*") if setting.each else ("",)
    return [f"net.{setting.path.format(place).replace('/', '.')} = {value}" for place in places]


def _number(values: Values, path: str, absent: int | None = None) -> int | None:
    text = values.get(path)
    if text is None:
        return absent
    try:
        return int(text)
    except ValueError:
        return None


_JOINS: Mapping[Join, Callable[[int, int], int]] = {
    Join.LARGER: max,
    Join.SMALLER: min,
    Join.EITHER: lambda every, own: int(bool(every or own)),
    Join.BOTH: lambda every, own: int(bool(every and own)),
}


def _redirects(values: Values, where: str, every: int | None, own: int | None) -> int | None:
    """Follow IN_DEV_RX_REDIRECTS (inetdevice.h)."""
    forwards = _number(values, f"ipv4/conf/{where}/forwarding")
    if every is None or own is None:
        return None
    if bool(every) == bool(own):
        return int(bool(own))
    return None if forwards is None else int(not forwards)


def _redirects6(values: Values, where: str, _: int | None, own: int | None) -> int | None:
    """Follow rt6_do_redirect() (route.c)."""
    if own == 0:
        return 0
    forwards = _number(values, f"ipv6/conf/{where}/forwarding")
    return None if own is None or forwards is None else int(not forwards)


def _adverts(values: Values, where: str, _: int | None, own: int | None) -> int | None:
    """Follow ipv6_accept_ra() (addrconf.h)."""
    if own is None or own == 0:
        return own
    forwards = _number(values, f"ipv6/conf/{where}/forwarding")
    return None if forwards is None else int(own == 2 if forwards else True)


def _forward6(values: Values, where: str, every: int | None, _: int | None) -> int | None:
    """Follow ip6_forward(): for all, or where a kernel since 6.17 is told to (``force_forwarding``)."""
    forced = _number(values, f"ipv6/conf/{where}/force_forwarding", 0)
    return None if every is None else int(bool(every or forced))


_SPECIAL: Mapping[Join, Callable[[Values, str, int | None, int | None], int | None]] = {
    Join.REDIRECTS: _redirects, Join.REDIRECTS6: _redirects6, Join.ADVERTS: _adverts, Join.FORWARD6: _forward6,
}  # fmt: skip


def _four(name: str, join: Join, does: str) -> Setting:
    return Setting(name=name, family=Family.IPV4, path=f"ipv4/conf/{{}}/{name}", join=join, does=does)


def _six(name: str, key: str, join: Join, does: str, absent: int | None = None) -> Setting:
    return Setting(
        name=name, family=Family.IPV6, path=f"ipv6/conf/{{}}/{key}", join=join, does=does, absent=absent
    )  # fmt: skip


def _one(name: str, path: str, does: str, family: Family | None = Family.IPV4, absent: int | None = None) -> Setting:
    return Setting(name=name, family=family, path=path, join=Join.ONE, does=does, absent=absent)


SETTINGS = (
    _four("forwarding", Join.OWN, "packets of others are passed on"),
    _six("forwarding", "forwarding", Join.FORWARD6, "packets of others are passed on"),
    _four("rp_filter", Join.LARGER, "packets from a source that is not reached the same way are dropped"),
    _four("accept_source_route", Join.BOTH, "senders choose the way of their packets"),
    _six("accept_source_route", "accept_source_route", Join.SMALLER, "senders choose the way of their packets"),
    _six("segment_routing", "seg6_enabled", Join.SMALLER, "packets with segment routing headers are taken", 0),
    _six("segment_routing", "rpl_seg_enabled", Join.SMALLER, "packets with RPL source routes are taken", 0),
    _four("accept_redirects", Join.REDIRECTS, "anybody on the link may change the host's routes"),
    _six("accept_redirects", "accept_redirects", Join.REDIRECTS6, "anybody on the link may change the host's routes"),
    _four("secure_redirects", Join.EITHER, "redirects are taken to known gateways alone"),
    _four("send_redirects", Join.EITHER, "the host tells others to change their routes"),
    _four("route_localnet", Join.EITHER, "127.0.0.0/8 can be reached over the wire"),
    _four("log_martians", Join.EITHER, "packets from impossible sources are logged"),
    _six("accept_ra", "accept_ra", Join.ADVERTS, "any router on the link may set addresses and routes"),
    _one("tcp_syncookies", "ipv4/tcp_syncookies", "a flood of SYN does not shut out everybody", None),
    _one("icmp_echo_ignore_broadcasts", "ipv4/icmp_echo_ignore_broadcasts", "echo to broadcast is not answered"),
    _one(
        "icmp_ignore_bogus_error_responses",
        "ipv4/icmp_ignore_bogus_error_responses",
        "broken answers to broadcast do not fill the log",
    ),
    _one("conntrack_loose", "netfilter/nf_conntrack_tcp_loose", "connections are picked up in the middle", None),
    _one(
        "conntrack_helper", "netfilter/nf_conntrack_helper", "what a client says opens ports by itself", None, absent=0
    ),
    _one("bridged", "bridge/bridge-nf-call-iptables", "the rules see what bridges carry", absent=0),
    _one("bridged", "bridge/bridge-nf-call-ip6tables", "the rules see what bridges carry", Family.IPV6, absent=0),
)
"""Every setting that a policy can name, in the order of reports."""
