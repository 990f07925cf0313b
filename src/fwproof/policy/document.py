"""A YAML file as plain values, with the line and column of every key and value.

Stricter than YAML where YAML is a trap: one document, no tags, no directives, no repeated keys, no empty
values, text keys only, a few aliases at most. Faults that leave the rest readable are gathered in
:attr:`Document.faults`; those after which nothing can be read raise :class:`fwproof.errors.InputError`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Never

import yaml

from fwproof.errors import Fault, InputError
from fwproof.policy.nearest import suggest_path
from fwproof.policy.scalars import Scalar, describe, quoted, read_plain, unprintable
from fwproof.policy.syntax import syntax_message

MAX_BYTES = 1 << 20
MAX_DEPTH = 16
MAX_NODES = 20_000
MAX_ALIASES = 32

Keys = tuple[str | int, ...]
"""A way into a document: keys of mappings and 0-based indices of lists."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Node:
    """A value where it stands; ``keys`` has the place of each key of a mapping."""

    place: Place
    value: Scalar | list[Node] | dict[str, Node]
    keys: Mapping[str, Place] = field(default_factory=dict)

    def plain(self) -> Any:
        """Return the value without places."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, key: str | int) -> Node | None:
        """Return what stands under a key or index, None where there is nothing."""
        if isinstance(self.value, dict) and isinstance(key, str):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and key < len(self.value):
            return self.value[key]
        # where one item may stand without brackets, it is the list's only one
        return self if key == 0 and not isinstance(self.value, list) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One YAML file: ``file`` is its name in messages, ``sha256`` the hash of its bytes in hex."""

    path: Path
    file: str
    sha256: str
    root: Node
    faults: tuple[Fault, ...] = ()

    def plain(self) -> Any:
        """Return the whole document as dictionaries, lists and scalars."""
        return self.root.plain()

    def existing(self, keys: Keys) -> Keys:
        """Return the longest part of ``keys``, from the front, that the document has."""
        node, found = self.root, []
        for key in keys:
            child = node.child(key)
            if child is None:
                break
            if child is not node:
                found.append(key)
            node = child
        return tuple(found)

    def place(self, keys: Keys) -> Place:
        """Return where the value at ``keys`` starts, or that of the nearest value around it."""
        node = self.root
        for key in self.existing(keys):
            node = node.child(key) or node
        return node.place

    def key_place(self, keys: Keys) -> Place:
        """Return where the key of the value at ``keys`` starts; the value itself where it is a list item."""
        inner = self.existing(keys)
        node = self.root
        for key in inner[:-1]:
            node = node.child(key) or node
        last = inner[-1] if inner else None
        return node.keys.get(last, self.place(inner)) if isinstance(last, str) else self.place(inner)

    def fault(self, place: Place, message: str) -> Fault:
        """Return a fault of this file."""
        return Fault(self.file, place.line, place.column, message)


