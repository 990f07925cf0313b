"""Judging the drop log: a rule logs before each drop, and a dropped packet really left its line."""

from __future__ import annotations

from fwproof.errors import HostError
from fwproof.facts import Facts, LogFacts, Untried
from fwproof.plan import Check
from fwproof.policy.model import DropLog
from fwproof.results import Outcome, Verdict


def judge_drop_log(check: Check, facts: Facts) -> Outcome:
    """Judge one direction of one family; the dropped probe and its log line come from the exercise."""
    assert isinstance(check.expectation, DropLog)
    known = facts.exercised[check.id]
    if isinstance(known, HostError):
        raise known
    assert isinstance(known, LogFacts)
    prefix = check.expectation.prefix
    logs = tuple(str(act.rule) for act in known.rules)
    if known.untried and known.refused and logs:
        return _by_tables(known, logs, prefix)
    words = {
        "proved": f"before the drop, {'these rules log: ' + '; '.join(logs) if logs else 'no rule logs'}",
        "attributed": known.line.text if known.line else _no_line(known),
    }
    fix = ""
    if not known.refused:
        verdict, reason = Verdict.FAIL, f"the probe is not dropped at all, so nothing is logged: {known.decided}"
        fix = "Drop by default, and log before the drop."
    elif not logs:
        verdict, reason = Verdict.FAIL, f"dropped without a log line: no rule logs before {known.decided}"
        fix = "Log before the last drop: -m limit --limit 10/sec -j LOG --log-prefix 'fw drop: ' (NFLOG for ulogd)."
    elif known.line is None:
        verdict, reason = Verdict.FAIL, "a rule logs it, but the dropped probe left no line in the log"
        fix = f"See that a daemon writes {known.log_file}, and that the rule's own limit is not used up."
    elif prefix is not None and not known.line.prefix.startswith(prefix.strip()):
        verdict, reason = Verdict.FAIL, f"logged with the prefix “{known.line.prefix}”, expected “{prefix.strip()}”"
        fix = "Set the prefix that the policy names."
    else:
        verdict, reason = Verdict.PASS, "the dropped probe left its line in the log"
    return Outcome(
        verdict=verdict, reason=reason, fix=fix, proved=words["proved"], observed=known.observed,
        cause="" if verdict is Verdict.PASS else "dropped packets are not logged", attributed=words["attributed"],
        rule=logs[0] if logs else known.decided, evidence=tuple(line for line in (words["attributed"], *logs) if line),
    )  # fmt: skip


def _no_line(known: LogFacts) -> str:
    return "" if known.untried or not known.refused else f"no line for it among {known.lines_read} in {known.log_file}"


def _by_tables(known: LogFacts, logs: tuple[str, ...], prefix: str | None) -> Outcome:
    """Judge a drop that the tables log, and that nobody tried: whether that is enough is up to the reason."""
    assert known.untried is not None
    settled = {Untried.POLICY: Verdict.PASS, Untried.OFF: Verdict.NOT_APPLICABLE}
    verdict = settled.get(known.untried, Verdict.INCONCLUSIVE)
    reason = f"the tables log it before the drop; no packet was sent: {known.untried}"
    if not any(act.certain for act in known.rules):
        verdict, reason = Verdict.INCONCLUSIVE, f"the tables do not settle whether it is logged: {logs[0]}"
    named = [act.prefix or "" for act in known.rules]
    if prefix is not None and not any(name.startswith(prefix.strip()) for name in named):
        verdict, reason = Verdict.FAIL, f"logged with the prefix “{named[0]}”, expected “{prefix.strip()}”"
    return Outcome(
        verdict=verdict, reason=reason, proved=f"before the drop, these rules log: {'; '.join(logs)}",
        observed=known.observed, cause="dropped packets are not logged" if verdict is Verdict.FAIL else "",
        fix="Set the prefix that the policy names." if verdict is Verdict.FAIL else "", rule=logs[0], evidence=logs,
    )  # fmt: skip
