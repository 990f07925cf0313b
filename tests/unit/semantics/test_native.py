"""What native nftables rulesets do to single packets, one case for each kind of rule."""

import json
from ipaddress import ip_address

import pytest

from fwproof.decision import Decision, RuleRef
from fwproof.flow import CtState, Family, Flow, Hook
from fwproof.semantics import bdd_near
from fwproof.semantics.lint import lint
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import openings

from .tables import ADDRESSES, filter_table

ACCEPT, DROP, REJECT, DEPENDS, UNKNOWN = (Decision(word) for word in ("accept", "drop", "reject", "depends", "unknown"))
TCP_IS = {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}


def dport(value, op="=="):
    return {"match": {"op": op, "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": value}}


def saddr(value, op="=="):
    return {"match": {"op": op, "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": value}}


def verdict(word, chain=None):
    return {word: None if chain is None else {"target": chain}}


def mark(value):
    return {"mangle": {"key": {"meta": {"key": "mark"}}, "value": value}}


def marked(value):
    return {"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": value}}


def ruleset(chains, *, family="inet", table="t", sets=()):
    """Return the objects of a table: chains by name, each with its hook (or none) and its rules."""
    found = [{"table": {"family": family, "name": table}}]
    found += [{kind: {"family": family, "table": table, **body}} for kind, body in sets]
    for name, (base, _) in chains.items():
        found.append({"chain": {"family": family, "table": table, "name": name, **base}})
    found += [
        {"rule": {"family": family, "table": table, "chain": name, "expr": list(rule)}}
        for name, (_, rules) in chains.items()
        for rule in rules
    ]
    return found


def base(hook="input", prio=0, policy="accept", kind="filter", **more):
    return {"hook": hook, "prio": prio, "policy": policy, "type": kind, **more}


def model(*objects, **more):
    text = json.dumps({"nftables": [each for part in objects for each in part]})
    return HostModel.build(nft_json=text, addresses=ADDRESSES, **more)


def tcp(src="10.0.5.7", port=22, dst="10.0.0.10", **more):
    return Flow(src=ip_address(src), dst=ip_address(dst), proto=6, sport=40000, dport=port, flags=frozenset({"SYN"}),
                iif="eth0", **more)  # fmt: skip


def one(*rules, policy="drop", chains=None, sets=()):
    """Return the model of one input chain."""
    return model(ruleset({**(chains or {}), "in": (base(policy=policy), rules)}, sets=sets))


def test_a_rule_reference_is_the_one_of_nft():
    ruling = one([dport(22), verdict("accept")]).evaluate(tcp())
    assert ruling.by.as_json() == {
        "family": "inet", "table": "t", "chain": "in", "rule": 1, "text": "tcp dport 22 accept"}  # fmt: skip
    default = one().evaluate(tcp()).by
    assert default == RuleRef(family="inet", table="t", chain="in", rule=None, text="DROP")


VMAP = {"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}},
                 "data": {"set": [[22, {"jump": {"target": "u"}}], [{"range": [23, 25]}, {"accept": None}],
                                  [80, {"drop": None}]]}}}  # fmt: skip


@pytest.mark.parametrize(
    ("port", "decision", "number"), [(22, ACCEPT, 2), (24, ACCEPT, 1), (80, DROP, 1), (99, ACCEPT, 2)]
)
def test_a_verdict_map_decides_and_what_it_does_not_hold_goes_on(port, decision, number):
    seen = one([VMAP], [verdict("accept")], chains={"u": ({}, [[verdict("return")]])})
    ruling = seen.evaluate(tcp(port=port))
    assert (ruling.decision, ruling.by.rule) == (decision, number)


