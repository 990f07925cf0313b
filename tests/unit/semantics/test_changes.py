"""What targets write into packets on their way, asked of single packets and of all packets at once."""
# ruff: noqa: E501 - rules stand on one line, as iptables-save prints them

import json
from dataclasses import replace
from ipaddress import ip_address

import pytest

from fwproof.decision import Decision
from fwproof.flow import CtState, Family, Flow, Hook
from fwproof.ruleset.asks import Bits, Within
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import Engine
from fwproof.semantics.model import HostModel
from fwproof.semantics.rewriting import Written, asked_before
from fwproof.semantics.witness import dressed, follow, point

from .tables import ADDRESSES

TCP = Flow(
    src=ip_address("10.0.0.1"), dst=ip_address("10.0.0.10"), proto=6, sport=40000, dport=22, iif="eth0", oif="eth0",
    flags=frozenset({"SYN"}),
)  # fmt: skip
UDP = replace(TCP, proto=17, flags=frozenset())


def table(name, *lines, chains=("PREROUTING", "INPUT", "FORWARD", "OUTPUT")):
    built_in = {"raw": ("PREROUTING", "OUTPUT"), "filter": ("INPUT", "FORWARD", "OUTPUT"), "mangle": chains}[name]
    heads = [f":{chain} {'DROP' if name == 'filter' else 'ACCEPT'} [0:0]" for chain in built_in]
    return "\n".join([f"*{name}", *heads, *lines, "COMMIT", ""])


def says(text, flow, hook=Hook.INPUT, **more):
    """Return whether a packet may and whether it must be let in; both engines have to agree."""
    host = HostModel.build(iptables_save=text, ip6tables_save="", addresses=ADDRESSES, **more)
    engine = Engine([host], Family.IPV4)
    config = Config(flow.ctstate, flow.ctdir, flow.mark, flow.connmark)
    some = engine.hosts[0].asked(hook).flow({config: engine.hosts[0].packets()})[1].accepted
    here = point(engine.sets, flow)
    may, must = here & some != engine.sets.none, here & ~some == engine.sets.none
    decisions = {leaf.decision for leaf in follow(host, dressed(flow, config), hook)}
    assert (may, must) == (Decision.ACCEPT in decisions, decisions == {Decision.ACCEPT})
    return may, must


YES, NO, OPEN = (True, True), (False, False), (True, False)
WRITTEN = [
    ("a set TTL is seen", "-A PREROUTING -j TTL --ttl-set 9", "-m ttl --ttl-eq 9", Hook.INPUT, YES),
    ("and loses a hop on the way on", "-A PREROUTING -j TTL --ttl-set 9", "-m ttl --ttl-eq 8", Hook.FORWARD, YES),
    ("but not when it is set after that", "-A FORWARD -j TTL --ttl-set 9", "-m ttl --ttl-eq 9", Hook.FORWARD, YES),
    ("no hop is left", "-A PREROUTING -j TTL --ttl-set 1", "-m ttl --ttl-lt 99", Hook.FORWARD, NO),
    ("a counted TTL is open", "-A PREROUTING -j TTL --ttl-inc 1", "-m ttl --ttl-eq 9", Hook.INPUT, OPEN),
    ("also whether a hop is left", "-A PREROUTING -j TTL --ttl-dec 1", "-p tcp", Hook.FORWARD, OPEN),
    ("DSCP keeps the two bits below it", "-A PREROUTING -j DSCP --set-dscp 0x4", "-m tos --tos 0x12", Hook.INPUT, YES),
    ("and nothing else", "-A PREROUTING -j DSCP --set-dscp 0x4", "-m dscp --dscp 0x2e", Hook.INPUT, NO),
    ("TOS flips bits", "-A PREROUTING -j TOS --xor-tos 0x3", "-m tos --tos 0xb9", Hook.INPUT, YES),
    ("one after the other", "-A PREROUTING -j TOS --set-tos 0xff\n-A PREROUTING -j TOS --and-tos 0xf", "-m tos --tos 0xf",
     Hook.INPUT, YES),
    ("a hash is any mark", "-A PREROUTING -j HMARK --hmark-tuple src --hmark-mod 5", "-m mark --mark 0", Hook.INPUT, OPEN),
    ("also where it is saved", "-A PREROUTING -j HMARK --hmark-tuple src --hmark-mod 5\n-A PREROUTING -j CONNMARK --save-mark",
     "-m connmark --mark 0", Hook.INPUT, OPEN),
    ("until it is set anew", "-A PREROUTING -j HMARK --hmark-tuple src --hmark-mod 5\n-A PREROUTING -j MARK --set-mark 5",
     "-m mark --mark 5", Hook.INPUT, YES),
    ("a mark from a set is open", "-A PREROUTING -j SET --map-set s src --map-mark", "-m mark --mark 0", Hook.INPUT, OPEN),
    ("no ECN bits are left", "-A PREROUTING -p tcp -j ECN --ecn-tcp-remove", "-p tcp -m ecn --ecn-tcp-cwr", Hook.INPUT, NO),
]  # fmt: skip


