"""Judging the drop log: a rule logs before each drop, and a dropped packet really left its line."""

from __future__ import annotations

from fwproof.errors import HostError
from fwproof.facts import Facts, LogFacts, Untried
from fwproof.plan import Check
from fwproof.policy.table_model import DropLog
from fwproof.results import Outcome, Verdict
from fwproof.semantics.limits import LogAct

SCAN, SCAN_TIME, FEW = 1000, 10, 20
"""A scan as many make it, packets in seconds; a rule that logs fewer lines of it tells little of what happened."""
_CAUSES = {
    Verdict.FAIL: "dropped packets are not logged",
    Verdict.INCONCLUSIVE: "whether dropped packets are logged is not settled",
}


def judge_drop_log(check: Check, facts: Facts) -> Outcome:
    """Judge one direction of one family; the dropped probe and its log line come from the exercise."""
    assert isinstance(check.expectation, DropLog)
    known = facts.exercised[check.id]
    if isinstance(known, HostError):
        raise known
    assert isinstance(known, LogFacts)
    prefix = check.expectation.prefix
    if known.untried and known.refused and known.rules:
        return _by_tables(known, prefix)
    logs = tuple(str(act.rule) for act in known.rules)
    attributed = known.line.text if known.line else _no_line(known)
    verdict, reason, fix = _verdict(known, prefix)
    told = _little(known) if verdict in {Verdict.PASS, Verdict.INCONCLUSIVE} else ""
    return Outcome(
        verdict=verdict, reason=reason + told, fix=fix, proved=_proved(known), observed=known.observed,
        cause=_CAUSES.get(verdict, ""), attributed=attributed, rule=logs[0] if logs else known.decided,
        evidence=tuple(line for line in (attributed, *logs) if line),
    )  # fmt: skip


def _verdict(known: LogFacts, prefix: str | None) -> tuple[Verdict, str, str]:
    """Return verdict, reason and fix of a drop that was tried, or that the tables do not make or log at all."""
    if not known.refused:
        reason = f"the probe is not dropped at all, so nothing is logged: {known.decided}"
        return Verdict.FAIL, reason, "Drop by default, and log before the drop."
    if not known.rules:
        fix = "Log before the last drop: -m limit --limit 10/sec -j LOG --log-prefix 'fw drop: ' (NFLOG for ulogd)."
        return Verdict.FAIL, f"dropped without a log line: no rule logs before {known.decided}", fix
    if known.line is None:
        return _without_a_line(known)
    if prefix is not None and not known.line.prefix.startswith(prefix.strip()):
        reason = f"logged with the prefix “{known.line.prefix}”, expected “{prefix.strip()}”"
        return Verdict.FAIL, reason, "Set the prefix that the policy names."
    if not any(known.line.prefix.endswith(act.prefix.strip()) for act in known.rules):
        reason = f"logged with the prefix “{known.line.prefix}”, which is that of none of the rules that should log it"
        return Verdict.FAIL, reason, "See which rule logs it: the tables changed during the run, or a rule is misread."
    sent = f", the first of {known.sent} that the rule's limit let through" if known.sent > 1 else ""
    return Verdict.PASS, f"the dropped probe left its line in the log{sent}", ""


def _without_a_line(known: LogFacts) -> tuple[Verdict, str, str]:
    """Judge a packet without a line: only where a line must have come is that a failure."""
    limits = [act for act in known.rules if act.limit]
    logged, _ = known.counted
    fix = f"See that a daemon writes {known.log_file} and listens to the rule's group."
    if not known.met:
        return Verdict.INCONCLUSIVE, f"the probe never came to the host's tables: {known.observed}", ""
    if any(act.certain and not act.limit for act in known.rules):
        return Verdict.FAIL, "a rule logs it, but the dropped probe left no line in the log", fix
    if not any(act.certain for act in known.rules):
        return Verdict.INCONCLUSIVE, f"the tables do not settle whether it is logged: {known.rules[0].rule}", ""
    if not known.others and logged:
        return Verdict.FAIL, f"a rule counted {logged} packets that it logged, and none left a line in the log", fix
    refill = max(act.refill for act in limits)
    waited = 0 < refill <= known.seconds and known.sent > 1 and all(act.buckets for act in limits)
    if not known.others and waited:
        reason = f"none of {known.sent} dropped probes left a line in {known.seconds:.0f} s, in which the limit of the"
        return Verdict.FAIL, f"{reason} rule that logs ({limits[0].limit}) had to let one through", fix
    by = f"by {known.others} packets of others that left their lines" if known.others else "by earlier packets"
    return (
        Verdict.INCONCLUSIVE,
        f"the limit of the rule that logs ({limits[0].limit}) was used up {by}, so no probe had to leave a line",
        "Repeat it when less is dropped, or raise the limit.",
    )


def _proved(known: LogFacts) -> str:
    if not known.rules:
        return "before the drop, no rule logs"
    paced = [_pace(act) for act in known.rules]
    return f"before the drop, these rules log: {'; '.join(paced)}"


def _pace(act: LogAct) -> str:
    if not act.buckets:
        return str(act.rule)
    return f"{act.rule} (of {SCAN:,} packets dropped in {SCAN_TIME} s it logs {act.lines(SCAN, SCAN_TIME)})"


def _little(known: LogFacts) -> str:
    """Return that the log tells little of what is dropped, in numbers, where it does."""
    lines = max((act.lines(SCAN, SCAN_TIME) for act in known.rules), default=SCAN)
    if lines >= FEW:
        return ""
    return f"; little of a scan is logged: {lines} of {SCAN:,} packets in {SCAN_TIME} s ({known.rules[0].limit})"


def _no_line(known: LogFacts) -> str:
    if known.untried or not known.refused:
        return ""
    told = f"no line for it among {known.lines_read} in {known.log_file}"
    logged, dropped = known.counted
    if logged is None or not known.rules:
        return told
    return f"{told}; the rules that log counted {logged}, the one that drops {'?' if dropped is None else dropped}"


def _by_tables(known: LogFacts, prefix: str | None) -> Outcome:
    """Judge a drop that the tables log, and that nobody tried: whether that is enough is up to the reason."""
    assert known.untried is not None
    logs = tuple(str(act.rule) for act in known.rules)
    settled = {Untried.POLICY: Verdict.PASS, Untried.OFF: Verdict.NOT_APPLICABLE}
    verdict = settled.get(known.untried, Verdict.INCONCLUSIVE)
    reason = f"the tables log it before the drop; no packet was sent: {known.untried}"
    if not any(act.certain for act in known.rules):
        verdict, reason = Verdict.INCONCLUSIVE, f"the tables do not settle whether it is logged: {logs[0]}"
    named = [act.prefix or "" for act in known.rules]
    if prefix is not None and not any(name.startswith(prefix.strip()) for name in named):
        verdict, reason = Verdict.FAIL, f"logged with the prefix “{named[0]}”, expected “{prefix.strip()}”"
    return Outcome(
        verdict=verdict, reason=reason + _little(known), proved=_proved(known),
        observed=known.observed, cause=_CAUSES.get(verdict, ""),
        fix="Set the prefix that the policy names." if verdict is Verdict.FAIL else "", rule=logs[0], evidence=logs,
    )  # fmt: skip
