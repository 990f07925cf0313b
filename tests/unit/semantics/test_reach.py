"""Who reaches what, in boxes, by rule, with packets; and who is kept out."""

from ipaddress import ip_network

import pytest

from fwproof.flow import CtState, Family, Hook
from fwproof.semantics.bdd import Sets
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Disagreement, openings, refusals
from fwproof.semantics.reach_text import address_text, networks, service_text
from fwproof.semantics.space import Claim

from .tables import ADDRESSES, PUBLISHED, REPAIRED, filter_table

OLLAMA = Claim(proto=6, ports=((11434, 11434),))


def model(text):
    return HostModel.build(iptables_save=text, ip6tables_save="", addresses=ADDRESSES)


def told(text, hook=Hook.INPUT, **question):
    answer = openings(model(text), hook, Family.IPV4, **question)
    return [(o.by.rule if o.by else None, o.certainty, [str(room) for room in o.rooms]) for o in answer.openings]


def test_the_repaired_tables():
    assert told(REPAIRED) == [
        (3, "accept", ["tcp 22 from 10.0.0.1"]),
        (2, "depends", ["tcp 11434 from 10.0.0.0/16"]),
    ]
    (opening,) = openings(model(REPAIRED), Hook.INPUT, Family.IPV4, claim=OLLAMA).openings
    assert opening.depends_on == ("recent OLLAMA hitcount 20/60s",)
    assert opening.narrowed == ("flags",)
    assert str(opening.witness) == "tcp 10.0.0.1:40000 -> 10.0.0.10:11434"


def test_a_rule_decides_some_and_the_default_the_rest():
    assert told(PUBLISHED, claim=Claim(proto=6, ports=((8080, 8080),))) == [
        (3, "accept", ["tcp 8080 from 10.0.0.100"]),
        (None, "accept", ["tcp 8080 from anywhere except 10.0.0.100"]),
    ]


def test_what_is_not_understood_is_not_known():
    (opening,) = openings(model(filter_table("-A INPUT -j NFQUEUE", default="DROP")), Hook.INPUT, Family.IPV4).openings
    assert (opening.certainty, opening.by.rule) == ("unknown", 1)
    (blind,) = openings(HostModel.build(iptables_save=PUBLISHED), Hook.INPUT, Family.IPV6).openings
    assert (blind.certainty, blind.depends_on) == ("unknown", ("the rules of ip6tables were not read",))


def test_later_tables_count_and_the_filter_tables_rule_is_named():
    text = "*security\n:INPUT ACCEPT [0:0]\n-A INPUT -s 10.1.0.0/16 -j DROP\nCOMMIT\n"
    text += filter_table("-A INPUT -s 10.0.0.0/15 -p tcp -m tcp --dport 22 -j ACCEPT", default="DROP")
    assert told(text) == [(1, "accept", ["tcp 22 from 10.0.0.0/16"])]


def test_two_destinations_with_two_sources_are_no_product():
    rules = ["-A FORWARD -s 10.0.0.1 -d 192.0.2.1 -j A", "-A FORWARD -s 10.0.0.2 -d 192.0.2.2 -j A", "-A A -j ACCEPT",
             "-A FORWARD -j DROP"]  # fmt: skip
    ((_, _, rooms),) = told(filter_table(*rules, chains=("A",)), Hook.FORWARD)
    assert rooms == ["every service from 10.0.0.1 to 192.0.2.1", "every service from 10.0.0.2 to 192.0.2.2"]


def test_only_so_many_are_listed_and_the_rest_is_counted():
    rules = [f"-A INPUT -s 10.0.0.{n} -j ACCEPT" for n in range(9)]
    answer = openings(model(filter_table(*rules, default="DROP")), Hook.INPUT, Family.IPV4, most=4)
    assert (len(answer.openings), answer.unlisted) == (4, 5)


def test_an_engine_that_is_wrong_is_not_believed(monkeypatch):
    """A broken engine is caught by the walk of the witness, and nothing is answered."""
    right = Sets.within
    monkeypatch.setattr(Sets, "within", lambda self, name, spans: ~right(self, name, spans) if name == "dport" else
                        right(self, name, spans))  # fmt: skip
    with pytest.raises(Disagreement, match="contradicts itself"):
        openings(model(REPAIRED), Hook.INPUT, Family.IPV4)


