"""SECURITY.md by itself: every test that it names exists, and every claim of a list names one."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/.]+)::(\w+)`", TEXT)
GUARDED = TEXT.partition("## What each tier may do")[2].partition("## What is left")[0]


def functions(path):
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "name"), NAMED, ids=["::".join(each) for each in NAMED])
def test_a_test_that_is_named_exists(file, name):
    assert name.startswith("test_")
    assert name in functions(ROOT / file)


def test_no_mention_escaped_these_tests():
    assert len(NAMED) > 40
    assert len(re.findall(r"::test_", TEXT)) == len(NAMED)
    assert TEXT.count("`tests/") == len(NAMED) + 1  # and this file, by its path alone


def test_every_claim_names_its_test():
    claims = [line for line in GUARDED.splitlines() if line.startswith("* ")]
    without = [line for line in claims if "::test_" not in line]
    assert len(claims) > 30
    assert [line[:30] for line in without] == ["* A packet that is lost or dro"]


def test_files_and_targets_that_it_names_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make (\w+)`", TEXT):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for link in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (ROOT / link).exists(), link
