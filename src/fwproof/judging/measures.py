"""Judging a measured limit: the numbers of the wire against those of the expectation and of the tables."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from fwproof.errors import HostError
from fwproof.facts import Facts, MeasureFacts, Untried
from fwproof.flow import Family
from fwproof.judging.admitted import admissions_of
from fwproof.measured import Interval, Manner, Measured, Part
from fwproof.plan import Check
from fwproof.policy.model import Allow, Rate
from fwproof.results import Outcome, Verdict

_NEAR = 0.01
"""How far a bucket's measured rate may lie from the stated one, as a part of it."""
_TICK = 0.02
"""Seconds that a window's ends may be off, by the kernel's clock and a simulation's."""

_Fault = tuple[str, str, str]
"""Reason, cause, and how to mend it."""
_Answer = tuple[Verdict, str, str, str]


def judge_measure(check: Check, facts: Facts) -> Outcome:
    """Judge a limit by what was measured of it; raises the HostError that stood in the way."""
    assert isinstance(check.expectation, Allow)
    rate = check.expectation.rate
    assert rate is not None
    found = facts.exercised[check.id]
    if isinstance(found, HostError):
        raise found
    assert isinstance(found, MeasureFacts)
    verdict, reason, cause, fix = _verdict(check, rate, found)
    seen = found.seen
    return Outcome(
        verdict=verdict, reason=reason, cause=cause, fix=fix, rule=found.limiter,
        proved=f"the tables: {words(found.predicted, check.family)}" if found.predicted else
        "the tables do not tell: something else than a rate decides",
        observed=words(seen, check.family) if seen else f"nothing was measured: {found.untried}",
        attributed="; ".join(found.counters), evidence=tuple(_evidence(found)),
        admissions=admissions_of(rate, found.attempts),
    )  # fmt: skip


def _verdict(check: Check, rate: Rate, found: MeasureFacts) -> _Answer:
    service = str(check.service)
    if found.predicted is not None:
        fault = next(_contradictions(rate, found.predicted, service, "the tables have"), None)
        if fault is not None:
            return (Verdict.FAIL, *fault)
    if found.seen is None:
        return _unsent(found)
    missing = "; ".join(_missing(rate, found.seen))
    if missing:
        advice = "Give the peers' vantages more spare addresses, or leave that part out of `measure`."
        unsettled = (Verdict.INCONCLUSIVE, missing, "not settled", advice)
    else:
        unsettled = (Verdict.PASS, f"measured as expected: {words(found.seen, check.family)}", "", "")
    return _contradicted(rate, found, found.seen, service) or unsettled


def _unsent(found: MeasureFacts) -> _Answer:
    """Judge a limit that was not measured and in which the tables by themselves show no fault."""
    tables = "the tables agree with the expectation" if found.predicted else "the tables do not tell"
    reason = f"{tables}; nothing was measured: {found.untried}"
    if found.untried is Untried.NO_VANTAGE:
        return Verdict.INCONCLUSIVE, reason, "not settled", "Add a host with `vantage: true` there."
    return Verdict.NOT_APPLICABLE, reason, "", ""


def _contradicted(rate: Rate, found: MeasureFacts, seen: Measured, service: str) -> _Answer | None:
    """Return the fault that the wire shows, if any; the tables, where they tell, agree with the expectation."""
    fault = next(_contradictions(rate, seen, service, "measured:"), None)
    differing = next(_differences(found.predicted, seen), "") if found.predicted else ""
    if fault is not None and found.others and seen.shared is not False:
        reason = f"{fault[0]}; but {found.others} packets of others were counted meanwhile"
        return Verdict.INCONCLUSIVE, reason, "other traffic spoiled the measurement", "Repeat it when it is quiet."
    if fault is not None and found.predicted is None:
        return (Verdict.FAIL, *fault)
    if fault is not None or differing:
        reason = fault[0] if fault is not None else differing
        advice = "Measure again; if it stays, look at the rules on the way with `fwproof explain`."
        return Verdict.FAIL, reason, "model and wire disagree", advice
    return None


