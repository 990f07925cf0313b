"""Static inventories and variable files of Ansible, read as text: INI and YAML, nothing executed, nothing decrypted.

The formats are those of Ansible's own inventory plug-ins ``ini``, ``yaml`` and ``host_group_vars``.
"""

from __future__ import annotations

import ast
import re
import shlex
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Never

import yaml

from fwproof.errors import Fault, InputError
from fwproof.policy.document import display_name
from fwproof.policy.scalars import quoted

_MOST = 1 << 20
_MOST_HOSTS = 10_000
_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:[#;].*)?")
_RANGE = re.compile(r"\[([0-9]+|[A-Za-z]):([0-9]+|[A-Za-z])(?::([1-9][0-9]*))?\]")
_VAULT = "$ANSIBLE_VAULT"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands, for messages."""

    file: str
    line: int

    def refuse(self, message: str) -> Never:
        """Raise InputError about this place."""
        raise InputError([Fault(self.file, self.line, 1 if self.line else 0, message)])


@dataclass(frozen=True, slots=True)
class Value:
    """A variable's value as text; ``secret`` where it is encrypted, ``plain`` where it is no list and no mapping."""

    text: str
    place: Place
    secret: bool = False
    plain: bool = True


Variables = dict[str, Value]


@dataclass(slots=True)
class Group:
    """One group: its hosts, in order, its child groups and its variables."""

    hosts: list[str] = field(default_factory=list)
    children: dict[str, Place] = field(default_factory=dict)
    variables: Variables = field(default_factory=dict)


@dataclass(slots=True)
class Inventory:
    """Groups and hosts as a file has them; ``hosts`` are the variables of each, ``places`` where it is named first."""

    groups: dict[str, Group] = field(default_factory=lambda: {"all": Group(), "ungrouped": Group()})
    hosts: dict[str, Variables] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)

    def group(self, name: str) -> Group:
        """Return a group, a new one where there is none."""
        return self.groups.setdefault(name, Group())

    def add(self, group: str, pattern: str, variables: Variables, place: Place) -> None:
        """Put the hosts that a pattern stands for into a group."""
        names, port = _host_names(pattern, place)
        for name in names:
            known = self.hosts.setdefault(name, {})
            known |= variables
            if port:
                known["ansible_port"] = Value(port, place)
            self.places.setdefault(name, place)
            if name not in self.group(group).hosts:
                self.group(group).hosts.append(name)
        if len(self.hosts) > _MOST_HOSTS:
            place.refuse(f"more than {_MOST_HOSTS} hosts")


def read_text(path: Path, what: str) -> str:
    """Return a file's text; raises InputError for one that cannot be read or is encrypted."""
    place = Place(display_name(path), 0)
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        place.refuse(f"cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}")
    if len(data) > _MOST:
        place.refuse("is larger than 1 MiB")
    if text.startswith(_VAULT):
        place.refuse(f"is encrypted by ansible-vault, and {what}; keep connection variables in a file that is not")
    return text


def read_inventory(path: Path) -> Inventory:
    """Read a static inventory: YAML by its file's ending, INI else; raises InputError."""
    place = Place(display_name(path), 0)
    if path.is_dir():
        place.refuse("is a folder; name one inventory file of it")
    text = read_text(path, "fwproof reads no secrets")
    if text.startswith("#!"):
        place.refuse("is a script; fwproof executes nothing: write what it prints, as `ansible-inventory --list --yaml`"
                     " shows it, to a file, and name that")  # fmt: skip
    if path.suffix in {".yml", ".yaml", ".json"}:
        return _read_yaml(text, place.file)
    return _read_ini(text, place.file)


# ---- INI


def _read_ini(text: str, file: str) -> Inventory:
    found, group, kind = Inventory(), "ungrouped", "hosts"
    declared: dict[str, Place] = {}
    sections = {"ungrouped", "all"}
    for number, raw in enumerate(text.splitlines(), 1):
        line, place = raw.strip(), Place(file, number)
        if not line or line[0] in "#;":
            continue
        section = _SECTION.fullmatch(line)
        if section:
            group, kind = section[1], section[2] or "hosts"
            if kind not in {"hosts", "vars", "children"}:
                place.refuse(f"expected [group], [group:vars] or [group:children], not {quoted(line)}")
            found.group(group)
            if kind == "vars":
                declared.setdefault(group, place)
            else:
                sections.add(group)
        else:
            _ini_entry(found, group, kind, line, place)
    sections |= {child for each in found.groups.values() for child in each.children}
    for name, place in declared.items():
        if name not in sections:
            place.refuse(f"variables of {quoted(name)}, a group that is not in this file")
    return found


def _ini_entry(found: Inventory, group: str, kind: str, line: str, place: Place) -> None:
    if kind == "vars":
        key, equals, value = line.partition("=")
        if not equals or not key.strip():
            place.refuse(f"expected variable=value, not {quoted(line)}")
        found.group(group).variables[key.strip()] = Value(_literal(value.strip()), place)
        return
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        place.refuse(f"cannot be read: {str(error).lower()}")
    if kind == "children":
        if len(words) != 1:
            place.refuse(f"expected the name of one group, not {quoted(line)}")
        found.group(words[0])
        found.group(group).children[words[0]] = place
        return
    variables: Variables = {}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals:
            place.refuse(f"expected variable=value, not {quoted(word)}")
        variables[key] = Value(_literal(value), place)
    found.add(group, words[0], variables, place)


