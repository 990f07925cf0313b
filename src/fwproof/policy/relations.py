"""What the parts of a policy must be to each other: checked once each part is right by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from fwproof.errors import Fault
from fwproof.flow import Family, Network
from fwproof.inventory import Inventory
from fwproof.policy.document import Document, Keys, Place
from fwproof.policy.expectation import Expectation
from fwproof.policy.model import Allow, Passing, Peers, Policy, Sample
from fwproof.policy.scalars import quoted
from fwproof.policy.table_model import HOST


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
    relations = _Relations(policy, document, inventory, places)
    faults = [
        *relations.duplicates(),
        *relations.questions(),
        *relations.overlaps("inbound", policy.inbound),
        *relations.overlaps("outbound", policy.outbound),
        *relations.crossing(),
        *relations.published(),
        *relations.families(),
        *relations.samples(),
        *relations.evasion(),
        *relations.bans(),
        *relations.standing(),
        *relations.rules(),
        *relations.coverage(),
        *relations.kernel(),
        *relations.baseline(),
        *relations.parity(),
    ]
    if whole:
        # what is lacking here may be what could not be read
        faults += [*relations.provoked(), *relations.drop_log(), *relations.listeners()]
    if whole and not expectations(policy):
        faults.append(relations.at((), "the policy expects nothing; say at least one thing under 'inbound'"))
    return faults


class _Relations:
    def __init__(self, policy: Policy, document: Document, inventory: Inventory, places: Mapping[int, Place]) -> None:
        self.places = places
        self.policy = policy
        self.document = document
        self.inventory = inventory
        self.hosts = [inventory.hosts[name] for name in policy.hosts]
        self.have = {Family.of(address) for host in self.hosts for address in host.addresses}

    def at(self, keys: Keys, message: str) -> Fault:
        return self.document.fault(self.document.key_place(keys), message)

    def on(self, expectation: Expectation, message: str) -> Fault:
        return self.document.fault(self.places[expectation.line], message)

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

    def drop_log(self) -> Iterator[Fault]:
        if self.policy.drop_log is None and self.document.existing(("drop_log",)):
            words = "'drop_log' asks for nothing; set 'inbound' or 'outbound' to true, or delete it"
            yield self.at(("drop_log",), words)
        paths = self.policy.drop_log.paths if self.policy.drop_log else None
        seen: set[tuple[str, str]] = set()
        for index, one in enumerate(paths.accepted if paths else ()):
            keys: Keys = ("drop_log", "paths", "accept", index)
            if (one.rule, one.finding) in seen:
                yield self.at(keys, "the same finding about the same rule is accepted twice")
            elif paths is not None and one.finding and one.finding not in paths.fail:
                yield self.at(keys, f"{quoted(one.finding)} is not among 'fail', so it need not be accepted")
            seen.add((one.rule, one.finding))

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

    def rules(self) -> Iterator[Fault]:
        rules = self.policy.rules
        seen: list[tuple[str, str]] = []
        for index, one in enumerate(rules.accepted if rules else ()):
            keys: Keys = ("rules", "accept", index)
            if (one.rule, one.finding) in seen:
                yield self.at(keys, "the same finding about the same rule is accepted twice")
            elif rules is not None and one.finding and one.finding not in rules.fail:
                yield self.at(keys, f"{quoted(one.finding)} is not among 'fail', so it need not be accepted")
            seen.append((one.rule, one.finding))

    def coverage(self) -> Iterator[Fault]:
        seen: set[str] = set()
        for index, one in enumerate(self.policy.coverage.accepted if self.policy.coverage else ()):
            if one.rule in seen:
                yield self.at(("coverage", "accept", index), "the same rule is accepted twice")
            seen.add(one.rule)

    def listeners(self) -> Iterator[Fault]:
        listeners = self.policy.listeners
        for index, one in enumerate(listeners.accepted if listeners else ()):
            keys: Keys = ("listeners", "accept", index)
            if not one.socket and not one.process:
                yield self.at(keys, "an accepted finding names a 'socket' such as udp/546, a 'process', or both")
            elif listeners is not None and one.finding and one.finding not in listeners.fail:
                yield self.at(keys, f"{quoted(one.finding)} is not among 'fail', so it need not be accepted")
        if listeners is not None and not self.document.existing(("inbound",)):
            words = "'listeners' compares sockets with what 'inbound' allows, and there is no 'inbound' here"
            yield self.on(listeners, words)

    def kernel(self) -> Iterator[Fault]:
        kernel = self.policy.kernel
        seen: set[tuple[str, str]] = set()
        for index, one in enumerate(kernel.accepted if kernel else ()):
            keys: Keys = ("kernel", "accept", index)
            if (one.setting, one.interface) in seen:
                yield self.at(keys, "the same setting of the same interface is accepted twice")
            elif kernel is not None and one.setting not in kernel.wanted:
                yield self.at(keys, f"{quoted(one.setting)} is unchecked, so it need not be accepted")
            seen.add((one.setting, one.interface))

    def baseline(self) -> Iterator[Fault]:
        baseline = self.policy.baseline
        if baseline is not None and HOST not in baseline.pattern and len(self.hosts) > 1:
            words = (
                f"the policy is about {len(self.hosts)} hosts, and a folder is one host's: put {{host}} into its name"
            )
            yield self.on(baseline, words)

    def parity(self) -> Iterator[Fault]:
        written = self.document.plain().get("ipv6")
        if not isinstance(written, dict):
            return
        if written.get("expect") == "deny" and len(written) > 1:
            words = "'ipv6: deny' is shown by the defaults and has no check of its own; write it as one word"
            yield self.at(("ipv6",), words)
        both = any(host.address(Family.IPV4) and host.address(Family.IPV6) for host in self.hosts)
        if self.policy.parity is not None and not both:
            words = "no host of this policy has addresses of both families, so there is nothing to compare"
            yield self.on(self.policy.parity, words)


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
