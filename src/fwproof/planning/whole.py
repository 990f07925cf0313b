"""Checks of a host as a whole: its tables and sockets, its jails, and what it cannot do without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fwproof.farends import spoken_of
from fwproof.flow import Family
from fwproof.plan import Check, Kind
from fwproof.planning.asker import Asker
from fwproof.policy.model import Bans, Essential


def absent(ask: Asker) -> Iterator[Check]:
    """Yield a check for a family that the policy speaks of and the host has no address of: it does not apply."""
    for family in Family:
        spoken = spoken_of(ask.policy, family) if ask.host.address(family) is None else ()
        if spoken:
            words = f"nothing in {family.display}, of which the host has no address"
            check = ask.check(Kind.ABSENT, spoken[0], words, name=f"{spoken[0].id}:no-{family}")
            yield replace(check, family=family)


def tables(ask: Asker) -> Iterator[Check]:
    """Yield what is asked of the tables as a whole, and of the sockets behind them."""
    policy, parity = ask.policy, ask.policy.parity
    yield from ask.each(Kind.PERSISTENCE, policy.persistence, "what boots is what runs")
    if policy.persistence is not None:
        name = f"{policy.persistence.id}:boot"
        yield ask.check(Kind.BOOT, policy.persistence, "rules are loaded before the network is up", name=name)
    if parity is not None and len(ask.families(parity)) > 1:
        yield ask.check(Kind.PARITY, parity, "the same in IPv4 and IPv6", name=f"{parity.id}:parity")
    yield from ask.each(Kind.RULES, policy.rules, "every rule has its effect")
    yield from ask.each(Kind.COVERAGE, policy.coverage, "every rule is reached, and counts what the model says")
    if policy.managers is not None:
        yield ask.check(Kind.MANAGERS, policy.managers, f"managed by {policy.managers.who}")
    for check in ask.each(Kind.LISTENERS, policy.listeners, "every socket is declared"):
        yield replace(check, direction="inbound")
    yield from ask.each(Kind.KERNEL, policy.kernel, "the kernel's settings are hardened, now and after a reboot")
    yield from ask.each(Kind.DRIFT, policy.baseline, "the same as in the baseline")


def essentials(ask: Asker, essential: Essential) -> Iterator[Check]:
    """Yield the checks of traffic without which the host does not work."""
    expected = {"loopback": "allow", "established": "replies pass both ways", "icmpv6-nd": "neighbours found"}
    vantages = {"icmpv6-nd": ask.field.neighbour()}
    for family in ask.families(essential):
        vantage = vantages.get(essential.what)
        yield ask.check(Kind(essential.what), essential, expected[essential.what], family, vantage=vantage)


def jails(ask: Asker, bans: Bans) -> Iterator[Check]:
    """Yield a jail's numbers, filter and action, and a ban provoked in each family."""
    expected = f"{bans.maxretry} failures in {bans.findtime} s ban for {bans.bantime} s"
    for kind, name, words in (
        (Kind.BANS, "", expected),
        (Kind.BAN_FILTER, f"{bans.id}:filter", "failures are seen, and nothing else is"),
        (Kind.BAN_ACTION, f"{bans.id}:action", f"a ban keeps out of {bans.blocks}, and the kernel has every ban"),
    ):
        yield ask.check(kind, bans, words, name=name, service=bans.service, direction="inbound")
    for family in ask.families(bans) if bans.exercise else ():
        yield ask.check(
            Kind.BAN_EXERCISE, bans, "banned, then let in again", family,
            vantage=ask.field.offender(bans, family), name=f"{bans.id}:exercise",
            service=bans.service, direction="inbound",
        )  # fmt: skip
