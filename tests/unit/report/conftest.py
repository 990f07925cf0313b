"""A check to vary."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fwproof.results import CheckResult, Results, Verdict
from fwproof.run_record import HostRecord, Run


@pytest.fixture
def check() -> Callable[..., CheckResult]:
    """Make a check result; every field may be given."""

    def make(verdict: str = "pass", **told: object) -> CheckResult:
        blank = {
            "id": "ssh-admin[web-admin-ipv4]", "title": "SSH", "expectation": "ssh-admin", "policy": "web", "line": 3,
            "file": "web.policy.yaml", "host": "web", "vantage": "admin", "family": "ipv4", "service": "ssh",
            "direction": "inbound", "kind": "inbound", "severity": "high", "expected": "allow", "reason": "so it is",
            "proved": "", "observed": "", "attributed": "", "rule": "", "cause": "", "fix": "", "controls": {},
            "evidence": [], "artefacts": [], "seconds": 0.0,
        }  # fmt: skip
        return CheckResult(**blank | told, verdict=Verdict(verdict))

    return make


@pytest.fixture
def results() -> Callable[..., Results]:
    """Make a run of the given checks."""

    def make(*checks: CheckResult, planned: int | None = None, hosts: tuple[str, ...] = ()) -> Results:
        records = [
            HostRecord(name=name, addresses=[], access="read", kernel="", firewall="", rules={}, limits=[], error="")
            for name in hosts
        ]
        run = Run(
            id="r", started="", ended="", seconds=0.0, tool="", versions={}, operator="", command="", inventory="",
            inventory_sha256="", policies={}, hosts=records, planned=len(checks) if planned is None else planned,
            deselected=0,
        )  # fmt: skip
        return Results(run=run, checks=checks)

    return make
