"""Judging tables as a whole: both families alike, every rule with its effect, nothing drifted."""

from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace

import pytest

from fwproof.errors import HostError
from fwproof.facts import BaselineFacts, Facts
from fwproof.flow import Family
from fwproof.inventory import Host, Inventory, SshAddress, Zone
from fwproof.judging import judge
from fwproof.plan import Check, Kind
from fwproof.policy.model import Policy
from fwproof.policy.table_model import Accepted, Baseline, Parity, Rules
from fwproof.results import Verdict
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Capture, Snapshot

PASS, FAIL, UNSURE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
ANY = {"id": "x", "title": "x", "file": "p.yaml", "line": 3}
POLICY = Policy(name="p", path=Path("p"), sha256="", hosts=("web",), services={})
ZONES = {"internal": ("10.0.0.0/16", "fd00::/48"), "admin": ("10.0.0.1/32", "fd00::1/128")}
WEB = Host(name="web", addresses=(ip_address("10.0.0.10"), ip_address("fd00::10")), ssh=SshAddress(address="x"))
INVENTORY = Inventory(
    path=Path("i"), sha256="", hosts={"web": WEB},
    zones={name: Zone(name=name, networks=tuple(map(ip_network, nets))) for name, nets in ZONES.items()},
)  # fmt: skip
ADDRESSES = (
    '[{"ifname": "lo", "addr_info": []}, {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.10",'
    ' "prefixlen": 16}, {"family": "inet6", "local": "fd00::10", "prefixlen": 64}]}]'
)
SSH4, SSH6 = (f"-A INPUT -s {net} -p tcp -m tcp --dport 22 -j ACCEPT" for net in ZONES["internal"])
BAN = ("-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd", "-A f2b-sshd -s 10.0.0.66 -j REJECT",
       "-A f2b-sshd -j RETURN")  # fmt: skip
PROGRAM = "-A INPUT -p udp -j NFQUEUE"


def table(*rules, default="DROP"):
    chains = {rule.split()[1] for rule in rules if rule.startswith("-A")} - {"INPUT"}
    head = [
        f":INPUT {default} [0:0]",
        ":FORWARD DROP [0:0]",
        ":OUTPUT ACCEPT [0:0]",
        *(f":{c} - [0:0]" for c in chains),
    ]
    return "\n".join(["*filter", *head, *rules, "COMMIT", ""])


def model(v4=(), v6=()):
    texts = [each if isinstance(each, str) else table(*each) for each in (v4, v6)]
    return HostModel.build(iptables_save=texts[0], ip6tables_save=texts[1], addresses=ADDRESSES)


def judged(kind, expectation, host, *, family=Family.IPV4, baseline=None):
    folder = Path("b/web")
    facts = Facts(
        inventory=INVENTORY, snapshots={}, models={"web": host}, agents={}, baselines={("web", folder): baseline}
    )
    check = Check(id="c", kind=kind, policy=POLICY, expectation=expectation, host="web", expected="", family=family)
    return judge(check, facts)


# ---- parity


def parity(v4, v6):
    return judged(Kind.PARITY, Parity(**ANY), model(v4, v6), family=None)


def test_families_that_let_the_same_through_pass():
    outcome = parity([SSH4], [SSH6])
    assert (outcome.verdict, outcome.reason) == (PASS, "IPv4 and IPv6 let the same through, zone by zone")
    assert "internal, admin" in outcome.proved


@pytest.mark.parametrize(
    ("v4", "v6", "said"),
    [
        ([SSH4], [], ("IPv4 open, let through by ip filter INPUT rule 1", "IPv6 closed, dropped by")),
        ([], [SSH6], ("IPv4 closed, dropped by", "IPv6 open, let through by ip6 filter INPUT rule 1")),
    ],
)
def test_a_difference_fails_with_both_rules(v4, v6, said):
    outcome = parity(v4, v6)
    assert outcome.verdict is FAIL
    assert "at input, tcp/22 from internal: " in outcome.reason
    assert all(text in outcome.reason for text in said)
    assert "dport 22" in outcome.rule
    assert len([line for line in outcome.evidence if "for example tcp" in line]) == 2
    assert outcome.cause
    assert outcome.fix


def test_differences_are_counted_where_they_are_many():
    outcome = parity([f"-A INPUT -p tcp -m tcp --dport {port} -j ACCEPT" for port in range(1, 7)], [])
    assert "; and 3 more" in outcome.reason
    assert outcome.proved == "differences over the whole packet space: 6 at input"
    assert len(outcome.evidence) == 18


def test_what_is_not_known_of_one_family_is_no_pass():
    outcome = parity([SSH4, PROGRAM], [SSH6])
    assert (outcome.verdict, "NFQUEUE" in outcome.reason) == (UNSURE, True)
    assert parity([SSH4, PROGRAM], []).verdict is FAIL
    assert parity(table(SSH4, "garbage"), [SSH6]).verdict is UNSURE


