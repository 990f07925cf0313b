"""Address translation: where packets go, what rules see of them afterwards, and what the whole-space questions say."""

# ruff: noqa: E501 - rules stand on one line, as iptables-save prints them

import random
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from fwproof.decision import Decision
from fwproof.errors import InputError
from fwproof.flow import CtState, Family, Flow, Hook
from fwproof.ruleset.iptables import parse
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import Engine
from fwproof.semantics.compare import same_meaning
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import openings, refusals
from fwproof.semantics.space import Claim
from fwproof.semantics.witness import point

ADDRESSES = """[{"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
 {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.10", "prefixlen": 16, "broadcast": "10.0.255.255"}]},
 {"ifname": "docker0", "addr_info": [{"family": "inet", "local": "172.17.0.1", "prefixlen": 16}]}]"""
ROUTES = """[{"dst": "default", "gateway": "10.0.0.1", "dev": "eth0"}, {"dst": "10.0.0.0/16", "dev": "eth0"},
 {"dst": "172.17.0.0/16", "dev": "docker0"}]"""
FORWARDS = "/proc/sys/net/ipv4/ip_forward:1\n"
DOCKER = """*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -s 10.0.0.1/32 -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
COMMIT
"""
BASES = {
    "nat": "PREROUTING INPUT OUTPUT POSTROUTING",
    "filter": "INPUT FORWARD OUTPUT",
    "mangle": "PREROUTING FORWARD POSTROUTING",
    "raw": "PREROUTING OUTPUT",
}


def table(name, *rules, **defaults):
    """Return one table with these rules."""
    head = [f":{base} {defaults.get(base.lower(), 'ACCEPT')} [0:0]" for base in BASES[name].split()]
    return "\n".join([f"*{name}", *head, *rules, "COMMIT", ""])


def model(text, **rest):
    facts = {"iptables_save": text, "ip6tables_save": "", "addresses": ADDRESSES, "routes": ROUTES, "sysctls": FORWARDS}
    return HostModel.build(**facts | rest)


def tcp(dst="10.0.0.10", dport=8080, src="203.0.113.7", **rest):
    return Flow(
        src=ip_address(src), dst=ip_address(dst), proto=6, sport=40000, dport=dport, flags=frozenset({"SYN"}),
        **{"iif": "eth0"} | rest,
    )  # fmt: skip


def end(text, flow, **rest):
    (leaf,) = model(text, **rest).leaves(flow)
    return leaf


def test_a_published_port_bypasses_input():
    ruling = model(DOCKER).evaluate(tcp())
    assert (ruling.decision, ruling.by.chain, ruling.by.table) == ("accept", "DOCKER", "filter")
    assert "DNAT makes it 172.17.0.2:80" in [step.note for step in ruling.trace]
    assert "INPUT" not in {step.rule.chain for step in ruling.trace}
    assert model(DOCKER).evaluate(tcp(dport=8081)).by.chain == "INPUT"


def let_in(host, hook, **question):
    return openings(host, hook, Family.IPV4, **question).openings


def rooms(found):
    return [str(room) for each in found for room in each.rooms]


@pytest.mark.parametrize("hook", [Hook.INPUT, Hook.FORWARD])
def test_the_whole_space_shows_a_published_port(hook):
    (leak,) = [each for each in let_in(model(DOCKER), hook) if each.onto]
    assert (leak.onto, leak.by.chain, leak.certainty) == ("172.17.0.2, port 80", "DOCKER", "accept")
    assert all(room.startswith("tcp 8080 from anywhere to ") and "10.0.0.10" in room for room in rooms([leak]))
    assert "sent on to 172.17.0.2, port 80 by nat" in leak.lines()[0]


