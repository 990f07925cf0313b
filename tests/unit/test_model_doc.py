"""docs/model.md by itself: its commands print what it says, its Python runs, its YAML loads, its tables are the code's.

FWPROOF_GOLDEN=write writes the outputs and the columns that are the code's anew.
"""

import doctest
import json
import os
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli
from fwproof.flow import Family
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy
from fwproof.ruleset.model import worst
from fwproof.ruleset.nft_text import statement_text
from fwproof.ruleset.options import MODULES, TARGETS
from fwproof.semantics.model import HostModel
from fwproof.semantics.understood import WORDS

from .shown import BLOCK, with_outputs

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "model.md"
TEXT = DOC.read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([^|]*)\| `(.*)` \|[^|]*\|$", re.MULTILINE)
SETS = "create admins hash:ip\nadd admins 10.0.0.1\n"
NFT = ROOT / "fixtures" / "rules" / "everything.nft.json"
ENDS = frozenset({"accept", "drop", "return", "continue", "jump", "goto", "counter", "comment"})
ALONE = frozenset({
    "reject", "log", "masquerade", "redirect", "iif", "iifname", "oif", "oifname", "iiftype", "meter", "jhash",
    "notrack", "quota", "limit", "numgen", "exthdr",
})  # fmt: skip


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def sort_of(name, example):
    family = Family.IPV6 if "(IPv6)" in name else Family.IPV4
    table = f"*filter\n:INPUT ACCEPT [0:0]\n:WEB - [0:0]\n-A INPUT {example}\nCOMMIT\n"
    save = "iptables_save" if family is Family.IPV4 else "ip6tables_save"
    (rule,) = HostModel.build(**{save: table}, ipset_save=SETS).rules(family)
    return WORDS[rule.sort]


def beginnings():
    """Return the beginnings of the statements of everything.nft, by how far rules of them alone are understood."""
    found = {word: set() for word in WORDS.values()}
    model = HostModel.build(nft_json=NFT.read_text(encoding="utf-8"))
    for ruleset in (ruleset for family in Family for ruleset in model.rulesets[family]):
        for ref, parts in ruleset.printed().items():
            word = WORDS[worst(part.sort for part in parts)]
            heads = {head_of(each) for each in STATEMENTS[ref.family, ref.table, ref.chain, ref.rule]} - {""}
            if ref.family != "netdev" and (word == "exact" or len(heads) == 1):
                found[word] |= heads
    return found


def head_of(statement):
    """Return the first words of a statement; none of a verdict, a counter or a comment."""
    ((kind, _),) = statement.items()
    first, *more = statement_text(statement).split()[:2]
    if first in ENDS:
        return ""
    if first in {"add", "update"}:
        return f"{first} @…"
    words = [first, *([] if first in ALONE else more)]
    return " ".join([*words, *(["set"] if kind in {"mangle", "ct helper"} else [])])


def statements_of():
    found, numbers = {}, {}
    for body in (each["rule"] for each in json.loads(NFT.read_text())["nftables"] if "rule" in each):
        place = body["family"], body["table"], body["chain"]
        numbers[place] = numbers.get(place, 0) + 1
        found[*place, numbers[place]] = body["expr"]
    return found


STATEMENTS = statements_of()


def with_tables(text):
    """Return the page with the columns that the code decides."""
    text = ROW.sub(lambda row: f"| {row[1]}| `{row[2]}` | {sort_of(row[1], row[2])} |", text)
    for word, heads in beginnings().items():
        listed = ", ".join(f"`{head}`" for head in sorted(heads)) or "none"
        text = re.sub(
            rf"^\| {word} \| [^|]*\|$", lambda _, w=word, x=listed: f"| {w} | {x} |", text, flags=re.MULTILINE
        )
    return text


def rendered():
    return with_tables(with_outputs(TEXT))


def test_outputs_and_tables_are_the_code_s():
    fresh = rendered()
    if os.environ.get("FWPROOF_GOLDEN") == "write":
        DOC.write_text(fresh, encoding="utf-8")
    assert DOC.read_text(encoding="utf-8") == fresh, "docs/model.md is out of date: FWPROOF_GOLDEN=write, then look"


