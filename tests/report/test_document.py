"""results.json: valid against its published schema, read back as it was, and refused when it is not what it claims."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from fwproof.cli.schema import schema as schema_command
from fwproof.errors import InputError
from fwproof.report.document import SCHEMA_FILE, read_results, render_json, schema
from fwproof.results import SCHEMA_ID, Verdict


@pytest.fixture
def document(run):
    return json.loads(render_json(run))


@pytest.fixture
def written(tmp_path, document):
    def write(value=document) -> object:
        path = tmp_path / "results.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path

    return write


def test_the_published_schema_is_the_generated_one():
    hint = "python -c 'from fwproof.report.document import *; SCHEMA_FILE.write_bytes(render_schema())'"
    assert json.loads(SCHEMA_FILE.read_text()) == schema(), hint


def test_results_are_valid(document):
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(document, schema())


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("schema",), "results-2"),
        (("counts", "pass"), -1),
        (("checks", 0, "verdict"), "ok"),
        (("checks", 0, "line"), "x"),
        (("run", "hosts"), {}),
    ],
)
def test_the_schema_and_the_reader_refuse_the_same(document, written, where, value):
    target = document
    for key in where[:-1]:
        target = target[key]
    target[where[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema())
    with pytest.raises(InputError, match=r"results\.json: .*" + str(where[-1])):
        read_results(written(document))


def test_every_key_is_in_the_schema(document):
    known = schema()["$defs"]
    assert set(document["checks"][0]) == set(known["CheckResult"]["properties"])
    assert set(document["run"]) == set(known["Run"]["properties"])
    assert set(document) == set(schema()["properties"])


def test_keys_are_sorted(document):
    for part in (document, document["run"], document["counts"], document["checks"][0]):
        assert list(part) == sorted(part)


def test_read_back(run, written):
    assert read_results(written()) == run
    assert read_results(written().parent) == run


def test_a_run_from_before_rules_were_counted_by_source_reads_and_validates(run, document, written):
    for host in document["run"]["hosts"]:
        del host["understood"]
    jsonschema.validate(document, schema())
    hosts = read_results(written(document)).run.hosts
    assert [host.understood for host in hosts] == [[] for _ in run.run.hosts]


@pytest.mark.parametrize("kind", ["surrogates", "controls", "bidi", "long"])
def test_hostile_text_survives_as_text(hostile_of, tmp_path, kind):
    path = tmp_path / "results.json"
    path.write_bytes(render_json(hostile_of(kind)))
    assert json.dumps(json.loads(path.read_bytes().decode("ascii")), ensure_ascii=False).encode("utf-8")
    read = read_results(path)
    assert render_json(read) == path.read_bytes()


def test_missing_keys_are_named_all_at_once(document, written):
    del document["run"]["operator"], document["checks"][3]["verdict"]
    with pytest.raises(InputError) as caught:
        read_results(written(document))
    assert [fault.message.split(":")[0] for fault in caught.value.faults] == ["checks.3.verdict", "run.operator"]


def test_counts_must_be_those_of_the_checks(document, written):
    failed = next(check for check in document["checks"] if check["verdict"] == Verdict.FAIL)
    failed["verdict"] = "pass"
    with pytest.raises(InputError, match=r"the counts are not those of the checks \(pass is \d+, counted \d+; fail is"):
        read_results(written(document))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": ', "results.json:1:12: not JSON"),
        ("[]", "document: "),
        ("", "results.json:1:1: not JSON"),
        ("[" * 100_000, "cannot be read|not JSON"),
    ],
    ids=["cut", "list", "empty", "deep"],
)
def test_not_a_document(written, text, message):
    with pytest.raises(InputError, match=message):
        read_results(written(text))


def test_not_there(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.json: cannot be read: No such file"):
        read_results(tmp_path / "nothing.json")


def test_the_name_of_the_format():
    assert schema()["$id"] == SCHEMA_ID


def test_the_real_audit_is_valid(recorded):
    validator = jsonschema.Draft202012Validator(schema())
    kept = json.loads((Path(__file__).parents[2] / "reports/sample/results.json").read_text())
    for document in (kept, json.loads(render_json(recorded))):
        validator.validate(document)


def test_the_schema_can_be_printed():
    printed = CliRunner().invoke(schema_command, ["results"])
    assert printed.exit_code == 0
    assert printed.stdout_bytes == SCHEMA_FILE.read_bytes()
    assert json.loads(printed.stdout)["title"] == "fwproof results, version 1"


def test_a_run_from_before_allowances_reads_and_validates(run, document, written):
    for check in document["checks"]:
        del check["owner"], check["justification"], check["allowance"]
    jsonschema.validate(document, schema())
    assert read_results(written(document)) == run
