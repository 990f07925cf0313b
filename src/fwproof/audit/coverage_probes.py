"""Which packets are sent to reach the rules of a host: what a prober can send, from where, and what each meets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv6Address, ip_network
from typing import TYPE_CHECKING

from fwproof.covered import CoverProbe, Met, Refs
from fwproof.decision import RuleRef
from fwproof.errors import HostError
from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Address, CtState, Family, Flow, Hook, Network
from fwproof.flows import ECHO, neighbour_packets, reply
from fwproof.forms import PLAIN, Form
from fwproof.inventory import Access, Host
from fwproof.probing.agent import PORT_HIGH, PORT_LOW
from fwproof.ruleset.asks import Ranges
from fwproof.ruleset.model import Act, Table
from fwproof.ruleset.numbers import FLAGS
from fwproof.semantics.bdd_calls import CALLS
from fwproof.semantics.conversation import converse
from fwproof.semantics.cover_confirm import Walks
from fwproof.semantics.cover_found import Limits, Missed, Source, Why, Witness
from fwproof.semantics.cover_reach import Elements
from fwproof.semantics.limits import NotSettled
from fwproof.semantics.model import HostModel
from fwproof.semantics.walk import TooLarge

if TYPE_CHECKING:
    from fwproof.audit.field import Field

_FLAG_SETS = (("SYN",), ("ACK",), ("SYN", "ACK"), ("FIN",), ("FIN", "PSH", "URG"), ("SYN", "FIN"), ())
MOST = 1000
"""Probes of one host and family; of rules that others would reach it is said that it is not known."""
_LENGTH = {Family.IPV4: 60, Family.IPV6: 80}
_TTL = 64
_BARE = Form(name="without flags")
"""A plain probe without flags would be a SYN."""


def shapes(model: HostModel, family: Family) -> tuple[Mapping[str, Ranges], ...]:
    """Return what a probe can be: TCP with some flags or UDP, from the probes' ports, and echo requests.

    The hop limit is what an ordinary packet has; by how many routers lower it arrives is not known, so a rule that
    asks for one is reached only where all of them will do.
    """
    common: dict[str, Ranges] = {"ttl": ((2, _TTL),), "length": ((_LENGTH[family], _LENGTH[family]),)}
    ported = {**common, "sport": ((PORT_LOW, PORT_HIGH),)}
    loose = model.settings.get("netfilter/nf_conntrack_tcp_loose") != "0"
    bits = [sum(FLAGS[name] for name in names) for names in _FLAG_SETS if loose or names != ("ACK",)]
    icmp = ICMP if family is Family.IPV4 else ICMPV6
    kind = ECHO[icmp][0] * 256
    return (
        {**ported, "proto": ((TCP, TCP),), "flags": tuple((each, each) for each in sorted(bits))},
        {**ported, "proto": ((UDP, UDP),)},
        {**common, "proto": ((icmp, icmp),), "icmp": ((kind, kind),)},
    )


class Origins:
    """The sources that packets to, through and from a host can really be sent from."""

    def __init__(self, field: Field, host: Host, family: Family, model: HostModel) -> None:
        self.field, self.host, self.family, self.model = field, host, family, model
        self.gaps: list[str] = []
        self._own = [a for a in host.addresses if Family.of(a) is family]
        others = [each for each in field.inventory.hosts.values() if each.name != host.name]
        self._by_address = {a: each.name for each in others for a in each.addresses if Family.of(a) is family}

    def limits(self) -> Limits:
        """Return which packets may be chosen: what a single probe can be, to addresses of the inventory only."""
        tracked = self.model.tracking(self.family).connections
        states = {CtState.NEW, CtState.INVALID} if tracked else {CtState.NEW}
        sources = (*self._vantages(), *self._itself())
        return Limits(sources=sources, states=frozenset(states), shapes=shapes(self.model, self.family))

    def _itself(self) -> Iterator[Source]:
        if self.host.access is Access.READ:
            self.gaps.append("its access is read, so nothing is sent from it")
            return
        try:
            self.field.agent(self.host.name)
        except HostError as error:
            self.gaps.append(f"nothing is sent from it: {error.message}")
            return
        yield Source(
            name=self.host.name, itself=True, networks=_single(self._own),
            destinations=_single([*self._own, *self._by_address]),
        )  # fmt: skip

    def _vantages(self) -> Iterator[Source]:
        for vantage in self.field.inventory.vantages:
            address = vantage.address(self.family)
            if vantage.name == self.host.name or address is None:
                continue
            interface = self.model.router(self.family).out(address)
            if interface is None:
                self.gaps.append(f"by which interface packets of {vantage.name} come in is not known")
                continue
            try:
                to = [*self._own, *self._through(vantage.name)]
            except HostError as error:
                self.gaps.append(f"nothing is sent from {vantage.name}: {error.message}")
                continue
            yield Source(
                name=vantage.name, networks=_single([address]), interface=interface, destinations=_single(to)
            )  # fmt: skip

    def _through(self, vantage: str) -> Iterator[Address]:
        """Yield the addresses of other hosts to which a vantage's packets take the way through the host."""
        agent = self.field.agent(vantage)
        if self.model.forwards(self.family) is False:
            return
        for address, name in self._by_address.items():
            if name != vantage:
                route = agent.call("route", dst=str(address))
                with agent.reading("route"):
                    if str(route["via"]) in map(str, self._own):
                        yield address

    def receiver(self, flow: Flow, hook: Hook) -> str:
        """Return the host that watches a packet arrive: the audited one, but for what that sends to others."""
        return self._by_address.get(flow.dst, self.host.name) if hook is Hook.OUTPUT else self.host.name


