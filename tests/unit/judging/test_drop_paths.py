"""Judging the ways to be dropped: verdicts, causes, what is accepted and what is told."""

from dataclasses import replace
from pathlib import Path

import pytest

from fwproof.facts import Facts
from fwproof.flow import Family
from fwproof.inventory import Inventory
from fwproof.judging import judge
from fwproof.plan import Check, Kind
from fwproof.policy.model import Policy
from fwproof.policy.table_model import Accepted, DropLog, DropPaths
from fwproof.results import Verdict
from fwproof.semantics.model import HostModel

PASS, FAIL, UNSURE, NONE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE
POLICY = Policy(name="p", path=Path("p"), sha256="", hosts=("web",), services={})
ADDRESSES = '[{"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.10", "prefixlen": 16}]}]'
LOG = '-A INPUT -m limit --limit 10/sec --limit-burst 20 -j LOG --log-prefix "fw drop: "'
DROP = "-A INPUT -j DROP"


def judged(*rules, direction="inbound", prefix=None, sysctls=None, **more):
    log = DropLog(id="x", title="x", file="p.yaml", line=3, directions=("inbound",), prefix=prefix)
    check = Check(
        id="c", kind=Kind.DROP_PATHS, policy=POLICY, expectation=replace(log, paths=DropPaths(**more)), host="web",
        expected="", family=Family.IPV4, vantage=None, peer=None, service=None, direction=direction,
    )  # fmt: skip
    text = "\n".join(["*filter", ":INPUT ACCEPT [0:0]", ":FORWARD DROP [0:0]", *rules, "COMMIT", ""])
    model = HostModel.build(iptables_save=text, addresses=ADDRESSES, sysctls=sysctls)
    inventory = Inventory(path=Path("i"), sha256="", hosts={}, zones={})
    return judge(check, Facts(inventory=inventory, snapshots={}, models={"web": model}, agents={}))


def test_a_logged_and_limited_drop_passes():
    found = judged(LOG, DROP, prefix="fw drop")
    assert (found.verdict, found.cause) == (PASS, "")
    assert found.reason == "whatever is dropped at input is logged first, and limited"
    assert "none without a line; 1 rules log, 1 of them under a limit" in found.proved


@pytest.mark.parametrize(
    ("rules", "more", "cause", "words"),
    [
        ((DROP,), {}, "dropped packets are not logged", "dropped without a line (NEW, INVALID"),
        ((LOG.replace("-m limit --limit 10/sec --limit-burst 20 ", ""), DROP), {}, "the log of drops can be flooded",
         "nothing limits what ip filter INPUT rule 1"),
        ((LOG, DROP), {"prefix": "IN"}, "dropped packets are logged under another prefix",
         "“fw drop: ”, expected “IN”"),
        ((LOG, DROP, LOG), {}, "a rule that logs is never reached", "no packet comes to ip filter INPUT rule 3"),
    ],
)  # fmt: skip
def test_each_finding_fails_with_its_cause_and_can_be_told_or_accepted(rules, more, cause, words):
    found = judged(*rules, **more)
    assert (found.verdict, found.cause) == (FAIL, cause)
    assert words in found.reason
    assert found.fix
    assert found.by
    kind = {"dropped packets are not logged": "silent", "the log of drops can be flooded": "unlimited",
            "a rule that logs is never reached": "unreachable"}.get(cause, "prefix")  # fmt: skip
    others = tuple({"silent", "unlimited", "prefix", "unreachable"} - {kind})
    told = judged(*rules, **more, fail=others)
    assert told.verdict is PASS
    assert "only told: " in told.reason
    assert words in told.reason
    accepted = judged(*rules, **more, accepted=(Accepted(rule=found.by[0].text, finding=kind, reason="known"),))
    assert (accepted.verdict, "accepted (known)" in accepted.reason) == (PASS, True)
    other = Accepted(rule=found.by[0].text, finding=others[0], reason="known")
    assert judged(*rules, **more, accepted=(other,)).verdict is FAIL


def test_what_is_left_out_is_told():
    found = judged("-A INPUT -m conntrack --ctstate INVALID -j DROP", LOG, DROP, leave_out=("invalid",))
    assert (found.verdict, "left out, as the policy says: invalid" in found.reason) == (PASS, True)


def test_a_limit_that_tells_nothing_is_told_in_numbers():
    few = LOG.replace("10/sec --limit-burst 20", "3/hour --limit-burst 1")
    assert "little of a scan is logged: 1 of 1,000 packets in 10 s" in judged(few, DROP).reason


def test_nothing_dropped_is_no_pass():
    assert judged().verdict is NONE


def test_forwarding_is_asked_about_where_the_host_forwards():
    off, on = ({"sysctls": f"net.ipv4.ip_forward = {n}\n"} for n in "01")
    assert judged(direction=None, **off).verdict is NONE
    assert judged(direction=None, **on).verdict is FAIL
    assert judged(direction=None).verdict is FAIL, "where it was not read, it may forward"


def test_what_is_not_understood_is_no_pass(monkeypatch):
    found = judged("-A INPUT -p tcp -j NEWTARGET --odd", LOG, DROP)
    assert (found.verdict, "NEWTARGET" in found.reason) == (UNSURE, True)
    assert judged("garbage", LOG, DROP).verdict is UNSURE
    assert judged("-A INPUT -p tcp -j NEWTARGET --odd", DROP).verdict is FAIL

    def out_of_time(self):
        from fwproof.semantics.space import SpaceTooLarge

        raise SpaceTooLarge("too entangled")

    monkeypatch.setattr("fwproof.semantics.bdd.Sets.tick", out_of_time)
    assert judged(LOG, DROP).verdict is UNSURE
