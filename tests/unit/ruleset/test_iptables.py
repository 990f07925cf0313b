"""iptables-save text to rule sets: every line kept, what is understood understood exactly."""

from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwproof.flow import Family
from fwproof.ruleset.asks import (
    AddressType,
    Bits,
    Conntrack,
    EitherPort,
    Fragment,
    HashLimit,
    Interface,
    Limit,
    OneOf,
    Opaque,
    Oracle,
    Recent,
    Sort,
    Within,
)
from fwproof.ruleset.iptables import parse
from fwproof.ruleset.model import Act

from .counting import counted

HOSTILE = sorted((Path(__file__).parents[3] / "fixtures" / "hostile" / "rules").glob("*.v[46]"))
WHOLE = {
    "carriage-returns.v4",
    "empty.v4",
    "only-comments.v4",
    "cycle.v4",
    "jump-to-itself.v4",
    "jump-into-a-base-chain.v4",
}
"""Hostile tables of which each line is understood; what the jumps of some mean is for the walk to say."""


def num(text):
    return int(ip_address(text))


def rule(line, family=Family.IPV4):
    text = f"*filter\n:INPUT ACCEPT [0:0]\n:USER - [0:0]\n{line}\nCOMMIT\n"
    ruleset = parse(text, family)
    assert not ruleset.unparsed
    (found,) = ruleset.rules()
    return found


MATCHES = {
    "-s 10.0.0.0/16": (Within("src", ((num("10.0.0.0"), num("10.0.255.255")),)), False),
    "! -s 10.0.0.1/32": (Within("src", ((num("10.0.0.1"), num("10.0.0.1")),)), True),
    "-s 10.0.5.0/255.0.255.0": (Bits("src", num("255.0.255.0"), num("10.0.5.0")), False),
    "-d 10.0.0.0/255.255.0.0": (Within("dst", ((num("10.0.0.0"), num("10.0.255.255")),)), False),
    "-p tcp": (Within("proto", ((6, 6),)), False),
    "! -p gre": (Within("proto", ((47, 47),)), True),
    "-i eth+": (Interface("iif", "eth+"), False),
    "! -f": (Fragment(), True),
    "-m tcp --dport 22": (Within("dport", ((22, 22),)), False),
    "-m tcp ! --sport 1024:": (Within("sport", ((1024, 65535),)), True),
    "-m tcp --dport 60000:29": (Within("dport", ()), False),
    "-m tcp --tcp-flags FIN,SYN,RST,ACK SYN": (Bits("flags", 23, 2), False),
    "-m tcp ! --syn": (Bits("flags", 23, 2), True),
    "-m multiport --dports 22,80:90": (Within("dport", ((22, 22), (80, 90))), False),
    "-m multiport ! --ports 5": (EitherPort(((5, 5),)), True),
    "-m icmp --icmp-type 3/4": (Within("icmp", ((772, 772),)), False),
    "-m icmp --icmp-type 8": (Within("icmp", ((2048, 2303),)), False),
    "-m icmp --icmp-type any": (Within("icmp", ((0, 65535),)), False),
    "-m state --state NEW,INVALID": (OneOf("ctstate", frozenset({"NEW", "INVALID"})), False),
    "-m conntrack ! --ctstate NEW": (Conntrack(frozenset({"NEW"}), True, None, ""), False),
    "-m mark ! --mark 0x5/0x7": (Bits("mark", 7, 5), True),
    "-m iprange --src-range 1.0.0.1-1.0.0.9": (Within("src", ((num("1.0.0.1"), num("1.0.0.9")),)), False),
    "-m ttl --ttl-lt 5": (Within("ttl", ((0, 4),)), False),
    "-m length --length 5:65535": (Within("length", ((5, 65535),)), False),
    "-m dscp --dscp 0x2e": (Bits("tos", 252, 184), False),
    "-m pkttype --pkt-type unicast": (OneOf("pkttype", frozenset({"host"})), False),
    "-m addrtype ! --dst-type LOCAL": (AddressType("dst", frozenset({"LOCAL"}), "--dst-type LOCAL"), True),
    "-m limit --limit 10/sec --limit-burst 20": (Limit(10, 1, 20), False),
    "-m recent --update --seconds 60 --hitcount 20 --name OLLAMA --mask 255.255.255.255 --rsource": (
        Recent("update", "OLLAMA", 60, 20, 0xFFFFFFFF, "src"), False),
    "-m hashlimit --hashlimit-above 20/min --hashlimit-burst 5 --hashlimit-mode srcip --hashlimit-name x": (
        HashLimit("x", True, 20, 60, 5, ("srcip",), 0xFFFFFFFF, 60.0), False),
    "-m set ! --match-set bad src": (Oracle("set", "set bad src"), True),
    "-m string ! --string evil": (Oracle("packet", "string --string evil"), True),
    "-m string ! --strung evil": (Opaque("-m string --strung evil"), True),
    "-m made-up --with --odd 5 words": (Opaque("-m made-up --with --odd 5 words"), False),
    "-m tcp --dport 99999": (Opaque("-m tcp --dport 99999"), False),
    "-s 999.1.1.1": (Opaque("-s 999.1.1.1"), False),
}  # fmt: skip


@pytest.mark.parametrize("text", MATCHES)
def test_a_match_asks_what_it_says(text):
    found = rule(f"-A INPUT {text} -j DROP")
    assert [(m.test, m.negated) for m in found.matches] == [MATCHES[text]]
    assert found.target.act is Act.DROP


