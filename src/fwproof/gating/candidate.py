"""The candidate: the tables that are to be deployed, from whatever they are written in, and the host as far as known.

Where nobody says which addresses and interfaces the host has, they are taken from the inventory, and that is said.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_interface, ip_network

from fwproof.decision import RuleRef
from fwproof.errors import UsageError
from fwproof.flow import Address, Family
from fwproof.frontends.front_end import FrontEnd, front_end_of
from fwproof.gating.command import Command
from fwproof.gating.script import Script
from fwproof.gating.states import State, plain, states
from fwproof.gating.tables import text_of
from fwproof.inventory import Host
from fwproof.lab.twin import Port, Shape
from fwproof.ruleset.asks import Interface
from fwproof.semantics.addresses import Addresses, Route, parse_addresses, parse_routes
from fwproof.semantics.model import HostModel
from fwproof.semantics.routing import parse_sysctls
from fwproof.snapshot import Snapshot

_EVERYBODY = {Family.IPV4: ip_network("0.0.0.0/0"), Family.IPV6: ip_network("::/0")}
_FORWARDS = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")
_LINK = {4: 24, 6: 64}
"""Prefix lengths of the host's links where nobody says: inventories name no subnets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Tables to be deployed.

    ``states`` are those that the host goes through, the first being what runs now; of tables that are loaded at once
    these are two, or one where nothing is known of what runs. ``texts`` are the inputs by the parameter of
    :meth:`HostModel.build` that they are for, ``sources`` the names of those; ``under`` are those of what runs.
    ``nft`` are scripts of nft with their names, and ``commands`` those of a script of iptables; ``sysctls`` are what
    such a script sets. ``told`` is what a front end says of itself that has made the tables, ``places`` FILE:LINE of
    the rules that are written in its files.
    ``assumed`` says in words what was taken for granted. ``given`` are the families that it has tables of.
    """

    states: tuple[State, ...]
    given: tuple[Family, ...]
    texts: Mapping[str, str]
    sources: Mapping[str, str] = field(default_factory=dict)
    under: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[Command, ...] = ()
    nft: tuple[tuple[str, str], ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    told: Snapshot | None = None
    places: Mapping[RuleRef, str] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    before: HostModel | None = None

    @property
    def model(self) -> HostModel:
        """The tables as they are to stand in the end."""
        return self.states[-1].model

    def front(self, model: HostModel) -> FrontEnd | None:
        """Return the front end of tables that were made by one, for these tables or the same as a kernel has them."""
        return None if self.told is None else front_end_of(self.told, model.rulesets)


def from_scripts(scripts: Sequence[Script], before: HostModel | None) -> Candidate:
    """Return what scripts of iptables commands make of the tables that run, or of empty ones where they are unknown.

    Raises InputError at a command that the kernel would refuse.
    """
    commands = [command for script in scripts for command in script.commands]
    start = before or HostModel.build(iptables_save="", ip6tables_save="")
    names = {f: " and ".join(dict.fromkeys(c.source for c in commands if c.family is f)) or "what runs" for f in Family}
    every = tuple(states(start, commands, names))
    touched = {command.family for command in commands}
    given = tuple(f for f in Family if f in touched or (before is not None and f in before.rulesets))
    assumed = tuple(word for script in scripts for word in script.assumed)
    if before is None:
        word = "what the script changes are empty tables with policy ACCEPT, as nobody says what runs (--against)"
        assumed = (word, *assumed)
    keys = {Family.IPV4: "iptables_save", Family.IPV6: "ip6tables_save"}
    sets = ((family, each) for family, sets in start.rulesets.items() for each in sets if plain(each))
    under = {keys[family]: text_of(each) for family, each in sets}
    return Candidate(
        states=every, given=given, texts={}, under=under, commands=tuple(commands), assumed=assumed, before=before,
        sysctls={path: value for script in scripts for path, value in script.sysctls.items()},
    )  # fmt: skip


def placed(candidate: Candidate, host: Host, given: Mapping[str, str], *, router: bool = False) -> Candidate:
    """Return the candidate with the host's addresses, routes and sysctls: given, those of what runs, or assumed ones.

    ``given`` are texts by what they are (``addresses``, ``routes``, ``sysctls``); a ``router`` is taken to pass packets
    on where nobody says. Raises InputError for what is not the
    output of the commands, UsageError where rules name several interfaces and nothing says which addresses they have.
    """
    known = candidate.model
    before = candidate.before
    own, invented = _addresses(candidate, host, given.get("addresses"))
    roads, made_up = _roads(candidate, host, own, given.get("routes"))
    assumed = tuple(filter(None, (invented, made_up)))
    sysctls = given.get("sysctls")
    running = before.settings if before is not None else {}
    settings = {**(known.settings or running if sysctls is None else parse_sysctls(sysctls)), **candidate.sysctls}

    unsaid = {key: "1" for key in _FORWARDS if key not in settings} if router else {}
    if unsaid:
        settings |= unsaid
        assumed = (*assumed, f"{host.name} passes packets on, as its policy expects (--sysctls says otherwise)")

    def at(model: HostModel) -> HostModel:
        return replace(model, addresses=own, routes=roads, settings=settings)

    made: dict[int, HostModel] = {}
    moved = tuple(
        replace(state, model=made.setdefault(id(state.model), at(state.model))) for state in candidate.states
    )  # fmt: skip
    return replace(
        candidate, states=moved, assumed=(*candidate.assumed, *assumed), before=None if before is None else at(before)
    )


def _addresses(candidate: Candidate, host: Host, given: str | None) -> tuple[Addresses, str]:
    """Return the host's addresses, and what was assumed of them, in words; empty where they are known."""
    if given is not None:
        return parse_addresses(given, "addresses"), ""
    for model in filter(None, (candidate.before, candidate.model)):
        if model.addresses is not None:
            return model.addresses, ""
    return _assumed(candidate.model, host)


