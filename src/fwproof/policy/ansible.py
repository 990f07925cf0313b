"""From an Ansible inventory to hosts: which of its variables mean what here (docs/estate.md has the table)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Never

from fwproof.policy.ansible_files import (
    Inventory,
    Place,
    Value,
    Variables,
    compose,
    read_inventory,
    read_text,
    variables_of,
)
from fwproof.policy.scalars import quoted
from fwproof.policy.ssh_config import Hop, read_hop

_ADDRESS = ("ansible_host", "ansible_ssh_host")
_PORT = ("ansible_port", "ansible_ssh_port")
_USER = ("ansible_user", "ansible_ssh_user")
_KEY = ("ansible_ssh_private_key_file", "ansible_private_key_file")
_ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args")
READ = (*_ADDRESS, *_PORT, *_USER, *_KEY, *_ARGUMENTS, "ansible_become", "ansible_become_user", "ansible_connection",
        "ansible_group_priority")  # fmt: skip
"""The variables that are looked at; every other one is passed over, whatever it holds."""
_SSH = {"ssh", "paramiko", "smart", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh", "paramiko_ssh"}
_TRUE, _FALSE = {"yes", "true", "on", "1", "y", "t"}, {"no", "false", "off", "0", "n", "f"}
_BUILT_IN = {"all", "ungrouped"}
_ENDINGS = ("", ".yml", ".yaml", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsibleHost:
    """What Ansible has of one host: empty, 0 or None where it has nothing. ``become`` is whether it may become root."""

    name: str
    groups: tuple[str, ...] = ()
    address: str = ""
    port: int = 0
    user: str = ""
    identity_file: str = ""
    jumps: tuple[Hop, ...] | None = None
    become: bool | None = None
    file: str = ""
    line: int = 0

    @property
    def ip(self) -> str:
        """Its address where Ansible has one, and not a name only; fwproof asks no name server."""
        for text in (self.address, self.name):
            try:
                return str(ip_address(text))
            except ValueError:
                if text:
                    continue
        return ""


def load_ansible(path: Path) -> dict[str, AnsibleHost]:
    """Read a static inventory with the group_vars and host_vars beside it; raises InputError with file and line."""
    found = read_inventory(path)
    parents = _parents(found)
    depths = {name: _depth(name, parents, ()) for name in found.groups}
    folder = path.parent
    files = {name: dict(_beside(folder / "group_vars", name)) for name in found.groups}
    hosts = {}
    for name, own in found.hosts.items():
        groups = _groups_of(name, found, parents)
        ordered = sorted(groups, key=lambda group: (depths[group], group))
        variables: Variables = {}
        for layer in (*(found.groups[g].variables for g in ordered), *(files[g] for g in ordered)):
            variables |= layer
        variables |= own
        variables |= dict(_beside(folder / "host_vars", name))
        named = tuple(group for group in found.groups if group in groups and group not in _BUILT_IN)
        hosts[name] = _host(name, named, variables, found.places[name], folder)
    return hosts


def _parents(found: Inventory) -> dict[str, set[str]]:
    parents: dict[str, set[str]] = {name: set() for name in found.groups}
    for name, group in found.groups.items():
        for child in group.children:
            parents[child].add(name)
    for name, place in ((child, place) for group in found.groups.values() for child, place in group.children.items()):
        if name in _ancestors(name, parents):
            place.refuse(f"group {quoted(name)} is among its own parents")
    return parents


def _ancestors(name: str, parents: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    left = [name]
    while left:
        new = parents[left.pop()] - found
        found |= new
        left += new
    return found


def _depth(name: str, parents: Mapping[str, set[str]], below: tuple[str, ...]) -> int:
    """Return how far a group is from ``all``: variables of deeper groups win."""
    if name == "all":
        return 0
    return 1 + max((_depth(parent, parents, (*below, name)) for parent in parents[name]), default=0)


def _groups_of(name: str, found: Inventory, parents: Mapping[str, set[str]]) -> set[str]:
    direct = {group for group, members in found.groups.items() if name in members.hosts}
    return {"all"} | direct | {above for group in direct for above in _ancestors(group, parents)}


def _beside(folder: Path, name: str) -> Iterator[tuple[str, Value]]:
    """Yield the variables of a group or host from the files beside the inventory, in the order they count."""
    for ending in _ENDINGS:
        path = folder / f"{name}{ending}"
        if path.is_dir() and not ending:
            parts = sorted(p for p in path.iterdir() if p.is_file() and p.suffix in _ENDINGS and p.name[0] != ".")
        else:
            parts = [path] if path.is_file() else []
        for part in parts:
            text = read_text(part, "it may hold how to reach the hosts")
            file = str(part)
            yield from variables_of(compose(text, file), file).items()


def _host(name: str, groups: tuple[str, ...], variables: Variables, place: Place, folder: Path) -> AnsibleHost:
    _check(name, variables)

    def text(names: Iterable[str]) -> str:
        return next((variables[each].text for each in names if each in variables), "")

    key = text(_KEY)
    return AnsibleHost(
        name=name,
        groups=groups,
        address=_matching(variables, _ADDRESS, r"[A-Za-z0-9:][A-Za-z0-9.:_-]*", "a host name or an address"),
        port=int(_matching(variables, _PORT, r"[1-9][0-9]{0,4}", "a port") or 0),
        user=_matching(variables, _USER, r"[A-Za-z_][A-Za-z0-9._-]*", "a user name"),
        identity_file=key if not key or key.startswith(("/", "~/")) else str(folder / key),
        jumps=_jumps(variables),
        become=_become(variables),
        file=place.file,
        line=place.line,
    )


def _check(name: str, variables: Variables) -> None:
    for key in READ:
        value = variables.get(key)
        if value is None:
            continue
        if value.secret:
            value.place.refuse(f"{key} of {name} is encrypted by ansible-vault; fwproof reads no secrets: write it out")
        if not value.plain:
            value.place.refuse(f"{key} of {name}: expected one value")
        if "{{" in value.text or "{%" in value.text:
            value.place.refuse(f"{key} of {name} is a template; fwproof evaluates none: write the value out")
    priority, connection = variables.get("ansible_group_priority"), variables.get("ansible_connection")
    if priority is not None:
        priority.place.refuse("ansible_group_priority is not supported: write the variables where they count anyway")
    if connection is not None and connection.text not in _SSH:
        message = (
            f"{name} is reached by {quoted(connection.text)}, and fwproof audits over SSH; keep it in another file"
        )
        connection.place.refuse(message)


def _matching(variables: Variables, names: Iterable[str], pattern: str, what: str) -> str:
    for name in names:
        value = variables.get(name)
        if value is not None and value.text:
            if not re.fullmatch(pattern, value.text):
                value.place.refuse(f"{name}: expected {what}, not {quoted(value.text)}")
            return value.text
    return ""


def _become(variables: Variables) -> bool | None:
    value, user = variables.get("ansible_become"), variables.get("ansible_become_user")
    if value is None:
        return None
    if value.text.lower() not in _TRUE | _FALSE:
        value.place.refuse(f"ansible_become: expected yes or no, not {quoted(value.text)}")
    return value.text.lower() in _TRUE and (user is None or user.text in {"", "root"})


def _jumps(variables: Variables) -> tuple[Hop, ...] | None:
    """Return the jump hosts among the arguments for ssh(1); those that go another way are refused."""
    for name in _ARGUMENTS:
        value = variables.get(name)
        if value is None:
            continue
        try:
            options = list(_options(shlex.split(value.text)))
        except ValueError as error:
            value.place.refuse(f"{name} cannot be read: {str(error).lower()}")
        for key, setting in options:
            if key == "proxycommand" and setting.lower() != "none":
                value.place.refuse(f"{name}: fwproof runs no ProxyCommand on the way to a host; use ProxyJump (-J)")
            if key == "-F":
                value.place.refuse(f"{name}: name the file as 'ssh_config' in fwproof's inventory instead of -F")
            if key == "proxyjump":
                return _hops(setting, name, value.place)
    return None


def _hops(text: str, name: str, place: Place) -> tuple[Hop, ...]:
    if text.lower() == "none":
        return ()
    hops = []
    for each in text.split(","):
        hop = read_hop(each)
        if hop is None:
            place.refuse(f"{name}: expected the jump host as [user@]host[:port], not {quoted(each)}")
        hops.append(hop)
    return tuple(hops)


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the options of an ssh(1) command line that may say how a host is reached."""
    left = iter(words)
    for word in left:
        if word[:2] in {"-J", "-F"}:
            yield "proxyjump" if word[1] == "J" else "-F", word[2:] or next(left, "")
        elif word[:2] == "-o":
            key, _, value = (word[2:] or next(left, "")).replace(" ", "=", 1).partition("=")
            yield key.strip().lower(), value.strip()


def refuse_nameless(host: AnsibleHost) -> Never:
    """Raise InputError for a host that Ansible has no address of."""
    Place(host.file, host.line).refuse(
        f"{host.name} has a name and no address, and fwproof asks no name server: set ansible_host to an address, or"
        " 'addresses' under hosts in fwproof's inventory"
    )
