"""Verdicts as pytest shows them: exit statuses, words, summary, JUnit, and what is left when something breaks."""

import re
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree as ET

import pytest

from fwproof.errors import LabError, UsageError

from .small import IDS, INVENTORY, POLICY

STATUS = [
    ({}, 0),
    ({"site[web-ipv4]": "fail"}, 1),
    ({"site[web-ipv4]": "error"}, 6),
    ({"site[web-ipv4]": "inconclusive"}, 6),
    ({"site[web-ipv4]": "error", "loopback[web-ipv4]": "inconclusive"}, 6),
    ({"site[web-ipv4]": "error", "loopback[web-ipv4]": "fail"}, 1),
    ({"site[web-ipv4]": "not-applicable"}, 0),
    ({"site[web-ipv4]": "waived"}, 0),
    ({"*": "error"}, 6),
    ({"*": "not-applicable"}, 5),
    ({"*": "waived"}, 0),
]


@pytest.mark.parametrize(("verdicts", "status"), STATUS, ids=str)
def test_the_exit_status_says_what_was_found(audit, verdicts, status):
    audit.verdicts = verdicts
    assert audit.run().ret == status
    counts = audit.results["counts"]
    told = {name: counts[name] for name in ("pass", "fail", "waived", "error", "inconclusive", "not_applicable")}
    expected = dict.fromkeys(told, 0)
    for id_ in IDS:
        expected[verdicts.get(id_, verdicts.get("*", "pass")).replace("-", "_")] += 1
    assert told == expected


def test_each_verdict_is_the_outcome_that_pytest_has_for_it(audit):
    audit.verdicts = dict(
        zip(IDS, ["pass", "fail", "error", "inconclusive", "waived", "not-applicable", "pass", "pass"], strict=True)
    )
    found = audit.run()
    assert found.outcomes() == {"passed": 3, "failed": 1, "errors": 2, "skipped": 2}
    assert found.lines.count("") < len(found.lines)


def test_a_failure_is_told_once_by_cause_and_the_counts_come_last(audit):
    audit.verdicts = {IDS[0]: "fail", IDS[1]: "fail"}
    found = audit.run()
    assert found.out.count("the cause of fail") == 1
    assert "FAILED checks" not in found.out
    last = [line for line in found.lines if line.startswith("fwproof: ")]
    assert len(last) == 1
    assert re.match(r"fwproof: planned 8 · run 8 · passed 6 · failed 2 · waived 0 · errors 0", last[0])
    assert "\x1b[" not in found.out


def test_a_failure_in_full_where_the_user_asks_for_it(audit):
    audit.verdicts = {IDS[1]: "fail", IDS[2]: "error"}
    found = audit.run("checks", "--tb=short")
    for words in (
        "the reason of site:rate[web-db-ipv4]",
        "the reason of site[web-db-ipv4]",
        "proved: dropped by rule 3",
        "fix: mend it",
    ):
        assert words in found.out
    assert "plugin.py" not in found.out, "no traceback of the engine"


@pytest.mark.parametrize("word", ["-v", "-q", "-qq"])
def test_loud_and_quiet(audit, word):
    found = audit.run("checks", word)
    assert found.ret == 0
    assert ("PASSED" in found.out) is (word == "-v")
    assert ("connecting to nobody" in found.out) is (word == "-v")
    assert any(line.startswith("fwproof: planned 8") for line in found.lines)


def test_colours_are_for_terminals_that_want_them(audit, monkeypatch):
    monkeypatch.delenv("NO_COLOR")
    audit.verdicts = {IDS[0]: "fail"}
    assert "\x1b[1;31m✖ FAIL" in audit.run("checks", "--color=yes").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in audit.run("checks").out


def test_the_report_is_written_once_and_points_at_the_policy(audit):
    audit.run()
    (folder,) = audit.runs
    assert {path.name for path in folder.iterdir()} >= {"results.json", "junit.xml", "report.html", "SHA256SUMS"}
    check = audit.results["checks"][0]
    assert (check["file"], check["line"]) == ("checks/small.policy.yaml", 7)
    assert audit.results["run"]["command"].startswith("pytest ")
    assert audit.closed


def test_junit_of_pytest_beside_ours(audit):
    audit.verdicts = {IDS[0]: "fail", IDS[2]: "error", IDS[3]: "not-applicable"}
    audit.run("checks", "--junitxml=theirs.xml")
    suite = ET.parse(audit.pytester.path / "theirs.xml").getroot().find("testsuite")
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "8", "failures": "1", "errors": "1", "skipped": "1",
    }  # fmt: skip
    shown = {case.get("name"): [p.get("value") for p in case.iter("property")] for case in suite.iter("testcase")}
    assert shown[IDS[0]] == ["fail"]
    assert shown[IDS[4]] == ["pass"]
    ours = ET.parse(audit.runs[0] / "junit.xml").getroot()
    assert len(list(ours.iter("testcase"))) == 8
    assert len(list(ours.iter("failure"))) == 1


# ---- bad input


def test_faults_of_all_files_at_once_and_nothing_is_sent(audit):
    audit.file("checks/a.policy.yaml", "policy: a\nhosts: [nobody]\n")
    audit.file("checks/b.policy.yaml", "policy: b\nhosts: [web]\ninbond: {default: deny}\n")
    found = audit.run()
    assert found.ret == 4
    assert "a.policy.yaml:2:" in found.err
    assert "b.policy.yaml:3:" in found.err
    assert "Traceback" not in found.out + found.err
    assert not audit.gathered


