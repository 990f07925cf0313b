"""Bans that fail2ban tells of against bans that the kernel has, of one moment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from fwproof.errors import HostError
from fwproof.evidence.ban_action import UNREAD, Ban, ban_of
from fwproof.evidence.ban_places import members, names, plain
from fwproof.evidence.fail2ban import parse_banned, parse_status
from fwproof.evidence.fail2ban_config import JailConfig
from fwproof.flow import Family
from fwproof.snapshot import Snapshot


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """An address that only one side has, or, without an address, a place that no rule leads to.

    ``said``: fail2ban says that the address is banned.
    """

    jail: str
    address: str
    said: bool
    where: str

    def __str__(self) -> str:
        """Return it as a report says it."""
        if not self.address:
            return f"{self.jail}: no rule leads to {self.where}, so that nobody in it is kept out"
        if self.said:
            return f"{self.jail}: fail2ban lists {self.address} as banned, and {self.where} does not hold it"
        return f"{self.jail}: {self.where} holds {self.address}, which fail2ban does not list as banned"


def banned_now(snapshot: Snapshot, jails: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """Return whom each jail bans by fail2ban's own word; a jail that could not be asked about is not in it."""
    listed = snapshot.captures.get("fail2ban-banned")
    found = dict(parse_banned(listed.stdout)) if listed and "fail2ban-banned" not in snapshot.faults else {}
    for jail in jails:
        capture = snapshot.captures.get(f"fail2ban-status-{jail}")
        status = parse_status(jail, capture.stdout) if capture is not None else None
        if status is not None:
            found[jail] = status.banned
    return found


def bans_of(jail: JailConfig) -> Iterator[tuple[Family, Ban]]:
    """Yield what a jail's actions do in the firewall, in each family."""
    for action in jail.actions:
        for family in Family:
            ban = ban_of(action, family)
            if ban is not None:
                yield family, ban


def differences(jail: JailConfig, banned: Iterable[str], snapshot: Snapshot) -> frozenset[Difference]:
    """Return where fail2ban and the kernel differ about a jail; raises HostError for tables that were not read."""
    said = {plain(address) for address in banned}
    found: set[Difference] = set()
    for family, ban in bans_of(jail):
        mine = {address for address in said if _family(address) is family}
        if ban.fault or ban.place.name == UNREAD:
            continue  # the first is a finding of its own, the second is told, whether or not somebody is banned
        held = members(ban.place, snapshot)
        where = str(ban.place)
        if held is None:
            found |= {Difference(jail.name, a, said=True, where="the kernel") for a in mine if not names(a, snapshot)}
            continue
        found |= {Difference(jail.name, address, said=True, where=where) for address in mine - held.addresses}
        found |= {Difference(jail.name, address, said=False, where=where) for address in held.addresses - said}
        if held.addresses and not held.asked:
            found.add(Difference(jail.name, "", said=True, where=where))
    return frozenset(found)


def all_differences(jails: Mapping[str, JailConfig], snapshot: Snapshot) -> frozenset[Difference]:
    """Return the differences of every jail whose bans fail2ban told; none of those whose tables were not read."""
    found: set[Difference] = set()
    for name, banned in banned_now(snapshot, jails).items():
        if name in jails:
            try:
                found |= differences(jails[name], banned, snapshot)
            except HostError:
                continue
    return frozenset(found)


def _family(address: str) -> Family | None:
    try:
        return Family.IPV6 if ip_network(address, strict=False).version == 6 else Family.IPV4
    except ValueError:
        return None
