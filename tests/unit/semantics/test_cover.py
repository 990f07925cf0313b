"""Covers of small tables, whose smallest number of packets is known."""

import json
from ipaddress import ip_network

import pytest

from fwproof.flow import CtState, Family, Hook
from fwproof.semantics import cover_confirm
from fwproof.semantics.cover import Limits, Source, Why, cover
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Disagreement
from fwproof.semantics.walk import TooLarge

from .tables import ADDRESSES, REPAIRED, filter_table

HOST = {"addresses": ADDRESSES}
WIRE = Limits(sources=(Source(name="wire", interface="eth0"),), destinations=(ip_network("10.0.0.10"),))
"""Only what comes in for the host, so that the other chains of the table need no packets."""


def build(*rules, limits=WIRE, before="", after="", family=Family.IPV4, **more):
    table = filter_table(*rules, **{key: more.pop(key) for key in ("default", "chains") if key in more})
    save = "iptables_save" if family is Family.IPV4 else "ip6tables_save"
    return cover(HostModel.build(**{save: before + table + after}, **HOST, **more), family, limits)


def numbers(found):
    """Return which rules of INPUT the packets reach for certain, and the size that is proved to be needed."""
    return [[ref.rule for ref in w.reaches if ref.chain == "INPUT"] for w in found.witnesses], found.at_least


def whys(found):
    return {(m.rule.chain, m.rule.rule): (m.why.value, *m.needs) for m in found.missed if m.rule.chain[:2] != "OU"}


