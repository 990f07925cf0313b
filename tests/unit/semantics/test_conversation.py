"""Whole connections: what follows from the first packet for its answers, later packets and errors."""

from dataclasses import replace

import pytest

from fwproof.decision import Decision
from fwproof.flow import CtState
from fwproof.semantics.conversation import converse

from .test_nat import DOCKER, model, table, tcp

ANSWERS = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
OUT = {"src": "172.17.0.2", "dst": "203.0.113.7", "iif": "docker0"}


def told(part):
    return part.ruling.decision.value, str(part.flow), None if part.after is None else str(part.after)


def test_a_published_port_is_answered_from_the_address_that_was_asked():
    found = converse(model(DOCKER), tcp())
    assert found.works
    assert told(found.later) == (
        "accept",
        "tcp 203.0.113.7:40000 -> 10.0.0.10:8080",
        "tcp 203.0.113.7:40000 -> 172.17.0.2:80",
    )
    assert told(found.reply) == (
        "accept",
        "tcp 172.17.0.2:80 -> 203.0.113.7:40000",
        "tcp 10.0.0.10:8080 -> 203.0.113.7:40000",
    )
    assert (found.reply.flow.iif, found.reply.flow.ctstate, found.reply.flow.flags) == (
        "docker0",
        CtState.ESTABLISHED,
        {"SYN", "ACK"},
    )
    assert found.error.after.src == tcp().dst


def test_what_is_masqueraded_is_answered_by_way_of_the_host():
    text = table("nat", "-A POSTROUTING -o eth0 -j MASQUERADE") + table(
        "filter", ANSWERS, "-A FORWARD -i docker0 -j ACCEPT", forward="DROP"
    )
    found = converse(model(text), tcp(**OUT))
    assert found.works
    assert told(found.reply) == (
        "accept",
        "tcp 203.0.113.7:8080 -> 10.0.0.10:40000",
        "tcp 203.0.113.7:8080 -> 172.17.0.2:40000",
    )
    closed = text.replace("RELATED,ESTABLISHED", "INVALID")
    reply = converse(model(closed), tcp(**OUT)).reply
    assert (reply.ruling.decision, reply.ruling.by.chain, reply.ruling.by.rule) == ("drop", "FORWARD", None)


RULES = {
    "the original destination": ("-m conntrack --ctorigdst 10.0.0.10 -j ACCEPT", True),
    "another original destination": ("-m conntrack --ctorigdst 10.0.0.11 -j ACCEPT", False),
    "where answers come from": ("-m conntrack --ctreplsrc 172.17.0.2 -j ACCEPT", True),
    "the original port": ("-m conntrack --ctstate ESTABLISHED --ctorigdstport 8080 -j ACCEPT", True),
    "that it was translated": ("-m conntrack --ctstate DNAT -j ACCEPT", True),
    "that its source was": ("-m conntrack --ctstate SNAT -j ACCEPT", False),
    "its direction": ("-m conntrack --ctdir REPLY -j ACCEPT", True),
    "the other direction": ("-m conntrack --ctdir ORIGINAL -j ACCEPT", False),
}


@pytest.mark.parametrize("name", RULES)
def test_rules_look_at_how_the_connection_began(name):
    match, passes = RULES[name]
    text = table("nat", "-A PREROUTING -p tcp -j DNAT --to-destination 172.17.0.2:80") + table(
        "filter", "-A FORWARD -i eth0 -j ACCEPT", f"-A FORWARD -i docker0 {match}", forward="DROP")  # fmt: skip
    reply = converse(model(text), tcp()).reply
    assert (reply.ruling.decision is Decision.ACCEPT) is passes
    alone = model(text).evaluate(reply.flow)
    assert alone.decision is not Decision.ACCEPT or passes


def test_a_mark_of_the_connection_is_there_for_its_answers():
    mark = table("mangle", "-A PREROUTING -m conntrack --ctstate NEW -j CONNMARK --set-mark 7")
    text = mark + table("filter", "-A INPUT -j ACCEPT", "-A OUTPUT -m connmark --mark 7 -j DROP", output="ACCEPT")
    found = converse(model(text), tcp(dport=22))
    assert (found.reply.flow.connmark, found.reply.ruling.by.chain, found.reply.ruling.decision) == (
        7,
        "OUTPUT",
        "drop",
    )
    assert not found.works


def test_without_an_entry_of_conntrack_answers_stand_alone():
    raw = table("raw", "-A PREROUTING -j CT --notrack")
    rules = ["-A OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", "-A INPUT -j ACCEPT"]
    found = converse(model(raw + table("filter", *rules, output="DROP")), tcp(dport=22))
    assert (found.later, found.error) == (None, None)
    assert (found.reply.flow.ctstate, found.reply.ruling.decision) == (CtState.INVALID, "drop")
    udp = replace(tcp(dport=53), proto=17, flags=frozenset())
    assert converse(model(raw + table("filter", *rules, output="DROP")), udp).reply.flow.ctstate is CtState.NEW


def test_what_is_refused_has_no_answer_and_what_depends_may_have_one():
    assert converse(model(table("filter", input="DROP")), tcp(dport=22)).reply is None
    limited = table("filter", "-A INPUT -m limit --limit 1/sec -j ACCEPT", input="DROP")
    found = converse(model(limited), tcp(dport=22))
    assert (found.request.ruling.decision, found.reply.ruling.decision, found.works) == ("depends", "accept", False)


def test_an_address_that_nat_picks_is_said_not_to_be_known():
    text = table("nat", "-A POSTROUTING -j SNAT --to-source 198.51.100.0-198.51.100.255") + table("filter")
    reply = converse(model(text), tcp(**OUT)).reply
    assert "dst" in reply.unknown
    assert str(reply.after) == "tcp 203.0.113.7:8080 -> 172.17.0.2:40000"


def test_only_a_first_packet_begins_a_connection():
    with pytest.raises(ValueError, match="NEW"):
        converse(model(table("filter")), tcp(ctstate=CtState.ESTABLISHED))
