"""``fwproof lint``: rules that do nothing, contradict others or allow too much."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fwproof.cli.lint_sarif import lint_sarif, need_files
from fwproof.cli.tables import families_option, packet_json, read_tables, rule_json, say, table_options, understood_json
from fwproof.flow import Family
from fwproof.semantics.bdd_walk import unread
from fwproof.semantics.lint import lint as find
from fwproof.semantics.lint_finding import Finding, Kind
from fwproof.semantics.lint_shared import of_both
from fwproof.semantics.space import SpaceTooLarge

SCHEMA = "fwproof-lint-1"
_KINDS = tuple(kind.value for kind in Kind)


@click.command()
@table_options
@families_option
@click.option("--only", multiple=True, type=click.Choice(_KINDS), help="Only findings of this kind.")
@click.option("--ignore", multiple=True, type=click.Choice(_KINDS), help="No findings of this kind.")
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif"]), default="text", help="How to answer.")
def lint(
    family: str | None, only: tuple[str, ...], ignore: tuple[str, ...], form: str, **tables: Path | str | None
) -> None:  # fmt: skip
    """Find rules that take no packet, that change nothing, that contradict others, or that accept everything.

    \b
    Examples:
      fwproof lint --iptables-save rules.v4 --ip6tables-save rules.v6
      iptables-save -c > now; fwproof lint --iptables-save now --ignore redundant
      fwproof lint --host web1
      fwproof lint --iptables-save rules.v4 --format sarif > lint.sarif     for code scanning

    Each finding names the rules that cause it and holds for every packet. What a redundant rule does, others do
    as well, one rule at a time: leave out one, and ask again. With counters (iptables-save -c), rules that could
    take packets and have not are listed as unused. Exit status: 0 nothing found, 1 findings (unused does not
    count), 6 a family could not be looked at.
    """
    if form == "sarif":
        need_files(tables.get("host"))
    model, families = read_tables(tables, family)
    wanted = [kind for kind in _KINDS if (not only or kind in only) and kind not in ignore]
    by_family: dict[Family, list[Finding]] = {}
    unanswered: list[str] = []
    for each in families:
        unanswered += [f"{each}: {reason}" for reason in unread(model, each)]
        if model.blind.get(each):
            continue
        try:
            by_family[each] = find(model, each)
        except SpaceTooLarge as limit:
            unanswered.append(f"{each}: {limit}")
    found = [(each, finding) for each, finding in of_both(by_family) if finding.kind in wanted]
    if form == "json":
        document = {
            "schema": SCHEMA, "findings": [_json(*each) for each in found], "not_answered": unanswered,
            "understood": understood_json(model, families),
        }  # fmt: skip
        click.echo(json.dumps(document))
    elif form == "sarif":
        folder = tables.get("snapshot")
        click.echo(lint_sarif(found, model, Path(folder) if folder else None, unanswered), nl=False)
    else:
        say(_text(found, unanswered))
    if unanswered:
        raise SystemExit(6)
    if any(finding.kind is not Kind.UNUSED for _, finding in found):
        raise SystemExit(1)


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
