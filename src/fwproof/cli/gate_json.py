"""What a gate found, as one JSON document."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fwproof.cli.diff import document as diff_document
from fwproof.cli.gate_text import place_of
from fwproof.cli.tables import packet_json, rule_json, understood_json
from fwproof.gating.gate import Gated
from fwproof.gating.guard import Found
from fwproof.gating.mutation import Score
from fwproof.gating.offline import Judged
from fwproof.gating.states import Step

SCHEMA = "fwproof-gate-1"


def document(found: Gated) -> dict[str, Any]:
    """Return the whole answer."""
    counts = Counter("not-tested" if each.untested else each.outcome.verdict.value for each in found.judged)
    model, asked, twin = found.candidate.model, found.asked, found.twin
    return {
        "schema": SCHEMA, "host": asked.host, "policy": asked.policy.name, "status": found.status,
        "seconds": round(found.seconds, 3), "counts": {"checks": len(found.judged), **counts},
        "checks": [_check(found, each) for each in found.judged],
        "difference": None if found.changes is None else diff_document(found.changes, []),
        "lock_out": {
            "ways": list(found.guard.ways), "states": found.guard.states, "failed": found.guard.failed,
            "found": [_harm(each) for each in (*found.guard.found, *found.windows)], "cut_short": found.guard.cut_short,
        },
        "kernel": {
            "asked": twin is not None, "trouble": found.trouble,
            "refused": [{"file": f.file, "line": f.line, "message": f.message} for f in found.refused],
            "coverage": [_coverage(each) for each in found.judged if each.outcome.coverage is not None],
            "otherwise": list(twin.otherwise) if twin else [], "absent": list(twin.absent) if twin else [],
        },
        "mutation": None if found.mutation is None else _score(found.mutation),
        "missing": list(found.missing), "gaps": list(found.gaps), "assumed": list(found.candidate.assumed),
        "understood": understood_json(model, found.candidate.given),
    }  # fmt: skip


def _check(found: Gated, each: Judged) -> dict[str, Any]:
    check, outcome = each.check, each.outcome
    return {
        "id": check.id, "kind": check.kind.value, "expectation": check.expectation.id, "file": check.expectation.file,
        "line": check.expectation.line, "verdict": outcome.verdict.value, "not_tested": each.untested or None,
        "reason": outcome.reason, "cause": outcome.cause, "proved": outcome.proved, "observed": outcome.observed,
        "rules": [rule_json(ref) for ref in outcome.by], "fix": outcome.fix,
        "written": [place for ref in outcome.by if (place := place_of(found, ref))],
    }  # fmt: skip


def _coverage(each: Judged) -> dict[str, Any]:
    rules = each.outcome.coverage
    assert rules is not None
    names = ("total", "reachable", "reached", "confirmed")
    return {"family": each.check.family} | {name: getattr(rules, name) for name in names}


def _command(command: Step | None) -> dict[str, Any] | None:
    return None if command is None else {"file": command.source, "line": command.line, "text": command.text}


def _harm(each: Found) -> dict[str, Any]:
    return {
        "harm": each.harm.value, "way": each.way, "text": each.text, "by": each.by, "first": _command(each.first),
        "until": _command(each.until), "witness": None if each.witness is None else packet_json(each.witness),
    }  # fmt: skip


def _score(found: Score) -> dict[str, Any]:
    return {
        "score": found.score, "total": found.total, "tried": found.tried, "equivalent": found.equivalent,
        "noticed": found.noticed, "by": dict(found.killed), "seconds": round(found.seconds, 3),
        "unnoticed": [
            {
                "rule": rule_json(one.mutant.rule), "slip": one.mutant.slip.value, "text": one.mutant.text,
                "what": one.what, "witness": None if one.witness is None else packet_json(one.witness),
                "suggestion": one.suggestion, "mendable": one.mendable,
            }
            for one in found.survivors
        ],
        "unknown": [{"rule": rule_json(mutant.rule), "text": mutant.text, "why": why} for mutant, why in found.unknown],
    }  # fmt: skip
