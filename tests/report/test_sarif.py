"""SARIF: valid in the schema of OASIS, at lines of files, with identities that outlive a moved line."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli
from fwproof.report.reasoning import on_the_wire
from fwproof.report.sarif import render_sarif
from fwproof.results import Results, Verdict

RULES = """\
*filter
:INPUT DROP [0:0]
-A INPUT -p tcp --dport 22 -j ACCEPT
-A INPUT -s 10.0.0.0/8 -p tcp --dport 22 -j DROP
-A INPUT -j ACCEPT
COMMIT
"""


@pytest.fixture
def validator(schemas):
    schema = json.loads((schemas / "sarif-2.1.0-rtm.5.json").read_text())
    return jsonschema.validators.validator_for(schema)(schema, format_checker=jsonschema.FormatChecker())


@pytest.fixture
def valid(validator):
    def check(results: Results) -> dict:
        document = json.loads(render_sarif(results))
        validator.validate(document)
        (found,) = document["runs"]
        return found

    return check


def proved(run: Results, verdict: Verdict, **words) -> Results:
    """A run of one check that was answered from the tables alone."""
    check = replace(run.checks[0], vantage=None, observed="", kind="claim", verdict=verdict, **words)
    return replace(run, run=replace(run.run, hosts=[]), checks=(check,))


def of_checks(found: dict) -> list[dict]:
    return [result for result in found["results"] if "check" in result["properties"]]


def test_valid(valid, run, recorded):
    for results in (run, recorded, replace(run, checks=())):
        valid(results)


def test_hostile_text_is_valid(valid, hostile):
    for result in valid(hostile)["results"]:
        for place in result["locations"]:
            uri = place["physicalLocation"]["artifactLocation"]["uri"]
            assert ":" not in uri
            assert uri.isascii()


@pytest.mark.parametrize(
    "damage",
    [
        lambda log: log.pop("version"),
        lambda log: log["runs"][0]["tool"]["driver"].pop("name"),
        lambda log: log["runs"][0]["results"][0].update(kind="bad"),
        lambda log: log["runs"][0]["results"][0].pop("message"),
        lambda log: log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"].update(startLine=0),
    ],
    ids=["no version", "no name", "kind", "no message", "line 0"],
)
def test_the_schema_notices(validator, recorded, damage):
    log = json.loads(render_sarif(recorded))
    damage(log)
    assert list(validator.iter_errors(log))


def test_what_was_seen_on_the_wire_is_left_out_and_counted(valid, recorded):
    found = valid(recorded)
    shown = [check for check in recorded.checks if check.verdict not in {Verdict.PASS, Verdict.NOT_APPLICABLE}]
    wire = sum(map(on_the_wire, shown))
    assert 0 < wire < len(shown)
    assert len(of_checks(found)) == len(shown) - wire
    (note,) = found["invocations"][0]["toolExecutionNotifications"]
    assert note["message"]["text"].startswith(f"{wire} findings were made on the wire")


def test_a_finding_is_at_its_line_of_the_policy(valid, run):
    results = proved(run, Verdict.FAIL, file="checks/a b.policy.yaml", line=12, severity="critical")
    found = valid(results)
    (result,) = found["results"]
    assert result["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "checks/a%20b.policy.yaml"},
        "region": {"startLine": 12},
    }
    (rule,) = found["tool"]["driver"]["rules"]
    assert (result["ruleId"], result["ruleIndex"], rule["id"]) == ("fwproof/claim", 0, "fwproof/claim")
    assert (result["level"], float(rule["properties"]["security-severity"]) > 9) == ("error", True)


def test_the_severity_of_a_rule_is_that_of_its_worst_finding(valid, run):
    low, high = (proved(run, Verdict.FAIL, severity=word).checks[0] for word in ("low", "high"))
    found = valid(replace(run, checks=(low, replace(high, id="other"), replace(low, id="third"))))
    rule = next(rule for rule in found["tool"]["driver"]["rules"] if rule["id"] == "fwproof/claim")
    assert rule["properties"]["security-severity"] == "8.0"


def test_the_identity_outlives_a_moved_line(valid, run):
    def mark(**words) -> dict:
        (result,) = valid(proved(run, Verdict.FAIL, **words))["results"]
        return result["partialFingerprints"]

    assert mark(line=12) == mark(line=99, reason="other words")
    assert mark(line=12) != mark(line=12, id="another")


@pytest.mark.parametrize(("verdict", "kind"), [("fail", None), ("error", "open"), ("inconclusive", "open")])
def test_kinds(valid, run, verdict, kind):
    (result,) = valid(proved(run, Verdict(verdict)))["results"]
    assert result.get("kind") == kind
    assert (result["level"] == "none") is (kind == "open")


def test_a_waived_finding_is_suppressed_with_its_reason(valid, run):
    (result,) = valid(proved(run, Verdict.WAIVED, reason="accepted until spring"))["results"]
    assert result["suppressions"][0]["justification"] == "accepted until spring"


def test_passes_are_no_findings(valid, run):
    assert valid(proved(run, Verdict.PASS))["results"] == []


def test_rules_that_were_not_understood_are_at_their_line_of_the_saved_tables(valid, run):
    found = [result for result in valid(run)["results"] if result["ruleId"] == "fwproof/not-understood"]
    places = [result["locations"][0]["physicalLocation"] for result in found]
    assert {
        "artifactLocation": {"uri": "evidence/ai-server/iptables-save.txt"},
        "region": {"startLine": 7},
    } in places


def lint(tmp_path, *words, rules=RULES):
    (tmp_path / "rules.v4").write_text(rules)
    words = [str(word) for word in words or ("--iptables-save", tmp_path / "rules.v4")]
    return CliRunner().invoke(cli, ["lint", *words, "--format", "sarif"])


def test_lint_points_at_lines_of_the_file(validator, tmp_path):
    told = lint(tmp_path)
    assert told.exit_code == 1
    log = json.loads(told.stdout)
    validator.validate(log)
    lines = RULES.splitlines()
    found = {}
    for result in log["runs"][0]["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == str(tmp_path / "rules.v4")
        found[result["ruleId"]] = lines[place["region"]["startLine"] - 1]
    assert found["fwproof/contradicted"] == "-A INPUT -s 10.0.0.0/8 -p tcp --dport 22 -j DROP"
    assert found["fwproof/over-broad"] == "-A INPUT -j ACCEPT"


def test_lint_of_a_hostile_comment_is_valid(validator, tmp_path):
    comment = '-A INPUT -m comment --comment "::error::x \x1b[31m ##vso[task.x]" -j ACCEPT'
    told = lint(tmp_path, rules=RULES.replace("-A INPUT -j ACCEPT", comment))
    validator.validate(json.loads(told.stdout))
    assert "\x1b" not in told.stdout


def test_lint_of_a_live_host_has_no_file_to_point_at(tmp_path):
    told = lint(tmp_path, "--host", "web")
    assert type(told.exception).__name__ == "UsageError"
    assert "points at lines of files" in str(told.exception)


POLICY = "policy: small\nhosts: [web]\nservices: {http: tcp/80, dns: udp/53}\ninbound:\n  default: deny\n"
INVENTORY = "zones: {near: [192.0.2.0/24]}\nhosts: {web: {addresses: [198.51.100.1]}}\n"


def lint_policy(tmp_path, text, form):
    (tmp_path / "small.policy.yaml").write_text(text)
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    words = ("lint", str(tmp_path), "--inventory", str(tmp_path / "inventory.yaml"), "--format", form)
    return CliRunner().invoke(cli, words)


def test_lint_of_policies_points_at_line_and_column(validator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = lint_policy(tmp_path, POLICY, "sarif")
    assert told.exit_code == 1
    log = json.loads(told.stdout)
    validator.validate(log)
    found = {each["ruleId"]: each for each in log["runs"][0]["results"]}
    unused = found["fwproof/unused-service"]
    assert unused["level"] == "warning"
    assert found["fwproof/no-samples"]["level"] == "note"
    place = unused["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "small.policy.yaml"
    assert place["region"]["startLine"] == 3
    remarks = json.loads(lint_policy(tmp_path, POLICY, "json").stdout)["findings"]
    assert place["region"]["startColumn"] in {each["column"] for each in remarks if each["line"] == 3}


def test_faults_of_a_policy_are_findings_and_the_document_says_that_nothing_else_was_looked_at(validator, tmp_path):
    text = POLICY.replace("default: deny", "default: perhaps").replace("tcp/80", "tpc/80")
    told = lint_policy(tmp_path, text, "sarif")
    assert type(told.exception).__name__ == "InputError"
    log = json.loads(told.stdout)
    validator.validate(log)
    (run,) = log["runs"]
    assert {each["locations"][0]["physicalLocation"]["region"]["startLine"] for each in run["results"]} == {3, 5}
    assert {(each["ruleId"], each["level"]) for each in run["results"]} == {("fwproof/fault", "error")}
    assert run["invocations"][0]["executionSuccessful"] is False
    document = json.loads(lint_policy(tmp_path, text, "json").stdout)
    assert [fault["line"] for fault in document["faults"]] == [3, 5]
