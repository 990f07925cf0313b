"""Judging listening sockets: what the rules let in to them, which expectations name them, what the wire showed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_network

from fwproof.errors import HostError
from fwproof.evidence.sockets import Socket
from fwproof.facts import Facts, FlowFacts, SocketFacts
from fwproof.farends import one_of
from fwproof.flow import PROTOCOLS, TCP, UDP, Family, Flow, Hook, protocol_name
from fwproof.flows import request
from fwproof.judging.space import STATES, claim_of
from fwproof.observation import Observation, PortState
from fwproof.plan import Check
from fwproof.policy.model import Allow
from fwproof.policy.table_model import AcceptedSocket, Listeners
from fwproof.results import Outcome, Verdict
from fwproof.semantics.conversation import Conversation, converse
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Opening, openings
from fwproof.semantics.space import Claim, SpaceTooLarge

_SHOWN = 6
_DEAF = {
    TCP: {PortState.CLOSED, PortState.SILENT, PortState.REJECTED, PortState.ACCEPTED_SILENT},
    UDP: {PortState.CLOSED, PortState.SILENT, PortState.REJECTED},
}
"""What a socket that the tables let packets in to does not look like; one of UDP need not answer."""
_CAUSES = {
    "undeclared": "a socket can be reached that no expectation names",
    "unexplained": "a port answers where no socket listens",
    "unanswered": "a socket that is let in does not answer",
    "idle": "a service is let in that nobody serves",
}
_FIXES = {
    "undeclared": "Stop the service, bind it to loopback, refuse it in INPUT, or name it under 'inbound: allow'.",
    "unexplained": "Find out who answers: nat in a table that was not read, another network namespace, or a process"
    " that hides from ss.",
    "unanswered": "See whether the service hangs, refuses by itself, or another table drops its packets.",
    "idle": "Start the service, or take out its expectation and its rule.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    kind: str
    service: str
    text: str
    processes: tuple[str, ...] = ()
    rule: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass
class _Found:
    """What is known in the end: findings, what could not be told, and what is only said."""

    findings: list[_Finding] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)


def judge_listeners(check: Check, facts: Facts) -> Outcome:
    """Judge the sockets of one host and family; raises HostError where they could not be listed."""
    known = facts.exercised[check.id]
    if isinstance(known, HostError):
        raise known
    assert isinstance(known, SocketFacts)
    assert isinstance(check.expectation, Listeners)
    looked = _Reconciled(check, facts, known)
    found = looked.found
    try:
        looked.reach()
    except SpaceTooLarge as limit:
        found.unclear.append(f"what reaches the sockets could not be looked at as a whole: {limit}")
    looked.wire()
    looked.idle()
    accepted = {id(each): why for each in found.findings if (why := _accepted(each, check.expectation.accepted))}
    bad = [each for each in found.findings if each.kind in check.expectation.fail and id(each) not in accepted]
    others = [f"accepted ({accepted[id(each)]}): {each}" if id(each) in accepted else f"only told: {each}"
              for each in found.findings if each not in bad]  # fmt: skip
    texts = [*map(str, bad), *found.unclear]
    verdict = Verdict.FAIL if bad else Verdict.INCONCLUSIVE if found.unclear else Verdict.PASS
    reason = _listed(texts) or _good(found.sums)
    first = bad[0].kind if bad else ""
    return Outcome(
        verdict=verdict, reason="; ".join([reason, *others[:_SHOWN]]),
        proved=_proved(found.sums), observed=_observed(found.sums), attributed=looked.owners(),
        cause=_CAUSES[first] if bad else "sockets could not be told for certain" if found.unclear else "",
        rule=bad[0].rule if bad else "", fix=_FIXES[first] if bad else "",
        evidence=(*texts, *others, *found.notes),
    )  # fmt: skip


class _Reconciled:
    """The sockets of a host in one family, as they were listed before and after all probes."""

    def __init__(self, check: Check, facts: Facts, known: SocketFacts) -> None:
        assert check.family is not None
        self.check, self.facts, self.known = check, facts, known
        self.family: Family = check.family
        self.model: HostModel = facts.model(check.host)
        before, after = known.before.of(self.family), known.after.of(self.family)
        self.listed = (*before, *(one for one in after if not any(map(one.same, before))))
        self.stable = tuple(one for one in before if any(map(one.same, after)))
        self.found = _Found()
        passing = [one for one in self.listed if one not in self.stable and not one.local]
        self.found.notes += [f"it listened for a part of the run only: {one}" for one in passing]
        self.found.unclear += [
            f"a line of ss was not understood: {line[:120]!r}"
            for line in dict.fromkeys((*known.before.strange, *known.after.strange))
        ]

    def named(self, service: str) -> Allow | None:
        """Return the expectation that lets somebody of this family use a service."""
        allows = (allow for allow in self.check.policy.inbound if str(allow.service) == service)
        return next((allow for allow in allows if allow.peers.of(self.family)), None)

    # ---- what the rules let in

    def reach(self) -> None:
        """Find the sockets that can be reached and that no expectation names; raises SpaceTooLarge."""
        sums = self.found.sums
        shut: list[Socket] = []
        for one in self.stable:
            ways = [opening for there, opening in self._sent_on if one.takes(there)]
            named = self.named(one.service) is not None
            if not one.local and not named:
                ways += self._straight(one)
            if ways:
                self._reached(one, ways)
            elif any(one.takes(there) for _, there in self._meant) or (named and not one.local):
                sums["named"] += 1
            elif one.local:
                sums["loopback"] += 1
            else:
                shut.append(one)
        sums["shut"] = len(shut)
        self.found.notes += [f"it listens, and the rules keep everybody out: {one}" for one in shut]

    def _straight(self, one: Socket) -> list[Opening]:
        """Return what lets packets in to a socket at its own address and port."""
        claim = Claim(
            proto=PROTOCOLS[one.proto], ports=((one.port, one.port),), opening=True,
            destinations=None if one.address is None else (ip_network(one.address),),
            interfaces=self._faces(one.interface) if one.interface else None,
        )  # fmt: skip
        found = openings(self.model, Hook.INPUT, self.family, claim=claim, states=STATES).openings
        return [way for way in found if not way.onto or any(map(one.takes, filter(None, self._ends(way))))]

    def _faces(self, name: str) -> tuple[str, ...]:
        """Return the names that stand for an interface; one that came up after the host was read is any other."""
        return (name,) if name in self._known else (name, "")

    @property
    def _known(self) -> tuple[str, ...]:
        return () if self.model.addresses is None else tuple(self.model.addresses.interfaces)

    @cached_property
    def _sent_on(self) -> list[tuple[Flow, Opening]]:
        """Return where nat sends packets that no expectation names, each with what lets them in there."""
        if not any(rule.target.nat is not None for rule in self.model.rules(self.family)):
            return []
        outside = [claim_of(allow.service, self.family) for allow, _ in self._meant]
        found: list[tuple[Flow, Opening]] = []
        for proto in (TCP, UDP):
            claim = Claim(proto=proto, opening=True, interfaces=tuple(n for n in self._known if n != "lo") or None)
            every = openings(self.model, Hook.INPUT, self.family, claim=claim, outside=outside).openings
            for opening in (each for each in every if each.onto):
                ends = self._ends(opening)
                found += [(end, opening) for end in ends if end is not None]
                if None in ends or len(opening.rooms) > len(ends) or opening.more:
                    self.found.unclear.append(f"where nat sends packets could not be told: {opening.lines()[0]}")
        return found

    def _ends(self, opening: Opening) -> list[Flow | None]:
        """Return the packets that show an opening as nat leaves them, None where it picks."""
        return [converse(self.model, witness).request.after for witness in opening.witnesses]

    @cached_property
    def _meant(self) -> list[tuple[Allow, Flow]]:
        """Return each expectation of a port with a packet of it, as nat leaves it."""
        own = self.facts.inventory.hosts[self.check.host].address(self.family)
        assert own is not None
        found = []
        for allow in self.check.policy.inbound:
            if allow.service.port is not None and allow.peers.of(self.family):
                flow = request(allow.service, one_of(allow.peers, self.family), own)
                found.append((allow, _landed(converse(self.model, flow), flow)))
        return found

    def _reached(self, one: Socket, ways: Sequence[Opening]) -> None:
        certain = [way for way in ways if way.certainty != "unknown"]
        first = (certain or ways)[0]
        text = f"{one} can be reached, and no expectation names it: {first.lines()[0]}"
        self.found.sums["undeclared"] += 1
        if certain:
            self.found.findings.append(_Finding(
                kind="undeclared", service=one.service, text=text, processes=_names(one), rule=str(first.by or ""),
            ))  # fmt: skip
        else:
            self.found.unclear.append(text)

    # ---- what the wire shows

    def wire(self) -> None:
        """Compare what probes showed of ports with the sockets that are listed."""
        seen = set()
        for observation in self._observed():
            flow = observation.probe.flow
            finding = self._open(flow) if observation.state is PortState.OPEN else self._deaf(observation)
            self.found.sums["states"] += finding is not None or observation.state in {PortState.OPEN, PortState.CLOSED}
            if finding is not None and (finding.kind, finding.service) not in seen:
                seen.add((finding.kind, finding.service))
                self.found.findings.append(finding)

    def _observed(self) -> Iterator[Observation]:
        """Yield what became of each probe of one of the host's ports, as far as it tells the port's state."""
        for known in (*self.facts.flows.values(), *self.known.probed):
            seen = known.observation if isinstance(known, FlowFacts) else None
            if not isinstance(seen, Observation) or seen.probe.receiver != self.check.host:
                continue
            flow = seen.probe.flow
            if flow.family is self.family and seen.state in {PortState.OPEN, *_DEAF.get(flow.proto, ())}:
                yield seen

    def _open(self, flow: Flow) -> _Finding | None:
        there, service = _landed(converse(self.model, flow), flow), _service(flow)
        named = self.named(service) is not None
        if any(one.takes(there) for one in self.listed):
            return None
        if self._is_own(there):
            text = f"{flow} was answered, and no socket of the host listens at {there.dst} {_service(there)}"
            return _Finding(kind="unexplained", service=service, text=text)
        self.found.notes.append(f"{service} is open on the wire: nat sends it on to {there.dst} {_service(there)}")
        text = f"no expectation names {service}, open on the wire: nat sends it on to {there.dst} {_service(there)}"
        return None if named else _Finding(kind="undeclared", service=service, text=text)

    def _deaf(self, seen: Observation) -> _Finding | None:
        flow = seen.probe.flow
        talk = converse(self.model, flow)
        answered = talk.reply is not None and talk.reply.ruling.accepted
        there = _landed(talk, flow)
        one = next((one for one in self.stable if one.takes(there)), None)
        if one is None or not talk.request.ruling.accepted or not answered:
            return None
        text = f"{one} listens, and the tables let {flow} in, but on the wire it is {seen.state.value}"
        return _Finding(
            kind="unanswered", service=one.service, text=text, processes=_names(one),
            rule=str(talk.request.ruling.by or ""),
        )  # fmt: skip

    def _is_own(self, flow: Flow) -> bool:
        own = self.model.router(self.family).is_own(flow.dst)
        return flow.dst in self.facts.inventory.hosts[self.check.host].addresses if own is None else own

    # ---- what is let in for nobody

    def idle(self) -> None:
        """Find the services that expectations let in and that no socket serves."""
        for allow, there in self._meant:
            if self._is_own(there) and not any(one.takes(there) for one in self.listed):
                text = f"{allow.id} lets in {allow.service}, and nobody listens there"
                self.found.findings.append(_Finding(kind="idle", service=str(allow.service), text=text))

    def owners(self) -> str:
        """Return who listens, in words."""
        told = [f"{one.service}: {one.process}" for one in self.stable if one.process and not one.local]
        more = f"; and {len(told) - 2 * _SHOWN} more" if len(told) > 2 * _SHOWN else ""
        gap = f"whose sockets they are was not read: {self.known.gap}" if self.known.gap else ""
        return "; ".join(filter(None, [", ".join(told[: 2 * _SHOWN]) + more, gap]))


def _landed(talk: Conversation, flow: Flow) -> Flow:
    """Return a packet with the destination that it has after nat."""
    return talk.request.after or flow


def _service(flow: Flow) -> str:
    return f"{protocol_name(flow.proto)}/{flow.dport}"


def _names(one: Socket) -> tuple[str, ...]:
    return tuple(one.process.split(", ")) if one.process else ()


def _accepted(finding: _Finding, accepted: Iterable[AcceptedSocket]) -> str:
    """Return why a finding stays, empty where nobody says so."""
    return next((
        one.reason for one in accepted
        if one.socket in {"", finding.service} and (not one.process or set(finding.processes) == {one.process})
        and one.finding in {"", finding.kind}
    ), "")  # fmt: skip


def _proved(sums: Counter[str]) -> str:
    return (
        f"over the whole packet space: {_count(sums['named'])} named by expectations, {_count(sums['undeclared'])} that"
        f" can be reached and are not, {_count(sums['shut'])} that the rules keep everybody from;"
        f" {_count(sums['loopback'])} on loopback only left out"
    )


def _observed(sums: Counter[str]) -> str:
    return f"probes that showed the state of a port: {sums['states'] or 'none'}"


def _good(sums: Counter[str]) -> str:
    wire = "and the wire agrees" if sums["states"] else "which no probe could show on the wire"
    shut = f", the rules keep everybody from {sums['shut']} more" if sums["shut"] else ""
    return f"every socket that others can reach is named by an expectation ({sums['named']}){shut}, {wire}"


def _count(number: int) -> str:
    return "1 socket" if number == 1 else f"{number} sockets"


def _listed(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - _SHOWN} more, which the evidence lists" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more
