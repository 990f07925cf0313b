"""firewalld: which item of which zone a rule of the kernel comes from, and the firewall-cmd commands that change it.

Chains are those of firewalld's nftables backend (firewalld 1.x, ``nftables.py``): ``filter_IN_ZONE_allow`` holds a rule
for each port, service and rich rule of a zone. Rules are told by what they ask, not by their place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.frontends.commands import command
from fwproof.frontends.firewalld_zones import Zone, read_zones
from fwproof.frontends.wish import Opening, Way, Wish, address
from fwproof.ruleset.asks import Within
from fwproof.ruleset.iptables import parse
from fwproof.ruleset.model import Rule, Ruleset
from fwproof.semantics.compare import meaning
from fwproof.snapshot import Snapshot

_CHAIN = re.compile(r"filter_(IN|FWD)_(policy_)?(.+?)(?:_(pre|log|deny|allow|post))?")
_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp", 33: "dccp"}
_SERVICES = {
    "ssh": "22/tcp", "http": "80/tcp", "https": "443/tcp", "dhcpv6-client": "546/udp", "cockpit": "9090/tcp",
    "mdns": "5353/udp", "dns": "53/tcp 53/udp", "ntp": "123/udp", "samba-client": "137/udp 138/udp", "smtp": "25/tcp",
    "mysql": "3306/tcp", "postgresql": "5432/tcp", "redis": "6379/tcp", "nfs": "2049/tcp", "rdp": "3389/tcp",
    "imaps": "993/tcp", "elasticsearch": "9200/tcp 9300/tcp", "ftp": "21/tcp", "snmp": "161/tcp 161/udp",
}  # fmt: skip
"""Ports of services that firewalld ships (/usr/lib/firewalld/services); others are told by leaving these out."""
_RICH = re.compile(r'(port port|protocol|source address|service name)="([^"]+)"|protocol="([a-z]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that somebody told firewalld: ``option`` and ``value`` are firewall-cmd's (``port``, ``8080/tcp``).

    ``sure`` is False where it is one of several; ``permanent``: it is in the permanent configuration as well.
    """

    zone: str
    option: str
    value: str
    permanent: bool
    sure: bool = True

    def __str__(self) -> str:
        until = "" if self.permanent else ", only until the next reload"
        if self.option == "direct":
            return f"firewalld direct rule {self.value}{until}"
        what = f"{self.option} {self.value}" if self.sure else f"one of the services {self.value}"
        return f"firewalld zone {self.zone}, {what}{until}"

    def removal(self) -> str:
        """Return the command that takes it back from what runs; empty where it cannot be told or shown."""
        if not self.sure:
            return ""
        if self.option == "direct":
            return command(["firewall-cmd", "--direct", "--remove-rule", *self.value.split()])
        return command(["firewall-cmd", f"--zone={self.zone}", f"--remove-{self.option}={self.value}"])

    def removals(self) -> str:
        """Return the commands that take it back for good."""
        now = self.removal()
        if not self.permanent or not now:
            return now
        return f"{now}; {now.replace('firewall-cmd ', 'firewall-cmd --permanent ', 1)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Firewalld:
    """firewalld on one host: its zones as they run and as they are permanent, and the rules of the kernel by item."""

    running: Mapping[str, Zone]
    permanent: Mapping[str, Zone]
    known: Mapping[RuleRef, Item]
    direct: tuple[str, ...] = ()
    direct_permanent: tuple[str, ...] = ()

    def name(self, ref: RuleRef) -> str:
        """Return what firewalld calls a rule of the kernel; empty for one that is not firewalld's."""
        if ref in self.known:
            return str(self.known[ref])
        if ref.table != "firewalld":
            return ""
        zone, policy = self._place(ref)
        if policy:
            return f"firewalld policy {policy}"
        if not zone:
            return "firewalld, which no zone lets it through" if "reject" in ref.text else "firewalld's own rule"
        if "icmp" in ref.text and "accept" in ref.text:
            return f"firewalld zone {zone}, which lets in ICMP"
        target = self.running[zone].words.get("target", "") if zone in self.running else ""
        return f"firewalld zone {zone}, target {target or 'default'}"

    def _place(self, ref: RuleRef) -> tuple[str, str]:
        """Return the zone and the policy that a chain belongs to, each empty where it is none's."""
        found = _CHAIN.fullmatch(ref.chain)
        if found is None or ref.table != "firewalld":
            return "", ""
        return ("", found[3]) if found[2] else (found[3] if found[3] in self.running else "", "")

    def mend(self, wish: Wish) -> str:
        """Return the firewall-cmd commands that would make it as wished, in words; empty where there are none."""
        steps = self._open(wish) if wish.wrong == "open" else self._shut(wish)
        return ", then ".join(dict.fromkeys(f"`{step}`" for step in steps if step))

    def _open(self, wish: Wish) -> Iterator[str]:
        added = False
        for ref in wish.by:
            item = self.known.get(ref)
            zone, policy = self._place(ref)
            if item is not None:
                for each in wish.allowed if wish.way is Way.IN else ():
                    if each.port is not None and f"{each.port}/{each.proto}" in _ports(item):
                        # the narrower rules first, so that nobody who may get in is locked out in between
                        for family in Family:
                            yield from _adding(each, item.zone, family)
                        added = True
                yield item.removals()
            elif zone and not policy and "icmp" in ref.text:
                yield command(["firewall-cmd", "--permanent", f"--zone={zone}", "--add-icmp-block-inversion"])
                added = True
            elif zone and self.running[zone].words.get("target") == "ACCEPT":
                yield command(["firewall-cmd", "--permanent", f"--zone={zone}", "--set-target=default"])
                added = True
        if added:
            yield "firewall-cmd --reload"

    def _shut(self, wish: Wish) -> Iterator[str]:
        if wish.way is not Way.IN or wish.wanted is None or wish.wanted.port is None:
            return
        zone = next((zone for ref in wish.by if (zone := self._place(ref)[0])), "")
        if not zone:
            return
        yield from _adding(wish.wanted, zone, wish.family)
        yield "firewall-cmd --reload"