def _roads(
    candidate: Candidate, host: Host, own: Addresses, given: str | None
) -> tuple[dict[Family, tuple[Route, ...]], str]:
    """Return the host's routes, and what was assumed of them, in words; empty where they are known."""
    if given is not None:
        listed = parse_routes(given, "routes", None)
        return {f: tuple(road for road in listed if Family.of(road.network) is f) for f in Family}, ""
    for model in filter(None, (candidate.before, candidate.model)):
        if any(model.routes.values()):
            return dict(model.routes), ""
    return _default_routes(own, host)


def interfaces_named(model: HostModel) -> tuple[str, ...]:
    """Return the interfaces that rules name, without patterns and loopback."""
    tests = (m.test for family in Family for rule in model.rules(family) for m in rule.matches)
    names = (test.name for test in tests if isinstance(test, Interface))
    return tuple(dict.fromkeys(name for name in names if name and name != "lo" and not name.endswith("+")))


def _assumed(model: HostModel, host: Host) -> tuple[Addresses, str]:
    named = interfaces_named(model)
    if len(named) > 1:
        raise UsageError(
            f"the rules name the interfaces {', '.join(named)}: --addresses FILE (the output of `ip -j addr` on"
            f" {host.name}) has to say which addresses they have, and --routes FILE what lies behind them"
        )
    name = named[0] if named else "eth0"
    listed = [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}, {"family": "inet6", "local": "::1",
                                                                       "prefixlen": 128}]  # fmt: skip
    own = [{"family": "inet" if a.version == 4 else "inet6", "local": str(a), "prefixlen": _LINK[a.version]}
           for a in host.addresses]  # fmt: skip
    text = json.dumps([{"ifname": "lo", "addr_info": listed}, {"ifname": name, "addr_info": own}])
    shown = ", ".join(f"{a}/{_LINK[a.version]}" for a in host.addresses)
    return parse_addresses(text, "inventory"), f"{host.name} has {shown} on {name} (--addresses says otherwise)"


def _default_routes(own: Addresses, host: Host) -> tuple[dict[Family, tuple[Route, ...]], str]:
    mine = next((each.interface for each in own.own if each.prefix.ip in host.addresses), None)
    name = mine or next((name for name in own.interfaces if name != "lo"), "eth0")
    return {
        f: (Route(n, name),) for f, n in _EVERYBODY.items()
    }, f"every other host is reached through {name} (--routes)"


def shape_of(
    model: HostModel, host: Host, others: Iterable[Host], families: Collection[Family] = tuple(Family)
) -> tuple[Shape, tuple[str, ...]]:
    """Return what the kernel twin of a host is made like, and why other hosts have no place in it.

    Another host has its addresses of ``families`` there to which an interface leads, in one family or both.
    """
    own = model.addresses
    assert own is not None
    roads = [road for family in Family for road in model.routes.get(family, ()) if road.interface]
    names = [name for name in own.interfaces if name != "lo"]
    ports = tuple(
        Port(
            name=name,
            addresses=tuple(o.prefix for o in own.own if o.interface == name and not _self_made(o.prefix)),
            routes=tuple(dict.fromkeys(road.network for road in roads if road.interface == name)),
        )
        for name in names
    )  # fmt: skip
    placed_: dict[str, tuple[str, tuple[Address, ...]]] = {}
    lost: list[str] = []
    for other in others:
        wanted = [address for address in other.addresses if Family.of(address) in families]
        leads = {each: name for each in wanted if (name := model.interface_for(each)) in names and name is not None}
        if len(set(leads.values())) > 1 or (wanted and not leads):
            lost.append(f"{other.name}: no one interface leads to its addresses")
            continue
        gone = ", ".join(str(address) for address in wanted if address not in leads)
        lost += [f"{other.name} as {gone}: no interface leads there"] if gone else []
        for link in set(leads.values()):
            placed_[other.name] = (link, tuple(leads))
    return Shape(name=host.name, ports=ports, others=placed_, sysctls=dict(model.settings)), tuple(lost)


def _self_made(prefix: object) -> bool:
    return bool(ip_interface(str(prefix)).is_link_local)


def named_texts(texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the inputs by the name that their capture has in a snapshot."""
    names = {
        "iptables_save": "iptables-save", "ip6tables_save": "ip6tables-save", "nft_json": "nft",
        "ipset_save": "ipset-save", "addresses": "ip-addr", "routes": "ip-route", "sysctls": "sysctl",
    }  # fmt: skip
    yield from ((names.get(key, key), text) for key, text in texts.items())
