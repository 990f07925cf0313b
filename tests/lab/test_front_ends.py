"""Hosts of the lab that ufw, firewalld, Docker's rules, nftables, two managers or none look after: audited for real.

The hosts are those of fixtures/lab/front-ends.yaml, with the real programs in them; the policies are beside their
inventory in fixtures/front-ends.
"""

import re
import shlex

import pytest

from fwproof.frontends.ufw_rules import read_rules

from .auditing import ROOT, on, scenario

pytestmark = pytest.mark.lab
FOLDER = ROOT / "fixtures" / "front-ends"
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1.5).close()
    print("open")
except OSError:
    print("shut")
"""

lab, audit, first = scenario("fronts", "front-ends.yaml", FOLDER, timeout=240)


def failing(run, host):
    fine = {"pass", "not-applicable"}
    return {id_.partition("[")[0] for id_, verdict in run.verdicts(host).items() if verdict not in fine}


def connects(lab, source, address, port):
    done = lab.run(source, ["/usr/bin/python3", "-c", CONNECT, address, str(port)])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() == "open"


def mend(lab, run, host, *kinds):
    """Type into a host every command that its findings of some kinds name, as its administrator would."""
    fixes = [check["fix"] for kind in kinds for check in run.of(host, kind) if check["verdict"] == "fail"]
    lines = [line for fix in fixes for line in re.findall(r"`([^`]*)`", fix.partition(". In the kernel:")[0])]
    for line in dict.fromkeys(lines):
        if not line.startswith("-"):  # an option of docker run or of kube-proxy, which the lab has not
            on(lab, host, line)


# ---- as it should be, and as it is found


AS_THEY_SHOULD_BE = ["ufw", "firewalld", "docker", "docker-nft", "kube", "nftables", "ipv4-only", "ipv6-only"]


@pytest.mark.parametrize("host", AS_THEY_SHOULD_BE)
def test_hosts_that_are_as_their_policy_says_pass_everything(first, host):
    assert len(first.of(host)) > 11, first.out
    assert failing(first, host) == set(), first.out


def test_a_finding_names_the_rule_of_ufw_and_the_command(first):
    check = first.checks["ollama-internal[ufw-published-outside-ipv4]"]
    assert check["verdict"] == "fail"
    assert "and a service answered" in check["observed"]
    assert check["rule"].startswith(
        "ufw rule 2: allow 11434/tcp (ollama, so that it answers) [ip filter ufw-user-input"
    )
    assert "then `ufw delete allow 11434/tcp`" in check["fix"]
    assert first.checks["ssh-admin[ufw-published-outside-ipv6]"]["rule"].startswith(
        "ufw rule 5: allow OpenSSH [ip6 filter"
    )
    assert "route delete allow in on eth0 out on eth1" in first.checks["forward-default[ufw-published-ipv4]"]["fix"]
    assert first.checks["persistence[ufw-published-ipv4]"]["verdict"] == "pass"


def test_ipv6_no_is_closed_and_told_as_the_one_cause(first, lab):
    assert failing(first, "ufw-no-ipv6") == {
        "ollama-internal", "web-internal", "web-internal:rate", "ssh-admin", "established", "icmpv6-nd"}  # fmt: skip
    bad = [check for check in first.of("ufw-no-ipv6") if check["verdict"] == "fail"]
    assert {(check["family"], check["cause"]) for check in bad} == {("ipv6", "ufw has IPV6=no, which closes IPv6")}
    assert not connects(lab, "admin", "fd00:0:0:1::22", 11434)
    assert all(check["fix"].startswith("set IPV6=yes in /etc/default/ufw, then `ufw reload`") for check in bad)


def test_a_finding_names_the_item_of_firewalld_and_the_command(first):
    rules = {
        check["rule"].partition(" [")[0]
        for check in first.of("firewalld-published", "inbound")
        if check["verdict"] == "fail"
    }
    assert rules == {"firewalld zone public, port 11434/tcp", "firewalld zone public, service ssh"}
    kept = first.checks["persistence[firewalld-published-ipv4]"]
    assert "zone public: port 8080/tcp runs, and is not permanent" in kept["reason"]
    assert "firewall-cmd --runtime-to-permanent" in kept["fix"]


def test_a_rule_past_the_zones_lets_nobody_in(first):
    """firewalld looks at what its direct rules accepted once more, at a later priority, and rejects it."""
    assert first.checks["inbound-default[firewalld-published-outside-ipv4-tcp-9000]"]["verdict"] == "pass"


def test_a_published_port_is_open_though_ufw_denies_it(first, lab):
    check = first.checks["web-admin[docker-published-outside-ipv4]"]
    assert check["verdict"] == "fail"
    assert connects(lab, "outside", "10.0.0.25", 8080)
    assert "8080" not in on(lab, "docker-published", "ufw status")
    assert check["rule"].startswith("a port that Docker publishes [ip filter DOCKER rule 1")
    assert "past INPUT and past ufw" in check["fix"]


def test_docker_s_own_nftables_backend_is_told_in_its_words_and_the_packet_seen_on_its_way(first, lab):
    """The host's own chain drops everything but two ports, and Docker's chains let the published one past it."""
    check = first.checks["web-admin[docker-nft-published-outside-ipv4]"]
    assert check["verdict"] == "fail"
    assert connects(lab, "outside", "10.0.0.34", 8080)
    assert "8080" not in on(lab, "docker-nft-published", "nft list table inet filter")
    assert check["rule"].startswith(
        "a port that Docker publishes (nftables backend) [ip docker-bridges filter-forward-in__docker0 rule 3"
    )
    assert "The host sent it on (NAT): 203.0.113.66:" in check["observed"]
    assert "> 172.17.0.2:80 TCP SYN" in check["observed"]
    assert "confirms it: +" in check["attributed"], "nftables' own counters attribute as well"
    assert "DOCKER-USER" not in check["fix"]
    closed = first.checks["web-admin[docker-nft-outside-ipv4]"]
    assert "the counter of ip docker-user forward rule 1" in closed["attributed"]
    managers = first.checks["managers[docker-nft]"]
    assert managers["reason"].endswith("beside it Docker, with chains of their own")


@pytest.mark.parametrize(("family", "other"), [("ipv4", "ipv6"), ("ipv6", "ipv4")])
def test_a_host_of_one_family_is_asked_about_no_other_and_that_is_said(first, family, other):
    for host in (f"{family}-only", f"{family}-only-published"):
        asked = [check for check in first.of(host) if check["family"] == other]
        assert [check["id"] for check in asked] == [f"inbound-default:no-{other}[{host}]"]
        if host != "ipv4-only-published":
            assert asked[0]["verdict"] == "not-applicable"
            assert "ssh-admin, web-internal, ollama-internal" in asked[0]["reason"]
    bad = failing(first, f"{family}-only-published") - {f"inbound-default:no-{other}"}
    assert bad == {"ollama-internal", "inbound-default"}
    check = first.checks[f"ollama-internal[{family}-only-published-outside-{family}]"]
    assert "a service answered" in check["observed"]
    assert "the counter of inet filter input rule 1" in check["attributed"]


def test_neighbours_that_get_in_by_link_local_addresses_are_not_passed_over(first, lab):
    check = first.checks["inbound-default:no-ipv6[ipv4-only-published]"]
    assert check["verdict"] == "inconclusive"
    assert "neighbours get in there: tcp 11434 from fe80::/10" in check["reason"]
    for host, seen in (("ipv4-only-published", "open"), ("ipv4-only", "shut")):
        told = lab.run(host, ["/usr/sbin/ip", "-6", "-o", "addr", "show", "scope", "link"]).stdout
        address = re.search(r"inet6 (fe80:\S+)/64", told)[1]
        assert connects(lab, "nftables", f"{address}%eth0", 11434) is (seen == "open")


def test_a_family_that_the_inventory_forgets_is_not_passed_over(first):
    check = first.checks["inbound-default:no-ipv6[ipv6-forgotten]"]
    assert check["verdict"] == "inconclusive"
    assert "the host has fd00:0:0:1::39: nothing was asked there" in check["reason"]


def test_a_node_port_is_open_though_input_refuses_everything(first, lab):
    check = first.checks["node-port-admin[kube-published-outside-ipv4]"]
    assert check["verdict"] == "fail"
    assert connects(lab, "outside", "10.0.0.31", 30080)
    assert check["rule"].startswith("a rule of kube-proxy's [ip filter KUBE-FORWARD rule 2")
    assert check["fix"].startswith("Kubernetes publishes the port past INPUT")
    assert failing(first, "kube-published") == {"node-port-admin", "inbound-default"}


@pytest.mark.parametrize(
    ("host", "cause"),
    [
        ("two-managers", "ufw and firewalld both filter"),
        ("bare", "the host has no firewall"),
        ("legacy-and-nft", "rules in iptables-legacy and in iptables-nft"),
    ],
)
def test_two_managers_none_and_two_variants_are_findings(first, host, cause):
    check = first.checks[f"managers[{host}]"]
    assert (check["verdict"], check["cause"]) == ("fail", cause)


def test_a_default_fails_on_a_host_without_a_firewall_with_that_reason(first):
    checks = first.of("bare", "inbound-default")
    assert {check["cause"] for check in checks} == {"the host has no firewall"}
    assert all(check["reason"].startswith("no firewall decides who gets in: ") for check in checks)


def test_the_account_of_tier_read_may_read_all_of_it(first):
    """Every command that tells of front ends is in the sudo rules that the lab wrote for these hosts."""
    records = {record["name"]: record for record in first.results["run"]["hosts"]}
    for name in ("ufw-no-ipv6", "two-managers"):
        assert not [limit for limit in records[name]["limits"] if limit.startswith(("ufw", "firewalld"))]
    assert records["two-managers"]["firewall"].startswith("ufw and firewalld: ")


# ---- what the report tells the administrator to type


def test_the_commands_that_are_named_mend_what_was_found(lab, audit, first):
    mend(lab, first, "ufw-published", "inbound", "claim", "rate")
    mend(lab, first, "firewalld-published", "inbound", "claim", "inbound-default")
    on(lab, "firewalld-published", "firewall-cmd --reload")  # as the finding about persistence says
    mend(lab, first, "docker-published", "inbound")
    mend(lab, first, "docker-nft-published", "inbound")
    mend(lab, first, "kube-published", "inbound")
    on(lab, "legacy-and-nft", "iptables-legacy -F")  # as the finding about its two variants says
    run = audit("-k", "published and not only or managers and legacy")
    # what no ufw command changes is left: ICMP and the like in ufw's own files, and the routed rule of another kind
    assert failing(run, "ufw-published") == {"inbound-default", "forward-default"}, run.out
    assert failing(run, "firewalld-published") == set(), run.out
    for host in ("docker-published", "docker-nft-published", "kube-published"):
        assert failing(run, host) == set(), run.out
    # the one variant that is left accepts a port and refuses nothing: one manager, and no default deny
    assert run.checks["managers[legacy-and-nft]"]["verdict"] == "pass", run.out
    assert "8080/tcp                   LIMIT" in on(lab, "ufw-published", "ufw status")
    assert (connects(lab, "outside", "10.0.0.21", 11434), connects(lab, "workstation", "10.0.0.21", 11434)) == (
        False,
        True,
    )
    for address, port in (("10.0.0.25", 8080), ("10.0.0.34", 8080), ("10.0.0.31", 30080)):
        assert (connects(lab, "outside", address, port), connects(lab, "admin", address, port)) == (False, True)


def test_ipv6_that_ufw_does_not_manage_and_that_is_wide_open(lab, audit):
    on(lab, "ufw-no-ipv6", "ip6tables -F; ip6tables -P INPUT ACCEPT; ip6tables -P OUTPUT ACCEPT")
    run = audit("-k", "ufw-no-ipv6 and inbound-default", policy=FOLDER / "ufw.policy.yaml")
    check = run.checks["inbound-default[ufw-no-ipv6-ipv6]"]
    assert check["verdict"] == "fail"
    assert connects(lab, "outside", "fd00:0:0:1::22", 11434)
    assert check["fix"].startswith(
        "set IPV6=yes in /etc/default/ufw, then `ufw reload`: until then ufw does not manage IPv6"
    )
    assert "closes" not in check["cause"]


def test_what_only_runs_is_gone_after_a_reboot_as_the_report_says(lab, audit):
    on(lab, "firewalld", "firewall-cmd --zone=public --add-port=8080/tcp")
    on(lab, "ufw", "iptables -I ufw-user-input -p tcp --dport 9000 -j ACCEPT")
    words = ("-k", "(persistence or managers) and (firewalld-ipv4 or ufw-ipv4 or firewalld] or ufw])")
    run = audit(*words)
    told = [run.checks[f"persistence[{host}-ipv4]"] for host in ("firewalld", "ufw")]
    assert [check["verdict"] for check in told] == ["fail", "fail"]
    assert told[0]["reason"] == "zone public: port 8080/tcp runs, and is not permanent"
    assert told[1]["reason"].startswith("no rule that ufw knows: it is not in /etc/ufw/user.rules")
    assert told[1]["fix"].startswith("`ufw reload`")
    assert connects(lab, "workstation", "10.0.0.23", 8080)
    for host in ("firewalld", "ufw"):
        lab.reboot(host)
    assert not connects(lab, "workstation", "10.0.0.23", 8080)
    run = audit(*words)
    assert (failing(run, "firewalld"), failing(run, "ufw")) == (set(), set()), run.out


ADDED = """\
allow from 10.0.0.1 to any port 22 proto tcp
allow 11434/tcp
deny out 25
reject 1000:2000/tcp
limit OpenSSH
allow log 22/tcp
allow in on eth0 to any port 22 proto tcp
allow from 10.0.0.0/8
allow out from 10.0.0.0/8 port 1024 to 10.0.0.5 port 80 proto tcp
deny to any
"""


def test_rules_have_the_words_and_numbers_that_ufw_gives_them(lab):
    on(lab, "ufw", "ufw --force reset; sed -i 's/^IPV6=.*/IPV6=no/' /etc/default/ufw; ufw --force enable")
    on(lab, "ufw", "set -e\n" + "".join(f"ufw {line}\n" for line in ADDED.splitlines()))
    on(lab, "ufw", "ufw route allow in on eth0 out on eth1 to any port 5432 proto tcp")
    rules = read_rules(on(lab, "ufw", "cat /etc/ufw/user.rules"))
    theirs = [line for line in on(lab, "ufw", "ufw show added").splitlines() if line.startswith("ufw ")]
    assert [shlex.join(["ufw", *rule.spec]) for rule in rules] == theirs
    numbered = on(lab, "ufw", "ufw status numbered")
    assert max(rule.number for rule in rules) == numbered.count("\n[")
    for rule in rules:  # and ufw takes each back by these words
        assert "Rule deleted" in on(lab, "ufw", rule.deletion)
    assert on(lab, "ufw", "ufw show added").count("\nufw ") == 0
