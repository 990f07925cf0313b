"""Whom the kernel bans, in texts as iptables-save, nft and ipset print them."""

import json

import pytest

from fwproof.errors import CommandRefused, HostError
from fwproof.evidence.ban_action import Kind, Place
from fwproof.evidence.ban_places import members, names
from fwproof.evidence.ban_state import banned_now, differences
from fwproof.evidence.fail2ban import parse_banned, watched
from fwproof.evidence.fail2ban_config import Action, JailConfig
from fwproof.snapshot import Capture, Snapshot

SAVE = """*filter
:INPUT ACCEPT [0:0]
:f2b-api - [0:0]
[9:540] -A INPUT -p tcp -m multiport --dports 11434 -j f2b-api
[3:180] -A f2b-api -s 10.0.0.77/32 -j REJECT --reject-with icmp-port-unreachable
-A f2b-api -s 192.0.2.0/24 -j REJECT
-A f2b-api -s 10.0.0.1/32 -j RETURN
-A f2b-api -j RETURN
-A INPUT -m set --match-set f2b-set src -j DROP
COMMIT
"""
NFT = json.dumps({"nftables": [
    {"metainfo": {}}, "junk",
    {"set": {"family": "inet", "name": "addr-set-api", "table": "f2b-table", "elem": [
        "10.0.0.77", {"elem": {"val": "10.0.0.78", "timeout": 60}}, {"prefix": {"addr": "192.0.2.0", "len": 24}}]}},
    {"set": {"family": "inet", "name": "addr6-set-api", "table": "f2b-table"}},
    {"rule": {"family": "inet", "table": "f2b-table", "chain": "f2b-chain", "expr": [
        {"match": {"op": "==", "left": {}, "right": "@addr-set-api"}}]}},
]})  # fmt: skip
IPSET = "create f2b-set hash:ip family inet\nadd f2b-set 10.0.0.77 timeout 3599\nadd other 10.0.0.1\n"
CHAIN = Place(kind=Kind.CHAIN, name="f2b-api", table="iptables", own=True)
NFT_SET = Place(kind=Kind.NFT_SET, name="addr-set-api", table="inet f2b-table", own=True)


def shot(faults=(), **texts):
    texts = {"iptables-save": SAVE, "ip6tables-save": "", "nft": NFT, "ipset-save": IPSET} | {
        name.replace("_", "-"): text for name, text in texts.items()
    }
    captures = {
        name: Capture(name=name, argv=(), status=0, stdout=text, stderr="", at="", seconds=0.0)
        for name, text in texts.items()
    }
    return Snapshot(host="h", captures=captures, faults={name: CommandRefused("h", "no") for name in faults})


@pytest.mark.parametrize(
    ("place", "asked", "addresses"),
    [
        (CHAIN, True, {"10.0.0.77", "192.0.2.0/24"}),
        (NFT_SET, True, {"10.0.0.77", "10.0.0.78", "192.0.2.0/24"}),
        (Place(kind=Kind.NFT_SET, name="addr6-set-api", table="inet f2b-table", own=True), False, set()),
        (Place(kind=Kind.IPSET, name="f2b-set", own=True), True, {"10.0.0.77"}),
    ],
)
def test_members_of_a_place(place, asked, addresses):
    found = members(place, shot())
    assert found is not None
    assert (found.there, found.asked, found.addresses) == (True, asked, addresses)


def test_what_others_may_be_in_is_not_listed():
    assert members(Place(kind=Kind.CHAIN, name="INPUT", table="iptables"), shot()) is None


def test_tables_that_were_not_read_are_no_empty_tables():
    with pytest.raises(HostError):
        members(CHAIN, shot(faults=["iptables-save"]))


@pytest.mark.parametrize(("address", "there"), [("10.0.0.77", True), ("10.0.0.7", False), ("0.0.0.77", False)])
def test_an_address_is_a_whole_word(address, there):
    assert names(address, shot()) is there


JAIL = JailConfig(
    name="api",
    actions=(Action(name="a", settings={"actionban": "iptables -I <c> -s <ip>", "actionstart": "iptables -N <c>",
                                        "c": "f2b-api"}),),
)  # fmt: skip


@pytest.mark.parametrize(
    ("banned", "texts", "words"),
    [
        (["10.0.0.77", "192.0.2.0/24"], {}, []),
        (["10.0.0.77", "192.0.2.0/24", "10.0.0.79"], {},
         ["api: fail2ban lists 10.0.0.79 as banned, and chain iptables f2b-api does not hold it"]),
        (["192.0.2.0/24"], {}, ["api: chain iptables f2b-api holds 10.0.0.77, which fail2ban does not list as banned"]),
        (["10.0.0.77", "192.0.2.0/24"], {"iptables_save": SAVE.replace("-j f2b-api", "-j other")},
         ["api: no rule leads to chain iptables f2b-api, so that nobody in it is kept out"]),
    ],
)  # fmt: skip
def test_both_sides_are_compared_both_ways(banned, texts, words):
    assert [str(each) for each in differences(JAIL, banned, shot(**texts))] == words


def test_an_action_into_a_shared_chain_is_looked_for_by_address():
    jail = JailConfig(
        name="api", actions=(Action(name="a", settings={"actionban": "iptables -I INPUT -s <ip> -j DROP"}),)
    )
    assert differences(jail, ["10.0.0.77"], shot()) == frozenset()
    (one,) = differences(jail, ["10.0.0.79"], shot())
    assert str(one) == "api: fail2ban lists 10.0.0.79 as banned, and the kernel does not hold it"


def test_the_bans_of_all_jails_in_one_answer():
    text = "[{'sshd': []}, {'api': ['10.0.0.77', '2001:db8::9']}]\n"
    assert parse_banned(text) == {"sshd": (), "api": ("10.0.0.77", "2001:db8::9")}
    assert banned_now(shot(fail2ban_banned=text), ["api"])["api"] == ("10.0.0.77", "2001:db8::9")
    assert banned_now(shot(fail2ban_banned=text, faults=["fail2ban-banned"]), ["api"]) == {}


@pytest.mark.parametrize("text", ["", "Sorry", "[" * 5000, "{'a': 1}", "[1, {'a': 2}, {3: []}]"])
def test_what_is_no_answer_bans_nobody(text):
    assert parse_banned(text) == {}


LOG = """2026-11-26 INFO Starting Fail2ban v1.0.2
2026-11-26 INFO Creating new jail 'old'
2026-11-26 INFO Starting Fail2ban v1.0.2
2026-11-26 INFO Creating new jail 'api'
2026-11-26 INFO Added logfile: '/var/log/a b.log' (pos = 0, hash = )
2026-11-26 INFO Creating new jail 'sshd'
2026-11-26 INFO [sshd] Added journal match for: '_COMM=sshd'
2026-11-26 INFO Creating new jail 'blind'
"""


def test_the_log_tells_what_each_jail_was_given_since_the_newest_start():
    assert watched(LOG) == {"api": ("/var/log/a b.log",), "sshd": ("_COMM=sshd",), "blind": ()}


@pytest.mark.parametrize("log", ["", LOG.replace("Starting", "Stopping"), f"{LOG}2026-11-26 INFO Reload jail 'api'\n"])
def test_a_log_that_tells_in_part_is_not_believed(log):
    assert watched(log) is None