def _contradictions(rate: Rate, found: Measured, service: str, who: str) -> Iterator[_Fault]:
    """Yield what of the measured numbers contradicts the expectation; what was not measured contradicts nothing."""
    yield from _at_once(rate, found, service, who)
    if found.shared is not None and found.shared != (rate.by == "total") and found.burst:
        words = ("all sources together", "each source by itself")
        is_, wanted = words if found.shared else words[::-1]
        yield (
            f"{who} a limit for {is_}, not for {wanted}", f"{service}: the limit is for {is_}",
            "Count by source address (recent --rsource, hashlimit --hashlimit-mode srcip)." if found.shared else
            "Count all sources together (limit).",
        )  # fmt: skip
    yield from _untimely(rate, found, service, who)
    if found.standing is False:
        yield (
            f"{who} packets of standing connections are refused while the limit is used up",
            f"{service}: the limit counts every packet", "Limit new connections only (--ctstate NEW).",
        )  # fmt: skip
    if found.held is not None and found.burst == rate.limit != found.held.stood:
        yield (
            f"{who} {found.held.stood} of {found.held.tried} ordinary connections stand, not {rate.limit}",
            f"{service}: ordinary connections are limited otherwise", "Limit new connections (--ctstate NEW).",
        )  # fmt: skip
    if found.crowd is not None and found.crowd.evicted:
        yield (
            f"{who} {found.crowd.sources} other sources push a refused one off the list",
            f"{service}: the limit's list can be filled", "Give the list room (xt_recent ip_list_tot, a set's size).",
        )  # fmt: skip


def _at_once(rate: Rate, found: Measured, service: str, who: str) -> Iterator[_Fault]:
    """Yield what is wrong with how many were let in at once."""
    limit = f"{rate.limit} in {rate.per:g} s"
    if found.manner is Manner.NONE:
        off = "no limiter applies to this source"
        yield (
            f"{who} no limit: all of {found.sent} were let in",
            f"{service}: {off}",
            f"Limit new connections to {limit}.",
        )
    elif found.burst == 0:
        yield (
            f"{who} none let in", f"{service} is refused to the peers that may use it",
            "Accept the service for its peers first.",
        )  # fmt: skip
    elif found.burst is not None and found.burst != rate.limit:
        off = f"the limiter admits {found.burst}, not {rate.limit}"
        fix = "Check the limit before counting: --rcheck (or --update) … -j DROP first, --set … -j ACCEPT after it."
        yield f"{who} {found.burst} let in at once, not {rate.limit}", f"{service}: {off}", fix


def _untimely(rate: Rate, found: Measured, service: str, who: str) -> Iterator[_Fault]:
    """Yield where the limit does not come back as the expectation says: in its period, or at its rate."""
    each = rate.limit / rate.per
    if found.window is not None and found.manner is not Manner.BUCKET and not found.window.may_be(rate.per, _TICK):
        yield (
            f"{who} a window of {found.window.words('s')}, not {rate.per:g} s",
            f"{service}: the limit's window is not {rate.per:g} s", f"Make the window {rate.per:g} s (--seconds).",
        )  # fmt: skip
    if found.rate is not None and not found.rate.may_be(each, each * _NEAR):
        yield (
            f"{who} {_pace(found.rate)}, not one every {rate.per / rate.limit:.3g} s",
            f"{service}: the limit's rate is not {rate.limit} in {rate.per:g} s",
            f"Let in {rate.limit} in {rate.per:g} s.",
        )  # fmt: skip


def _differences(model: Measured, wire: Measured) -> Iterator[str]:
    """Yield where the wire and the tables have different numbers for the same packets."""
    pairs = (
        ("connections let in at once", model.burst, wire.burst),
        ("refused attempts prolong the refusal", model.extends, wire.extends),
        ("all sources share the limit", model.shared, wire.shared),
    )
    for what, said, seen in pairs:
        if said is not None and seen is not None and said != seen:
            yield f"{what}: {_plain(said)} by the tables, {_plain(seen)} on the wire"
    known = model.shared is not None and wire.shared is not None
    if known and (model.apart, model.together) != (wire.apart, wire.together):
        yield f"sources: {_groups(model)} by the tables, {_groups(wire)} on the wire"
    if model.window and wire.window and not model.window.overlaps(wire.window, _TICK):
        yield f"window: {model.window.words('s')} by the tables, {wire.window.words('s')} on the wire"
    if model.rate and wire.rate and not model.rate.overlaps(wire.rate, model.rate.middle * _NEAR):
        yield f"rate: {_pace(model.rate)} by the tables, {_pace(wire.rate)} on the wire"


