"""Nothing is dropped: every line and every object that goes in comes out as a rule, as structure, or as unparsed.

What counts as a rule or as structure is written here a second time, from the text alone.
"""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwproof.flow import Family
from fwproof.ruleset import iptables, nft, nft_tables

from .counting import counted

ROOT = Path(__file__).parents[3]
FOLDERS = ("fixtures/rules", "fixtures/lab", "fixtures/hostile", "reports/sample/evidence")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
SAVES = [path for path in FILES if re.search(r"tables-.*save|\.v[46]$|rules\.v[46]", path.name)]
# hostile lists are damaged on purpose: what becomes of them is in test_hostile.py of the command line
LISTS = [path for path in FILES if path.name == "nft.txt" or path.name.endswith(".nft.json")]
LISTS = [path for path in LISTS if "hostile" not in path.parts]

RULE = re.compile(r"(?:\[\d+:\d+\] +)?(?:-A|--append|-I|--insert) +\S")
STRUCTURE = re.compile(r"\s*$|#|\*|:|COMMIT\s*$|(?:-N|--new-chain|-P|--policy) ")
"""Blank lines, comments, table marks, chains, ends of tables, and the commands that make chains and defaults."""


def text_of(path):
    return path.read_bytes().decode("utf-8", "surrogateescape")


