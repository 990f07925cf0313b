"""Nobody is locked out: by the tables that stay, and by none of the states on the way there."""

import pytest

from fwproof.flow import Family
from fwproof.gating.guard import Harm, guarded
from fwproof.gating.script import read_script
from fwproof.gating.states import State, states
from fwproof.gating.window import opened

SAFE = """
iptables -A INPUT -i lo -j ACCEPT
iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A INPUT -s 10.0.0.1 -p tcp --dport 22 -j ACCEPT
iptables -P INPUT DROP
"""


@pytest.fixture
def watch(build, ssh, names):
    def told(text, base="", tracked=True):
        walked = tuple(states(build(base), read_script(text, "s.sh"), names))
        return guarded([ssh], walked, tracked=tracked)

    return told


def test_allowing_first_and_dropping_last_cuts_nobody_off(watch):
    found = watch(SAFE)
    assert not found.found
    assert not found.failed
    assert not found.unclear
    assert found.states == 5


def test_dropping_first_cuts_off_whoever_runs_the_script(watch):
    found = watch("iptables -P INPUT DROP\n" + SAFE)
    cut, login = found.found
    assert cut.harm is Harm.CUT
    assert (cut.first.line, cut.until.text) == (1, SAFE.strip().splitlines()[1])
    assert "policy: DROP" in cut.by
    assert login.harm is Harm.NO_LOGIN
    assert login.until.text == SAFE.strip().splitlines()[2]
    assert found.failed


def test_flushing_under_a_policy_that_drops_cuts_off(watch, build):
    base = """*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
"""
    found = watch("iptables -F INPUT\n" + SAFE, base)
    assert found.found[0].harm is Harm.CUT
    assert found.found[0].first.line == 1
    assert not watch(SAFE, base).failed


def test_what_stays_shut_is_a_lock_out_from_the_command_on_that_shuts_it(watch):
    found = watch(SAFE + "iptables -A OUTPUT -j DROP\n")
    assert {each.harm for each in found.found} == {Harm.LOCKED_OUT}
    assert {each.first.text for each in found.found} == {"iptables -A OUTPUT -j DROP"}
    assert any("answer" in each.text for each in found.found)


def test_a_way_that_is_opened_again_and_shut_for_good_is_told_from_the_last_time_on(watch):
    found = watch("iptables -P INPUT DROP\niptables -P INPUT ACCEPT\niptables -I INPUT -p tcp --dport 22 -j DROP\n")
    assert {(each.harm, each.first.line) for each in found.found} == {(Harm.LOCKED_OUT, 3)}


def test_a_log_in_that_no_conntrack_knows_is_cut_off_by_rules_that_want_a_syn(watch):
    """The first stateful rules on a host take its connections up by their next packet, which has no SYN."""
    wants_syn = SAFE.replace("--dport 22", "--dport 22 --syn")
    assert not watch(wants_syn, tracked=True).failed
    found = watch(wants_syn, tracked=None)
    assert found.failed
    assert "which conntrack does not know" in found.found[0].text
    assert not watch(SAFE, tracked=None).failed


def test_what_a_limit_decides_is_not_known(watch):
    found = watch(SAFE.replace("--dport 22", "--dport 22 -m limit --limit 1/min"))
    assert {each.harm for each in found.found} == {Harm.UNKNOWN}
    assert found.unclear
    assert not found.failed


def test_without_a_way_nothing_is_known(build):
    assert guarded([], [State(0, None, build())]).unclear


def test_a_window_in_which_more_is_open_than_before_and_after(build, names):
    base = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT DROP [0:0]\nCOMMIT\n"
    text = "iptables -A INPUT -p tcp --dport 8000:8999 -j ACCEPT\niptables -L\niptables -A OUTPUT -p udp -j ACCEPT\n"
    text += "iptables -D INPUT 1\n"
    walked = tuple(states(build(base), read_script(text, "s.sh"), names))
    (window,) = opened(walked, Family.IPV4).found
    assert (window.first.line, window.until.line) == (1, 4)
    assert 8000 <= window.witness.dport <= 8999
    assert not opened(walked[:3], Family.IPV4).found
    assert not opened(walked, Family.IPV6).found


def test_long_scripts_are_looked_at_where_they_can_be_and_else_a_gap_is_told(build, names, monkeypatch):
    monkeypatch.setattr("fwproof.gating.window.MOST", 3)
    text = "iptables -A INPUT -p tcp --dport 1:9 -j ACCEPT\n" * 4
    walked = tuple(states(build(), read_script(text, "s.sh"), names))
    assert opened(walked, Family.IPV4).gap == ""  # all was open before, so nothing can be more open
    base = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT DROP [0:0]\nCOMMIT\n"
    walked = tuple(states(build(base), read_script(text, "s.sh"), names))
    assert "more than 3 states" in opened(walked, Family.IPV4).gap
