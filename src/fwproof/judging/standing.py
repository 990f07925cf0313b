"""Judging how many connections stand at once: the expectation, the tables' simulation, and what was opened."""

from __future__ import annotations

from collections.abc import Iterator

from fwproof.errors import HostError
from fwproof.facts import Facts, StandingFacts, Untried
from fwproof.measured import Held
from fwproof.plan import Check
from fwproof.policy.model import Allow, Standing
from fwproof.results import Outcome, Verdict

_Answer = tuple[Verdict, str, str, str]
"""Verdict, reason, cause, and how to mend it."""


def judge_standing(check: Check, facts: Facts) -> Outcome:
    """Judge a limit of open connections; raises the HostError that stood in the way."""
    assert isinstance(check.expectation, Allow)
    want = check.expectation.standing
    assert want is not None
    found = facts.exercised[check.id]
    if isinstance(found, HostError):
        raise found
    assert isinstance(found, StandingFacts)
    verdict, reason, cause, fix = _verdict(want, found, str(check.service))
    return Outcome(
        verdict=verdict, reason=reason, cause=cause, fix=fix, rule=found.limiter, proved=_predicted(found),
        observed=_observed(found), evidence=tuple(f"from {source}" for source in found.sources),
    )  # fmt: skip


def _verdict(want: Standing, found: StandingFacts, service: str) -> _Answer:
    tables = next(_wrong_tables(want, found), "")
    if tables:
        return Verdict.FAIL, f"by the tables {tables}", f"{service}: {tables}", _fix(want)
    if found.held is None:
        return _unsent(found)
    wire = next(_wrong(want, found), "")
    if wire and found.predicted is None:
        return Verdict.FAIL, f"on the wire {wire}", f"{service}: {wire}", _fix(want)
    if wire:
        advice = "Repeat it when it is quiet; if it stays, look at the rules on the way with `fwproof explain`."
        return Verdict.FAIL, f"on the wire {wire}", "model and wire disagree", advice
    return _seen(found, found.held)


def _seen(found: StandingFacts, held: Held) -> _Answer:
    """Judge connections that contradict nothing."""
    if held.stood == 0:
        reason = "not one connection stands: nobody listens there, or nobody gets through"
        return Verdict.INCONCLUSIVE, reason, "not settled", "Start the service, and repeat it."
    if found.free is None and held.free is None:
        reason = f"{held.stood} connections stand at once; whether others have their own was not tried"
        return Verdict.INCONCLUSIVE, reason, "not settled", "Give the peers' vantages one more spare address."
    return Verdict.PASS, f"{held.stood} connections stand at once, and one more does not", "", ""


def _fix(want: Standing) -> str:
    """Return what a rule has to say; the mask of connlimit is what tells sources from the whole."""
    mask = "" if want.by == "source" else " --connlimit-mask 0"
    return (
        f"Refuse one connection more: -m connlimit --connlimit-above {want.limit}{mask}, or ct count over {want.limit}."
    )


def _wrong_tables(want: Standing, found: StandingFacts) -> Iterator[str]:
    """Yield what of the tables contradicts the expectation."""
    if found.predicted is not None and found.predicted != want.limit:
        stands = f"more than {want.limit}" if found.predicted > want.limit else str(found.predicted)
        yield f"{stands} connections stand at once, not {want.limit}"
    elif found.predicted is not None:
        yield from _counted(want, found.free)


def _unsent(found: StandingFacts) -> _Answer:
    tables = "the tables do not tell" if found.predicted is None else "the tables agree with the expectation"
    reason = f"{tables}; no connection was opened: {found.untried}"
    if found.untried is Untried.NO_VANTAGE:
        return Verdict.INCONCLUSIVE, reason, "not settled", "Add a host with `vantage: true` there."
    return Verdict.NOT_APPLICABLE, reason, "", ""


def _counted(want: Standing, free: bool | None) -> Iterator[str]:  # noqa: FBT001 - a value of the facts
    """Yield what is wrong with whom the limit counts; nothing where only one source was tried."""
    if free is not None and free != (want.by == "source"):
        is_, wanted = ("each source", "all sources") if free else ("all sources", "each source")
        yield f"the limit is for {is_}, not for {wanted}"


def _wrong(want: Standing, found: StandingFacts) -> Iterator[str]:
    """Yield what of the opened connections contradicts the expectation."""
    held = found.held
    assert held is not None
    if held.stood not in {0, want.limit}:
        stands = f"more than {want.limit}" if held.stood > want.limit else str(held.stood)
        yield f"{stands} connections stand at once, not {want.limit}"
    elif held.stood:
        yield from _counted(want, held.free)
    if held.stood and held.again is False:
        yield "none stands again once all were closed"


def _predicted(found: StandingFacts) -> str:
    if found.predicted is None:
        return "the tables do not tell: something else than a limit decides"
    other = {None: "", True: "; another source may open one all the same", False: "; nor may another source open one"}
    return f"the tables: {found.predicted} stand{other[found.free]}"


def _observed(found: StandingFacts) -> str:
    held = found.held
    if held is None:
        return f"no connection was opened: {found.untried}"
    words = [f"{held.stood} of {held.tried} connections stood at once"]
    if held.free is not None:
        words.append("another source opened one" if held.free else "another source could open none")
    if held.again is not None:
        words.append("free again once closed" if held.again else "not free once closed")
    return "; ".join(words)