def _groups(found: Measured) -> str:
    return " and ".join(
        f"{word} with /{bits} in common"
        for word, bits in (("apart", found.apart), ("together", found.together))
        if bits is not None
    )


def _plain(value: bool | int) -> str:  # noqa: FBT001 - a value in words
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _missing(rate: Rate, found: Measured) -> Iterator[str]:
    """Yield what the policy wants measured and was not."""
    back = found.rate is not None or (found.manner is Manner.WINDOW and found.window is not None)
    known = {
        Part.BURST: found.burst is not None, Part.WINDOW: back, Part.ISOLATION: found.shared is not None,
        Part.PACKETS: found.standing is not None, Part.FULL: found.held is not None,
        Part.EVICTION: found.crowd is not None,
    }  # fmt: skip
    lacking = [part.value for part in rate.measure if not known[part]]
    if lacking:
        yield f"not measured: {', '.join(lacking)}"
        yield from found.gaps


def _pace(rate: Interval) -> str:
    """Return a bucket's rate as the time of one refill, in words."""
    pace = Interval(1 / rate.high if rate.high else inf, 1 / rate.low if rate.low else inf)
    return f"then one every {pace.words('s')}"


def words(found: Measured, family: Family | None) -> str:
    """Return the measured numbers in one sentence."""
    return "; ".join(_said(found, family))


def _said(found: Measured, family: Family | None) -> Iterator[str]:
    if found.manner is Manner.NONE:
        yield f"all of {found.sent} new connections let in"
    elif found.burst is None:
        yield f"of {found.sent} new connections, it is not known how many were let in"
    else:
        yield f"{found.burst} new connections, then refused"
    if found.rate is not None:
        yield _pace(found.rate)
    elif found.window is not None and found.burst:
        yield f"window {found.window.words('s')}"
    yield from _grouped(found, family)
    if found.extends is not None and found.manner is Manner.WINDOW:
        yield "refused attempts prolong the refusal" if found.extends else "refused attempts do not count"
    if found.standing is not None:
        yield "standing connections go on" if found.standing else "standing connections are cut off"
    held = found.held
    if held is not None:
        rest = "" if held.again is None else ", free again once closed" if held.again else ", not free once closed"
        yield f"{held.stood} of {held.tried} ordinary connections stand at once{rest}"
    if found.crowd is not None:
        push = "push it" if found.crowd.evicted else "do not push it"
        yield f"{found.crowd.sources} other sources {push} off the list"


def _grouped(found: Measured, family: Family | None) -> Iterator[str]:
    whole = 128 if family is Family.IPV6 else 32
    if found.shared:
        yield "all sources together"
    elif found.apart is not None and found.together is not None:
        low, high = found.apart + 1, found.together
        usual = " (as per /64)" if low <= 64 <= high and whole == 128 else ""
        yield f"per network of /{low} to /{high}{usual}"
    elif found.apart is not None:
        tried = " within one /64, too" if whole == 128 and found.apart >= 64 else ""
        yield f"per source{tried}"


def _evidence(found: MeasureFacts) -> Iterator[str]:
    if found.seen is not None:
        yield f"{found.packets} packets in {found.seconds:.1f} s from {', '.join(found.sources)}"
        yield from (f"not measured: {gap}" for gap in found.seen.gaps)
    yield from (f"limited by: {limit}" for limit in found.limits)
    yield from found.counters
    if found.others:
        yield f"{found.others} packets of others were counted by the same rules meanwhile"
    if found.note:
        yield found.note
