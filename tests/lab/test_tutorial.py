"""The tutorial, typed: each of its commands in turn on a lab, and what it prints compared with the page."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tutorial/lab.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FWPROOF = [sys.executable, "-c", "from fwproof.cli.main import main; main()"]
STATUS = {"-k draft": 6, "--reports broken": 1, "lab as outside": 124}
"""What ends with another status than 0, by words of the command."""
DRAFT = "first/checks/ai-server.policy.yaml"


def pattern(shown):
    """What is printed, as the page shows it: a line `…` stands for any lines, and `…` within a line for any text."""
    lines = ("(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + "\n" for line in shown.splitlines())
    return "".join(lines)


def commands(text):
    """Each command of a block with what it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def edited(text, change):
    """A text after an edit of the page: lines with ``-`` go, those with ``+`` come in their place."""
    lines = change.splitlines()
    before = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
    after = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
    found, count = re.subn(f"^{pattern(before)}", lambda _: after, text, flags=re.MULTILINE)
    assert count == 1, change
    return found


@pytest.fixture
def folder(tmp_path):
    """A folder with what a clone has."""
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    return tmp_path


def test_the_page_has_nothing_that_is_not_typed():
    assert {kind for kind, _ in BLOCKS} == {"console", "diff"}
    assert sum(len(list(commands(text))) for kind, text in BLOCKS if kind == "console") > 10
    assert PAGE.count("```") == 2 * len(BLOCKS)


def test_what_is_shown_is_compared():
    assert re.fullmatch(pattern("a\n…\nb … c\n"), "a\n1\n2\nb 3 c\n")
    assert re.fullmatch(pattern("a\n…\nb\n"), "a\nb\n")
    assert not re.fullmatch(pattern("a\n…\nb\n"), "a\n1\n")
    assert not re.fullmatch(pattern(""), "a\n")


def test_an_edit_takes_out_and_puts_in():
    assert edited("a\nb\nc\nd\n", " a\n-…\n+x\n d") == "a\nx\nd\n"
    with pytest.raises(AssertionError):
        edited("a\n", "-b")


def test_every_command_does_what_the_page_shows(folder):
    name = f"tutorial-{os.getpid()}"
    environment = {**os.environ, "FWPROOF_LAB_NAME": name, "NO_COLOR": "1", "COLUMNS": "100"}
    audits = []
    try:
        for kind, text in BLOCKS:
            if kind == "diff":
                policy = folder / DRAFT
                policy.write_text(edited(policy.read_text(encoding="utf-8"), text), encoding="utf-8")
                continue
            for command, shown in commands(text):
                done = typed(folder, environment, command)
                printed = done.stdout.replace(name, "lab")
                assert re.fullmatch(pattern(shown), printed), f"$ {command}\n{printed}"
                assert done.returncode == next((n for words, n in STATUS.items() if words in command), 0), printed
                audits += [done.returncode] if " audit " in command else []
    finally:
        subprocess.run([*FWPROOF, "lab", "down"], env=environment, check=False, capture_output=True)
    assert audits == [6, 0, 1, 0]
    assert (folder / "first/reports/latest/report.html").is_file()


def typed(folder, environment, command):
    program, *words = shlex.split(command)
    assert program == "fwproof"
    return subprocess.run(
        [*FWPROOF, *words], cwd=folder, env=environment, text=True, check=False, timeout=180,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
