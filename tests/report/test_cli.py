"""``fwproof report``: the same bytes as the run wrote, offline."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys

import pytest
from click.testing import CliRunner

from fwproof.cli.report import report, wants_color
from fwproof.errors import FwproofError, InputError, UsageError
from fwproof.report.document import read_results
from fwproof.report.formats import FORMATS
from fwproof.report.junit import Dialect
from fwproof.report.write import write_run


@pytest.fixture
def folder(run, evidence, tmp_path):
    return write_run(run, evidence, tmp_path / "reports")


def call(*words: object):
    return CliRunner().invoke(report, [str(word) for word in words], catch_exceptions=False)


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("html", "report.html"),
        ("junit", "junit.xml"),
        ("json", "results.json"),
        ("markdown", "summary.md"),
        ("csv", "findings.csv"),
        ("csv-allowed", "allowed.csv"),
    ],
)
def test_renders_what_the_run_wrote(folder, form, name):
    output = folder.parent / "again"
    assert call("--format", form, folder / "results.json", "-o", output).exit_code == 0
    assert output.read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_standard_output_holds_the_report_alone(folder, form):
    result = call("--format", form, folder)
    assert result.stdout_bytes[:200] == FORMATS[form](read_results(folder))[:200]


def test_the_newest_run_is_the_default(folder, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    assert call().stdout.endswith("inconclusive 1 · not applicable 0\n")


def test_bad_input_is_one_message(folder):
    (folder / "results.json").write_text("{")
    with pytest.raises(InputError, match=r"results\.json:1:2: not JSON"):
        call(folder)


def test_an_output_that_cannot_be_written(folder):
    with pytest.raises(FwproofError, match=r"cannot write .*nowhere/x: No such file"):
        call(folder, "-o", folder / "nowhere/x")


def test_unknown_format(folder):
    result = call("--format", "pdf", folder)
    assert result.exit_code == 2
    assert "'html'" in result.stderr


def test_dialects_of_junit(folder):
    strict, rich = (call("--format", "junit", "--junit-dialect", each, folder).stdout_bytes for each in Dialect)
    assert strict == (folder / "junit.xml").read_bytes() != rich
    assert rich == FORMATS["junit-rich"](read_results(folder))
    placed = call("--format", "junit", "--junit-dialect", "rich", "--evidence", "reports/latest", folder).stdout
    assert "[[ATTACHMENT|reports/latest/evidence/" in placed


@pytest.mark.parametrize("words", [("--junit-dialect", "rich"), ("--evidence", "x")])
def test_options_of_junit_go_with_junit(folder, words):
    with pytest.raises(UsageError, match="go with --format junit"):
        call("--format", "csv", *words, folder)


@pytest.mark.parametrize(
    ("environment", "terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": ""}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_who_gets_colour(environment, terminal, wanted):
    assert wants_color(environment, terminal=terminal) is wanted


@pytest.mark.parametrize(
    ("words", "wanted"), [((), False), (("--color", "always"), True), (("--color", "never"), False)]
)
def test_a_pipe_gets_no_colour_unless_asked(folder, monkeypatch, words, wanted):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert ("\x1b[" in call(*words, folder).stdout) is wanted


def test_colour_on_a_real_terminal_and_none_in_a_file(folder, tmp_path):
    program = [sys.executable, "-c", "from fwproof.cli.main import main; main()", "report", str(folder)]
    plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    for environment, wanted in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)):
        mine, theirs = pty.openpty()
        with subprocess.Popen(program, stdout=theirs, stdin=subprocess.DEVNULL, env=plain | environment) as running:
            os.close(theirs)
            shown = b""
            with contextlib.suppress(OSError):  # EIO: the other end was closed
                while part := os.read(mine, 65536):
                    shown += part
            os.close(mine)
        assert running.returncode == 0
        assert (b"\x1b[" in shown) is wanted
        assert b"fwproof: planned" in shown
