"""What a review of a drop log finds to act upon."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fwproof.decision import Decision
from fwproof.policy.model import Allow, Rate
from fwproof.review.expected import Expected, Windows, windows
from fwproof.review.items import Item, Names, Sum, grouped, service, sum_of
from fwproof.review.loggers import Logger, Loggers
from fwproof.review.period import Period, stamp
from fwproof.review.places import Places
from fwproof.review.sorts import OTHER_PREFIXES, Sort
from fwproof.review.tally import Tally

STOPPED_HOURS = 5
"""Hours with lines to be expected of a rule before their absence counts: were each hour as likely as another to have
some, a rule that still has hits would show none once in 150 periods (e^-5)."""
_PEERS = 5
_ASKED = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something to act upon. ``kind`` is ``allowed-dropped``, ``hits-stopped``, ``knocking`` or ``knocking-out``.

    ``note``: it has its explanation and is told for the record only. ``data`` is what a program reads of it.
    """

    kind: str
    title: str
    details: tuple[str, ...] = ()
    example: str = ""
    note: bool = False
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known besides the log; the expectations and the tables are None where they were not given."""

    places: Places
    expected: Expected | None = None
    loggers: Loggers | None = None

    @property
    def names(self) -> Names:
        """The names of services in the policies."""
        return self.expected.names if self.expected else {}

    def allow_of(self, sort: Sort) -> Allow | None:
        """Return the expectation that allows what lines of a sort tell of, None where there is none."""
        return None if self.expected is None else self.expected.allow_of(sort)


def numbers(found: Sum) -> dict[str, Any]:
    """Return a sum as JSON."""
    return {
        "count": found.count, "before": found.before, "hours": len(found.hours), "days": found.days,
        "first": stamp(found.first) if found.first else None, "last": stamp(found.last) if found.last else None,
    }  # fmt: skip


def times(count: int) -> str:
    """Return how often, for people."""
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def allowed_drops(items: Sequence[Item], known: Known, tally: Tally) -> Iterator[Finding]:
    """Yield a finding for each expectation whose traffic was dropped in the period."""
    dropped: dict[str, tuple[Allow, list[Item]]] = {}
    for item in items:
        if item.allow is not None and item.count:
            dropped.setdefault(item.allow.id, (item.allow, []))[1].append(item)
    for allow, those in dropped.values():
        yield _allowed_drop(allow, those, known, tally)


def _allowed_drop(allow: Allow, those: Sequence[Item], known: Known, tally: Tally) -> Finding:
    total = sum_of(those)
    way = those[0].sort.way
    peers = sorted(
        ((peer, sum_of(group)) for peer, group in grouped(
            those, lambda item: item.sort.src if way == "in" else item.sort.dst).items()),
        key=lambda each: -each[1].count,
    )  # fmt: skip
    details = [
        f"{'from' if way == 'in' else 'to'} {known.places.name(peer)} {times(found.count)}, {found.span}"
        for peer, found in peers[:_PEERS]
    ]
    if len(peers) > _PEERS:
        details.append(f"and {len(peers) - _PEERS:,} more addresses")
    limited, by_tables = _by_tables(those, known.loggers)
    details += by_tables
    data: dict[str, Any] = {
        "expectation": allow.id, "file": allow.file, "line": allow.line, "service": str(allow.service), "way": way,
        "peers": [{"address": peer, **numbers(found)} for peer, found in peers[:100]], "tables": by_tables,
        **numbers(total),
    }  # fmt: skip
    if allow.rate is not None:
        found = windows(allow.rate, _times_by_source(those, tally))
        data["rate"] = {
            "limit": found.limit, "per": found.per, "windows": found.windows, "windows_over": found.over,
            "most": found.most, "explains": limited,
        }  # fmt: skip
        details.append(f"{_rate(allow.rate, limited=limited)}: {_windows(found)}")
    what = service(those[0].sort, known.names)
    return Finding(
        kind="allowed-dropped",
        title=f"dropped though the policy allows it: {allow.id} ({what}), {times(total.count)}",
        details=(f"{allow.title or allow.id} ({allow.file}:{allow.line})", *details),
        example=max(those, key=lambda item: (bool(item.example), item.last)).example,
        note=limited and (allow.rate is not None or allow.standing is not None), data=data,
    )  # fmt: skip


def _times_by_source(those: Sequence[Item], tally: Tally) -> list[list[float]]:
    """Return when the drops of each source were, as far as their times were kept."""
    found: dict[str, list[float]] = {}
    for item in those:
        kept = [time for time in tally.times.get(item.sort, ()) if item.first <= time <= item.last]
        found.setdefault(item.sort.src, []).extend(kept)
    return list(found.values())


def _rate(rate: Rate, *, limited: bool) -> str:
    words = f"it is allowed at {rate.limit} in {rate.per:g} s by {rate.by}"
    return f"{words}, and nothing else in the tables drops it" if limited else f"{words}, which may be the reason"


def _windows(found: Windows) -> str:
    return (
        f"{found.windows:,} such windows have drops, up to {found.most:,} each, and in {found.over:,} the drops alone "
        "are over it (what was let in beside them is not in the log)"
    )


def _by_tables(those: Sequence[Item], loggers: Loggers | None) -> tuple[bool, list[str]]:
    """Return whether a limit in the tables explains every drop that was looked at, and what they do, for people."""
    if loggers is None:
        return False, []
    words: dict[str, None] = {}
    limited = True
    for item in sorted(those, key=lambda each: -each.count)[:_ASKED]:
        ruling = loggers.decide(item.sort)
        limited &= loggers.limited(item.sort, ruling)
        if ruling.decision is Decision.DEPENDS:
            text = f"the tables let it in or not by {', '.join(ruling.depends_on)}"
        elif ruling.decision is Decision.ACCEPT:
            text = "the tables given accept it: they were others at the time, or it was no new connection"
        elif ruling.decision is Decision.UNKNOWN:
            text = f"the tables do not settle it: {', '.join(ruling.depends_on)}"
        else:
            text = f"the tables {ruling.decision} it: {ruling.by}"
        words[text] = None
    return limited and len(those) <= _ASKED, list(words)


def stopped(items: Sequence[Item], period: Period, known: Known) -> Iterator[Finding]:
    """Yield a finding for each rule, or prefix, whose lines stopped with the period."""
    if not period.earlier:
        return
    for (version, way, prefix), group in grouped(items, lambda item: item.sort.key).items():
        found = sum_of(group)
        wanted = len(found.hours_before) * period.hours / period.earlier
        if found.count or wanted < STOPPED_HOURS or prefix == OTHER_PREFIXES:
            continue
        loggers = known.loggers
        rules = () if loggers is None else loggers.alike(group[0].sort)
        seen = f"{times(found.before)} in {len(found.hours_before)} of the {period.earlier} hours before"
        details = [
            f"{seen}: about {wanted:.0f} hours with lines were to be expected, and there is none",
            *_rules_of(rules, loggers),
        ]
        yield Finding(
            kind="hits-stopped", title=f"hits stopped: “{prefix}” ({way}, IPv{version})", details=tuple(details),
            data={"prefix": prefix, "way": way, "family": f"ipv{version}", "expected_hours": round(wanted, 1),
                  "rules": [str(each.ref) for each in rules], **numbers(found)},
        )  # fmt: skip


def _rules_of(rules: Sequence[Logger], loggers: Loggers | None) -> list[str]:
    if loggers is None:
        return []
    if not rules:
        return ["no rule of the tables has this prefix in this direction (any more)"]
    return [f"by {each.ref}" for each in rules]