def _adding(opening: Opening, zone: str, family: Family) -> Iterator[str]:
    head = ["firewall-cmd", "--permanent", f"--zone={zone}"]
    if opening.is_for_all:
        yield command([*head, f"--add-port={opening.port}/{opening.proto}"])
        return
    for network in opening.of(family):
        rule = (f'rule family="{family.value}" source address="{address(network)}" '
                f'port port="{opening.port}" protocol="{opening.proto}" accept')  # fmt: skip
        yield command([*head, f"--add-rich-rule={rule}"])


def _ports(item: Item) -> set[str]:
    if item.option == "port":
        return {item.value}
    if item.option == "service":
        return set(_SERVICES.get(item.value, "").split())
    return _asked(item.value)[0] if item.option == "rich-rule" else set()


def _asked(rule: str) -> tuple[set[str], str]:
    """Return the ports of a rich rule (``8080/tcp``), and its source, empty where it has none."""
    port, service, source, proto = "", "", "", ""
    for key, value, plain in _RICH.findall(rule):
        port = value if key == "port port" else port
        service = value if key == "service name" else service
        source = value if key == "source address" else source
        proto = plain or (value if key == "protocol" else proto)
    return ({f"{port}/{proto}"} if port else set(_SERVICES.get(service, "").split())), source


def read_firewalld(snapshot: Snapshot, rulesets: Mapping[Family, tuple[Ruleset, ...]]) -> Firewalld | None:
    """Return firewalld as it runs on a host, None where it does not, or where nobody could ask it."""
    names = ("firewalld-zones", "firewalld-zones-permanent", "firewalld-direct", "firewalld-direct-permanent")
    if any(name in snapshot.faults or name not in snapshot.captures for name in names):
        return None
    zones, permanent, direct, direct_permanent = (snapshot.captures[name].stdout for name in names)
    found = Firewalld(
        running=read_zones(zones), permanent=read_zones(permanent), known={}, direct=tuple(direct.splitlines()),
        direct_permanent=tuple(direct_permanent.splitlines()),
    )  # fmt: skip
    known: dict[RuleRef, Item] = {}
    for family, ruleset in ((f, each) for f in Family for each in rulesets.get(f, ())):
        for rule in ruleset.rules():
            place = _CHAIN.fullmatch(rule.ref.chain) if rule.ref.table == "firewalld" else None
            if place is not None and not place[2] and place[4] and place[3] in found.running:
                item = _item(rule, found.running[place[3]], found.permanent.get(place[3]))
                known |= {rule.ref: item} if item is not None else {}
        known |= _direct(found, family, ruleset)
    return Firewalld(
        running=found.running, permanent=found.permanent, known=known, direct=found.direct,
        direct_permanent=found.direct_permanent,
    )  # fmt: skip


def _item(rule: Rule, zone: Zone, permanent: Zone | None) -> Item | None:
    """Return the item of a zone that asks what a rule asks."""
    asks = {m.test.field: m.test.ranges for m in rule.matches if isinstance(m.test, Within) and not m.negated}
    if "dport" not in asks or "proto" not in asks:
        return None
    low, high = asks["dport"][0]
    proto = _PROTOCOLS.get(asks["proto"][0][0], "")
    port = f"{low}/{proto}" if low == high else f"{low}-{high}/{proto}"

    def made(option: str, value: str, *, sure: bool = True) -> Item:
        there = permanent is not None and value in (
            permanent.rich if option == "rich-rule" else permanent.of(f"{option}s")
        )
        return Item(zone=zone.name, option=option, value=value, permanent=there, sure=sure)

    for rich in zone.rich:
        ports, source = _asked(rich)
        if port in ports and _ranges(source) == asks.get("src"):
            return made("rich-rule", rich)
    if "src" in asks:
        return None
    if port in zone.of("ports"):
        return made("port", port)
    named = [name for name in zone.of("services") if port in _SERVICES.get(name, "").split()]
    others = [name for name in zone.of("services") if name not in _SERVICES]
    if named or len(others) == 1:
        return made("service", (named or others)[0])
    return made("service", ", ".join(others), sure=False) if others else None


def _ranges(source: str) -> tuple[tuple[int, int], ...] | None:
    if not source:
        return None
    try:
        network = ip_network(source, strict=False)
    except ValueError:
        return ()
    return ((int(network.network_address), int(network.broadcast_address)),)


def _direct(found: Firewalld, family: Family, ruleset: Ruleset) -> dict[RuleRef, Item]:
    """Return the rules of iptables that firewalld's direct interface put there."""
    items: dict[RuleRef, Item] = {}
    for line in found.direct:
        words = line.split()
        if len(words) < 5 or words[0] != family.value or words[1] not in ruleset.tables:
            continue
        text = f"*{words[1]}\n-A {words[2]} {' '.join(words[4:])}\nCOMMIT\n"
        wanted = [meaning(rule) for rule in parse(text, family, "direct").rules()]
        chain = ruleset.tables[words[1]].chains.get(words[2])
        for rule in chain.rules if chain is not None else ():
            if meaning(rule) in wanted:
                items[rule.ref] = Item(zone="", option="direct", value=line, permanent=line in found.direct_permanent)
    return items
