"""Every refusal, word for word: the files in tests/golden hold a document and the faults that it must give."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HOSTILE = ROOT / "fixtures" / "hostile" / "policy"


def table(name):
    """Return (title, document, expected lines) for each entry of a golden file."""
    text = (ROOT / "tests" / "golden" / name).read_text(encoding="utf-8")
    for entry in text.split("=== ")[1:]:
        title, _, rest = entry.partition("\n")
        document, _, expected = rest.rpartition("---\n")
        yield pytest.param(document, expected.strip().splitlines(), id=title)


def hostile():
    entries: dict[str, list[str]] = {}
    for line in (ROOT / "tests" / "golden" / "policy-hostile.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("    "):
            entries[list(entries)[-1]].append(line.strip())
        else:
            entries[line] = []
    return entries


@pytest.mark.parametrize(("document", "expected"), list(table("policy-refusals.txt")))
def test_policy_refusal(document, expected, load, refusal):
    assert refusal(load, document) == expected


@pytest.mark.parametrize(("document", "expected"), list(table("inventory-refusals.txt")))
def test_inventory_refusal(document, expected, load_inventory_text, refusal):
    assert refusal(load_inventory_text, document) == expected


@pytest.mark.parametrize(("name", "expected"), hostile().items(), ids=list(hostile()))
def test_hostile_file(name, expected, load, refusal):
    assert refusal(load, (HOSTILE / name).read_bytes()) == expected


def test_every_hostile_file_has_its_expected_refusal():
    assert sorted(path.name for path in HOSTILE.iterdir()) == sorted(hostile())