SSH = "-p tcp -m tcp --dport 22"
CASES = {
    "deciding rules need a packet each": (
        [f"-A INPUT -s 10.0.0.0/16 {SSH} -j ACCEPT", "-A INPUT -p udp -j DROP"], [[1], [2], [None]]),
    "one packet for all that only counts": (
        ["-A INPUT -s 10.0.0.0/16", f"-A INPUT {SSH}", "-A INPUT -m ttl --ttl-eq 9"], [[1, 2, 3, None]]),
    "two conditions that exclude one another": (
        ["-A INPUT -p udp", f"-A INPUT {SSH}", "-A INPUT -s 10.0.0.1/32"], [[1, 3, None], [2, None]]),
    "what is left decides, and takes what counts with it": (
        ["-A INPUT -s 10.0.0.1/32", "-A INPUT -s 10.0.0.2/32", "-A INPUT -p udp -j DROP"], [[1, 3], [2, None]]),
    "a call and what it leads to": (
        [f"-A INPUT {SSH} -j A", "-A A -s 10.0.0.0/16 -j RETURN", "-A A -j DROP"], [[1, None], [1]]),
    "an empty list of rules": ([], []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_as_few_packets_as_are_known_to_be_needed(name):
    rules, expected = CASES[name]
    found = build(*rules, chains=("A",) if any("-j A" in r and "ACCEPT" not in r for r in rules) else ())
    reached, least = numbers(found)
    assert sorted(reached, key=str) == sorted(expected, key=str)
    assert (least, found.minimal, found.known) == (len(expected), True, True)


def test_packets_that_meet_pairwise_and_never_all_at_once_need_two():
    """Any two of the three have a packet in common, so that the bound is 1, and not proved to be the number."""
    found = build("-A INPUT -m set --match-set a src", "-A INPUT -m set --match-set b src",
                  "-A INPUT -m set --match-set c src", ipset_save=_sets(a="12", b="23", c="13"))  # fmt: skip
    assert (len(found.witnesses), found.at_least, found.minimal) == (2, 1, False)


def _sets(**members):
    return "".join(
        f"create {name} hash:ip family inet hashsize 64 maxelem 64\n"
        + "".join(f"add {name} 10.0.0.{last}\n" for last in lasts)
        for name, lasts in members.items()
    )


def test_what_a_rate_decides_is_named_with_its_answer():
    found = build("-A INPUT -m limit --limit 5/sec -j ACCEPT", "-A INPUT -j DROP")
    assert whys(found) == {
        ("INPUT", 1): ("oracle", "limit 5/sec burst 5: yes"),
        ("INPUT", 2): ("oracle", "limit 5/sec burst 5: no"),
        ("INPUT", None): ("unreachable",),
    }
    assert [(w.depends[0].rule, w.given) for w in found.witnesses] == [
        (1, (("limit 5/sec burst 5", True),)), (2, (("limit 5/sec burst 5", False),))]  # fmt: skip
    assert found.counts["reached"] == 0
    assert found.coverage == 0


def test_a_rule_behind_a_log_with_a_limit_is_reached_for_certain():
    found = build("-A INPUT -m limit --limit 5/sec -j LOG", "-A INPUT -j DROP")
    (only,) = found.witnesses
    assert [[ref.rule for ref in refs] for refs in (only.reaches, only.depends)] == [[2], [1]]
    assert whys(found)["INPUT", 1] == ("oracle", "limit 5/sec burst 5: yes")


def test_a_list_that_an_earlier_rule_fills_is_no_question():
    found = build("-A INPUT -m recent --set --name x --rsource",
                  "-A INPUT -m recent --rcheck --name x --rsource -j DROP")  # fmt: skip
    assert numbers(found) == ([[1, 2]], 1)


ESTABLISHED = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


def test_rules_for_later_packets_are_not_for_first_ones():
    found = build(ESTABLISHED, "-A INPUT -m conntrack --ctstate INVALID -j DROP", default="DROP")
    assert numbers(found) == ([[None]], 1)
    assert whys(found) == {("INPUT", 1): ("state", "ESTABLISHED", "RELATED"), ("INPUT", 2): ("state", "INVALID")}
    example = next(m.example for m in found.missed if m.rule.rule == 2)
    assert example.ctstate is CtState.INVALID
    assert example.flags == {"SYN", "ACK"}  # which needs no connection before it


def test_later_packets_where_they_are_asked_for():
    limits = Limits(sources=WIRE.sources, destinations=WIRE.destinations, states=frozenset(CtState))
    found = build(ESTABLISHED, default="DROP", limits=limits)
    assert numbers(found)[1] == 2
    assert {w.flow.ctstate for w in found.witnesses} <= {CtState.NEW, CtState.ESTABLISHED, CtState.RELATED}
    assert not whys(found)


def test_the_first_packet_of_a_connection_has_ordinary_flags():
    odd = "-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -m conntrack --ctstate NEW -j DROP"
    found = build(odd)
    assert whys(found)["INPUT", 1] == ("unreal",)
    everything = Limits(sources=WIRE.sources, destinations=WIRE.destinations, everything=True)
    assert not whys(build(odd, limits=everything))


def test_a_mark_that_only_others_set():
    found = build("-A INPUT -m mark --mark 0x4/0x4 -j DROP")
    assert whys(found) == {("INPUT", 1): ("mark", "mark 0x4")}
    impossible = build("-A INPUT -m mark --mark 0x4/0x4 -m mark --mark 0x3 -j DROP")
    assert whys(impossible) == {("INPUT", 1): ("unreachable",)}


def test_what_is_proved_to_be_unreachable_has_lints_reason():
    found = build("-A INPUT -s 10.0.0.0/8 -j ACCEPT", "-A INPUT -s 10.0.0.1/32 -j DROP", "-A A -j LOG", chains=("A",))
    reasons = {(m.rule.chain, m.rule.rule): (m.kind, [c.rule for c in m.causes]) for m in found.missed}
    assert reasons["INPUT", 2] == ("contradicted", [1])
    assert reasons["A", 1] == ("unreachable", [])


def test_sources_that_there_are_and_one_that_would_do_it():
    limits = Limits(sources=(Source(name="lan", networks=(ip_network("10.0.0.0/16"),), interface="eth0"),
                             Source(name="odd", networks=(ip_network("192.0.2.0/24"),), interface="tun7"),
                             ), destinations=WIRE.destinations)  # fmt: skip
    rules = ("-A INPUT -s 192.0.2.0/24 -j DROP", "-A INPUT -s 198.51.100.0/24 -j DROP", f"-A INPUT {SSH} -j ACCEPT")
    found = build(*rules, "-A INPUT -i lo -j ACCEPT", "-A INPUT -i eth1 -j LOG", limits=limits, default="DROP")
    assert {(w.source, w.flow.iif) for w in found.witnesses} == {("lan", "eth0"), ("odd", "tun7")}
    missed = {m.rule.rule: m for m in found.missed if m.rule.chain == "INPUT"}
    assert {number: m.why for number, m in missed.items()} == dict.fromkeys((2, 4, 5), Why.SOURCE)
    assert missed[2].example.src in ip_network("198.51.100.0/24")
    assert missed[4].example.iif is None  # the host itself
    assert missed[5].example.iif == "eth1"


def test_one_packet_of_the_host_to_itself_reaches_both_ends():
    found = build("-A INPUT -i lo -j ACCEPT", "-A OUTPUT -o lo -j ACCEPT", "-A OUTPUT -p udp -j DROP",
                  limits=Limits(sources=(Source(name="host", itself=True),)))  # fmt: skip
    looped = [w for w in found.witnesses if w.flow.oif == "lo"]
    assert [[(ref.chain, ref.rule) for ref in w.reaches] for w in looped] == [[("OUTPUT", 1), ("INPUT", 1)]]


def test_a_published_port_is_reached_through_forward():
    nat = ("*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
           "-A PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n")  # fmt: skip
    found = build("-A INPUT -p tcp -m tcp --dport 8080 -j DROP", f"-A FORWARD -d 172.17.0.2/32 {SSH[:14]} --dport 80",
                  before=nat)  # fmt: skip
    published = next(w for w in found.witnesses if w.flow.dport == 8080)
    assert published.hook is Hook.INPUT
    assert [(ref.table, ref.rule) for ref in published.reaches][:2] == [("nat", 1), ("filter", 1)]
    missed = next(m for m in found.missed if (m.rule.chain, m.rule.rule) == ("INPUT", 1))
    assert (missed.why, missed.example.oif) == (Why.SOURCE, "lo")  # what the host sends itself is not translated here


def test_a_nat_table_that_the_kernel_never_looks_at():
    nat = "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -p udp -j ACCEPT\nCOMMIT\n"
    found = build("-A INPUT -p udp", before=nat, limits=None)
    (missed,) = (m for m in found.missed if m.rule.table == "nat" and m.rule.rule)
    assert (missed.why, missed.text.split(":")[1]) == (
        Why.UNREACHABLE, " no rule makes the kernel track connections, and nat needs that")  # fmt: skip
    tracked = build("-A INPUT -m conntrack --ctstate NEW", before=nat, limits=None)
    assert not [m for m in tracked.missed if m.rule.table == "nat"]


def test_ipv6():
    limits = Limits(sources=(Source(name="wire", interface="eth0"),), destinations=(ip_network("fd00:0:0:1::10"),))
    found = build("-A INPUT -s fd00::/48 -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT",
                  "-A INPUT -s fd00::1/128 -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j DROP",
                  family=Family.IPV6, limits=limits)  # fmt: skip
    assert numbers(found)[0][0] == [1]
    assert found.witnesses[0].flow.icmp_type == 128
    assert whys(found)["INPUT", 2] == ("unreachable",)


NFT = [
    {"metainfo": {"json_schema_version": 1}},
    {"table": {"family": "inet", "name": "f", "handle": 1}},
    {"chain": {"family": "inet", "table": "f", "name": "web", "handle": 2}},
    {"chain": {"family": "inet", "table": "f", "name": "in", "handle": 3, "type": "filter", "hook": "input", "prio": 0,
               "policy": "drop"}},
]  # fmt: skip


def native(*rules):
    """Return a cover of a ruleset of nft whose base chain has these lists of statements."""
    added = [{"rule": {"family": "inet", "table": "f", "chain": chain, "handle": 10 + at, "expr": expr}}
             for at, (chain, expr) in enumerate(rules)]  # fmt: skip
    model = HostModel.build(nft_json=json.dumps({"nftables": NFT + added}), **HOST)
    return cover(model, Family.IPV4, WIRE)


def port(*values):
    left = {"payload": {"protocol": "tcp", "field": "dport"}}
    return {"match": {"op": "==", "left": left, "right": values[0] if len(values) == 1 else {"set": list(values)}}}


def test_native_rules_are_reached_where_their_last_deed_is_done():
    source = {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.0.0.1"}}
    found = native(
        ("in", [port(80, 443), {"jump": {"target": "web"}}]),
        ("in", [port(22), {"log": {}}, source, {"accept": None}]),
        ("web", [{"counter": {"packets": 0, "bytes": 0}}, {"accept": None}]),
    )
    places = [[(ref.chain, ref.rule) for ref in w.reaches] for w in found.witnesses]
    assert sorted(places, key=str) == [[("in", 1), ("web", 1)], [("in", 2)], [("in", None)]]
    assert next(w for w in found.witnesses if w.reaches[0].rule == 2).flow.src.exploded == "10.0.0.1"
    assert found.minimal


def test_what_comes_after_a_deed_that_is_not_understood_is_not_known():
    found = build("-A INPUT -j NFQUEUE --queue-num 1", "-A INPUT -p udp -j DROP")
    assert numbers(found) == ([[1]], 1)
    assert whys(found)["INPUT", 2][0] == "unknown"
    assert not found.known


def test_the_repaired_tables():
    found = cover(HostModel.build(iptables_save=REPAIRED, **HOST), Family.IPV4)
    assert (len(found.witnesses), found.minimal, found.known) == (7, True, True)
    assert {m.why for m in found.missed} == {Why.STATE, Why.ORACLE, Why.UNREACHABLE}


def test_large_chains_are_walked_in_part_and_say_the_same(monkeypatch):
    rules = [f"-A INPUT -s 10.{at}.0.0/24 -p tcp -j DROP" for at in range(80)]
    found = build(*rules, "-A INPUT -s 10.3.0.0/16 -p udp -j ACCEPT")
    monkeypatch.setattr(cover_confirm, "_SMALL", 1000)
    assert build(*rules, "-A INPUT -s 10.3.0.0/16 -p udp -j ACCEPT") == found
    assert (len(found.witnesses), found.minimal) == (82, True)


def test_a_packet_that_does_not_reach_what_it_was_chosen_for_is_a_fault(monkeypatch):
    def elsewhere(*_arguments):
        yield cover_confirm.Passed(certain=(), maybe=())

    monkeypatch.setattr(cover_confirm.Walks, "passed", elsewhere)
    with pytest.raises(Disagreement, match="contradicts itself"):
        build(f"-A INPUT {SSH} -j ACCEPT")


def test_what_cannot_be_confirmed_is_said_to_be_so(monkeypatch):
    def endless(*_arguments):
        raise TooLarge("more than 500 combinations decide it")

    monkeypatch.setattr(cover_confirm.Walks, "passed", endless)
    found = build(f"-A INPUT {SSH} -j ACCEPT")
    assert not any(w.confirmed for w in found.witnesses)
    assert not found.known
