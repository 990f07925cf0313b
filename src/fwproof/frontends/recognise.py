"""Who manages a host's tables: told from the chains and tables in the kernel, and from what is loaded at boot.

A manager *rules* where it decides by itself who gets in: ufw, firewalld, rules of iptables and of nftables that
nobody else made. Others are *guests*: they add chains of their own beside whoever rules, and live with it (Docker,
kube-proxy, fail2ban and their like). Names of chains and tables are those that each program makes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fwproof.errors import NotThere
from fwproof.evidence.boot import enabled_loaders
from fwproof.flow import Family
from fwproof.ruleset.iptables import BUILT_IN
from fwproof.ruleset.model import Chain, Rule, Ruleset, Table
from fwproof.snapshot import Snapshot


class Manager(StrEnum):
    """Who writes rules."""

    UFW = "ufw"
    FIREWALLD = "firewalld"
    NFTABLES = "nftables"
    IPTABLES = "iptables"
    DOCKER = "Docker"
    KUBERNETES = "kube-proxy"
    FAIL2BAN = "fail2ban"
    LIBVIRT = "libvirt"
    PODMAN = "Podman"
    CROWDSEC = "CrowdSec"
    SSHGUARD = "sshguard"
    TAILSCALE = "Tailscale"


RULERS = (Manager.UFW, Manager.FIREWALLD, Manager.NFTABLES, Manager.IPTABLES)
"""Those who decide who gets in; two of them on one host is a fight."""

_CHAINS = (
    (re.compile(r"ufw6?-.*"), Manager.UFW),
    (re.compile(r"(?:INPUT|OUTPUT|FORWARD|PREROUTING|POSTROUTING)_(?:direct|ZONES.*|POLICIES.*)"), Manager.FIREWALLD),
    (re.compile(r"DOCKER(?:-.*)?"), Manager.DOCKER),
    (re.compile(r"(?:KUBE|CNI|cali|CILIUM|FLANNEL)-.*"), Manager.KUBERNETES),
    (re.compile(r"f2b-.*"), Manager.FAIL2BAN),
    (re.compile(r"LIBVIRT_.*"), Manager.LIBVIRT),
    (re.compile(r"NETAVARK.*"), Manager.PODMAN),
    (re.compile(r"CROWDSEC.*"), Manager.CROWDSEC),
    (re.compile(r"sshguard"), Manager.SSHGUARD),
    (re.compile(r"ts-(?:input|forward|postrouting)"), Manager.TAILSCALE),
)  # fmt: skip
_TABLES = (
    (re.compile(r"firewalld"), Manager.FIREWALLD),
    (re.compile(r"docker-bridges"), Manager.DOCKER),
    (re.compile(r"kube-proxy"), Manager.KUBERNETES),
    (re.compile(r"f2b-table"), Manager.FAIL2BAN),
    (re.compile(r"libvirt_network"), Manager.LIBVIRT),
    (re.compile(r"netavark"), Manager.PODMAN),
    (re.compile(r"crowdsec6?"), Manager.CROWDSEC),
    (re.compile(r"sshguard"), Manager.SSHGUARD),
)
_BRIDGE = re.compile(r"(?:-[io]|oifname|iifname) \"?(?:docker0|br-[0-9a-f]{12})\b")
"""Interfaces of Docker's own: its rules of FORWARD name them and jump nowhere."""
_HAIRPIN = re.compile(r"-A POSTROUTING -s (\S+)/32 -d \1/32 .*-j MASQUERADE")
"""What Docker adds for a container that reaches its own published port (engines up to 27)."""
_LOADS = {
    "ufw": Manager.UFW, "firewalld": Manager.FIREWALLD, "nftables": Manager.NFTABLES,
    "netfilter-persistent": Manager.IPTABLES, "iptables": Manager.IPTABLES, "ip6tables": Manager.IPTABLES,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """What is there of one manager: its places in the kernel, and what of it is started at boot.

    ``filters`` are the places at which it refuses or accepts by itself (``ip INPUT``); ``views`` are the variants of
    iptables that its rules came through. ``boots`` says what starts it, empty where nothing does or nobody could look.
    """

    manager: Manager
    places: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    views: frozenset[str] = frozenset()
    boots: str = ""

    @property
    def rules(self) -> bool:
        """Whether it decides who gets in at the moment."""
        return self.manager in RULERS and bool(self.filters)


@dataclass(slots=True)
class _Found:
    places: dict[str, None] = field(default_factory=dict)
    filters: dict[str, None] = field(default_factory=dict)
    views: set[str] = field(default_factory=set)


def managers(snapshot: Snapshot, rulesets: Mapping[Family, tuple[Ruleset, ...]]) -> tuple[Presence, ...]:
    """Return every manager of which something is there, rulers first."""
    found: dict[Manager, _Found] = {}
    direct, closed = direct_rules(snapshot), ufw_closes_ipv6(snapshot)
    for ruleset in (each for family in Family for each in rulesets.get(family, ())):
        for table in ruleset.tables.values():
            for chain in table.chains.values():
                place = f"{table.family or ruleset.family.table_family} {table.name} {chain.name}"
                for maker, decides in _of_chain(ruleset, table, chain, direct[place]):
                    by_ufw = maker is Manager.IPTABLES and closed and _is_closed(ruleset, chain)
                    here = found.setdefault(Manager.UFW if by_ufw else maker, _Found())
                    here.places[place] = None
                    here.views |= {ruleset.backend} if ruleset.backend else set()
                    if decides:
                        here.filters[place] = None
    boots = booting(snapshot)
    return tuple(
        Presence(
            manager=manager, places=tuple(here.places), filters=tuple(here.filters), views=frozenset(here.views),
            boots=boots.get(manager, ""),
        )
        for manager in Manager
        if (here := found.get(manager, _Found())).places or manager in boots
    )  # fmt: skip


def booting(snapshot: Snapshot) -> dict[Manager, str]:
    """Return who loads rules at boot, and by which link; nobody where that could not be read."""
    links = snapshot.captures["boot-links"].stdout if "boot-links" in snapshot.captures else ""
    found: dict[Manager, str] = {}
    for loader in enabled_loaders(links.splitlines()):
        manager = _LOADS[loader.name]
        if manager is Manager.UFW and not ufw_enabled(snapshot):
            continue
        if loader.name == "netfilter-persistent" and all(
            isinstance(snapshot.faults.get(name), NotThere) for name in ("rules.v4", "rules.v6")
        ):
            continue
        found.setdefault(manager, f"{loader.link} loads {loader.loads}")
    return found


def ufw_enabled(snapshot: Snapshot) -> bool:
    """Whether ufw.conf has ENABLED=yes, without which ufw's unit loads nothing (ufw-init-functions)."""
    conf = snapshot.captures.get("ufw.conf")
    return conf is not None and setting(conf.stdout, "ENABLED").lower() == "yes"


def ufw_closes_ipv6(snapshot: Snapshot) -> bool:
    """Whether ufw is enabled with IPV6=no: it then lets nothing through in IPv6 but loopback (ufw-init-functions)."""
    defaults = snapshot.captures.get("ufw-defaults")
    return ufw_enabled(snapshot) and defaults is not None and setting(defaults.stdout, "IPV6").lower() == "no"


def _is_closed(ruleset: Ruleset, chain: Chain) -> bool:
    """Whether a chain is as ufw leaves it under IPV6=no."""
    only = [rule.ref.text for rule in chain.rules] in (["-A INPUT -i lo -j ACCEPT"], ["-A OUTPUT -o lo -j ACCEPT"], [])
    return ruleset.family is Family.IPV6 and chain.default == "DROP" and only


def setting(text: str, name: str) -> str:
    """Return the last value of ``NAME=value`` in a file that a shell would read, without quotes; empty where unset."""
    found = re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)
    return found[-1].strip().strip("\"'") if found else ""


