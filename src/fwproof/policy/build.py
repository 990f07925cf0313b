"""From the shape of a policy file to its values: what was not written, such as titles and ids, is made here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fwproof.flow import Family
from fwproof.inventory import Inventory
from fwproof.policy.ban_shapes import BansShape
from fwproof.policy.document import Document, Keys, Place
from fwproof.policy.draft_shapes import DRAFT, QuestionShape
from fwproof.policy.model import (
    Allow,
    Bans,
    Default,
    Draft,
    Essential,
    Evasion,
    Passing,
    Peers,
    Policy,
    Question,
    Rate,
    Sample,
    Service,
    Standing,
)
from fwproof.policy.shapes import DefaultShape, FarSample, ForwardAllow, InboundAllow, OutboundAllow, PolicyShape
from fwproof.policy.surround_shapes import drop_paths, wanted_settings
from fwproof.policy.table_model import (
    ANY_ONE,
    Accepted,
    AcceptedSetting,
    AcceptedSocket,
    Baseline,
    Coverage,
    DropLog,
    Kernel,
    Listeners,
    Managers,
    Parity,
    Persistence,
    Rules,
)
from fwproof.policy.table_shapes import Common

BOTH = (Family.IPV4, Family.IPV6)


def build(document: Document, shape: PolicyShape, inventory: Inventory) -> tuple[Policy, dict[int, Place]]:
    """Return the policy that a shape means, and the places of its expectations by their line."""
    builder = _Builder(document, shape, inventory)
    return builder.policy(), builder.places


class _Builder:
    """Turns the shape of one file into values."""

    def __init__(self, document: Document, shape: PolicyShape, inventory: Inventory) -> None:
        self.document = document
        self.shape = shape
        self.places: dict[int, Place] = {}
        self.families = (Family.IPV4,) if shape.ipv6 is not None and shape.ipv6.expect == "deny" else BOTH
        chosen = {name for names in shape.hosts for name in names}
        self.hosts = tuple(name for name in inventory.hosts if name in chosen)

    def policy(self) -> Policy:
        shape = self.shape
        inbound, outbound, forward = shape.inbound, shape.outbound, shape.forward
        return Policy(
            name=shape.policy,
            path=self.document.path,
            sha256=self.document.sha256,
            hosts=self.hosts,
            services=self.services(),
            inbound=tuple(self.inbound(i, one) for i, one in enumerate(inbound.allow)) if inbound else (),
            outbound=tuple(self.outbound(i, one) for i, one in enumerate(outbound.allow)) if outbound else (),
            inbound_default=self.default("inbound", inbound.default, self.inbound_samples()) if inbound else None,
            outbound_default=self.default("outbound", outbound.default, _far(outbound.samples)) if outbound else None,
            forward=tuple(self.passing(i, one) for i, one in enumerate(forward.allow)) if forward else (),
            forward_default=self.default("forward", forward.default, _far(forward.samples)) if forward else None,
            evasion=self.evasion(),
            essential=tuple(self.essential()),
            bans=tuple(self.bans(i, one) for i, one in enumerate(shape.bans)),
            drop_log=self.drop_log(),
            persistence=self.persistence(),
            parity=self.parity(),
            rules=self.rules(),
            managers=self.managers(),
            coverage=self.coverage(),
            listeners=self.listeners(),
            kernel=self.kernel(),
            baseline=self.baseline(),
            draft=self.draft(),
            questions=tuple(self.question(i, one) for i, one in enumerate(shape.questions)),
        )

    def draft(self) -> Draft | None:
        if self.shape.status != DRAFT:
            return None
        return Draft(**self.common(("status",), Common(), "draft", "Somebody has confirmed this policy"))

    def question(self, index: int, shape: QuestionShape) -> Question:
        return Question(**self.common(("questions", index), shape, shape.id, shape.title))

    def services(self) -> dict[str, Service]:
        return {name: Service(s.proto, s.port, name, s.icmp) for name, s in self.shape.services.items()}

    def common(self, keys: Keys, shape: Common, name: str, title: str) -> dict[str, Any]:
        """Return the arguments that all expectations share."""
        place = self.document.key_place(keys)
        self.places.setdefault(place.line, place)
        return {
            "id": shape.id or name,
            "title": shape.title or title,
            "file": self.document.file,
            "line": place.line,
            "controls": {framework: tuple(ids) for framework, ids in shape.controls.items()},
            "severity": shape.severity,
            "owner": shape.owner,
            "justification": shape.justification,
        }

    def peers(self, terms: Sequence[Peers]) -> Peers:
        """Join the terms of a list; ``ipv6: deny`` leaves their IPv4 networks only."""
        networks = dict.fromkeys(n for term in terms for n in term.networks if Family.of(n) in self.families)
        return Peers(", ".join(term.name for term in terms), tuple(networks))

    def inbound(self, index: int, shape: InboundAllow) -> Allow:
        peers = self.peers(shape.from_)
        rate = None if shape.rate is None else Rate(shape.rate.limit, shape.rate.per, shape.rate.by, shape.rate.measure)
        held = None if shape.connections is None else Standing(shape.connections.limit, shape.connections.by)
        title = f"{_name(shape.service)} can be reached from {peers.name} only"
        common = self.common(("inbound", "allow", index), shape, shape.id, title)
        return Allow(**common, service=shape.service, peers=peers, rate=rate, standing=held)

    def outbound(self, index: int, shape: OutboundAllow) -> Allow:
        peers = self.peers(shape.to)
        title = f"The host can reach {_name(shape.service)} at {peers.name}"
        common = self.common(("outbound", "allow", index), shape, shape.id, title)
        return Allow(**common, service=shape.service, peers=peers, families=self.families)

    def inbound_samples(self) -> tuple[Sample, ...]:
        return tuple(Sample(service=s) for s in self.shape.inbound.samples) if self.shape.inbound else ()

    def passing(self, index: int, shape: ForwardAllow) -> Passing:
        peers, to = self.peers(shape.from_), self.peers(shape.to)
        at = f", published as {_name(shape.published)}" if shape.published else ""
        title = f"{_name(shape.service)} at {to.name}{at} can be reached through the host from {peers.name} only"
        common = self.common(("forward", "allow", index), shape, shape.id, title)
        return Passing(
            **common, service=shape.service, peers=peers, to=to, published=shape.published, families=self.families
        )

    def default(self, section: str, shape: DefaultShape, samples: tuple[Sample, ...]) -> Default | None:
        if shape.decision == "unchecked":
            return None
        titles = {
            "inbound": "Nothing gets in that no expectation allows",
            "outbound": "Nothing gets out that no expectation allows",
            "forward": "Nothing is passed on that no expectation allows"
            if self.shape.forward and self.shape.forward.allow
            else "The host forwards nothing",
        }
        common = self.common((section, "default"), shape, f"{section}-default", titles[section])
        return Default(**common, decision=shape.decision, samples=samples)

    def evasion(self) -> Evasion | None:
        shape = self.shape.inbound.evasion if self.shape.inbound else None
        if shape is None:
            return None
        common = self.common(("inbound", "evasion"), shape, "evasion", "What is denied is denied in every form")
        # in both families under "ipv6: deny" too: there everything is denied
        peers = None if shape.from_ is None else _joined(shape.from_)
        return Evasion(**common, forms=tuple(shape.forms), peers=peers)

    def essential(self) -> list[Essential]:
        titles = {
            "loopback": "The host can talk to itself over loopback",
            "established": "Packets of connections that were let through keep flowing, both ways",
            "icmpv6-nd": "IPv6 neighbour discovery works, without which IPv6 is dead",
        }
        families = {"loopback": BOTH, "established": self.families, "icmpv6-nd": (Family.IPV6,)}
        return [
            Essential(
                **self.common(("essential", index), one, one.what, titles[one.what]),
                what=one.what,
                families=families[one.what],
            )
            for index, one in enumerate(self.shape.essential)
        ]

    def bans(self, index: int, shape: BansShape) -> Bans:
        title = f"{shape.maxretry} failed attempts on {_name(shape.service)} get their source banned"
        provoke = shape.provoke
        return Bans(
            **self.common(("bans", index), shape, f"bans-{shape.jail}", title),
            jail=shape.jail,
            service=shape.service,
            maxretry=shape.maxretry,
            findtime=shape.findtime,
            bantime=shape.bantime,
            exercise=shape.exercise,
            blocks=shape.blocks,
            families=self.families,
            provoke={} if provoke is None else {"method": provoke.method, "path": provoke.path} | provoke.headers,
            ignore=None if shape.ignore is None else _joined(shape.ignore),
            usedns=shape.usedns,
            increment=shape.increment,
            ignore_self=shape.ignoreself,
            banned=tuple(shape.samples.banned) if shape.samples else (),
            passed=tuple(shape.samples.passed) if shape.samples else (),
        )

    def drop_log(self) -> DropLog | None:
        shape = self.shape.drop_log
        if shape is None or not (shape.inbound or shape.outbound):
            return None
        directions = tuple(d for d, wanted in (("inbound", shape.inbound), ("outbound", shape.outbound)) if wanted)
        common = self.common(("drop_log",), shape, "drop-log", "Every dropped packet leaves a line in the log")
        return DropLog(**common, directions=directions, prefix=shape.prefix or None, exercise=shape.exercise,
                       paths=drop_paths(shape.paths))  # fmt: skip

    def persistence(self) -> Persistence | None:
        if self.shape.persistence is None:
            return None
        title = "What boots is what runs: the saved rules are loaded at boot and mean the same"
        return Persistence(**self.common(("persistence",), self.shape.persistence, "persistence", title))

    def parity(self) -> Parity | None:
        shape = self.shape.ipv6
        if shape is None or shape.expect != "same":
            return None
        return Parity(**self.common(("ipv6",), shape, "ipv6", "IPv4 and IPv6 let the same through, zone by zone"))

    def rules(self) -> Rules | None:
        shape = self.shape.rules
        if shape is None:
            return None
        accepted = tuple(Accepted(rule=one.rule, finding=one.finding, reason=one.reason) for one in shape.accept)
        title = "Every rule has a part in what the tables decide, and none allows too much"
        return Rules(**self.common(("rules",), shape, "rules", title), fail=tuple(shape.fail), accepted=accepted)

    def managers(self) -> Managers | None:
        shape = self.shape.managers
        if shape is None:
            return None
        title = f"{'One manager' if shape.who == ANY_ONE else shape.who} decides who gets in, and no other beside it"
        return Managers(**self.common(("managers",), shape, "managers", title), who=shape.who)

    def coverage(self) -> Coverage | None:
        shape = self.shape.coverage
        if shape is None:
            return None
        accepted = tuple(Accepted(rule=one.rule, finding="", reason=one.reason) for one in shape.accept)
        title = "Probes reach every rule that they can, and each counts what it should"
        return Coverage(**self.common(("coverage",), shape, "coverage", title), at_least=shape.at_least,
                        accepted=accepted)  # fmt: skip

    def listeners(self) -> Listeners | None:
        shape = self.shape.listeners
        if shape is None:
            return None
        accepted = tuple(
            AcceptedSocket(socket=one.socket, process=one.process, finding=one.finding, reason=one.reason)
            for one in shape.accept
        )
        title = "Nothing listens for others that no expectation names; sockets, rules and wire agree"
        common = self.common(("listeners",), shape, "listeners", title)
        return Listeners(**common, fail=tuple(shape.fail), accepted=accepted)

    def kernel(self) -> Kernel | None:
        shape = self.shape.kernel
        if shape is None:
            return None
        accepted = tuple(AcceptedSetting(one.setting, one.interface, one.reason) for one in shape.accept)
        common = self.common(("kernel",), shape, "kernel", "The kernel's own settings do not undo what the rules say")
        return Kernel(**common, wanted=wanted_settings(shape), boot=shape.boot, accepted=accepted)

    def baseline(self) -> Baseline | None:
        shape = self.shape.baseline
        if shape is None:
            return None
        # joined as text: a path would not keep the braces apart from names
        folder = shape.folder if Path(shape.folder).is_absolute() else f"{self.document.path.parent}/{shape.folder}"
        common = self.common(("baseline",), shape, "drift", "The tables mean what they meant in the baseline")
        return Baseline(**common, pattern=folder)


def _far(samples: Sequence[FarSample]) -> tuple[Sample, ...]:
    # not cut to IPv4 under "ipv6: deny": there they are denied all the more
    return tuple(Sample(service=s.service, to=_joined(s.to)) for s in samples)


def _joined(terms: Sequence[Peers]) -> Peers:
    return Peers(", ".join(t.name for t in terms), tuple(dict.fromkeys(n for t in terms for n in t.networks)))


def _name(service: Service) -> str:
    return service.name if service.name == str(service) else f"{service.name} ({service})"
