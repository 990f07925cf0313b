"""``fwproof report``: the same bytes as the run wrote, offline."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from fwproof.cli.report import report
from fwproof.errors import FwproofError, InputError
from fwproof.report.document import read_results
from fwproof.report.formats import FORMATS
from fwproof.report.write import write_run


@pytest.fixture
def folder(run, evidence, tmp_path):
    return write_run(run, evidence, tmp_path / "reports")


def call(*words: object):
    return CliRunner().invoke(report, [str(word) for word in words], catch_exceptions=False)


@pytest.mark.parametrize(
    ("form", "name"),
    [("html", "report.html"), ("junit", "junit.xml"), ("json", "results.json"), ("markdown", "summary.md")],
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
