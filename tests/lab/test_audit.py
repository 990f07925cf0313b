"""The audit of the lab's two servers: what must be seen of each, with packet or line and rule."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections import Counter

import jsonschema
import pytest
from click.testing import CliRunner
from junitparser import Error, Failure, JUnitXml
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.utils import rdpcap

from fwproof.cli.main import cli
from fwproof.lab import Lab
from fwproof.report.document import schema

from .auditing import INVENTORY, POLICY, Run, on

pytestmark = pytest.mark.lab

GOOD, BAD = "ai-server", "ai-server-published"
EATEN = "ip filter OUTPUT rule 5: -A OUTPUT -j DROP"


@pytest.fixture(scope="module")
def lab():
    with Lab(f"audit{os.getpid()}") as lab:
        yield lab


@pytest.fixture(scope="module")
def before(lab):
    return {host: processes(lab, host) for host in (GOOD, BAD, "workstation")}


@pytest.fixture(scope="module")
def audit(lab, before, tmp_path_factory):
    return Run(lab, tmp_path_factory.mktemp("reports"), fresh=True)


def processes(lab, host):
    """The programs that run in a host, without those of a look like this one."""
    lines = on(lab, host, "ps -eo args=").splitlines()
    return sorted(line for line in lines if not line.startswith(("ps ", "/bin/sh -c ps")))


def one(audit, id_):
    return audit.checks[id_]


# ---- the whole


def test_the_repaired_server_passes_everything_and_the_published_one_does_not(audit):
    assert audit.status == 1, audit.out
    assert set(audit.verdicts(GOOD).values()) == {"pass"}
    verdicts = list(audit.verdicts(BAD).values())
    assert verdicts.count("fail") == 110
    assert set(verdicts) == {"pass", "fail"}
    counts = audit.results["counts"]
    assert (counts["planned"], counts["run"], counts["error"], counts["inconclusive"]) == (392, 392, 0, 0)


def test_it_takes_no_longer_than_it_must(audit):
    assert audit.results["run"]["seconds"] < 60


# ---- what must be seen of the published server: one test a defect, each by its packet or line, and its rule


def test_outbound_drop_without_established_eats_the_replies_of_every_service(audit):
    for service, port in (("ollama-internal", 11434), ("webui-proxy", 8080), ("ssh-admin", 22)):
        vantage = "admin" if service == "ssh-admin" else "proxy"
        check = one(audit, f"{service}[{BAD}-{vantage}-ipv4]")
        assert check["verdict"] == "fail"
        assert check["cause"] == f"replies are dropped by {EATEN}"
        assert check["rule"] == EATEN
        assert f":{port}: arrived and was let in (conntrack confirmed it); no answer left the host" in check["observed"]
        packets = [line for line in check["evidence"] if f":{port} TCP SYN" in line]
        assert [line.split()[:2] for line in packets] == [[vantage, "out"], [BAD, "in"]]
        assert "-m conntrack --ctstate RELATED,ESTABLISHED" in check["fix"]
    established = one(audit, f"established[{BAD}-ipv4]")
    assert (established["verdict"], established["rule"]) == ("fail", EATEN)
    assert established["observed"].startswith("0 of ")


def test_loopback_is_cut(audit):
    check = one(audit, f"loopback[{BAD}-ipv4]")
    assert (check["verdict"], check["cause"], check["rule"]) == ("fail", "loopback is cut", EATEN)
    assert "127.0.0.1" in check["observed"]
    assert "timeout" in check["observed"]


def test_input_has_no_default_deny_although_the_wire_is_silent(audit):
    check = one(audit, f"inbound-default[{BAD}-ipv4]")
    assert check["cause"] == "ip INPUT has no default deny: its policy is ACCEPT"
    assert "for example " in check["proved"], "a witness packet"
    sample = one(audit, f"inbound-default[{BAD}-outside-ipv4-tcp-9]")
    assert sample["verdict"] == "fail"
    assert sample["rule"] == "ip filter INPUT policy: ACCEPT"
    assert "only its reply was lost" in sample["reason"]
    assert one(audit, f"ollama-internal[{BAD}-outside-ipv4]")["cause"] == check["cause"]


def test_the_8080_rule_restricts_nobody(audit):
    check = one(audit, f"webui-proxy[{BAD}-ipv4]")
    assert "the rule for tcp/8080 restricts nobody" in check["cause"]
    assert "--dport 8080 -j ACCEPT" in check["rule"]
    assert "anywhere except 10.0.0.100" in check["proved"]
    assert one(audit, f"webui-proxy[{BAD}-outside-ipv4]")["verdict"] == "fail"


def test_11434_has_no_accept_of_its_own(audit):
    check = one(audit, f"ollama-internal[{BAD}-ipv4]")
    assert "tcp/11434 has no ACCEPT of its own" in check["cause"]
    assert check["rule"] == "ip filter INPUT policy: ACCEPT"
    assert "anywhere except 10.0.0.0/16" in check["proved"]


def test_sources_outside_the_network_are_not_limited_at_all(audit):
    check = one(audit, f"ollama-internal:rate[{BAD}-outside-ipv4]")
    assert "not limited at all" in check["cause"]
    assert check["observed"].startswith("25 sent, 25 arrived, 25 let in")
    assert check["rule"] == "ip filter INPUT policy: ACCEPT"


@pytest.mark.parametrize("vantage", ["proxy", "workstation"])
def test_the_limiter_admits_19_not_20(audit, vantage):
    check = one(audit, f"ollama-internal:rate[{BAD}-{vantage}-ipv4]")
    assert "the limiter admits 19, not 20" in check["reason"]
    assert "the tables admit 19" in check["proved"]
    assert check["observed"].startswith("25 sent, 25 arrived, 19 let in")
    assert "the first refused was number 20" in check["observed"]
    assert "--update --seconds 60 --hitcount 20 --name OLLAMA" in check["rule"]
    assert "counted 25" in check["attributed"]


def test_no_drop_is_logged(audit):
    check = one(audit, f"drop-log[{BAD}-outbound-ipv4]")
    assert (check["verdict"], check["cause"]) == ("fail", "dropped packets are not logged")
    assert check["rule"] == EATEN
    assert "no rule logs" in check["proved"]
    assert "no line for it among 0 in /var/log/ulogd/drops.log" in check["attributed"]


def test_ipv6_is_dead_because_neighbour_discovery_is_dropped(audit):
    check = one(audit, f"icmpv6-nd[{BAD}-proxy-ipv6]")
    assert check["cause"] == "IPv6 is dead: neighbour discovery is dropped"
    assert check["rule"] == "ip6 filter INPUT policy: DROP"
    assert "a solicitation from proxy" in check["observed"]
    assert "no advertisement left the host" in check["observed"]


def test_forward_is_open(audit):
    for family, word in (("ipv4", "ip"), ("ipv6", "ip6")):
        check = one(audit, f"forward-default[{BAD}-{family}]")
        assert check["cause"] == f"{word} FORWARD has no default deny: its policy is ACCEPT"
        assert "for example " in check["proved"]


def test_tables_as_a_whole_are_as_the_chapter_left_them(audit):
    parity = one(audit, f"ipv6:parity[{BAD}]")
    assert "every service from anywhere except internal" in parity["reason"]
    assert "IPv4 open, let through by ip filter INPUT policy: ACCEPT, and IPv6 closed" in parity["reason"]
    assert any("differs at output: tcp/5432 to store-postgres" in line for line in parity["evidence"])
    rules = one(audit, f"rules[{BAD}-ipv4]")
    assert rules["reason"].startswith("redundant: ip filter INPUT rule 3: -A INPUT -s 10.0.0.100/32")
    assert one(audit, f"rules[{BAD}-ipv6]")["verdict"] == "pass"


def test_nothing_survives_a_reboot(audit):
    check = one(audit, f"persistence[{BAD}-ipv4]")
    assert check["cause"] == "nothing survives a reboot"
    assert "no service that loads rules is enabled" in check["reason"]
    assert "/etc/iptables/rules.v4" in check["fix"]
    assert "no rule loader" in check["observed"]


def test_the_second_failregex_has_no_host_so_fail2ban_watches_no_file(audit):
    check = one(audit, f"bans-ollama-api[{BAD}]")
    assert "failregex 2 has no <HOST>" in check["reason"]
    assert "reported as up, but its file list is empty" in check["reason"]
    assert "files watched: none" in check["observed"]
    assert check["rule"] == "failregex 2: ^.*Authentication failed for.*$"
    assert "No failure-id group" in check["attributed"]
    exercise = next(c for c in audit.of(BAD, "ban-exercise") if c["family"] == "ipv4")
    assert exercise["verdict"] == "fail"
    assert "no attempt can be seen" in exercise["observed"]


# ---- the three answers


def test_single_flows_have_all_three_answers(audit):
    flows = [c for c in audit.of(GOOD) if c["kind"] in {"inbound", "outbound"} and c["vantage"]]
    assert len(flows) > 30
    for check in flows:
        assert check["proved"], check["id"]
        assert "->" in check["observed"], check["id"]
    watched = [c for c in flows if c["vantage"] != "store-elastic"]
    unsure = [c["id"] for c in watched if not check_attributed(c)]
    assert not unsure


def check_attributed(check):
    return "confirms it: +" in check["attributed"] and "NOT" not in check["attributed"]


def test_a_drop_is_attributed_to_its_rule_by_the_counter(audit):
    check = one(audit, f"ollama-internal[{GOOD}-outside-ipv4]")
    assert "arrived at the host and was dropped there" in check["observed"]
    assert f"the counter of {check['rule']} confirms it: +" in check["attributed"]


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("vantage", ["proxy", "workstation"])
def test_the_repaired_limit_lets_in_exactly_20_per_source(audit, vantage, family):
    check = one(audit, f"ollama-internal:rate[{GOOD}-{vantage}-{family}]")
    assert check["observed"].startswith("25 sent, 25 arrived, 20 let in, 20 answered")
    assert "number 21" in check["observed"]
    assert "counted 25" in check["attributed"]


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_ban_is_provoked_seen_and_taken_back(audit, lab, family):
    check = next(c for c in audit.of(GOOD, "ban-exercise") if c["family"] == family)
    for words in ("5 bad attempts", "401", "in the jail's ban list after", "is now rejected", "still let in",
                  "gone from the ban list", "let in again after the unban"):  # fmt: skip
        assert words in check["observed"]
    assert "f2b-ollama-api" in check["attributed"]


def test_nothing_of_a_ban_is_left(audit, lab):
    status = on(lab, GOOD, "fail2ban-client status ollama-api")
    assert "Total banned:\t2" in status
    assert status.rstrip().endswith("Banned IP list:")
    for tool in ("iptables", "ip6tables"):
        rules = on(lab, GOOD, f"{tool} -S | grep f2b || true")
        assert "REJECT" not in rules, rules


@pytest.mark.parametrize(("direction", "prefix"), [("inbound", "fw drop in:"), ("outbound", "fw drop out:")])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_dropped_packet_left_its_line(audit, lab, direction, prefix, family):
    check = one(audit, f"drop-log[{GOOD}-{direction}-{family}]")
    assert prefix in check["attributed"]
    assert check["attributed"] in on(lab, GOOD, "cat /var/log/ulogd/drops.log").splitlines()
    port = check["observed"].split(" ->")[0].rpartition(":")[2]
    assert f"SPT={port} " in check["attributed"], "the line is of this very probe"


# ---- forms


@pytest.mark.parametrize("vantage", ["outside", "workstation"])
def test_the_repaired_server_denies_in_every_form_and_its_counters_say_so(audit, vantage):
    forms = [check for check in audit.of(GOOD, "evasion") if check["vantage"] == vantage]
    assert len(forms) == 11
    for check in forms:
        assert check["verdict"] == "pass"
        assert "refused by the tables, and on the wire" in check["reason"]
        assert "silent" in check["observed"], "it arrived, and was dropped there"
        assert "-A DROP_IN -j DROP confirms it" in check["attributed"]


def test_the_published_server_lets_in_every_form_in_ipv4(audit):
    for name in ("flags", "source-ports", "protocols", "icmp-types", "fragments"):
        check = one(audit, f"evasion:{name}[{BAD}-outside-ipv4]")
        assert check["verdict"] == "fail"
        assert check["cause"] == "ip INPUT has no default deny: its policy is ACCEPT"
    dead = one(audit, f"evasion:flags[{BAD}-outside-ipv6]")
    assert "something before this firewall stopped all of them" in dead["reason"], "IPv6 is dead there"


def test_forms_are_in_the_capture(audit):
    packets = [bytes(p) for p in rdpcap(str(audit.folder / "evidence" / "probes" / f"{GOOD}.pcap"))]
    four, six = ([p for p in packets if p[0] >> 4 == version] for version in (4, 6))
    assert {1, 2, 6, 17, 47, 50, 132} <= {p[9] for p in four}
    assert {0, 43, 44, 60, 47, 50, 132} <= {p[6] for p in six}, "extension headers, fragments, other protocols"
    assert any(p[6] & 0x1F or p[7] for p in four), "a later fragment"


# ---- the reports


def test_the_observed_packets_are_in_the_capture(audit):
    packets = rdpcap(str(audit.folder / "evidence" / "probes" / f"{BAD}.pcap"))
    check = one(audit, f"ollama-internal[{BAD}-proxy-ipv4]")
    sport = int(check["observed"].split(" -> ")[0].rpartition(":")[2])
    mine = [p for p in packets if TCP in p and sport in (p[TCP].sport, p[TCP].dport)]
    requests = [p for p in mine if p[TCP].flags == "S"]
    assert len(requests) == 2, "seen leaving the vantage, and arriving"
    assert {(p[IP].src, p[IP].dst) for p in mine} == {("10.0.0.100", "10.0.0.11")}, "no answer was seen"
    good = rdpcap(str(audit.folder / "evidence" / "probes" / f"{GOOD}.pcap"))
    assert any(IPv6 in p and TCP in p and p[TCP].flags == "SA" for p in good)


def test_junit_has_the_same_checks(audit):
    cases = [case for suite in JUnitXml.fromfile(str(audit.folder / "junit.xml")) for case in suite]
    assert len(cases) == len({(case.classname, case.name) for case in cases}) == 392
    assert sum(any(isinstance(r, Failure) for r in case.result) for case in cases) == 110
    assert not any(isinstance(r, Error) for case in cases for r in case.result)


def test_the_results_are_valid_and_list_what_is_allowed(audit):
    jsonschema.validate(audit.results, schema())
    folder = audit.folder
    with (folder / "allowed.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["host"] == GOOD]
    assert {(row["approved"], row["verdict"]) for row in rows} == {("yes", "pass")}
    (ollama,) = [row for row in rows if row["expectation"] == "ollama-internal" and row["family"] == "ipv4"]
    assert (ollama["port"], ollama["networks"]) == ("tcp/11434", "10.0.0.0/16")
    assert "-A OLLAMA" in ollama["rules"]
    assert ollama["packets"].isdecimal()


def test_the_sums_hold(audit):
    lines = (audit.folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {line[66:]: line[:64] for line in lines}
    found = {str(p.relative_to(audit.folder)): p for p in audit.folder.rglob("*") if p.is_file()}
    assert set(found) - {"SHA256SUMS"} == set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256(found[name].read_bytes()).hexdigest() == digest
    checked = subprocess.run(["/usr/bin/sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=audit.folder, check=False)
    assert checked.returncode == 0
    assert f"evidence/{BAD}/iptables-save.txt" in listed


# ---- what was said beforehand


def test_the_plan_said_what_was_sent(audit):
    """Of the repaired server, to which all happens as its policy says, exactly; of the other, no more than that."""
    words = [str(POLICY), "--inventory", str(INVENTORY), "--format", "json"]
    plan = json.loads(CliRunner().invoke(cli, ["plan", *words], catch_exceptions=False).output)
    said, sent = Counter(), Counter()
    for each in plan["sends"]:
        said["probes", each["from"], each["to"]] += each["packets"]
        said["connections", each["from"], each["to"]] += each["connections"]
    for each in audit.results["run"]["sent"]:
        sent[each["kind"], each["sender"], each["host"]] += each["count"]
    assert sum(sent.values()) > 1000
    for each in plan["bounds"]:
        said[each["kind"]] += each["packets"]
    kinds = {each["kind"] for each in plan["bounds"]}
    for kind in kinds:
        assert sum(count for key, count in sent.items() if key[0] == kind) <= said[kind]
    sent = Counter({key: count for key, count in sent.items() if key[0] not in kinds})
    exact = {key for key in said | sent if GOOD in key and key[0] != "again"}
    assert {key: said[key] for key in exact} == {key: sent[key] for key in exact}
    assert not {key: count for key, count in sent.items() if key[0] != "again" and count > said[key]}
    assert {host["name"] for host in plan["hosts"] if host["audited"]} == {GOOD, BAD}
    assert plan["seconds"]["least"] / 2 < audit.results["run"]["seconds"] < plan["seconds"]["most"] * 3


# ---- what is left behind


def test_nothing_is_left_on_the_hosts(audit, lab, before):
    deadline = time.monotonic() + 10
    for host, old in before.items():
        while (new := [p for p in processes(lab, host) if p not in old]) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not new, host
        assert not on(lab, host, "find /tmp /home /var/tmp -newer /proc/1/cmdline -type f ! -name '.*history' | head")


def test_a_second_audit_waits_for_the_window_and_then_says_the_same(audit, lab, tmp_path):
    again = Run(lab, tmp_path, "-k", "ollama-internal and ipv4")
    assert {id_: check["verdict"] for id_, check in again.checks.items()} == {
        id_: audit.checks[id_]["verdict"] for id_ in again.checks
    }
    waited = [line for line in again.out.splitlines() if "an earlier burst still counts" in line]
    left = 60 - again.results["run"]["seconds"]
    assert waited or left < 0
    assert again.seconds < 100


# ---- rule coverage

SAVES = {"ipv4": "iptables-save -c", "ipv6": "ip6tables-save -c"}
SILENT = {"ipv4": 0, "ipv6": 2}
"""Rules that no probe is sent for: router solicitations and multicast listener reports, which go to groups."""


@pytest.mark.parametrize("family", list(SAVES))
def test_every_rule_of_the_repaired_server_is_accounted_for(audit, lab, family):
    check = one(audit, f"coverage[{GOOD}-{family}]")
    rules = check["coverage"]["rules"]
    status = {rule["place"]: rule["status"] for rule in rules}
    assert set(status.values()) <= {"confirmed", "reached", "unreachable", "unsent"}, check["evidence"]
    assert list(status.values()).count("unsent") == SILENT[family]
    # what other traffic counts all the while: the auditor's own session, the watchdog's log-ins, and neighbours
    hidden = [rule["text"] for rule in rules if rule["status"] == "reached"]
    assert all(any(word in text for word in ("f2b", "icmpv6-type", "ESTABLISHED", "--dport 22 ")) for text in hidden)
    counted = dict(reversed(line.split(" ", 1)) for line in on(lab, GOOD, SAVES[family]).splitlines() if line[0] == "[")
    for rule in rules:
        if rule["text"] in counted:
            packets = int(counted[rule["text"]].strip("[]").split(":")[0])
            assert (packets > 0) == (rule["status"] in {"confirmed", "reached"}) or rule["status"] == "unsent", rule


def test_a_limit_that_bursts_used_up_is_confirmed_by_them(audit):
    (rule,) = (rule for rule in one(audit, f"coverage[{GOOD}-ipv4]")["coverage"]["rules"] if "--rcheck" in rule["text"])
    assert (rule["status"], rule["probes"]) == ("confirmed", [])
    assert rule["why"].endswith("while limits were exercised")


def test_the_published_servers_rules_are_covered_too(audit):
    four, six = (one(audit, f"coverage[{BAD}-{family}]")["coverage"] for family in SAVES)
    assert {rule["status"] for rule in four["rules"]} == {"confirmed", "reached", "unreachable"}
    # nothing gets in over IPv6, so its answers meet no rule either
    assert {rule["status"] for rule in six["rules"] if "ESTABLISHED" in rule["text"]} == {"unsent"}
    (policy,) = (rule for rule in six["rules"] if rule["place"] == "ip6 filter OUTPUT policy")
    assert policy["status"] == "confirmed"


# ---- what is stored


def verified(folder):
    done = CliRunner().invoke(cli, ["verify", "--format", "json", str(folder)])
    return json.loads(done.stdout)["runs"][0]


def test_every_verdict_follows_from_the_stored_evidence(audit):
    found = verified(audit.folder)
    assert (found["problems"], found["not_recomputed"]) == ([], {})
    assert found["recomputed"] == len(audit.checks)
    kinds = {audit.checks[id_]["kind"] for id_ in found["as_recorded"]}
    assert kinds == {"coverage"}


def test_the_packets_of_all_probes_are_stored(audit):
    for host in (GOOD, BAD):
        packets = rdpcap(str(audit.folder / "evidence" / "probes" / f"{host}-exercises.pcap"))
        bursts = [p for p in packets if TCP in p and p[TCP].dport == 11434]
        assert len(bursts) >= 25 * 2, host  # a burst from each of two vantages
    lines = (audit.folder / "evidence/probes/exercises.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"kept": len(lines) - 1, "cut": 0}


def test_a_forged_verdict_of_a_real_run_is_caught(audit, tmp_path):
    folder = shutil.copytree(audit.folder, tmp_path / audit.folder.name)
    document = json.loads((folder / "results.json").read_text())
    row = next(row for row in document["checks"] if row["verdict"] == "fail")
    row["verdict"] = "pass"
    document["counts"]["fail"] -= 1
    document["counts"]["pass"] += 1
    (folder / "results.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    found = verified(folder)
    assert ("verdict", row["id"]) in {(problem["kind"], problem["where"]) for problem in found["problems"]}


def test_who_ran_it_from_where_is_recorded(audit):
    run = audit.results["run"]
    assert len(run["controller"]["tool_sha256"]) == 64
    assert run["controller"]["clock"]
    sources = {each["name"]: each["sources"] for each in run["vantages"]}
    assert "10.0.5.8" in sources["workstation"]  # its spare address, which bursts come from
    assert any(line.startswith("nft nftables v") for line in run["hosts"][0]["backends"])
