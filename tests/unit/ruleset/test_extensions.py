"""Every match module and target of iptables-extensions(8): read whole, and of what is exact what fits and what not."""

import json
from dataclasses import replace
from ipaddress import ip_address

import pytest

from fwproof.decision import Decision
from fwproof.flow import Family, Flow, Hook
from fwproof.ruleset.asks import Opaque, Sort
from fwproof.ruleset.iptables import parse
from fwproof.ruleset.model import Act
from fwproof.ruleset.options import MODULES, TARGETS
from fwproof.semantics.bdd_config import Config
from fwproof.semantics.bdd_walk import Engine
from fwproof.semantics.model import HostModel
from fwproof.semantics.witness import follow, point

from .extensions import MAN_MATCHES, MAN_TARGETS, MATCHES
from .extensions import TARGETS as TARGET_LINES

FAMILIES = {"4": Family.IPV4, "6": Family.IPV6}
ENDS = {
    Family.IPV4: {"src": "10.0.0.1", "dst": "10.0.0.10", "own": "10.0.0.10", "far": "10.9.0.7", "lost": "198.51.100.9"},
    Family.IPV6: {
        "src": "fd00:0:0:1::1", "dst": "fd00:0:0:1::10", "own": "fd00:0:0:1::10", "far": "fd00:9::7",
        "lost": "2001:db8::9",
    },
}  # fmt: skip
ADDRESSES = json.dumps([
    {"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
    {"ifname": "eth0", "addr_info": [
        {"family": "inet", "local": "10.0.0.10", "prefixlen": 24},
        {"family": "inet6", "local": "fd00:0:0:1::10", "prefixlen": 64}]},
    {"ifname": "eth1", "addr_info": [{"family": "inet", "local": "10.9.0.1", "prefixlen": 24}]},
])  # fmt: skip
ROUTES = json.dumps([
    {"dst": "10.0.0.0/24", "dev": "eth0"}, {"dst": "10.9.0.0/24", "dev": "eth1"},
    {"type": "blackhole", "dst": "198.51.100.0/24"}, {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0"},
])  # fmt: skip
ROUTES6 = json.dumps([
    {"dst": "fd00:0:0:1::/64", "dev": "eth0"}, {"dst": "fd00:9::/64", "dev": "eth1"},
    {"type": "blackhole", "dst": "2001:db8::/32", "dev": "lo"},
    {"dst": "default", "gateway": "fd00:0:0:1::1", "dev": "eth0"},
])  # fmt: skip
CASES = [pytest.param(*case[1:], family, id=f"{case[2]} IPv{family}") for case in MATCHES for family in case[1]]


def rule_of(line, family):
    text = f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {line}\nCOMMIT\n"
    ruleset = parse(text, family)
    assert not ruleset.unparsed
    (rule,) = ruleset.rules()
    return rule


def a_flow(family, changes):
    flow = Flow(
        src=ip_address(ENDS[family]["src"]), dst=ip_address(ENDS[family]["dst"]), proto=6, sport=40000, dport=22,
        flags=frozenset({"SYN"}), iif="eth0", oif="eth0", mac_src="00:11:22:33:44:55",
    )  # fmt: skip
    values = dict(changes)
    for end in {"src", "dst"} & values.keys():
        values[end] = ip_address(ENDS[family].get(values[end], values[end]))
    return replace(flow, **values | ({"flags": frozenset(values["flags"])} if "flags" in values else {}))


def host_of(line, family, flow):
    """Return a host that lets in what fits a match."""
    chain, table = ("PREROUTING", "mangle") if "rpfilter" in line else ("INPUT", "filter")
    hook = Hook.INPUT
    if "owner" in line or "cgroup" in line:
        chain, hook = "OUTPUT", Hook.OUTPUT
    if flow.fragment:  # those for the host itself are put together before INPUT
        chain, hook = "FORWARD", Hook.FORWARD
    text = f"*{table}\n:{chain} ACCEPT [0:0]\n-A {chain} {line} -j ACCEPT\n-A {chain} -j DROP\nCOMMIT\n"
    if table == "mangle":
        text += "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
    saves = {"iptables_save": "", "ip6tables_save": ""}
    saves["iptables_save" if family is Family.IPV4 else "ip6tables_save"] = text
    return HostModel.build(**saves, addresses=ADDRESSES, routes=ROUTES, routes6=ROUTES6), hook


def says(line, family, flow):
    """Return whether a packet may and whether it must fit: as one packet, and as one of all packets."""
    host, hook = host_of(line, family, flow)
    decisions = {leaf.decision for leaf in follow(host, flow, hook)}
    assert Decision.UNKNOWN not in decisions
    engine = Engine([host], family)
    if flow.fragment and "fragment" not in engine.sets.fields:  # all packets are whole ones where no rule asks
        return Decision.ACCEPT in decisions, decisions == {Decision.ACCEPT}
    start = Config(state=flow.ctstate, direction=flow.ctdir, connmark=flow.connmark, mark=flow.mark)
    some = engine.hosts[0].asked(hook).flow({start: engine.hosts[0].packets()})[1].accepted
    here = engine.sets.plain(point(engine.sets, flow))
    may, must = here & some != engine.sets.none, here & ~some == engine.sets.none
    assert (may, must) == (Decision.ACCEPT in decisions, decisions == {Decision.ACCEPT})
    return may, must


def test_no_module_or_target_of_the_manual_is_left_out():
    assert set(MAN_MATCHES.split()) <= {case[0] for case in MATCHES}
    assert set(MAN_TARGETS.split()) <= {case[0] for case in TARGET_LINES}
    assert {case[0] for case in MATCHES} == set(MODULES)
    assert {case[0] for case in TARGET_LINES} | {"ACCEPT", "DROP", "RETURN", "MIRROR"} == set(TARGETS)


@pytest.mark.parametrize(("families", "line", "sort", "fitting", "other", "family"), CASES)
def test_a_match_is_read_and_means_what_it_says(families, line, sort, fitting, other, family):
    family = FAMILIES[family]
    rule = rule_of(f"{line} -j DROP", family)
    assert rule.sort == sort
    assert rule.target.act is Act.DROP
    for flow in fitting:
        assert says(line, family, a_flow(family, flow)) == (True, True), flow
    for flow in other:
        assert says(line, family, a_flow(family, flow)) == (False, False), flow
    if not fitting and not other:
        assert says(line, family, a_flow(family, {})) == (True, False)


@pytest.mark.parametrize(("families", "line", "sort", "fitting", "other", "family"), CASES)
def test_no_option_swallows_what_comes_after_it(families, line, sort, fitting, other, family):
    family = FAMILIES[family]
    alone = rule_of(f"{line} -j DROP", family)
    more = rule_of(f"{line} -m mark --mark 0x7 -m comment --comment x -j LOG --log-prefix y", family)
    assert [m.test for m in more.matches[: len(alone.matches)]] == [m.test for m in alone.matches]
    assert [m.module for m in more.matches[len(alone.matches) :]] == ["mark", "comment"]
    assert (more.target.act, more.target.prefix, more.comment.split()[-1]) == (Act.LOG, "y", "x")


@pytest.mark.parametrize(("families", "line", "sort", "fitting", "other", "family"), CASES)
def test_a_half_read_match_is_opaque(families, line, sort, fitting, other, family):
    rule = rule_of(f"{line} --made-up 5 -j DROP", FAMILIES[family])
    assert rule.sort is Sort.OPAQUE
    assert isinstance(rule.matches[-1].test, Opaque)


TARGET_CASES = [
    pytest.param(*case[2:], family, id=f"{case[2]} IPv{family}") for case in TARGET_LINES for family in case[1]
]


@pytest.mark.parametrize(("line", "act", "known", "family"), TARGET_CASES)
def test_a_target_does_what_it_says(line, act, known, family):
    target = rule_of(line, FAMILIES[family]).target
    assert target.act is act
    assert {name: getattr(target, name) for name in known} == known


@pytest.mark.parametrize(("line", "act", "known", "family"), TARGET_CASES)
def test_a_target_comes_first_or_last(line, act, known, family):
    target = rule_of(f"{line} -p tcp -m tcp --dport 22 -m comment --comment x", FAMILIES[family])
    assert (target.target.act, [m.module for m in target.matches]) == (act, ["", "tcp", "comment"])


@pytest.mark.parametrize(("line", "act", "known", "family"), TARGET_CASES)
def test_a_half_read_target_is_unknown(line, act, known, family):
    assert rule_of(f"{line} --made-up 5", FAMILIES[family]).target.act is Act.UNKNOWN