def test_a_wrong_output_and_a_wrong_column_are_seen():
    (first, *_) = re.findall(r"^```console\n.*?^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert with_outputs(first.replace("accept", "drop")) == first
    assert with_tables("| limit | `-m limit --limit 5/sec` | exact |").endswith("| bounded |")
    assert with_tables("| odd | `-m odd` | exact |").endswith("| unknown |")
    assert with_tables("| exact | nothing |") != "| exact | nothing |"


def documented(section):
    part = TEXT.split(f"### {section}\n")[1].split("\n### ")[0].split("\n## ")[0]
    return {name.split(" ")[0].rstrip(",") for name, _ in ROW.findall(part)}, ROW.findall(part)


def test_every_match_and_target_that_the_code_knows_is_listed():
    matches, rows = documented("Matches of iptables and ip6tables")
    assert set(MODULES) - matches == set(), "add a row with an example to docs/model.md"
    assert all(f"-m {name.split(' ')[0].rstrip(',')} " in f"{example} " for name, example in rows
               if name.split(" ")[0].rstrip(",") in MODULES)  # fmt: skip
    known = set(TARGETS)
    assert len(known) > 30
    listed, rows = documented("Targets of iptables and ip6tables")
    assert known - listed == set(), "add a row with an example to docs/model.md"
    assert all(f"-j {name.split(' ')[0]}" in example for name, example in rows if name.split(" ")[0] in known)


def test_the_statements_of_nft_are_there():
    found = beginnings()
    assert len(found["exact"]) > 40
    assert {"limit", "meta skuid", "numgen", "fib daddr"} <= found["bounded"]
    assert {"ct state", "tcp dport", "ip saddr", "dnat ip", "ip ttl", "meta mark set"} <= found["exact"]


def test_the_python_runs():
    examples = doctest.DocTestParser().get_doctest(
        "\n".join(body for kind, body in BLOCK.findall(TEXT) if kind == "pycon"), {}, "docs/model.md", str(DOC), 0
    )
    said = []
    result = doctest.DocTestRunner(verbose=False).run(examples, out=said.append)
    assert result.failed == 0, "".join(said)
    assert result.attempted > 20


def test_the_policy_loads(tmp_path):
    (body,) = [body for kind, body in BLOCK.findall(TEXT) if kind == "yaml"]
    (tmp_path / "inventory.yaml").write_text(
        "zones: {admin: [10.0.0.1]}\nhosts:\n  web1: {addresses: [203.0.113.80]}\n"
        "  jump: {addresses: [10.0.0.1], vantage: true, access: root}\n"
    )
    (tmp_path / "web.policy.yaml").write_text(body)
    assert load_policy(tmp_path / "web.policy.yaml", load_inventory(tmp_path / "inventory.yaml")).hosts == ("web1",)


def test_indented_commands_parse_and_links_lead_somewhere():
    prose = BLOCK.sub("", TEXT)
    commands = [line.strip() for line in prose.splitlines() if line.startswith("    fwproof ")]
    assert len(commands) > 1
    for command in commands:
        name, *words = shlex.split(command)[1:]
        verb = cli.get_command(None, name)
        verb.make_context(name, words)
    anchors = {re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
               for line in TEXT.splitlines() if line.startswith("#")}  # fmt: skip
    for target in re.findall(r"\]\(([^)]+)\)", prose):
        assert target.removeprefix("#") in anchors if target.startswith("#") else (DOC.parent / target).exists(), target
    assert {kind for kind, _ in BLOCK.findall(TEXT)} == {"console", "pycon", "yaml"}


WEB = ROOT / "fixtures" / "rules" / "web"
FILES = ("--iptables-save", str(WEB / "rules.v4"))
ASKED = {
    "explain": (*FILES, "--packet", "src=192.0.2.7 dst=203.0.113.80 proto=tcp dport=22"), "query": FILES, "lint": FILES,
    "diff": (str(WEB), str(ROOT / "fixtures" / "rules" / "web-next")), "understood": FILES,
}  # fmt: skip


@pytest.mark.parametrize("verb", ASKED)
def test_the_keys_of_the_json_are_listed(verb):
    section = re.search(rf"^### {verb}: .*?(?=^##)", TEXT, re.MULTILINE | re.DOTALL)[0]
    document = json.loads(CliRunner().invoke(cli, [verb, *ASKED[verb], "--format", "json"]).stdout)
    keys = set(document)
    for name in ("openings", "findings", "changes", "sources"):
        keys |= set(document.get(name, [{}])[0])
    keys |= set((document["sources"][0]["inexact"] or [{}])[0] if verb == "understood" else ())
    assert len(keys) > 4
    assert {key for key in keys if f'"{key}"' not in section} == set()