def _single(addresses: Iterable[Address]) -> tuple[Network, ...]:
    return tuple(ip_network(address) for address in addresses)


def probes_of(witnesses: Iterable[Witness], origins: Origins, first: int = 1) -> tuple[CoverProbe, ...]:
    """Return the probes for witnesses, each kind of packet once, named from ``first`` on; MOST at most."""
    found: dict[tuple[Hook, Flow], CoverProbe] = {}
    for each in witnesses:
        key = each.hook, replace(each.flow, sport=None)
        if key not in found and len(found) == MOST:
            origins.gaps.append(f"only the first {MOST} probes were sent")
            break
        if key not in found:
            found[key] = CoverProbe(
                name=f"p{first + len(found)}", sender=each.source, receiver=origins.receiver(each.flow, each.hook),
                hook=each.hook, flow=replace(each.flow, ttl=_TTL), limited=_limited(origins.model, each.flow),
            )  # fmt: skip
    return tuple(found.values())


def _limited(model: HostModel, flow: Flow) -> bool:
    """Whether a limit counts a packet, which other checks and the next audit may need unused."""
    try:
        return bool(model.limiters(flow))
    except (NotSettled, TooLarge):
        return True


def form_of(probe: CoverProbe) -> Form:
    """Return how a probe is dressed."""
    return _BARE if probe.flow.proto == TCP and not probe.flow.flags else PLAIN


class Meeting:
    """Says which rules of a family packets meet, as the walk of single packets says it."""

    def __init__(self, model: HostModel, family: Family) -> None:
        self.model, self.elements = model, Elements(model, family)
        self._walks = Walks(model, family, self.elements)
        self._known: dict[tuple[Hook, Flow], Met] = {}
        acts = {rule.target.act for rule in model.rules(family)}
        self._plain = not acts & {Act.SOURCE_NAT, Act.DESTINATION_NAT, Act.NOTRACK}

    def met(self, flow: Flow, hook: Hook) -> Met:
        """Return what a packet meets, and what may follow from it."""
        certain, maybe = self._passed(flow, hook)
        key = hook, replace(flow, sport=None)
        before = self._known.get(key)
        if before is not None and (before.certain, before.maybe) == (certain, maybe):
            return before  # the port, which is the prober's, makes no difference
        back = self._back(flow, hook)
        answers = list(_answers(flow, back))
        more = (*answers, *_followers(flow, back), *self._discovery(flow, hook))
        passed = [self._passed(each, _hook(each)) for each in more]
        tracked = [
            sure for each, (sure, _) in zip(answers, passed, strict=False) if each.ctstate is CtState.ESTABLISHED
        ]
        found = Met(
            certain=certain, maybe=maybe, after=frozenset().union(*(sure | more for sure, more in passed)),
            answer=frozenset.intersection(*tracked) if flow.ctstate is CtState.NEW else frozenset(),
        )  # fmt: skip
        self._known[key] = found if self._plain else self._connected(found, flow, back)
        return self._known[key]

    def _back(self, flow: Flow, hook: Hook) -> Flow:
        """Return an answer as it comes to the host, or is sent by it: routing says by which interface."""
        router, back = self.model.router(flow.family), reply(flow)
        if hook is Hook.INPUT or router.is_own(flow.dst):
            return replace(back, iif=None, oif=None)
        return replace(back, iif=router.out(flow.dst) or back.iif, oif=None)

    def _discovery(self, flow: Flow, hook: Hook) -> Iterator[Flow]:
        """Yield what the kernels may have to send before: who has this address (RFC 4861)."""
        own, peer = (flow.dst, flow.src) if hook is Hook.INPUT else (flow.src, flow.dst)
        if isinstance(own, IPv6Address) and isinstance(peer, IPv6Address):
            interface = self.model.interface_for(own) or "eth0"
            yield from neighbour_packets(own, peer, interface).values()

    def alone(self, flow: Flow, hook: Hook) -> Refs:
        """Return what a packet meets for certain, without what follows."""
        return self._passed(flow, hook)[0]

    def _connected(self, found: Met, flow: Flow, back: Flow) -> Met:
        """Return what a packet meets where its connection may be translated, or unknown to conntrack."""
        if flow.ctstate is not CtState.NEW:
            return found
        known = converse(self.model, flow)
        parts = [part for part in (known.later, known.reply, known.error) if part is not None]
        more = frozenset(step.rule for part in parts for step in part.ruling.trace if step.matched != "no")
        answer = known.reply.flow if known.reply is not None else flow
        as_is = (answer.src, answer.dst, answer.ctstate) == (back.src, back.dst, back.ctstate)
        return replace(found, after=found.after | more, answer=found.answer if as_is else frozenset())

    def _passed(self, flow: Flow, hook: Hook) -> tuple[Refs, Refs]:
        try:
            ways = list(self._walks.passed(flow, hook))
        except TooLarge:
            return frozenset(), frozenset(each.ref for each in self.elements.all)
        maybe = frozenset(ref for way in ways for ref in way.maybe)
        return (frozenset(ways[0].certain) if ways else frozenset()), maybe


