"""Tables without fail2ban's bans: what is left out, and what is not although it has such a name."""

import json

import pytest

from fwproof.flow import Family
from fwproof.semantics.diff import compare
from fwproof.semantics.model import HostModel
from fwproof.semantics.runtime import without_bans

from .tables import filter_table

V4 = Family.IPV4
SSH = "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"
PLAIN = filter_table(SSH, default="DROP")
JUMP = "-A INPUT -p tcp -j f2b-sshd"


def banned(*rules, chains=("f2b-sshd",)):
    return filter_table(*rules, SSH, default="DROP", chains=chains)


def bare(text, **more):
    return without_bans(HostModel.build(iptables_save=text, **more), V4)


OUT = {
    "a chain and its jump": (banned(JUMP, "-A f2b-sshd -s 10.0.0.6 -j DROP", "-A f2b-sshd -j RETURN"), 3),
    "a chain that rejects": (banned(JUMP, "-A f2b-sshd -s 10.0.0.6 -j REJECT"), 2),
    "an empty chain": (banned(JUMP), 1),
    "a set": (banned("-A INPUT -p tcp -m set --match-set f2b-sshd src -j REJECT", chains=()), 1),
}
KEPT = {
    "a chain that accepts": banned(JUMP, "-A f2b-sshd -s 10.0.0.6 -j ACCEPT"),
    "a chain that calls another": banned(JUMP, "-A f2b-sshd -j A", "-A A -j ACCEPT", chains=("f2b-sshd", "A")),
    "a chain that is gone to": banned("-A INPUT -s 10.0.0.0/8 -g f2b-sshd", "-A f2b-sshd -s 10.0.0.6 -j DROP"),
    "a chain that notes who was there": banned(JUMP, "-A f2b-sshd -m recent --set --name SEEN -j DROP"),
    "a jump that notes who was there": banned("-A INPUT -m recent --set --name SEEN -j f2b-sshd"),
    "a set that is let in": banned("-A INPUT -p tcp -m set --match-set f2b-sshd src -j ACCEPT", chains=()),
    "another name": banned("-A INPUT -j ban", "-A ban -s 10.0.0.6 -j DROP", chains=("ban",)),
}


@pytest.mark.parametrize("name", OUT)
def test_bans_are_left_out(name):
    text, count = OUT[name]
    model, gone = bare(text)
    assert len(gone) == count
    assert compare(HostModel.build(iptables_save=PLAIN), model, V4).same
    assert not any("f2b" in chain for table in model.rulesets[V4][0].tables.values() for chain in table.chains)


@pytest.mark.parametrize("name", KEPT)
def test_what_could_do_more_than_refuse_stays(name):
    model, gone = bare(KEPT[name])
    assert gone == ()
    assert model.rulesets == HostModel.build(iptables_save=KEPT[name]).rulesets
    assert not compare(HostModel.build(iptables_save=PLAIN), model, V4).same


def test_the_other_rules_keep_their_numbers():
    model, _ = bare(OUT["a chain and its jump"][0])
    assert [(rule.ref.rule, rule.target.act.value) for rule in model.rules(V4)] == [(1, "continue"), (2, "accept")]


def test_the_other_family_is_left_as_it_is():
    text = OUT["a chain and its jump"][0]
    model = HostModel.build(iptables_save=text, ip6tables_save=text.replace("10.0.0.6", "fd00::6"))
    assert without_bans(model, V4)[0].rulesets[Family.IPV6] == model.rulesets[Family.IPV6]


def native(policy):
    """Return what nft lists of fail2ban's own table."""
    place = {"family": "inet", "table": "f2b-table"}
    left = {"payload": {"protocol": "ip", "field": "saddr"}}
    match = {"match": {"op": "==", "left": left, "right": "10.0.0.6"}}
    chain = {**place, "name": "f2b-chain", "handle": 1, "type": "filter", "hook": "input", "prio": -1, "policy": policy}
    rule = {**place, "chain": "f2b-chain", "handle": 2, "expr": [match, {"drop": None}]}
    items = [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}}, {"table": {**place, "name": "f2b-table",
             "handle": 1}}, {"chain": chain}, {"rule": rule}]  # fmt: skip
    return json.dumps({"nftables": items})


def test_a_base_chain_of_nft_is_left_out_unless_it_refuses_by_default():
    model, gone = bare(PLAIN, nft_json=native("accept"))
    assert len(gone) == 1
    assert compare(HostModel.build(iptables_save=PLAIN), model, V4).same
    assert bare(PLAIN, nft_json=native("drop"))[1] == ()
