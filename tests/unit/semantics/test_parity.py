"""Parity: what the two families let through differently, against single packets asked one by one."""

import random
from functools import reduce
from ipaddress import ip_address, ip_network
from itertools import product

import pytest

from fwproof.decision import Decision
from fwproof.flow import CtState, Family, Flow, Hook
from fwproof.semantics.model import HostModel
from fwproof.semantics.parity import parity
from fwproof.semantics.parity_zones import Group, words
from fwproof.semantics.space import SpaceTooLarge
from fwproof.semantics.witness import follow

from .tables import ADDRESSES

V4, V6 = Family.IPV4, Family.IPV6


def group(name, *networks, single=False):
    return Group(name, tuple(map(ip_network, networks)), single)


ZONES = (
    group("internal", "10.0.0.0/16", "fd00::/48"), group("admin", "10.0.0.1", "fd00::1"),
    group("outside", "203.0.113.0/24", "2001:db8:bad::/64"),
)  # fmt: skip
BASE = ("-A INPUT -i lo -j ACCEPT", "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
ND = tuple(f"-A {chain} -p ipv6-icmp -m icmp6 --icmpv6-type {kind} -m hl --hl-eq 255 -j ACCEPT"
           for chain in ("INPUT", "OUTPUT") for kind in (133, 134, 135, 136))  # fmt: skip


def table(*rules, default="DROP", chains=("A",)):
    head = [
        *(f":{name} {default} [0:0]" for name in ("INPUT", "FORWARD", "OUTPUT")),
        *(f":{c} - [0:0]" for c in chains),
    ]
    return "\n".join(["*filter", *head, *rules, "COMMIT", ""])


def model(v4, v6, addresses=ADDRESSES):
    return HostModel.build(iptables_save=v4, ip6tables_save=v6, addresses=addresses)


def compare(v4, v6, zones=ZONES, **more):
    """Return the differences of two INPUT chains (or whole tables): rooms, and how each family stands."""
    texts = [each if isinstance(each, str) else table(*BASE, *each) for each in (v4, v6)]
    return parity(model(*texts, **more), zones)


def told(found):
    return [
        (f"{one.hook}: {room}", one.sides[V4].status, one.sides[V6].status)
        for one in found.differences
        for room in one.rooms
    ]


SSH = "-p tcp -m tcp --dport 22 -j ACCEPT"
WEB = "-p tcp -m tcp --dport 8080 -j ACCEPT"
EACH = "5/min --hashlimit-mode srcip --hashlimit-name a"
DIFFERENT = {
    "a port that only IPv4 opens": (
        [f"-A INPUT -s 10.0.0.0/16 {WEB}"], [],
        [("input: tcp/8080 from internal", "open", "closed")]),
    "a port that only IPv6 opens": (
        [], [f"-A INPUT -s fd00::/48 {WEB}"],
        [("input: tcp/8080 from internal", "closed", "open")]),
    "another zone": (
        [f"-A INPUT -s 10.0.0.1 {SSH}"], [f"-A INPUT -s 2001:db8:bad::/64 {SSH}"],
        [("input: tcp/22 from admin", "open", "closed"), ("input: tcp/22 from outside", "closed", "open")]),
    "a part of a zone": (
        [f"-A INPUT -s 10.0.0.0/16 {SSH}"], [f"-A INPUT -s fd00::/49 {SSH}"],
        [("input: tcp/22 from internal except admin", "open", "open in part")]),
    "everywhere, and a zone": (
        [f"-A INPUT {SSH}"], [f"-A INPUT -s fd00::/48 {SSH}"],
        [("input: tcp/22 from anywhere except internal", "open", "closed")]),
    "two rules are two differences": (
        [f"-A INPUT {SSH}", f"-A INPUT {WEB}"], [],
        [("input: tcp/22 from anywhere", "open", "closed"), ("input: tcp/8080 from anywhere", "open", "closed")]),
    "echo only": (
        ["-A INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT"], list(ND),
        [("input: ping from anywhere", "open", "closed")]),
    "a source port that opens every port": (
        [], ["-A INPUT -p udp -m udp --sport 53 -j ACCEPT"],
        [("input: udp from anywhere", "closed", "open")]),
    "an interface": (
        [f"-A INPUT -i eth0 {SSH}"], [f"-A INPUT {SSH}"],
        [("input: tcp/22 from anywhere through any other interface", "closed", "open")]),
    "a protocol without ports": (
        ["-A INPUT -p gre -j ACCEPT"], [], [("input: gre from anywhere", "open", "closed")]),
    "what is sent": (
        table(f"-A OUTPUT -d 10.0.0.0/16 {SSH}"), table(),
        [("output: tcp/22 to internal", "open", "closed")]),
    "what is passed on": (
        table(f"-A FORWARD -s 203.0.113.0/24 -d 10.0.0.1 {SSH}"), table(),
        [("forward: tcp/22 from outside to admin", "open", "closed")]),
    "a default": (
        table(default="ACCEPT"), table(),
        [("input: every service from anywhere", "open", "closed"),
         ("output: every service to anywhere", "open", "closed"),
         ("forward: every service from anywhere to anywhere", "open", "closed")]),
    "a limit and none": (
        [f"-A INPUT -s 10.0.0.0/16 -m limit --limit 5/min {SSH}"], [f"-A INPUT -s fd00::/48 {SSH}"],
        [("input: tcp/22 from internal", "limited", "open")]),
    "another limit": (
        [f"-A INPUT -m limit --limit 5/min {SSH}"], [f"-A INPUT -m limit --limit 6/min {SSH}"],
        [("input: tcp/22 from anywhere", "limited", "limited")]),
    "a limit per address and one per network": (
        [f"-A INPUT -m hashlimit --hashlimit-upto {EACH} {SSH}"],
        [f"-A INPUT -m hashlimit --hashlimit-upto {EACH} --hashlimit-srcmask 56 {SSH}"],
        [("input: tcp/22 from anywhere", "limited", "limited")]),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_differences(name):
    v4, v6, expected = DIFFERENT[name]
    found = compare(v4, v6)
    assert sorted(told(found)) == sorted(expected)
    assert not found.same
    assert (found.unknown, found.partly) == ((), ())
    for one in found.differences:
        for family, standing in one.sides.items():
            assert standing.witness.family is family
            assert standing.witness.ctstate is CtState.NEW
            assert standing.ruling is not None
            wanted = {"open": {Decision.ACCEPT}, "closed": {Decision.DROP}, "limited": {Decision.DEPENDS}}
            assert standing.ruling.decision in wanted.get(standing.status, {Decision.DROP, Decision.ACCEPT})


def recent(name, mask, *, seconds=60, hits=20):
    of = f"--name {name} --mask {mask} --rsource"
    return ["-A INPUT -p tcp -m tcp --dport 22 -j A",
            f"-A A -m recent --rcheck --seconds {seconds} --hitcount {hits} {of} -j DROP",
            f"-A A -m recent --set {of} -j ACCEPT"]  # fmt: skip


SAME = {
    "nothing": ([], []),
    "the same rules": ([f"-A INPUT -s 10.0.0.0/16 {SSH}"], [f"-A INPUT -s fd00::/48 {SSH}"]),
    "neighbour discovery is IPv6's own": ([], list(ND)),
    "any ICMP error": (["-A INPUT -p icmp -m icmp --icmp-type 3 -j ACCEPT"], []),
    "IGMP, and extension headers": (["-A INPUT -p igmp -j ACCEPT"], ["-A INPUT -p 60 -j ACCEPT"]),
    "DHCP": (["-A INPUT -p udp -m udp --sport 67 --dport 68 -j ACCEPT"],
             ["-A INPUT -s fe80::/10 -p udp -m udp --sport 547 --dport 546 -j ACCEPT"]),
    "multicast": (["-A INPUT -d 224.0.0.251 -p udp -m udp --dport 5353 -j ACCEPT"], []),
    "link-local": ([], [f"-A INPUT -s fe80::/10 {WEB}"]),
    "echo in both": (["-A INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT"],
                     ["-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT"]),
    "in other order, and in chains": (
        [f"-A INPUT {SSH}", f"-A INPUT -s 10.0.0.0/16 {WEB}"],
        ["-A INPUT -s fd00::/48 -j A", f"-A INPUT {SSH}", f"-A A {WEB}"]),
    "a limit per address and one per /64": (
        recent("OLLAMA", "255.255.255.255"), recent("OLLAMA6", "ffff:ffff:ffff:ffff::")),
    "a limit told from above and from below": (
        [f"-A INPUT -m hashlimit --hashlimit-upto {EACH} {SSH}"],
        [f"-A INPUT -p tcp -m tcp --dport 22 -m hashlimit --hashlimit-above {EACH}b -j DROP", f"-A INPUT {SSH}"]),
    "states, and addresses of the host": (
        [f"-A INPUT -d 10.0.0.10 -m conntrack --ctstate NEW {SSH}"], [f"-A INPUT -d fd00:0:0:1::10 {SSH}"]),
    "a clock that both ask": (
        [f"-A INPUT -m time --timestart 08:00 {SSH}"], [f"-A INPUT -m time --timestart 08:00 {SSH}"]),
    "to the host's own addresses": (table(f"-A OUTPUT -d 10.0.0.10 {SSH}"), table()),
    "over loopback": (["-A INPUT -s 127.0.0.0/8 -j ACCEPT"], []),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_what_is_no_difference(name):
    found = compare(*SAME[name])
    assert told(found) == []
    assert found.same
    assert found.partly == ()


def test_limits_are_compared_by_their_parameters():
    found = compare(recent("A", "255.255.255.255"), recent("A", "ffff:ffff:ffff:ffff::", hits=30))
    (one,) = found.differences
    assert [one.sides[family].depends_on for family in Family] == [
        (f"recent rcheck: seen {hits} times in 60 s, per source address",) for hits in (20, 30)]  # fmt: skip
    assert compare(recent("A", "255.255.255.0"), recent("A", "ffff:ffff:ffff:ffff::")).differences


def test_every_standing_names_its_rule():
    (one,) = compare([f"-A INPUT -s 10.0.0.0/16 {WEB}"], []).differences
    refs = [one.sides[family].ruling.by for family in Family]
    assert [(ref.family, ref.chain, ref.rule) for ref in refs] == [("ip", "INPUT", 3), ("ip6", "INPUT", None)]


UNKNOWN = {
    "a target that asks a program": ([f"-A INPUT {SSH}".replace("ACCEPT", "NFQUEUE")], [f"-A INPUT {SSH}"], "NFQUEUE"),
    "a match that is not known": (
        [f"-A INPUT -m owner9 --x 1 {SSH}"], [f"-A INPUT -m owner9 --x 2 {SSH}"], "depends on unread match"),
    "a line that was not read": (table("rubbish"), table(), "IPv4: table filter: expected -A CHAIN and a rule"),
    "a set whose members were not read": (
        [f"-A INPUT -m set --match-set four src {SSH}"], [f"-A INPUT -m set --match-set six src {SSH}"], "set"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_neither_same_nor_different(name):
    v4, v6, words_ = UNKNOWN[name]
    found = compare(v4, v6)
    assert found.differences == ()
    assert not found.same
    assert words_ in " ".join(found.unknown)


def test_a_family_that_was_not_read():
    found = parity(HostModel.build(iptables_save=table()), ZONES)
    assert (found.differences, found.same) == ((), False)
    assert "IPv6" in found.unknown[0]


def test_a_difference_beside_what_is_not_known():
    found = compare([f"-A INPUT {SSH}".replace("ACCEPT", "NFQUEUE"), f"-A INPUT {WEB}"], [f"-A INPUT {SSH}"])
    assert told(found) == [("input: tcp/8080 from anywhere", "open", "closed")]
    assert found.unknown


def test_parts_of_a_zone_in_both_families_are_told():
    found = compare([f"-A INPUT -s 10.0.0.0/17 {SSH}"], [f"-A INPUT -s fd00::/49 {SSH}"])
    assert found.same
    assert found.partly == ("input: tcp/22 from internal except admin",)


def test_a_host_of_the_inventory_refines_its_zone():
    zones = (*ZONES, group("db", "10.0.2.10", "fd00:0:0:2::10", single=True))
    v4, v6 = [f"-A INPUT -s 10.0.2.10 {SSH}"], [f"-A INPUT -s fd00:0:0:2::10 {SSH}"]
    assert compare(v4, v6).partly
    found = compare(v4, v6, zones)
    assert (found.same, found.partly) == (True, ())
    assert sorted(told(compare(v4, [f"-A INPUT -s fd00:0:0:2::11 {SSH}"], zones))) == [
        ("input: tcp/22 from db", "open", "closed"),
        ("input: tcp/22 from internal except admin, db", "closed", "open in part"),
    ]


def test_a_zone_of_one_family_has_nothing_to_be_compared_with():
    zones = (*ZONES, group("partner", "198.51.100.0/24"))
    found = compare([f"-A INPUT -s 198.51.100.0/24 {SSH}"], [], zones)
    assert (told(found), found.alone) == ([], ("partner has no IPv6 address",))


def test_zones_that_overlap_in_one_family_only_cannot_be_compared():
    zones = (group("internal", "10.0.0.0/16", "fd00::/48"), group("admin", "10.0.0.1", "2001:db8::1"))
    found = compare([], [], zones)
    assert not found.same
    assert "some IPv4 addresses are in admin and in internal, and no IPv6 address is" in found.unknown[0]


def test_without_zones_there_is_still_everywhere():
    assert told(compare([f"-A INPUT {SSH}"], [], ())) == [("input: tcp/22 from anywhere", "open", "closed")]


def test_a_published_port_is_an_opening_of_its_own():
    publish = "-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80"
    nat = f"*nat\n:PREROUTING ACCEPT [0:0]\n{publish}\nCOMMIT\n"
    v4 = nat + table(*BASE, "-A FORWARD -d 172.17.0.2 -p tcp -m tcp --dport 80 -j ACCEPT")
    found = told(compare(v4, table(*BASE)))
    assert ("input: tcp/8080 from anywhere", "open", "closed") in found


def test_a_host_of_many_interfaces_is_compared_by_those_that_rules_name():
    veth = ", ".join(f'{{"ifname": "veth{number}", "addr_info": []}}' for number in range(40))
    addresses = f"[{veth}, {ADDRESSES[1:]}"
    v4, v6 = (table(f"-A FORWARD -i veth7 -o eth0 -s {net} {SSH}", "-A FORWARD -i br+ -j ACCEPT")
              for net in ("10.0.0.0/16", "fd00::/48"))  # fmt: skip
    assert compare(v4, v6, addresses=addresses).same
    assert told(compare(v4, table("-A FORWARD -i br+ -j ACCEPT"), addresses=addresses)) == [
        ("forward: tcp/22 from internal to anywhere coming in by veth7 leaving by eth0", "open", "closed")]  # fmt: skip


def test_more_zones_than_can_be_compared(monkeypatch):
    monkeypatch.setattr("fwproof.semantics.parity.MOST_PAIRS", 5)
    with pytest.raises(SpaceTooLarge, match="more than 5 combinations of zones and interfaces at forward"):
        compare([], [])


# ---- against single packets, one by one

PLACES = {  # one address of every part that the random rules tell apart
    frozenset({"internal"}): (("10.0.9.5", "fd00:0:0:9::5"), ("10.0.200.5", "fd00:0:0:f000::5")),
    frozenset({"internal", "admin"}): (("10.0.0.1", "fd00::1"),),
    frozenset({"outside"}): (("203.0.113.7", "2001:db8:bad::7"),),
    frozenset(): (("8.8.8.8", "2001:4860::8"), ("9.9.9.9", "2001:4860::9")),
}  # fmt: skip
NETS = [("", ""), ("10.0.0.0/16", "fd00::/48"), ("10.0.0.0/17", "fd00::/49"), ("10.0.0.1", "fd00::1"),
        ("203.0.113.0/24", "2001:db8:bad::/64"), ("9.9.9.9", "2001:4860::9")]  # fmt: skip
ASKED = ["", "-p tcp -m tcp --dport 22", "-p tcp -m tcp --dport 1000:2000", "-p udp -m udp --dport 53",
         "-p udp -m udp --sport 53", "-p tcp -m multiport --dports 22,80", "ECHO", "-p gre",
         "-p sctp -m sctp --dport 22",
         "-p tcp -m tcp ! --dport 80", "-p tcp -m tcp --tcp-flags SYN,ACK SYN", "-m conntrack --ctstate NEW",
         "-p tcp -m tcp --tcp-flags SYN,ACK SYN,ACK"]  # fmt: skip
POINTS = {"tcp": (6, (22, 80, 1500, 9)), "udp": (17, (53, 9)), "ping": (0, (None,)), "gre": (47, (None,)),
          "sctp": (132, (22, 9))}  # fmt: skip
FACES = ("eth0", "eth1", "other0")


def random_rules(rng):
    rules = []
    for chain in ("INPUT", "FORWARD", "OUTPUT", "A"):
        for _ in range(rng.randrange(4)):
            src, dst = rng.choice(NETS), rng.choice(NETS)
            face = rng.choice(["", "", "eth0", "eth1", "eth+"])
            asked, target = rng.choice(ASKED), rng.choice(["ACCEPT", "ACCEPT", "DROP", "A", "RETURN"])
            if target == "A" and chain == "A":
                target = "ACCEPT"
            rules.append([chain, src, dst, face, asked, target, False])
    rng.choice(rules or [[0] * 7])[6] = rng.random() < 0.5
    return rules


def written(rules, at, limit):
    lines = []
    for chain, src, dst, face, asked, target, limited in rules:
        parts = [f"-A {chain}"]
        if chain in {"INPUT", "FORWARD", "A"} and src[at]:
            parts.append(f"-s {src[at]}")
        if chain in {"OUTPUT", "FORWARD"} and dst[at]:
            parts.append(f"-d {dst[at]}")
        if face and chain != "A":
            parts.append(f"-{'o' if chain == 'OUTPUT' else 'i'} {face}")
        echo = ("-p icmp -m icmp --icmp-type 8", "-p ipv6-icmp -m icmp6 --icmpv6-type 128")[at]
        parts += [asked.replace("ECHO", echo), f"-m limit --limit {limit}" if limited else "", f"-j {target}"]
        lines.append(" ".join(filter(None, parts)))
    return lines


def value(host, at, hook, src, dst, iif, oif, proto, port):
    """Return for which answers of the one limit some source port gets through, as bits: yes 1, no 2."""
    icmp = proto == 0
    number = (1, 58)[at] if icmp else proto
    found = 0
    for sport in (40000, 53):
        flow = Flow(
            src=ip_address(src), dst=ip_address(dst), proto=number, dport=port, sport=sport if port else None,
            flags=frozenset({"SYN"}) if proto == 6 else frozenset(), icmp_type=(8, 128)[at] if icmp else None,
            icmp_code=0 if icmp else None, iif=iif, oif=oif,
        )  # fmt: skip
        for leaf in follow(host, flow, hook):
            if leaf.decision is Decision.ACCEPT:
                answers = {answer for question, answer in leaf.choices if question.name.startswith("limit")}
                found |= (1 if True in answers else 2) if answers else 3
    return found


def meant(room, key, face, end, proto, port):
    """Whether a room, as its words say, has a point in it."""
    return (
        _named(room.sources if end == "src" else room.destinations, key)
        and (room.interfaces[0] is None or (face if face != "other0" else "") in room.interfaces[0])
        and any(_fits(text, proto, port) for text in room.as_json()["services"])
    )


def _named(names, key):
    for text in names:
        name, _, without = text.partition(" except ")
        gone = set(without.split(", ")) if without else set()
        if name == "elsewhere":
            held = not key
        elif name.endswith(" alone"):
            held = set(name.removesuffix(" alone").split(" and ")) == key
        else:
            held = name == "anywhere" or name in key
        if held and not gone & (key or {"elsewhere"}):
            return True
    return False


def _fits(text, proto, port):
    text, _, without = text.partition(" except ")
    if without and proto + (f"/{port}" if port else "") in without.split(", "):
        return False
    if text == "every service":
        return not any(_fits(each, proto, port) for each in without.split(", ") if without)
    if text == "every protocol without ports":
        return proto == "gre"
    name, _, ports = text.partition("/")
    if name != proto:
        return False
    if without:
        return not _inside(without, port)
    return not ports or _inside(ports, port)


def _inside(spans, port):
    ends = [span.partition("-") for span in spans.split(",")]
    return any(int(low) <= port <= int(high or low) for low, _, high in ends)


def point_of(hook, here, there):
    return (here, there) if hook is Hook.INPUT else (there, here)


@pytest.mark.parametrize("seed", range(24))
def test_every_point_is_told_as_single_packets_are(seed):
    rng = random.Random(seed)
    rules = random_rules(rng)
    other = [list(rule) for rule in rules]
    for _ in range(rng.randrange(3)):
        rng.choice(other or [[0] * 7])[rng.choice([1, 2, 3, 4])] = rng.choice(NETS)
        other = [rule for rule in other if isinstance(rule[3], str) and isinstance(rule[4], str)]
    limits = ("5/min", rng.choice(["5/min", "6/min"]))
    texts = [table(*written(each, at, limits[at]), default=rng.choice(["DROP", "DROP", "ACCEPT"]))
             for at, each in enumerate((rules, other))]  # fmt: skip
    host = model(*texts, ADDRESSES.replace('"lo"', '"eth1"}, {"ifname": "lo"'))
    found = parity(host, ZONES)
    assert found.unknown == ()
    for hook in (Hook.INPUT, Hook.OUTPUT):
        end = "src" if hook is Hook.INPUT else "dst"
        own = ("10.0.0.10", "fd00:0:0:1::10")
        rooms = [room for one in found.differences if one.hook is hook for room in one.rooms]
        for key, face, (proto, (number, ports)) in product(PLACES, FACES, POINTS.items()):
            for port in ports:
                states = []
                for at in (0, 1):
                    faces = (face, None) if hook is Hook.INPUT else (None, face)
                    values = [value(host, at, hook, *point_of(hook, place[at], own[at]), *faces, number, port)
                              for place in PLACES[key]]  # fmt: skip
                    state = (reduce(int.__and__, values), reduce(int.__or__, values))
                    states.append((state, limits[at] if {1, 2} & set(state) else ""))
                said = [room for room in rooms if meant(room, key, face, end, proto, port)]
                assert len(said) == (states[0] != states[1]), (texts, hook, key, face, proto, port, states, rooms)


@pytest.mark.parametrize("seed", range(60))
def test_names_of_parts_say_exactly_which_they_are(seed):
    rng = random.Random(seed)
    drawn = [frozenset(rng.sample("abcd", rng.randrange(5))) for _ in range(rng.randrange(2, 9))]
    every = list(dict.fromkeys([frozenset(), *drawn]))
    wanted = {key for key in every if rng.random() < 0.5} or {every[0]}
    assert {key for key in every if _named(words(wanted, every), key)} == wanted
