"""Plan: Expectation x Host x Vantage x Family becomes Check, with a stable, readable id each.

An expectation that no vantage of the inventory can ask is planned without one, never left out: a report that
says "not settled" is worth more than one that is silent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil

from fwproof.errors import UsageError
from fwproof.farends import FarEnds, passes, permits, spoken_of
from fwproof.flow import Address, Family
from fwproof.forms import Group
from fwproof.inventory import Access, Host, Inventory
from fwproof.measured import Part
from fwproof.policy.model import (
    Allow,
    Bans,
    Default,
    DropLog,
    Essential,
    Evasion,
    Expectation,
    Passing,
    Policy,
    Rate,
    Sample,
    Service,
)


class Kind(StrEnum):
    """What a check asks; each kind has one judge."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    FORWARD = "forward"
    CLAIM = "claim"
    INBOUND_DEFAULT = "inbound-default"
    OUTBOUND_DEFAULT = "outbound-default"
    FORWARD_DEFAULT = "forward-default"
    EVASION = "evasion"
    RATE = "rate"
    MEASURE = "measure"
    CONNECTIONS = "connections"
    LOOPBACK = "loopback"
    ESTABLISHED = "established"
    NEIGHBOUR = "icmpv6-nd"
    BANS = "bans"
    BAN_FILTER = "ban-filter"
    BAN_ACTION = "ban-action"
    BAN_SERVER = "ban-server"
    BAN_EXERCISE = "ban-exercise"
    DROP_LOG = "drop-log"
    DROP_PATHS = "drop-paths"
    PERSISTENCE = "persistence"
    BOOT = "boot-order"
    PARITY = "parity"
    RULES = "rules"
    COVERAGE = "coverage"
    LISTENERS = "listeners"
    DRIFT = "drift"
    MANAGERS = "managers"
    KERNEL = "kernel"
    DRAFT = "draft"
    WAIVER = "waiver"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question about one host, asked from one vantage in one family.

    ``id`` is unique in a run and stable between runs: ``ollama-internal[ai-server-workstation-ipv4]``.
    ``vantage`` is the host that packets come from (or, outbound, the host that watches them arrive) and
    ``peer`` its address; both are None where a check needs no second host. ``expected`` is ``allow`` or
    ``deny`` for a single flow and a short phrase otherwise. ``direction`` is ``inbound``, ``outbound`` or
    ``forward``; forward, packets go on to ``far``, an address of the host ``to``: both are None where the audited host
    publishes a port at its own address, and its nat says where to.

    An ABSENT is about a ``family`` that the inventory gives the host no address of.
    An EVASION is about all forms of one ``group``. A CLAIM is an allow over the whole packet space, for which no
    packet is sent. A RATE, MEASURE, CONNECTIONS, BAN_EXERCISE or EVASION without a vantage is one that the inventory
    has no vantage for, and stays unsettled.
    """

    id: str
    kind: Kind
    policy: Policy
    expectation: Expectation
    host: str
    expected: str
    family: Family | None = None
    vantage: str | None = None
    peer: Address | None = None
    service: Service | None = None
    direction: str | None = None
    group: Group | None = None
    to: str | None = None
    far: Address | None = None


_NAMES = {Family.IPV4: "IPv4", Family.IPV6: "IPv6"}
_DISCARD = Service("tcp", 9, "tcp/9")
"""RFC 863's port, which nobody serves: the probe of a drop log where the policy has no sample."""


def plan(policy: Policy, inventory: Inventory) -> tuple[Check, ...]:
    """Return the checks that a policy means for its hosts, in the order of the file, grouped by host.

    Raises UsageError when the names of hosts make two checks look the same.
    """
    checks = tuple(
        check for name in policy.hosts for check in _HostPlan(policy, inventory, inventory.hosts[name]).all()
    )
    twice = [id_ for id_, count in Counter(check.id for check in checks).items() if count > 1]
    if twice:
        raise UsageError(
            f"{policy.name}: two checks would both be called {twice[0]}: host names that are joined by '-' read"
            " the same; rename a host or an expectation"
        )
    return checks


def burst_size(rate: Rate) -> int:
    """Return how many new connections a burst makes: a quarter more than the limit, at least 5 more."""
    return rate.limit + max(5, ceil(rate.limit / 4))


