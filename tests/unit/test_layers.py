"""The map of ARCHITECTURE.md, guarded: a stage imports only stages to its left."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "fwproof"
VALUES = {"errors", "flow", "decision", "inventory", "snapshot", "observation", "results", "flows", "measured", "forms"}
VALUES |= {"run_record", "codec", "redact", "controls", "ages", "digits"}
ALLOWED = {
    "flows": {"flow", "policy"},
    "policy": VALUES - {"flows"},
    "farends": {"policy", *VALUES},
    "plan": {"policy", *VALUES},
    "planning": {"policy", "plan", "farends", *VALUES},
    "advice": VALUES | {"policy", "plan"},
    "ruleset": VALUES,
    "semantics": {"ruleset", *VALUES},
    "evidence": VALUES,
    "frontends": VALUES | {"evidence", "ruleset", "semantics"},
    "hosts": VALUES | {"evidence"},
    "probing": VALUES | {"hosts", "policy"},
    "covered": VALUES | {"semantics"},
    "facts": VALUES | {"policy", "covered", "evidence", "semantics", "frontends"},
    "judging": VALUES
    | {"policy", "plan", "farends", "facts", "covered", "evidence", "ruleset", "semantics"}
    | {"frontends"},
    "drafting": VALUES
    | {"policy", "plan", "planning", "facts", "judging", "evidence", "ruleset", "semantics", "frontends"},
    "explaining": VALUES | {"evidence", "ruleset", "semantics", "frontends", "flows"},
    "review": VALUES | {"policy", "evidence", "ruleset", "semantics"},
    "report": VALUES | {"policy"},
    "trends": VALUES | {"report", "semantics", "judging", "audit"},
    "lab": VALUES | {"policy", "hosts", "probing"},
    "audit": VALUES
    | {"policy", "plan", "hosts", "ruleset", "semantics", "probing", "evidence", "facts", "judging", "report", "lab"}
    | {"farends", "covered", "frontends", "planning"},
    "gating": VALUES
    | {"policy", "plan", "hosts", "ruleset", "semantics", "probing", "facts", "judging", "report", "lab", "audit"}
    | {"farends", "frontends", "planning"},
    "verify": VALUES | {"policy", "plan", "planning", "facts", "audit", "report"},
    "codec": {"errors"},
    "redact": set(),
}
PURE = {
    "policy",
    "ruleset",
    "semantics",
    "evidence",
    "judging",
    "flows",
    "facts",
    "review",
    "frontends",
    "codec",
    "redact",
}
PURE |= {"advice", "drafting", "explaining", "planning"}
WORLD = {"socket", "subprocess", "paramiko", "scapy", "requests", "urllib", "http"}


def part_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def wrong_edges(part: str, path: Path) -> set[str]:
    used = {n.split(".")[1] for n in imports_of(path) if n.startswith("fwproof.") and n.count(".") >= 1}
    known = {p.stem for p in SOURCE.glob("*.py")} | {p.name for p in SOURCE.iterdir() if p.is_dir()}
    return (used & known) - ALLOWED[part] - {part}


FILES = [path for path in sorted(SOURCE.rglob("*.py")) if part_of(path) in ALLOWED]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_stage_imports_only_stages_to_its_left(path):
    assert not wrong_edges(part_of(path), path)


@pytest.mark.parametrize("path", [p for p in FILES if part_of(p) in PURE], ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_pure_stage_does_not_touch_the_world(path):
    assert not {name.split(".")[0] for name in imports_of(path)} & WORLD


def test_a_wrong_edge_is_seen(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("from fwproof.report.html import render_html\nfrom fwproof.flow import Flow\n")
    assert wrong_edges("semantics", bad) == {"report"}
