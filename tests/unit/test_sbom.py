"""The bill of materials: valid, of the pins, with licences that go together, and the same each time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[2]
AGREED = {
    "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "PSF-2.0",
    "LGPL-2.1-or-later",  # paramiko: imported as a package that anybody can replace
    "GPL-2.0-only",  # scapy: with it, what is distributed as a whole is under the GPL; fwproof's own code is MIT
}  # fmt: skip
"""What may be installed with fwproof: licences under which it may be used, changed and passed on, scapy included."""


def made(**environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "tools/sbom.py"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def text():
    return made(SOURCE_DATE_EPOCH="1700000000")


@pytest.fixture(scope="module")
def bill(text):
    return json.loads(text)


def test_it_is_valid_cyclonedx(text):
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"library"', '"thing"')) is not None


def test_it_lists_the_pins_and_nothing_else(bill):
    lines = (ROOT / "requirements/run.txt").read_text(encoding="utf-8").splitlines()
    listed = {f"{each['name']}=={each['version']}" for each in bill["components"]}
    assert listed == {line for line in lines if not line.startswith("#")}
    assert {each["purl"] for each in bill["components"]} == {f"pkg:pypi/{line.replace('==', '@')}" for line in listed}
    assert bill["metadata"]["component"]["name"] == "fwproof"


def ids(component):
    """The licences of a component, each by itself."""
    (told,) = component["licenses"]
    expression = told.get("expression") or told["license"]["id"]
    return set(expression.replace("(", "").replace(")", "").replace(" AND ", " OR ").split(" OR "))


def test_licences_are_among_those_that_were_agreed_to(bill):
    used = {each["name"]: ids(each) for each in bill["components"]}
    assert {name: found for name, found in used.items() if not found <= AGREED} == {}
    assert set.union(*used.values()) == AGREED, "nothing is agreed to that nobody needs"
    assert used["scapy"] == {"GPL-2.0-only"}


def test_it_is_the_same_each_time(text):
    assert made(SOURCE_DATE_EPOCH="1700000000") == text
    assert made(SOURCE_DATE_EPOCH="1700000001") != text
