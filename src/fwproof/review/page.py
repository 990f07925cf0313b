"""A review as one page: sections of lines and tables, the same for the terminal and for Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fwproof.evidence.packet_log import Kind
from fwproof.review.findings import Finding, numbers, times
from fwproof.review.items import Sum, span
from fwproof.review.period import stamp
from fwproof.review.review import Review
from fwproof.review.sorts import HOUR
from fwproof.review.tally import Tally

SCHEMA = "fwproof-logs-1"
_SOURCES = 1000
"""Sources in the JSON document at most; those that look like something come first."""
_FINDINGS = 4
"""So many findings are shown for each row of a table."""
_WORDS = {
    "allowed-dropped": ("expectation whose traffic was dropped", "expectations whose traffic was dropped"),
    "hits-stopped": ("rule whose hits stopped", "rules whose hits stopped"),
    "knocking": ("internal host keeps knocking", "internal hosts keep knocking"),
    "knocking-out": ("destination refused to the host itself", "destinations refused to the host itself"),
}


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: a title, and rows below ``head``, or lines: each a text with those that belong to it."""

    title: str
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    lines: tuple[tuple[str, ...], ...] = ()


def headline(found: Review) -> str:
    """Return the answer in one sentence."""
    acts = found.acts
    if acts:
        kinds = [each.kind for each in acts]
        told = ", ".join(_plural(kinds.count(kind), *words) for kind, words in _WORDS.items() if kind in kinds)
        rest = "; and not all is known" if found.weakened else ""
        return f"{_plural(len(acts), 'finding', 'findings')}: {told}{rest}"
    if found.weakened:
        return "no finding, and not all is known"
    return "nothing to act on"


def _plural(count: int, one: str, more: str) -> str:
    return f"1 {one}" if count == 1 else f"{count:,} {more}"


def period_line(found: Review) -> str:
    """Return what was reviewed."""
    period = found.period
    days = f"{period.hours // 24} days" if period.hours % 24 == 0 and period.hours > 24 else f"{period.hours} hours"
    text = f"{span(period.since * HOUR, period.until * HOUR)} UTC ({days})"
    if period.earlier:
        before = period.earlier
        text += f", compared with the {f'{before // 24} days' if before >= 48 else f'{before} hours'} before"
    return text


def read_line(tally: Tally, places: Sequence[str]) -> str:
    """Return what was read."""
    counts = [f"{tally.lines[kind]:,} {kind.value}" for kind in Kind if tally.lines[kind] and kind is not Kind.PACKET]
    told = ", ".join([f"{tally.lines[Kind.PACKET]:,} of packets", *counts])
    return f"{tally.lines.total():,} lines of {', '.join(places)}: {told}"


def sections(found: Review, top: int) -> Iterator[Section]:
    """Yield the sections that have something to tell."""
    for title, those in (("Findings", found.acts), ("Explained", [each for each in found.findings if each.note])):
        if those:
            told = [_finding(each) for each in those[: top * _FINDINGS]]
            if len(those) > len(told):
                told.append((f"and {len(those) - len(told):,} more: a greater --top or --format json shows them",))
            yield Section(title, lines=tuple(told))
    if found.weakened:
        yield Section("Not known", lines=tuple((each,) for each in found.weakened))
    yield from _totals(found, top)
    yield from _outside(found, top)
    if found.outbound:
        rows = [(f"{what} at {to}", *_cells(total)) for to, what, total in found.outbound]
        yield _table("The host itself wanted to reach", rows, top)
    yield from _rules(found, top)
    notes = list(found.notes)
    if found.let_in:
        notes.append(f"{found.let_in:,} packets were logged and let in, which are no drops")
    if notes:
        yield Section("Notes", lines=tuple((each,) for each in notes))


def _finding(each: Finding) -> tuple[str, ...]:
    return (each.title, *each.details, *([f"for example: {each.example}"] if each.example else []))


def _cells(total: Sum) -> tuple[str, ...]:
    return f"{total.count:,}", f"{total.before:,}", total.span


def _table(title: str, rows: Sequence[tuple[str, ...]], top: int) -> Section:
    head = ("", "packets", "before", "first to last (UTC)")
    rest = () if len(rows) <= top else ((f"and {len(rows) - top:,} more", "", "", ""),)
    return Section(title, head, (*rows[:top], *rest))


