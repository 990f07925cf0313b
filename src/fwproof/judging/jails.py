"""What the judges of bans have in common: whether fail2ban is at work, who bans instead, and a jail's configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from fwproof.errors import CommandRefused, HostError, NotThere
from fwproof.evidence.fail2ban_config import Configured, JailConfig, parse_config
from fwproof.facts import Facts, JailFacts
from fwproof.frontends.recognise import Manager
from fwproof.plan import Check
from fwproof.policy.model import Bans
from fwproof.policy.nearest import nearest
from fwproof.results import Outcome, Verdict
from fwproof.snapshot import Snapshot

_PROCESSES = {
    "sshguard": Manager.SSHGUARD, "sshg-parser": Manager.SSHGUARD, "sshg-blocker": Manager.SSHGUARD,
    "crowdsec": Manager.CROWDSEC, "crowdsec-firewa": Manager.CROWDSEC, "cs-firewall-bou": Manager.CROWDSEC,
}  # fmt: skip
"""Names of processes as the kernel has them, cut after 15 characters (proc_pid_comm(5))."""
_ASKS = {
    Manager.SSHGUARD: "its tables, by `nft list table ip sshguard` or `iptables -S sshguard`",
    Manager.CROWDSEC: "`cscli decisions list`",
}


def jail_facts(check: Check, facts: Facts) -> JailFacts:
    """Return what was seen of a host's jails; raises the HostError that stood in the way."""
    seen = facts.exercised.get(check.id)
    if isinstance(seen, HostError):
        raise seen
    if not isinstance(seen, JailFacts):
        raise HostError(check.host, "fail2ban's jails were not looked at")
    return seen


def absent(check: Check, facts: Facts) -> Outcome | None:
    """Return the outcome of any check of bans on a host where no fail2ban is at work; None where it answers.

    Raises HostError where that could not be asked.
    """
    assert isinstance(check.expectation, Bans)
    snapshot = facts.snapshot(check.host)
    words = _absent(snapshot)
    if not words:
        return None
    jail, others = check.expectation.jail, instead(facts, check.host)
    fix = f"apt-get install fail2ban, enable [{jail}] in /etc/fail2ban/jail.d/, and start it."
    if not others:
        why = why_not(snapshot)
        reason = f"{words}, so nobody is ever banned{f': {why}' if why else ''}"
        return Outcome(verdict=Verdict.FAIL, reason=reason, cause=words, observed=why or words, fix=fix)
    who = " and ".join(others)
    reason = (
        f"{words}; {who} bans on this host, which knows no jail {jail}, and whose bans are recognised and not judged"
    )
    asks = " and ".join(_ASKS[name] for name in others)
    return Outcome(
        verdict=Verdict.FAIL, reason=reason, cause=f"{who} bans in place of fail2ban",
        observed="; ".join(f"{name}: {', '.join(signs)}" for name, signs in others.items()),
        fix=f"Leave 'bans' out of this host's policy and ask {who} for {asks}; or use fail2ban: {fix}",
        evidence=tuple(sign for signs in others.values() for sign in signs),
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


def why_not(snapshot: Snapshot) -> str:
    """Return what keeps fail2ban from starting with its present configuration, empty where it says nothing.

    A jail without a log is only warned of by ``-d``, and keeps the server from starting (``client/jailreader.py``).
    """
    dump = snapshot.captures.get("fail2ban-dump")
    lines = dump.stderr.splitlines() if dump is not None else []
    said = [line for line in lines if " ERROR " in line or "Have not found any log file for " in line]
    return re.split(r" (?:ERROR|WARNING) ", said[-1], maxsplit=1)[-1].strip() if said else ""


def instead(facts: Facts, host: str) -> Mapping[Manager, tuple[str, ...]]:
    """Return who else bans on a host, and by what each was recognised: its chains and tables, processes, boot links."""
    snapshot, found = facts.snapshot(host), dict[Manager, list[str]]()
    front = facts.front_ends.get(host)
    for each in front.managers if front is not None else ():
        if each.manager in _ASKS:
            found.setdefault(each.manager, []).extend(each.places[:4])
    for name in _lines(snapshot, "processes"):
        if name in _PROCESSES:
            found.setdefault(_PROCESSES[name], []).append(f"process {name}")
    for link in _lines(snapshot, "ban-links"):
        unit = link.rsplit("/", 1)[-1].removesuffix(".service")
        for manager in _ASKS:
            if unit.startswith(manager.value.lower()):
                found.setdefault(manager, []).append(f"started at boot by {link}")
    return {manager: tuple(dict.fromkeys(signs)) for manager, signs in found.items()}


def _lines(snapshot: Snapshot, name: str) -> Iterator[str]:
    capture = snapshot.captures.get(name)
    yield from (line.strip() for line in (capture.stdout.splitlines() if capture is not None else ()))


def boot_links(snapshot: Snapshot) -> tuple[str, ...]:
    """Return the links that start fail2ban at boot; raises HostError where they were not read."""
    links = [line.strip() for line in snapshot.text("ban-links").splitlines()]
    return tuple(link for link in links if re.search(r"/(?:S\d\d)?fail2ban(?:\.service)?$", link))


def configured(snapshot: Snapshot) -> Configured:
    """Return what the configuration says; raises HostError, with fail2ban's own reason where it gave one."""
    try:
        return parse_config(snapshot.text("fail2ban-dump"))
    except CommandRefused as refusal:
        why = why_not(snapshot)
        if not why:
            raise
        raise CommandRefused(snapshot.host, f"fail2ban cannot read its configuration: {why}") from refusal


def jail_of(check: Check, snapshot: Snapshot) -> JailConfig | Outcome:
    """Return the configuration of the jail that a check is about, or the outcome where there is no such jail."""
    assert isinstance(check.expectation, Bans)
    jails = configured(snapshot).jails
    return jails.get(check.expectation.jail) or no_jail(check.expectation.jail, tuple(jails), "is enabled")


def no_jail(jail: str, there: Sequence[str], what: str) -> Outcome:
    """Return the outcome for a jail that a policy names and the host has not; the nearest name is said."""
    near = nearest(jail, there)
    meant = f"; the nearest is {near}" if near else ""
    return Outcome(
        verdict=Verdict.FAIL, reason=f"no jail named {jail} {what}{meant}; there are: {', '.join(there) or 'none'}",
        cause="the jail does not run", observed=f"jails: {', '.join(there) or 'none'}",
        fix=(f"Write {near} in the policy if that is meant, or enable" if near else "Enable")
        + f" [{jail}] in /etc/fail2ban/jail.d/.",
    )  # fmt: skip
