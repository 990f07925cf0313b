"""Drift that was accepted: what it selects passes with its owner, the rest of the same change does not."""

from dataclasses import replace
from datetime import date
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace

import pytest

from fwproof.cli.draft import draft
from fwproof.facts import BaselineFacts
from fwproof.flow import Family, Hook
from fwproof.judging import judge
from fwproof.plan import Check, Kind
from fwproof.policy.accepted import AcceptedChange, Space, load_accepted
from fwproof.policy.model import Policy
from fwproof.policy.table_model import Baseline
from fwproof.results import Verdict
from fwproof.semantics.diff import compare
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Snapshot

HEAD = ":INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n"
RULE = "-A INPUT -s 10.0.0.0/16 -p tcp -m tcp --dport 8443 -j ACCEPT"
OTHER = "-A INPUT -p udp -m udp --dport 53 -j ACCEPT"
BY_RULE = AcceptedChange(
    file="b/web/accepted.yaml", line=2, change="became-reachable", family=Family.IPV4, owner="Ada", reason="new site",
    date=date(2026, 3, 1), ticket="CHG-7", rule=RULE.replace(" -p", "  -p"),
)  # fmt: skip
BY_SPACE = replace(BY_RULE, rule="", services=(Space("tcp", (8443, 8443)),), sources=(ip_network("10.0.0.0/16"),))
PASS, FAIL = Verdict.PASS, Verdict.FAIL


def model(*rules):
    return HostModel.build(iptables_save=f"*filter\n{HEAD}" + "".join(f"{rule}\n" for rule in rules) + "COMMIT\n")


def drift(before, now, *accepted, day=date(2026, 4, 1)):
    snapshot = Snapshot(host="web", captures={}, faults={})
    then = BaselineFacts(folder="b/web", snapshot=snapshot, model=model(*before), accepted=accepted, day=day)
    facts = SimpleNamespace(model=lambda _: model(*now), baseline=lambda *_: then)
    policy = Policy(name="p", path=Path("p"), sha256="", hosts=("web",), services={})
    expectation = Baseline(id="d", title="", file="f", line=1, pattern="b/{host}")
    return judge(Check(id="c", kind=Kind.DRIFT, policy=policy, expectation=expectation, host="web", expected="",
                       family=Family.IPV4), facts)  # fmt: skip


@pytest.mark.parametrize("accepted", [BY_RULE, BY_SPACE, replace(BY_RULE, hook=Hook.INPUT, sources=BY_SPACE.sources)])
def test_accepted_drift_passes_with_its_owner(accepted):
    out = drift([], [RULE], accepted)
    assert out.verdict is PASS, out.reason
    assert "only what was accepted has changed: accepted (Ada, 2026-03-01: new site [CHG-7]): became" in out.reason
    assert "filter INPUT: only now: " + RULE in out.evidence
    assert [line.split(":")[0] for line in out.drift.accepted] == ["accepted (Ada, 2026-03-01"]
    assert (out.drift.open, out.drift.unclear) == ([], [])
    assert out.drift.rules == ["filter INPUT: only now: " + RULE]
    assert out.drift.baseline == "baseline: b/web"


@pytest.mark.parametrize(
    "accepted",
    [
        replace(BY_RULE, rule=OTHER), replace(BY_RULE, change="stopped-being-reachable"),
        replace(BY_RULE, hook=Hook.FORWARD), replace(BY_SPACE, services=(Space("tcp", (443, 443)),)),
        replace(BY_SPACE, sources=(ip_network("10.9.0.0/16"),)), replace(BY_RULE, services=(Space("udp", None),)),
    ],
)  # fmt: skip
def test_what_it_does_not_select_fails_and_it_is_stale(accepted):
    out = drift([], [RULE], accepted)
    assert out.verdict is FAIL
    assert "b/web/accepted.yaml:2: stale, no change is left that it accepts" in out.reason


def test_a_part_of_a_change_may_be_accepted_and_the_rest_fails():
    out = drift([], [RULE], replace(BY_SPACE, sources=(ip_network("10.0.5.0/24"),)))
    assert out.verdict is FAIL
    assert "tcp 8443 from 10.0.0.0/16 except 10.0.5.0/24:" in out.reason
    assert "1 more changes are accepted" in out.reason
    assert "stale" not in out.reason
    assert any(line.startswith("accepted (Ada") and "from 10.0.5.0/24" in line for line in out.evidence)


def test_only_what_was_accepted_passes():
    out = drift([], [RULE, OTHER], BY_RULE)
    assert out.verdict is FAIL
    assert "udp 53" in out.reason
    assert "8443" not in out.reason
    assert "--accept-draft" in out.fix


def test_what_stopped_being_reachable_is_accepted_by_the_rule_that_was():
    assert drift([RULE], [], replace(BY_RULE, change="stopped-being-reachable")).verdict is PASS
    assert drift([RULE], [], BY_RULE).verdict is FAIL


def test_an_acceptance_ends():
    until = replace(BY_RULE, expires=date(2026, 4, 1))
    assert drift([], [RULE], until).verdict is PASS
    out = drift([], [RULE], until, day=date(2026, 4, 2))
    assert out.verdict is FAIL
    assert "the acceptance ran out on 2026-04-01 (Ada, 2026-03-01: new site [CHG-7])" in out.reason


def test_a_stale_one_is_told_where_nothing_has_changed():
    out = drift([RULE], [RULE], BY_RULE)
    assert out.verdict is PASS
    assert "stale" in out.reason
    assert "stale" not in drift([RULE], [RULE], replace(BY_RULE, family=Family.IPV6)).reason


def test_other_effects_are_accepted_by_rule():
    log = "-A INPUT -j LOG --log-prefix x"
    assert drift([], [log]).verdict is FAIL
    assert drift([], [log], replace(BY_RULE, change="other-effect", rule=log)).verdict is PASS


@pytest.mark.parametrize(
    ("before", "now"),
    [([], [RULE]), ([RULE], []), ([], [RULE, OTHER, "-A INPUT -j LOG --log-prefix x"]),
     ([OTHER], ["-A INPUT -p udp -m udp --dport 53 -j REJECT"]), ([], ["-P INPUT ACCEPT", RULE])],
)  # fmt: skip
def test_a_draft_accepts_nothing_until_it_is_signed_and_then_just_that(tmp_path, before, now):
    found = compare(model(*before), model(*now), Family.IPV4)
    text = "\n".join(draft([found], date(2026, 3, 1))) + "\n"
    path = tmp_path / "accepted.yaml"
    path.write_text(text)
    with pytest.raises(Exception, match="owner"):
        load_accepted(path)
    path.write_text(text.replace('""', "Ada"))
    accepted = load_accepted(path)
    assert drift(before, now, *accepted).verdict is PASS
    assert "-A" not in text or "change:" in text
    assert drift(before, [*now, "-A INPUT -p tcp -m tcp --dport 23 -j ACCEPT"], *accepted).verdict is (
        PASS if "-P INPUT ACCEPT" in now else FAIL
    )