def test_a_catch_all_element_takes_the_rest_but_not_what_another_element_took():
    data = {"set": [[22, {"jump": {"target": "u"}}], ["*", {"drop": None}]]}
    seen = one(
        [{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": data}}],
        [verdict("accept")],
        chains={"u": ({}, [[mark(1)]])},
    )
    assert seen.evaluate(tcp(port=22)).decision is ACCEPT
    assert seen.evaluate(tcp(port=23)).decision is DROP
    udp = Flow(src=ip_address("10.0.5.7"), dst=ip_address("10.0.0.10"), proto=17, sport=1, dport=22, iif="eth0")
    assert seen.evaluate(udp).by.rule == 2  # nft asks for TCP first, whatever the map holds


def test_the_key_of_a_map_may_change_on_the_way_and_no_second_element_is_taken():
    data = {"set": [[0, {"jump": {"target": "one"}}], [1, {"jump": {"target": "two"}}], [2, {"drop": None}]]}
    chains = {"one": ({}, [[mark(1)]]), "two": ({}, [[mark(2)]])}
    vmap = {"vmap": {"key": {"meta": {"key": "mark"}}, "data": data}}
    seen = one([vmap], [marked(1), verdict("accept")], chains=chains)
    assert seen.evaluate(tcp()).decision is ACCEPT


def test_statements_before_a_match_are_done_whether_or_not_it_holds():
    seen = one([mark(5), dport(99), verdict("drop")], [marked(5), verdict("accept")])
    assert seen.evaluate(tcp(port=22)).by.rule == 2
    assert seen.evaluate(tcp(port=99)).by.rule == 1


@pytest.mark.parametrize(("word", "by"), [("return", ("in", None)), ("continue", ("u", 2))])
def test_return_after_a_change_and_a_match_leaves_the_right_chain(word, by):
    chains = {"u": ({}, [[mark(5), dport(22), verdict(word)], [verdict("accept")]])}
    ruling = one([verdict("jump", "u")], chains=chains).evaluate(tcp())
    assert (ruling.by.chain, ruling.by.rule) == by
    other = one([verdict("jump", "u")], chains=chains).evaluate(tcp(port=23))
    assert (other.by.chain, other.by.rule) == ("u", 2)


def test_goto_after_a_change_does_not_come_back():
    chains = {"v": ({}, []), "u": ({}, [[mark(5), dport(22), verdict("goto", "v")], [verdict("accept")]])}
    seen = one([verdict("jump", "u")], [verdict("drop")], chains=chains, policy="accept")
    assert seen.evaluate(tcp()).by.rule == 2
    assert seen.evaluate(tcp(port=1)).by.chain == "u"


CONCAT = {"concat": [{"payload": {"protocol": "ip", "field": "saddr"}},
                     {"payload": {"protocol": "tcp", "field": "dport"}}]}  # fmt: skip
PAIRS = ("set", {"name": "pairs", "type": ["ipv4_addr", "inet_service"], "flags": ["interval"], "elem": [
    {"concat": [{"prefix": {"addr": "10.0.0.0", "len": 16}}, 22]},
    {"concat": ["192.0.2.9", {"range": [80, 90]}]}]})  # fmt: skip


@pytest.mark.parametrize(("op", "src", "port", "decision"), [
    ("==", "10.0.5.7", 22, ACCEPT), ("==", "10.0.5.7", 80, DROP), ("==", "192.0.2.9", 85, ACCEPT),
    ("!=", "10.0.5.7", 22, DROP), ("!=", "192.0.2.9", 22, ACCEPT),
])  # fmt: skip
def test_a_set_of_concatenations(op, src, port, decision):
    seen = one([{"match": {"op": op, "left": CONCAT, "right": "@pairs"}}, verdict("accept")], sets=[PAIRS])
    assert seen.evaluate(tcp(src, port)).decision is decision
    (opening, *_) = openings(seen, Hook.INPUT, Family.IPV4).openings
    assert opening.certainty == "accept"


def test_what_rules_fill_is_not_known():
    fill = {"set": {"op": "add", "elem": {"payload": {"protocol": "ip", "field": "saddr"}}, "set": "@s"}}
    sets = [("set", {"name": "s", "type": "ipv4_addr", "elem": ["10.0.5.7"]})]
    known = one([saddr("@s"), verdict("accept")], sets=sets)
    assert known.evaluate(tcp()).decision is ACCEPT
    filled = one([saddr("@s"), verdict("accept")], [dport(99), fill], sets=sets).evaluate(tcp())
    assert filled.decision is DEPENDS
    assert filled.depends_on == ("ip saddr is in set @s of inet t",)


def test_a_chain_before_conntrack_sees_no_state():
    new = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}
    for prio, decision in ((-300, ACCEPT), (-150, DROP), (-200, UNKNOWN)):
        seen = model(ruleset({"p": (base("prerouting", prio), [[new, verdict("drop")]])}))
        assert seen.evaluate(tcp()).decision is decision, prio


def test_accept_ends_one_base_chain_and_drop_ends_all():
    second = [[dport(22), verdict("drop")]]
    seen = model(ruleset({"a": (base(prio=-5), [[verdict("accept")]]), "b": (base(prio=5), second)}))
    assert seen.evaluate(tcp()).by.chain == "b"
    assert seen.evaluate(tcp(port=23)).decision is ACCEPT


def test_equal_priorities_are_tried_in_both_orders():
    drops = ruleset({"a": (base(), [[dport(22), verdict("drop")]])}, table="one")
    rejects = ruleset({"b": (base(), [[{"reject": {"type": "tcp reset"}}]])}, table="two")
    ruling = model(drops, rejects).evaluate(tcp())
    assert ruling.decision is DEPENDS
    assert "order of base chains of equal priority" in ruling.depends_on[0]
    assert ruling.may == {DROP, REJECT}
    assert model(drops, rejects).evaluate(tcp(port=23)).decision is REJECT
    # two chains that only let pass or drop say the same in any order
    more = ruleset({"b": (base(), [[dport(23), verdict("drop")]])}, table="two")
    assert [model(drops, more).evaluate(tcp(port=port)).decision for port in (22, 23, 24)] == [DROP, DROP, ACCEPT]


def test_whole_space_questions_know_of_the_order_too():
    drops = ruleset({"a": (base(), [[marked(1), verdict("drop")]])}, table="one")
    marks = ruleset({"b": (base(), [[mark(1)]])}, table="two")
    found = openings(model(drops, marks), Hook.INPUT, Family.IPV4).openings
    assert {opening.certainty for opening in found} == {"depends"}
    assert all("order" in opening.depends_on[0] for opening in found)


def test_too_many_orders_are_unknown():
    tables = [ruleset({"c": (base(), [[mark(n)]])}, table=f"t{n}") for n in range(6)]
    assert model(*tables).evaluate(tcp()).decision is UNKNOWN


def test_a_limit_is_asked_once_for_log_and_verdict():
    limit = {"limit": {"rate": 1, "per": "hour", "burst": 3}}
    seen = one([dport(22), limit, {"log": {"prefix": "x", "group": 5}}, verdict("accept")])
    assert [d.value for d in seen.simulate_burst(tcp(), 5)] == ["accept"] * 3 + ["drop"] * 2
    (limiter,) = seen.limiters(tcp())
    assert (limiter.kind, limiter.limit, limiter.seconds, limiter.admits) == ("limit", 1, 3600, 3)


def test_a_meter_counts_each_source():
    meter = {"meter": {"name": "m", "key": {"payload": {"protocol": "ip", "field": "saddr"}},
                       "stmt": {"limit": {"rate": 20, "per": "minute", "burst": 20}}}}  # fmt: skip
    (limiter,) = one([dport(22), meter, verdict("accept")]).limiters(tcp())
    assert (limiter.kind, limiter.by, limiter.limit, limiter.seconds) == ("hashlimit", "source", 20, 60)
    assert limiter.admits == 20


def test_logs_of_what_is_dropped():
    seen = one([dport(22), {"log": {"prefix": "drop: ", "group": 5}}, verdict("drop")], policy="accept")
    (log,) = seen.logs(tcp())
    assert (log.kind, log.prefix, log.group, log.certain) == ("NFLOG", "drop: ", 5, True)


def test_nat_of_nft_leads_into_forward():
    nat = ruleset({
        "pre": (base("prerouting", -100, kind="nat"),
                [[dport(8080), {"dnat": {"family": "ip", "addr": "10.0.7.2", "port": 80}}]]),
        "in": (base(policy="drop"), []),
        "fwd": (base("forward", policy="drop"), [[dport(80), verdict("accept")]]),
    })  # fmt: skip
    ruling = model(nat).evaluate(tcp(port=8080))
    assert (ruling.decision, ruling.by.chain) == (ACCEPT, "fwd")
    assert model(nat).evaluate(tcp(port=8081)).by.chain == "in"


def test_nat_chains_run_where_nat_does_whatever_their_priority():
    late = base("prerouting", 300, kind="nat")
    objects = ruleset({
        "n": (late, [[dport(8080), {"redirect": {"port": 81}}]]),
        "f": (base("prerouting", 0), [[dport(81), verdict("drop")]]),
    })  # fmt: skip
    assert model(objects).evaluate(tcp(port=8080)).by.chain == "f"


def test_inet_rules_count_in_both_families_and_each_sees_its_own_addresses():
    nobody = saddr({"prefix": {"addr": "0.0.0.0", "len": 0}}, "!=")
    seen = one([saddr("10.0.0.0"), verdict("drop")], [nobody, verdict("drop")], [verdict("accept")])
    assert seen.evaluate(tcp("fd00::7", 22, "fd00:0:0:1::10")).by.rule == 3
    assert seen.evaluate(tcp()).by.rule == 3


def test_an_ingress_chain_of_inet_sees_its_devices_only():
    rule = [saddr("10.0.5.7"), verdict("drop")]
    for policy, rules in (("drop", []), ("accept", [rule])):
        seen = model(ruleset({"i": (base("ingress", 0, policy, dev="eth1"), rules)}))
        assert seen.evaluate(tcp()).decision is ACCEPT, "it comes in by eth0"
        assert openings(seen, Hook.INPUT, Family.IPV4).openings
        here = model(ruleset({"i": (base("ingress", 0, policy, dev="eth0"), rules)}))
        assert here.evaluate(tcp()).decision is DROP
        # nft 1.0.6 does not list the devices of such a chain
        assert model(ruleset({"i": (base("ingress", 0, policy), rules)})).evaluate(tcp()).decision is DEPENDS


def test_a_netdev_chain_drops_before_everything():
    rule = [dport(22), verdict("drop")]
    seen = model(ruleset({"i": (base("ingress", 0, dev="eth0"), [rule])}, family="netdev"))
    assert seen.evaluate(tcp()).by.table == "t"
    assert seen.evaluate(tcp(port=23)).decision is ACCEPT
    closed = model(ruleset({"i": (base("ingress", 0, "drop", dev="eth1"), [])}, family="netdev"))
    assert closed.evaluate(tcp()).decision is ACCEPT  # it came by another device
    # nft 1.0.6 does not print the device
    assert model(ruleset({"i": (base("ingress"), [rule])}, family="netdev")).evaluate(tcp()).decision is DEPENDS


def test_bridges_and_arp_are_kept_and_not_asked():
    seen = model(ruleset({"b": (base("forward"), [[verdict("drop")]])}, family="bridge"))
    assert seen.evaluate(tcp()).decision is ACCEPT
    assert "bridge t (1 rule)" in seen.rulesets[Family.IPV4][-1].comments[0]


def test_a_flowtable_may_carry_established_connections_past_the_rules():
    offload = [dport(80), {"flow": {"op": "add", "flowtable": "@ft"}}]
    objects = ruleset({"f": (base("forward", policy="drop"), [offload])})
    seen, away = model(objects), {"dst": "10.0.9.9", "oif": "eth0"}
    assert seen.evaluate(tcp(port=80, **away)).decision is DROP
    old = seen.evaluate(tcp(port=80, ctstate=CtState.ESTABLISHED, **away))
    assert old.decision is UNKNOWN
    assert "flowtable" in old.depends_on[0]


def test_a_dormant_table_says_nothing_and_one_in_doubt_weakens():
    objects = ruleset({"in": (base(policy="drop"), [])})
    objects[0]["table"]["flags"] = "dormant"
    assert model(objects).evaluate(tcp()).decision is ACCEPT
    objects[0]["table"]["flags"] = "c1"
    assert model(objects).evaluate(tcp()).decision is UNKNOWN


def test_a_chain_of_an_unknown_hook_weakens():
    assert model(ruleset({"x": (base("elsewhere"), [])})).evaluate(tcp()).decision is UNKNOWN


def test_iptables_tables_that_nft_lists_are_read_once():
    save = filter_table("-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT", default="DROP")
    made = ruleset({"INPUT": (base(policy="drop"), [[{"xt": None}]])}, family="ip", table="filter")
    seen = model(made, iptables_save=save)
    assert [rule.ref.text for rule in seen.rules(Family.IPV4)] == ["-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"]
    assert seen.evaluate(tcp()).decision is ACCEPT
    # nft shows another default than iptables did: the tables changed in between, and the list of nft counts
    other = ruleset({"INPUT": (base(policy="accept"), [[{"xt": None}]])}, family="ip", table="filter")
    assert [rule.ref.text for rule in model(other, iptables_save=save).rules(Family.IPV4)] == ["xt"]


def test_a_table_that_iptables_calls_incompatible_is_read_through_nft():
    save = "# Table `filter' is incompatible, use 'nft' tool.\n"
    native = ruleset({"INPUT": (base(policy="drop"), [[dport(22), verdict("accept")]])}, family="ip", table="filter")
    assert model(native, iptables_save=save).evaluate(tcp()).decision is ACCEPT
    assert HostModel.build(iptables_save=save, addresses=ADDRESSES).evaluate(tcp()).decision is UNKNOWN


def test_the_hook_may_be_asked_alone():
    seen = model(ruleset({"p": (base("prerouting"), [[verdict("drop")]]), "in": (base(), [])}))
    assert seen.evaluate(tcp(), Hook.INPUT).decision is ACCEPT
    assert seen.evaluate(tcp(), Hook.PREROUTING).decision is DROP
    assert seen.evaluate(tcp()).decision is DROP


def test_an_accept_of_everything_is_over_broad_in_a_native_chain_too():
    on = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth0"}}
    kinds = {finding.rule.rule: finding.kind.value for finding in lint(one([on, verdict("accept")]), Family.IPV4)}
    assert kinds == {1: "over-broad"}


def test_lint_knows_that_a_rule_may_meet_what_another_has_rewritten(monkeypatch):
    """Ports as they came in do not tell what rules overlap, once a rule has written them."""
    monkeypatch.setattr(bdd_near, "SHORT", 0)
    write = {"mangle": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "value": 80}}
    rules = [[dport(22), verdict("drop")], [write], [dport(80), verdict("accept")]]
    for rest, kinds in ((rules, {}), (rules[:1], {1: "redundant"})):
        found = lint(one(*rest), Family.IPV4)
        assert {each.rule.rule: each.kind.value for each in found} == kinds