@pytest.mark.parametrize(("why", "mangle", "match", "hook", "expected"), WRITTEN, ids=[case[0] for case in WRITTEN])
def test_what_is_written_is_seen_later(why, mangle, match, hook, expected):
    text = table("mangle", *mangle.split("\n")) + table("filter", f"-A {hook.value.upper()} {match} -j ACCEPT")
    flow = replace(TCP, tos=0xBA, ttl=64, flags=frozenset({"SYN", "CWR", "ECE"}))
    flow = flow if hook is Hook.INPUT else replace(flow, dst=ip_address("10.9.0.7"))
    assert says(text, flow, hook) == expected


TWICE = [
    ("the same question has the same answer", "", YES),
    ("a set that a rule fills may have changed", "-A INPUT -j SET --add-set s src", OPEN),
    ("another set has not", "-A INPUT -j SET --add-set t src", OPEN),  # its name is not looked at: it may be a list's
]


@pytest.mark.parametrize(("why", "between", "expected"), TWICE, ids=[case[0] for case in TWICE])
def test_a_set_is_asked_anew_when_a_rule_has_changed_it(why, between, expected):
    rules = ["-A INPUT -m set --match-set s src -j ACCEPT", *filter(None, [between])]
    assert says(table("filter", *rules, "-A INPUT -m set ! --match-set s src -j ACCEPT"), TCP) == expected


def test_what_looks_at_the_packet_is_asked_anew_when_it_was_changed():
    first = table("mangle", "-A PREROUTING -m string --string x --algo bm -j MARK --set-mark 1")
    rule = "-A INPUT -m mark --mark 1 -m string ! --string x --algo bm -j ACCEPT"
    assert says(first + table("filter", rule), TCP) == NO
    changed = first.replace("COMMIT", "-A PREROUTING -p tcp -j TCPOPTSTRIP --strip-options 2\nCOMMIT")
    assert says(changed + table("filter", rule), TCP) == OPEN
    assert says(changed + table("filter", rule), UDP) == NO


CT = [
    ("a helper is of no weight", "-j CT --helper ftp", "-m conntrack --ctstate NEW", CtState.NEW, YES),
    ("a zone is none to what is new", "-j CT --zone 5", "-m conntrack --ctstate NEW", CtState.NEW, YES),
    ("what has begun may not be found in it", "-j CT --zone 5", "-m conntrack --ctstate ESTABLISHED",
     CtState.ESTABLISHED, OPEN),
    ("a later NOTRACK does nothing", "-j CT --ctevents new\n-A PREROUTING -j CT --notrack",
     "-m conntrack --ctstate UNTRACKED", CtState.NEW, NO),
    ("a zone undoes no earlier one", "-j CT --notrack\n-A PREROUTING -j CT --zone 5",
     "-m conntrack --ctstate UNTRACKED", CtState.NEW, YES),
    ("an earlier one stays", "-j CT --notrack\n-A PREROUTING -j CT --ctevents new",
     "-m conntrack --ctstate UNTRACKED", CtState.NEW, YES),
]  # fmt: skip


