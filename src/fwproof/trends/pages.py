"""The HTML pages of trends: one file each, which asks nothing of any network; the style is the report's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from fwproof.report.html import page
from fwproof.report.view import number_of
from fwproof.results import Verdict
from fwproof.trends.changes import RunDiff, Sort
from fwproof.trends.groups import CHANGES, SHOWN, by_cause, causes, rules_said, ways
from fwproof.trends.history import Index, IndexRun
from fwproof.trends.text import counts_line

_VERDICTS = ("planned", "run", "pass", "fail", "waived", "error", "inconclusive", "not_applicable")
_SIGNS = {"worse": "✖", "not-known": "?", "better": "●", "none": "·"}
_MOODS = {0: Verdict.PASS, 1: Verdict.FAIL, 6: Verdict.INCONCLUSIVE}
_STATES = {
    "open": "fails", "waived": "waived", "not-known": "not known now", "not-asked": "not asked any more",
    "fixed": "fixed", "not-applicable": "no longer applies",
}  # fmt: skip
_RUNS = 1000
"""Runs that the page lists; index.json has all."""


def render_diff_html(found: RunDiff) -> str:
    """Return the comparison of two runs as one HTML document."""
    sections = [(sort, groups) for sort in (*SHOWN, Sort.UNCHANGED) if (groups := causes(found, sort))]
    return page("diff.html", found.after.id, {
        "found": found, "mood": _MOODS[found.status], "verdicts": _VERDICTS, "signs": _SIGNS, "changes": CHANGES,
        "sections": sections, "ways": ways(found),
        "said": rules_said, "counts_line": counts_line(found),
    }, "trends.css")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One line over time: its path and the area under it in a box of 600 by 100, and the same in words."""

    name: str
    title: str
    line: str
    area: str
    top: int
    last: int
    said: str


def render_index_html(found: Index) -> str:
    """Return the page over all runs of a folder, which lies in that folder."""
    last = found.runs[-1] if found.runs else None
    standing = by_cause(found.standing)
    return page("index.html", "index", {
        "found": found, "ends": _ends(found.runs), "last": last, "headline": _headline(last),
        "basis": _basis(found), "panels": panels(found.runs), "shown": found.runs[::-1][:_RUNS],
        "oldest": found.standing[0] if found.standing else None, "states": _STATES, "days": days, "address": address,
        "total": total,
        "tables": [
            ("standing", "Findings that stand", "oldest first", standing,
             "No check deviates in the last run that asked it."),
            ("ended", "Findings that ended", "newest first", by_cause(found.ended),
             "No finding has ended yet."),
        ],
    }, "trends.css")  # fmt: skip


def _headline(last: IndexRun | None) -> str:
    if last is None:
        return "No run can be read"
    counts = last.counts
    if counts["fail"]:
        return f"{number_of(counts['fail'], 'check')} failed in the last run"
    if last.verdict is Verdict.PASS:
        return "All is as expected in the last run"
    return f"The last run: {last.verdict.value.replace('-', ' ')}"


def _basis(found: Index) -> str:
    if not found.runs:
        return "Nothing is known of any firewall from this folder."
    said = f"{number_of(len(found.runs), 'run')} from {found.runs[0].started[:10]} to {found.runs[-1].started[:10]}."
    if found.unreadable:
        said += f" {number_of(len(found.unreadable), 'folder')} could not be read."
    wrong = sum(bool(run.wrong) for run in found.runs)
    return f"{said} {number_of(wrong, 'run')} not as stored." if wrong else said


def _ends(runs: list[IndexRun]) -> list[str]:
    """Return when the first and the last run began: as days, or as times where they are of one day."""
    ends = [run.started for run in (runs[:1] + runs[-1:])]
    same = len({each[:10] for each in ends}) == 1
    return [each[11:16] if same else each[:10] for each in ends]


def panels(runs: list[IndexRun]) -> list[Panel]:
    """Return the lines of failed, undetermined, waived and passed checks over time; none for fewer than two runs."""
    if len(runs) < 2:
        return []
    times = [datetime.fromisoformat(run.started).timestamp() for run in runs]
    across = [600 * (time - times[0]) / ((times[-1] - times[0]) or 1) for time in times]
    kinds = (
        ("fail", "Failed", ("fail",)), ("unknown", "Not determined", ("error", "inconclusive")),
        ("waived", "Waived", ("waived",)), ("pass", "Passed", ("pass",)),
    )  # fmt: skip
    return [_panel(name, title, across, [sum(run.counts[key] for key in keys) for run in runs])
            for name, title, keys in kinds]  # fmt: skip


def _panel(name: str, title: str, across: list[float], numbers: list[int]) -> Panel:
    top = max(numbers)
    points = [f"{x:.1f} {90 - 80 * number / (top or 1):.1f}" for x, number in zip(across, numbers, strict=True)]
    line = "M" + "L".join(points)
    said = (f"{title}: {numbers[0]:,} in the first run, {numbers[-1]:,} in the last, between {min(numbers):,} and "
            f"{top:,} in {len(numbers):,} runs; the table of runs has each number")  # fmt: skip
    return Panel(name=name, title=title, line=line, area=f"{line}L{across[-1]:.1f} 90L{across[0]:.1f} 90Z", top=top,
                 last=numbers[-1], said=said)  # fmt: skip


def days(number: float) -> str:
    """Return a length of time as a reader takes it: days, or hours and minutes below one."""
    if number >= 10:
        return f"{number:,.0f} days"
    if number >= 1:
        return f"{number:.1f} days"
    minutes = round(number * 1440)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else "less than a minute"


def address(folder: str) -> str:
    """Return a folder's name as a relative address, whatever it holds."""
    return f"./{quote(folder, safe='', errors='surrogateescape')}"


def total(changes: dict[str, int], kinds: tuple[str, ...]) -> int:
    """Return how many checks changed in one of some ways."""
    return sum(changes.get(kind, 0) for kind in kinds)