def display_name(path: Path) -> str:
    """Return a path as messages and reports name it: relative where it is below the working directory."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def read_document(path: Path) -> Document:
    """Read a YAML file; raise InputError when it cannot be read at all."""
    file = display_name(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError([Fault(file, 0, 0, f"there is no such file{suggest_path(path)}")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError([Fault(file, 0, 0, f"cannot be read: {reason}")]) from None
    return parse_document(data, file=file, path=path)


def parse_document(data: bytes, *, file: str, path: Path) -> Document:
    """Parse the bytes of a YAML file; raise InputError when nothing can be made of them."""
    text = _decode(data, file)
    builder = _Builder(file)
    try:
        root = builder.build(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        builder.fatal(place, syntax_message(error, text))
    except (ValueError, OverflowError):
        # PyYAML lets these through for a \U escape beyond Unicode and for absurd version numbers
        builder.fatal(builder.last, "near here is an escape or a number that cannot be read")
    digest = hashlib.sha256(data).hexdigest()
    return Document(path=path, file=file, sha256=digest, root=root, faults=tuple(builder.faults))


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise InputError([Fault(file, 0, 0, "is larger than 1 MiB; a file of this kind is a few kilobytes")])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        fault = _fault_at(file, before, f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8")
        raise InputError([fault]) from None
    text = text.removeprefix("\ufeff")
    index = unprintable(text)
    if index is not None:
        message = f"character U+{ord(text[index]):04X} is invisible or changes how the line is shown; delete it"
        raise InputError([_fault_at(file, text[:index], message)])
    return text


def _fault_at(file: str, before: str, message: str) -> Fault:
    lines = before.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return Fault(file, len(lines), len(lines[-1]) + 1, message)


class _Builder:
    """Builds nodes from PyYAML's events; holds the faults so far and what the limits count."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.last = Place(1, 1)
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.nodes = 0
        self.aliases = 0
        self.events: Iterator[yaml.Event] = iter(())

    def fault(self, place: Place, message: str) -> None:
        self.faults.append(Fault(self.file, place.line, place.column, message))

    def fatal(self, place: Place, message: str) -> Never:
        self.fault(place, message)
        raise InputError(self.faults) from None

    def next(self) -> yaml.Event:
        event = next(self.events)
        mark = event.start_mark
        if mark is not None:
            self.last = Place(mark.line + 1, mark.column + 1)
        return event

    def build(self, events: Iterator[yaml.Event]) -> Node:
        self.events = events
        self.next()
        start = self.next()
        if not isinstance(start, yaml.DocumentStartEvent):
            raise InputError([Fault(self.file, 0, 0, "the file is empty")])
        if start.version or start.tags:
            self.fault(self.last, "a line that starts with % is not used in these files; delete it")
        root = self.node(self.next(), 0)
        self.next()
        if isinstance(self.next(), yaml.DocumentStartEvent):
            self.fatal(self.last, "a second document starts here; one file holds one document, without '---' inside")
        return root

    def node(self, event: yaml.Event, depth: int) -> Node:
        place = self.last
        self.count(1, place)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, place)
        if depth > MAX_DEPTH:
            self.fatal(place, f"nested more than {MAX_DEPTH} levels deep")
        if tag := getattr(event, "tag", None):
            self.fault(place, f"tag {quoted(tag)} is not used in these files; delete it")
        before = self.nodes
        node = self.collection(event, place, depth)
        if anchor := getattr(event, "anchor", None):
            # only now: an alias inside its own anchor would never end
            self.anchors[anchor] = (node, 1 + self.nodes - before)
        return node

    def collection(self, event: yaml.Event, place: Place, depth: int) -> Node:
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(item := self.next(), yaml.SequenceEndEvent):
                items.append(self.value(item, f"item {len(items) + 1} of this list", depth))
            return Node(place, items)
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(place, depth)
        return Node(place, self.scalar(event, place))

    def mapping(self, place: Place, depth: int) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            where = self.last
            key = self.key(self.node(event, depth + 1))
            value = self.value(self.next(), quoted(key) if key is not None else "this key", depth)
            if key is None:
                continue
            if key in keys:
                self.fault(where, f"key {quoted(key)} is given twice; the first is on line {keys[key].line}")
                continue
            values[key], keys[key] = value, where
        return Node(place, values, keys)

    def key(self, node: Node) -> str | None:
        if node.value == "<<":
            self.fault(node.place, "merge keys ('<<') are not used in these files; write the keys out")
            return None
        if not isinstance(node.value, str):
            self.fault(node.place, f"a key must be a word, not {describe(node.value)}; put it in quotes")
            return None
        return node.value

    def value(self, event: yaml.Event, name: str, depth: int) -> Node:
        node = self.node(event, depth + 1)
        if node.value is None:
            advice = "put it in quotes if the ':' is part of it" if name.endswith(":'") else "give it one or delete it"
            self.fault(node.place, f"{name} has no value; {advice}")
        return node

    def scalar(self, event: yaml.Event, place: Place) -> Scalar:
        if not isinstance(event, yaml.ScalarEvent):
            raise TypeError(f"unexpected {event}")
        text: str = event.value
        if unprintable(text) is not None:
            self.fault(place, "the text has an escape for a control character; delete it")
            return ""
        if not event.implicit[0]:
            return text
        try:
            return read_plain(text)
        except ValueError as error:
            self.fault(place, str(error))
            return text

    def alias(self, event: yaml.AliasEvent, place: Place) -> Node:
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            self.fatal(place, f"more than {MAX_ALIASES} aliases; write the values out")
        name = event.anchor or ""
        if name not in self.anchors:
            self.fatal(place, f"alias {quoted('*' + name)} has no complete anchor before it")
        node, size = self.anchors[name]
        self.count(size, place)
        return Node(place, node.value, node.keys)

    def count(self, nodes: int, place: Place) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            self.fatal(place, f"more than {MAX_NODES} values in one file, aliases written out")
