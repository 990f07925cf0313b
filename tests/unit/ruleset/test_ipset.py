"""``ipset save`` to members, and what ``-m set`` asks once they are known."""

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwproof.decision import Decision
from fwproof.flow import Family, Flow
from fwproof.ruleset import ipset, iptables
from fwproof.ruleset.asks import Oracle, Sort, Within
from fwproof.semantics.model import HostModel

SAVE = """create banned hash:ip family inet hashsize 1024 maxelem 65536 timeout 600 comment bucketsize 12 initval 0x1
add banned 192.0.2.9 timeout 300 comment "add evil 10.0.0.1"
create nets hash:net family inet hashsize 1024 maxelem 65536
add nets 10.0.0.0/8
add nets 10.0.5.0/24 nomatch
add nets 10.0.5.7
create pairs hash:ip,port family inet hashsize 1024 maxelem 65536
add pairs 10.0.0.1,tcp:22
add pairs 10.0.0.1,udp:53-60
create both list:set size 8
add both banned
add both nets
create six hash:net family inet6 hashsize 1024 maxelem 65536
add six fd00::/48
create odd hash:net,iface family inet hashsize 1024 maxelem 65536
add odd 10.0.0.0/8,eth0
"""


def rules(*lines):
    return "*filter\n:INPUT DROP [0:0]\n" + "".join(f"-A INPUT {line} -j ACCEPT\n" for line in lines) + "COMMIT\n"


def tcp(src, port=22):
    return Flow(src=ip_address(src), dst=ip_address("10.0.0.10"), proto=6, sport=1, dport=port, iif="eth0")


def decided(line, flow, save=SAVE):
    return HostModel.build(iptables_save=rules(line), ipset_save=save).evaluate(flow, "input").decision


ACCEPT, DROP, DEPENDS = Decision.ACCEPT, Decision.DROP, Decision.DEPENDS


@pytest.mark.parametrize(("negated", "name", "way", "src", "port", "decision"), [
    (False, "banned", "src", "192.0.2.9", 22, ACCEPT),
    (False, "banned", "src", "192.0.2.8", 22, DROP),
    (False, "banned", "dst", "192.0.2.9", 22, DROP),
    (True, "banned", "src", "192.0.2.8", 22, ACCEPT),
    (False, "nets", "src", "10.0.6.1", 22, ACCEPT),
    (False, "nets", "src", "10.0.5.1", 22, DROP),
    (False, "nets", "src", "10.0.5.7", 22, ACCEPT),
    (True, "nets", "src", "10.0.5.1", 22, ACCEPT),
    (False, "pairs", "src,dst", "10.0.0.1", 22, ACCEPT),
    (False, "pairs", "src,dst", "10.0.0.1", 53, DROP),
    (False, "pairs", "src", "10.0.0.1", 22, DROP),
    (False, "both", "src", "192.0.2.9", 22, ACCEPT),
    (False, "both", "src", "10.0.5.1", 22, DROP),
    (False, "six", "src", "10.0.0.1", 22, DROP),
    (True, "six", "src", "10.0.0.1", 22, ACCEPT),
    (False, "odd", "src,src", "10.0.0.1", 22, DEPENDS),
    (False, "gone", "src", "10.0.0.1", 22, DEPENDS),
])  # fmt: skip
def test_membership(negated, name, way, src, port, decision):
    line = f"-m set {'! ' if negated else ''}--match-set {name} {way}"
    assert decided(line, tcp(src, port)) is decision


def test_without_members_a_set_is_an_oracle():
    ruling = HostModel.build(iptables_save=rules("-m set --match-set banned src")).evaluate(tcp("10.0.0.1"), "input")
    assert ruling.depends_on == ("set banned src",)


def test_a_set_that_rules_fill_is_an_oracle():
    text = rules("-m set --match-set banned src").replace("COMMIT", "-A INPUT -j SET --add-set banned src\nCOMMIT")
    ruling = HostModel.build(iptables_save=text, ipset_save=SAVE).evaluate(tcp("10.0.0.1"), "input")
    assert ruling.decision is DEPENDS


def test_a_set_that_rules_of_another_table_fill_stays_an_oracle():
    legacy = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j SET --add-set banned src\nCOMMIT\n"
    text = rules("-m set --match-set banned src")
    host = HostModel.build(iptables_save=text, iptables_legacy_save=legacy, ipset_save=SAVE)
    assert isinstance(host.rules(Family.IPV4)[0].matches[0].test, Oracle)
    alone = HostModel.build(iptables_save=text, ipset_save=SAVE)
    assert isinstance(alone.rules(Family.IPV4)[0].matches[0].test, Within)


@pytest.mark.parametrize("line", ["add nets nonsense", "add nets 10.0.0.0/99", "add nets fd00::/8"])
def test_a_member_that_is_not_understood_leaves_the_set_open(line):
    assert decided("-m set --match-set nets src", tcp("10.0.6.1"), f"{SAVE}{line}\n") is DEPENDS
    assert decided("-m set --match-set banned src", tcp("192.0.2.9"), f"{SAVE}{line}\n") is ACCEPT


def test_a_line_that_is_not_understood_leaves_every_set_open():
    assert decided("-m set --match-set banned src", tcp("192.0.2.9"), f"{SAVE}destroy everything\n") is DEPENDS
    assert ipset.parse(f"{SAVE}destroy everything\n", "sets").unparsed[0].reason == (
        f"sets:{SAVE.count(chr(10)) + 1}: this line of `ipset save` is not understood")  # fmt: skip


def test_large_sets_are_read_quickly_and_merged():
    lines = "".join(f"add big 10.{n // 256}.{n % 256}.0/24\n" for n in range(20000))
    sets = ipset.parse(f"create big hash:net family inet hashsize 1024 maxelem 65536\n{lines}")
    ruleset = ipset.resolved(iptables.parse(rules("-m set --match-set big src"), Family.IPV4), sets)
    (match,) = ruleset.rules()[0].matches
    assert isinstance(match.test, Within)
    assert len(match.test.ranges) == 1
    assert ruleset.rules()[0].sort is Sort.EXACT


def test_other_oracles_are_left_alone():
    before = iptables.parse(rules("-m owner --uid-owner 0"), Family.IPV4)
    after = ipset.resolved(before, ipset.parse(SAVE))
    assert after.rules() == before.rules()
    assert isinstance(after.rules()[0].matches[0].test, Oracle)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*SAVE.split("\n"), "create nets hash:ip", "add", "create x", "add both both",
                                 "add six x", 'add nets "', "create b bitmap:port range 0-9", "add b 5",
                                 "add pairs 1,2,3"])
                | st.text(max_size=30), max_size=12))  # fmt: skip
def test_any_text_parses(lines):
    sets = ipset.parse("\n".join(lines))
    for family in Family:
        ways = ("src", "dst,src", "src,dst,dst", "up")
        text = rules(
            *(f"-m set --match-set {name} {way}" for name in ("nets", "pairs", "both", "six", "b") for way in ways)
        )
        assert len(ipset.resolved(iptables.parse(text, family), sets).rules()) == 20