def test_a_claim_about_a_published_port_is_judged_where_it_goes():
    (leak,) = let_in(model(DOCKER), Hook.INPUT, claim=Claim(proto=6, ports=((8080, 8080),)))
    assert all("from anywhere" in room for room in rooms([leak]))
    peers = Claim(
        proto=6, ports=((8080, 8080),), sources=(ip_network("192.0.2.0/24"),), destinations=(ip_network("10.0.0.10"),),
        opening=True,
    )  # fmt: skip
    (inside,) = refusals(model(DOCKER), Hook.INPUT, Family.IPV4, peers).openings
    assert [room.interfaces for room in inside.rooms] == [("docker0",)], "from there the port is not translated"
    closed = DOCKER.replace("-p tcp -m tcp --dport 80 -j ACCEPT", "-p tcp -m tcp --dport 81 -j ACCEPT")
    refused = refusals(model(closed), Hook.INPUT, Family.IPV4, peers).openings
    assert {each.by.chain for each in refused} == {"FORWARD", "INPUT"}


def test_without_addresses_a_translation_depends_and_is_not_hidden():
    (leak,) = [each for each in let_in(model(DOCKER, addresses=None, routes=None), Hook.INPUT) if each.onto]
    assert leak.certainty == "depends"


def seen(nat, filter_rule, flow=None):
    """Whether a rule of FORWARD matches after a nat rule of PREROUTING."""
    text = table("nat", f"-A PREROUTING {nat}") + table("filter", f"-A FORWARD {filter_rule} -j DROP")
    return end(text, flow or tcp()).decision is Decision.DROP


TO = "-p tcp -j DNAT --to-destination 172.17.0.2:80"


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ("-d 172.17.0.2/32 -p tcp -m tcp --dport 80", True),
        ("-p tcp -m tcp --dport 8080", False),
        ("-m conntrack --ctorigdst 10.0.0.10", True),
        ("-m conntrack --ctorigdst 172.17.0.2", False),
        ("-m conntrack --ctstate NEW --ctorigdstport 8080 --ctdir ORIGINAL", True),
        ("-m conntrack ! --ctorigdstport 8080", False),
        ("-m conntrack --ctreplsrc 172.17.0.2 --ctreplsrcport 80", True),
        ("-m conntrack --ctrepldst 203.0.113.7", True),
        ("-m conntrack --ctorigsrc 10.0.0.0/8", False),
        ("-m conntrack --ctstate DNAT", True),
        ("-m conntrack ! --ctstate DNAT", False),
        ("-m conntrack --ctstate SNAT", False),
        ("-o docker0", True),
        ("-o eth0", False),
    ],
)
def test_what_forward_sees_of_a_translated_packet(rule, matches):
    assert seen(TO, rule) is matches


def test_a_translation_to_what_is_there_is_none():
    assert not seen("-p tcp -j DNAT --to-destination 172.17.0.2:8080", "-m conntrack --ctstate DNAT", tcp("172.17.0.2"))
    text = table("nat", "-A PREROUTING -p tcp -j DNAT --to-destination 172.17.0.2:8080") + table(
        "filter", "-A FORWARD -m conntrack --ctstate DNAT -j DROP")  # fmt: skip
    found = [each for each in let_in(model(text), Hook.FORWARD, claim=Claim(proto=6)) if not each.onto]
    assert rooms(found) == ["tcp 8080 from anywhere to 172.17.0.2"]


@pytest.mark.parametrize("state", [CtState.ESTABLISHED, CtState.INVALID, CtState.UNTRACKED])
def test_only_first_packets_are_translated(state):
    text = table("nat", f"-A PREROUTING {TO}")
    assert str(end(text, tcp(ctstate=state)).subject.flow.dst) == "10.0.0.10"


def test_nat_is_asleep_until_something_translates_or_tracks():
    asleep = table("nat", "-A PREROUTING -p tcp -j ACCEPT")
    assert not [s for s in end(asleep, tcp()).trace if s.rule.table == "nat"]
    awake = asleep + table("filter", "-A INPUT -m conntrack --ctstate NEW")
    assert [s for s in end(awake, tcp()).trace if s.rule.table == "nat"]


