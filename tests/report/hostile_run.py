"""Makes a run in which every string that could come from elsewhere is one hostile text of data/hostile.yaml."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import yaml

from fwproof.controls import Control, Framework
from fwproof.results import (
    Admissions,
    Allowance,
    AllowedRule,
    Attempts,
    CheckResult,
    CoveredRule,
    CoveringProbe,
    Drift,
    Results,
    RuleCoverage,
    Verdict,
)
from fwproof.run_record import (
    Artefact,
    Authorised,
    Controller,
    HostRecord,
    Inexact,
    Previous,
    Understood,
    VantageRecord,
    WaiverRecord,
)

_WRITTEN = yaml.safe_load(Path(__file__).with_name("data").joinpath("hostile.yaml").read_text("utf-8"))
TEXTS = {
    kind: re.sub(r"<([0-9a-f]{4})>", lambda found: chr(int(found[1], 16)), text) for kind, text in _WRITTEN.items()
}
TEXTS["long"] = TEXTS["long"] * (10_000 // len(TEXTS["long"]))
WORDS = {
    "title", "expectation", "policy", "host", "vantage", "family", "service", "expected", "reason", "proved",
    "observed", "attributed", "rule", "cause", "fix", "severity", "file", "id",
}  # fmt: skip
WAIVER = {
    "id", "file", "policy", "cause", "owner", "approver", "ticket", "reason", "compensating_control", "created",
    "expires", "state",
}  # fmt: skip


def hostile(kind: str, tame: Results) -> Results:
    """Return a run of two checks, one failed and one passed, with the text in every place."""
    text = TEXTS[kind]
    covered = RuleCoverage(
        total=1, reachable=1, reached=1, confirmed=1, gaps=[text],
        rules=[CoveredRule(place=text, text=text, status=text, why=text, probes=[text], packets=1, counted=None)],
        probes=[CoveringProbe(name=text, hook=text, sender=text, packet=text)],
    )  # fmt: skip
    failed = replace(
        tame.checks[0], **dict.fromkeys(WORDS, text), verdict=Verdict.FAIL, evidence=[text], artefacts=[text],
        controls={text: [text]}, coverage=covered, owner=text, justification=text, waiver=text,
        allowance=Allowance(service=text, peers=text, networks=[text],
                            rules=[AllowedRule(place=text, text=text, packets=1)]),
        admissions=Admissions(limit=1, per=1.0, by=text, series=[Attempts(source=text, at=[0.0, 1.0], fates=text[:2])]),
        drift=Drift(baseline=text, open=[text], accepted=[text], unclear=[text], rules=[text], notes=[text]),
    )  # fmt: skip
    passed: CheckResult = replace(
        failed, expected="deny", direction="inbound", id=f"{text}2", verdict=Verdict.PASS, kind="drift"
    )
    record = HostRecord(
        name=text, addresses=[text], access=text, kernel=text, firewall=text, rules={text: 1}, limits=[text],
        error=text, understood=[
            Understood(family=text, source=text, text=text, exact=1, bounded=1, unknown=1, unparsed=1, notes=[text],
                       inexact=[Inexact(how=text, rule=text, line=1, text=text, why=text)]),
        ],
    )  # fmt: skip
    known = Control(id=text, text=text, shows=text, lacks=text, methods=(text,), by=(text,), review=text, section=text)
    framework = Framework(id=text, title=text, source=text, manager=text, controls=(
        known, replace(known, id=f"{text}2"), replace(known, id=f"{text}3", by=()),
        replace(known, id=f"{text}4", section=f"{text}2"),
    ))  # fmt: skip
    run = replace(
        tame.run, id=text, started=text, ended=text, tool=text, versions={text: text}, operator=text, command=text,
        inventory=text, inventory_sha256=text, policies={text: text}, hosts=[record],
        artefacts=[Artefact(path=text, sha256=text, size=1, what=text)], frameworks=[framework],
        trigger=text, job=text, previous=Previous(run=text, sha256sums=text), outside={text: text},
        zones={text: [text]},
        controller=Controller(host=text, system=text, clock=text, tool_sha256=text, commit=text), stopped=[text],
        vantages=[VantageRecord(name=text, access=text, addresses=[text], sources=[text])],
        authorisation=Authorised(by=text, reference=text, hosts=[text], opens=text, closes=text, tester=text,
                                 independence=text),
        waivers=[WaiverRecord(**dict.fromkeys(WAIVER, text), line=1, checks=[text], hosts=[text], days_left=1)],
    )  # fmt: skip
    return Results(run=run, checks=(failed, passed))