def test_what_is_not_compared_is_told():
    outcome = parity([SSH4.replace("10.0.0.0/16", "10.0.0.0/17")], [SSH6.replace("fd00::/48", "fd00::/49")])
    assert (outcome.verdict, "open to a part of a zone in both families: input: tcp/22" in outcome.reason) == (
        PASS,
        True,
    )


def test_tables_too_large_for_the_proof_are_no_pass(monkeypatch):
    for name, call in (("parity", lambda: parity([SSH4], [SSH6])), ("rules", lambda: rules([SSH4])),
                       ("drift", lambda: drift([SSH4], [SSH4]))):  # fmt: skip
        monkeypatch.setattr("fwproof.semantics.bdd.Sets.tick", _out_of_time)
        outcome = call()
        assert (name, outcome.verdict, "too entangled" in outcome.reason) == (name, UNSURE, True)


def _out_of_time(self):
    from fwproof.semantics.space import SpaceTooLarge

    raise SpaceTooLarge("the tables are too entangled")


# ---- rules


def rules(v4, **more):
    return judged(Kind.RULES, Rules(**ANY, **more), model(v4))


LATE = "-A INPUT -s 10.0.0.5/32 -p tcp -m tcp --dport 22 -j ACCEPT"
FINDINGS = {
    "shadowed": ([SSH4, LATE], "shadowed: ip filter INPUT rule 2"),
    "contradicted": ([SSH4, LATE.replace("ACCEPT", "DROP")], "contradicted: ip filter INPUT rule 2"),
    "redundant": ([LATE, SSH4], "redundant: ip filter INPUT rule 1"),
    "never-matches": (["-A INPUT -s 10.0.0.1 -m iprange --src-range 10.0.0.2-10.0.0.3 -j ACCEPT"], "never-matches: ip"),
    "unreachable": ([SSH4, "-A LOST -j ACCEPT"], "unreachable: ip filter LOST rule 1"),
    "over-broad": (["-A INPUT -i eth0 -j ACCEPT"], "over-broad: ip filter INPUT rule 1"),
}


@pytest.mark.parametrize("kind", FINDINGS)
def test_a_finding_fails_unless_its_kind_does_not_or_it_is_accepted(kind):
    tables, said = FINDINGS[kind]
    outcome = rules(tables)
    assert (outcome.verdict, said in outcome.reason) == (FAIL, True), outcome.reason
    assert outcome.cause == f"a rule is {kind}"
    assert outcome.rule in outcome.reason
    only = rules(tables, fail=("unused",))
    assert (only.verdict, f"only told: 1 {kind}" in only.reason) == (PASS, True)
    text = outcome.rule.partition(": ")[2]
    accepted = rules(tables, accepted=(Accepted(rule=f"  {text} ", finding=kind, reason="kept on purpose"),))
    assert (accepted.verdict, "accepted (kept on purpose): " in accepted.reason) == (PASS, True)
    other = next(each for each in FINDINGS if each != kind)
    assert rules(tables, accepted=(Accepted(rule=text, finding=other, reason="x"),)).verdict is FAIL


def test_the_causes_are_named():
    assert f"({SSH4}" not in rules([SSH4]).reason
    assert f"(ip filter INPUT rule 1: {SSH4})" in rules([SSH4, LATE]).reason


def test_clean_rules_pass_and_unused_ones_are_told():
    assert rules([SSH4]).reason == "no rule has a finding that fails"
    counted = table(SSH4).replace("-A INPUT", "[0:0] -A INPUT").replace("COMMIT", "[5:5] -A OUTPUT -j DROP\nCOMMIT")
    outcome = rules(counted)
    assert (outcome.verdict, outcome.reason) == (PASS, "no rule has a finding that fails; only told: 1 unused")


def test_every_finding_is_listed_as_evidence():
    tables = [SSH4, *(LATE.replace("0.5/32", f"0.{n}/32") for n in range(20, 32))]
    outcome = rules(tables)
    assert "and 4 more, which the evidence lists" in outcome.reason
    assert len(outcome.evidence) == 12
    assert outcome.cause == "12 rules are shadowed"


def test_rules_that_were_not_read_whole_are_no_pass():
    outcome = rules(table(SSH4, "garbage"))
    assert (outcome.verdict, "expected -A CHAIN" in outcome.reason) == (UNSURE, True)
    blind = HostModel.build(ip6tables_save=table(), addresses=ADDRESSES)
    assert judged(Kind.RULES, Rules(**ANY), blind).verdict is UNSURE
    outcome = rules("*security\n:FORWARD ACCEPT [0:0]\ngarbage\nCOMMIT\n" + table(SSH4, LATE))
    assert (outcome.verdict, "not looked at: " in outcome.reason) == (FAIL, True)