def _totals(found: Review, top: int) -> Iterator[Section]:
    rows = [("all", *_cells(found.total))]
    for name in ("family", "direction", "kind"):
        rows += [(key, *_cells(total)) for key, total in found.totals[name] if total.count]
    yield _table("Dropped", rows, len(rows))
    for name, title in (("zone", "By zone of the source"), ("rule", "By rule"), ("service", "By service")):
        rows = [(key, *_cells(total)) for key, total in found.totals[name] if total.count or name == "rule"]
        if rows:
            yield _table(title, rows, top)


def _outside(found: Review, top: int) -> Iterator[Section]:
    if found.sources:
        rows = [
            (f"{each.address} ({each.zone})" if each.zone else each.address, f"{each.total.count:,}", each.what or "-",
             ", ".join(each.services[:3]) + (", …" if len(each.services) > 3 else ""), each.total.span)
            for each in found.sources[:top]
        ]  # fmt: skip
        if len(found.sources) > top:
            rows.append((f"and {len(found.sources) - top:,} more", "", "", "", ""))
        head = ("source", "packets", "looks like", "wanted", "first to last (UTC)")
        yield Section("Blocked from outside", head, tuple(rows))
    if found.sweeps:
        titles = ("service", "sources", "packets", "first to last (UTC)")
        swept = [(each.service, f"{each.sources:,}", f"{each.total.count:,}", each.total.span) for each in found.sweeps]
        yield Section("Swept for", titles, tuple(swept[:top]))


def _rules(found: Review, top: int) -> Iterator[Section]:
    limits = [
        (f"in {minutes:,} minutes its limit ({limit}) was used up: what else was dropped is not in the log", rule)
        for rule, limit, minutes in found.limits
    ]
    if limits:
        yield Section("Log limits", lines=tuple(limits[:top]))
    unknown = [
        (f"no rule of the tables has the prefix {name}: {times(total.count)}, {total.span}",)
        for name, total in found.unknown
    ]
    if unknown:
        yield Section("Unknown prefixes", lines=tuple(unknown[:top]))
    silent = [
        (f"{each.ref}", f"counted {each.counted:,} packets since its counters were set" if each.counted else "no line")
        if each.counted is not None else (f"{each.ref}",)
        for each in found.silent
    ]  # fmt: skip
    if silent:
        yield Section("Rules that log and have no line", lines=tuple(silent[:top]))


def document(found: Review, tally: Tally, places: Sequence[str]) -> dict[str, Any]:
    """Return the review as JSON, schema ``fwproof-logs-1``."""
    period = found.period
    return {
        "schema": SCHEMA,
        "period": {"since": stamp(period.since * HOUR), "until": stamp(period.until * HOUR),
                   "hours_before": period.earlier},
        "read": {"from": list(places), "lines": tally.lines.total(),
                 **{kind.name.lower(): tally.lines[kind] for kind in Kind}},
        "headline": headline(found),
        "findings": [
            {"kind": each.kind, "title": each.title, "explained": each.note, "details": list(each.details),
             "example": each.example or None, **each.data}
            for each in found.findings
        ],
        "not_known": found.weakened,
        "dropped": numbers(found.total), "let_in": found.let_in,
        "totals": {name: [{"name": key, **numbers(total)} for key, total in those]
                   for name, those in found.totals.items()},
        "sources": [
            {"address": each.address, "zone": each.zone or None, "looks_like": each.what or None,
             "tried": each.tried, "tried_more": each.most, "services": list(each.services[:20]), **numbers(each.total)}
            for each in found.sources[:_SOURCES]
        ],
        "sources_in_all": len(found.sources),
        "sweeps": [{"service": each.service, "sources": each.sources, **numbers(each.total)} for each in found.sweeps],
        "outbound": [{"to": to, "service": what, **numbers(total)} for to, what, total in found.outbound],
        "log_limits": [{"rule": rule, "limit": limit, "minutes": minutes} for rule, limit, minutes in found.limits],
        "unknown_prefixes": [{"name": name, **numbers(total)} for name, total in found.unknown],
        "silent_rules": [{**each.ref.as_json(), "counted": each.counted} for each in found.silent],
        "notes": found.notes,
    }  # fmt: skip
