"""Reads a topology from YAML, strictly: every fault of the file at once, each with line and column."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from fwproof.inventory import Access
from fwproof.lab.image import IMAGES, PLAIN
from fwproof.lab.marked import Faults, Value, load
from fwproof.lab.topology import CallHome, Interface, LabHost, Link, Service, Topology

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_SYSCTL = re.compile(r"net\.[a-z0-9_.-]+")
_UNITS = ("netfilter-persistent", "nftables", "ufw", "firewalld", "ulogd2", "fail2ban")
_KINDS = ("ollama", "http", "banner", "udp-echo")
_HOST_KEYS = (
    *("routes", "sysctls", "services", "units", "files", "modes"),
    *("access", "jails", "call_home", "first_boot", "rc"),
)


def load_topology(path: Path) -> Topology:
    """Read a topology file; raises InputError with everything that is wrong in it."""
    path = path.resolve()
    top, faults = load(path)
    fields = top.fields(("service_program", "networks", "hosts"), ("image",))
    networks = tuple(_name(item) for item in fields["networks"].items()) if "networks" in fields else ()
    hosts: dict[str, LabHost] = {}
    if "hosts" in fields:
        for name, value in fields["hosts"].entries():
            if not _NAME.fullmatch(name):
                value.fault("expected a host name of lower-case letters, digits and '-'")
            hosts[name] = _host(name, value, networks, path.parent)
        if not hosts:
            fields["hosts"].fault("expected at least one host")
    _check_across(hosts, fields.get("hosts"), faults)
    program = _program(fields["service_program"], path.parent) if "service_program" in fields else path
    image = _choice(fields["image"], tuple(IMAGES)) if "image" in fields else PLAIN
    faults.raise_if_any()
    return Topology(path, program, networks, hosts, image)


def _name(value: Value) -> str:
    text = value.text()
    if text and not _NAME.fullmatch(text):
        value.fault(f"expected lower-case letters, digits and '-', found {text!r}")
    return text


def _host(name: str, value: Value, networks: tuple[str, ...], folder: Path) -> LabHost:
    fields = value.fields(("links",), _HOST_KEYS)

    def each(key: str) -> list[Value]:
        return fields[key].items() if key in fields else []

    def pairs(key: str) -> list[tuple[str, Value]]:
        return list(fields[key].entries()) if key in fields else []

    return LabHost(
        name=name,
        links=tuple(_link(item, networks) for item in each("links")),
        routes=tuple(_route(item) for item in each("routes")),
        sysctls={key: _sysctl(key, item) for key, item in pairs("sysctls")},
        services=tuple(_service(item) for item in each("services")),
        units=tuple(_choice(item, _UNITS) for item in each("units")),
        files=tuple(_folder(item, folder) for item in each("files")),
        modes={_absolute(key, item): item.number(0, 0o7777, base=8) for key, item in pairs("modes")},
        access=_access(fields.get("access")),
        jails=tuple(_name(item) for item in each("jails")),
        call_home=_call_home(fields["call_home"]) if "call_home" in fields else None,
        first_boot=tuple(item.text() for item in each("first_boot")),
        rc=tuple(item.text() for item in each("rc")),
    )


def _link(value: Value, networks: tuple[str, ...]) -> Link:
    fields = value.fields(("network", "addresses"))
    network = fields["network"].text() if "network" in fields else ""
    if network and network not in networks:
        fields["network"].fault(f"no such network {network!r}; expected one of {', '.join(networks)}")
    addresses = [_interface(item) for item in fields["addresses"].items()] if "addresses" in fields else []
    return Link(network, tuple(address for address in addresses if address))


def _interface(value: Value) -> Interface | None:
    text = value.text()
    try:
        if "/" not in text:
            raise ValueError  # noqa: TRY301 - one message for every way to be wrong
        return ipaddress.ip_interface(text)
    except ValueError:
        value.fault(f"expected an address with its prefix length, such as 10.0.0.10/24, found {text!r}")
        return None


def _route(value: Value) -> str:
    text = value.text()
    words = text.split()
    try:
        if len(words) != 3 or words[1] != "via":
            raise ValueError  # noqa: TRY301 - one message for every way to be wrong
        network, gateway = ipaddress.ip_network(words[0]), ipaddress.ip_address(words[2])
        if network.version != gateway.version or network.prefixlen == 0:
            raise ValueError  # noqa: TRY301
    except ValueError:
        value.fault(f"expected `NETWORK via GATEWAY` of one family, and no default route, found {text!r}")
    return text


def _sysctl(key: str, value: Value) -> str:
    if not _SYSCTL.fullmatch(key) or ".." in key:
        value.fault("expected a net.* sysctl: nothing else belongs to a lab host")
    return str(value.number(-(2**31), 2**31 - 1))


def _service(value: Value) -> Service:
    fields = value.fields(("kind", "port"))
    kind = _choice(fields["kind"], _KINDS) if "kind" in fields else ""
    return Service(kind, fields["port"].number(1, 65535) if "port" in fields else 1)


def _choice(value: Value, allowed: tuple[str, ...]) -> str:
    text = value.text()
    if text and text not in allowed:
        value.fault(f"expected one of {', '.join(allowed)}, found {text!r}")
    return text


def _access(value: Value | None) -> Access:
    if value is None:
        return Access.OBSERVE
    text = _choice(value, tuple(access.value for access in Access))
    return Access(text) if text in set(Access) else Access.OBSERVE


def _folder(value: Value, folder: Path) -> Path:
    text = value.text()
    path = (folder / text).resolve()
    if not path.is_relative_to(folder) or not path.is_dir():
        value.fault(f"expected a folder below {folder}, found {text!r}")
    return path


def _program(value: Value, folder: Path) -> Path:
    text = value.text()
    path = (folder / text).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        value.fault(f"expected a file below {folder}, found {text!r}")
    return path


def _absolute(key: str, value: Value) -> str:
    if not key.startswith("/") or ".." in key.split("/"):
        value.fault("expected an absolute path")
    return key


def _call_home(value: Value) -> CallHome:
    fields = value.fields(("to", "port"))
    return CallHome(
        fields["to"].text() if "to" in fields else "",
        fields["port"].number(1024, 65535) if "port" in fields else 1024,
    )


def _check_across(hosts: dict[str, LabHost], value: Value | None, faults: Faults) -> None:
    """Note what is wrong between hosts: addresses given twice, a call home to nobody."""
    owner: dict[str, str] = {}
    for host in hosts.values():
        for address in host.addresses:
            if address in owner:
                faults.add(value.node if value else None, f"{host.name}: {address} is also {owner[address]}'s address")
            owner[address] = host.name
        if host.call_home and (host.call_home.to not in hosts or host.call_home.to == host.name):
            faults.add(
                value.node if value else None,
                f"{host.name}: call_home: no other host named {host.call_home.to!r}",
            )