def test_words():
    v4 = Family.IPV4
    net = ip_network("10.0.0.0/16")
    low, high = int(net[0]), int(net[-1])
    assert address_text((((low, low + 99), (low + 101, high)), False), v4) == "10.0.0.0/16 except 10.0.0.100"
    assert address_text((((high + 1, low + 0xFFFFFF),), False), v4) == "10.0.0.0/8 except 10.0.0.0/16"
    assert address_text((((low, low), (high, high)), False), v4) == "10.0.0.0, 10.0.255.255"
    assert networks((((0x0A000500, 0xFF00FF00), (5, 0xFFFFFFFF)), True), v4) == ["10.0.5.0/255.0.255.0", "0.0.0.5"]
    services = ((((6, 6), (17, 17)), ((53, 53), (80, 90))), (((1, 1),), ((2048, 2303), (771, 771))))
    assert service_text(services, v4) == "tcp/udp 53,80-90, icmp type 8,3/3"


def test_services_are_told_together_where_that_is_shorter():
    rules = [
        "-A INPUT -s 10.0.0.0/16 -p tcp -m multiport --dports 80,443 -j DROP",
        "-A INPUT -s 10.9.0.0/16 -p udp -j DROP",
    ]
    ((_, _, rooms),) = told(filter_table(*rules))
    assert rooms == [
        "every service except tcp 80,443, udp from anywhere",
        "tcp 80,443 from anywhere except 10.0.0.0/16",
        "udp from anywhere except 10.9.0.0/16",
    ]


def kept_out(text, **claim):
    answer = refusals(model(text), Hook.INPUT, Family.IPV4, Claim(proto=6, opening=True, **claim))
    return [(o.by.rule, o.certainty, [str(room) for room in o.rooms], o.depends_on) for o in answer.openings]


def test_who_is_refused_and_by_which_rule():
    rules = ["-A INPUT -s 10.0.5.0/24 -j REJECT", "-A INPUT -s 10.0.0.0/16 -p tcp -m tcp --dport 22 -j ACCEPT"]
    assert kept_out(filter_table(*rules, default="DROP"), ports=((22, 22),), sources=(ip_network("10.0.0.0/8"),)) == [
        (1, "refused", ["tcp 22 from 10.0.5.0/24"], ()),
        (None, "refused", ["tcp 22 from 10.0.0.0/8 except 10.0.0.0/16"], ()),
    ]


def test_what_a_rate_refuses_is_not_refused_and_what_another_oracle_refuses_depends():
    limited = filter_table("-A INPUT -m limit --limit 1/sec -j ACCEPT", default="DROP")
    assert kept_out(limited) == []
    both = filter_table("-A INPUT -m limit --limit 1/sec -j DROP", "-A INPUT -j REJECT")
    assert [(rule, certainty) for rule, certainty, _, _ in kept_out(both)] == [(1, "refused"), (2, "refused")]
    odd = filter_table("-A INPUT -m odd --x -j DROP")
    assert kept_out(odd) == [(1, "depends", ["tcp from anywhere"], ("unread match -m odd --x",))]


def test_answers_that_are_refused():
    rules = ["-A OUTPUT -d 10.0.5.0/24 -j DROP", "-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
             "-A OUTPUT -j REJECT"]  # fmt: skip
    claim = Claim(proto=6, ports=((22, 22),), sources=(ip_network("10.0.0.0/16"),))
    found = refusals(model(filter_table(*rules)), Hook.OUTPUT, Family.IPV4, claim.answers(), answers=True).openings
    assert [(o.by.rule, [str(room) for room in o.rooms], o.narrowed) for o in found] == [
        (1, ["tcp from anywhere to 10.0.5.0/24"], ("sport",))
    ]
    assert (found[0].witness.sport, found[0].witness.ctdir) == (22, "reply")


@pytest.mark.parametrize(
    "rules", ["", "*nat\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n", "*filter\n:INPUT DROP [0:0]\nCOMMIT\n"]
)
@pytest.mark.parametrize("claim", [OLLAMA, None])
@pytest.mark.parametrize("state", list(CtState))
def test_what_no_chain_on_the_way_looks_at_gets_through(rules, claim, state):
    """A host with a chain for input alone forwards everything; so does one with chains of nat for old connections."""
    who = [(by, certainty) for by, certainty, _ in told(rules, Hook.FORWARD, claim=claim, states=(state,))]
    assert who == [(None, "accept")]
