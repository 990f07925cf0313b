"""``fwproof gate`` without a kernel: what it answers, in which form, and with which status."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from fwproof.cli.gate import gate
from fwproof.cli.gate_text import LIMIT
from fwproof.errors import InputError, LabError, UsageError
from fwproof.flow import Family
from fwproof.gating.candidate import Candidate
from fwproof.gating.kernel import otherwise
from fwproof.gating.states import State
from fwproof.semantics.model import HostModel
from fwproof.semantics.space import SpaceTooLarge

ROOT = Path(__file__).parents[3]
RULES = ROOT / "fixtures" / "lab" / "ai-server" / "etc" / "iptables"
SCRIPTS = ROOT / "fixtures" / "lab" / "ai-server-published" / "usr" / "local" / "sbin"
COMMON = ("--policy", ROOT / "checks" / "ai-server.policy.yaml", "--inventory", ROOT / "fixtures" / "inventory.yaml",
          "--no-twin", "--mutation-seconds", "0")  # fmt: skip
REPAIRED = ("--for", "ai-server", "--iptables-save", RULES / "rules.v4", "--ip6tables-save", RULES / "rules.v6")
PUBLISHED = ("--for", "ai-server-published", "--script", SCRIPTS / "chapter-iptables.sh", "--script",
             SCRIPTS / "chapter-ip6tables.sh")  # fmt: skip


def run(*words, common=COMMON):
    return CliRunner().invoke(gate, [str(word) for word in (*common, *words)])


def answer(*words):
    return json.loads(run(*words, "--format", "json").stdout)


def test_the_repaired_server_may_be_deployed():
    found = run(*REPAIRED)
    assert found.exit_code == 0, found.output
    assert found.stdout.splitlines()[-1] == "The tables for ai-server may be deployed (policy ai-server)."


def test_the_published_server_must_not_and_its_script_locks_out():
    found = answer(*PUBLISHED)
    assert found["status"] == 1
    harms = {(each["harm"], each["first"]["file"].rpartition("/")[2], each["first"]["line"])
             for each in found["lock_out"]["found"]}  # fmt: skip
    assert harms == {
        ("locked out", "chapter-iptables.sh", 26), ("locked out", "chapter-ip6tables.sh", 3),
        ("cut in between", "chapter-ip6tables.sh", 3),
    }  # fmt: skip
    failed = {check["id"] for check in found["checks"] if check["verdict"] == "fail"}
    assert {"inbound-default[ai-server-published-ipv4]", "ollama-internal:rate[ai-server-published-proxy-ipv4]",
            "loopback[ai-server-published-ipv4]", "icmpv6-nd[ai-server-published-proxy-ipv6]"} <= failed  # fmt: skip


def test_what_was_not_tested_is_counted_and_never_passed():
    found = answer(*REPAIRED)
    untested = [check for check in found["checks"] if check["not_tested"]]
    assert found["counts"]["not-tested"] == len(untested) > 0
    assert not [check for check in untested if check["verdict"] == "pass"]
    assert {"evasion", "coverage", "listeners", "persistence", "bans"} <= {check["kind"] for check in untested}
    assert sum(count for name, count in found["counts"].items() if name != "checks") == found["counts"]["checks"]


def test_a_family_without_tables_leaves_the_answer_open():
    found = run("--for", "ai-server", "--iptables-save", RULES / "rules.v4", "--management", "10.0.0.1:ssh")
    assert found.exit_code == 6
    assert "ok   Lock-out" in found.stdout
    assert "ipv6: the policy is about it, and the candidate has no tables of it" in found.stdout
    assert run("--for", "ai-server", "--iptables-save", RULES / "rules.v4", "--family", "ipv4").exit_code == 0


def test_the_difference_to_what_runs_is_told_with_witnesses(tmp_path):
    text = (RULES / "rules.v4").read_text()
    (tmp_path / "rules.v4").write_text(text.replace("-s 10.0.0.100/32", "-s 10.0.0.96/28"))
    words = ("--for", "ai-server", "--iptables-save", tmp_path / "rules.v4", "--family", "ipv4")
    found = answer(*words, "--against", RULES / "rules.v4")
    (change,) = found["difference"]["changes"]
    assert change["kind"] == "became-reachable"
    assert change["witness"]["dport"] == 8080
    told = run(*words, "--against", RULES / "rules.v4", "--format", "markdown").stdout
    assert "became reachable: tcp 8080" in told.replace("\\", "")
    assert answer(*REPAIRED, "--against", RULES)["difference"]["same"]


def test_a_script_is_run_on_the_tables_that_run(tmp_path):
    script = tmp_path / "add.sh"
    script.write_text("iptables -I INPUT 6 -s 10.0.0.1 -p tcp --dport 8080 -j ACCEPT\n")
    found = answer("--for", "ai-server", "--script", script, "--against", RULES)
    assert len(found["difference"]["changes"]) == 1
    assert found["lock_out"]["found"] == []
    assert {c["expectation"] for c in found["checks"] if c["verdict"] == "fail"} >= {"webui-proxy"}


def test_annotations_stand_at_the_lines_that_are_to_blame():
    lines = run(*PUBLISHED, "--format", "github").stdout.splitlines()
    assert any(
        line.startswith("::error file=") and "chapter-ip6tables.sh,line=3::cut in between" in line for line in lines
    )
    assert lines[-1].startswith("::error::The tables for ai-server-published must not")
    assert all(line.startswith("::") for line in lines)


def test_hostile_rule_text_makes_no_annotation_and_no_markdown_of_its_own(tmp_path):
    comment = "x%0A::error::forged\x1b[31m<img src=x>`|](http://evil)"
    text = (RULES / "rules.v4").read_text().replace(
        "-A INPUT -j DROP_IN", f'-A INPUT -m comment --comment "{comment}" -j ACCEPT\n-A INPUT -j DROP_IN')  # fmt: skip
    (tmp_path / "rules.v4").write_text(text)
    words = ("--for", "ai-server", "--iptables-save", tmp_path / "rules.v4", "--family", "ipv4")
    for line in run(*words, "--format", "github").stdout.splitlines():
        assert line.count("::error::forged") == 0 or "%250A" in line
        assert line.startswith("::")
    told = run(*words, "--format", "markdown").stdout
    assert "\x1b" not in told
    outside = re.sub(r"`[^`\n]*`", "", told)  # a span of code is shown as it is
    assert "<img" not in outside.replace("\\<img", "")
    assert "](http" not in outside


def test_a_review_comment_fits_whatever_there_is_to_say(tmp_path):
    long = "x" * 200
    rules = "".join(f'-A INPUT -p tcp -m tcp --dport {port} -m comment --comment "{long}" -j ACCEPT\n'
                    for port in range(1000, 1400, 2))  # fmt: skip
    text = (RULES / "rules.v4").read_text().replace("-A INPUT -j DROP_IN\n", rules + "-A INPUT -j DROP_IN\n")
    (tmp_path / "rules.v4").write_text(text)
    words = ("--for", "ai-server", "--iptables-save", tmp_path / "rules.v4", "--family", "ipv4", "--against",
             RULES / "rules.v4")  # fmt: skip
    told = run(*words, "--format", "markdown").stdout
    assert LIMIT * 0.9 < len(told.encode()) < LIMIT
    left = int(re.search(r"^- and (\d+) more, which", told, re.MULTILINE)[1])
    assert told.count("became reachable") + left == 200


def test_reports_are_those_of_an_audit(tmp_path):
    run(*PUBLISHED, "--reports", tmp_path / "reports")
    results = json.loads((tmp_path / "reports" / "latest" / "results.json").read_text())
    own = {check["id"]: check["verdict"] for check in results["checks"] if check["id"].startswith("gate:")}
    assert own == {"gate:lock-out[ai-server-published]": "fail"}
    assert (tmp_path / "reports" / "latest" / "junit.xml").exists()


REFUSED = {
    ("--iptables-save", RULES / "rules.v4"): "--for NAME",
    ("--for", "proxy", "--iptables-save", RULES / "rules.v4"): "is about ai-server",
    ("--for", "ai-server"): "found none",
    (*PUBLISHED, "--iptables-save", RULES / "rules.v4"): "in one form",
    (*REPAIRED, "--management", "admin"): "FROM:SERVICE",
    (*REPAIRED, "--management", "nobody:ssh"): "no zone, host or network",
    (*REPAIRED, "--management", "admin:gopher"): "no service",
    (*REPAIRED, "--against", RULES / "rules.v4", "--against", RULES): "two places have tables of ipv4",
    (*REPAIRED, "--twin-script"): "give --script FILE",
    ("--for", "ai-server", "--ufw", RULES): "expected a copy of /etc/ufw",
}


@pytest.mark.parametrize(("words", "message"), REFUSED.items(), ids=REFUSED.values())
def test_what_cannot_be_carried_out_is_refused(words, message):
    found = run(*words)
    assert isinstance(found.exception, (UsageError, InputError))
    assert message in str(found.exception)


def test_a_named_way_is_the_one_that_is_guarded():
    found = answer(*REPAIRED, "--management", "proxies:web-ui")
    assert [way.split(" (")[0] for way in found["lock_out"]["ways"]] == ["tcp/8080 from proxies"] * 2
    assert answer(*REPAIRED, "--management", "outside:ssh")["lock_out"]["failed"]


def test_interfaces_that_nobody_explains_are_asked_for(tmp_path):
    text = (RULES / "rules.v4").read_text().replace("-A INPUT -s 10.0.0.1/32", "-A INPUT -i lan0 -s 10.0.0.1/32")
    (tmp_path / "rules.v4").write_text(text)
    words = ("--for", "ai-server", "--iptables-save", tmp_path / "rules.v4", "--family", "ipv4")
    assert "on lan0" in " ".join(answer(*words)["assumed"])
    (tmp_path / "rules.v4").write_text(text.replace("-A FORWARD", "-A FORWARD -i wan0"))
    found = run(*words)
    assert "lan0, wan0" in str(found.exception)


def test_where_no_kernel_can_be_had_the_answer_says_so_and_is_open(monkeypatch):
    def nowhere(*_args):
        raise LabError("this machine allows no user namespace")

    monkeypatch.setattr("fwproof.gating.gate.twinned", nowhere)
    common = tuple(word for word in COMMON if word != "--no-twin")
    found = run(*REPAIRED, common=common)
    assert found.exit_code == 6
    assert "?    Kernel twin: this machine allows no user namespace" in found.stdout
    assert json.loads(run(*REPAIRED, "--format", "json", common=common).stdout)["kernel"]["asked"] is False


def test_a_score_that_is_too_low_is_a_failure():
    words = (*REPAIRED, "--family", "ipv4", "--mutation-seconds", "1")
    assert run(*words, "--min-score", "100").exit_code == 1
    assert run(*words, "--min-score", "0").exit_code == 0


def test_the_how_to_shows_what_is_printed():
    told = run(*PUBLISHED).stdout
    block = (ROOT / "docs" / "gate.md").read_text().split("```text\n")[1].split("```")[0]
    lines = [
        re.escape(line.strip()).replace("…", ".*").replace("chapter", ".*chapter", 1) for line in block.splitlines()
    ]
    assert len(lines) == 5
    for line in lines:
        assert re.search(line, told), line


def test_what_the_kernel_lists_otherwise_than_it_was_read_is_told():
    texts = {key: (RULES / name).read_text() for key, name in
             (("iptables_save", "rules.v4"), ("ip6tables_save", "rules.v6"))}  # fmt: skip
    model = HostModel.build(**texts)
    candidate = Candidate(states=(State(0, None, model),), given=tuple(Family), texts=texts)
    assert otherwise(candidate, texts) == ([], [])
    other = texts | {"iptables_save": texts["iptables_save"].replace("-s 10.0.0.100/32", "-s 10.0.0.0/16")}
    (line,), gaps = otherwise(candidate, other)
    assert not gaps
    assert line.startswith("ipv4 input: tcp 10.0.")
    assert "as read drop, as the kernel lists it accept" in line


def test_tables_of_iptables_legacy_are_compared_where_the_twin_lists_them():
    saved = (RULES / "rules.v4").read_text()
    texts = {"iptables_save": "# Generated by iptables-save v1.8.9 on Mon\n" + saved}
    model = HostModel.build(**texts)
    assert {each.backend for each in model.rulesets[Family.IPV4]} == {"legacy"}
    candidate = Candidate(states=(State(0, None, model),), given=(Family.IPV4,), texts=texts)
    other = {"iptables_save": saved.replace("-s 10.0.0.100/32", "-s 10.0.0.0/16")}
    assert otherwise(candidate, {"iptables_save": saved}) == ([], [])
    assert otherwise(candidate, other)[0]
    beside = replace(candidate, texts={"iptables_legacy_save": saved})
    found, (gap,) = otherwise(beside, other)
    assert not found
    assert "those of iptables-legacy are not listed" in gap


def test_tables_that_could_not_be_compared_with_the_kernel_s_are_a_gap(monkeypatch):
    texts = {"iptables_save": (RULES / "rules.v4").read_text()}
    candidate = Candidate(states=(State(0, None, HostModel.build(**texts)),), given=(Family.IPV4,), texts=texts)
    warning = "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n"
    found, (gap,) = otherwise(candidate, {"iptables_save": texts["iptables_save"] + warning})
    assert not found
    assert "ipv4: whether the kernel lists the tables as they were read: " in gap

    def too_large(*args, **more):
        raise SpaceTooLarge("more than can be followed")

    monkeypatch.setattr("fwproof.gating.kernel.compare", too_large)
    assert otherwise(candidate, texts) == (
        [], ["ipv4: whether the kernel lists the tables as they were read: more than can be followed"])  # fmt: skip


def test_sysctls_have_their_part(tmp_path):
    """A host that passes nothing on needs no rule against it."""
    text = (RULES / "rules.v4").read_text().replace(":FORWARD DROP", ":FORWARD ACCEPT").replace(
        "-A FORWARD -j DROP_FWD\n", "")  # fmt: skip
    (tmp_path / "rules.v4").write_text(text)
    (tmp_path / "sysctls").write_text("net.ipv4.ip_forward = 0\nnet.netfilter.nf_conntrack_tcp_loose = 1\n")
    words = ("--for", "ai-server", "--iptables-save", tmp_path / "rules.v4", "--family", "ipv4")
    plain, told = (model_of_words(words), model_of_words((*words, "--sysctls", tmp_path / "sysctls")))
    assert plain.forwards(Family.IPV4) is None
    assert told.forwards(Family.IPV4) is False


def model_of_words(words):
    """Return the model that the command makes of what it is given."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fwproof.cli.gate.ask", lambda _asked, candidate, _say: found.append(candidate.model))
        run(*words)
    return found[0]
