"""Judging a jail: what it is told to watch, whether it watches, and its numbers against those of the policy."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from fwproof.errors import HostError
from fwproof.evidence.fail2ban import JailStatus, complaints, parse_jails, parse_status
from fwproof.evidence.fail2ban_config import Configured, JailConfig
from fwproof.facts import Facts
from fwproof.flow import Network
from fwproof.inventory import Inventory
from fwproof.judging.jails import absent, configured, no_jail
from fwproof.plan import Check
from fwproof.policy.model import Bans
from fwproof.results import Outcome, Verdict
from fwproof.snapshot import Snapshot

BLIND = "fail2ban's jail watches nothing"
"""The cause that the jail and its exercise share."""
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1"))


def judge_bans(check: Check, facts: Facts) -> Outcome:
    """Judge a jail's configuration and state against the numbers of the policy."""
    assert isinstance(check.expectation, Bans)
    want, snapshot = check.expectation, facts.snapshot(check.host)
    gone = absent(check, facts)
    if gone is not None:
        return gone
    listed = parse_jails(snapshot.text("fail2ban-status"))
    if want.jail not in listed:
        return no_jail(want.jail, listed, "runs")
    status = parse_status(want.jail, snapshot.text(f"fail2ban-status-{want.jail}"))
    known = configured(snapshot)
    config = known.jails.get(want.jail)
    if status is None or config is None:
        raise HostError(check.host, f"what fail2ban says of {want.jail} cannot be read", "see the raw evidence")
    problems = [*_jail_problems(config, status), *_number_problems(want, config), *_choices(want, config, known),
                *_ignored(want, config, facts.inventory)]  # fmt: skip
    log = complaints(_log(snapshot), want.jail)
    regexes = [f"failregex {n}: {regex}" for n, regex in enumerate(config.failregexes, 1)]
    files = " ".join(status.files) or status.journal or "none"
    return Outcome(
        verdict=Verdict.FAIL if problems else Verdict.PASS,
        reason="; ".join(problems) or "the jail watches its log, and its numbers are those of the policy",
        cause=_cause(problems, status), fix=_fix(config) if problems else "",
        proved=f"{len(regexes)} failregexes, {len(config.without_host)} of them without a host group; {_said(config)}",
        observed=f"files watched: {files}; failed now: {status.failed}; banned: {len(status.banned)}",
        attributed="; ".join([line for line in log if " ERROR " in line] or log),
        rule="; ".join(f"failregex {n}: {regex}" for n, regex in config.without_host),
        evidence=(*regexes, *log),
    )  # fmt: skip


def _fix(config: JailConfig) -> str:
    if config.without_host:
        return "Give every failregex a <HOST>, then restart fail2ban and see that the jail's file list is not empty."
    return "Set the jail's numbers and log path as the policy says."


def _jail_problems(config: JailConfig, status: JailStatus) -> Iterator[str]:
    for n, regex in config.without_host:
        yield f"failregex {n} has no <HOST>, so fail2ban refuses it: {regex}"
    if not status.watches_something:
        meant = " ".join(config.log_paths) or "any log"
        yield f"the jail is reported as up, but its file list is empty: it watches nothing, {meant} least of all"
    unwatched = [path for path in config.log_paths if status.files and path not in status.files]
    if unwatched:
        yield f"it is configured to watch {' '.join(unwatched)}, and does not"
    if not config.failregexes:
        yield "it has no failregex, so that no line counts"


def _number_problems(want: Bans, config: JailConfig) -> Iterator[str]:
    numbers = (("maxretry", want.maxretry, config.maxretry), ("findtime", want.findtime, config.findtime),
               ("bantime", want.bantime, config.bantime))  # fmt: skip
    for name, expected, got in numbers:
        if got != expected:
            yield f"{name} is {'-1, for good' if got == -1 else got}, expected {expected}"


def _choices(want: Bans, config: JailConfig, known: Configured) -> Iterator[str]:
    """Yield what is not as the policy says of names, increments and the host's own addresses."""
    if want.usedns is not None and want.usedns != config.usedns:
        yield f"usedns is {config.usedns}, expected {want.usedns}"
    if want.increment is not None and want.increment is not config.increment:
        yield f"bantime.increment is {_word(on=config.increment)}, expected {_word(on=bool(want.increment))}"
    if config.increment and known.forgets:
        yield "bantime.increment does nothing, as fail2ban has no database that it could count bans in"
    if want.ignore_self is not None and want.ignore_self is not config.ignore_self:
        yield f"ignoreself is {_word(on=config.ignore_self)}, expected {_word(on=bool(want.ignore_self))}"


def _word(*, on: bool) -> str:
    return "true" if on else "false"


def _ignored(want: Bans, config: JailConfig, inventory: Inventory) -> Iterator[str]:
    """Yield what is too wide in ignoreip: beyond what the policy names, or, where it names nothing, networks."""
    for word in config.ignored:
        try:
            network = ip_network(word, strict=False)
        except ValueError:
            if want.ignore is not None:
                yield f"ignoreip names {word}: whoever answers for that name decides who is never banned"
            continue
        if any(_inside(network, one) for one in _LOOPBACK):
            continue
        if want.ignore is not None:
            if not any(_inside(network, one) for one in want.ignore.networks):
                yield f"ignoreip lets off {word}, and the policy no more than {want.ignore.name}"
            continue
        if network.prefixlen == 0:
            yield f"ignoreip lets off everybody: {word}"
        elif network.num_addresses > 1:
            zones = inventory.zones.values()
            covered = [zone.name for zone in zones if any(_inside(one, network) for one in zone.networks)]
            named = f", all of {' and '.join(covered)} among them" if covered else ""
            yield f"ignoreip lets off the whole of {word}{named}; say under 'ignore' who may be"
    if want.ignore is not None and config.ignore_command:
        yield f"ignorecommand may let off others as well: {config.ignore_command}"


def _inside(network: Network, around: Network) -> bool:
    return (
        network.version == around.version
        and network.prefixlen >= around.prefixlen
        and network.network_address in around
    )


def _said(config: JailConfig) -> str:
    """Return the settings that decide who counts and who is let off, in words."""
    let_off = [*config.ignored, *(["the host itself"] if config.ignore_self else []),
               *([f"whom {config.ignore_command} names"] if config.ignore_command else [])]  # fmt: skip
    looked_up = {"yes": "; names in lines are looked up, and who answers for them chooses who is banned",
                 "warn": "; names in lines are looked up, and who answers for them chooses who is banned"}  # fmt: skip
    return f"never banned: {', '.join(let_off) or 'nobody'}{looked_up.get(config.usedns, '')}"


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
