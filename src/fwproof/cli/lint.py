"""``fwproof lint``: rules that do nothing, contradict others or allow too much."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fwproof.cli.families import in_each
from fwproof.cli.saying import say
from fwproof.cli.tables import (
    Given,
    families_option,
    packet_json,
    read_tables,
    rule_json,
    table_options,
    understood_json,
)
from fwproof.errors import UsageError
from fwproof.flow import Family
from fwproof.remark import KINDS
from fwproof.semantics.lint import lint as find
from fwproof.semantics.lint_finding import Finding, Kind
from fwproof.semantics.lint_shared import of_both
from fwproof.semantics.understood import total, understood

SCHEMA = "fwproof-lint-1"
_KINDS = tuple(kind.value for kind in Kind)


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@table_options
@families_option
@click.option(
    "--only", multiple=True, type=click.Choice((*_KINDS, *KINDS)), metavar="KIND", help="Only findings of this kind."
)
@click.option(
    "--ignore", multiple=True, type=click.Choice((*_KINDS, *KINDS)), metavar="KIND", help="No findings of this kind."
)
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif"]), default="text", help="How to answer.")
def lint(
    *, paths: tuple[Path, ...], family: str | None, only: tuple[str, ...], ignore: tuple[str, ...], form: str,
    **tables: Path | str | None,
) -> None:  # fmt: skip
    """Find rules that take no packet, that change nothing, that contradict others, or that accept everything.

    With PATHS, policies are looked at instead, and no host: what in them nothing uses, nothing asks on the wire, or
    nobody answers for, each with its file, line and column.

    \b
    Examples:
      fwproof lint checks --inventory fixtures/inventory.yaml             the policies of a folder
      fwproof lint checks --format sarif > policies.sarif                   the same, for code scanning
      fwproof lint --iptables-save rules.v4 --ip6tables-save rules.v6
      iptables-save -c > now; fwproof lint --iptables-save now --ignore redundant
      fwproof lint --host web1
      fwproof lint --iptables-save rules.v4 --format sarif > lint.sarif     for code scanning

    Each finding names the rules that cause it and holds for every packet. What a redundant rule does, others do
    as well, one rule at a time: leave out one, and ask again. With counters (iptables-save -c), rules that could
    take packets and have not are listed as unused. Exit status: 0 nothing found, 1 findings (unused does not
    count), 6 a family could not be looked at, or there is
    no rule. Of policies: 0 no more than notes, 1 warnings, 4 faults.
    """
    if paths:
        _policies(paths, tables, family, form, (only, ignore))
        return
    _known((*only, *ignore), _KINDS, "rule tables")
    if form == "sarif":
        from fwproof.cli.lint_sarif import need_files

        need_files(tables.get("host"))
    model, families = read_tables(tables, family)
    rules = sum(total(understood(model, families)).values())
    wanted = [kind for kind in _KINDS if (not only or kind in only) and kind not in ignore]
    by_family, unanswered = in_each(model, families, find)
    found = [(each, finding) for each, finding in of_both(by_family) if finding.kind in wanted]
    if form == "json":
        document = {
            "schema": SCHEMA, "findings": [_json(*each) for each in found], "not_answered": unanswered,
            "understood": understood_json(model, families),
        }  # fmt: skip
        click.echo(json.dumps(document))
    elif form == "sarif":
        from fwproof.cli.lint_sarif import lint_sarif

        folder = tables.get("snapshot")
        click.echo(lint_sarif(found, model, Path(folder) if folder else None, unanswered), nl=False)
    else:
        say(_text(found, unanswered) if rules else ["there is no rule, so there was nothing to look at"])
    if unanswered or not rules:
        raise SystemExit(6)
    if any(finding.kind is not Kind.UNUSED for _, finding in found):
        raise SystemExit(1)


def _policies(
    paths: tuple[Path, ...], tables: Given, family: str | None, form: str, chosen: tuple[tuple[str, ...], ...]
) -> None:
    only, ignore = chosen
    if family or any(value for key, value in tables.items() if key != "inventory"):
        raise UsageError("PATHS are policies: leave out rule tables and --family, or leave out PATHS")
    _known((*only, *ignore), KINDS, "policies")
    inventory = tables.get("inventory")
    from fwproof.cli.lint_policy import lint_policies

    kinds = [kind for kind in KINDS if (not only or kind in only) and kind not in ignore]
    lint_policies(paths, None if inventory is None else Path(inventory), kinds, form)


def _known(kinds: tuple[str, ...], known: tuple[str, ...], what: str) -> None:
    for kind in kinds:
        if kind not in known:
            raise UsageError(f"{kind}: of {what} there are {', '.join(known)}")


def _json(family: Family, finding: Finding) -> dict[str, Any]:
    return {
        "family": family.value, "kind": finding.kind.value, "rule": rule_json(finding.rule), "why": finding.why,
        "causes": [rule_json(cause) for cause in finding.causes], "packets": finding.packets,
        "witness": None if finding.witness is None else packet_json(finding.witness),
    }  # fmt: skip


def _text(found: list[tuple[Family, Finding]], unanswered: list[str]) -> Iterator[str]:
    once = {(finding.kind, finding.rule, finding.why): finding for _, finding in reversed(found)}
    listed = list(reversed(once.values()))  # a rule of an inet table may be wrong in both families alike
    unused = [finding for finding in listed if finding.kind is Kind.UNUSED]
    for finding in listed:
        if finding.kind is not Kind.UNUSED:
            yield from _lines(finding)
    if unused:
        yield "unused: packets can reach these rules, but none has been counted"
        yield from (f"    {finding.rule}" for finding in unused)
    yield from (f"not looked at: {each}" for each in unanswered)
    if not found and not unanswered:
        yield "no findings: every rule takes some packets"
    elif found:
        kinds = [finding.kind.value for finding in listed]
        yield ", ".join(f"{kinds.count(kind)} {kind}" for kind in _KINDS if kind in kinds)


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.kind.value}: {finding.rule}"
    yield f"    {finding.why}"
    yield from (f"    by {cause}" for cause in finding.causes)
    if finding.witness is not None:
        yield f"    for example {finding.witness}"
