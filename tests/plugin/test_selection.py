"""Collection and selection: what pytest's own options do to an audit."""

import subprocess
import sys

import pytest

from .small import IDS


def listed(found):
    return [line.partition("::")[2] for line in found.lines if "::" in line]


def test_items_are_the_expectations_in_the_order_of_the_file(audit):
    found = audit.run("checks", "--co", "-q")
    assert found.ret == 0
    assert listed(found) == IDS
    assert all(line.startswith("checks/small.policy.yaml::") for line in found.lines if "::" in line)
    assert not audit.gathered, "nothing is sent to list the checks"
    assert not audit.runs


SELECTIONS = [
    (["-k", "rate"], ["site:rate[web-db-ipv4]"]),
    (["-k", "site and not rate"], ["site[web-ipv4]", "site[web-db-ipv4]"]),
    (["-k", "db"], ["site[web-db-ipv4]", "site:rate[web-db-ipv4]"]),
    (["-m", "fwproof"], IDS),
    (["-m", "not fwproof"], []),
    (["-m", "inbound"], ["site[web-db-ipv4]"]),
    (["-m", "rate"], ["site:rate[web-db-ipv4]"]),
    (["-m", "inbound-default or persistence"], ["inbound-default[web-ipv4]", "persistence[web-ipv4]"]),
    (["-m", "exercise"], ["site:rate[web-db-ipv4]"]),
    (["-m", "not exercise"], [id_ for id_ in IDS if "rate" not in id_]),
    (["-m", "fwproof(kind='loopback')"], ["loopback[web-ipv4]"]),
    (["-m", "fwproof(vantage='db')"], ["site[web-db-ipv4]", "site:rate[web-db-ipv4]"]),
    (["-m", "fwproof(family='ipv6')"], ["inbound-default:no-ipv6[web]"]),
    (["-m", "fwproof(family='ipv5')"], []),
    (["--deselect", "checks/small.policy.yaml::loopback[web-ipv4]"], [i for i in IDS if "loopback" not in i]),
]


@pytest.mark.parametrize(("words", "chosen"), SELECTIONS, ids=" ".join)
def test_selected_checks_only_are_gathered_and_judged(audit, words, chosen):
    found = audit.run("checks", *words)
    if not chosen:
        assert found.ret == 5
        assert not audit.gathered
        assert not audit.runs
        return
    assert found.ret == 0
    assert audit.gathered == [chosen]
    assert [check["id"] for check in audit.results["checks"]] == chosen
    assert audit.results["counts"]["planned"] == len(IDS)
    assert audit.results["counts"]["run"] == len(chosen)
    assert audit.results["run"]["deselected"] == len(IDS) - len(chosen)
    if len(chosen) < len(IDS):
        assert f"not tested: {len(IDS) - len(chosen)} of {len(IDS)} planned checks" in found.out


@pytest.mark.parametrize("name", ["more.policy.yml", "more.policy.json", "more.Policy.YAML"])
def test_a_file_that_is_meant_as_a_policy_is_not_passed_over(audit, name):
    audit.file(f"checks/{name}", "policy: more\n")
    found = audit.run("checks")
    assert found.ret == 4
    assert f"{name}: nothing here would be tested: policies are files that end in .policy.yaml" in found.err
    assert not audit.gathered


def test_one_check_by_its_id(audit):
    found = audit.run("checks/small.policy.yaml::loopback[web-ipv4]", "checks/small.policy.yaml::site[web-ipv4]")
    assert found.ret == 0
    assert sorted(audit.gathered[0]) == ["loopback[web-ipv4]", "site[web-ipv4]"]
    assert audit.results["counts"]["planned"] == len(IDS)


def test_unknown_ids_are_pytests_own_usage_error(audit):
    assert audit.run("checks/small.policy.yaml::nothing").ret == 4
    assert not audit.gathered


def test_strict_markers_know_every_kind(audit):
    assert audit.run("checks", "--strict-markers").ret == 0
    shown = audit.run("--markers").out
    for name in ("fwproof(", "inbound:", "icmpv6-nd:", "ban-exercise:", "exercise:"):
        assert f"@pytest.mark.{name}" in shown


def test_the_first_failure_ends_the_run_and_the_rest_is_told_as_not_tested(audit):
    audit.verdicts = {"site[web-db-ipv4]": "fail"}
    found = audit.run("checks", "-x")
    assert found.ret == 1
    assert [check["id"] for check in audit.results["checks"]] == IDS[:2]
    assert f"not tested: {len(IDS) - 2} of {len(IDS)} planned checks (the run ended early)" in found.out


def test_last_failed_runs_what_failed(audit):
    audit.verdicts = {"loopback[web-ipv4]": "fail", "site[web-ipv4]": "error"}

    def run(*words):
        return audit.pytester.runpytest_inprocess("-p", "no:hypothesispytest", *words)

    assert int(run("checks").ret) == 1
    audit.verdicts = {}
    assert int(run("checks", "--lf").ret) == 0
    assert audit.gathered[1] == ["site[web-ipv4]", "loopback[web-ipv4]"]
    assert audit.results["run"]["deselected"] == len(IDS) - 2


def test_without_the_plugin_there_is_nothing_of_ours(audit):
    found = audit.run("-p", "no:fwproof", "checks")
    assert found.ret == 5
    assert "fwproof" not in found.out.replace("no:fwproof", "").replace(str(audit.pytester.path), "")
    assert not audit.gathered


def test_ordinary_tests_beside_policies(audit):
    audit.file("checks/test_more.py", "def test_right(): pass\ndef test_wrong(): assert 1 == 2\n")
    audit.verdicts = {"site[web-ipv4]": "error"}
    found = audit.run("checks", "-q")
    assert found.ret == 1, "an ordinary failure is a failure, whatever else is undetermined"
    assert "assert 1 == 2" in found.out, "tracebacks of ordinary tests are shown"
    assert audit.results["counts"]["planned"] == len(IDS)
    assert audit.run("checks/test_more.py::test_right").ret == 0
    assert len(audit.gathered) == 1, "no policy, no audit"


def test_several_processes_are_refused(audit):
    found = audit.run("-p", "xdist", "--numprocesses", "2", "checks")
    assert found.ret == 1, "what xdist makes of it when its processes cannot collect"
    assert "run policies without -n" in found.out
    assert "Traceback" not in found.out
    assert not audit.gathered


def test_sessions_without_policies_do_not_load_the_engine(pytester):
    pytester.makepyfile(
        "import sys\ndef test_it():\n"
        "    assert not {'paramiko', 'scapy', 'pydantic', 'jinja2', 'yaml', 'fwproof.audit'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q"]
    done = subprocess.run(command, cwd=pytester.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
