"""``fwproof audit``: what it hands to pytest."""

import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli


@pytest.mark.parametrize(
    ("words", "handed"),
    [
        ([], ["checks"]),
        (["--trace"], ["--trace-rules", "checks"]),
        (["--engine", "tls://h:1"], ["--fwproof-engine", "tls://h:1", "checks"]),
        (["--exit-zero", "--fail-on", "high"], ["--fail-on", "high", "--exit-zero", "checks"]),
        (
            ["--fw-formats", "hdf,sarif", "--junit-dialect", "rich", "--fw-ci", "plain"],
            ["--fw-formats", "hdf,sarif", "--junit-dialect", "rich", "--fw-ci", "plain", "checks"],
        ),
        (
            ["--inventory", "i.yaml", "-k", "web", "--trace"],
            ["--inventory", "i.yaml", "--trace-rules", "-k", "web", "checks"],
        ),
    ],
)
def test_what_pytest_is_told(monkeypatch, words, handed):
    """Pytest's own --trace would start a debugger."""
    told = []
    monkeypatch.setattr("os.execv", lambda _path, argv: told.extend(argv))
    result = CliRunner().invoke(cli, ["audit", *words], catch_exceptions=False)
    assert result.exit_code == 0
    assert told[1:] == ["-m", "pytest", *handed]