def _hook(flow: Flow) -> Hook:
    return Hook.OUTPUT if flow.iif is None else Hook.INPUT


def _answers(flow: Flow, back: Flow) -> Iterator[Flow]:
    """Yield what a far end, or the host, may answer; first in the state that an answer has, then as INVALID."""
    flags = ({"SYN", "ACK"}, {"RST", "ACK"}, {"RST"}) if flow.proto == TCP else (set(),)
    for state in (CtState.ESTABLISHED, CtState.INVALID):
        yield from (replace(back, flags=frozenset(each), ctstate=state) for each in flags)


def _followers(flow: Flow, back: Flow) -> Iterator[Flow]:
    """Yield errors about the packet and about its answer, and what its sender sends next."""
    six = flow.family is Family.IPV6
    for way in (back, flow):
        error = replace(
            way, proto=ICMPV6 if six else ICMP, sport=None, dport=None, flags=frozenset(), icmp_type=1 if six else 3,
            icmp_code=4 if six else 3,
        )  # fmt: skip
        yield from (replace(error, ctstate=state) for state in (CtState.RELATED, CtState.INVALID))
    for state in (CtState.ESTABLISHED, CtState.INVALID):
        flags = ({"RST"}, {"ACK"}) if flow.proto == TCP else (set(),)
        yield from (replace(flow, flags=frozenset(each), ctstate=state) for each in flags)


def instead(missed: Missed, elsewhere: Mapping[RuleRef, Witness]) -> str:
    """Return which vantage would reach a rule that none of those there are does, empty where a probe never does."""
    witness = elsewhere.get(missed.rule)
    if missed.why is not Why.SOURCE or witness is None:
        return ""
    flow = witness.flow
    if witness.hook is Hook.OUTPUT:
        return f"a host at {flow.dst} would do, that this one sends to by {flow.oif}; for example {flow}"
    through = f", to {flow.dst} beyond it" if witness.hook is Hook.FORWARD else ""
    return f"a vantage at {flow.src} would do, whose packets come in by {flow.iif}{through}; for example {flow}"


_ENDING = frozenset({Act.ACCEPT, Act.DROP, Act.REJECT, Act.SOURCE_NAT, Act.DESTINATION_NAT, Act.UNKNOWN, Act.ELSEWHERE})


def ends_of(model: HostModel, family: Family) -> Iterator[Refs]:
    """Yield, for each base chain, the rules and the default one of which every packet in it ends at."""
    for ruleset in model.rulesets.get(family, ()):
        for table in ruleset.tables.values():
            for chain in table.chains.values():
                if chain.default is not None:
                    default = RuleRef(family=table.family or family.table_family, table=table.name, chain=chain.name,
                                      rule=None, text=chain.default)  # fmt: skip
                    rules = (rule for name in _called(table, chain.name) for rule in table.chains[name].rules)
                    yield frozenset({default, *(rule.ref for rule in rules if rule.target.act in _ENDING)})


def _called(table: Table, name: str) -> Iterable[str]:
    """Return a chain and those that its packets may come to."""
    found, pending = dict.fromkeys([name]), [name]
    while pending:
        for rule in table.chains[pending.pop()].rules:
            to = rule.target.chain
            if rule.target.act in CALLS and to in table.chains and to not in found:
                found[to] = None
                pending.append(to)
    return found
