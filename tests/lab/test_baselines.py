"""A baseline filled in as its owner would, audited for real: the repaired server keeps it, the published one not."""

import os

import pytest

from fwproof.lab import Lab
from fwproof.policy.baseline import baseline
from fwproof.policy.catalogue import shipped

from .auditing import Run

pytestmark = pytest.mark.lab
GOOD, BAD = "ai-server", "ai-server-published"
SERVED = """    - {id: ollama, service: tcp/11434, from: internal}
    - {id: web-ui, service: tcp/8080, from: proxies}
"""
NEEDED = """  allow:
    - {id: postgres, service: tcp/5432, to: store-postgres}
    - {id: redis, service: tcp/6379, to: store-redis}
    - {id: elastic, service: tcp/9200, to: store-elastic}
    - {id: management-ssh, service: ssh, to: admin}
"""


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """The audit by the CIS benchmark and PCI DSS in one policy, made as ``fwproof controls --baseline`` does."""
    folder = tmp_path_factory.mktemp("baselines")
    frameworks = [shipped()[name] for name in ("cis-debian-12-1.1.0", "pci-dss-4.0.1")]
    text = baseline(frameworks, manager="iptables", hosts=[GOOD, BAD], admins=["admin"])
    head, _, rest = text.partition("    # FILL IN: each service")
    rest = rest[rest.index("\noutbound:") :].replace("  # FILL IN: what the hosts need\n", NEEDED)
    policy = folder / "servers.policy.yaml"
    # martians are told in the log of the machine's own kernel, as the shipped policy says
    hardened = "  expect: hardened\n"
    assert hardened in rest
    rest = rest.replace(hardened, f"{hardened}  settings: {{log_martians: unchecked}}\n")
    policy.write_text(head + SERVED + rest, encoding="utf-8")
    with Lab(f"baselines{os.getpid()}") as lab:
        yield Run(lab, folder / "reports", "--no-exercise", policy=policy)


def expectations(audit, host, verdict="fail"):
    return {check["expectation"] for check in audit.of(host) if check["verdict"] == verdict}


def test_the_repaired_server_keeps_it(audit):
    assert audit.status == 1, audit.out
    assert len(audit.of(GOOD)) > 100
    assert set(audit.verdicts(GOOD).values()) == {"pass"}, audit.out


def test_the_published_one_fails_for_what_is_wrong_with_it(audit):
    assert set(audit.verdicts(BAD).values()) == {"pass", "fail"}
    failing = expectations(audit, BAD)
    assert failing >= {
        "inbound-default", "forward-default", "evasion", "ipv6", "loopback", "established", "icmpv6-nd", "drop-log",
        "persistence", "rules",
    }  # fmt: skip
    assert failing.isdisjoint({"managers", "listeners"})
    causes = {check["cause"] for check in audit.of(BAD) if check["verdict"] == "fail"}
    assert causes >= {
        "ip INPUT has no default deny: its policy is ACCEPT", "ip FORWARD has no default deny: its policy is ACCEPT",
        "nothing survives a reboot", "loopback is cut", "dropped packets are not logged",
    }  # fmt: skip


def test_results_carry_the_catalogue_s_words(audit):
    frameworks = {one["id"]: one for one in audit.results["run"]["frameworks"]}
    assert set(frameworks) == {"cis-debian-12-1.1.0", "pci-dss-4.0.1"}
    (review,) = (one["review"] for one in frameworks["pci-dss-4.0.1"]["controls"] if one["id"] == "1.2.7")
    assert review == "6 months"
    page = (audit.folder / "report.html").read_text(encoding="utf-8")
    assert "Firewall rules are reviewed twice a year" in page
    assert "Left out: 10 controls for hosts of nftables, 7 controls for hosts of ufw." in page
