"""Waivers over outcomes: which deviation one covers, and whether the waiver itself is as it should be."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date

from fwproof.errors import Fault
from fwproof.plan import Check, Kind
from fwproof.policy.model import Policy
from fwproof.policy.nearest import suggest
from fwproof.policy.scalars import quoted
from fwproof.policy.waivers import State, Waiver
from fwproof.results import Outcome, Verdict

_OPEN = {Verdict.ERROR, Verdict.INCONCLUSIVE}


def covered(waiver: Waiver, checks: Iterable[Check]) -> tuple[Check, ...]:
    """Return the checks whose deviation a waiver is about."""
    return tuple(
        check for check in checks
        if check.kind is not Kind.WAIVER
        and waiver.covers(check.policy.name, check.host, check.id, check.expectation.id)
    )  # fmt: skip


def waiver_checks(waivers: Sequence[Waiver], policy: Policy, checks: Sequence[Check]) -> tuple[Check, ...]:
    """Return one check for each waiver of a policy and host: whether it is in force, and still needed."""
    return tuple(
        Check(
            id=f"waiver:{waiver.id}[{host}]", kind=Kind.WAIVER, policy=policy, expectation=waiver, host=host,
            expected="in force and needed",
        )
        for waiver in waivers
        for host in dict.fromkeys(check.host for check in covered(waiver, checks))
    )  # fmt: skip


def unmet(waivers: Sequence[Waiver], policy: Policy, checks: Sequence[Check]) -> Iterator[Fault]:
    """Yield a fault for every selector of a policy's waivers that means none of its checks."""
    for waiver in (each for each in waivers if each.policy == policy.name):
        for selector in waiver.checks:
            if not covered(replace(waiver, checks=(selector,)), checks):
                where = f" on {', '.join(waiver.hosts)}" if waiver.hosts else ""
                names = {name for check in checks for name in (check.id, check.expectation.id)}
                message = (
                    f"policy {policy.name} has no check {quoted(selector.text)}{where}{suggest(selector.text, names)}"
                )
                yield Fault(waiver.file, selector.line, selector.column, message)


def waive(outcome: Outcome, check: Check, waivers: Sequence[Waiver], today: date) -> Outcome:
    """Return an outcome as the waivers leave it: only a fail becomes ``waived``, and says why it is one.

    A deviation whose waiver does not hold stays a fail, and says why that is.
    """
    if outcome.verdict is not Verdict.FAIL:
        return outcome
    about = [each for each in waivers if covered(each, [check])]
    for waiver in about:
        if waiver.state(today) is State.IN_FORCE and waiver.accepts(outcome.cause):
            return replace(
                outcome, verdict=Verdict.WAIVED, waiver=waiver.id, reason=f"{outcome.reason}. {_agreed(waiver)}"
            )
    notes = "".join(f". {_why_not(each, today)}" for each in about)
    return replace(outcome, reason=f"{outcome.reason}{notes}")


def _agreed(waiver: Waiver) -> str:
    by = f"accepted by {waiver.approver}, owned by {waiver.owner}"
    ticket = f" ({waiver.ticket})" if waiver.ticket else ""
    return f"Waived by {waiver.id} until {waiver.expires}, {by}{ticket}: {waiver.title}"


def _why_not(waiver: Waiver, today: date) -> str:
    state = waiver.state(today)
    if state is State.IN_FORCE:
        return f"Waiver {waiver.id} is about another finding of this check: {waiver.cause}"
    return f"Waiver {waiver.id} does not hold: {_wrong(waiver, state, today)[0]}"


def _wrong(waiver: Waiver, state: State, today: date) -> tuple[str, str]:
    """Return what is wrong with a waiver that is not in force, and what to do."""
    if state is State.TOO_LONG:
        days = (waiver.expires - waiver.created).days
        return (
            f"it lasts {days} days, and at most {waiver.longest} are allowed",
            "let it end earlier; whoever still needs it then asks again",
        )
    if state is State.NOT_YET:
        return f"it was agreed on {waiver.created}, which is yet to come", "correct `created`"
    ago = -waiver.days_left(today)
    return (
        f"it expired on {waiver.expires}, {ago} {'day' if ago == 1 else 'days'} ago",
        "mend the deviation, or have it accepted anew and say until when",
    )


def judge_waiver(check: Check, outcomes: Mapping[str, Outcome], wanted: Collection[str], today: date) -> Outcome:
    """Judge a waiver on one host by what came of the checks that it covers there; ``wanted`` are their ids.

    Without an outcome of all of them (a part of the policy was run), nothing is said of whether it is needed.
    """
    waiver = check.expectation
    assert isinstance(waiver, Waiver)
    state = waiver.state(today)
    if state is not State.IN_FORCE:
        wrong, fix = _wrong(waiver, state, today)
        return Outcome(
            verdict=Verdict.FAIL, reason=f"the waiver does not hold: {wrong}", cause=f"a waiver is {_CAUSES[state]}",
            fix=fix,
        )  # fmt: skip
    used = [id_ for id_ in wanted if id_ in outcomes and outcomes[id_].waiver == waiver.id]
    left = waiver.days_left(today)
    if used:
        return Outcome(
            verdict=Verdict.PASS, evidence=tuple(sorted(used)),
            reason=f"it covers {len(used)} of {len(wanted)} checks, with {left} {'day' if left == 1 else 'days'} left",
        )  # fmt: skip
    if any(id_ not in outcomes for id_ in wanted):
        return Outcome(
            verdict=Verdict.NOT_APPLICABLE,
            reason="not all of the checks that it covers were run, so its need is not told",
        )
    if any(outcomes[id_].verdict in _OPEN for id_ in wanted):
        return Outcome(
            verdict=Verdict.INCONCLUSIVE, cause="a waiver's need is not settled",
            reason="the checks that it covers could not be told, so neither can whether it is still needed",
            fix="settle those checks first",
        )  # fmt: skip
    return Outcome(
        verdict=Verdict.FAIL, cause="a waiver is stale",
        reason=f"what it waives is gone: none of the {len(wanted)} checks that it covers deviates as it says",
        fix="take the waiver out, or this host from it; as it stands it would let the deviation come back unseen",
    )  # fmt: skip


_CAUSES = {State.EXPIRED: "expired", State.TOO_LONG: "too long", State.NOT_YET: "dated in the future"}
