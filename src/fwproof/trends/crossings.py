"""Who reaches what now and did not before, or the other way round: proved on the tables, and observed on the wire."""

from __future__ import annotations

from collections.abc import Iterable

from fwproof.judging.wire import reached_in_words
from fwproof.report.matrix import in_matrix
from fwproof.results import CheckResult
from fwproof.trends.changes import Crossing

_ORDER = ("opened", "told-apart", "not-known", "closed")
_DECISIONS = {"accept": "in", "drop": "out", "reject": "out"}


def crossings(both: Iterable[tuple[CheckResult, CheckResult]]) -> list[Crossing]:
    """Return the cells of the matrix that changed; what the policy does not want comes first."""
    found = [crossing for old, new in both if in_matrix(old) and in_matrix(new) and (crossing := _crossing(old, new))]
    wanted = {"opened": "allow", "closed": "deny"}
    return sorted(found, key=lambda one: (_ORDER.index(one.change), one.expected == wanted.get(one.change), one.host))


def _crossing(old: CheckResult, new: CheckResult) -> Crossing | None:
    proved = [_proved(check.proved) for check in (old, new)]
    observed = [_observed(check) for check in (old, new)]
    change = _change(proved, observed)
    if change is None:
        return None
    return Crossing(
        check=new.id, host=new.host, direction=str(new.direction), peer=str(new.vantage), service=str(new.service),
        family=str(new.family), expected=new.expected, change=change, proved=proved, observed=observed,
        said_before=[old.proved, old.observed], said_after=[new.proved, new.observed],
    )  # fmt: skip


def _change(*answers: list[str]) -> str | None:
    """Return what changed; an answer that became known is not a change of what is reachable."""
    moved = {(was, now) for was, now in answers if was != now}
    if {("out", "in"), ("in", "out")} <= moved:
        return "told-apart"
    if ("out", "in") in moved:
        return "opened"
    if ("in", "out") in moved:
        return "closed"
    return "not-known" if any(now == "unknown" for _, now in moved) else None


def _proved(said: str) -> str:
    """Return the model's answer: its sentence begins with the decision, and a limit or set makes it depend."""
    if ", until " in said or ", depending on " in said:
        return "in" if said.startswith("accept") else "unknown"
    return _DECISIONS.get(said.split(" ", 1)[0].rstrip(";"), "unknown")


def _observed(check: CheckResult) -> str:
    through = reached_in_words(check.observed, check.direction)
    return "unknown" if through is None else "in" if through else "out"
