"""YAML with the place of every value kept, so that each fault names file, line and column.

Only what a topology needs: mappings with known keys, lists, words and numbers. All values are read as the text
that stands in the file, so none of YAML 1.1's surprises (``22:22`` as 1342, ``on`` as true) can happen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from fwproof.errors import Fault, InputError


class Faults:
    """The faults found so far in one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Fault] = []

    def add(self, node: yaml.Node | None, message: str) -> None:
        """Note a fault at a node, or about the whole file."""
        line, column = (node.start_mark.line + 1, node.start_mark.column + 1) if node else (0, 0)
        self.found.append(Fault(self.file, line, column, message))

    def raise_if_any(self) -> None:
        """Raise InputError with everything found."""
        if self.found:
            raise InputError(self.found)


class Value:
    """One value of the file; every reading notes a fault and goes on with an empty value when it does not fit."""

    def __init__(self, node: yaml.Node, faults: Faults, name: str) -> None:
        self.node = node
        self.faults = faults
        self.name = name

    def fault(self, message: str) -> None:
        """Note that this value is wrong."""
        self.faults.add(self.node, f"{self.name}: {message}")

    def entries(self) -> Iterator[tuple[str, Value]]:
        """Yield the keys and values of a mapping; equal keys are a fault."""
        if not isinstance(self.node, yaml.MappingNode):
            self.fault("expected a mapping (`key: value`)")
            return
        seen: set[str] = set()
        for key, value in self.node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.faults.add(key, f"{self.name}: expected a word as key")
            elif key.value in seen:
                self.faults.add(key, f"{self.name}: the key {key.value!r} is given twice")
            else:
                seen.add(key.value)
                yield key.value, Value(value, self.faults, key.value)

    def fields(self, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Value]:
        """Return a mapping's values by key; unknown and missing keys are faults."""
        known = (*required, *optional)
        found = {}
        for key, value in self.entries():
            if key in known:
                found[key] = value
            else:
                value.fault(f"unknown key; expected one of {', '.join(known)}")
        if isinstance(self.node, yaml.MappingNode):
            for key in required:
                if key not in found:
                    self.fault(f"the key {key!r} is missing")
        return found

    def items(self) -> list[Value]:
        """Return the values of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.fault("expected a list (`- value`, or `[a, b]`)")
            return []
        return [Value(node, self.faults, self.name) for node in self.node.value]

    def text(self) -> str:
        """Return a non-empty scalar as it stands in the file."""
        if not isinstance(self.node, yaml.ScalarNode) or not self.node.value:
            self.fault("expected a word")
            return ""
        return str(self.node.value)

    def number(self, low: int, high: int, base: int = 10) -> int:
        """Return a whole number within bounds."""
        text = self.text()
        try:
            value = int(text, base)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            shown = f"{low} to {high}" if base == 10 else f"{low:o} to {high:o} (octal)"
            self.fault(f"expected a number from {shown}, found {text!r}")
            return low
        return value


def load(path: Path) -> tuple[Value, Faults]:
    """Read a YAML file; raises InputError when there is none or its syntax is wrong."""
    faults = Faults(str(path))
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError([Fault(str(path), 0, 0, f"cannot be read: {reason}")]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise InputError([Fault(str(path), *where, f"not YAML: {error.problem}")]) from None
    except yaml.YAMLError as error:
        raise InputError([Fault(str(path), 0, 0, f"not YAML: {error}")]) from None
    if node is None:
        raise InputError([Fault(str(path), 1, 1, "the file is empty")])
    return Value(node, faults, "file"), faults
