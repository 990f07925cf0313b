"""HostModel: everything on a host that decides a packet's fate, and the questions it answers about one packet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar

from fwproof.decision import Decision, RuleRef, Ruling
from fwproof.flow import Address, CtState, Family, Flow, Hook
from fwproof.ruleset import ipset
from fwproof.ruleset.asks import Rate
from fwproof.ruleset.model import Act, Rule, Ruleset
from fwproof.semantics import beneath, order, route, turns
from fwproof.semantics.addresses import Addresses, interface_to, parse_addresses
from fwproof.semantics.addresses import Route as Road
from fwproof.semantics.burst import Burst
from fwproof.semantics.context import Connection, Question
from fwproof.semantics.limits import Limiter, LogAct, NotSettled, limiter, log_act, only_limited
from fwproof.semantics.lookup import Indexes
from fwproof.semantics.packet import Packet, Simulate
from fwproof.semantics.readings import routes_of, rulesets_of, special_of, unread_of
from fwproof.semantics.routing import Router, Settings, parse_sysctls
from fwproof.semantics.ruling import REFUSED, outcome, questions, rule_on
from fwproof.semantics.stages import Route, Stage
from fwproof.semantics.tracking import Tracking, tracking_of
from fwproof.semantics.walk import Leaf, TooLarge, Walker
from fwproof.snapshot import Snapshot

Sources = Mapping[str, str]
"""Names of the texts, for messages, by the parameter of :meth:`HostModel.build` they were given as."""

T = TypeVar("T")
Given = tuple[tuple[Question, bool], ...]
_PacketWalker: type[Walker[Packet]] = Walker
_MOST_PACKETS = 2000
"""The longest burst that is simulated to find how many connections a limiter admits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostModel:
    """The rule tables of a host with its addresses, routes and sysctls.

    ``rulesets``: of each family the view of iptables, that of its legacy variant, and nftables' own; a family without
    any was not read. ``settings``: the sysctls that were read. ``special``: the families whose routing has rules of its
    own. ``blind``: why a family's answers are all unknown. ``sets``: the members of IP sets. ``read_from``: the
    snapshot that it was built from, and the families that must be in it, for whoever stores it; None where it was
    built from texts.
    """

    rulesets: Mapping[Family, tuple[Ruleset, ...]]
    addresses: Addresses | None = None
    routes: Mapping[Family, tuple[Road, ...]] = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    special: frozenset[Family] = frozenset()
    blind: Mapping[Family, tuple[str, ...]] = field(default_factory=dict)
    sets: ipset.IpSets = field(default_factory=lambda: ipset.IpSets({}))
    read_from: tuple[Snapshot, frozenset[Family]] | None = field(default=None, repr=False, compare=False)
    _known: dict[object, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def build(  # noqa: PLR0913 - one parameter for each thing that is read from a host, all by name
        cls, *, iptables_save: str | None = None, ip6tables_save: str | None = None,
        iptables_legacy_save: str | None = None, ip6tables_legacy_save: str | None = None,
        nft_json: str | None = None, addresses: str | None = None, routes: str | None = None,
        routes6: str | None = None, sysctls: str | None = None, routing_rules: str | None = None,
        routing_rules6: str | None = None, ipset_save: str | None = None, legacy_names: str | None = None,
        legacy_names6: str | None = None, traffic_control: str | None = None, sources: Sources | None = None,
    ) -> HostModel:  # fmt: skip
        """Return the model of raw command outputs; None means that it was not read.

        Rule text never fails: what is not understood weakens answers. Raises InputError for JSON that is
        not what the commands print; ``sources`` names the texts in its message.
        """
        names = dict(sources or {})
        saved = {
            "iptables_save": iptables_save, "ip6tables_save": ip6tables_save,
            "iptables_legacy_save": iptables_legacy_save, "ip6tables_legacy_save": ip6tables_legacy_save,
        }  # fmt: skip
        legacy = {Family.IPV4: legacy_names, Family.IPV6: legacy_names6}
        rulesets, sets = rulesets_of(saved, nft_json, ipset_save, names, legacy)
        own = None if addresses is None else parse_addresses(addresses, names.get("addresses", "addresses"))
        filters = beneath.filters(traffic_control, names.get("traffic_control", "traffic_control"))
        return cls(
            rulesets=rulesets,
            addresses=own,
            routes={
                Family.IPV4: routes_of(routes, names.get("routes", "routes"), Family.IPV4),
                Family.IPV6: routes_of(routes, names.get("routes", "routes"), Family.IPV6)
                + routes_of(routes6, names.get("routes6", "routes6"), Family.IPV6),
            },
            settings={} if sysctls is None else parse_sysctls(sysctls, names.get("sysctls", "sysctls")),
            special=special_of({Family.IPV4: routing_rules, Family.IPV6: routing_rules6}, names),
            blind={f: unread_of(f, rulesets[f], (*beneath.programs(own), *filters)) for f in Family},
            sets=sets,
        )

    def rules(self, family: Family) -> tuple[Rule, ...]:
        """Return every rule of a family, in the order of the texts."""
        return tuple(rule for ruleset in self.rulesets.get(family, ()) for rule in ruleset.rules())

    def evaluate(self, flow: Flow, hook: str | None = None) -> Ruling:
        """Return what happens to a flow on its way through the host, or through the tables of one hook.

        ``hook`` is a :class:`~fwproof.flow.Hook` or its word.
        """
        return self._ruling(flow, hook, traced=True)

    def decide(self, flow: Flow, hook: str | None = None) -> Ruling:
        """Return what :meth:`evaluate` does but for the trace: rules that cannot concern the flow are passed over."""
        return self._ruling(flow, hook, traced=False)

    def _ruling(self, flow: Flow, hook: str | None, *, traced: bool) -> Ruling:
        try:
            return rule_on(self.leaves(flow, hook, traced=traced))
        except TooLarge as limit:
            may = frozenset({Decision.UNKNOWN, Decision.ACCEPT, Decision.DROP})
            return Ruling(decision=Decision.UNKNOWN, by=None, may=may, depends_on=(str(limit),))

    def leaves(  # noqa: PLR0913 - a packet, what is known of it, and what of its walk is kept
        self, flow: Flow, hook: str | None = None, simulate: Simulate | None = None,
        connection: Connection | None = None, *, traced: bool = True, whole: bool = True,
    ) -> list[Leaf[Packet]]:  # fmt: skip
        """Return every end of a flow's walk, for all values of the oracles, each with its steps if ``traced``.

        Unless ``whole``, there are no steps of rules that the header alone rules out.
        ``connection`` is the one that a later packet belongs to, where it is known. Raises TooLarge.
        """
        router, at = self.router(flow.family), None if hook is None else Hook(hook)
        unknown = frozenset[str]() if connection is None else connection.hidden(flow.ctdir)
        found: list[Leaf[Packet]] = []
        for path in route.paths(flow, at, self.addresses):
            packet = self._packet(flow, path, router, simulate)
            if connection is not None:
                packet = replace(packet, connection=connection, unknown=unknown)
            early = router.early(flow.src, flow.dst, packet.flow.iif) if path.hooks == route.THROUGH else ""
            if early:
                found.append(turns.dropped(packet, router, early, path.given))
            else:
                found += self._walks(packet, path, router, traced=traced, whole=traced and whole)
        return found

    def _walks(
        self, packet: Packet, path: route.Path, router: Router, *, traced: bool, whole: bool
    ) -> list[Leaf[Packet]]:
        """Walk a packet in every order that base chains of equal priority may have; one stands for equal answers."""
        lookup = None if whole else self.indexes
        found = [
            list(_PacketWalker(way, traced=traced, lookup=lookup).walk(packet, (*path.given, *choices)))
            for way, choices in self._routes(path, router, later=packet.connection is not None)
        ]
        if len(found) == 1 or len({leaf.decision for leaves in found for leaf in leaves}) == 1:
            return found[0]
        return [leaf for leaves in found for leaf in leaves]

    @property
    def indexes(self) -> Indexes:
        """What finds the rules that a packet may meet, for walks that keep no whole trace."""
        return self._once("indexes", Indexes)

    def _once(self, key: object, make: Callable[[], T]) -> T:
        """Return what was made of the model before, or make it."""
        if key not in self._known:
            self._known[key] = make()
        found: T = self._known[key]
        return found

    def _routes(self, path: route.Path, router: Router, *, later: bool) -> list[tuple[Route, Given]]:
        """Return the way of a path in every order of base chains, with the answers that choose it."""

        def make() -> list[tuple[Route, Given]]:
            tried = self.orders(router.family, path.hooks)
            ways = [self._route(path, router, chosen, later=later) for chosen in tried]
            return [(way, order.given(number, len(tried))) for number, way in enumerate(ways)]

        return self._once(("routes", router.family, path.hooks, later), make)

    def orders(self, family: Family, hooks: Sequence[Hook]) -> list[order.Chosen | None]:
        """Return the orders of base chains of equal priority that have to be tried; None blinds those chains."""

        def make() -> list[order.Chosen | None]:
            rulesets = self.rulesets.get(family, ())
            wanted = (*hooks, Hook.INPUT) if Hook.FORWARD in hooks else tuple(hooks)
            counts = {hook: route.count(hook, rulesets, self.tracking(family)) for hook in wanted}
            return order.combined(counts)

        return self._once(("orders", family, tuple(hooks)), make)

    def router(self, family: Family) -> Router:
        """Return what of the host decides where a packet of a family goes."""
        return self._once(("router", family), lambda: Router(
            family=family, addresses=self.addresses, routes=self.routes.get(family, ()), settings=self.settings,
            special=family in self.special,
        ))  # fmt: skip

    def forwards(self, family: Family) -> bool | None:
        """Whether the host passes packets of a family on at the moment, None when its sysctls were not read."""
        return self.router(family).forwards()

    def _packet(self, flow: Flow, path: route.Path, router: Router, simulate: Simulate | None) -> Packet:
        iif, oif, not_loopback = route.interfaces(flow, path, router)
        if (flow.iif, flow.oif) != (iif, oif):
            flow = replace(flow, iif=iif, oif=oif)
        local = self._local(router.family)
        return Packet(flow, local, not_loopback=not_loopback, simulate=simulate, router=router)

    def chains(self, family: Family, hooks: Sequence[Hook], chosen: order.Chosen | None = None) -> route.Make:
        """Return what makes base chains of hooks, for a route that begins with the first of ``hooks``.

        ``chosen`` is one of the :meth:`orders` of base chains; without it those of an unknown order are blind.
        """
        tracking = self.tracking(family)
        rulesets, blind = self.rulesets.get(family, ()), self.blind.get(family, ("its rules were not read",))

        def make(part: route.Path) -> tuple[Stage, ...]:
            reasons = blind if part.hooks[0] is hooks[0] else ()
            return route.stages(part, family, rulesets, reasons, tracking=tracking, chosen=chosen)

        return make

    def _route(self, path: route.Path, router: Router, chosen: order.Chosen | None, *, later: bool = False) -> Route:
        plain = self.chains(router.family, path.hooks, chosen)
        make = route.carrying(plain, router.family) if later else plain
        if path.hooks == route.THROUGH:
            return route.arriving(make, partial(turns.arrived, router))
        if path.hooks in {route.OUTBOUND, route.LOOPED}:
            return route.sending(make, partial(turns.sent, router))
        return make(path)

    def interface_for(self, address: Address) -> str | None:
        """Return the interface that has an own address, or that leads to another one; None when not known."""
        if self.addresses is None:
            return None
        own = next((o.interface for o in self.addresses.own if o.prefix.ip == address), None)
        routes = self.routes.get(Family.of(address), ())
        return own or self.addresses.on_link(address) or interface_to(routes, address)

    def tracking(self, family: Family) -> Tracking:
        """Return what the rules of a family make the kernel do before it looks at them."""
        return self._once(("tracking", family), lambda: tracking_of(self.rulesets.get(family, ())))

    def _local(self, family: Family) -> Callable[[int, frozenset[str]], bool | None]:
        known = self.addresses

        def kind(address: int, kinds: frozenset[str]) -> bool | None:
            if known is None:
                return None
            return known.is_kind(IPv4Address(address) if family is Family.IPV4 else IPv6Address(address), kinds)

        return kind

    def simulate_burst(
        self, flow: Flow, count: int, gap_seconds: float = 0.0, hook: str | None = None
    ) -> list[Decision]:
        """Return the decisions on ``count`` equal packets of new connections, ``gap_seconds`` apart.

        The rate matches start empty. Where something else than a rate decides, the rest is ``depends``.
        Raises TooLarge.
        """
        return self.simulate([(number * gap_seconds, flow) for number in range(count)], hook)

    def simulate(
        self, packets: Sequence[tuple[float, Flow]], hook: str | None = None, *, held: bool = True
    ) -> list[Decision]:
        """Return the decisions on packets of new connections of one family, each with its time in seconds.

        As :meth:`simulate_burst`; ``held`` False has every connection end at once.
        """
        burst = Burst(self.rules(packets[0][1].family)) if packets else Burst(())
        decisions: list[Decision] = []
        for time, flow in packets:
            burst.now = time
            leaves = self.leaves(flow, hook, burst.answer, traced=False)
            if len(leaves) > 1:
                # the branches would each have left their own state behind
                return decisions + [rule_on(leaves).decision] * (len(packets) - len(decisions))
            decisions.append(leaves[0].decision)
            if held and leaves[0].decision is Decision.ACCEPT:
                burst.admitted.append(leaves[0].subject)
        return decisions

    def evaluate_fresh(self, flow: Flow, hook: Hook | None = None) -> Ruling:
        """Return what happens to a flow while no rate match has counted anything, as :meth:`decide`."""
        try:
            return rule_on(self.leaves(flow, hook, Burst(self.rules(flow.family)).answer, traced=False))
        except TooLarge:
            return self.decide(flow, hook)

    def limiters(self, flow: Flow, hook: str | None = None) -> tuple[Limiter, ...]:
        """Return the rates on which the decision about a flow depends, in the order in which it meets them.

        Raises NotSettled where they cannot be told: none found is not the same as none looked for.
        """
        leaves = self._settled(flow, hook, traced=False)
        tests = {q.test: q for q in questions(outcome(leaves)) if q.test is not None and isinstance(q.test, Rate)}
        refs = {m.test: rule.ref for rule in reversed(self.rules(flow.family)) for m in rule.matches}
        return tuple(limiter(test, refs[test], self._admits(flow, test, hook)) for test in tests)

    def _settled(self, flow: Flow, hook: str | None, *, traced: bool) -> list[Leaf[Packet]]:
        try:
            leaves = self.leaves(flow, hook, traced=traced)
        except TooLarge as limit:
            raise NotSettled(str(limit)) from limit
        unknown = next((leaf for leaf in leaves if leaf.decision is Decision.UNKNOWN), None)
        if unknown is not None:
            raise NotSettled(unknown.reason or "a rule on the way could not be read")
        return leaves

    def _admits(self, flow: Flow, test: Rate, hook: str | None) -> int | None:
        most = max(getattr(test, name, 0) for name in ("hitcount", "burst", "limit"))
        count = min(_MOST_PACKETS, most + 2)
        try:
            decisions = self.simulate_burst(replace(flow, ctstate=CtState.NEW), count, 0.0, hook)
        except TooLarge:
            return None
        if not set(decisions) <= REFUSED | {Decision.ACCEPT} or decisions[-1] is Decision.ACCEPT:
            return None
        return decisions.count(Decision.ACCEPT)

    def logs(self, flow: Flow, hook: str | None = None) -> tuple[LogAct, ...]:
        """Return the rules that log a flow which is dropped or rejected, before that happens; raises NotSettled."""
        dropped = [leaf for leaf in self._settled(flow, hook, traced=True) if leaf.decision in REFUSED]
        rules = {rule.ref: rule for rule in self.rules(flow.family) if rule.target.act is Act.LOG}
        met: dict[RuleRef, list[bool]] = {}
        for leaf in dropped:
            for step in leaf.trace:
                # a rule of nft may log and drop: only the step that logs is one
                logs = step.rule in rules and step.action == rules[step.rule].target.text
                if logs and step.matched in {"yes", "depends"}:
                    met.setdefault(step.rule, []).append(step.matched == "yes" or only_limited(rules[step.rule]))
        return tuple(log_act(rules[ref], certain=len(seen) == len(dropped) and all(seen)) for ref, seen in met.items())
