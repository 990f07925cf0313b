"""What surrounds the rules of real hosts: the log of every drop, and the kernel's settings through a reboot."""

import os
import re

import pytest

from fwproof.lab import Lab

from .auditing import Run, on

pytestmark = pytest.mark.lab
GOOD, PUBLISHED = "ai-server", "ai-server-published"
POLICY = """\
policy: surround
hosts: [ai-servers]
drop_log: {inbound: true, outbound: true, prefix: fw drop, paths: {forward: true}}
kernel: {expect: hardened, settings: {log_martians: unchecked}}
"""


@pytest.fixture(scope="module")
def lab():
    with Lab(f"surround{os.getpid()}") as lab:
        yield lab


@pytest.fixture
def audit(lab, tmp_path):
    def audit(words):
        (tmp_path / "surround.policy.yaml").write_text(POLICY, encoding="utf-8")
        run = Run(lab, tmp_path / "reports", "-k", words, policy=tmp_path / "surround.policy.yaml")
        assert run.status in {0, 1, 6}, run.out
        return run.checks

    return audit


def verdicts(checks, host, kind):
    return {check["verdict"] for check in checks.values() if check["host"] == host and check["kind"] == kind}


def kernel(checks, host, family="ipv4"):
    return checks[f"kernel[{host}-{family}]"]


def paths(checks, host, family="ipv4", way="inbound"):
    return checks[f"drop-log:paths[{host}-{way}-{family}]"]


def test_what_surrounds_the_rules_is_found_mended_and_kept_through_a_reboot(lab, audit):
    on(lab, GOOD, "sysctl -qw net.ipv4.conf.eth0.accept_redirects=1 net.ipv6.conf.eth0.accept_ra=1")
    on(lab, GOOD, "iptables -I INPUT 1 -s 203.0.113.66 -p udp --dport 999 -j DROP; ip6tables -R DROP_IN 1"
       ' -j NFLOG --nflog-prefix "fw drop in: " --nflog-group 5')  # fmt: skip
    first = audit("paths or kernel")
    assert verdicts(first, PUBLISHED, "drop-paths") == {"fail", "not-applicable"}
    silent, flood = paths(first, GOOD), paths(first, GOOD, "ipv6")
    assert (silent["verdict"], silent["cause"]) == ("fail", "dropped packets are not logged")
    assert "udp 999 from 203.0.113.66 to 10.0.0.10" in silent["reason"]
    assert silent["rule"].endswith("-A INPUT -s 203.0.113.66/32 -p udp -m udp --dport 999 -j DROP")
    assert (flood["verdict"], flood["cause"]) == ("fail", "the log of drops can be flooded")
    assert "accept_redirects of eth0 is on: all 0, its own 1" in kernel(first, GOOD)["reason"]
    assert "the files say otherwise, and were not loaded since" in kernel(first, GOOD)["reason"]
    assert "accept_ra of eth0 is on" in kernel(first, GOOD, "ipv6")["reason"]
    assert "rp_filter of eth0, interfaces to come is 0" in kernel(first, PUBLISHED)["reason"]
    assert "nothing writes it at boot" in kernel(first, PUBLISHED)["reason"]

    fixes = [kernel(first, PUBLISHED, family)["fix"] for family in ("ipv4", "ipv6")]
    lines = dict.fromkeys(line for fix in fixes for line in re.findall(r"net\.[^;]* = -?\d+", fix))
    on(lab, PUBLISHED, "printf '%s\\n' '" + "' '".join(lines) + "' > /etc/sysctl.d/99-zz-firewall.conf")
    lab.reboot(GOOD)
    second = audit("paths or kernel")
    assert verdicts(second, GOOD, "drop-paths") == {"pass", "not-applicable"}
    assert verdicts(second, GOOD, "kernel") == {"pass"}
    assert "60-hardening.conf" in kernel(second, GOOD)["observed"]
    assert "were not loaded since" in kernel(second, PUBLISHED)["reason"]

    on(lab, PUBLISHED, "sysctl -q --system 2>/dev/null || true")
    assert verdicts(audit("kernel and published"), PUBLISHED, "kernel") == {"pass"}