def test_a_missing_inventory_is_named(audit):
    found = audit.run("checks", "--inventory", "no/such.yaml")
    assert found.ret == 4
    assert "no/such.yaml" in found.err
    assert found.err.count("such.yaml") == 1
    assert not audit.gathered


def test_an_inventory_with_faults(audit):
    audit.file("fixtures/inventory.yaml", INVENTORY.replace("192.0.2.2", "192.0.2.1"))
    found = audit.run()
    assert found.ret == 4
    assert re.search(r"inventory\.yaml:9:\d+: address 192\.0\.2\.1 is that of 'web' already", found.err)


def test_two_policies_that_call_a_check_the_same(audit):
    audit.file("checks/twin.policy.yaml", POLICY.replace("small", "twin"))
    found = audit.run()
    assert found.ret == 4
    assert re.search(r"twin\.policy\.yaml:7:1: 'site' is also what .*small\.policy\.yaml:7 calls", found.err)
    assert not audit.gathered


@pytest.mark.parametrize("rest", ["", "essential: [icmpv6-nd]\n"])
def test_a_policy_that_means_nothing_is_a_fault(audit, rest):
    audit.file("checks/none.policy.yaml", f"policy: none\nhosts: [web]\n{rest}")
    found = audit.run()
    assert found.ret == 4
    assert "none.policy.yaml:" in found.err
    assert not audit.gathered


def test_no_policies_at_all(audit):
    (audit.pytester.path / "empty").mkdir()
    assert audit.run("empty").ret == 5
    assert not audit.gathered


# ---- trouble


def test_a_command_line_that_cannot_be_carried_out_is_bad_input(audit):
    audit.fault = UsageError("another audit of web is running; wait for it to end")
    found = audit.run()
    assert found.ret == 4
    assert "another audit of web is running" in found.err
    assert "Traceback" not in found.out + found.err


def test_a_lab_that_does_not_come_up_is_no_bad_input(audit):
    audit.fault = LabError("the lab did not come up in 120 s")
    found = audit.run()
    assert found.ret == 3
    assert "the lab did not come up in 120 s" in found.out + found.err
    assert "Traceback" not in found.out + found.err
    assert not audit.runs


def test_a_crash_while_gathering_is_an_internal_error(audit):
    audit.fault = RuntimeError("quite unexpected")
    found = audit.run()
    assert found.ret == 3
    assert "RuntimeError: quite unexpected" in found.out
    assert not audit.runs


def test_one_check_that_cannot_be_judged_does_not_end_the_others(audit):
    audit.verdicts = {IDS[2]: KeyError("oops")}
    assert audit.run().ret == 6
    bad = next(check for check in audit.results["checks"] if check["id"] == IDS[2])
    assert bad["verdict"] == "error"
    assert "fwproof itself failed to judge this: KeyError: 'oops'" in bad["reason"]
    assert audit.results["counts"]["pass"] == len(IDS) - 1


def test_reports_that_cannot_be_written_are_told_and_never_green(audit):
    audit.file("reports", "a file, not a folder")
    found = audit.run()
    assert found.ret == 3
    assert "cannot write the reports" in found.out
    assert any(line.startswith("fwproof: planned 8") for line in found.lines), "what was found is still shown"
    assert audit.closed


def test_connections_are_closed_when_judging_is_interrupted(audit):
    plain = audit.judge

    def judge(check, facts):
        if check.id == IDS[1]:
            raise KeyboardInterrupt
        return plain(check, facts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fwproof.audit.outcomes.judge", judge)
        found = audit.pytester.runpytest_inprocess("checks", no_reraise_ctrlc=True)
    assert int(found.ret) == 2
    assert audit.closed
    assert [check["id"] for check in audit.results["checks"]] == IDS[:1], "what was judged is kept"


# ---- the real gathering, of hosts on which nobody listens


@pytest.fixture
def real(pytester):
    for name, text in (("fixtures/inventory.yaml", INVENTORY), ("checks/small.policy.yaml", POLICY)):
        path = pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (pytester.path / "fixtures" / "known").touch()
    return pytester.path


def pytest_process(folder, *words, **more):
    # a shell's background job ignores SIGINT, and so would its children
    command = [
        "env",
        "--default-signal=INT",
        sys.executable,
        "-W",
        "error",
        "-W",
        "ignore:.*:DeprecationWarning",
        "-m",
        "pytest",
        *words,
    ]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
    )  # fmt: skip


def test_hosts_that_nobody_answers_for_are_errors_not_failures(real):
    process = pytest_process(real, "checks")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 6, out
    assert "errors 8" in out
    assert "Connection refused" in out
    assert "see that sshd runs there" in out


def test_ctrl_c_while_gathering_ends_it_and_leaves_nothing(real):
    ears = "import socket\ns = socket.create_server(('127.0.0.1', 0))\nprint(s.getsockname()[1], flush=True)\n"
    with subprocess.Popen(
        [sys.executable, "-c", ears + "import time\ntime.sleep(120)"], stdout=subprocess.PIPE, text=True
    ) as mute:
        port = mute.stdout.readline().strip()
        text = INVENTORY.replace("port: 1,", f"port: {port}, timeout: 3,")
        (real / "fixtures/inventory.yaml").write_text(text, encoding="utf-8")
        for number in (signal.SIGINT, signal.SIGTERM):
            process = pytest_process(real, "checks")
            seen = ""
            while "connecting to" not in seen:
                line = process.stdout.readline()
                assert line, seen
                seen += line
            time.sleep(0.3)
            begun = time.monotonic()
            process.send_signal(number)
            out, _ = process.communicate(timeout=60)
            assert process.returncode == 2, seen + out
            assert time.monotonic() - begun < 20
            assert not (real / "reports").exists()
        mute.kill()
