"""CSV: RFC 4180, the columns of the contract, no formulas, and the list of what is allowed."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fwproof.report.table import ALLOWED, CHECKS, render_allowed, render_checks
from fwproof.results import Allowance, AllowedRule, Results, Verdict

RULE = AllowedRule(place="ip filter INPUT rule 3", text="-A INPUT -p tcp --dport 443 -j ACCEPT", packets=12)


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))


@pytest.fixture
def claimed(run) -> Results:
    """A run of one claim that passes, with all that is known of it."""
    allowance = Allowance(service="tcp/443", peers="office", networks=["192.0.2.0/24"], rules=[RULE, RULE])
    check = replace(
        run.checks[0], kind="claim", verdict=Verdict.PASS, owner="web team", justification="CHG-7", allowance=allowance
    )
    return replace(run, checks=(check,))


def test_every_check_is_a_row_in_the_columns_of_the_contract(run, recorded):
    for results in (run, recorded, replace(run, checks=())):
        content = render_checks(results)
        assert content.split(b"\r\n")[0].decode() == ",".join(f'"{name}"' for name in CHECKS)
        found = rows(content)
        assert [row["check"] for row in found] == [check.id for check in results.checks]
        assert Counter(row["verdict"] for row in found) == Counter(check.verdict.value for check in results.checks)


def test_rfc_4180(hostile):
    for content in (render_checks(hostile), render_allowed(hostile)):
        assert content.endswith(b"\r\n")
        body = content.removesuffix(b"\r\n").split(b"\r\n")
        assert not any(b"\n" in line or b"\r" in line for line in body)
        assert all(re.fullmatch(rb'"(?:[^"]|"")*"(?:,"(?:[^"]|"")*")*', line) for line in body)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "\ufeff=1", "\uff1d1", "\x00=1"]
)
def test_no_field_is_a_formula(run, text):
    check = replace(run.checks[0], cause=text, owner=text, controls={text: [text]}, verdict=Verdict.FAIL)
    allowance = Allowance(service=text, peers=text, networks=[text], rules=[replace(RULE, place=text, text=text)])
    results = replace(run, checks=(replace(check, allowance=allowance),))
    fields = [field for content in (render_checks(results), render_allowed(results)) for row in rows(content)
              for field in row.values()]  # fmt: skip
    assert [field for field in fields if field.startswith(tuple("=+-@\t\r\n\uff1d"))] == []
    assert any("1" in field and field[:1] in {"'", "\\"} for field in fields)


def test_a_long_text_fits_into_a_cell(hostile_of):
    assert max(len(value) for row in rows(render_checks(hostile_of("long"))) for value in row.values()) <= 32_767


def test_what_is_allowed_to_whom_and_why(claimed):
    (row,) = rows(render_allowed(claimed))
    assert list(row) == list(ALLOWED)
    told = {"approved": "yes", "port": "tcp/443", "peers": "office", "networks": "192.0.2.0/24", "owner": "web team",
            "justification": "CHG-7", "packets": "24", "verdict": "pass"}  # fmt: skip
    assert {name: row[name] for name in told} == told
    assert "ip filter INPUT rule 3: -A INPUT -p tcp --dport 443 -j ACCEPT" in row["rules"]


def test_hits_that_are_not_known_are_not_zero(claimed):
    (check,) = claimed.checks
    partly = replace(check.allowance, rules=[RULE, replace(RULE, packets=None)])
    none = replace(check.allowance, rules=[])
    for allowance in (partly, none):
        (row,) = rows(render_allowed(replace(claimed, checks=(replace(check, allowance=allowance),))))
        assert row["packets"] == ""


def test_what_passes_without_approval_is_listed_too(run, recorded):
    for results in (run, recorded):
        found = [row for row in rows(render_allowed(results)) if row["approved"] == "no"]
        wanted = [c.id for c in results.checks if c.kind.endswith("-default") and c.verdict is Verdict.FAIL]
        assert [row["check"] for row in found] == wanted
        assert wanted
        assert all(row["reason"] and row["rules"] for row in found)


def test_a_check_that_passes_is_no_opening(run):
    check = next(c for c in run.checks if c.kind == "inbound-default" and c.verdict is Verdict.PASS)
    assert rows(render_allowed(replace(run, checks=(check,)))) == []


def test_the_columns_are_those_of_the_documented_contract():
    text = (Path(__file__).parents[2] / "docs/reports.md").read_text(encoding="utf-8")
    section = text.split("## CSV")[1].split("## SARIF")[0]
    blocks = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    assert [tuple(block.split()) for block in blocks] == [CHECKS, ALLOWED]
