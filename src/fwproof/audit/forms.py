"""Forms of what is denied: which packets a check of them sends, and what the model says of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from fwproof.audit.waves import Asked
from fwproof.decision import Decision, RuleRef, Ruling
from fwproof.errors import HostError
from fwproof.facts import FlowFacts, FormFacts
from fwproof.farends import permits
from fwproof.flow import TCP, Address, CtState, Family, Flow, Network
from fwproof.flows import MODEL_PORT
from fwproof.forms import FRAGMENT, Ends, Form, dressed
from fwproof.inventory import Access, Inventory
from fwproof.observation import Probe
from fwproof.plan import Check
from fwproof.policy.model import Policy, Service
from fwproof.ruleset.asks import Oracle, Test
from fwproof.semantics.model import HostModel
from fwproof.semantics.packet import Packet
from fwproof.semantics.ruling import rule_on
from fwproof.semantics.walk import TooLarge

if TYPE_CHECKING:
    from fwproof.audit.field import Field

_DISCARD = 9
"""RFC 863's port, which nobody serves."""
_ECHO = Service("icmp", None, "echo-request", "echo-request")
_POSED = 2
_FIRST = "the first extension header is "
_HEADERS = {0: {"0", "hopopt", "ip"}, 43: {"43", "ipv6-route"}, 44: {"44", "ipv6-frag"}, 60: {"60", "ipv6-opts"}}


def ask_forms(field: Field, check: Check, model: HostModel) -> list[Asked]:
    """Return the probes of a check of forms, none without a vantage; HostError where an end cannot be had."""
    if check.vantage is None or check.peer is None:
        return []
    field.agent(check.vantage)
    if field.inventory.hosts[check.host].access is not Access.READ:
        field.agent(check.host)
    real = check.peer
    return [
        Asked(
            check=check, probe=probe, ruling=rule_form(model, probe.form, arriving(model, probe, real)), reply=None,
            counts=probe.form.reaches,
        )
        for probe in form_probes(field.inventory, check)
    ]  # fmt: skip


def arriving(model: HostModel, probe: Probe, real: Address) -> Flow:
    """Return a probe's flow as it comes in: with a spoofed source, by the interface that its sender's own leads to."""
    return replace(probe.flow, iif=model.router(probe.flow.family).out(real)) if probe.form.spoofed else probe.flow


def form_probes(inventory: Inventory, check: Check) -> list[Probe]:
    """Return the probes of a check of forms, none without a vantage."""
    if check.vantage is None or check.peer is None:
        return []
    assert check.group is not None
    assert check.family is not None
    own = inventory.hosts[check.host].address(check.family)
    assert own is not None
    ends = ends_of(check.policy, inventory, check.peer, own)
    return [
        Probe(ref=f"{check.id} {n}", sender=check.vantage, receiver=check.host, flow=replace(flow, iif=None), form=form)
        for n, (form, flow) in enumerate(dressed(check.group, ends))
    ]


def forms_of(
    asked: Iterable[Asked], known: Mapping[str, FlowFacts], models: Mapping[str, HostModel | HostError]
) -> tuple[FormFacts, ...]:
    """Return what is known of each form, from what became of its probe."""
    found = []
    for one in asked:
        model = models[one.check.host]
        tracked = isinstance(model, HostModel) and tracks(model, one.probe.flow)
        found.append(FormFacts(form=one.probe.form, known=known[one.probe.ref], tracked=tracked))
    return tuple(found)


def tracks(model: HostModel, flow: Flow) -> bool:
    """Whether conntrack would tell of a packet, had it been let in."""
    return model.tracking(flow.family).connections and flow.ctstate is CtState.NEW


# ---- whom to send to


