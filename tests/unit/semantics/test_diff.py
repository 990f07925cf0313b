"""Differences of meaning between two sets of tables."""

import pytest

from fwproof.flow import Family
from fwproof.semantics.diff import Kind, compare
from fwproof.semantics.model import HostModel

from .tables import PUBLISHED, REPAIRED, filter_table

SSH = "-p tcp -m tcp --dport 22"


def change(old, new):
    return compare(HostModel.build(iptables_save=old), HostModel.build(iptables_save=new), Family.IPV4)


def tables(*rules, default="DROP"):
    return filter_table(*rules, default=default, chains=("A",))


def test_one_rule_more():
    found = change(tables(), tables(f"-A INPUT -s 10.0.0.0/8 {SSH} -j ACCEPT"))
    (only,) = found.changes
    assert (only.kind, only.hook, [str(room) for room in only.rooms]) == (
        Kind.REACHABLE, "input", ["tcp 22 from 10.0.0.0/8"])  # fmt: skip
    assert only.states == (
        "NEW",
        "ESTABLISHED",
        "ESTABLISHED (reply)",
        "RELATED",
        "RELATED (reply)",
        "INVALID",
        "UNTRACKED",
    )
    assert (only.before[0], only.before[1].rule, only.after[0], only.after[1].rule) == ("drop", None, "accept", 1)


def test_the_other_way_round():
    found = change(REPAIRED, REPAIRED.replace("-A INPUT -s 10.0.0.1/32", "-A INPUT -s 10.0.0.2/32"))
    assert [(c.kind, c.states, str(c.rooms[0])) for c in found.changes] == [
        (Kind.REACHABLE, ("NEW",), "tcp 22 from 10.0.0.2"), (Kind.UNREACHABLE, ("NEW",), "tcp 22 from 10.0.0.1"),
    ]  # fmt: skip


SAME = {
    "the same": (PUBLISHED, PUBLISHED),
    "two halves": (
        tables("-A INPUT -s 10.0.0.0/8 -j ACCEPT"),
        tables("-A INPUT -s 10.0.0.0/9 -j ACCEPT", "-A INPUT -s 10.128.0.0/9 -j ACCEPT")),
    "a chain of its own": (
        tables(f"-A INPUT {SSH} -j ACCEPT"), tables("-A INPUT -p tcp -j A", "-A A -m tcp -p tcp --dport 22 -j ACCEPT")),
    "an explicit drop": (tables(), tables("-A INPUT -j DROP")),
    "a rule before a limit that moves it": (
        tables("-A INPUT -m limit --limit 1/sec -j ACCEPT"),
        tables("-A INPUT -s 10.0.0.1 -m iprange --src-range 10.0.0.2-10.0.0.3 -j ACCEPT",
               "-A INPUT -m limit --limit 1/sec -j ACCEPT")),
    "other order of what does not overlap": (
        tables("-A INPUT -s 10.0.0.1 -j ACCEPT", "-A INPUT -s 10.0.0.2 -j ACCEPT"),
        tables("-A INPUT -s 10.0.0.2 -j ACCEPT", "-A INPUT -s 10.0.0.1 -j ACCEPT")),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_same_meaning(name):
    found = change(*SAME[name])
    assert found.same, found.changes


OTHER = {
    "the answer": (tables("-A INPUT -j REJECT"), tables("-A INPUT -j DROP"), Kind.ANSWER),
    "the kind of answer": (
        tables("-A INPUT -j REJECT"), tables("-A INPUT -j REJECT --reject-with icmp-host-prohibited"), Kind.ANSWER),
    "a limit's burst": (
        tables("-A INPUT -m limit --limit 1/sec -j ACCEPT"),
        tables("-A INPUT -m limit --limit 1/sec --limit-burst 9 -j ACCEPT"), Kind.REACHABLE),
    "a mark that programs set": (
        tables(), tables("-A OUTPUT -m mark --mark 0x7 -j DROP"), Kind.UNREACHABLE),
    "an unread target": (tables(), tables("-A INPUT -j NFQUEUE"), Kind.UNKNOWN),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_other_differences(name):
    old, new, kind = OTHER[name]
    assert kind in {each.kind for each in change(old, new).changes}
    assert change(new, old).changes


def test_other_effects_are_told_though_every_decision_is_the_same():
    nat = "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n"
    found = change(tables("-A INPUT -j LOG"), nat + tables("-A INPUT -j LOG"))
    assert (found.changes, found.same) == ((), False)
    assert found.effects == ("only after: ip nat POSTROUTING rule 1: -A POSTROUTING -j MASQUERADE",)


def test_a_family_that_was_not_read_is_never_the_same():
    model = HostModel.build(iptables_save=REPAIRED)
    found = compare(model, model, Family.IPV6)
    assert not found.same
    assert found.blind == ("the rules of ip6tables were not read",)


def test_a_table_that_was_not_read_whole_is_never_the_same():
    text = tables("-A INPUT -s 10.0.0.1 -j ACCEPT", "-X what is this")
    found = change(text, text)
    assert not found.same
    assert found.blind


def test_a_program_that_is_asked_otherwise_is_told():
    found = change(tables("-A INPUT -j NFQUEUE --queue-num 1"), tables("-A INPUT -j NFQUEUE --queue-num 2"))
    assert not found.same
    assert [effect.split(":")[0] for effect in found.effects] == ["only before", "only after"]


def test_what_nobody_looks_at_any_more_became_reachable():
    shut = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\nCOMMIT\n"
    gone = shut.replace(":FORWARD DROP [0:0]\n", "")
    (only,) = change(shut, gone).changes
    assert (only.kind, only.hook, only.after) == (Kind.REACHABLE, "forward", ("accept", None))
    (only,) = change(gone, shut).changes
    assert (only.kind, only.hook, only.before) == (Kind.UNREACHABLE, "forward", ("accept", None))