def direct_rules(snapshot: Snapshot) -> Counter[str]:
    """Return how many rules firewalld's direct interface keeps in each chain of iptables (``ip filter INPUT``)."""
    capture = snapshot.captures.get("firewalld-direct")
    words = [line.split() for line in (capture.stdout if capture else "").splitlines()]
    families = {"ipv4": "ip", "ipv6": "ip6"}
    return Counter(
        f"{families[line[0]]} {line[1]} {line[2]}" for line in words if len(line) > 4 and line[0] in families
    )


def _of_chain(ruleset: Ruleset, table: Table, chain: Chain, direct: int) -> Iterator[tuple[Manager, bool]]:
    """Yield who has a part in a chain, and whether that part decides who gets in; ``direct``: rules of firewalld's."""
    of_iptables = not ruleset.native or (
        table.name in BUILT_IN and not set(table.chains).isdisjoint(BUILT_IN[table.name])
    )
    if not of_iptables:
        by_table = owner_of_table(table.name) or Manager.NFTABLES
        if chain.rules or chain.default == "DROP":
            yield by_table, chain.kind == "filter" and chain.hook in {"input", "forward"}
    elif (owner := owner_of(chain.name)) is not None:
        yield owner, False
    elif chain.name in BUILT_IN.get(table.name, ()):
        yield from _of_base_chain(chain, direct, filters=table.name == "filter" and chain.name in {"INPUT", "FORWARD"})


def _of_base_chain(chain: Chain, direct: int, *, filters: bool) -> Iterator[tuple[Manager, bool]]:
    written = [rule for rule in chain.rules if rule.ref.rule is not None]
    owners = [owner_of_rule(rule) for rule in written]
    known = dict.fromkeys(each for each in owners if each is not None)
    for each in known:
        yield each, filters and each in RULERS
    by_hand = owners.count(None)
    if by_hand:
        yield (Manager.FIREWALLD, False) if by_hand <= direct else (Manager.IPTABLES, filters)
    elif filters and chain.name == "INPUT" and chain.default == "DROP" and not set(known) & set(RULERS):
        yield Manager.IPTABLES, True


def owner_of_table(name: str) -> Manager | None:
    """Return who makes tables of nftables of this name; None for a name that anybody may use."""
    return next((manager for pattern, manager in _TABLES if pattern.fullmatch(name)), None)


def owner_of(chain: str) -> Manager | None:
    """Return who makes chains of this name in tables of iptables; None for a name that anybody may use."""
    return next((manager for name, manager in _CHAINS if name.fullmatch(chain)), None)


def owner_of_rule(rule: Rule) -> Manager | None:
    """Return who made a rule of a built-in chain: whoever owns the chain it jumps to, or Docker by its bridges."""
    owner = owner_of(rule.target.chain) if rule.target.chain else None
    if owner is None and (_BRIDGE.search(rule.ref.text) or _HAIRPIN.match(rule.ref.text)):
        return Manager.DOCKER
    return owner