def ends_of(policy: Policy, inventory: Inventory, src: Address, dst: Address) -> Ends:
    """Return what a policy denies to a source: a port that nobody serves, and services that are for others."""
    services = [allow.service for allow in policy.inbound if allow.service.proto == "tcp"]
    denied = [s for s in services if not _allowed(policy, s, src)]
    samples = [s.service for s in (policy.inbound_default.samples if policy.inbound_default else ())]
    taken = {str(service) for service in services}
    free = [s.port for s in samples if s.proto == "tcp" and str(s) not in taken]
    closed = next((port for port in free if port is not None), _DISCARD)
    served = tuple(dict.fromkeys(s.port for s in denied if s.port is not None))
    return Ends(
        src=src, dst=dst, closed=closed, served=served, posed=posed(policy, inventory, src, Family.of(dst)),
        echo=not _allowed(policy, _ECHO, src),
    )  # fmt: skip


def _allowed(policy: Policy, service: Service, src: Address) -> bool:
    return any(permits(allow, service, src) for allow in policy.inbound)


def posed(policy: Policy, inventory: Inventory, src: Address, family: Family) -> tuple[tuple[Address, int], ...]:
    """Return sources that a vantage does not have, one of a kind: such as an allow names, and such as none does.

    None is an address of the inventory's hosts: whoever gets the answers asked for none.
    """
    found: dict[int, Address] = {}
    for allow in policy.inbound:
        networks = tuple(n for n in allow.peers.of(family) if src not in n)
        address = _unused(networks, inventory, family)
        if allow.service.proto == "tcp" and allow.service.port is not None and address is not None:
            found.setdefault(allow.service.port, address)
    trusted = [(address, port) for port, address in found.items()]
    zones = [n for zone in inventory.zones.values() for n in zone.networks if src not in n and Family.of(n) is family]
    foreign = [n for n in zones if not any(n.overlaps(p) for a in policy.inbound for p in a.peers.of(family))]
    other = _unused(tuple(foreign), inventory, family)
    return (*trusted[:_POSED], *([(other, _DISCARD)] if other is not None else []))


def _unused(networks: Sequence[Network], inventory: Inventory, family: Family) -> Address | None:
    """Return an address of networks that lies in a zone of the inventory and is no host of it."""
    taken = {address for host in inventory.hosts.values() for address in host.addresses}
    make = IPv4Address if family is Family.IPV4 else IPv6Address
    for network in networks:
        last = int(network.broadcast_address) - (1 if network.num_addresses > 2 else 0)
        near = (make(number) for number in range(last, max(last - 64, int(network.network_address) - 1), -1))
        for address in near:
            if address not in taken and any(address in zone for zone in inventory.zones.values()):
                return address
    return None


# ---- what the model says


def rule_form(model: HostModel, form: Form, flow: Flow) -> Ruling:
    """Return what the tables do with a flow in a form; of a datagram in pieces, what they do with the worst of them."""
    if flow.proto == TCP and flow.flags == {"ACK"} and model.settings.get("netfilter/nf_conntrack_tcp_loose") == "0":
        flow = replace(flow, ctstate=CtState.INVALID)
    if flow.sport is None:
        flow = replace(flow, sport=MODEL_PORT)
    if not form.cut or flow.family is Family.IPV4 or model.tracking(flow.family).connections:
        return _ruled(model, form.headers, flow)  # whole before the rules of input (ip_local_deliver, nf_defrag_ipv6)
    pieces = [_ruled(model, (FRAGMENT,), flow), _ruled(model, (FRAGMENT,), replace(flow, fragment=True))]
    return next((each for each in pieces if each.refused), next((e for e in pieces if not e.accepted), pieces[0]))


def _ruled(model: HostModel, headers: tuple[int, ...], flow: Flow) -> Ruling:
    if not headers:
        return model.evaluate(flow)

    def simulate(test: Test, packet: Packet, rule: RuleRef) -> bool | None:
        del packet, rule
        if isinstance(test, Oracle) and test.kind == "extension":
            return True
        if isinstance(test, Oracle) and test.kind == "packet" and test.name.startswith(_FIRST):
            return bool(_HEADERS[headers[0]] & set(test.name.removeprefix(_FIRST).split(",")))
        return None

    try:
        return rule_on(model.leaves(flow, simulate=simulate))
    except TooLarge as limit:
        may = frozenset({Decision.UNKNOWN, Decision.ACCEPT, Decision.DROP})
        return Ruling(decision=Decision.UNKNOWN, by=None, may=may, depends_on=(str(limit),))
