"""Drops without a line: who drops them, what limits the log, and what may be left out."""

import pytest

from fwproof.flow import CtState, Family, Hook
from fwproof.semantics.model import HostModel
from fwproof.semantics.silent import EXCEPTIONS, silences

from .tables import ADDRESSES, PUBLISHED, REPAIRED, filter_table

LOG = '-j LOG --log-prefix "fw drop: "'
LIMITED = f"-m limit --limit 10/sec --limit-burst 20 {LOG}"


def asked(save, hook=Hook.INPUT, **more):
    return silences(HostModel.build(iptables_save=save, addresses=ADDRESSES), hook, Family.IPV4, **more)


def silent(found):
    """Return the rules that drop without a line, each with the states of its packets."""
    return {each.by.text: {state.value for state in each.states} for each in found.drops.openings}


def flooded(found):
    return [logger.act.rule.rule for logger in found.loggers if logger.flooded is not None]


ALL = {state.value for state in CtState}


def test_a_default_that_drops_without_a_line_is_found_and_a_chain_that_logs_and_drops_is_not():
    assert silent(asked(REPAIRED)) == {}
    out = asked(REPAIRED, Hook.OUTPUT)
    assert silent(out) == {"DROP": {"NEW", "INVALID", "UNTRACKED"}}
    assert not out.loggers
    assert out.refused


def test_the_witness_of_a_silent_drop_leaves_no_line_by_the_walk_of_single_packets_either():
    model = HostModel.build(iptables_save=REPAIRED, addresses=ADDRESSES)
    quiet = silences(model, Hook.OUTPUT, Family.IPV4).drops.openings[0]
    assert all(model.logs(each) == () for each in quiet.witnesses)
    loud = silences(model, Hook.INPUT, Family.IPV4).loggers[0]
    assert [act.rule for act in model.logs(loud.witness)] == [loud.act.rule]


def test_a_limit_that_decides_is_not_one_of_the_log():
    found = asked(PUBLISHED)
    (drop,) = found.drops.openings
    assert (drop.certainty, drop.depends_on) == ("depends", ("recent OLLAMA hitcount 20/60s",))
    assert not asked(PUBLISHED, leave_out=["over-limit"]).refused


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([f"-A INPUT {LIMITED}", "-A INPUT -j DROP"], {}),
        (["-A INPUT -j DROP", f"-A INPUT {LIMITED}"], {"-A INPUT -j DROP": ALL}),
        ([f"-A INPUT -p tcp {LIMITED}", "-A INPUT -j REJECT"], {"-A INPUT -j REJECT": ALL}),
        (["-A INPUT -m hashlimit --hashlimit-above 9/sec --hashlimit-mode srcip --hashlimit-name x -j LOG",
          "-A INPUT -j DROP"], {"-A INPUT -j DROP": ALL}),
        (["-A INPUT -m statistic --mode random --probability 0.5 -j LOG", "-A INPUT -j DROP"],
         {"-A INPUT -j DROP": ALL}),
        (["-A INPUT -m conntrack --ctstate INVALID -m limit --limit 3/min -j DROP", f"-A INPUT {LIMITED}",
          "-A INPUT -j DROP"],
         {"-A INPUT -m conntrack --ctstate INVALID -m limit --limit 3/min -j DROP": {"INVALID"}}),
    ],
)  # fmt: skip
def test_what_a_limit_or_a_match_keeps_from_the_log_is_told_apart(rules, expected):
    """A log limit that is used up excuses, one that has to be exceeded first does not, and chance never does."""
    assert silent(asked(filter_table(*rules))) == expected


def test_drops_before_the_hook_count():
    raw = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -s 192.0.2.1/32 -j DROP\nCOMMIT\n"
    assert silent(asked(raw + REPAIRED)) == {"-A PREROUTING -s 192.0.2.1/32 -j DROP": ALL}


def test_every_exception_leaves_out_its_own_drops_alone():
    table = filter_table(
        "-A INPUT -m conntrack --ctstate INVALID -j DROP", "-A INPUT -d 255.255.255.255/32 -j DROP",
        "-A INPUT -m pkttype --pkt-type broadcast -j DROP", "-A INPUT -m pkttype --pkt-type multicast -j DROP",
        "-A INPUT -d 224.0.0.0/4 -j DROP",
        "-A INPUT -m hashlimit --hashlimit-above 9/sec --hashlimit-mode srcip --hashlimit-name x -j DROP",
    )  # fmt: skip
    alone = {word: len(silent(asked(table, leave_out=[word]))) for word in EXCEPTIONS}
    assert len(silent(asked(table))) == 6
    assert alone == {"invalid": 5, "broadcast": 4, "multicast": 4, "over-limit": 5}
    assert silent(asked(table, leave_out=EXCEPTIONS)) == {}