def _literal(text: str) -> str:
    """Return a value without Python's quotes, which Ansible takes values of INI files for."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return str(value) if isinstance(value, str | int | bool) else text


def _host_names(pattern: str, place: Place) -> tuple[list[str], str]:
    """Return the hosts of a pattern, ranges counted out, and its port, empty where it has none."""
    port = ""
    try:
        return [str(ip_address(pattern))], port
    except ValueError:
        pass
    tail = re.fullmatch(r"(.+[^:]):([0-9]{1,5})", pattern)
    if (
        tail
        and "[" not in tail[2]
        and tail[1].count(":") == sum(m.group().count(":") for m in _RANGE.finditer(tail[1]))
    ):
        pattern, port = tail[1], tail[2]
    six = re.fullmatch(r"\[([0-9A-Fa-f:.]+:[0-9A-Fa-f:.]*)\](?::([0-9]{1,5}))?", pattern)
    if six and not _RANGE.fullmatch(pattern):
        return _host_names(six[1], place)[0], six[2] or port
    names = list(_counted(pattern, place))
    for name in names[:1]:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            place.refuse(f"expected a host's name, or a range such as web[01:10], not {quoted(pattern)}")
    return names, port


def _counted(pattern: str, place: Place) -> Iterator[str]:
    found = _RANGE.search(pattern)
    if found is None:
        yield pattern
        return
    first, last, step = found[1], found[2], int(found[3] or 1)
    if first.isdigit() != last.isdigit() or len(first) > 9 or (first[0] == "0" < first and len(first) != len(last)):
        place.refuse(f"range {found[0]} cannot be counted: both ends are numbers, of one length if they start with 0")
    if first.isdigit():
        items = [str(n).zfill(len(first) if first[0] == "0" else 0) for n in _steps(int(first), int(last), step, place)]
    else:
        letters = string.ascii_letters
        items = [letters[n] for n in _steps(letters.index(first), letters.index(last), step, place)]
    for item in items:
        yield from _counted(pattern[: found.start()] + item + pattern[found.end() :], place)


def _steps(first: int, last: int, step: int, place: Place) -> range:
    if not 0 <= last - first < _MOST_HOSTS:
        place.refuse(f"a range must end after it begins, and have at most {_MOST_HOSTS} hosts")
    return range(first, last + 1, step)


# ---- YAML


def _read_yaml(text: str, file: str) -> Inventory:
    root = compose(text, file)
    found = Inventory()
    for key, (node, place) in _mapping(root, file, "the inventory").items():
        if key == "plugin":
            place.refuse("is the configuration of an inventory plugin; fwproof executes nothing: name a file of hosts")
        _yaml_group(found, key, node, file, place)
    return found


def _yaml_group(found: Inventory, name: str, node: yaml.Node, file: str, place: Place) -> None:
    group = found.group(name)
    for key, (part, where) in _mapping(node, file, f"group {quoted(name)}").items():
        if key == "hosts":
            for pattern, (own, at) in _mapping(part, file, "hosts").items():
                found.add(name, pattern, variables_of(own, file), at)
        elif key == "children":
            for child, (below, at) in _mapping(part, file, "children").items():
                group.children[child] = at
                _yaml_group(found, child, below, file, at)
        elif key == "vars":
            group.variables |= variables_of(part, file)
        else:
            where.refuse(f"expected hosts, children or vars in the group {quoted(name)}, not {quoted(key)}")
    del place


def compose(text: str, file: str) -> yaml.Node | None:
    """Return the nodes of a YAML text without making values of them; raises InputError."""
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        Place(file, line).refuse(f"is no YAML that can be read: {error.problem}")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        Place(file, 0).refuse(f"is no YAML that can be read: {error}")


def _mapping(node: yaml.Node | None, file: str, what: str) -> dict[str, tuple[yaml.Node, Place]]:
    if node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
        return {}
    if not isinstance(node, yaml.MappingNode):
        Place(file, node.start_mark.line + 1).refuse(f"{what}: expected a mapping of keys")
    found: dict[str, tuple[yaml.Node, Place]] = {}
    for key, value in node.value:
        place = Place(file, key.start_mark.line + 1)
        if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
            place.refuse("expected a name; merge keys and the like are not read")
        if key.value in found:
            place.refuse(f"{quoted(key.value)} is given twice")
        found[key.value] = (value, place)
    return found


def variables_of(node: yaml.Node | None, file: str) -> Variables:
    """Return a YAML mapping of variables."""
    found = {}
    for key, (value, place) in _mapping(node, file, "variables").items():
        plain = isinstance(value, yaml.ScalarNode)
        found[key] = Value(value.value if plain else "", place, secret=value.tag == "!vault", plain=plain)
    return found
