"""What policies allow, asked about lines of a packet log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from math import floor

from fwproof.errors import UsageError
from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Family
from fwproof.flows import icmp_type
from fwproof.inventory import Inventory
from fwproof.policy.model import Allow, Policy, Rate, Service
from fwproof.review.sorts import Sort

_FAMILIES = {4: Family.IPV4, 6: Family.IPV6}


@dataclass(frozen=True, slots=True)
class Windows:
    """How drops lie in the windows of a rate.

    ``windows`` of ``per`` seconds hold drops, at most ``most`` each; in ``over`` of them the drops alone are more than
    the limit. What was let in beside them a log of drops does not show.
    """

    per: float
    limit: int
    windows: int
    over: int
    most: int


class Expected:
    """The allows of the policies that are about a host, or about any host where None is named."""

    def __init__(self, policies: Sequence[Policy], inventory: Inventory, host: str | None) -> None:
        self.policies = [policy for policy in policies if host is None or host in policy.hosts]
        if not self.policies:
            raise UsageError(f"no policy given is about {host}")
        hosts = {name for policy in self.policies for name in policy.hosts} if host is None else {host}
        self._others = frozenset(
            str(address) for other in inventory.hosts.values() if other.name not in hosts for address in other.addresses
        )
        self._by_service: dict[tuple[str, int, int | None], list[Allow]] = {}
        for way, allow in self._allows():
            for version, family in _FAMILIES.items():
                asked = _asked(allow.service, family)
                if family in allow.families and asked is not None:
                    self._by_service.setdefault((f"{way}{version}", *asked), []).append(allow)
        self.names = {
            asked: service.name
            for policy in self.policies
            for service in policy.services.values()
            for asked in (_asked(service, family) for family in Family)
            if asked is not None
        }

    def _allows(self) -> Iterable[tuple[str, Allow]]:
        for policy in self.policies:
            yield from (("in", allow) for allow in policy.inbound)
            yield from (("out", allow) for allow in policy.outbound)

    def allow_of(self, sort: Sort) -> Allow | None:
        """Return the expectation that lets in or out what lines of a sort tell of, None where there is none.

        Only first packets count: an expectation is about new connections. A packet at another host of the inventory is
        not the business of these policies.
        """
        known = self._by_service.get((f"{sort.way}{sort.version}", sort.proto, sort.port))
        if known is None or sort.opens != "new" or sort.merged:
            return None
        own, peer = (sort.dst, sort.src) if sort.way == "in" else (sort.src, sort.dst)
        if own in self._others:
            return None
        return next((allow for allow in known if ip_address(peer) in allow.peers), None)


def _asked(service: Service, family: Family) -> tuple[int, int | None] | None:
    if service.proto != "icmp":
        return {"tcp": TCP, "udp": UDP}[service.proto], service.port
    try:
        return (ICMP if family is Family.IPV4 else ICMPV6), icmp_type(service, family)
    except KeyError:
        return None


def windows(rate: Rate, times: Iterable[Sequence[float]]) -> Windows:
    """Return how drops lie in the windows of a rate; ``times`` holds those of each source."""
    counts: dict[tuple[int, int], int] = {}
    for number, each in enumerate(times):
        for time in each:
            key = (number if rate.by == "source" else 0, floor(time / rate.per))
            counts[key] = counts.get(key, 0) + 1
    over = sum(count > rate.limit for count in counts.values())
    return Windows(rate.per, rate.limit, len(counts), over, max(counts.values(), default=0))
