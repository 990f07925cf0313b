"""The values that sysctls of the network have after a boot: the kernel's defaults, and what the files write on them.

Follows devinet.c and addrconf.c: some settings write others, and IPv4's ``default`` reaches the interfaces that were
not set themselves. Interfaces may be there before the files are read or after; systemd writes to late ones what the
files say of them (99-systemd.rules).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from fwproof.evidence.sysctl_files import Write, expanded

_EACH = {
    "ipv4": {"forwarding": "00", "rp_filter": "00", "accept_source_route": "01", "accept_redirects": "11",
             "secure_redirects": "11", "shared_media": "11", "send_redirects": "11", "log_martians": "00",
             "accept_local": "00", "route_localnet": "00"},
    "ipv6": {"forwarding": "00", "force_forwarding": "00", "accept_redirects": "11", "accept_source_route": "00",
             "accept_ra": "11", "seg6_enabled": "00", "rpl_seg_enabled": "00", "disable_ipv6": "00"},
}  # fmt: skip
"""The kernel's values of ``all`` and of ``default`` (ipv4_devconf, ipv4_devconf_dflt, ipv6_devconf)."""
_ONE = {
    "ipv4/ip_forward": "0", "ipv4/tcp_syncookies": "1", "ipv4/icmp_echo_ignore_broadcasts": "1",
    "ipv4/icmp_ignore_bogus_error_responses": "1", "netfilter/nf_conntrack_tcp_loose": "1",
    "netfilter/nf_conntrack_helper": "0", "bridge/bridge-nf-call-iptables": "1", "bridge/bridge-nf-call-ip6tables": "1",
}  # fmt: skip
_NUMBER = re.compile(r"-?(0[xX][0-9a-fA-F]+|[0-9]+)")
_PARTS = re.compile(r"(ipv[46])/conf/([^/]+)/([a-z0-9_]+)")
_FOR_ALL = ("forwarding", "disable_ipv6", "force_forwarding")
"""What IPv6 writes to every interface when it is written to ``all``."""
LATE_MODULES = ("netfilter/", "bridge/")
"""Settings of modules that may be loaded after the files were read; nothing writes them then."""


class Kernel:
    """The settings of a kernel that starts, by their path below ``/proc/sys/net``."""

    def __init__(self, interfaces: Iterable[str]) -> None:
        self.values = dict(_ONE)
        self._set: set[str] = set()
        for family, known in _EACH.items():
            for key, usual in known.items():
                self.values[f"{family}/conf/all/{key}"] = usual[0]
                self.values[f"{family}/conf/default/{key}"] = usual[1]
        self.interfaces: list[str] = []
        for name in interfaces:
            self.add(name)

    def add(self, name: str) -> None:
        """Add an interface, which gets what ``default`` says."""
        self.interfaces.append(name)
        for family, known in _EACH.items():
            for key in known:
                usual = f"{family}/conf/default/{key}"
                self.values[f"{family}/conf/{name}/{key}"] = self.values[usual]
                if usual in self._set:
                    self._set.add(f"{family}/conf/{name}/{key}")

    def write(self, path: str, value: str) -> None:
        """Write a value. What the kernel does not take changes nothing, but IPv4 counts it as set all the same."""
        if path not in self.values:
            return
        number = self.values[path]
        if _NUMBER.fullmatch(value) is not None:
            number = str(int(value, 0) if "x" in value.lower() else int(value))
        if path in {"ipv4/ip_forward", "ipv4/conf/all/forwarding"}:
            self._forward4(number)
            return
        changed = self.values[path] != number
        self.values[path] = number
        self._set.add(path)
        parts = _PARTS.fullmatch(path)
        if parts is not None:
            self._spread(parts[1], parts[2], parts[3], number if changed else None)

    def _spread(self, family: str, where: str, key: str, changed: str | None) -> None:
        """Write what a write brings with it; ``changed`` is the new value, None where it is the old one."""
        if family == "ipv4" and where == "default" and key != "forwarding":
            for name in self.interfaces:
                if f"ipv4/conf/{name}/{key}" not in self._set:
                    self.values[f"ipv4/conf/{name}/{key}"] = self.values[f"ipv4/conf/default/{key}"]
        elif family == "ipv6" and where == "all" and changed is not None and key in _FOR_ALL:
            for name in self.interfaces if key == "force_forwarding" else ("default", *self.interfaces):
                self.values[f"ipv6/conf/{name}/{key}"] = changed

    def _forward4(self, number: str) -> None:
        """Write ip_forward, which resets accept_redirects of ``all`` with it (inet_forward_change())."""
        if self.values["ipv4/ip_forward"] == number:
            return
        for name in ("all", "default", *self.interfaces):
            self.values[f"ipv4/conf/{name}/forwarding"] = number
        self.values["ipv4/ip_forward"] = number
        self.values["ipv4/conf/all/accept_redirects"] = "1" if number == "0" else "0"


def booted(
    writes: Sequence[Write], interfaces: Sequence[str], *, late: bool = True, afterwards: Sequence[Write] = ()
) -> list[Mapping[str, str]]:
    """Return the settings after a boot: where interfaces are there first and, with ``late``, where they come later.

    ``afterwards`` is written last, when all interfaces are there (ufw). The settings of modules are also told as they
    are where these come too late to be written.
    """
    found: list[Mapping[str, str]] = []
    for early, modules in product((True, False) if late else (True,), (True, False)):
        kernel = Kernel(interfaces if early else ())
        _apply(kernel, writes, modules=modules)
        for name in () if early else interfaces:
            kernel.add(name)
            places = (f"net/ipv4/conf/{name}/", f"net/ipv6/conf/{name}/")
            _apply(kernel, writes, modules=modules, within=places)
        _apply(kernel, afterwards, modules=True)
        if kernel.values not in found:
            found.append(kernel.values)
    return found


def _apply(kernel: Kernel, writes: Sequence[Write], *, modules: bool, within: tuple[str, ...] = ("net/",)) -> None:
    paths = [f"net/{path}" for path in kernel.values]
    for write in expanded(writes, paths):
        path = write.path.removeprefix("net/")
        if write.path.startswith(within) and (modules or not path.startswith(LATE_MODULES)):
            assert write.value is not None
            kernel.write(path, write.value)