TARGETS = {
    "": Act.NOTHING, "-j ACCEPT": Act.ACCEPT, "-j USER": Act.JUMP, "-g USER": Act.GOTO, "-j RETURN": Act.RETURN,
    '-j LOG --log-prefix "a b"': Act.LOG, "-j MARK --set-xmark 0x1/0xff": Act.MARK, "-j CT --notrack": Act.NOTRACK,
    "-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff": Act.CONNMARK, "-j MASQUERADE": Act.SOURCE_NAT,
    "-j DNAT --to-destination 10.0.0.1:80": Act.DESTINATION_NAT, "-j NFQUEUE --queue-num 1": Act.ELSEWHERE,
    "-j NOWHERE": Act.UNKNOWN, "-g ACCEPT": Act.UNKNOWN, "-j": Act.UNKNOWN, "stray words": Act.UNKNOWN,
    '-j DROP -m comment --comment "open': Act.UNKNOWN,
}  # fmt: skip


@pytest.mark.parametrize("text", TARGETS)
def test_a_target_does_what_it_says(text):
    assert rule(f"-A INPUT {text}").target.act is TARGETS[text]


def test_text_counters_comment_and_quotes_are_kept():
    found = rule('[12:3400] -A INPUT -m comment --comment "a \\"quoted\\" \\\\ word" -j NFLOG --nflog-prefix "x y" '
                 "--nflog-group 5")  # fmt: skip
    assert found.counters.packets == 12
    assert found.counters.octets == 3400
    assert found.ref.text.startswith("-A INPUT -m comment")
    assert found.comment == 'a "quoted" \\ word'
    assert (found.target.prefix, found.target.group) == ("x y", 5)


def test_a_comment_that_looks_like_a_target_is_a_comment():
    found = rule('-A INPUT -m comment --comment "-j ACCEPT" -j DROP')
    assert found.target.act is Act.DROP


def test_options_in_any_order_and_by_hand():
    found = rule("-A INPUT -j ACCEPT -p tcp --dport ssh --source 10.0.0.1 -m comment --comment x")
    assert found.target.act is Act.ACCEPT
    assert {m.test for m in found.matches} >= {Within("dport", ((22, 22),)), Within("proto", ((6, 6),))}


def test_what_is_understood_is_counted():
    text = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j DROP\n-A INPUT -m limit -j ACCEPT\n"
    ruleset = parse(text + "-A INPUT -m odd\nrubbish\nCOMMIT\n", Family.IPV4)
    assert counted(ruleset) == (1, 1, 1, 1)


@pytest.mark.parametrize("path", HOSTILE, ids=lambda p: p.name)
def test_hostile_text_parses_and_is_not_taken_for_understood(path):
    family = Family.IPV4 if path.suffix == ".v4" else Family.IPV6
    ruleset = parse(path.read_bytes().decode("utf-8", "surrogateescape"), family, path.name)
    odd = [r for r in ruleset.rules() if r.sort is Sort.OPAQUE]
    assert bool(ruleset.unparsed or odd) is (path.name not in WHOLE)


def test_a_line_that_no_rule_can_be_is_kept_and_not_split():
    line = "-A INPUT " + "-m x --y " * 100_000 + "-j ACCEPT"
    ruleset = parse(f"*filter\n:INPUT DROP [0:0]\n{line}\n-A INPUT -j DROP\nCOMMIT\n", Family.IPV4)
    assert [(u.line, u.text == line, u.table) for u in ruleset.unparsed] == [(3, True, "filter")]
    assert len(ruleset.rules()) == 1


@pytest.mark.parametrize(
    "text", ["! -j DROP", "! -m tcp -j DROP", "-j\0 DROP", "-k DROP", "! ! -s 10.0.0.1 -j DROP", "-A -j DROP"]
)
def test_words_in_no_place_for_them_leave_the_target_open(text):
    assert rule(f"-A INPUT {text}").target.act is Act.UNKNOWN


WORDS = [
    "*filter",
    "*nat",
    "COMMIT",
    ":INPUT ACCEPT [0:0]",
    ":X - [0:0]",
    "-A INPUT",
    "-A X",
    "-j X",
    "-g X",
    "!",
    '"',
    "\\",
    "-m",
    "-m tcp",
    "--dport",
    "22",
    "-s",
    "10.0.0.0/8",
    "-p tcp",
    "--ctstate NEW",
    "-m recent --set",
    "#",
    "[1:2]",
    "-I INPUT 1",
    "--hitcount",
    "-5",
    "\u0661",
    "0x",
    "\x00",
    "-m limit --limit 1/s",
    "-j MARK --set-mark",
    "-P INPUT DROP",
    "\n",
    " ",
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=40).map(" ".join) | st.text(max_size=300))
def test_any_text_parses_and_no_line_is_lost(text):
    for family in Family:
        ruleset = parse("*filter\n:INPUT ACCEPT [0:0]\n" + text, family)
        kept = {u.line for u in ruleset.unparsed} | {r.line for r in ruleset.rules()}
        for number, line in enumerate(text.split("\n"), 3):
            plain = line.rstrip("\r")
            known = (
                not plain.strip()
                or plain[0] in "#*:"
                or plain.strip() == "COMMIT"
                or plain.lstrip().startswith(("-N", "-P"))
            )
            known = known or plain.split()[0] in {"--new-chain", "--policy"}
            assert known or number in kept
