"""``fwproof understood``: how far rule tables are understood, and every rule that is not exact."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from fwproof.cli.saying import say
from fwproof.cli.tables import families_option, read_tables, table_options
from fwproof.semantics.understood import Inexact, Reading, total
from fwproof.semantics.understood import understood as read

SCHEMA = "fwproof-understood-1"
_TITLES = {
    "unparsed": "no rule, and not understood", "unknown": "not understood", "bounded": "known but for what is named",
}  # fmt: skip


@click.command()
@table_options
@families_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to answer.")
def understood(family: str | None, form: str, **tables: Path | str | None) -> None:
    """Show how far rule tables are understood, and list every rule that is not exact, with the reason.

    \b
      exact     understood as the kernel runs it
      bounded   depends on something that no packet shows, which is named: a rate, the time, a program on the host
      unknown   not understood: it may do anything, and answers that it could change are "unknown"
      unparsed  a line that is no rule, or something that is missing: likewise

    Exit status: 0 everything is exact or bounded, 6 something is not understood.

    \b
    Examples:
      fwproof understood --iptables-save rules.v4
      fwproof understood --host web1 --format json
    """
    model, families = read_tables(tables, family, loud=False)
    found = read(model, families)
    if form == "json":
        listed = [{**each.as_json(), "inexact": [one.as_json() for one in each.inexact], "notes": list(each.notes)}
                  for each in found]  # fmt: skip
        click.echo(json.dumps({"schema": SCHEMA, **total(found), "sources": listed}))
    else:
        say(_text(found))
    counts = total(found)
    if counts["unknown"] or counts["unparsed"]:
        raise SystemExit(6)


def _text(found: Sequence[Reading]) -> Iterator[str]:
    for reading in found:
        yield f"{_title(reading)}: {counts_text(reading.counts)}"
    for reading in found:
        for how, words in _TITLES.items():
            listed = [each for each in reading.inexact if each.how == how]
            if listed:
                yield ""
                yield f"{_title(reading)}, {words}:"
            for each in listed:
                yield from _lines(reading, each)
        yield from (f"{reading.family}: {note}" for note in reading.notes)
    if not found:
        yield "no rules"


def _title(reading: Reading) -> str:
    return f"{reading.family} {reading.source} ({reading.text})"


def _lines(reading: Reading, each: Inexact) -> Iterator[str]:
    line = f"{'object' if reading.source == 'nft' else 'line'} {each.line}" if each.line else ""
    place = f"{each.rule} ({line})" if each.rule else line
    if each.text:
        yield f"  {': '.join(filter(None, [place, each.text]))}"
        yield f"      {each.why}"
    else:
        yield f"  {': '.join(filter(None, [place, each.why]))}"


def counts_text(counts: dict[str, int]) -> str:
    """Return how many rules are understood how far, in words."""
    rules = sum(number for how, number in counts.items() if how != "unparsed")
    texts = [f"{number} {how}" for how, number in counts.items() if number or how == "exact"]
    return f"{rules} {'rule' if rules == 1 else 'rules'}: {', '.join(texts)}"
