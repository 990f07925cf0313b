"""Outcomes in the words of a host's front end, who manages it, and persistence where a front end keeps the rules."""

from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from fwproof.decision import RuleRef
from fwproof.errors import HostError
from fwproof.facts import Facts
from fwproof.flow import Family
from fwproof.frontends.front_end import front_end_of
from fwproof.inventory import Inventory
from fwproof.judging import judge
from fwproof.judging.front_end import in_its_words
from fwproof.plan import Check, Kind
from fwproof.policy.model import Allow, Default, Peers, Policy, Rate, Service
from fwproof.policy.table_model import Managers, Persistence
from fwproof.results import Outcome, Verdict

NAMED = {"title": "", "file": "f", "line": 1}
OLLAMA = Allow(
    **NAMED, id="o", service=Service("tcp", 11434, "ollama"),
    peers=Peers("internal", (ip_network("10.0.0.0/16"), ip_network("fd00::/48"))),
)  # fmt: skip
POLICY = Policy(name="p", path=Path("f"), sha256="", hosts=("h",), services={}, inbound=(OLLAMA,))
OPEN = RuleRef(
    family="ip",
    table="filter",
    chain="ufw-user-input",
    rule=2,
    text="-A ufw-user-input -p tcp -m tcp --dport 11434 -j ACCEPT",
)


@dataclass
class Host:
    """Facts of one host, and checks of it."""

    facts: Facts

    def judged(self, kind, expectation, family=None):
        return judge(self.check(kind, expectation, family), self.facts)

    def check(self, kind, expectation, family=None, **more):
        return Check(
            id="c", kind=kind, policy=POLICY, expectation=expectation, host="h", expected="deny", family=family, **more
        )

    def words(self, outcome, kind=Kind.INBOUND, expectation=OLLAMA, family=Family.IPV4, **more):
        return in_its_words(outcome, self.check(kind, expectation, family, direction="inbound", **more), self.facts)


@pytest.fixture
def host(read, model_of):
    def host(name="", **changes):
        snapshot = read(name, **changes)
        model = model_of(snapshot)
        fronts = {"h": front_end_of(snapshot, model.rulesets)}
        inventory = Inventory(path=Path("i"), sha256="", hosts={}, zones={})
        return Host(
            Facts(inventory=inventory, snapshots={"h": snapshot}, models={"h": model}, agents={}, front_ends=fronts)
        )

    return host


def failed(**more):
    return Outcome(
        verdict=Verdict.FAIL,
        reason=f"let in by {OPEN}",
        cause=f"too much passes {OPEN}",
        rule=str(OPEN),
        fix="Refuse it.",
        **more,
    )


# ---- words and commands


def test_a_finding_names_ufw_s_rule_and_command_beside_the_kernel_s(host):
    said = host("ufw-published").words(failed(by=(OPEN,), wrong="open"))
    assert said.rule.startswith("ufw rule 2: allow 11434/tcp")
    assert str(OPEN) in said.rule
    assert said.reason.startswith("let in by ufw rule 2")
    assert said.cause.startswith("too much passes ufw rule 2")
    assert "`ufw delete allow 11434/tcp`. In the kernel: Refuse it." in said.fix


def test_a_pass_is_said_in_its_words_and_is_not_mended(host):
    said = host("ufw-published").words(replace(failed(by=(OPEN,)), verdict=Verdict.PASS, fix=""))
    assert said.rule.startswith("ufw rule 2")
    assert said.fix == ""


def test_without_a_rule_at_fault_the_fix_stays(host):
    assert host("ufw-published").words(failed()).fix == "Refuse it."
    assert host("nftables").words(failed(by=(OPEN,), wrong="open")).fix == "Refuse it."


def test_ipv6_no_is_the_cause_of_everything_that_fails_in_ipv6(host):
    found = host("ufw-no-ipv6")
    said = found.words(
        failed(), kind=Kind.NEIGHBOUR, expectation=Default(**NAMED, id="d", decision="deny"), family=Family.IPV6
    )
    assert said.cause == "ufw has IPV6=no, which closes IPv6"
    assert said.fix.startswith("set IPV6=yes in /etc/default/ufw, then `ufw reload`")
    assert found.words(failed()).cause != said.cause


