import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from fwproof.cli.schema import schema
from fwproof.policy.document import read_document
from fwproof.policy.schema import json_schema

ROOT = Path(__file__).parents[3]
FILES = {
    "policy": ("checks/policy.schema.json", "checks/ai-server.policy.yaml"),
    "inventory": ("fixtures/inventory.schema.json", "fixtures/inventory.yaml"),
}


def problems(kind, value):
    validator = jsonschema.Draft7Validator(json_schema(kind))
    return [error.message for error in validator.iter_errors(value)]


@pytest.mark.parametrize("kind", FILES)
def test_the_schema_is_valid_and_accepts_the_shipped_file(kind):
    jsonschema.Draft7Validator.check_schema(json_schema(kind))
    assert problems(kind, read_document(ROOT / FILES[kind][1]).plain()) == []


@pytest.mark.parametrize("kind", FILES)
def test_the_shipped_schema_is_the_one_that_is_printed(kind):
    printed = CliRunner().invoke(schema, [kind]).output
    assert (ROOT / FILES[kind][0]).read_text(encoding="utf-8") == printed, f"fwproof schema {kind} > {FILES[kind][0]}"
    assert json.loads(printed)["$schema"] == "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize("kind", FILES)
def test_the_first_line_of_the_shipped_file_names_its_schema(kind):
    name, file = (ROOT / part for part in FILES[kind])
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema={name.name}"


@pytest.mark.parametrize("kind", FILES)
def test_only_words_of_draft_7_are_used(kind):
    text = json.dumps(json_schema(kind))
    assert [word for word in ("$defs", "prefixItems", '"null"', 'Shape", "type') if word in text] == []


def test_a_file_of_one_s_own_controls_has_a_schema():
    document = read_document(ROOT / "src" / "fwproof" / "policy" / "controls" / "stig.yaml")
    jsonschema.Draft7Validator.check_schema(json_schema("controls"))
    assert problems("controls", document.plain()) == []
    assert problems("controls", {"frameworks": {"x": {"controls": {"a": {"shows": "b"}}}}}) != []
    assert json.loads(CliRunner().invoke(schema, ["controls"]).output)["title"] == "fwproof controls"


RATE = {"limit": 1, "per": 60}
BASE = {"policy": "p", "hosts": ["web"], "inbound": {"default": "deny"}}
WRONG = {
    "unknown key": {"inbond": {}},
    "default": {"inbound": {"default": "denny"}},
    "default mapping": {"inbound": {"default": {"decision": "denny"}}},
    "default missing": {"inbound": {"allow": []}},
    "from missing": {"inbound": {"default": "deny", "allow": [{"id": "a", "service": "ssh"}]}},
    "no peers": {"inbound": {"default": "deny", "allow": [{"id": "a", "service": "ssh", "from": []}]}},
    "rate": {"inbound": {"default": "deny", "allow": [{"id": "a", "service": "s", "from": "b", "rate": RATE}]}},
    "service": {"services": {"ssh": 22}},
    "service name": {"services": {"my ssh": "tcp/22"}},
    "essential": {"essential": ["loopbak"]},
    "ipv6": {"ipv6": True},
    "persistence": {"persistence": "yes"},
    "null": {"drop_log": None},
    "control": {"persistence": {"controls": {"pci": [1.4]}}},
    "framework": {"persistence": {"controls": {"PCI": ["a"]}}},
}  # fmt: skip
RIGHT = {
    "one peer": {"inbound": {"default": "deny", "allow": [{"id": "a", "service": "ssh", "from": "x"}]}},
    "peers": {"inbound": {"default": {"decision": "deny"}, "allow": [{"id": "a", "service": "ssh", "from": ["x"]}]}},
    "one host": {"hosts": "web"},
    "persistence": {"persistence": {"title": "x"}, "essential": ["loopback", {"what": "established"}]},
}


@pytest.mark.parametrize("name", WRONG)
def test_the_schema_refuses(name):
    assert problems("policy", BASE | WRONG[name])


@pytest.mark.parametrize("name", RIGHT)
def test_the_schema_accepts(name):
    assert problems("policy", BASE | RIGHT[name]) == []