@pytest.mark.parametrize(("why", "raw", "match", "state", "expected"), CT, ids=[case[0] for case in CT])
def test_target_ct(why, raw, match, state, expected):
    text = table("raw", *f"-A PREROUTING {raw}".split("\n")) + table("filter", f"-A INPUT {match} -j ACCEPT")
    assert says(text, replace(TCP, ctstate=state)) == expected


def test_a_packet_looks_new_to_raw_once_ct_has_seen_it():
    seen = "-A PREROUTING -m conntrack --ctstate NEW -j ACCEPT"
    last = "-A PREROUTING -j DROP"
    accepted = table("filter", "-A INPUT -j ACCEPT")
    assert says(table("raw", seen, last) + accepted, TCP) == NO
    assert says(table("raw", "-A PREROUTING -j CT --ctevents new", seen, last) + accepted, TCP) == YES


def test_a_match_that_writes_the_mark_is_not_followed():
    rule = "-A INPUT -m socket --transparent --restore-skmark -m mark --mark 0x7 -j ACCEPT"
    host = HostModel.build(iptables_save=table("filter", rule, "-A INPUT -j ACCEPT"), addresses=ADDRESSES)
    ruling = host.evaluate(TCP, "input")
    assert ruling.decision is Decision.UNKNOWN
    assert "writes the socket's mark" in ruling.depends_on[0]


@pytest.mark.parametrize(("setting", "expected"), [("0", YES), ("1", OPEN), ("", OPEN)])
def test_physdev_where_rules_see_what_bridges_carry_or_not(setting, expected):
    sysctls = f"/proc/sys/net/bridge/bridge-nf-call-iptables:{setting}\n" if setting else ""
    rules = table("filter", "-A INPUT -m physdev ! --physdev-in eth1 -m physdev ! --physdev-is-bridged -j ACCEPT")
    assert says(rules, TCP, sysctls=sysctls) == expected
    rules = table("filter", "-A INPUT -m physdev --physdev-in eth1 -j ACCEPT")
    assert says(rules, TCP, sysctls=sysctls) == (NO if setting == "0" else OPEN)


def test_a_bridge_port_may_be_another_after_routing():
    before = table("mangle", "-A PREROUTING -m physdev --physdev-is-bridged -j RETURN", "-A PREROUTING -j DROP")
    after = table("filter", "-A FORWARD -m physdev --physdev-is-bridged -j DROP", "-A FORWARD -j ACCEPT")
    assert says(before + after, replace(TCP, dst=ip_address("10.9.0.7")), Hook.FORWARD) == OPEN


@pytest.mark.parametrize("match", ["-m owner --uid-owner 0", "-m cgroup --cgroup 1", "-m cgroup ! --cgroup 1"])
def test_nobody_on_the_host_has_sent_what_is_passed_on(match):
    rules = table("filter", f"-A FORWARD {match} -j ACCEPT")
    assert says(rules, replace(TCP, dst=ip_address("10.9.0.7")), Hook.FORWARD) == NO
    assert says(table("filter", f"-A OUTPUT {match} -j ACCEPT"), TCP, Hook.OUTPUT) == OPEN


def test_a_chain_that_two_hooks_call_is_asked_at_each_of_them():
    text = table("mangle", ":X - [0:0]", "-A PREROUTING -j X", "-A INPUT -j X", "-A X -m cgroup --cgroup 1 -j DROP")
    assert says(text + table("filter", "-A INPUT -j ACCEPT"), TCP) == OPEN


def test_every_value_of_a_field_is_traced_back():
    for change in (Written("tos", 0xFC, 0x10), Written("tos", 0, 3), Written("tos", 0xFF, 7).then(0xF0, 0x21)):
        for test in (Bits("tos", 0x3F, 0x13), Bits("tos", 0x3, 0x4), Within("tos", ((0, 7), (0x12, 0x40)))):
            before = asked_before(test, change)
            for old in range(256):
                assert _holds(before, old) == _holds(test, change.of(old)), (change, test, old)


def _holds(test, value):
    if isinstance(test, Bits):
        return value & test.mask == test.value
    return any(low <= value <= high for low, high in test.ranges) if isinstance(test, Within) else test.value


