"""A gate's findings as the record of a run, from which every report of an audit is made."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from fwproof.audit.evidence import evidence_of, host_record
from fwproof.audit.outcomes import result_of
from fwproof.audit.run import tool_versions
from fwproof.audit.waivers import recorded
from fwproof.facts import Facts
from fwproof.gating.gate import Gated
from fwproof.gating.guard import Harm
from fwproof.report.clean import shown
from fwproof.results import CheckResult, Results, Verdict
from fwproof.run_record import Run

_STAMP = "%Y-%m-%dT%H:%M:%SZ"


def record(found: Gated, root: Path, inventory: Path) -> tuple[Results, dict[str, bytes]]:
    """Return the results of a gate and its evidence; paths are shown as seen from ``root``."""
    asked, end = found.asked, datetime.now(UTC)
    facts = Facts(
        inventory=asked.inventory, snapshots={asked.host: found.snapshot}, models={asked.host: found.candidate.model},
        agents={asked.host: None},
    )  # fmt: skip
    checks = (*_checks(found, facts, root), *_own(found, root))
    run = Run(
        id=f"gate-{end.strftime('%Y%m%dT%H%M%SZ')}-{uuid.uuid4().hex[:8]}",
        started=(end - timedelta(seconds=found.seconds)).strftime(_STAMP), ended=end.strftime(_STAMP),
        seconds=round(found.seconds, 3), tool=f"fwproof {version('fwproof')}", versions=tool_versions(),
        operator=getpass.getuser(), command="fwproof gate", inventory=shown(inventory, root),
        inventory_sha256=asked.inventory.sha256, policies={shown(asked.policy.path, root): asked.policy.sha256},
        hosts=[host_record(facts, asked.host)], planned=len(checks), deselected=0,
        waivers=[recorded(each, end.date()) for each in asked.waivers],
    )  # fmt: skip
    evidence = evidence_of(facts) | (found.twin.evidence if found.twin else {})
    return Results(run=run, checks=checks), evidence


def _checks(found: Gated, facts: Facts, root: Path) -> Iterator[CheckResult]:
    for each in found.judged:
        file = shown(Path(each.check.expectation.file), root)
        yield result_of(each.check, each.outcome, facts, file=file, seconds=0.0, artefacts=())


def _own(found: Gated, root: Path) -> Iterator[CheckResult]:
    """Yield what is a check of the gate alone: that nobody is locked out, and that the kernel takes the tables."""
    guard = found.guard
    harm = [each for each in guard.found if each.harm in {Harm.LOCKED_OUT, Harm.CUT}]
    verdict = Verdict.FAIL if guard.failed else Verdict.INCONCLUSIVE if guard.unclear else Verdict.PASS
    lines = [
        f"{each.harm}: {each.way}: {each.text}" + (f" from {each.first}" if each.first else "") for each in guard.found
    ]
    if not guard.ways:
        lines = ["no way by which the host is managed is known"]
    yield _result(
        found, root, "lock-out", "The host can still be managed, at every moment", verdict,
        "; ".join(lines) or f"{len(guard.ways)} ways stay open in {guard.states} states",
        cause=f"{harm[0].harm} by {harm[0].first or harm[0].by}" if harm else "",
    )  # fmt: skip
    twin = found.twin
    if twin is None and not found.trouble:
        return
    wrong = [*map(str, found.refused), *(twin.otherwise if twin else ())]
    verdict = Verdict.FAIL if wrong else Verdict.ERROR if twin is None else Verdict.PASS
    reason = "; ".join(wrong) or found.trouble or "the kernel takes the tables, and lists them as they were read"
    cause = "the kernel does not take the tables, or reads them otherwise" if wrong else found.trouble
    yield _result(found, root, "kernel", "A kernel takes the tables as they are meant", verdict, reason, cause=cause)


def _result(  # noqa: PLR0913, PLR0917 - the columns that differ
    found: Gated, root: Path, name: str, title: str, verdict: Verdict, reason: str, *, cause: str
) -> CheckResult:
    policy = found.asked.policy
    return CheckResult(
        id=f"gate:{name}[{found.asked.host}]", title=title, expectation=f"gate:{name}", policy=policy.name,
        file=shown(policy.path, root), line=1, host=found.asked.host, vantage=None, family=None, service=None,
        direction=None, kind=name, severity="critical", expected=title, verdict=verdict, reason=reason, proved="",
        observed="", attributed="", rule="", cause=cause, fix="", controls={}, evidence=[], artefacts=[], seconds=0.0,
    )  # fmt: skip
