"""Judging fail2ban: what the jail is told to watch, whether it watches, and one ban from provocation to unban."""

from __future__ import annotations

import re

from fwproof.errors import HostError, NotThere
from fwproof.evidence.fail2ban import JailConfig, JailStatus, complaints, parse_dump, parse_jails, parse_status
from fwproof.facts import Facts
from fwproof.plan import Check
from fwproof.policy.model import Bans
from fwproof.results import Outcome, Verdict
from fwproof.snapshot import Snapshot

BLIND = "fail2ban's jail watches nothing"
"""The cause that the jail and its exercise share."""


def judge_bans(check: Check, facts: Facts) -> Outcome:
    """Judge a jail's configuration and state against the numbers of the policy."""
    assert isinstance(check.expectation, Bans)
    want, snapshot = check.expectation, facts.snapshot(check.host)
    absent = _absent(snapshot)
    if absent:
        return Outcome(
            verdict=Verdict.FAIL, reason=f"{absent}, so nobody is ever banned", cause=absent, observed=absent,
            fix=f"apt-get install fail2ban, enable [{want.jail}] in /etc/fail2ban/jail.d/, and start it.",
        )  # fmt: skip
    listed = snapshot.text("fail2ban-status").strip()
    if want.jail not in parse_jails(listed):
        return Outcome(
            verdict=Verdict.FAIL, reason=f"fail2ban runs without a jail named {want.jail}", observed=listed,
            cause="the jail does not run", fix=f"Enable [{want.jail}] in /etc/fail2ban/jail.d/.",
        )  # fmt: skip
    status = parse_status(want.jail, snapshot.text(f"fail2ban-status-{want.jail}"))
    config = parse_dump(snapshot.text("fail2ban-dump")).get(want.jail)
    if status is None or config is None:
        raise HostError(check.host, f"what fail2ban says of {want.jail} cannot be read", "see the raw evidence")
    problems = [*_jail_problems(config, status), *_number_problems(want, config)]
    log = complaints(_log(snapshot), want.jail)
    regexes = [f"failregex {n}: {regex}" for n, regex in enumerate(config.failregexes, 1)]
    files = " ".join(status.files) or "none"
    return Outcome(
        verdict=Verdict.FAIL if problems else Verdict.PASS,
        reason="; ".join(problems) or "the jail watches its log, and its numbers are those of the policy",
        cause=_cause(problems, status), fix=_fix(config) if problems else "",
        proved=f"{len(regexes)} failregexes, {len(config.without_host)} of them without a host group",
        observed=f"files watched: {files}; failed now: {status.failed}; banned: {len(status.banned)}",
        attributed="; ".join([line for line in log if " ERROR " in line] or log),
        rule="; ".join(f"failregex {n}: {regex}" for n, regex in config.without_host),
        evidence=(*regexes, *log),
    )  # fmt: skip


def _absent(snapshot: Snapshot) -> str:
    """Return that there is no fail2ban at work, in words; empty where it answers or could not be asked."""
    fault = snapshot.faults.get("fail2ban-status")
    if isinstance(fault, NotThere):
        return "fail2ban is not installed"
    # fail2ban-client says so when the server's socket is missing (client/fail2bancmdline.py, since 0.10)
    if fault is not None and re.search(r"\bIs (?:it|fail2ban) running\?", fault.message):
        return "fail2ban is not running"
    return ""


def _fix(config: JailConfig) -> str:
    if config.without_host:
        return "Give every failregex a <HOST>, then restart fail2ban and see that the jail's file list is not empty."
    return "Set the jail's numbers and log path as the policy says."


def _jail_problems(config: JailConfig, status: JailStatus) -> list[str]:
    problems = [f"failregex {n} has no <HOST>, so fail2ban refuses it: {regex}" for n, regex in config.without_host]
    if not status.watches_something:
        meant = " ".join(config.log_paths) or "any log"
        problems.append(
            f"the jail is reported as up, but its file list is empty: it watches nothing, {meant} least of all"
        )
    return problems


def _number_problems(want: Bans, config: JailConfig) -> list[str]:
    numbers = (("maxretry", want.maxretry, config.maxretry), ("findtime", want.findtime, config.findtime),
               ("bantime", want.bantime, config.bantime))  # fmt: skip
    return [f"{name} is {got}, expected {expected}" for name, expected, got in numbers if got != expected]


def _cause(problems: list[str], status: JailStatus) -> str:
    if not problems:
        return ""
    return BLIND if not status.watches_something else "fail2ban's jail is not as expected"


def _log(snapshot: Snapshot) -> str:
    """Return fail2ban's own log; without it the judge still has the status, only its reasons are missing."""
    try:
        return snapshot.text("fail2ban-log")
    except HostError:
        return ""
