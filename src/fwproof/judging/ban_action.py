"""Judging what a jail does with whom it bans: it keeps out of the service in both families, and the kernel has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fwproof.errors import HostError
from fwproof.evidence.ban_action import UNREAD, Ban
from fwproof.evidence.ban_state import Difference, banned_now, bans_of, differences
from fwproof.evidence.fail2ban_config import JailConfig
from fwproof.facts import Facts, JailFacts
from fwproof.flow import Family
from fwproof.judging.jails import absent, jail_facts, jail_of
from fwproof.plan import Check
from fwproof.policy.model import Bans
from fwproof.results import Outcome, Verdict
from fwproof.snapshot import Snapshot

_FIX = "Give the jail an action for the service's own port and protocol, or an allports action with protocol=all."
_FIX_STATE = "`fail2ban-client reload --restart JAIL` makes its rules anew; delete by hand what is left over."


def judge_ban_action(check: Check, facts: Facts) -> Outcome:
    """Judge a jail's actions by their commands, and fail2ban's bans by the tables of the kernel; raises HostError."""
    assert isinstance(check.expectation, Bans)
    snapshot, want = facts.snapshot(check.host), check.expectation
    gone = absent(check, facts)
    if gone is not None:
        return gone
    config = jail_of(check, snapshot)
    if isinstance(config, Outcome):
        return config
    host = facts.inventory.hosts[check.host]
    families = [family for family in want.families if host.address(family) is not None]
    bans = [(family, ban) for family, ban in bans_of(config) if family in families]
    unclear: list[str] = []
    problems = [*nobody_kept_out(config, families), *_covers(want, bans, unclear)]
    seen = jail_facts(check, facts)
    banned = banned_now(snapshot, [config.name]).get(config.name)
    lasting = [] if banned is None else lasting_differences(config, snapshot, seen)
    if banned is None:
        unclear.append("whom it bans at the moment could not be asked")
    unclear += [f"whom {UNREAD} holds cannot be read"] if any(ban.place.name == UNREAD for _, ban in bans) else []
    verdict, reason = Verdict.PASS, "a ban works in every family, and the kernel holds every ban that is listed"
    if problems or lasting:
        verdict, reason = Verdict.FAIL, "; ".join([*problems, *map(str, lasting)])
    elif unclear:
        verdict, reason = Verdict.INCONCLUSIVE, "; ".join(unclear)
    fixes = [*([_FIX] if problems else []), *([_FIX_STATE.replace("JAIL", config.name)] if lasting else [])]
    return Outcome(
        verdict=verdict, reason="; ".join([reason, *_told(want, bans)]), fix=" ".join(fixes),
        cause=_cause(problems, lasting), proved="; ".join(f"{f.display}: {b.action} refuses {b}" for f, b in bans),
        observed=f"fail2ban lists {len(banned or ())} banned; {len(lasting)} differences from the kernel",
        rule="; ".join(dict.fromkeys(str(ban.place) for _, ban in bans)),
        evidence=tuple(f"{f.display}: {b.action}: {b.fault or b} ({b.place})" for f, b in bans),
    )  # fmt: skip


def nobody_kept_out(config: JailConfig, families: Sequence[Family]) -> Iterator[str]:
    """Yield in which families none of a jail's actions keeps anybody out, and why."""
    names = ", ".join(action.name for action in config.actions) or "none"
    every = [(family, ban) for family, ban in bans_of(config) if family in families]
    if not every:
        yield f"none of its actions ({names}) keeps anybody out"
        return
    for family in families:
        mine = [ban for of, ban in every if of is family]
        if all(ban.fault for ban in mine):
            why = "; ".join(f"{ban.action}: {ban.fault}" for ban in mine) or f"its actions are {names}"
            yield f"no ban works in {family.display}: {why}"


def lasting_differences(config: JailConfig, snapshot: Snapshot, seen: JailFacts) -> list[Difference]:
    """Return where fail2ban and the kernel differ about a jail, both at first and at the second look.

    Raises HostError where tables could not be read, or the second look was not taken.
    """
    first = _differences(config, snapshot)
    if not first:
        return []
    if seen.again is None:
        raise HostError(snapshot.host, "fail2ban and the kernel differ about bans, and nobody looked a second time")
    return sorted(first & _differences(config, seen.again))


def _differences(config: JailConfig, snapshot: Snapshot) -> frozenset[Difference]:
    banned = banned_now(snapshot, [config.name]).get(config.name)
    if banned is None:
        raise HostError(snapshot.host, f"whom {config.name} bans could not be asked")
    return differences(config, banned, snapshot)


def _covers(want: Bans, bans: Sequence[tuple[Family, Ban]], unclear: list[str]) -> Iterator[str]:
    """Yield in which families a ban leaves open what it should close."""
    for family in dict.fromkeys(family for family, _ in bans):
        mine = [ban for of, ban in bans if of is family and not ban.fault]
        if not mine:
            continue
        words = " and ".join(f"{ban.action} refuses {ban}" for ban in mine)
        answers = [ban.covers(want.service.proto, want.service.port) for ban in mine]
        if True not in answers:
            if None in answers:
                unclear.append(f"whether {words} includes {want.service} depends on the name of a port")
            else:
                yield f"a ban leaves {want.service} open in {family.display}: {words}"
        elif want.blocks == "everything" and not any(ban.everything for ban in mine):
            yield f"a ban is to keep out of everything, and in {family.display} {words} only"


def _told(want: Bans, bans: Sequence[tuple[Family, Ban]]) -> list[str]:
    """Return what a name promises and the action does not do, where the policy does not mind."""
    narrow = [ban for _, ban in bans if ban.ports is None and ban.protocols and not ban.fault]
    if want.blocks == "everything" or not narrow:
        return []
    named = " and ".join(dict.fromkeys(f"{ban.action} bans {ban} only" for ban in narrow))
    return [f"{named}: other protocols of a banned source still pass"]


def _cause(problems: Sequence[str], lasting: Sequence[Difference]) -> str:
    if problems:
        return "a ban does not cover what it should"
    return "fail2ban and the kernel differ about who is banned" if lasting else ""