def test_a_log_without_a_limit_can_be_flooded_wherever_the_limit_stands():
    chains, drop = ("log",), "-A INPUT -j DROP"
    assert flooded(asked(filter_table(f"-A INPUT {LOG}", drop))) == [1]
    assert flooded(asked(filter_table(f"-A INPUT {LIMITED}", drop))) == []
    jump = "-A INPUT -m limit --limit 9/sec -j log"
    assert flooded(asked(filter_table(jump, drop, f"-A log {LOG}", chains=chains))) == []
    both = asked(filter_table(jump, "-A INPUT -p tcp -j log", drop, f"-A log {LOG}", chains=chains))
    assert flooded(both) == [1]
    assert both.loggers[0].flooded.proto == 6
    above = "-A INPUT -m hashlimit --hashlimit-above 9/sec --hashlimit-mode srcip --hashlimit-name x"
    assert flooded(asked(filter_table(f"{above} {LOG}", f"{above} -j DROP"))) == [1]


def test_a_rule_that_logs_what_is_let_in_is_no_matter_of_drops():
    found = asked(
        filter_table(f"-A INPUT -p tcp {LOG}", "-A INPUT -p tcp -j ACCEPT", f"-A INPUT {LIMITED}", "-A INPUT -j DROP")
    )
    assert [logger.act.rule.rule for logger in found.loggers] == [3]


def test_a_line_with_another_prefix_is_one_only_where_no_other_rule_logs_rightly():
    table = filter_table(
        '-A INPUT -p udp -j LOG --log-prefix "old "', f"-A INPUT -p udp --dport 53 {LOG}", "-A INPUT -j DROP"
    )
    (old, new) = asked(table, prefix="fw drop").loggers
    assert old.misnamed.dport != 53
    assert new.misnamed is None
    assert asked(table.replace("--dport 53 ", ""), prefix="fw drop").loggers[0].misnamed is None


def test_a_rule_that_logs_behind_the_drop_is_named_with_the_cause():
    (gone,) = asked(filter_table("-A INPUT -j DROP", f"-A INPUT {LOG}")).dead
    assert gone.rule.rule == 2
    assert not asked(filter_table("-A INPUT -j DROP", f"-A INPUT {LOG}"), Hook.OUTPUT).dead


def test_bans_are_left_out_and_counted():
    table = filter_table(
        "-A INPUT -p tcp -j f2b-sshd", f"-A INPUT {LIMITED}", "-A INPUT -j DROP",
        "-A f2b-sshd -s 192.0.2.1/32 -j REJECT", "-A f2b-sshd -j RETURN", chains=("f2b-sshd",),
    )  # fmt: skip
    found = asked(table)
    assert (silent(found), found.bans) == ({}, 3)
    assert silent(asked(table.replace("f2b-", "mine-"))) == {"-A mine-sshd -s 192.0.2.1/32 -j REJECT": ALL}


def test_a_rule_that_is_not_understood_leaves_it_open():
    found = asked(filter_table("-A INPUT -p tcp -j NEWTARGET --odd", f"-A INPUT {LIMITED}", "-A INPUT -j DROP"))
    assert [each.certainty for each in found.drops.openings] == ["unknown"]


NFT = """{"nftables": [{"metainfo": {"json_schema_version": 1}},
 {"table": {"family": "inet", "name": "f", "handle": 1}},
 {"chain": {"family": "inet", "table": "f", "name": "in", "handle": 1, "type": "filter", "hook": "input", "prio": 0,
  "policy": "POLICY"}},
 {"rule": {"family": "inet", "table": "f", "chain": "in", "handle": 2, "expr": [
  {"limit": {"rate": 1, "burst": 5, "per": "second"}}, {"log": {"prefix": "fw "}}, {"drop": null}]}}]}"""


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize(("policy", "quiet"), [("drop", 0), ("accept", 0)])
def test_a_rule_of_nft_that_logs_and_drops_does_both(family, policy, quiet):
    model = HostModel.build(nft_json=NFT.replace("POLICY", policy), addresses=ADDRESSES)
    found = silences(model, Hook.INPUT, family)
    assert len(found.drops.openings) == quiet
    assert [logger.flooded for logger in found.loggers] == [None]
