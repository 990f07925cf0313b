"""What decides beneath the tables and beside them on real hosts, by the account of the tier observe.

Filters of traffic control, and legacy tables that no program of the host shows.
"""

import os

import pytest

from fwproof.lab import Lab

from .auditing import Run, on

pytestmark = pytest.mark.lab
HOST = "ai-server"
POLICY = """\
policy: beneath
hosts: [ai-server]
services: {web-ui: tcp/8080, ssh: tcp/22}
inbound:
  default: deny
  allow: [{id: web, service: web-ui, from: proxies}, {id: ssh, service: ssh, from: admin}]
managers: one
"""
DROPPING = "40 0 0 12,21 0 5 2048,48 0 0 23,21 0 3 6,40 0 0 36,21 0 1 8080,6 0 0 2,6 0 0 4294967295"
"""BPF: IPv4, TCP to port 8080 is TC_ACT_SHOT, everything else TC_ACT_UNSPEC."""
TABLES = """\
table inet filter {
  chain input {
    type filter hook input priority filter; policy drop;
    iif lo accept
    ct state established,related accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    ip saddr 10.0.0.100 tcp dport 8080 accept
    ip6 saddr fd00:0:0:1::100 tcp dport 8080 accept
    ip saddr 10.0.0.1 tcp dport 22 accept
    ip6 saddr fd00:0:0:1::1 tcp dport 22 accept
  }
}
"""


@pytest.fixture(scope="module")
def lab():
    with Lab(f"beneath{os.getpid()}") as lab:
        yield lab


@pytest.fixture
def audit(lab, tmp_path):
    def audit():
        (tmp_path / "beneath.policy.yaml").write_text(POLICY, encoding="utf-8")
        run = Run(lab, tmp_path / "reports", policy=tmp_path / "beneath.policy.yaml")
        assert run.status in {0, 1, 6}, run.out
        return run

    return audit


CLAIMS = ["web[ai-server-ipv4]", "web[ai-server-ipv6]", "ssh[ai-server-ipv4]", "ssh[ai-server-ipv6]"]
MANAGERS = "managers[ai-server]"
DROPPED, LET_IN = "web[ai-server-proxy-ipv4]", "ssh[ai-server-admin-ipv4]"


def verdicts(run, names=CLAIMS):
    return [run.checks[name]["verdict"] for name in names]


def test_a_filter_of_traffic_control_decides_before_the_tables(lab, audit):
    add = "tc filter add dev eth0 ingress protocol"
    on(lab, HOST, f"tc qdisc add dev eth0 clsact; {add} ip u32 match u32 0 0 flowid 1:1")
    on(lab, HOST, "tc qdisc add dev eth0 root handle 1: htb")
    on(lab, HOST, "tc filter add dev eth0 parent 1: protocol ip u32 match u32 0 0 flowid 1:1")
    sorting = audit()
    assert verdicts(sorting, [*CLAIMS, DROPPED, LET_IN]) == ["pass"] * 6

    on(lab, HOST, f"{add} all bpf da bytecode '8,{DROPPING},'")
    dropping = audit()
    assert verdicts(dropping) == ["inconclusive"] * 4
    assert "traffic control on eth0 (ingress: a BPF program)" in dropping.checks[CLAIMS[0]]["reason"]
    assert verdicts(dropping, [DROPPED, LET_IN]) == ["fail", "pass"], "the wire tells"
    assert "silent, and the tables do not say why: a filter of traffic control" in dropping.checks[DROPPED]["reason"]
    assert dropping.checks[MANAGERS]["verdict"] == "inconclusive"
    assert "not known who else decides: a filter of traffic control on eth0" in dropping.checks[MANAGERS]["reason"]
    on(lab, HOST, "tc qdisc del dev eth0 clsact")


def test_legacy_tables_that_no_program_of_the_host_shows_are_not_forgotten(lab, audit):
    on(lab, HOST, f"nft flush ruleset; nft -f - <<'END'\n{TABLES}END\nrm /usr/sbin/xtables-nft-multi")
    alone = audit()
    assert verdicts(alone) == ["pass"] * 4

    on(lab, HOST, "iptables-legacy -A INPUT -s 10.0.0.100 -p tcp --dport 8080 -j DROP")
    on(lab, HOST, "rm /usr/sbin/xtables-legacy-multi")
    beside = audit()
    assert verdicts(beside) == ["inconclusive", "pass"] * 2
    assert "the kernel has a legacy table that was not read: filter" in beside.checks[CLAIMS[0]]["reason"]
    assert verdicts(beside, [DROPPED, LET_IN]) == ["fail", "pass"]
    (host,) = beside.results["run"]["hosts"]
    unread = [each["why"] for reading in host["understood"] for each in reading["inexact"]]
    assert any("not read: filter" in why for why in unread), "listed with the rules that are not understood"

    on(lab, HOST, "sed -i '/ip_tables_names/d' /etc/sudoers.d/*; visudo -cq")
    refused = audit()
    assert set(verdicts(refused)) == {"error"}
    assert "ip_tables_names" in refused.checks[CLAIMS[0]]["reason"]
