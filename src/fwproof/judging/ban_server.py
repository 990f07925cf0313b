"""Judging a host's fail2ban as a whole: every jail in use works, bans outlive a restart, and it starts at boot."""

from __future__ import annotations

from collections.abc import Iterator

from fwproof.errors import HostError
from fwproof.evidence.ban_state import banned_now
from fwproof.evidence.fail2ban import parse_jails, parse_status, watched
from fwproof.evidence.fail2ban_config import Configured, JailConfig
from fwproof.facts import Facts, JailFacts
from fwproof.flow import Family
from fwproof.judging.ban_action import lasting_differences, nobody_kept_out
from fwproof.judging.ban_filter import Findings, findings
from fwproof.judging.jails import absent, boot_links, configured, instead, jail_facts, why_not
from fwproof.plan import Check
from fwproof.results import Outcome, Verdict
from fwproof.snapshot import Snapshot

_FIX = "Mend or disable each jail that is named; `fail2ban-client status JAIL` shows what it watches after a restart."


def judge_ban_server(check: Check, facts: Facts) -> Outcome:
    """Judge all jails that are in use, those that no policy names among them; raises HostError."""
    gone = absent(check, facts)
    if gone is not None:
        return gone
    snapshot, seen = facts.snapshot(check.host), jail_facts(check, facts)
    running, known = parse_jails(snapshot.text("fail2ban-status")), configured(snapshot)
    host = facts.inventory.hosts[check.host]
    families = [family for family in Family if host.address(family) is not None]
    named = {bans.jail for bans in check.policy.bans}
    told = Findings()
    problems = [*_running(known, running), *_kept(known, snapshot)]
    why = why_not(snapshot)
    problems += [f"fail2ban would not start again with its present configuration: {why}"] if why else []
    for name in running:
        if name in known.jails and name not in named:
            of_jail = _jail(known.jails[name], families, snapshot, seen, told)
            problems += [words if words.startswith(f"{name}: ") else f"{name}: {words}" for words in of_jail]
    told.notes += [f"{who} bans here as well ({', '.join(signs)})" for who, signs in instead(facts, check.host).items()]
    database = known.database or "the default"
    return Outcome(
        verdict=Verdict.FAIL if problems else Verdict.INCONCLUSIVE if told.unclear else Verdict.PASS,
        reason="; ".join(problems or told.unclear) or f"{len(running)} jails run, bans are kept, and it starts at boot",
        cause="fail2ban as a whole is not as expected" if problems else "", fix=_FIX if problems else "",
        proved=f"enabled: {', '.join(known.jails) or 'no jail'}; bans are kept in {database}",
        observed=f"running: {', '.join(running) or 'no jail'}", attributed="; ".join([*told.unclear, *told.notes]),
        evidence=tuple(f"{name}: {_does(jail)}" for name, jail in known.jails.items()),
    )  # fmt: skip


def _does(jail: JailConfig) -> str:
    actions = ", ".join(action.name for action in jail.actions) or "no action"
    logs = " ".join([*jail.log_paths, *jail.journal]) or "no log"
    return f"{jail.backend}, {logs}; {len(jail.failregexes)} failregexes; {actions}"


def _running(known: Configured, running: tuple[str, ...]) -> Iterator[str]:
    if not running:
        yield "fail2ban runs without any jail"
    idle = [name for name in known.jails if name not in running]
    if idle:
        yield f"enabled in the configuration and not running: {', '.join(idle)}"
    extra = [name for name in running if name not in known.jails]
    if extra:
        yield f"running and not enabled in the configuration, so that a restart ends it: {', '.join(extra)}"


def _kept(known: Configured, snapshot: Snapshot) -> Iterator[str]:
    """Yield why bans would not outlive a restart of the server or of the host."""
    if known.forgets:
        yield f"bans are kept nowhere (dbfile = {known.database}), so that a restart lifts them all"
    longest = max((jail.bantime or 0 for jail in known.jails.values()), default=0)
    forever = [jail.name for jail in known.jails.values() if jail.bantime == -1]
    if known.purge_age is not None and not known.forgets and longest > known.purge_age:
        names = ", ".join(jail.name for jail in known.jails.values() if (jail.bantime or 0) > known.purge_age)
        yield f"bans of {names} last {longest} s, and the database forgets after {known.purge_age} s (dbpurgeage)"
    if forever and known.forgets:
        yield f"{', '.join(forever)} bans for good"
    if not boot_links(snapshot):
        yield "nothing starts fail2ban at boot: systemctl enable fail2ban"


def _jail(
    jail: JailConfig, families: list[Family], snapshot: Snapshot, seen: JailFacts, told: Findings
) -> Iterator[str]:
    """Yield what is wrong with a jail that no policy names; what else there is to say goes to ``told``."""
    yield from _watches(jail, snapshot, told)
    yield from nobody_kept_out(jail, families)
    if jail.name in banned_now(snapshot, [jail.name]):
        yield from map(str, lasting_differences(jail, snapshot, seen))
    else:
        told.unclear.append(f"{jail.name}: whom it bans could not be asked")
    trials = seen.trials
    if isinstance(trials, HostError):
        told.unclear.append(f"{jail.name}: its filter was not tried: {trials.message}")
    elif trials.error or jail.name not in trials.jails:
        told.unclear.append(f"{jail.name}: its filter was not tried: {trials.error or 'no answer for it'}")
    else:
        trial = trials.jails[jail.name]
        found = findings(jail, trial)
        said = told.unclear if any(log.error for log in trial.logs) else told.notes  # an empty log was looked at
        said += [f"{jail.name}: {words}" for words in found.unclear]
        yield from found.problems


def _watches(jail: JailConfig, snapshot: Snapshot, told: Findings) -> Iterator[str]:
    """Yield that a jail watches nothing, by its status where that may be asked, else by fail2ban's own log."""
    capture = snapshot.captures.get(f"fail2ban-status-{jail.name}")
    status = parse_status(jail.name, capture.stdout) if capture is not None else None
    log = snapshot.captures.get("fail2ban-log")
    logged = watched(log.stdout) if log is not None and "fail2ban-log" not in snapshot.faults else None
    if status is not None:
        files: tuple[str, ...] | None = (*status.files, *filter(None, [status.journal]))
    else:
        files = logged.get(jail.name) if logged is not None else None
    if files is None:
        told.unclear.append(f"{jail.name}: what it watches was not told; `--jail {jail.name}` lets the auditor ask")
    elif not files:
        yield f"it watches nothing, though it is to watch {' '.join(jail.log_paths) or 'the journal'}"