def lines_of(text):
    return [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def short(path):
    return str(path.relative_to(ROOT))


def test_there_is_something_to_read():
    assert len(SAVES) > 15
    assert len(LISTS) >= 3
    assert sum(len(lines_of(text_of(path))) for path in SAVES) > 200


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("path", FILES, ids=short)
def test_every_line_of_any_file_is_kept(path, family):
    all_lines_are_kept(text_of(path), family)


PIECES = st.sampled_from([
    "*filter", "*nat", "*odd", "COMMIT", ":INPUT ACCEPT [0:0]", ":INPUT DROP [0:0]", ":A - [0:0]", ":A ACCEPT", ":",
    "*", "-A INPUT -j ACCEPT", "-A INPUT", "-A", "[1:2] -A INPUT -j A", "[x:2] -A INPUT -j A", "-I INPUT 1 -j DROP",
    "-N A", "-P INPUT DROP", "-P A DROP", "-X", "# comment", "", " ", "-A INPUT -m odd",
    '-A INPUT -m comment --comment "x',
    "\r", "\x00", "# Table `nat' is incompatible, use 'nft' tool.",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.text(max_size=30)))
def test_every_line_of_any_text_is_kept(lines):
    all_lines_are_kept("\n".join(lines), Family.IPV4)


def all_lines_are_kept(text, family):
    lines = lines_of(text)
    ruleset = iptables.parse(text, family)
    assert ruleset.lines == len(lines)
    rules = Counter(rule.line for rule in ruleset.rules())
    odd = {each.line for each in ruleset.unparsed}
    assert set(rules.values()) <= {1}, "a line became two rules"
    assert set(rules) | odd <= set(range(1, len(lines) + 1)) | ({0} if not lines else set())
    for number, line in enumerate(lines, 1):
        assert number in rules or number in odd or STRUCTURE.match(line), f"line {number} is lost: {line!r}"
        if number in rules:
            assert RULE.match(line), f"line {number} is no rule: {line!r}"


@pytest.mark.parametrize("path", SAVES, ids=short)
def test_as_many_rules_as_lines_of_rules(path):
    lines = lines_of(text_of(path))
    ruleset = iptables.parse(text_of(path), Family.IPV6 if "6" in path.name else Family.IPV4)
    odd = {each.line: each.text for each in ruleset.unparsed}
    stated = [number for number, line in enumerate(lines, 1) if RULE.match(line)]
    kept = [number for number in stated if number not in odd or any(rule.line == number for rule in ruleset.rules())]
    lost = [number for number in stated if number not in kept]
    assert len(ruleset.rules()) == len(kept)
    assert all(odd[number] == lines[number - 1] for number in lost), "a rule outside of tables is kept by its text"
    texts = Counter(re.sub(r"^\[\d+:\d+\] +", "", lines[number - 1]) for number in kept)
    assert Counter(rule.ref.text for rule in ruleset.rules()) == texts
    honest = counted(ruleset)
    assert honest.exact + honest.oracle + honest.opaque == len(kept)
    assert honest.unparsed == len(ruleset.unparsed)


@pytest.mark.parametrize("path", SAVES, ids=short)
def test_every_table_and_chain_that_is_stated_is_there(path):
    ruleset = iptables.parse(text_of(path), Family.IPV4)
    odd = {each.line for each in ruleset.unparsed}
    table = None
    for number, line in enumerate(lines_of(text_of(path)), 1):
        if line.startswith("*"):
            table = line[1:].strip()
            assert table in ruleset.tables
        elif line.startswith(":") and number not in odd:
            assert ruleset.chain(table, line[1:].split()[0]) is not None
        elif line.strip() == "COMMIT":
            table = None


def objects_of(path):
    return json.loads(text_of(path))["nftables"]


@pytest.mark.parametrize("path", LISTS, ids=short)
def test_every_object_of_nft_is_kept(path):
    objects = objects_of(path)
    document = nft.parse(text_of(path), path.name)
    assert document.objects == document.kept == len(objects)
    kinds = Counter(kind for each in objects for kind in each)
    tables = document.tables.values()
    assert len(document.tables) == kinds["table"]
    assert sum(len(table.chains) for table in tables) == kinds["chain"]
    assert sum(len(table.sets) for table in tables) == kinds["set"] + kinds["map"]
    assert sum(len(chain.rules) for table in tables for chain in table.chains.values()) == kinds["rule"]
    assert document.notes == kinds["metainfo"]
    named = {"table", "chain", "rule", "set", "map", "metainfo", "element"}
    assert sum(sum(table.others.values()) for table in tables) == sum(
        number for kind, number in kinds.items() if kind not in named
    )
    assert document.unparsed == ()


@pytest.mark.parametrize("path", LISTS, ids=short)
@pytest.mark.parametrize("family", Family)
def test_every_rule_of_nft_is_a_rule_of_the_families_that_meet_it(path, family):
    mine = {family.table_family, "inet", "netdev"}
    numbers = Counter()
    stated = set()
    for body in (each["rule"] for each in objects_of(path) if "rule" in each):
        place = body["family"], body["table"], body["chain"]
        numbers[place] += 1
        if body["family"] in mine:
            stated.add((*place, numbers[place]))
    ruleset = nft_tables.ruleset_of(nft.parse(text_of(path)), family, path.name)
    assert {(ref.family, ref.table, ref.chain, ref.rule) for ref in ruleset.printed()} == stated
    honest = counted(ruleset)
    assert honest.exact + honest.oracle + honest.opaque == len(stated)
    frames = [each for each in objects_of(path) if each.get("table", {}).get("family") in {"arp", "bridge"}]
    assert len([note for note in ruleset.comments if "sees frames" in note]) == len(frames)


HOSTILE = [
    {}, {"rule": None}, {"rule": {}}, {"rule": {"family": "ip", "table": "no", "chain": "c", "expr": []}},
    {"rule": {"family": "ip", "table": "t", "chain": "no", "expr": []}},
    {"rule": {"family": "ip", "table": "t", "chain": "c", "expr": 5}}, {"table": {"family": "ip", "name": "t"}},
    {"chain": {"family": "ip", "table": "t", "name": "c"}}, {"table": {"family": "mars", "name": "t"}}, 5, None, [],
    {"two": {}, "keys": {}}, {"newfangled": {"family": "ip", "table": "t", "name": "x"}},
    {"set": {"family": "ip", "table": "t", "name": "s", "elem": "odd"}}, {"element": {"family": "ip", "table": "t"}},
    {"rule": {"family": "ip", "table": "t", "chain": "c", "expr": [{"accept": None}]}},
]  # fmt: skip


def test_objects_that_make_no_sense_are_kept_as_such():
    good = [{"table": {"family": "ip", "name": "t"}}, {"chain": {"family": "ip", "table": "t", "name": "c"}}]
    document = nft.parse(json.dumps({"nftables": [*good, *HOSTILE]}))
    assert document.kept == document.objects == len(good) + len(HOSTILE)
    # the set, the unknown kind, and the last rule are what they say they are
    assert len(document.unparsed) == len(HOSTILE) - 3
    assert [each.line for each in document.unparsed] == sorted({each.line for each in document.unparsed})