def duration(rate: Rate) -> float:
    """Return how many seconds it takes to measure a limit: its window and a little, where that is measured.

    A bucket, which only the host's tables can show it to be, takes less.
    """
    return 1.5 + (rate.per if Part.WINDOW in rate.measure else 0.0)


class _HostPlan:
    """Plans one host: each method yields the checks of one part of the policy."""

    def __init__(self, policy: Policy, inventory: Inventory, host: Host) -> None:
        self.policy = policy
        self.inventory = inventory
        self.host = host
        self.field = FarEnds(policy, inventory, host)

    def all(self) -> Iterator[Check]:
        for open_ in (*filter(None, (self.policy.draft,)), *self.policy.questions):
            yield self.check(Kind.DRAFT, open_, "decided by a person")
        yield from self.allows()
        yield from self.defaults()
        for evasion in filter(None, (self.policy.evasion,)):
            yield from self.evasion(evasion)
        for essential in self.policy.essential:
            yield from self.essential(essential)
        for bans in self.policy.bans:
            yield from self.bans(bans)
        for bans in self.policy.bans[:1]:
            yield self.check(Kind.BAN_SERVER, bans, "every jail works, and bans outlive a reboot", name="fail2ban")
        for drop_log in filter(None, (self.policy.drop_log,)):
            yield from self.drop_log(drop_log)
        yield from self.tables()
        yield from self.absent()

    def absent(self) -> Iterator[Check]:
        """Yield a check for a family that the policy speaks of and the host has no address of: it does not apply."""
        for family in Family:
            spoken = spoken_of(self.policy, family) if self.host.address(family) is None else ()
            if spoken:
                words = f"nothing in {_NAMES[family]}, of which the host has no address"
                check = self.check(Kind.ABSENT, spoken[0], words, name=f"no-{family}")
                yield replace(check, family=family)

    def tables(self) -> Iterator[Check]:
        """Yield what is asked of the tables as a whole, and of the sockets behind them."""
        policy, parity = self.policy, self.policy.parity
        yield from self.each(Kind.PERSISTENCE, policy.persistence, "what boots is what runs")
        if policy.persistence is not None:
            name = f"{policy.persistence.id}:boot"
            yield self.check(Kind.BOOT, policy.persistence, "rules are loaded before the network is up", name=name)
        if parity is not None and len(self.families(parity)) > 1:
            yield self.check(Kind.PARITY, parity, "the same in IPv4 and IPv6", name=f"{parity.id}:parity")
        yield from self.each(Kind.RULES, policy.rules, "every rule has its effect")
        yield from self.each(Kind.COVERAGE, policy.coverage, "every rule is reached, and counts what the model says")
        if policy.managers is not None:
            yield self.check(Kind.MANAGERS, policy.managers, f"managed by {policy.managers.who}")
        for check in self.each(Kind.LISTENERS, policy.listeners, "every socket is declared"):
            yield replace(check, direction="inbound")
        yield from self.each(Kind.KERNEL, policy.kernel, "the kernel's settings are hardened, now and after a reboot")
        yield from self.each(Kind.DRIFT, policy.baseline, "the same as in the baseline")

    def each(self, kind: Kind, expectation: Expectation | None, expected: str) -> Iterator[Check]:
        """Yield one check in each family, where the policy has the expectation."""
        if expectation is not None:
            for family in self.families(expectation):
                yield self.check(kind, expectation, expected, family)

    def allows(self) -> Iterator[Check]:
        for allow in self.policy.inbound:
            for family in self.families(allow):
                yield from self.inbound(allow, family)
            for family in self.families(allow):
                yield from self.rate(allow, family)
                yield from self.standing(allow, family)
        for allow in self.policy.outbound:
            for family in self.families(allow):
                yield from self.outbound(allow, family)
        for passing in self.policy.forward:
            for family in self.families(passing):
                yield from self.passing(passing, family)

    def families(self, expectation: Expectation) -> tuple[Family, ...]:
        return tuple(family for family in expectation.families if self.host.address(family) is not None)

    def check(  # noqa: PLR0913 - the columns of a Check
        self, kind: Kind, expectation: Expectation, expected: str, family: Family | None = None, *parts: str,
        vantage: Host | None = None, name: str = "", service: Service | None = None, direction: str | None = None,
    ) -> Check:  # fmt: skip
        """Return one check; its id is the expectation (or ``name``) and, in brackets, what tells it from others."""
        words = [self.host.name, vantage.name if vantage else None, family.value if family else None, *parts]
        return Check(
            id=f"{name or expectation.id}[{'-'.join(word for word in words if word)}]",
            kind=kind,
            policy=self.policy,
            expectation=expectation,
            host=self.host.name,
            expected=expected,
            family=family,
            vantage=vantage.name if vantage else None,
            peer=vantage.address(family) if vantage and family else None,
            service=service,
            direction=direction,
        )

    def defaults(self) -> Iterator[Check]:
        policy = self.policy
        for kind, default, direction in (
            (Kind.INBOUND_DEFAULT, policy.inbound_default, "inbound"),
            (Kind.OUTBOUND_DEFAULT, policy.outbound_default, "outbound"),
            (Kind.FORWARD_DEFAULT, policy.forward_default, "forward"),
        ):
            if default is None:
                continue
            for family in self.families(default):
                yield self.check(kind, default, "deny", family, direction=direction)
            for family in self.families(default):
                for sample in default.samples:
                    yield from self.sample(kind, default, sample, family)

    def sample(self, kind: Kind, default: Default, sample: Sample, family: Family) -> Iterator[Check]:
        """Yield a sample from every vantage; what an allow lets through for a vantage is that allow's check."""
        if kind is Kind.FORWARD_DEFAULT:
            yield from self.crossing(kind, default, sample, family)
            return
        inbound = kind is Kind.INBOUND_DEFAULT
        allows = self.policy.inbound if inbound else self.policy.outbound
        service = sample.service
        for vantage in self.field.vantages(family) if inbound else self.field.ends(sample.to, family):
            if not any(permits(allow, service, vantage.address(family)) for allow in allows):
                parts = (service.proto, str(service.port if service.port is not None else service.icmp))
                direction = "inbound" if inbound else "outbound"
                yield self.check(
                    kind, default, "deny", family, *parts, vantage=vantage, service=service, direction=direction
                )

    def crossing(self, kind: Kind, default: Default, sample: Sample, family: Family) -> Iterator[Check]:
        """Yield a sample of what must not pass through the host, from every vantage to the hosts at its far end."""
        service = sample.service
        for vantage, end in self.field.crossings(sample.to, family) if sample.to else ():
            ends = (vantage.address(family), end.address(family))
            if not any(passes(passing, service, *ends) for passing in self.policy.forward):
                parts = (service.proto, str(service.port or service.icmp))
                yield self.through(kind, default, "deny", family, *parts, service=service, ends=(vantage, end))

    def passing(self, passing: Passing, family: Family) -> Iterator[Check]:
        """Yield the claim, and a packet from every vantage: to the far ends, or to the port that is published."""
        if not passing.peers.of(family) or not passing.to.of(family):
            return
        where = f"{passing.to.name} open to {passing.peers.name} only"
        yield self.check(Kind.CLAIM, passing, where, family, service=passing.asked, direction="forward")
        if passing.published is not None:
            for vantage in self.field.vantages(family):
                expected = "allow" if vantage.address(family) in passing.peers else "deny"
                yield self.check(
                    Kind.FORWARD, passing, expected, family, vantage=vantage, service=passing.asked, direction="forward"
                )
            return
        for vantage, end in self.field.crossings(passing.to, family):
            ends = (vantage.address(family), end.address(family))
            mine = passes(passing, passing.service, *ends)
            if mine or not any(passes(other, passing.service, *ends) for other in self.policy.forward):
                expected = "allow" if mine else "deny"
                service, both = passing.service, (vantage, end)
                yield self.through(Kind.FORWARD, passing, expected, family, service=service, ends=both)

    def through(  # noqa: PLR0913 - the columns of a Check
        self, kind: Kind, expectation: Expectation, expected: str, family: Family, *parts: str, service: Service,
        ends: tuple[Host, Host],
    ) -> Check:  # fmt: skip
        """Return the check of one packet from a vantage that goes through the host to a host beyond."""
        vantage, end = ends
        check = self.check(
            kind, expectation, expected, family, end.name, *parts, vantage=vantage, service=service,
            direction="forward",
        )  # fmt: skip
        return replace(check, to=end.name, far=end.address(family))

    def evasion(self, evasion: Evasion) -> Iterator[Check]:
        for form in map(Group, evasion.forms):
            for family in self.families(evasion):
                if form is Group.EXTENSION_HEADERS and family is Family.IPV4:
                    continue
                able = [
                    vantage
                    for vantage in self.field.vantages(family)
                    if (evasion.peers is None or vantage.address(family) in evasion.peers)
                    and (form is not Group.SPOOFING or vantage.access is Access.ROOT)
                ]
                for vantage in able or (None,):
                    check = self.check(
                        Kind.EVASION, evasion, "denied in every form", family,
                        vantage=vantage, name=f"{evasion.id}:{form.value}", direction="inbound",
                    )  # fmt: skip
                    yield replace(check, group=form)

    def inbound(self, allow: Allow, family: Family) -> Iterator[Check]:
        yield from self.claim(allow, family, "inbound")
        sources = [(vantage, vantage.address(family), "") for vantage in self.field.vantages(family)]
        more = [(vantage, vantage.other_address(family)) for vantage in self.field.vantages(family)]
        sources += [(vantage, other, str(other)) for vantage, other in more if other is not None]
        for vantage, address, name in sources:
            others = (other for other in self.policy.inbound if other is not allow)
            if address not in allow.peers and any(permits(other, allow.service, address) for other in others):
                continue
            check = self.check(
                Kind.INBOUND, allow, "allow" if address in allow.peers else "deny", family, name,
                vantage=vantage, service=allow.service, direction="inbound",
            )  # fmt: skip
            yield replace(check, peer=address)

    def claim(self, allow: Allow, family: Family, direction: str) -> Iterator[Check]:
        """Yield the claim over the whole packet space: open to these peers and to nobody else.

        In a family of which the peers have no address it is open to nobody, which a default asks already.
        """
        default = self.policy.inbound_default if direction == "inbound" else self.policy.outbound_default
        there = bool(allow.peers.of(family))
        if there or default is None:
            expected = f"open to {allow.peers.name} only" if there else f"open to nobody in {_NAMES[family]}"
            yield self.check(Kind.CLAIM, allow, expected, family, service=allow.service, direction=direction)

    def rate(self, allow: Allow, family: Family) -> Iterator[Check]:
        if allow.rate is None or not allow.peers.of(family):
            return
        name, size = f"{allow.id}:rate", burst_size(allow.rate)
        expected = f"{allow.rate.limit} of {size} in {allow.rate.per:g} s"
        inside: list[Host | None] = [*self.field.rated(allow, family)] or [None]
        if allow.rate.measure:
            yield self.measure(allow, allow.rate, family, inside[0])
            inside = []
        for vantage in inside:
            check = self.check(
                Kind.RATE, allow, expected, family,
                vantage=vantage, name=name, service=allow.service, direction="inbound",
            )  # fmt: skip
            spare = vantage.spare_address(family) if vantage else None
            yield replace(check, peer=spare) if spare is not None and spare in allow.peers else check
        same = [other for other in self.policy.inbound if str(other.service) == str(allow.service)]
        for vantage in self.field.vantages(family):
            if not any(vantage.address(family) in other.peers for other in same):
                yield self.check(
                    Kind.RATE, allow, "limited or denied", family,
                    vantage=vantage, name=name, service=allow.service, direction="inbound",
                )  # fmt: skip
                return

    def standing(self, allow: Allow, family: Family) -> Iterator[Check]:
        """Yield the check that opens one connection more than may stand, from a vantage that may open any."""
        if allow.standing is None or not allow.peers.of(family):
            return
        who = "each source" if allow.standing.by == "source" else "all sources"
        yield self.check(
            Kind.CONNECTIONS, allow, f"{allow.standing.limit} connections stand at once for {who}", family,
            vantage=next(iter(self.field.rated(allow, family)), None), name=f"{allow.id}:connections",
            service=allow.service, direction="inbound",
        )  # fmt: skip

    def measure(self, allow: Allow, rate: Rate, family: Family, vantage: Host | None) -> Check:
        """Return the check that measures a limit, from all vantages that have a spare address among its peers."""
        who = "each source" if rate.by == "source" else "all sources"
        return self.check(
            Kind.MEASURE, allow, f"{rate.limit} in {rate.per:g} s for {who}, measured in about {duration(rate):.0f} s",
            family, vantage=vantage, name=f"{allow.id}:measure", service=allow.service, direction="inbound",
        )  # fmt: skip

    def outbound(self, allow: Allow, family: Family) -> Iterator[Check]:
        yield from self.claim(allow, family, "outbound")
        for end in self.field.ends(allow.peers, family):
            yield self.check(
                Kind.OUTBOUND, allow, "allow", family, vantage=end, service=allow.service, direction="outbound"
            )

    def essential(self, essential: Essential) -> Iterator[Check]:
        expected = {"loopback": "allow", "established": "replies pass both ways", "icmpv6-nd": "neighbours found"}
        vantages = {"icmpv6-nd": self.field.neighbour()}
        for family in self.families(essential):
            vantage = vantages.get(essential.what)
            yield self.check(Kind(essential.what), essential, expected[essential.what], family, vantage=vantage)

    def bans(self, bans: Bans) -> Iterator[Check]:
        expected = f"{bans.maxretry} failures in {bans.findtime} s ban for {bans.bantime} s"
        for kind, name, words in (
            (Kind.BANS, "", expected),
            (Kind.BAN_FILTER, f"{bans.id}:filter", "failures are seen, and nothing else is"),
            (Kind.BAN_ACTION, f"{bans.id}:action", f"a ban keeps out of {bans.blocks}, and the kernel has every ban"),
        ):
            yield self.check(kind, bans, words, name=name, service=bans.service, direction="inbound")
        for family in self.families(bans) if bans.exercise else ():
            yield self.check(
                Kind.BAN_EXERCISE, bans, "banned, then let in again", family,
                vantage=self.field.offender(bans, family), name=f"{bans.id}:exercise",
                service=bans.service, direction="inbound",
            )  # fmt: skip

    def drop_log(self, drop_log: DropLog) -> Iterator[Check]:
        for direction in drop_log.directions:
            for family in self.families(drop_log):
                vantage, service = self.dropped(direction, family) if drop_log.exercise else (None, None)
                check = self.check(Kind.DROP_LOG, drop_log, "logged", service=service, direction=direction)
                id_ = f"{drop_log.id}[{self.host.name}-{direction}-{family.value}]"
                peer = vantage.address(family) if vantage else None
                yield replace(check, id=id_, family=family, vantage=vantage.name if vantage else None, peer=peer)
        if drop_log.paths is not None:
            for direction in (*drop_log.directions, *(("forward",) if drop_log.paths.forward else ())):
                for family in self.families(drop_log):
                    check = self.check(
                        Kind.DROP_PATHS, drop_log, "every drop is logged, and the log is limited", family
                    )
                    id_ = f"{drop_log.id}:paths[{self.host.name}-{direction}-{family.value}]"
                    yield replace(check, id=id_, direction=None if direction == "forward" else direction)

    def dropped(self, direction: str, family: Family) -> tuple[Host | None, Service | None]:
        """Return a far end and a service whose packet the policy wants dropped: a sample of the default."""
        inbound = direction == "inbound"
        default = self.policy.inbound_default if inbound else self.policy.outbound_default
        kind = Kind.INBOUND_DEFAULT if inbound else Kind.OUTBOUND_DEFAULT
        for sample in default.samples if default else ():
            for check in self.sample(kind, default, sample, family) if default else ():
                if check.vantage is not None and check.vantage != self.inventory.auditor:
                    return self.inventory.hosts[check.vantage], check.service
        far = [v for v in self.field.vantages(family) if v.name != self.inventory.auditor]
        allows = self.policy.inbound if inbound else self.policy.outbound
        for vantage in far:
            if not any(permits(allow, _DISCARD, vantage.address(family)) for allow in allows):
                return vantage, _DISCARD
        return None, None
