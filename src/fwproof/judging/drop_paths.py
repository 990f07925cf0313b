"""Judging the ways to be dropped: each is logged first, under the expected prefix, and no log can be flooded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fwproof.decision import RuleRef
from fwproof.facts import Facts
from fwproof.flow import Family, Hook
from fwproof.judging.droplog import FEW, SCAN, SCAN_TIME
from fwproof.plan import Check
from fwproof.policy.table_model import DropLog, DropPaths
from fwproof.results import Outcome, Verdict
from fwproof.semantics.bdd_walk import unread
from fwproof.semantics.silent import Silence, silences
from fwproof.semantics.space import SpaceTooLarge

_HOOKS = {"inbound": Hook.INPUT, "outbound": Hook.OUTPUT, None: Hook.FORWARD}
_SHOWN = 4
_FIXES = {
    "silent": "Log before this drop: -m limit --limit 10/sec -j LOG --log-prefix 'fw drop: ' (NFLOG for ulogd), best in"
    " a chain of its own that logs and drops, to which every rule that drops jumps",
    "unlimited": "give the rule that logs a limit: -m limit --limit 10/sec --limit-burst 20",
    "prefix": "set the prefix that the policy names",
    "unreachable": "put the rule that logs before the one that drops",
}
_CAUSES = {
    "silent": "dropped packets are not logged", "unlimited": "the log of drops can be flooded",
    "prefix": "dropped packets are logged under another prefix", "unreachable": "a rule that logs is never reached",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Finding:
    """One thing wrong with the log: its kind, the rule that it belongs to, both in words, and more for the evidence."""

    kind: str
    rule: RuleRef | None
    text: str
    more: tuple[str, ...] = ()


def judge_drop_paths(check: Check, facts: Facts) -> Outcome:
    """Judge one direction of one family over the whole packet space."""
    assert isinstance(check.expectation, DropLog)
    assert check.expectation.paths is not None
    assert check.family is not None
    model, hook, asked = facts.model(check.host), _HOOKS[check.direction], check.expectation.paths
    if hook is Hook.FORWARD and model.forwards(check.family) is False:
        return Outcome(verdict=Verdict.NOT_APPLICABLE, reason="the host forwards nothing, so it drops nothing there")
    gaps = list(dict.fromkeys((*model.blind.get(check.family, ()), *unread(model, check.family))))
    try:
        found = silences(model, hook, check.family, prefix=check.expectation.prefix, leave_out=asked.leave_out)
    except SpaceTooLarge as limit:
        return Outcome(verdict=Verdict.INCONCLUSIVE, reason=str(limit), cause="the tables are too large for this proof")
    gaps += [line for each in found.drops.openings if each.certainty == "unknown" for line in each.lines()]
    findings = list(_findings(found, check.expectation.prefix))
    stay = {id(each): why for each in findings if (why := _accepted(each, asked))}
    bad = [each for each in findings if each.kind in asked.fail and id(each) not in stay]
    told = [f"accepted ({stay[id(each)]}): {each.text}" for each in findings if id(each) in stay]
    told += [f"only told: {each.text}" for each in findings if each.kind not in asked.fail and id(each) not in stay]
    return _outcome(check, found, bad, gaps, (*told, *_notes(found, asked)))


def _findings(found: Silence, prefix: str | None) -> Iterator[_Finding]:
    for each in found.drops.openings:
        if each.certainty != "unknown":
            states = ", ".join(state.value for state in each.states)
            first, *rest = each.lines()
            more = f"; and {len(rest)} more kinds of packets" if rest else ""
            text = f"dropped without a line ({states}): {first}{more}"
            yield _Finding("silent", each.by, text, tuple(f"also without a line: {line}" for line in rest))
    if found.drops.unlisted:
        yield _Finding("silent", None, f"and {found.drops.unlisted} more rules drop without a line")
    for logger in found.loggers:
        rule = logger.act.rule
        if logger.flooded is not None:
            yield _Finding("unlimited", rule, f"nothing limits what {rule} logs; for example {logger.flooded}")
        if logger.misnamed is not None:
            words = f"logged with the prefix “{logger.act.prefix}”, expected “{prefix}”, by {rule}"
            yield _Finding("prefix", rule, f"{words}; for example {logger.misnamed}")
    for gone in found.dead:
        yield _Finding("unreachable", gone.rule, f"no packet comes to {gone.rule}: {gone.why}")


def _accepted(found: _Finding, asked: DropPaths) -> str:
    """Return why a finding stays, empty where nobody says so."""
    text = "" if found.rule is None else " ".join(found.rule.text.split())
    return next((one.reason for one in asked.accepted
                 if " ".join(one.rule.split()) == text and one.finding in {"", found.kind}), "")  # fmt: skip


def _notes(found: Silence, asked: DropPaths) -> Iterator[str]:
    """Yield what a reader has to know beside the findings."""
    if asked.leave_out:
        yield f"left out, as the policy says: {', '.join(asked.leave_out)}"
    if found.bans:
        yield f"{found.bans} rules of fail2ban's own were left out: its own log tells of bans"
    for logger in found.loggers:
        lines = logger.act.lines(SCAN, SCAN_TIME)
        if lines < FEW:
            rule = logger.act.rule
            few = f"{lines} of {SCAN:,} packets in {SCAN_TIME} s"
            yield f"little of a scan is logged: {few} ({logger.act.limit}, {rule})"


def _outcome(
    check: Check, found: Silence, bad: Sequence[_Finding], gaps: Sequence[str], told: Sequence[str]
) -> Outcome:
    assert check.family is not None
    hook = _HOOKS[check.direction].value
    proved = _proved(found, hook, check.family)
    texts = [each.text for each in bad]
    if bad:
        kinds = list(dict.fromkeys(each.kind for each in bad))
        more = [f"and {len(texts) - _SHOWN} more, which the evidence lists"] if len(texts) > _SHOWN else []
        refs = tuple(dict.fromkeys(each.rule for each in bad if each.rule is not None))
        return Outcome(
            verdict=Verdict.FAIL, reason="; ".join([*texts[:_SHOWN], *more]), proved=proved, cause=_CAUSES[kinds[0]],
            fix="; ".join(_FIXES[kind] for kind in kinds) + ".", rule=str(refs[0]) if refs else "", by=refs,
            evidence=(*texts, *(line for each in bad for line in each.more), *told, *gaps),
        )  # fmt: skip
    if gaps:
        return Outcome(
            verdict=Verdict.INCONCLUSIVE, reason=f"not everything could be looked at: {gaps[0]}", proved=proved,
            cause="whether dropped packets are logged is not settled", evidence=(*gaps, *told),
        )  # fmt: skip
    if not found.refused:
        reason = f"no packet is dropped at {hook}, so there is nothing to log"
        return Outcome(verdict=Verdict.NOT_APPLICABLE, reason="; ".join([reason, *told]), proved=proved)
    limits = dict.fromkeys(f"{each.act.rule}" for each in found.loggers)
    good = "nothing that fails was found" if told else f"whatever is dropped at {hook} is logged first, and limited"
    return Outcome(
        verdict=Verdict.PASS, reason="; ".join([good, *told]),
        proved=proved, rule=next(iter(limits), ""), evidence=(*limits, *told),
    )  # fmt: skip


def _proved(found: Silence, hook: str, family: Family) -> str:
    name = family.display
    silent = [each for each in found.drops.openings if each.certainty != "unknown"]
    told = f"{len(silent) + found.drops.unlisted} rules drop some without a line" if silent else "none without a line"
    limited = [each for each in found.loggers if each.flooded is None]
    return (
        f"over the whole packet space and all states of conntrack, of what {hook} refuses in {name}: {told};"
        f" {len(found.loggers)} rules log, {len(limited)} of them under a limit"
    )
