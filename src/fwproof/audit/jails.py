"""Looking at fail2ban's jails: their filters on real lines, by the host's own fail2ban, and a second look at bans.

Nothing is changed on the host, and nothing there is run as root that its account need not run as root: at the tiers
``read`` and ``observe`` the filters are tried as the auditor's account, which may have to be allowed to read the logs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fwproof.hosts
from fwproof.errors import CommandRefused, Garbled, HostError
from fwproof.evidence.ban_lines import Trials, parse_trials
from fwproof.evidence.ban_places import TABLES
from fwproof.evidence.ban_state import all_differences
from fwproof.evidence.fail2ban import parse_jails
from fwproof.evidence.fail2ban_config import Configured, JailConfig, parse_config
from fwproof.facts import JailFacts
from fwproof.hosts.access import SUDO
from fwproof.hosts.collect import on_all, recapture
from fwproof.inventory import Access, Host
from fwproof.plan import Check, Kind
from fwproof.policy.model import Bans
from fwproof.snapshot import Snapshot

if TYPE_CHECKING:
    from fwproof.audit.field import Field

KINDS = frozenset({Kind.BAN_FILTER, Kind.BAN_ACTION, Kind.BAN_SERVER})
"""The checks that need this look."""
_LINES = 1000
"""The newest lines of a log that a filter is tried on."""
_EACH = 3.0
"""Seconds that one filter may take for all its lines: a thousand take a fifth of one."""
_MOST = 120.0


def trial_argv(host: Host) -> tuple[str, ...]:
    """Return the command that tries filters on a host; what is to be tried is its input."""
    script = Path(fwproof.hosts.__file__).with_name("failregex.py").read_text(encoding="utf-8")
    sudo = SUDO if host.access is Access.ROOT and host.ssh.user != "root" else ()
    return (*sudo, "/usr/bin/python3", "-I", "-c", script)


def look_at_jails(
    field: Field, checks: Sequence[Check], progress: Callable[[str], None]
) -> Mapping[str, JailFacts | HostError]:
    """Return what is found of each check's host, by check id; nothing of hosts where no fail2ban answers."""
    mine = [check for check in checks if check.kind in KINDS]
    hosts = dict.fromkeys(check.host for check in mine if _configured(field, check.host) is not None)
    if hosts:
        progress(f"trying fail2ban's filters on real lines: {len(hosts)} hosts")
    wanted = {host: _samples(checks, host) for host in hosts}
    found = on_all(lambda host: _look(field, host, wanted[host]), hosts)
    return {check.id: found[check.host] for check in mine if check.host in found}


def with_jails(field: Field, host: str, read: Snapshot) -> Snapshot:
    """Return a snapshot with the status of every jail that runs, as far as the account may ask."""
    listed = read.captures.get("fail2ban-status")
    jails = parse_jails(listed.stdout) if listed is not None else ()
    if not jails:
        return read
    more = recapture(field.transports[host], [f"fail2ban-status-{jail}" for jail in jails], jails)
    return replace(read, captures={**read.captures, **more.captures}, faults={**read.faults, **more.faults})


def look_once(field: Field, host: str) -> JailFacts | HostError:
    """Return what is found of one host without any policy, or the error that stood in the way."""
    if _configured(field, host) is None:
        return HostError(host, "fail2ban's configuration was not read")
    try:
        return _look(field, host, {})
    except HostError as error:
        return error


def _configured(field: Field, host: str) -> Configured | None:
    snapshot = field.snapshots.get(host)
    if not isinstance(snapshot, Snapshot) or "fail2ban-dump" in snapshot.faults or host not in field.transports:
        return None
    return parse_config(snapshot.text("fail2ban-dump"))


def _samples(checks: Sequence[Check], host: str) -> dict[str, dict[str, None]]:
    """Return the sample lines of all policies about a host, by jail."""
    found: dict[str, dict[str, None]] = {}
    for check in checks:
        if check.host == host and isinstance(check.expectation, Bans):
            lines = (*check.expectation.banned, *check.expectation.passed)
            found.setdefault(check.expectation.jail, {}).update(dict.fromkeys(lines))
    return found


def _look(field: Field, host: str, samples: Mapping[str, Mapping[str, None]]) -> JailFacts:
    configured = _configured(field, host)
    assert configured is not None
    try:
        trials: Trials | HostError = _tried(field, host, configured, samples)
    except HostError as error:
        trials = error
    snapshot = field.snapshots[host]
    assert isinstance(snapshot, Snapshot)
    again = None
    if all_differences(configured.jails, snapshot):
        jails = [jail for jail in samples if f"fail2ban-status-{jail}" in snapshot.captures]
        # the other way round than at first: a ban that is made or ends meanwhile is then no difference in both
        names = ["fail2ban-banned", *(f"fail2ban-status-{jail}" for jail in jails), *TABLES, "ip-route", "ip6-route"]
        again = recapture(field.transports[host], names, jails)
    return JailFacts(trials=trials, again=again)


def _tried(field: Field, host: str, configured: Configured, samples: Mapping[str, Mapping[str, None]]) -> Trials:
    transport = field.transports[host]
    request = {
        "lines": _LINES, "seconds": _EACH,
        "jails": {name: _asked(jail, [*samples.get(name, ())]) for name, jail in configured.jails.items()},
    }  # fmt: skip
    capture = transport.run(
        trial_argv(transport.host), name="fail2ban-filters", stdin=json.dumps(request).encode(), timeout=_MOST
    )
    if capture.status != 0:
        said = (capture.stderr.strip().splitlines() or ["no message"])[-1][:300]
        raise CommandRefused(host, f"fail2ban's filters could not be tried: {said}")
    trials = parse_trials(capture.stdout)
    if trials is None:
        raise Garbled(host, f"the trial of fail2ban's filters printed {capture.stdout[:80]!r}")
    return trials


def _asked(jail: JailConfig, samples: list[str]) -> dict[str, Any]:
    by_journal = jail.backend.startswith("systemd")
    return {
        "failregex": jail.failregexes, "ignoreregex": jail.ignoreregexes, "prefregex": jail.prefregex,
        "maxlines": jail.maxlines, "datepattern": jail.datepattern, "usedns": jail.usedns, "encoding": jail.encoding,
        "logs": jail.log_paths, "journal": list(jail.journal) if by_journal else None, "samples": samples,
    }  # fmt: skip
