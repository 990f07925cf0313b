"""What the parts of a policy must be to each other: checked once each part is right by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from fwproof.errors import Fault
from fwproof.flow import Family, Network
from fwproof.inventory import Inventory
from fwproof.policy.document import Document, Place
from fwproof.policy.expectation import Expectation
from fwproof.policy.given import Given
from fwproof.policy.model import Allow, Passing, Peers, Policy, Sample
from fwproof.policy.relations_host import HostRelations
from fwproof.policy.scalars import quoted


def expectations(policy: Policy) -> tuple[Expectation, ...]:
    """Return every expectation of a policy, in the order of its file's keys."""
    single = (policy.inbound_default, policy.outbound_default, policy.forward_default)
    tables = (policy.persistence, policy.parity, policy.rules, policy.managers, policy.coverage)
    last = (policy.drop_log, *tables, policy.listeners, policy.kernel, policy.baseline)
    allows = (*policy.inbound, *policy.outbound, *policy.forward)
    everything = (
        policy.draft,
        *policy.questions,
        *single,
        policy.evasion,
        *allows,
        *policy.essential,
        *policy.bans,
        *last,
    )
    return tuple(one for one in everything if one is not None)


def relation_faults(
    policy: Policy, document: Document, inventory: Inventory, places: Mapping[int, Place], *, whole: bool
) -> list[Fault]:
    """Return the faults between parts.

    ``places`` has the place of the expectation on each line; ``whole`` is False when faulty parts were left out
    of the policy.
    """
    flows, host = _Flows(policy, document, inventory, places), HostRelations(policy, document, inventory, places)
    faults = [
        *flows.duplicates(),
        *flows.questions(),
        *flows.overlaps("inbound", policy.inbound),
        *flows.overlaps("outbound", policy.outbound),
        *flows.crossing(),
        *flows.published(),
        *flows.families(),
        *flows.samples(),
        *flows.evasion(),
        *flows.bans(),
        *flows.standing(),
        *host.faults(),
    ]
    if whole:
        # what is lacking here may be what could not be read
        faults += [*flows.provoked(), *host.lacking()]
    if whole and not expectations(policy):
        faults.append(flows.at((), "the policy expects nothing; say at least one thing under 'inbound'"))
    return faults


