"""The reference pages of the documentation site, made from what is in force: the schemas and the command line.

:func:`pages` returns each as Markdown (MyST); ``docs/conf.py`` writes them before it reads the folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click
from click.testing import CliRunner

from fwproof import exit_status
from fwproof.cli.main import cli

FILES = {
    "policy": "What is expected: `checks/*.policy.yaml`.",
    "inventory": "The hosts, their zones, and how each is reached.",
    "waivers": "Accepted deviations: `waivers.yaml` beside the policies.",
    "accepted": "Accepted drift: `accepted.yaml` beside a baseline.",
    "controls": "Controls of one's own: `*.controls.yaml` beside the policies.",
    "results": "What an audit writes: `results.json`, from which every report is made.",
    "run-diff": "What `fwproof diff RUN_A RUN_B --format json` prints.",
    "index": "What `fwproof index` writes beside its page: `index.json`.",
}
"""The kinds of ``fwproof schema``, and what each is the schema of."""

Schema = dict[str, Any]


def pages() -> dict[str, str]:
    """Return the pages, by file name."""
    made = {f"{kind}.md": _schema_page(kind) for kind in FILES}
    return made | {"command-line.md": _command_line(), "exit-status.md": _exit_status()}


def _schema_page(kind: str) -> str:
    schema = json.loads(CliRunner().invoke(cli, ["schema", kind], catch_exceptions=False).stdout)
    parts = _Parts(kind, schema)
    intro = f"# {kind.capitalize()}\n\n{FILES[kind]} Made from what `fwproof schema {kind}` prints.\n"
    return "\n".join([intro, *parts.sections()])


class _Parts:
    """A schema cut into parts, each of which is called by the first place where it is used (``bans.provoke``)."""

    def __init__(self, kind: str, schema: Schema) -> None:
        self.kind = kind
        self.schema = schema
        self.definitions: dict[str, Schema] = schema.get("definitions") or schema.get("$defs") or {}
        self.places: dict[str, str] = {}
        waiting = [("", schema)]
        while waiting:  # breadth first, so that the shortest place is the name
            place, part = waiting.pop(0)
            for below, name in self._used(place, part):
                if name not in self.places:
                    self.places[name] = below
                    waiting.append((below, self.definitions[name]))

    def _used(self, place: str, part: Any) -> Iterator[tuple[str, str]]:
        """Yield the definitions that a part names, each with its place."""
        if isinstance(part, list):
            for each in part:
                yield from self._used(place, each)
        if not isinstance(part, dict):
            return
        if "$ref" in part:
            yield place, part["$ref"].rpartition("/")[2]
        for key, child in part.get("properties", {}).items():
            yield from self._used(f"{place}.{key}".lstrip("."), child)
        for key in ("anyOf", "allOf", "oneOf"):
            yield from self._used(place, part.get(key))
        yield from self._used(f"{place}[]", part.get("items"))
        for child in (*part.get("patternProperties", {}).values(), part.get("additionalProperties")):
            yield from self._used(f"{place}.NAME".lstrip("."), child)

    def _anchor(self, name: str) -> str:
        return f"{self.kind}-{name.strip('_').lower()}"

    def sections(self) -> Iterator[str]:
        """Yield the section of the file itself, and of each part in the order of use."""
        yield self._table(self.schema)
        for name, place in self.places.items():
            part = self.definitions[name]
            yield f"({self._anchor(name)})=\n## `{place}`\n"
            yield f"{_line(part.get('description', ''))}\n"
            yield self._table(part) if "properties" in part else f"{self._value(part)}\n"

    def _table(self, part: Schema) -> str:
        needed = set(part.get("required", ()))
        rows = ["| key | value | meaning |", "|---|---|---|"]
        for key, child in part.get("properties", {}).items():
            told = [_line(child.get("description", "")).rstrip(".")]
            told += [f"default `{_plain(child['default'])}`" if "default" in child else ""]
            told += ["**required**" if key in needed else ""]
            rows.append(f"| `{key}` | {_cell(self._value(child))} | {_cell('; '.join(filter(None, told)))} |")
        return "\n".join(rows) + "\n"

    def _value(self, part: Any) -> str:
        """Say in words what may stand there."""
        if not isinstance(part, dict):
            return "anything"
        if "$ref" in part:
            name = part["$ref"].rpartition("/")[2]
            return f"[`{self.places[name]}`](#{self._anchor(name)})"
        for key in ("anyOf", "oneOf", "allOf"):
            if key in part:
                return " or ".join(dict.fromkeys(self._value(each) for each in part[key]))
        if "enum" in part or "const" in part:
            return ", ".join(f"`{_plain(each)}`" for each in part.get("enum", [part.get("const")]))
        kind = part.get("type", "anything")
        if isinstance(kind, list):
            return " or ".join(self._value({**part, "type": each}) for each in kind)
        return self._typed(kind, part)

    def _typed(self, kind: str, part: Schema) -> str:
        if kind == "array":
            return f"list of {self._value(part.get('items'))}"
        if kind == "object":
            inner = [*part.get("patternProperties", {}).values(), part.get("additionalProperties")]
            values = [each for each in inner if isinstance(each, dict)]
            return f"names, each with {self._value(values[0])}" if values else "mapping"
        if kind in {"integer", "number"}:
            ends = [str(part[key]) for key in ("minimum", "maximum") if key in part]
            what = "whole number" if kind == "integer" else "number"
            return f"{what}, {' to '.join(ends)}{' or more' if 'maximum' not in part else ''}" if ends else what
        words = {"string": "text", "boolean": "`true` or `false`", "null": "nothing"}.get(kind, kind)
        examples = ", ".join(f"`{_plain(each)}`" for each in part.get("examples", ())[:3])
        return f"{words}, such as {examples}" if examples else words


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _verbs(group: click.Group, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        yield (*words, name)
        if isinstance(command, click.Group):
            yield from _verbs(command, (*words, name))


def _help(words: tuple[str, ...]) -> str:
    done = CliRunner().invoke(cli, [*words, "--help"], prog_name="fwproof", catch_exceptions=False, terminal_width=100)
    return f"```text\n{done.stdout.rstrip()}\n```\n"


def _command_line() -> str:
    parts = ["# Command line\n", "What `--help` prints, of fwproof and of each verb.\n", _help(())]
    for words in _verbs(cli, ()):
        parts += [f"{'#' * (len(words) + 1)} fwproof {' '.join(words)}\n", _help(words)]
    return "\n".join(parts)


def _exit_status() -> str:
    table = (exit_status.__doc__ or "").partition("::\n")[2].strip("\n")
    lines = ["# Exit statuses\n", "Of an audit (`fwproof audit`, `pytest checks`, `fwproof demo`):\n"]
    lines += [f"```text\n{table}\n```\n"]
    lines += ["`--fail-on` and `--exit-zero` change the status and nothing else: see [docs/ci](../ci/README.md).\n"]
    return "\n".join(lines)
