"""``fwproof waivers``: what is accepted and for how long, in words and as JSON."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli

TODAY = datetime.now(UTC).date()
ONE = """\
  - id: {id}
    policy: small
    checks: site
    owner: Ada
    approver: Grace
    reason: Moved next month
    created: {created}
    expires: {expires}
"""


def day(days):
    return (TODAY + timedelta(days=days)).isoformat()


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fixtures").mkdir()
    (tmp_path / "fixtures/inventory.yaml").write_text("hosts: {web: {addresses: [192.0.2.1]}}\n")
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks/a.policy.yaml").write_text("policy: small\n")

    def run(*ends, words=()):
        each = "".join(ONE.format(id=f"W-{end}", created=day(-100), expires=day(end)) for end in ends)
        (tmp_path / "checks/waivers.yaml").write_text(f"waivers:\n{each}" if each else "waivers: []\n")
        return CliRunner().invoke(cli, ["waivers", *words], catch_exceptions=False)

    return run


def test_the_one_that_ends_first_comes_first(run):
    done = run(50, 5)
    assert done.exit_code == 0
    heads = [line for line in done.output.splitlines() if line.startswith("W-")]
    assert heads == [f"W-5: in force until {day(5)}, 5 days left", f"W-50: in force until {day(50)}, 50 days left"]
    assert "Grace" in done.output
    assert done.output.endswith(f"2 waivers on {TODAY} (UTC)\n")


def test_one_that_does_not_hold_is_told_by_the_status(run):
    done = run(50, -5)
    assert done.exit_code == 1
    assert "W--5: EXPIRED" in done.output


@pytest.mark.parametrize(("words", "shown"), [
    (("--expiring", "30d"), ["W--5", "W-5"]), (("--expiring", "5"), ["W--5", "W-5"]), (("--expired",), ["W--5"]),
    ((), ["W--5", "W-5", "W-50"]),
])  # fmt: skip
def test_which_are_shown(run, words, shown):
    done = run(50, 5, -5, words=(*words, "--format", "json"))
    document = json.loads(done.output)
    assert document["schema"] == "fwproof-waivers-1"
    assert [each["id"] for each in document["waivers"]] == shown


def test_no_waivers_is_an_answer(run):
    assert run().output == f"0 waivers on {TODAY} (UTC)\n"


@pytest.mark.parametrize("words", [("--expiring", "soon"), ("nowhere.yaml",)])
def test_what_cannot_be_answered_is_one_message(run, words):
    from fwproof.errors import FwproofError

    with pytest.raises(FwproofError) as caught:
        run(5, words=words)
    assert caught.value.exit_code == 4
