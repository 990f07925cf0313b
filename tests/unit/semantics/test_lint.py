"""Lint's claims about rules, one small table for each."""

import pytest

from fwproof.flow import Family
from fwproof.semantics.lint import lint
from fwproof.semantics.lint_finding import Kind
from fwproof.semantics.model import HostModel

from .tables import PUBLISHED, REPAIRED, filter_table


def found(text, family=Family.IPV4):
    save = "iptables_save" if family is Family.IPV4 else "ip6tables_save"
    return {(f.rule.chain, f.rule.rule): f for f in lint(HostModel.build(**{save: text}), family)}


def kinds(text):
    return {
        place: (finding.kind.value, [cause.rule for cause in finding.causes]) for place, finding in found(text).items()
    }


SSH = "-p tcp -m tcp --dport 22"
CASES = {
    "a narrower rule after a wider one": (
        ["-A INPUT -s 10.0.0.0/8 -j ACCEPT", f"-A INPUT -s 10.1.0.0/16 {SSH} -j ACCEPT"], "DROP",
        {("INPUT", 2): ("shadowed", [1])}),
    "two rules that shadow only together": (
        ["-A INPUT -s 10.0.0.0/9 -j ACCEPT", "-A INPUT -s 10.128.0.0/9 -j ACCEPT", "-A INPUT -s 10.0.0.0/8 -j ACCEPT"],
        "DROP", {("INPUT", 1): ("redundant", [3]), ("INPUT", 2): ("redundant", [3]),
                 ("INPUT", 3): ("shadowed", [1, 2])}),
    "an earlier rule says the opposite": (
        ["-A INPUT -s 10.0.0.0/8 -j ACCEPT", "-A INPUT -s 10.0.0.1/32 -j DROP"], "DROP",
        {("INPUT", 2): ("contradicted", [1])}),
    "conditions that exclude one another": (
        ["-A INPUT -s 10.0.0.0/8 -m iprange --src-range 11.0.0.0-11.0.0.9 -j ACCEPT"], "DROP",
        {("INPUT", 1): ("never-matches", [])}),
    "no rule calls the chain": (["-A A -j DROP"], "ACCEPT", {("A", 1): ("unreachable", [])}),
    "nothing is left for the rule that calls": (
        ["-A INPUT -s 10.0.0.0/8 -j ACCEPT", "-A INPUT -s 10.0.0.1/32 -j A", "-A A -p udp -j LOG"], "DROP",
        {("INPUT", 2): ("shadowed", [1]), ("A", 1): ("unreachable", [2])}),
    "nothing that comes to the chain fits": (
        [f"-A INPUT {SSH} -j A", "-A A -p udp -j LOG", "-A A -s 10.0.0.0/8 -j ACCEPT"], "DROP",
        {("A", 1): ("unreachable", [1])}),
    "the base chain has taken what the chain is for": (
        ["-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", f"-A INPUT {SSH} -j A",
         "-A A -m conntrack --ctstate ESTABLISHED -j ACCEPT", "-A A -s 10.0.0.0/8 -j ACCEPT"], "DROP",
        {("A", 1): ("unreachable", [1])}),
    "an explicit drop before a default drop": (
        ["-A INPUT -s 10.0.0.0/8 -j ACCEPT", "-A INPUT -s 192.0.2.1/32 -j DROP"], "DROP",
        {("INPUT", 2): ("redundant", [None])}),
    "a later and wider rule does the same": (
        ["-A INPUT -s 10.1.0.0/16 -j ACCEPT", "-A INPUT -s 10.0.0.0/8 -j ACCEPT"], "DROP",
        {("INPUT", 1): ("redundant", [2])}),
    "a refusal of another kind is no repetition": (
        ["-A INPUT -s 10.1.0.0/16 -j REJECT --reject-with tcp-reset", "-A INPUT -s 10.0.0.0/8 -j REJECT"],
        "ACCEPT", {}),
    "an exception is none of it": (
        ["-A INPUT -s 10.0.0.1/32 -j DROP", "-A INPUT -s 10.0.0.0/8 -j ACCEPT"], "DROP", {}),
    "everything from everywhere": (
        ["-A INPUT -i lo -j ACCEPT", "-A INPUT -i eth0 -j ACCEPT"], "DROP", {("INPUT", 2): ("over-broad", [None])}),
    "established is not everything": (
        ["-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT"], "DROP", {}),
    "an accept with a limit is not everything": (
        ["-A INPUT -m limit --limit 5/sec -j ACCEPT"], "DROP", {}),
    "a rule that counts may not be left out": (
        ["-A INPUT -s 10.1.0.0/16 -j ACCEPT", "-A INPUT -m recent --update --name x --rsource --seconds 9 -j DROP",
         "-A INPUT -s 10.0.0.0/8 -j ACCEPT"], "ACCEPT", {("INPUT", 3): ("redundant", [None])}),
    "what spares others a limit may not be left out": (
        ["-A INPUT -s 10.1.0.0/16 -j ACCEPT", "-A INPUT -m limit --limit 5/sec -j ACCEPT",
         "-A INPUT -s 10.0.0.0/8 -j ACCEPT"], "DROP", {}),
    "a target that is not understood may do nothing": (
        ["-A INPUT -j SOMETHING", "-A INPUT -s 10.0.0.0/8 -j ACCEPT"], "DROP", {}),
    "a mark may come from elsewhere": (
        ["-A INPUT -m mark --mark 0x1 -j ACCEPT", "-A INPUT -m mark --mark 0x2 -j DROP"], "DROP",
        {("INPUT", 2): ("redundant", [None])}),
    "a return at the end": (
        [f"-A INPUT {SSH} -j A", "-A A -s 10.0.0.0/8 -j ACCEPT", "-A A -j RETURN"], "DROP",
        {("A", 2): ("redundant", [None])}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_findings(name):
    rules, default, expected = CASES[name]
    chains = ("A",) if any("A A" in rule or "-j A" in rule.split("ACCEPT")[0] for rule in rules) else ()
    assert kinds(filter_table(*rules, default=default, chains=chains)) == expected


def test_a_drop_in_an_earlier_table_makes_rules_unreachable():
    text = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -j DROP\nCOMMIT\n" + filter_table(
        "-A INPUT -p udp -j LOG"
    )
    assert kinds(text) == {("INPUT", 1): ("unreachable", [])}


MARKED = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j MARK --set-xmark 0x2/0xffffffff\nCOMMIT\n"


@pytest.mark.parametrize(("verdict", "kind"), [("ACCEPT", "contradicted"), ("DROP", "shadowed")])
def test_a_mark_that_was_set_in_between_contradicts(verdict, kind):
    rules = ["-j MARK --set-xmark 0x1/0xffffffff", "-m mark --mark 0x1 -j DROP", f"-j {verdict}"]
    table = filter_table(*(f"-A INPUT {SSH} {rule}" for rule in rules), default="ACCEPT")
    assert kinds(MARKED + table)["INPUT", 3] == (kind, [1, 2])


def test_what_nat_makes_of_a_packet_may_be_anything():
    nat = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 80\nCOMMIT\n"
    raw = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 80 -j DROP\nCOMMIT\n"
    rule = "-A INPUT -p tcp -m tcp --dport 80 -j LOG"
    assert kinds(raw + nat + filter_table(rule)) == {}


def test_nat_rules_are_never_called_redundant():
    rules = "-A POSTROUTING -d 10.0.0.0/8 -j ACCEPT\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n"
    assert kinds("*nat\n:POSTROUTING ACCEPT [0:0]\n" + rules + filter_table()) == {}


def test_counters_tell_unused_from_unreachable():
    text = filter_table(
        "[7:420] -A INPUT -s 10.0.0.0/8 -j ACCEPT", "[3:180] -A INPUT -s 10.0.0.1/32 -j DROP",
        "[0:0] -A INPUT -s 192.0.2.0/24 -j ACCEPT", default="DROP")  # fmt: skip
    all_ = found(text)
    assert {rule: finding.kind for (_, rule), finding in all_.items()} == {2: Kind.CONTRADICTED, 3: Kind.UNUSED}
    assert "its counter says 3 packets" in all_["INPUT", 2].why
    assert all_["INPUT", 3].witness.src.exploded.startswith("192.0.2.")
    assert found(text.replace("[7:420]", "[0:0]").replace("[3:180]", "[0:0]")).keys() == {("INPUT", 2)}


def test_the_published_and_the_repaired_tables():
    assert kinds(REPAIRED) == {}
    assert {kind for kind, _ in kinds(PUBLISHED).values()} == {"redundant"}


def test_ipv6_is_looked_at_as_well():
    text = "*filter\n:INPUT DROP [0:0]\n-A INPUT -s fd00::/16 -j ACCEPT\n-A INPUT -s fd00::1 -j DROP\nCOMMIT\n"
    assert [f.kind for f in found(text, Family.IPV6).values()] == [Kind.CONTRADICTED]


def test_what_was_not_understood_makes_nothing_unreachable():
    text = "*mangle\n:PREROUTING ACCEPT [0:0]\n-X what is this\nCOMMIT\n" + filter_table("-A INPUT -p udp -j LOG")
    model = HostModel.build(iptables_save=text)
    assert model.rulesets[Family.IPV4][0].unparsed
    assert lint(model, Family.IPV4) == []


def test_nothing_is_said_of_a_table_that_was_not_read_whole():
    text = filter_table("-A INPUT -s 10.0.0.0/8 -j ACCEPT", "-X what is this", "-A INPUT -s 10.0.0.1 -j DROP")
    model = HostModel.build(iptables_save=text)
    assert model.rulesets[Family.IPV4][0].unparsed
    assert lint(model, Family.IPV4) == []