@pytest.mark.parametrize(
    ("rule", "flow", "dst", "port"),
    [
        ("-A PREROUTING -p tcp -j REDIRECT --to-ports 3128", tcp("192.0.2.1", 80), "10.0.0.10", 3128),
        ("-A PREROUTING -j REDIRECT", tcp("192.0.2.1", 80, iif="docker0", src="172.17.0.2"), "172.17.0.1", 80),
        (
            "-A OUTPUT -p tcp -j REDIRECT --to-ports 3128",
            tcp("192.0.2.1", 80, src="10.0.0.10", iif=None),
            "127.0.0.1",
            3128,
        ),
        ("-A PREROUTING -d 192.0.2.0/24 -j NETMAP --to 172.17.0.0/24", tcp("192.0.2.9", 80), "172.17.0.9", 80),
        ("-A PREROUTING -p tcp -j DNAT --to-destination :81", tcp("172.17.0.2", 80), "172.17.0.2", 81),
        ("-A PREROUTING -p tcp -j DNAT --to-destination 172.17.0.3:70-90", tcp(dport=80), "172.17.0.3", 80),
        (
            "-A PREROUTING -p tcp -j DNAT --to-destination 172.17.0.3:5000-5009/8080",
            tcp(dport=8083),
            "172.17.0.3",
            5003,
        ),
    ],
)
def test_where_a_target_sends_a_packet(rule, flow, dst, port):
    after = end(table("nat", rule), flow).subject.flow
    assert (str(after.dst), after.dport) == (dst, port)


def test_what_is_redirected_goes_to_input():
    text = table("nat", "-A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 3128") + table(
        "filter", "-A INPUT -p tcp --dport 3128 -j ACCEPT", input="DROP", forward="DROP")  # fmt: skip
    ruling = model(text).evaluate(tcp("192.0.2.1", 80))
    assert (ruling.decision, ruling.by.chain) == ("accept", "INPUT")
    sent = {
        room.partition(" from ")[0]: each.onto for each in let_in(model(text), Hook.INPUT) for room in rooms([each])
    }
    assert sent["tcp 80"].endswith("port 3128")
    assert sent["tcp 3128"] == ""
    assert let_in(model(text), Hook.FORWARD) == ()


@pytest.mark.parametrize(
    ("rule", "src"),
    [
        ("-A POSTROUTING -o docker0 -j MASQUERADE", "172.17.0.1"),
        ("-A POSTROUTING -j SNAT --to-source 10.0.0.77", "10.0.0.77"),
        ("-A POSTROUTING -s 203.0.113.0/24 -j NETMAP --to 10.66.0.0/24", "10.66.0.7"),
    ],
)
def test_the_source_is_translated_last(rule, src):
    text = table("nat", rule) + table("mangle", "-A POSTROUTING ! -s 203.0.113.7 -j DROP")
    assert str(end(text, tcp("172.17.0.2")).subject.flow.src) == src


def test_the_kernel_s_choices_are_named_and_all_followed():
    text = table("nat", "-A PREROUTING -p tcp -j DNAT --to-destination 172.17.0.2-172.17.0.4:80") + table(
        "filter", "-A FORWARD -d 172.17.0.3 -j DROP")  # fmt: skip
    ruling = model(text).evaluate(tcp())
    assert (ruling.decision, ruling.by.chain) == ("depends", "FORWARD")
    assert "whether DNAT picks 172.17.0.3:80" in ruling.depends_on
    wide = text.replace("172.17.0.4", "172.17.9.4")
    assert model(wide).evaluate(tcp()).decision is Decision.DEPENDS
    assert {each.certainty for each in let_in(model(wide), Hook.FORWARD) if each.onto} == {"depends"}


@pytest.mark.parametrize("target", ["TPROXY --on-port 1", "NFQUEUE --queue-num 1", "SYNPROXY"])
def test_what_hands_a_packet_to_somebody_else_is_a_named_unknown(target):
    ruling = model(table("filter", f"-A FORWARD -p tcp -j {target}")).evaluate(tcp("172.17.0.2"))
    assert ruling.decision is Decision.UNKNOWN
    assert ruling.depends_on[0].startswith(target.split()[0])


@pytest.mark.parametrize("rule", ["-A FORWARD -j DNAT --to-destination 172.17.0.2", "-A INPUT -j MASQUERADE"])
def test_a_translation_outside_of_nat_is_unknown(rule):
    text = table("filter", rule)
    assert model(text).evaluate(tcp("172.17.0.2" if "FORWARD" in rule else "10.0.0.10")).decision is Decision.UNKNOWN


