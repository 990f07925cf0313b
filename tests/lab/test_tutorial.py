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
FAILS = {"fwproof audit": 1, "fwproof lab as outside": 124}
"""What ends with another status than 0 somewhere on the page."""


def pattern(shown):
    """What is printed, as the page shows it: a line `…` stands for any lines, and `…` within a line for any text."""
    lines = ("(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + "\n" for line in shown.splitlines())
    return "".join(lines)


def commands():
    """Each command of the page with what it prints."""
    for kind, text in BLOCKS:
        if kind == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, shown = part.partition("\n")
                yield command, shown


@pytest.fixture
def folder(tmp_path):
    """A folder with what a clone has, and the policy that the page has the reader save."""
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    (policy,) = [text for kind, text in BLOCKS if kind == "yaml"]
    assert "Save this as `first.policy.yaml`" in PAGE
    (tmp_path / "first.policy.yaml").write_text(policy)
    return tmp_path


def test_the_page_has_nothing_that_is_not_typed():
    assert {kind for kind, _ in BLOCKS} == {"console", "yaml"}
    assert len(list(commands())) > 10
    assert PAGE.count("```") == 2 * len(BLOCKS)


def test_what_is_shown_is_compared():
    assert re.fullmatch(pattern("a\n…\nb … c\n"), "a\n1\n2\nb 3 c\n")
    assert re.fullmatch(pattern("a\n…\nb\n"), "a\nb\n")
    assert not re.fullmatch(pattern("a\n…\nb\n"), "a\n1\n")
    assert not re.fullmatch(pattern(""), "a\n")


def test_every_command_does_what_the_page_shows(folder):
    name = f"tutorial-{os.getpid()}"
    environment = {**os.environ, "FWPROOF_LAB_NAME": name, "NO_COLOR": "1", "COLUMNS": "100"}
    audits = []
    try:
        for command, shown in commands():
            program, *words = shlex.split(command)
            assert program == "fwproof"
            done = subprocess.run(
                [*FWPROOF, *words], cwd=folder, env=environment, text=True, check=False, timeout=180,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            printed = done.stdout.replace(name, "lab")
            assert re.fullmatch(pattern(shown), printed), f"$ {command}\n{printed}"
            allowed = {0} | {status for start, status in FAILS.items() if command.startswith(start)}
            assert done.returncode in allowed, printed
            if words[0] == "audit":
                audits.append(done.returncode)
    finally:
        subprocess.run([*FWPROOF, "lab", "down"], env=environment, check=False, capture_output=True)
    assert audits == [0, 1, 0]
    assert (folder / "reports/latest/report.html").is_file()
