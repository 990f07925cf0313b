"""What hosts print may be anything: no text of theirs ends an audit, and none becomes a command that does harm."""

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.frontends.commands import command, deletion
from fwproof.frontends.firewalld_zones import differences, read_zones
from fwproof.frontends.front_end import front_end_of
from fwproof.frontends.ufw_rules import read_rules
from fwproof.frontends.wish import Way, Wish

WORDS = st.sampled_from(
    ["allow", "route:deny", "tcp", "22", "any", "0.0.0.0/0", "in", "in_eth0!out_x", "-", "%20", "comment=zz",
     "\x1b[2J", "9" * 5000]
)  # fmt: skip
TUPLES = st.lists(WORDS, max_size=10).map(lambda words: f"### tuple ### {' '.join(words)}\n-A ufw-user-input -p tcp\n")
ZONES = st.lists(
    st.sampled_from(["public (active)", "  ports: 1/tcp", "  target: ACCEPT", "\trule x", "", "  :", "\x00",
                     "  services: a b"])
)  # fmt: skip
CHAINS = [
    "ufw-track",
    "ufw-user-limit-output",
    "ufw-skip-to-policy-limit",
    "ufw-",
    "ufw6-logging",
    "DOCKER",
    "KUBE-",
    "INPUT",
]


@given(st.text() | TUPLES)
def test_rule_files_of_ufw(text):
    for rule in read_rules(text):
        assert str(rule)
        assert rule.deletion.isprintable()
        assert shlex.split(rule.deletion)[:1] in ([], ["ufw"])


@given(st.text() | ZONES.map("\n".join), st.text() | ZONES.map("\n".join))
def test_zones_of_firewalld(one, other):
    assert all(map(str, differences(read_zones(one), read_zones(other))))


@given(st.lists(st.text(max_size=20), min_size=1))
def test_a_command_is_one_line_of_the_same_words_or_none(words):
    line = command(words)
    assert line == "" or (shlex.split(line) == words and "\n" not in line)


@given(st.text())
def test_a_deletion_is_a_deletion_or_none(text):
    line = deletion("iptables", f"-A {text}")
    assert line == "" or shlex.split(line)[:2] == ["iptables", "-D"]


@settings(max_examples=30, deadline=None)
@given(text=st.text(max_size=200))
@pytest.mark.parametrize(
    "name", ["ufw_rules", "ufw_defaults", "firewalld_zones", "firewalld_direct", "boot_links", "ufw.conf"]
)
def test_no_capture_of_a_front_end_ends_an_audit(read, model_of, name, text):
    host = "two-managers"
    snapshot = read(host, **{name: text, "iptables_save": read("ufw-published").captures["iptables-save"].stdout})
    found = front_end_of(snapshot, model_of(snapshot).rulesets if name == "ufw_rules" else {})
    assert found.spoken(text) == text or found.refs


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("wrong", ["open", "shut"])
def test_chains_with_odd_names(front, chain, wrong):
    ref = RuleRef(family="ip", table="filter", chain=chain, rule=1, text="-A x -j ACCEPT")
    found = front("ufw-published")
    assert found.name(ref) is not None
    assert found.mend(Wish(wrong=wrong, way=Way.IN, family=Family.IPV4, by=(ref,))) is not None