@pytest.mark.parametrize(
    "to", ["10.0.0.9-10.0.0.1", "fd00::1", "10.0.0.1:99999", "10.0.0.1:90-80", "name", "10.0.0.1 --odd 3"]
)
def test_a_translation_that_is_not_understood_is_unknown(to):
    text = table("nat", f"-A PREROUTING -p tcp -j DNAT --to-destination {to}")
    assert model(text).evaluate(tcp()).decision is Decision.UNKNOWN


def test_two_nat_tables_that_translate_leave_the_first_packet_open():
    legacy = "# Generated by iptables-save v1.8.9 on Mon\n" + table(
        "nat", "-A PREROUTING -p tcp -j REDIRECT --to-ports 81"
    )
    mine = table("nat", f"-A PREROUTING {TO}")
    both = model(mine + table("filter", input="DROP"), iptables_legacy_save=legacy).evaluate(tcp())
    assert not both.accepted
    assert not both.refused
    assert model(mine + table("filter"), iptables_legacy_save=legacy).evaluate(tcp()).decision is Decision.ACCEPT


def test_saved_and_running_translations_are_compared():
    one = parse(table("nat", f"-A PREROUTING {TO}"), Family.IPV4)
    two = parse(table("nat", f"-A PREROUTING {TO.replace('172.17.0.2', '172.17.0.3')}"), Family.IPV4)
    assert same_meaning(one, one) == []
    assert len(same_meaning(one, two)) == 2


SYSCTLS = {
    "off": ("/proc/sys/net/ipv4/ip_forward:0\n/proc/sys/net/ipv6/conf/all/forwarding:1\n", False, True),
    "one interface": ("net.ipv4.ip_forward = 0\nnet.ipv4.conf.eth0.forwarding = 1\n", True, None),
    "only what new interfaces get": ("/proc/sys/net/ipv4/conf/default/forwarding:1\n", None, None),
    "a name with a dot": ("/proc/sys/net/ipv4/conf/eth0.5/forwarding:1\n/proc/sys/net/ipv4/ip_forward:0\n", True, None),
    "nothing": ("", None, None),
}


@pytest.mark.parametrize("name", SYSCTLS)
def test_whether_a_host_forwards(name):
    text, four, six = SYSCTLS[name]
    host = model(DOCKER, sysctls=text)
    assert (host.forwards(Family.IPV4), host.forwards(Family.IPV6)) == (four, six)


def test_what_holds_no_sysctl_is_refused():
    with pytest.raises(InputError, match=r"sysctls:1:1: expected lines such as net\.ipv4\.ip_forward = 1"):
        model(DOCKER, sysctls="garbage\n\x00:1\n")


def test_without_forwarding_the_routing_drops_and_says_so():
    host = model(DOCKER, sysctls="/proc/sys/net/ipv4/ip_forward:0\n")
    ruling = host.evaluate(tcp())
    assert (ruling.decision, ruling.by.table) == ("drop", "routing")
    assert str(ruling.by) == "ip routing: the host does not forward (net.ipv4.ip_forward = 0)"
    assert [each for each in let_in(host, Hook.FORWARD) if each.onto], "the table is judged all the same"
    assert model(DOCKER, sysctls=None).evaluate(tcp()).decision is Decision.ACCEPT