def test_ipv6_that_ufw_does_not_manage_and_that_is_open_is_not_called_closed(host):
    policy = RuleRef(family="ip6", table="filter", chain="INPUT", rule=None, text="ACCEPT")
    found = host("ufw-no-ipv6")
    said = found.words(replace(failed(by=(policy,), wrong="open"), reason=str(policy)), family=Family.IPV6)
    assert "closes" not in said.cause
    assert said.fix.startswith("set IPV6=yes in /etc/default/ufw, then `ufw reload`: until then")
    assert found.facts.front_ends["h"].name(policy) == "IPv6 that ufw does not manage"


def test_a_host_without_a_firewall_is_told_so(host):
    said = host().words(failed(wrong="open"))
    assert said.reason.startswith("no firewall decides who gets in: ")
    assert said.cause == "the host has no firewall"
    assert said.fix.startswith("Choose a manager")
    assert host().words(failed(wrong="shut")).cause != said.cause


def test_a_host_that_could_not_be_read_is_left_alone(host):
    found = host()
    found.facts = replace(found.facts, front_ends={})
    assert found.words(failed(wrong="open")) == failed(wrong="open")


def test_a_rate_that_nothing_limits(host):
    rated = replace(OLLAMA, rate=Rate(5, 30.0))
    said = host("ufw-published").words(failed(wrong="open"), kind=Kind.RATE, expectation=rated)
    assert said.fix.startswith("`ufw limit from 10.0.0.0/16 to any port 11434 proto tcp; ufw limit from fd00::/48")


# ---- managers

ONE = Managers(**NAMED, id="m", who="one")
LINK = "/etc/systemd/system/x.wants/{}.service\n"
LATER = "another manager is loaded at boot"


@pytest.mark.parametrize(
    "name", ["ufw-published", "firewalld-published", "docker-published", "nftables", "ufw-no-ipv6"]
)
def test_one_manager_passes_and_guests_are_told(host, name):
    out = host(name).judged(Kind.MANAGERS, ONE)
    assert (out.verdict, out.cause, out.fix) == (Verdict.PASS, "", "")
    assert ("beside it Docker" in out.reason) is (name == "docker-published")


@pytest.mark.parametrize(
    ("name", "changes", "who", "cause"),
    [
        ("two-managers", {}, "one", "ufw and firewalld both filter"),
        ("two-managers", {}, "ufw", "ufw and firewalld both filter"),
        ("legacy-and-nft", {}, "one", "rules in iptables-legacy and in iptables-nft"),
        ("", {}, "one", "the host has no firewall"),
        ("", {}, "ufw", "the host has no firewall"),
        ("ufw-published", {}, "firewalld", "another manager than the policy names"),
        ("ufw-published", {"boot_links": LINK.format("ufw") + LINK.format("firewalld")}, "one", LATER),
        ("nftables", {"boot_links": LINK.format("firewalld")}, "one", LATER),
    ],
)
def test_none_two_and_the_wrong_one_fail(host, name, changes, who, cause):
    out = host(name, **changes).judged(Kind.MANAGERS, replace(ONE, who=who))
    assert (out.verdict, out.cause) == (Verdict.FAIL, cause)
    assert out.fix


def test_what_was_not_read_may_decide_as_well(host):
    found = host("nftables")
    model = found.facts.models["h"]
    blind = replace(model, blind={Family.IPV4: (), Family.IPV6: ("the kernel has a legacy table that was not read",)})
    found.facts = replace(found.facts, models={"h": blind})
    out = found.judged(Kind.MANAGERS, ONE)
    words = "not known who else decides: the kernel has a legacy table that was not read"
    assert (out.verdict, out.reason) == (Verdict.INCONCLUSIVE, words)
    assert found.judged(Kind.MANAGERS, replace(ONE, who="ufw")).verdict is Verdict.FAIL


def test_who_is_meant_to_stay_stays(host):
    fix = host("two-managers").judged(Kind.MANAGERS, replace(ONE, who="firewalld")).fix
    assert fix.startswith("Keep one. To keep firewalld: `ufw disable`")


def test_what_boots_must_have_been_looked_at(host):
    with pytest.raises(HostError):
        host("nftables", boot_links=None).judged(Kind.MANAGERS, ONE)


# ---- persistence

KEPT = Persistence(**NAMED, id="k")


def kept(found, family=Family.IPV4):
    return found.judged(Kind.PERSISTENCE, KEPT, family)


