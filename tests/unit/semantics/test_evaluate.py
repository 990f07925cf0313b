"""One packet through the tables: decision, deciding rule, what it depends on, and what blinds the answer."""

import json
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from fwproof.decision import Decision
from fwproof.flow import CtState, Family, Flow, Hook
from fwproof.semantics.limits import NotSettled
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import openings

from .tables import ADDRESSES, PUBLISHED, REPAIRED, filter_table

HOSTILE = Path(__file__).parents[3] / "fixtures" / "hostile" / "rules"


def tcp(src, dport, dst="10.0.0.10", **rest):
    return Flow(
        src=ip_address(src), dst=ip_address(dst), proto=6, sport=40000, dport=dport, flags=frozenset({"SYN"}), **rest
    )


def model(text, **rest):
    return HostModel.build(**{"iptables_save": text, "ip6tables_save": "", "addresses": ADDRESSES} | rest)


CASES = {
    "limiter": (PUBLISHED, tcp("10.0.5.7", 11434), "depends", "INPUT", 2),
    "outside is not limited": (PUBLISHED, tcp("192.0.2.1", 11434), "accept", "INPUT", None),
    "anybody reaches 8080": (PUBLISHED, tcp("192.0.2.1", 8080), "accept", "INPUT", None),
    "the proxy": (PUBLISHED, tcp("10.0.0.100", 8080), "accept", "INPUT", 3),
    "a reply": (
        PUBLISHED, replace(tcp("10.0.0.10", 50000, "10.0.5.7"), ctstate=CtState.ESTABLISHED), "drop", "OUTPUT", 2),
    "loopback is cut": (PUBLISHED, tcp("127.0.0.1", 80, "127.0.0.1"), "drop", "OUTPUT", 2),
    "routed": (PUBLISHED, tcp("10.0.5.7", 80, "10.9.0.1"), "accept", "FORWARD", None),
    "admin": (REPAIRED, tcp("10.0.0.1", 22), "accept", "INPUT", 3),
    "others": (REPAIRED, tcp("10.0.0.2", 22), "drop", "DROP_IN", 2),
    "loopback": (REPAIRED, tcp("127.0.0.1", 80, "127.0.0.1"), "accept", "INPUT", 1),
    "own address": (REPAIRED, tcp("10.0.0.10", 80), "accept", "INPUT", 1),
    "no hops left": (PUBLISHED, tcp("10.0.5.7", 80, "10.9.0.1", ttl=1), "drop", "routing", None),
    "return leads to the default": (
        filter_table("-A INPUT -p tcp -j RETURN", "-A INPUT -j DROP"), tcp("10.0.5.7", 80), "accept", "INPUT", None),
    "goto returns to the caller's caller": (
        filter_table("-A INPUT -j A", "-A INPUT -j ACCEPT", "-A A -g B", "-A A -j DROP", "-A B -p udp",
                     chains=("A", "B")),
        tcp("10.0.5.7", 80), "accept", "INPUT", 2),
    "an unread match and its opposite": (
        filter_table("-A INPUT -m odd --x 1 -j ACCEPT", "-A INPUT -m odd ! --x 1 -j ACCEPT", default="DROP"),
        tcp("10.0.5.7", 80), "accept", "INPUT", 1),
    "set, then checked": (
        filter_table("-A INPUT -m recent --set --name z", "-A INPUT -m recent --rcheck --name z -j REJECT"),
        tcp("10.0.5.7", 80), "reject", "INPUT", 2),
    "an unknown target": (
        filter_table("-A INPUT -j ODD", "-A INPUT -j DROP"), tcp("10.0.5.7", 80), "unknown", "INPUT", 1),
    "mangle drop is final": (
        filter_table("-A INPUT -j ACCEPT") + "*mangle\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j DROP\nCOMMIT\n",
        tcp("10.0.5.7", 80), "drop", "INPUT", 1),
    "untracked is not new": (
        filter_table("-A INPUT -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT", default="DROP")
        + "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j CT --notrack\nCOMMIT\n",
        tcp("10.0.5.7", 80), "drop", "INPUT", None),
    "untracked is so from the next rule on": (
        filter_table() + "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m conntrack --ctstate UNTRACKED -j ACCEPT\n"
        "-A PREROUTING -p tcp -j CT --notrack\n-A PREROUTING -m conntrack --ctstate UNTRACKED -j DROP\nCOMMIT\n",
        tcp("10.0.5.7", 80), "drop", "PREROUTING", 3),
    "marks are carried": (
        filter_table("-A INPUT -m mark --mark 0x6 -j DROP") + "*mangle\n:PREROUTING ACCEPT [0:0]\n"
        "-A PREROUTING -j MARK --set-xmark 0x5/0xffffffff\n-A PREROUTING -j MARK --set-xmark 0x3/0x0\nCOMMIT\n",
        tcp("10.0.5.7", 80), "drop", "INPUT", 1),
    "DNAT bypasses INPUT": (
        filter_table("-A INPUT -j DROP") + "*nat\n:PREROUTING ACCEPT [0:0]\n"
        "-A PREROUTING -p tcp -j DNAT --to-destination 10.9.0.1\nCOMMIT\n",
        tcp("10.0.5.7", 80), "accept", "FORWARD", None),
    "cycle": ((HOSTILE / "cycle.v4").read_text(), tcp("10.0.5.7", 80), "unknown", "B", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_decision_and_deciding_rule(name):
    text, flow, decision, chain, number = CASES[name]
    ruling = model(text).evaluate(flow)
    assert ruling.decision == decision, ruling
    assert (ruling.by and ruling.by.chain, ruling.by and ruling.by.rule) == (chain, number)


def test_what_a_decision_depends_on_is_named():
    ruling = model(REPAIRED).evaluate(tcp("10.0.5.7", 11434))
    assert ruling.depends_on == ("recent OLLAMA hitcount 20/60s",)
    assert ruling.may == {Decision.ACCEPT, Decision.DROP}
    assert not ruling.accepted
    assert not ruling.refused


@pytest.mark.parametrize(
    "name", ["truncated.v4", "interleaved.v4", "twice.v4", "incompatible.v4", "bytes.v4", "missing-chain.v4"]
)
def test_hostile_tables_never_give_a_sure_answer(name):
    text = (HOSTILE / name).read_bytes().decode("utf-8", "surrogateescape")
    ruling = model(text).evaluate(tcp("10.0.5.7", 80))
    assert ruling.decision is Decision.UNKNOWN
    assert not ruling.accepted
    assert not ruling.refused


def test_a_family_that_was_not_read_is_unknown():
    ruling = HostModel.build(iptables_save=PUBLISHED).evaluate(tcp("fd00::7", 80, "fd00:0:0:1::10"))
    assert ruling.decision is Decision.UNKNOWN
    assert ruling.depends_on == ("the rules of ip6tables were not read",)


NATIVE = """{"nftables": [{"table": {"family": "inet", "name": "mine"}},
 {"chain": {"family": "inet", "table": "mine", "name": "in", "type": "filter", "hook": "input", "prio": 1}},
 {"rule": {"family": "inet", "table": "mine", "chain": "in", "expr": [{"match": {"op": "==",
  "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}, {"drop": null}]}}]}"""
MADE_BY_IPTABLES = """{"nftables": [{"table": {"family": "ip", "name": "filter"}},
 {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input", "prio": 0}},
 {"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "expr": [{"xt": {"type": "match", "name": "x"}}]}}]}"""


def test_native_nft_tables_decide_beside_those_of_iptables():
    seen = model(REPAIRED, nft_json=NATIVE)
    ruling = seen.evaluate(tcp("10.0.0.1", 22))
    assert (ruling.decision, str(ruling.by)) == (Decision.DROP, "inet mine in rule 1: tcp dport 22 drop")
    assert seen.evaluate(tcp("fd00::7", 22, "fd00:0:0:1::10")).by == ruling.by
    assert model(REPAIRED).evaluate(tcp("10.0.0.1", 22)).decision is Decision.ACCEPT


def test_tables_that_iptables_made_are_recognised_by_their_rules():
    flow = tcp("10.0.5.7", 80)
    one = filter_table("-A INPUT -j DROP")
    seen = model(one, nft_json=MADE_BY_IPTABLES.replace('"prio": 0', '"prio": 0, "policy": "accept"'))
    assert seen.evaluate(flow).by.text == "-A INPUT -j DROP"
    assert len(seen.rules(Family.IPV4)) == 1
    two = model(filter_table("-A INPUT -p udp", "-A INPUT -j DROP"), nft_json=MADE_BY_IPTABLES)
    assert two.evaluate(flow).decision is Decision.ACCEPT  # as nft shows it, whatever iptables printed before
    assert [rule.sort.value for rule in two.rules(Family.IPV4)] == ["oracle"]


def test_legacy_and_nft_tables_both_count():
    flow = tcp("10.0.5.7", 80)
    text = filter_table("-A INPUT -j ACCEPT") + "# Warning: iptables-legacy tables present, use iptables-legacy-save\n"
    assert model(text).evaluate(flow).decision is Decision.UNKNOWN
    legacy = "# Generated by iptables-save v1.8.9 on Mon\n" + filter_table("-A INPUT -j DROP")
    assert model(text, iptables_legacy_save=legacy).evaluate(flow).decision is Decision.DROP


def test_what_an_xdp_program_does_before_the_tables_is_not_known():
    links = json.loads(ADDRESSES)
    # as iproute2 6.1 prints it of a program that passes everything
    links[-1]["xdp"] = {"mode": 2, "prog": {"id": 97, "name": "", "tag": "614b434cd8324ecc", "jited": 1}}
    seen = HostModel.build(iptables_save=filter_table("-A INPUT -j DROP"), addresses=json.dumps(links))
    found = seen.evaluate(tcp("10.0.5.7", 80))
    assert found.decision is Decision.UNKNOWN
    assert f"an XDP program on {links[-1]['ifname']} decides about packets before any table" in found.depends_on[0]
    assert [each.certainty for each in openings(seen, Hook.INPUT, Family.IPV4).openings] == ["unknown"]


def test_many_oracles_end_as_unknown_and_not_as_a_wait():
    rules = [f"-A INPUT -m odd{n} --x -j MARK --set-xmark {n}/0xff" for n in range(40)]
    assert model(filter_table(*rules)).evaluate(tcp("10.0.5.7", 80)).decision is Decision.UNKNOWN


@pytest.mark.parametrize(("count", "decision"), [(400, Decision.DEPENDS), (2000, Decision.UNKNOWN)])
def test_a_long_row_of_unread_matches(count, decision):
    rules = [f"-A INPUT -m odd{n} --x -j DROP" for n in range(count)]
    assert model(filter_table(*rules)).evaluate(tcp("10.0.5.7", 80)).decision is decision


def test_limiters_logs_and_bursts():
    published, repaired, flow = model(PUBLISHED), model(REPAIRED), tcp("10.0.5.7", 11434)
    (first,), (second,) = published.limiters(flow), repaired.limiters(flow)
    assert (first.kind, first.list, first.limit, first.seconds, first.by, first.admits) == (
        "recent",
        "OLLAMA",
        20,
        60,
        "source",
        19,
    )
    assert second.admits == 20
    assert published.limiters(tcp("192.0.2.1", 11434)) == ()
    assert [d.value for d in repaired.simulate_burst(flow, 22)] == ["accept"] * 20 + ["drop"] * 2
    assert set(repaired.simulate_burst(flow, 30, gap_seconds=4.0)) == {Decision.ACCEPT}
    (log,) = repaired.logs(tcp("192.0.2.1", 11434))
    assert (log.kind, log.prefix, log.group, log.certain, log.limit) == (
        "NFLOG",
        "drop in: ",
        5,
        True,
        "limit 10/sec burst 20",
    )
    assert published.logs(tcp("10.0.0.10", 443, "192.0.2.1")) == ()


def test_limits_and_logs_that_cannot_be_told_are_not_none():
    flow = tcp("10.0.5.7", 80)
    entangled = filter_table(*(f"-A INPUT -m odd{n} --x -j MARK --set-xmark {n}/0xff" for n in range(40)))
    for text, why in ((entangled, "combinations"), (filter_table("-A INPUT -j ODD"), "ODD")):
        for ask in (model(text).limiters, model(text).logs):
            with pytest.raises(NotSettled, match=why):
                ask(flow)


def test_chains_that_call_one_another_too_deep_are_unknown():
    chains = [f"C{at}" for at in range(2000)]
    lines = ["-A INPUT -j C0", *(f"-A C{at} -j C{at + 1}" for at in range(1999)), "-A C1999 -j DROP"]
    for deep, decision in ((2000, Decision.UNKNOWN), (100, Decision.ACCEPT)):
        text = filter_table(*lines[:deep], chains=chains[: deep + 1])
        assert model(text).evaluate(tcp("10.0.5.7", 80)).decision is decision


def test_a_rule_that_only_logs_takes_from_a_limit_that_others_share():
    """A look-up passes over rules that only log, but a simulation counts what they see (xt_hashlimit.c, by name)."""
    limit = "-m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 4 --hashlimit-mode srcip --hashlimit-name one"
    rules = (f"-A INPUT -p tcp {limit} -j LOG", f"-A INPUT -p tcp {limit} -j ACCEPT", "-A INPUT -j DROP")
    host = HostModel.build(iptables_save=filter_table(*rules))
    flow = Flow(src=ip_address("10.0.0.1"), dst=ip_address("10.0.0.2"), proto=6, sport=1, dport=22)
    said = host.simulate_burst(flow, 4, hook="input")
    assert said == [Decision.ACCEPT, Decision.ACCEPT, Decision.DROP, Decision.DROP]