REFUSED = {
    "own source": (tcp(src="10.0.0.10", dport=22), FORWARDS, "martian source 10.0.0.10"),
    "loopback source": (tcp(src="127.0.0.5", dport=22), FORWARDS, "martian source 127.0.0.5"),
    "loopback destination": (tcp("127.0.0.1"), FORWARDS, "martian destination 127.0.0.1"),
    "multicast source": (tcp(src="224.0.0.5"), FORWARDS, "martian source"),
    "no way back": (tcp(src="172.17.0.9"), FORWARDS + "net.ipv4.conf.eth0.rp_filter = 1\n", "rp_filter"),
}
PASSED = {
    "route_localnet": (tcp("127.0.0.1"), FORWARDS + "net.ipv4.conf.all.route_localnet = 1\n"),
    "accept_local": (tcp(src="10.0.0.10"), FORWARDS + "net.ipv4.conf.eth0.accept_local = 1\n"),
    "loose": (tcp(src="172.17.0.9"), FORWARDS + "net.ipv4.conf.eth0.rp_filter = 2\n"),
    "the way back is the way in": (tcp(), FORWARDS + "net.ipv4.conf.eth0.rp_filter = 1\n"),
    "broadcast": (tcp("10.0.255.255"), FORWARDS),
    "multicast": (tcp("224.0.0.251"), FORWARDS),
    "an address of another interface": (tcp("172.17.0.1"), FORWARDS),
}
OPEN = table("filter")


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_routing_refuses(name):
    flow, sysctls, says = REFUSED[name]
    ruling = model(OPEN, sysctls=sysctls).evaluate(flow)
    assert (ruling.decision, ruling.by.table) == ("drop", "routing")
    assert says in ruling.by.text


@pytest.mark.parametrize("name", PASSED)
def test_what_the_routing_takes_for_the_host(name):
    flow, sysctls = PASSED[name]
    ruling = model(OPEN, sysctls=sysctls).evaluate(flow)
    assert (ruling.decision, ruling.by.chain) == ("accept", "INPUT")


def test_rules_of_the_routing_leave_reverse_paths_open():
    strict = FORWARDS + "net.ipv4.conf.eth0.rp_filter = 1\n"
    rules = '[{"priority": 0, "src": "all", "table": "local"}, {"priority": 100, "src": "all", "fwmark": "0x1", "table": "7"}]'
    host = model(OPEN, sysctls=strict, routing_rules=rules)
    assert host.evaluate(tcp(src="172.17.0.9")).decision is Decision.ACCEPT


@pytest.mark.parametrize("flow", [
    Flow(src=ip_address("::1"), dst=ip_address("fd00::10"), proto=6, sport=1, dport=22, iif="eth0"),
    Flow(src=ip_address("ff02::1"), dst=ip_address("fd00::10"), proto=6, sport=1, dport=22, iif="eth0"),
    Flow(src=ip_address("fe80::5"), dst=ip_address("2001:db8::1"), proto=6, sport=1, dport=22, iif="eth0"),
])  # fmt: skip
def test_what_ipv6_refuses(flow):
    addresses = '[{"ifname": "eth0", "addr_info": [{"family": "inet6", "local": "fd00::10", "prefixlen": 64}]}]'
    ruling = model("", ip6tables_save=table("filter"), addresses=addresses).evaluate(flow)
    assert (ruling.decision, ruling.by.table) == ("drop", "routing")


def _rule(rng):
    bang = rng.choice(["", "", "! "])
    parts = [
        rng.choice(["", "", f"{bang}-s 10.0.0.0/16", "-s 203.0.113.0/24", "-s 127.0.0.0/8", f"{bang}-s 10.0.0.10"]),
        rng.choice(
            ["", "", f"{bang}-d 172.17.0.2", "-d 10.0.0.10", f"{bang}-d 172.17.0.0/16", "-m addrtype --dst-type LOCAL"]
        ),
        rng.choice(["", f"-p tcp -m tcp {bang}--dport 80", "-p tcp -m multiport --ports 80,8080", "-p udp"]),
        rng.choice(["", "", "-m conntrack --ctstate DNAT", "-m conntrack --ctorigdst 10.0.0.10", f"{bang}-i eth0"]),
    ]
    return " ".join(filter(None, parts))


def _tables(rng):
    to = ["DNAT --to-destination 172.17.0.2", "REDIRECT", "DNAT --to-destination 10.0.0.10", "ACCEPT",
          "NETMAP --to 172.17.0.0/24"]  # fmt: skip
    ported = ["DNAT --to-destination 172.17.0.2:80", "REDIRECT --to-ports 8080", "DNAT --to-destination :80"]
    nat = [f"-A PREROUTING {_rule(rng)} -j {rng.choice(to)}" for _ in range(rng.randrange(3))]
    nat += [f"-A PREROUTING -p tcp -m tcp --dport {rng.choice([80, 8080])} -j {rng.choice(ported)}"]
    rng.shuffle(nat)
    rules = [
        f"-A {chain} {_rule(rng)} -j {rng.choice(['ACCEPT', 'DROP', 'RETURN'])}"
        for chain in ("INPUT", "FORWARD")
        for _ in range(4)
    ]
    return table("nat", *nat) + table(
        "filter", *rules, input=rng.choice(["ACCEPT", "DROP"]), forward=rng.choice(["ACCEPT", "DROP"])
    )