def test_bans_are_not_the_administrators_rules():
    outcome = rules([BAN[0], SSH4, *BAN[1:]])
    assert (outcome.verdict, "3 rules of fail2ban's own were left out" in outcome.reason) == (PASS, True)
    closed = "-A INPUT -p tcp -m tcp --dport 22 -j DROP"  # nothing is left for the jump to fail2ban's chain
    assert rules(table(closed, *BAN, default="ACCEPT")).verdict is PASS
    assert rules([SSH4, "-A f2b-sshd -j ACCEPT"]).verdict is FAIL


# ---- drift


def drift(before, now, *, name="web"):
    captures = {"iptables-save": Capture(name="iptables-save", argv=(), status=0, stdout="x", stderr="",
                                         at="2026-01-01T00:00:00Z", seconds=0.0)}  # fmt: skip
    then = BaselineFacts(
        folder="b/web", snapshot=Snapshot(host=name, captures=captures, faults={}), model=model(before)
    )
    return judged(Kind.DRIFT, Baseline(**ANY, pattern="b/{host}"), model(now), baseline=then)


def test_the_same_meaning_passes_however_it_is_written():
    outcome = drift([SSH4], [SSH4.replace("0.0/16", "0.0/17"), SSH4.replace("10.0.0.0/16", "10.0.128.0/17")])
    assert (outcome.verdict, outcome.reason) == (PASS, "the same meaning as in b/web")
    assert "of 2026-01-01T00:00:00Z, SHA-256 2d711642b726b044" in outcome.evidence[-1]
    assert any(line.startswith("filter INPUT: only now: -A INPUT") for line in outcome.evidence)


def test_what_became_reachable_fails_with_both_rules_and_a_packet():
    outcome = drift([], [SSH4])
    assert outcome.verdict is FAIL
    assert (
        "since the baseline in b/web: became reachable at input (most states): tcp 22 from 10.0.0.0/16"
        in outcome.reason
    )
    assert "before drop by ip filter INPUT policy: DROP, now accept by ip filter INPUT rule 1" in outcome.reason
    assert "for example tcp 10.0.0." in outcome.reason
    assert outcome.rule.endswith(SSH4)


def test_what_stopped_being_reachable_fails():
    outcome = drift([SSH4], [])
    assert (outcome.verdict, "stopped being reachable at input" in outcome.reason) == (FAIL, True)


def test_rules_with_other_effects_are_drift():
    log = '-A INPUT -j LOG --log-prefix "x"'
    outcome = drift([log, SSH4], [SSH4])
    assert (outcome.verdict, "a rule with other effects, only before: " in outcome.reason) == (FAIL, True)


def test_what_is_not_known_is_no_pass():
    ring = ["-A INPUT -p udp -j RING", "-A RING -j RING"]
    outcome = drift([SSH4], [SSH4, *ring])
    assert (outcome.verdict, "is not known" in outcome.reason) == (UNSURE, True)
    assert drift([SSH4], table(SSH4, "garbage")).verdict is UNSURE
    assert drift(table(SSH4, "garbage"), [SSH4]).verdict is UNSURE
    assert drift([], [SSH4, *ring]).verdict is FAIL


def test_who_is_banned_is_no_drift():
    outcome = drift([SSH4], [BAN[0], SSH4, *BAN[1:]])
    assert (outcome.verdict, "3 rules of fail2ban's own were left out" in outcome.reason) == (PASS, True)
    assert drift([BAN[0], SSH4, *BAN[1:]], [SSH4]).verdict is PASS


@pytest.mark.parametrize("hidden", ["-A f2b-sshd -s 203.0.113.66 -j ACCEPT", "-A f2b-sshd -j OTHER"])
def test_an_opening_behind_fail2bans_name_is_drift(hidden):
    extra = ("-A OTHER -j ACCEPT",) if "OTHER" in hidden else ()
    assert drift([SSH4], ["-A INPUT -j f2b-sshd", SSH4, hidden, *extra]).verdict is FAIL


def test_a_baseline_that_cannot_be_used_is_an_error():
    with pytest.raises(HostError, match="gone"):
        judged(Kind.DRIFT, Baseline(**ANY, pattern="b/{host}"), model([SSH4]), baseline=HostError("web", "gone"))


def test_a_host_that_could_not_be_read_is_an_error():
    for kind, expectation in ((Kind.PARITY, Parity(**ANY)), (Kind.RULES, Rules(**ANY)),
                              (Kind.DRIFT, Baseline(**ANY, pattern="b/{host}"))):  # fmt: skip
        with pytest.raises(HostError, match="down"):
            judged(kind, expectation, HostError("web", "down"), baseline=SimpleNamespace())