class _Flows(Given):
    """What packets are allowed, and what shows that they are."""

    def duplicates(self) -> Iterator[Fault]:
        first: dict[str, Expectation] = {}
        for one in sorted(expectations(self.policy), key=lambda e: e.line):
            if one.id in first:
                line = first[one.id].line
                yield self.on(
                    one, f"the id {quoted(one.id)} is taken by the expectation on line {line}; choose another"
                )
            first.setdefault(one.id, one)

    def questions(self) -> Iterator[Fault]:
        if self.policy.questions and self.policy.draft is None:
            words = "a policy with open questions is a draft: write 'status: draft', or answer and delete them"
            yield self.at(("questions",), words)

    def overlaps(self, section: str, allows: tuple[Allow, ...]) -> Iterator[Fault]:
        for first, second in combinations(allows, 2):
            if str(first.service) != str(second.service):
                continue
            both = _overlap(first.peers, second.peers)
            if both is not None:
                yield self.on(
                    second,
                    f"{section} {quoted(second.id)} allows {second.service} for {_text(both[1])}, as does"
                    f" {quoted(first.id)} on line {first.line} for {_text(both[0])}; keep one",
                )

    def crossing(self) -> Iterator[Fault]:
        """Yield what is allowed twice of what passes through the hosts."""
        for first, second in combinations(self.policy.forward, 2):
            same = str(first.asked) == str(second.asked) and bool(first.published) == bool(second.published)
            both = _overlap(first.peers, second.peers)
            if same and both is not None and (first.published or _overlap(first.to, second.to)):
                yield self.on(
                    second,
                    f"forward {quoted(second.id)} allows {second.asked} for {_text(both[1])}, as does"
                    f" {quoted(first.id)} on line {first.line} for {_text(both[0])}; keep one",
                )

    def published(self) -> Iterator[Fault]:
        for passing in self.policy.forward:
            if passing.published is None:
                continue
            if passing.published.proto != passing.service.proto or passing.published.port is None:
                words = f"{passing.published} cannot be sent on to {passing.service}: name a port of the same protocol"
                yield self.on(passing, words)
            for allow in self.policy.inbound:
                if str(allow.service) == str(passing.published):
                    words = (
                        f"{quoted(passing.id)} publishes {passing.published}, which {quoted(allow.id)} on line"
                        f" {allow.line} takes for a service of the host itself; keep one"
                    )
                    yield self.on(passing, words)

    def families(self) -> Iterator[Fault]:
        missing = {Family.IPV4, Family.IPV6} - self.have
        for passing in self.policy.forward:
            if not _families(passing.peers) & _families(passing.to):
                yield self.on(passing, f"{quoted(passing.id)} leads from one address family to the other; nothing does")
        everything: tuple[Allow | Passing, ...] = (
            *self.policy.inbound, *self.policy.outbound, *self.policy.forward,
        )  # fmt: skip
        for allow in everything:
            families = _families(allow.peers)
            if families and families <= missing:
                words = " and ".join(sorted(f.display for f in families))
                yield self.on(
                    allow, f"{quoted(allow.id)} is about {words} only, and no host of this policy has such an address"
                )
            if not families:
                yield self.on(allow, f"{quoted(allow.id)} is about IPv6 addresses only, and 'ipv6: deny' allows none")
        for essential in self.policy.essential:
            if essential.what == "icmpv6-nd" and Family.IPV6 in missing:
                yield self.on(essential, "'icmpv6-nd' is about IPv6, and no host of this policy has an IPv6 address")
            if essential.what == "icmpv6-nd" and self.document.plain().get("ipv6") in ("deny", {"expect": "deny"}):
                yield self.on(
                    essential, "'icmpv6-nd' lets IPv6 packets through, which 'ipv6: deny' forbids; leave one out"
                )

    def samples(self) -> Iterator[Fault]:
        policy = self.policy
        sections = (
            ("inbound", policy.inbound_default), ("outbound", policy.outbound_default),
            ("forward", policy.forward_default),
        )  # fmt: skip
        for section, default in sections:
            written = self.document.existing((section, "samples", 0))
            if default is None:
                if len(written) == 3:
                    yield self.at((section, "samples"), "samples show a 'default: deny', and there is none here")
                continue
            yield from self.repeated(section, default.samples)
        for index, sample in enumerate(policy.outbound_default.samples if policy.outbound_default else ()):
            yield from self.allowed(index, sample)
            yield from self.unseen("outbound", index, sample)
        for index, sample in enumerate(policy.forward_default.samples if policy.forward_default else ()):
            yield from self.unseen("forward", index, sample)

    def evasion(self) -> Iterator[Fault]:
        evasion = self.policy.evasion
        if evasion is None:
            return
        if self.policy.inbound_default is None:
            yield self.on(evasion, "'evasion' shows that a 'default: deny' holds in every form, and there is none here")
        for form, count in Counter(evasion.forms).items():
            if count > 1:
                yield self.on(evasion, f"the form {quoted(form)} is given twice")
        if evasion.forms == ("extension-headers",) and Family.IPV6 not in self.have:
            yield self.on(evasion, "'extension-headers' are IPv6's, and no host of this policy has an IPv6 address")

    def repeated(self, section: str, samples: tuple[Sample, ...]) -> Iterator[Fault]:
        counts: Counter[tuple[str, str]] = Counter()
        for index, sample in enumerate(samples):
            key = (str(sample.service), sample.to.name if sample.to else "")
            counts[key] += 1
            if counts[key] == 2:
                yield self.at((section, "samples", index), f"the sample {sample.service} is given twice")

    def unseen(self, section: str, index: int, sample: Sample) -> Iterator[Fault]:
        for host in self.hosts:
            others = (other for other in self.inventory.hosts.values() if other.name != host.name)
            if sample.to is None or any(address in sample.to for other in others for address in other.addresses):
                continue
            words = f"the inventory has no host at {sample.to.name} that could watch for this sample; add one"
            yield self.at((section, "samples", index), words)

    def allowed(self, index: int, sample: Sample) -> Iterator[Fault]:
        for allow in self.policy.outbound:
            same = str(allow.service) == str(sample.service)
            if same and sample.to is not None and _within(sample.to.networks, allow.peers.networks):
                yield self.at(
                    ("outbound", "samples", index),
                    f"the sample {sample.service} to {sample.to.name} is meant to be denied,"
                    f" and {quoted(allow.id)} on line {allow.line} allows it",
                )

    def provoked(self) -> Iterator[Fault]:
        for bans in self.policy.bans:
            if bans.exercise and not bans.provoke:
                words = "'exercise: true' needs 'provoke', the HTTP request that counts as a failed attempt"
                yield self.on(bans, words)

    def bans(self) -> Iterator[Fault]:
        for bans in self.policy.bans:
            if bans.exercise and bans.service.proto != "tcp":
                yield self.on(bans, f"a ban is provoked by HTTP requests, which {bans.service} does not carry")
            both = [line for line in bans.banned if line in bans.passed]
            if both:
                yield self.on(bans, f"the sample {quoted(both[0])} is under 'banned' and under 'passed'; keep one")

    def standing(self) -> Iterator[Fault]:
        for allow in self.policy.inbound:
            if allow.standing is not None and allow.service.proto != "tcp":
                yield self.on(
                    allow, f"connections that stand are of TCP; of {allow.service} only a 'rate' can be limited"
                )


def _overlap(first: Peers, second: Peers) -> tuple[Network, Network] | None:
    for one in first.networks:
        for other in second.networks:
            if one.version == other.version and one.overlaps(other):
                return one, other
    return None


def _families(peers: Peers) -> set[Family]:
    return {Family.of(network) for network in peers.networks}


def _within(inner: Iterable[Network], outer: tuple[Network, ...]) -> bool:
    return all(any(_subnet(network, around) for around in outer) for network in inner)


def _subnet(network: Network, around: Network) -> bool:
    return (
        network.version == around.version
        and network.prefixlen >= around.prefixlen
        and network.network_address in around
    )


def _text(network: Network) -> str:
    return str(network.network_address) if network.num_addresses == 1 else str(network)