def test_ufw_keeps_what_runs(host):
    out = kept(host("ufw-published"))
    assert (out.verdict, out.proved.partition(" in meaning")[0]) == (Verdict.PASS, "0 differences")
    assert out.reason.startswith("ufw loads before.rules, user.rules and after.rules of /etc/ufw")
    assert kept(host("ufw-no-ipv6"), Family.IPV6).verdict is Verdict.PASS


@pytest.mark.parametrize("part", ["before", "after"])
def test_a_rule_that_ufw_would_load_besides_its_own(host, read, part):
    text = read("ufw-published").captures[f"ufw-{part}"].stdout
    line = f"\n-A ufw-{part}-input -p udp --dport 4000 -j ACCEPT\nCOMMIT"
    out = kept(host("ufw-published", **{f"ufw_{part}": text.replace("\nCOMMIT", line)}))
    assert out.verdict is Verdict.FAIL
    assert "would be reachable after a boot at input (NEW/UNTRACKED): udp 4000 from anywhere" in out.reason


def test_what_is_not_understood_of_ufw_s_files_is_not_passed_over(host, read):
    text = read("ufw-published").captures["ufw-before"].stdout
    out = kept(host("ufw-published", ufw_before=text.replace("\nCOMMIT", "\n-D ufw-before-input 1\nCOMMIT")))
    assert out.verdict is Verdict.INCONCLUSIVE
    assert "what ufw loads is not understood: /etc/ufw/before.rules:" in out.reason


def test_docker_makes_its_rules_anew_and_not_those_of_the_administrator(host, read):
    out = kept(host("docker-published"))
    assert out.verdict is Verdict.PASS
    assert "the rules of Docker were left out, which it makes anew when it starts" in out.reason
    text = read("docker-published").captures["iptables-save"].stdout
    mine = "-A DOCKER-USER -s 203.0.113.0/24 -j DROP"
    out = kept(host("docker-published", iptables_save=text.replace("-A DOCKER-USER", f"{mine}\n-A DOCKER-USER", 1)))
    assert out.verdict is Verdict.FAIL
    assert f"only running: ip filter DOCKER-USER rule 1: {mine}" in out.reason


def test_ufw_differs_both_ways(host, read):
    text = read("ufw-published").captures["ufw-rules"].stdout.replace("--dport 11434", "--dport 11435")
    out = kept(host("ufw-published", ufw_rules=text))
    assert out.verdict is Verdict.FAIL
    assert (
        "ufw rule 2: allow 11434/tcp (ollama, so that it answers) is in /etc/ufw/user.rules and does not run"
        in out.reason
    )
    assert f"{OPEN} runs and is not in /etc/ufw/user.rules" in out.reason
    assert out.fix.startswith("`ufw reload`")


def test_ufw_that_does_not_boot_and_rules_that_were_not_read(host):
    assert kept(host("ufw-published", boot_links="")).cause == "nothing survives a reboot"
    with pytest.raises(HostError):
        kept(host("ufw-published", ufw_rules=None))


def test_firewalld_s_running_and_permanent_rules(host, read):
    out = kept(host("firewalld-published"))
    assert out.verdict is Verdict.FAIL
    assert "zone public: port 8080/tcp runs, and is not permanent" in out.reason
    assert "direct rule ipv4 filter INPUT 0 -p tcp --dport 9000 -j ACCEPT runs, and is not permanent" in out.reason
    assert "`firewall-cmd --runtime-to-permanent`" in out.fix
    assert "203.0.113" not in kept(host("firewalld-published"), Family.IPV6).reason
    same = read("firewalld-published").captures["firewalld-zones-permanent"].stdout
    good = kept(host("firewalld-published", firewalld_zones=same, firewalld_direct=""))
    assert good.verdict is Verdict.PASS
    lost = read("firewalld-published").captures["firewalld-zones"].stdout
    out = kept(host("firewalld-published", firewalld_zones=same, firewalld_zones_permanent=lost, firewalld_direct=""))
    assert "zone public: port 8080/tcp is permanent, and does not run" in out.reason
    assert "runtime-to-permanent" not in out.fix


def test_nftables_conf_is_compared_by_what_nft_makes_of_it(host, read):
    assert kept(host("nftables")).verdict is Verdict.PASS
    text = read("nftables").captures["nft-boot"].stdout
    out = kept(host("nftables", nft_boot=text.replace("11434", "11435")))
    assert out.verdict is Verdict.FAIL
    assert "would be reachable after a boot at input (most states): tcp 11435 from 10.0.0.0/16" in out.reason
