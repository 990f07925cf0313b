"""``fwproof diff``: what became reachable and what stopped being, from one set of tables to another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fwproof.cli.tables import packet_json, read_tables, read_text, rule_json, say
from fwproof.decision import RuleRef
from fwproof.errors import Fault, InputError, UsageError
from fwproof.flow import Family
from fwproof.semantics.diff import Change, Comparison, compare
from fwproof.semantics.model import HostModel
from fwproof.semantics.space import SpaceTooLarge

SCHEMA = "fwproof-diff-1"
_WORDS = {
    "became-reachable": "became reachable", "stopped-being-reachable": "stopped being reachable",
    "refused-otherwise": "is refused otherwise", "not-known": "is not known",
}  # fmt: skip
_RULES = {Family.IPV4: ("rules.v4", "iptables_save"), Family.IPV6: ("rules.v6", "ip6tables_save")}


def _read(path: Path, family: str | None) -> tuple[HostModel, list[Family]]:
    """Read a snapshot's folder, a folder with rules.v4 and rules.v6, or one file of iptables-save."""
    if path.is_dir():
        files = {key: path / name for name, key in _RULES.values() if (path / name).exists()}
        if (path / "snapshot.json").exists() or not files:
            return read_tables({"snapshot": path}, family)
        return read_tables(files, family)
    text = read_text(path)
    of = Family(family) if family else _family_of(path, text)
    return read_tables({_RULES[of][1]: path}, of.value)


def _family_of(path: Path, text: str) -> Family:
    """Return the family that a dump says it is of, or that its name does."""
    first = text[:200].lower()
    if "ip6tables-save" in first or "ip6tables-nft-save" in first or path.suffix == ".v6":
        return Family.IPV6
    if "iptables-save" in first or path.suffix == ".v4":
        return Family.IPV4
    raise InputError([Fault(str(path), 0, 0, "does not say whether it is IPv4 or IPv6: give --family")])


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--family", type=click.Choice([family.value for family in Family]), help="Only this address family.")
@click.option("--most", type=click.IntRange(1), default=50, show_default=True, help="List at most so many changes.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to answer.")
def diff(old: Path, new: Path, family: str | None, most: int, form: str) -> None:
    """Compare the meaning of two sets of tables.

    OLD and NEW are each a folder that fwproof collect wrote for a host, a folder with rules.v4 and rules.v6, or one
    file of iptables-save or ip6tables-save. Every packet, in every state and on every path, is decided in both.
    Exit status: 0 same meaning, 1 different, 6 not known.
    """
    (before, families), (after, others) = _read(old, family), _read(new, family)
    if families != others:
        raise UsageError(f"{old} and {new} are not of the same address families; give --family")
    found: list[Comparison] = []
    too_large: list[str] = []
    for each in families:
        try:
            found.append(compare(before, after, each, most=most))
        except SpaceTooLarge as limit:
            too_large.append(f"{each}: {limit}")
    unanswered = too_large + [f"{c.family}: {'; '.join(c.blind)}" for c in found if c.blind]
    if form == "json":
        click.echo(json.dumps(_document(found, unanswered)))
    else:
        say(_text(found, unanswered))
    raise SystemExit(_status(found, unanswered))


def _status(found: list[Comparison], unanswered: list[str]) -> int:
    unclear = unanswered or any(change.kind == "not-known" for each in found for change in each.changes)
    differs = any(each.unlisted or each.effects or any(change.kind != "not-known" for change in each.changes)
                  for each in found)  # fmt: skip
    return 1 if differs else 6 if unclear else 0


def _document(found: list[Comparison], unanswered: list[str]) -> dict[str, Any]:
    return {
        "schema": SCHEMA, "same": not unanswered and all(each.same for each in found),
        "changes": [_json(change) for each in found for change in each.changes],
        "unlisted": sum(each.unlisted for each in found), "effects": [e for each in found for e in each.effects],
        "not_answered": unanswered,
    }  # fmt: skip


def _json(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind.value, "family": change.family.value, "hook": change.hook.value,
        "states": list(change.states), "boxes": [room.as_json() for room in change.rooms],
        "more_boxes": change.more, "before": _fate(change.before), "after": _fate(change.after),
        "depends_on": list(change.depends_on), "witness": packet_json(change.witness),
    }  # fmt: skip


def _fate(fate: tuple[str, RuleRef | None]) -> dict[str, Any]:
    return {"decision": fate[0], "by": rule_json(fate[1])}


def _text(found: list[Comparison], unanswered: list[str]) -> Iterator[str]:
    for each in found:
        for change in each.changes:
            yield from _lines(change)
        if each.unlisted:
            yield f"{each.family}: and {each.unlisted} more changes; --most lists more"
        yield from (f"{each.family}: {effect}" for effect in each.effects)
        if each.same:
            yield f"{each.family}: same meaning: every packet is decided the same at input, forward and output"
    yield from (f"not known: {each}" for each in unanswered)


def _lines(change: Change) -> Iterator[str]:
    place = f"{change.family} {change.hook} {'/'.join(change.states)}"
    for room in change.rooms:
        yield f"{place}: {_WORDS[change.kind.value]}: {room}"
    if change.more:
        yield f"{place}: and more that is not listed"
    for word, (decision, ref) in (("before", change.before), ("after", change.after)):
        yield f"    {word}: {decision}" + (f" by {ref}" if ref else "")
    if change.depends_on:
        yield f"    depends on {'; '.join(change.depends_on)}"
    yield f"    for example {change.witness}"
