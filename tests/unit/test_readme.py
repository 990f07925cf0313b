"""README and the pages it hands over to: examples load, rules are those printed, commands and files exist."""

import os
import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fwproof.audit.waivers import RunWaivers
from fwproof.cli.agent import agent
from fwproof.cli.main import cli
from fwproof.planning.plan import plan
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy
from fwproof.probing.start import agent_sha256

from .shown import BLOCK, with_outputs

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in (
    "README.md", "docs/asking.md", "docs/logs.md", "docs/own-hosts.md", "docs/probing.md", "docs/waivers.md",
)}  # fmt: skip
README = PAGES["README.md"]
BLOCKS = {name: BLOCK.findall(text) for name, text in PAGES.items()}
YAML = {name: [text for kind, text in blocks if kind == "yaml"] for name, blocks in BLOCKS.items()}
INDENTED = [line[4:] for text in PAGES.values() for line in BLOCK.sub("", text).splitlines() if line.startswith("    ")]
COMMANDS = [line.partition("   #")[0].strip() for line in INDENTED if not line.startswith("checks/")]
OTHERS = [line for line in COMMANDS if not line.startswith("fwproof")]
INLINE = [" ".join(found.split()) for text in PAGES.values() for found in re.findall(r"`(fwproof [^`]+)`", text)]


def test_no_block_has_escaped_these_tests():
    kinds = sorted(kind for blocks in BLOCKS.values() for kind, _ in blocks)
    assert kinds == ["console", "console", "text", "text", *["yaml"] * 5]
    for name, text in PAGES.items():
        assert text.count("```") == 2 * len(BLOCKS[name])
    assert len(COMMANDS) > 8
    assert len(INLINE) > 3


def test_the_policy_of_the_lab_loads_with_the_lab_s_inventory(tmp_path):
    (policy := tmp_path / "readme.policy.yaml").write_text(YAML["README.md"][0])
    loaded = load_policy(policy, load_inventory(ROOT / "fixtures" / "inventory.yaml"))
    assert loaded.hosts == ("ai-server", "ai-server-published")


def test_the_waiver_is_about_checks_of_the_shipped_policy(tmp_path):
    (file := tmp_path / "waivers.yaml").write_text(YAML["docs/waivers.md"][0])
    inventory = load_inventory(ROOT / "fixtures" / "inventory.yaml")
    policy = load_policy(ROOT / "checks" / "ai-server.policy.yaml", inventory)
    waivers = RunWaivers(file)
    waivers.read_for(policy, inventory)
    checks = waivers.checks(policy, plan(policy, inventory))
    assert [check.id for check in checks] == ["waiver:W-2026-004[ai-server]"]


def test_the_example_for_one_s_own_hosts_loads(tmp_path):
    hosts, expected, _ = YAML["docs/own-hosts.md"]
    (inventory := tmp_path / "inventory.yaml").write_text(hosts.replace("sha256: …", f"sha256: {agent_sha256()}"))
    (policy := tmp_path / "web.policy.yaml").write_text(expected)
    assert load_policy(policy, load_inventory(inventory)).hosts == ("web1",)


def test_the_example_of_a_router_loads(tmp_path):
    (policy := tmp_path / "router.policy.yaml").write_text(
        f"policy: router\nhosts: gate\n{YAML['docs/own-hosts.md'][2]}"
    )
    loaded = load_policy(policy, load_inventory(ROOT / "fixtures" / "routers" / "inventory.yaml"))
    assert [(each.id, str(each.asked)) for each in loaded.forward] == [("web-out", "tcp/443"), ("page-in", "tcp/8080")]


def test_the_sudo_rules_are_what_the_command_prints():
    printing = next(words for words in map(shlex.split, INLINE) if words[:3] == ["fwproof", "agent", "sudoers"])
    printed = CliRunner().invoke(agent, printing[2:], catch_exceptions=False).stdout
    assert printed == next(text for kind, text in BLOCKS["docs/own-hosts.md"] if kind == "text")


@pytest.mark.parametrize("command", sorted({*COMMANDS, *INLINE} - set(OTHERS)))
def test_commands_parse(command):
    """Each is taken apart as far as the verb that would do it, with the options and arguments that verb knows."""
    words = shlex.split(command)[1:]
    verb, context = cli, click.Context(cli, info_name="fwproof")
    while isinstance(verb, click.Group) and words[0] != "--help":
        name = words.pop(0)
        verb = verb.get_command(context, name)
        assert verb is not None, f"{name!r} in {command!r}"
        context = click.Context(verb, parent=context, info_name=name)
    if words != ["--help"]:
        verb.make_context(verb.name, words, resilient_parsing=isinstance(verb, click.Group))


@pytest.mark.parametrize("name", PAGES)
def test_answers_are_what_the_commands_print(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    fresh = with_outputs(PAGES[name])
    if os.environ.get("FWPROOF_GOLDEN") == "write":
        (ROOT / name).write_text(fresh, encoding="utf-8")
    assert (ROOT / name).read_text(encoding="utf-8") == fresh, "FWPROOF_GOLDEN=write, then look"


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [line.split()[1] for line in COMMANDS if line.startswith("make ")]
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_other_command_is_a_known_one():
    known = ("make ", "pytest checks --inventory ", ". .venv/bin/activate", "cd audit")
    assert [line for line in OTHERS if not line.startswith(known)] == []
    assert "fwproof" in {script.name for script in entry_points(group="console_scripts")}


def test_ids_and_links_lead_somewhere():
    plan = (ROOT / "tests" / "golden" / "plan-ai-server.txt").read_text(encoding="utf-8")
    ids = [line.partition("::")[2] for line in INDENTED if line.startswith("checks/")]
    assert ids
    assert all(name in plan for name in ids)
    for name, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#]+)", text):
            assert ((ROOT / name).parent / target).exists() or target.startswith("reference/"), target


def test_the_readme_leads_to_every_page_that_it_hands_over_to():
    assert [name for name in PAGES if name != "README.md" and f"({name})" not in README] == []
    assert README.count("\n") < 220, "what it does not need is on a page of its own"
