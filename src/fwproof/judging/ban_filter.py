"""Judging a jail's filter: its log is there and is written, failures in it are taken, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fwproof.errors import HostError
from fwproof.evidence.ban_lines import Line, LogFile, Trial
from fwproof.evidence.fail2ban_config import JailConfig
from fwproof.facts import Facts
from fwproof.judging.bans import BLIND
from fwproof.judging.jails import absent, jail_facts, jail_of
from fwproof.plan import Check
from fwproof.policy.model import Bans
from fwproof.results import Outcome, Verdict

_DAY = 86400
_STILL = 7 * _DAY
"""Seconds after which a log that nobody writes to is called so: logs are rotated weekly, as Debian does it."""
_SHOWN = 160
_READ = "let the auditor's account read it (on Debian: usermod -aG adm), or give 'samples'"
_FIX = "Correct the jail's failregex, filter or logpath; `fail2ban-regex LOG FILTER` shows each line on the host."


@dataclass
class Findings:
    """What a trial shows: what is wrong, what could not be told, and what is only said."""

    problems: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def judge_ban_filter(check: Check, facts: Facts) -> Outcome:
    """Judge the filter of one jail by the lines of its own log and by the samples of the policy; raises HostError."""
    assert isinstance(check.expectation, Bans)
    gone = absent(check, facts)
    if gone is not None:
        return gone
    config = jail_of(check, facts.snapshot(check.host))
    if isinstance(config, Outcome):
        return config
    trials = jail_facts(check, facts).trials
    if isinstance(trials, HostError):
        raise trials
    trial = trials.jails.get(config.name)
    if trials.error or trial is None:
        why = trials.error or "the host answered for other jails only"
        raise HostError(check.host, f"fail2ban's filters could not be tried: {why}", "is fail2ban one of python3's?")
    found = findings(config, trial)
    _samples(check.expectation, trial, found)
    taken = [line for line in (*trial.samples, *trial.lines) if line.regex is not None]
    if not taken and not found.problems:
        found.unclear.append("no line of its log tells of a failed attempt, and the policy gives no sample of one")
    verdict, reason = Verdict.PASS, "its filter takes failed attempts, and nothing else that was tried"
    if found.problems:
        verdict, reason = Verdict.FAIL, "; ".join(found.problems)
    elif found.unclear and not any(line.text in check.expectation.banned for line in taken):
        verdict, reason = Verdict.INCONCLUSIVE, "; ".join(found.unclear)
    else:
        found.notes += found.unclear
    failed = verdict is not Verdict.PASS
    return Outcome(
        verdict=verdict, reason="; ".join([reason, *found.notes]), fix=_FIX if failed else "",
        cause=_cause(verdict, config), observed=_counts(trial),
        attributed=f"tried by the host's own fail2ban {trials.version}",
        rule="; ".join(f"failregex {n}: {config.failregexes[n - 1]}" for n in _numbers(trial, config)[:3]),
        evidence=tuple(f"failregex {line.regex} takes: {line.text[:_SHOWN]}" for line in taken[:6]),
    )  # fmt: skip


def _cause(verdict: Verdict, config: JailConfig) -> str:
    if verdict is not Verdict.FAIL:
        return ""
    return BLIND if config.without_host else "fail2ban's filter is not as expected"


def findings(config: JailConfig, trial: Trial) -> Findings:
    """Return what the lines of a jail's own logs show."""
    found = Findings()
    if trial.error:
        found.problems.append(f"fail2ban refuses the filter: {trial.error}")
    if trial.slow is not None:
        numbers = ", ".join(map(str, trial.slow.regexes)) or "of them all"
        found.problems.append(
            f"failregex {numbers} does not get past one line of {trial.slow.length} characters in its time, and whoever"
            f" can write such a line stalls fail2ban: {trial.slow.text[:_SHOWN]}"
        )
    if not config.log_paths and not config.backend.startswith("systemd"):
        found.problems.append("none of the logs that it is to watch is there")
    for log in trial.logs:
        _log(log, found)
    found.problems += _lines(trial.lines)
    return found


def _log(log: LogFile, found: Findings) -> None:
    """Note whether a log is there, is written, and could be read."""
    if log.exists is False and log.path.startswith("journal:"):
        match = log.path.removeprefix("journal:").strip() or "none"
        found.problems.append(f"its journal match takes no entry: {match}")
    elif log.exists is False:
        found.problems.append(f"its log {log.path} does not exist")
    elif log.error:
        found.unclear.append(f"the lines of {log.path} were not tried: {log.error}; {_READ}")
    elif log.age is not None and log.age > _STILL:
        found.problems.append(f"nobody has written to {log.path} for {log.age / _DAY:.0f} days")
    elif log.size == 0 and log.age is not None and log.age > _DAY:
        found.problems.append(f"{log.path} is empty and nobody has written to it for {log.age / _DAY:.0f} days")
    elif log.size == 0:
        found.unclear.append(f"{log.path} is empty")


def _lines(lines: Sequence[Line]) -> Iterator[str]:
    """Yield what is wrong with the lines that are taken and those that are not, as far as words can tell."""
    failures = [line for line in lines if line.failure]
    if failures and all(line.regex is None for line in lines):
        yield (
            f"it takes none of {len(failures)} lines that read like failed attempts, such as:"
            f" {failures[-1].text[:_SHOWN]}"
        )
    wrong = [line for line in lines if line.success and line.regex is not None]
    if wrong:
        yield (
            f"failregex {wrong[-1].regex} takes {len(wrong)} lines that read like successes, such as:"
            f" {wrong[-1].text[:_SHOWN]}"
        )


def _samples(want: Bans, trial: Trial, found: Findings) -> None:
    by_text = {line.text: line for line in trial.samples}
    untried = 0
    for text in (*want.banned, *want.passed):
        line = by_text.get(text)
        if line is None:
            untried += 1
        elif text in want.banned and line.regex is None:
            found.problems.append(f"no failregex takes the sample of a failed attempt: {text[:_SHOWN]}")
        elif text in want.passed and line.regex is not None:
            found.problems.append(f"failregex {line.regex} takes a sample that must not count: {text[:_SHOWN]}")
    if untried:
        found.unclear.append(f"{untried} samples were not tried")


def _counts(trial: Trial) -> str:
    lines = trial.lines
    taken = sum(line.regex is not None for line in lines)
    guess = sum(line.failure for line in lines)
    samples = f"; {len(trial.samples)} samples tried" if trial.samples else ""
    logs = ", ".join(log.path for log in trial.logs) or "no log"
    return f"{len(lines)} lines of {logs}: {taken} taken, {guess} read like failed attempts{samples}"


def _numbers(trial: Trial, config: JailConfig) -> list[int]:
    """Return the numbers of the failregexes that the words are about: those that are slow, or that took something."""
    slow = trial.slow.regexes if trial.slow is not None else ()
    used = [line.regex for line in (*trial.samples, *trial.lines) if line.regex is not None]
    return [n for n in dict.fromkeys([*slow, *used]) if 0 < n <= len(config.failregexes)]