def _sensible(values, own):
    """Whether some of these addresses are not of loopback and not the host's own."""
    spans = [ip_network("127.0.0.0/8"), *map(ip_network, own)]
    inside = lambda low, high: any(int(n[0]) <= low and high <= int(n[-1]) for n in spans)  # noqa: E731
    return not all(inside(low, high) for low, high in values[0])


@pytest.mark.parametrize("hook", [Hook.INPUT, Hook.FORWARD])
def test_every_witness_is_an_ordinary_packet_that_evaluate_confirms(hook):
    rng, own, confirmed = random.Random(5), ("10.0.0.10", "172.17.0.1", "127.0.0.1"), 0
    for _ in range(150):
        text = _tables(rng)
        host = model(text)
        for leak in let_in(host, hook):
            for room, flow in zip(leak.rooms, leak.witnesses, strict=False):
                if not _sensible(room.sources, own) or not _sensible(room.destinations, ()):
                    continue  # nothing but packets that the routing keeps from these rules
                if leak.certainty == "depends" and "NETMAP" in text:
                    continue  # of many addresses mapped at once, sets do not say which becomes which
                alone = host.evaluate(flow)
                if Decision.ACCEPT not in alone.may and not leak.onto:
                    alone = host.evaluate(flow, hook)  # its destination is not on the way that was asked about
                assert Decision.ACCEPT in alone.may, (text, str(room), str(flow), flow.iif)
                confirmed += 1
                odd = flow.src.is_loopback or flow.src.is_multicast or flow.src.is_unspecified or str(flow.src) in own
                assert not odd, (text, room, flow)
                assert not flow.dst.is_unspecified
    assert confirmed > 200


def decisions(host, hook, flow):
    """Return what becomes of a set that holds just one packet."""
    ends = {"src": flow.src, "dst": flow.dst, "sport": flow.sport, "dport": flow.dport}
    engine = Engine([host], Family.IPV4, [(field, ((int(value), int(value)),)) for field, value in ends.items()])
    sets = engine.sets
    start = point(sets, replace(flow, oif=None))
    _, result = engine.hosts[0].asked(hook).flow({Config(flow.ctstate): start})
    assert not result.unknown
    found = {Decision.ACCEPT} if result.accepted != sets.none else set()
    rest = start & ~sets.union([result.accepted, result.outside, *result.rejected.values()])
    return found | ({Decision.DROP} if rest != sets.none else set())


def test_sets_and_single_packets_agree_through_nat():
    rng, compared = random.Random(6), 0
    for _ in range(120):
        text = _tables(rng)
        host = model(text)
        for _ in range(12):
            flow = tcp(rng.choice(["10.0.0.10", "172.17.0.2", "192.0.2.1"]), rng.choice([80, 8080, 22]),
                       rng.choice(["10.0.5.7", "203.0.113.7"]))  # fmt: skip
            (leaf,) = host.leaves(flow)
            chains = {step.rule.chain for step in leaf.trace}
            hook = next(hook for hook in (Hook.INPUT, Hook.FORWARD) if hook.upper() in chains)
            assert decisions(host, hook, flow) == {leaf.decision}, (text, flow)
            compared += 1
    assert compared == 120 * 12


def test_a_packet_of_another_state_is_not_followed_through_nat_by_sets_either():
    host = model(DOCKER)
    assert not any(each.onto for each in let_in(host, Hook.FORWARD, states=(CtState.UNTRACKED,)))
    assert host.evaluate(replace(tcp(), ctstate=CtState.UNTRACKED)).by.chain == "INPUT"
