"""Waivers in a whole run: verdicts, exit codes, the waivers' own checks, and what stays a failure."""

from datetime import UTC, datetime, timedelta

import pytest

TODAY = datetime.now(UTC).date()
FAILING = "site[web-db-ipv4]"


def day(days):
    return (TODAY + timedelta(days=days)).isoformat()


def waiver(checks=f"'{FAILING}'", created=-10, expires=20, **more):
    extra = "".join(f"    {key}: {value}\n" for key, value in more.items())
    return (
        f"waivers:\n  - id: W-1\n    policy: small\n    checks: {checks}\n    owner: Ada\n    approver: Grace\n"
        f"    ticket: RISK-7\n    reason: Moved next month\n    created: {day(created)}\n"
        f"    expires: {day(expires)}\n{extra}"
    )


@pytest.fixture
def failing(audit):
    """The audit in which one check fails, for a cause of its own."""
    audit.verdicts[FAILING] = "fail"

    def run(text, *words):
        audit.file("checks/waivers.yaml", text)
        return audit.run(*(words or ("checks",)))

    failing.audit = audit
    return run


def checks(audit):
    return {check["id"]: check for check in audit.results["checks"]}


def test_a_waived_deviation_is_shown_and_fails_nothing(failing, audit):
    done = failing(waiver())
    assert done.ret == 0
    found = checks(audit)
    assert found[FAILING]["verdict"] == "waived"
    assert found[FAILING]["waiver"] == "W-1"
    assert "the reason of" in found[FAILING]["reason"]
    assert "accepted by Grace, owned by Ada (RISK-7): Moved next month" in found[FAILING]["reason"]
    own = found["waiver:W-1[web]"]
    assert (own["verdict"], own["reason"]) == ("pass", "it covers 1 of 1 checks, with 20 days left")
    assert own["file"].endswith("checks/waivers.yaml")
    assert own["line"] == 2
    assert audit.results["counts"]["waived"] == 1
    (record,) = audit.results["run"]["waivers"]
    assert (record["id"], record["state"], record["days_left"]) == ("W-1", "in force", 20)
    assert "waived 1" in done.out.replace("=", " ") or "waived" in done.out


def test_strict_waivers_fail_a_run_that_needs_one(failing, audit):
    assert failing(waiver(), "checks", "--strict-waivers").ret == 1
    assert checks(audit)[FAILING]["verdict"] == "waived"


def test_strict_waivers_alone_fail_nothing(audit):
    assert audit.run("checks", "--strict-waivers").ret == 0


@pytest.mark.parametrize(("given", "said"), [
    ({"expires": -1}, "1 day ago"), ({"expires": 171}, "it lasts 181 days, and at most 180 are allowed"),
    ({"created": 2}, "which is yet to come"),
])  # fmt: skip
def test_a_waiver_that_does_not_hold_fails_with_its_deviation(failing, audit, given, said):
    assert failing(waiver(**given)).ret == 1
    found = checks(audit)
    assert found[FAILING]["verdict"] == "fail"
    assert said in found[FAILING]["reason"]
    assert found["waiver:W-1[web]"]["verdict"] == "fail"
    assert said in found["waiver:W-1[web]"]["reason"]


def test_another_finding_of_the_same_check_is_not_waived(failing, audit):
    assert failing(waiver(cause="'the cause of f*'")).ret == 0
    assert failing(waiver(cause="another cause")).ret == 1
    found = checks(audit)
    assert "is about another finding" in found[FAILING]["reason"]
    assert found["waiver:W-1[web]"]["verdict"] == "fail", "what it is about is gone"


def test_a_stale_waiver_fails(audit):
    audit.file("checks/waivers.yaml", waiver())
    assert audit.run().ret == 1
    own = checks(audit)["waiver:W-1[web]"]
    assert (own["verdict"], own["cause"]) == ("fail", "a waiver is stale")


@pytest.mark.parametrize("verdict", ["error", "inconclusive"])
def test_what_could_not_be_told_is_never_waived(audit, verdict):
    audit.verdicts[FAILING] = verdict
    audit.file("checks/waivers.yaml", waiver())
    assert audit.run().ret == 6
    found = checks(audit)
    assert found[FAILING]["verdict"] == verdict
    assert found["waiver:W-1[web]"]["verdict"] == "inconclusive"


def test_a_part_of_the_run_does_not_tell_a_stale_waiver(audit):
    audit.file("checks/waivers.yaml", waiver())
    assert audit.run("checks", "-k", "waiver").ret == 5
    assert checks(audit)["waiver:W-1[web]"]["verdict"] == "not-applicable"


def test_waivers_come_first_in_a_shuffled_run_too(failing, audit):
    """A waiver's own check asks for the outcomes that it needs, whatever the order."""
    audit.file("conftest.py", "def pytest_collection_modifyitems(items):\n    items.reverse()\n")
    assert failing(waiver()).ret == 0
    assert checks(audit)["waiver:W-1[web]"]["verdict"] == "pass"


@pytest.mark.parametrize(("text", "said"), [
    ("waivers:\n  - {id: W-1\n", "waivers.yaml:"),
    (waiver(checks="sight"), "policy small has no check 'sight'"),
    (waiver(policy="x"), "policy"),
    (waiver().replace("policy: small", "policy: smoll"), "there is no policy 'smoll' here; did you mean 'small'?"),
])  # fmt: skip
def test_a_file_that_cannot_be_read_starts_no_audit(failing, audit, text, said):
    done = failing(text)
    assert done.ret == 4
    assert said in done.err + done.out
    assert not audit.gathered


def test_a_file_may_be_given(audit):
    audit.verdicts[FAILING] = "fail"
    audit.file("accepted.yaml", waiver())
    assert audit.run("checks").ret == 1
    assert audit.run("checks", "--waivers", "accepted.yaml").ret == 0
    assert audit.run("checks", "--waivers", "nowhere.yaml").ret == 4