ROUTES = json.dumps([
    {"dst": "10.0.0.0/16", "dev": "eth0"}, {"dst": "10.9.0.0/24", "dev": "eth1"},
    {"type": "unreachable", "dst": "198.51.100.0/24"}, {"dst": "10.9.0.128/25", "dev": "eth0", "metric": 9},
    {"dst": "10.9.0.128/25", "dev": "eth1", "metric": 5},
])  # fmt: skip
LINKS = json.dumps([
    {"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
    {"ifname": "eth0", "addr_info": [
        {"family": "inet", "local": "10.0.0.10", "prefixlen": 16, "broadcast": "10.0.255.255"}]},
    {"ifname": "eth1", "addr_info": [{"family": "inet", "local": "10.9.0.1", "prefixlen": 24}]},
])  # fmt: skip
BACK = [
    ("10.0.0.1", "eth0", YES), ("10.0.0.1", "eth1", NO), ("10.9.0.7", "eth1", YES), ("10.9.0.7", "eth0", NO),
    ("10.9.0.200", "eth1", YES), ("10.9.0.200", "eth0", NO), ("198.51.100.1", "eth0", NO), ("192.0.2.1", "eth0", NO),
    ("10.0.0.10", "eth0", NO), ("10.0.255.255", "eth0", NO), ("10.0.0.0", "eth0", OPEN), ("10.0.0.1", "wg0", OPEN),
    ("10.9.0.7", "lo", YES), ("0.0.0.0", "eth0", NO), ("127.0.0.1", "eth0", NO),
]  # fmt: skip


@pytest.mark.parametrize(("source", "iif", "expected"), BACK)
def test_the_way_back(source, iif, expected):
    text = table("mangle", "-A PREROUTING -m rpfilter -j ACCEPT", "-A PREROUTING -j DROP")
    text += table("filter", "-A INPUT -j ACCEPT")
    host = HostModel.build(iptables_save=text, addresses=LINKS, routes=ROUTES)
    flow = replace(TCP, src=ip_address(source), iif=iif)
    decisions = {leaf.decision for leaf in follow(host, flow, Hook.INPUT)}
    engine = Engine([host], Family.IPV4)
    some = engine.hosts[0].asked(Hook.INPUT).flow({Config(): engine.hosts[0].packets()})[1].accepted
    here = point(engine.sets, flow)
    found = here & some != engine.sets.none, here & ~some == engine.sets.none
    assert found == (Decision.ACCEPT in decisions, decisions == {Decision.ACCEPT}) == expected


def test_a_packet_without_a_source_needs_no_way_back():
    text = table("mangle", "-A PREROUTING -m rpfilter -j ACCEPT", "-A PREROUTING -j DROP")
    host = HostModel.build(iptables_save=text + table("filter", "-A INPUT -j ACCEPT"), addresses=LINKS, routes=ROUTES)
    flow = replace(UDP, src=ip_address("0.0.0.0"), dst=ip_address("255.255.255.255"))
    engine = Engine([host], Family.IPV4)
    some = engine.hosts[0].asked(Hook.INPUT).flow({Config(): engine.hosts[0].packets()})[1].accepted
    assert {leaf.decision for leaf in follow(host, flow, Hook.INPUT)} == {Decision.ACCEPT}
    assert point(engine.sets, flow) & ~some == engine.sets.none


@pytest.mark.parametrize(
    "facts", [{}, {"routes": ROUTES, "routing_rules": '[{"priority": 5, "src": "all", "table": "7"}]'}]
)
def test_the_way_back_is_a_question_where_more_than_routes_decides_it(facts):
    text = table("mangle", "-A PREROUTING -m rpfilter -j ACCEPT", "-A PREROUTING -j DROP")
    host = HostModel.build(iptables_save=text + table("filter", "-A INPUT -j ACCEPT"), addresses=LINKS, **facts)
    assert {leaf.decision for leaf in follow(host, TCP, Hook.INPUT)} == {Decision.ACCEPT, Decision.DROP}
    engine = Engine([host], Family.IPV4)
    some = engine.hosts[0].asked(Hook.INPUT).flow({Config(): engine.hosts[0].packets()})[1].accepted
    assert engine.sets.asked(some) == ("rpfilter",)
