"""Results: the one record of a run that every report is made from.

The JSON form is versioned (:data:`SCHEMA_ID`); times are UTC in ISO 8601 with a trailing ``Z``, durations
seconds. Nothing here does I/O: :mod:`fwproof.report` writes and renders.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from fwproof.decision import RuleRef
from fwproof.run_record import Run

SCHEMA_ID = "https://fwproof.invalid/schema/results-1"
"""Name of the results format; the reserved ``.invalid`` domain, since a schema's id is a name, not an address."""


class Verdict(StrEnum):
    """The outcome of a check."""

    PASS = "pass"  # noqa: S105 - the word of the results contract
    FAIL = "fail"
    WAIVED = "waived"
    ERROR = "error"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoveredRule:
    """One rule or default: its place, its own text, and whether a probe reached it.

    ``status``: ``confirmed`` by the kernel, ``reached`` by the model alone, ``disagrees``, ``unreachable`` by proof,
    ``elsewhere`` (no vantage reaches it), ``depends`` on what no header shows, ``unsent`` (no probe is such a packet),
    ``unknown``, or ``accepted`` by the policy. ``packets`` are known to have met it, ``counted`` is how far its
    counter moved meanwhile, null where it has none that tells. ``probes`` are the names of those that reach it.
    """

    place: str
    text: str
    status: str
    why: str
    probes: list[str]
    packets: int
    counted: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoveringProbe:
    """A probe by its name: where it goes (``input``, ``forward``, ``output``), who sent it, and the packet."""

    name: str
    hook: str
    sender: str
    packet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCoverage:
    """The rules and defaults of one address family of a host, one by one, in the order of its tables.

    Of ``total`` ones, ``reachable`` are not proved to be out of reach of every packet; ``reached`` and, of those,
    ``confirmed`` by the kernel. What the policy accepts is in ``total`` alone. ``gaps`` is what could not be looked at.
    """

    total: int
    reachable: int
    reached: int
    confirmed: int
    rules: list[CoveredRule]
    probes: list[CoveringProbe]
    gaps: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedRule:
    """A rule that decides about an allowed service: its place, its text, and how often it had counted.

    ``packets`` is its counter when the tables were read, before anything was sent; null where nothing is counted.
    """

    place: str
    text: str
    packets: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one expectation allows in one address family: ``service`` as ``tcp/443``, and who, by name and network.

    ``rules`` are those that decide about it, in the words of :attr:`Outcome.by`.
    """

    service: str
    peers: str
    networks: list[str]
    rules: list[AllowedRule]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """New connections of one source: ``at`` seconds after the first of any source, by the clock of who watched.

    ``fates`` has a letter for each: ``y`` was let in, ``n`` was not, ``?`` is not known.
    """

    source: str
    at: list[float]
    fates: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Admissions:
    """How a limit answered: expected are ``limit`` new connections in ``per`` seconds, ``by`` source or in total."""

    limit: int
    per: float
    by: str
    series: list[Attempts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What changed since a baseline, one change a line.

    ``open``: packets that are decided otherwise; ``accepted``: the same, with who accepted it; ``unclear``: what could
    not be told. ``rules`` are those that differ in what they ask or do, with or without a change for any packet.
    """

    baseline: str
    open: list[str]
    accepted: list[str]
    unclear: list[str]
    rules: list[str]
    notes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a judge says of one check: three independent answers in words, and the verdict they lead to.

    ``cause`` is a short stable phrase that findings with one root cause share; ``rule`` is the text of the
    deciding rule with its place; ``fix`` says how to mend it; ``evidence`` names captures, probes or log
    lines in words; ``artefacts`` are paths inside the run's folder. ``coverage`` is what a check of rules one by one
    found, ``admissions`` what a limit let in over time, ``drift`` what changed since a baseline.

    ``by`` are the rules that the words name, the deciding one first. ``wrong`` says what is wrong with them: they let
    through what should not pass (``open``), or refuse what should (``shut``). ``waiver`` names the one that covers it.
    """

    verdict: Verdict
    reason: str
    proved: str = ""
    observed: str = ""
    attributed: str = ""
    rule: str = ""
    cause: str = ""
    fix: str = ""
    evidence: tuple[str, ...] = ()
    artefacts: tuple[str, ...] = ()
    coverage: RuleCoverage | None = None
    by: tuple[RuleRef, ...] = ()
    wrong: str = ""
    waiver: str = ""
    admissions: Admissions | None = None
    drift: Drift | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One check of a run with its outcome; the field names are those of results.json.

    ``owner`` and ``justification`` are the policy's words, empty where it has none; ``allowance`` is of claims only.
    """

    id: str
    title: str
    expectation: str
    policy: str
    file: str
    line: int
    host: str
    vantage: str | None
    family: str | None
    service: str | None
    direction: str | None
    kind: str
    severity: str
    expected: str
    verdict: Verdict
    reason: str
    proved: str
    observed: str
    attributed: str
    rule: str
    cause: str
    fix: str
    controls: dict[str, list[str]]
    evidence: list[str]
    artefacts: list[str]
    seconds: float
    coverage: RuleCoverage | None = None
    waiver: str = ""
    owner: str = ""
    justification: str = ""
    allowance: Allowance | None = None
    admissions: Admissions | None = None
    drift: Drift | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A whole run; ``as_json`` is the document that is written to results.json."""

    run: Run
    checks: tuple[CheckResult, ...]

    def counts(self) -> dict[str, int]:
        """Return the numbers of the contract: planned, run, and one per verdict."""
        by = {verdict: sum(check.verdict is verdict for check in self.checks) for verdict in Verdict}
        return {"planned": self.run.planned, "run": len(self.checks)} | {
            verdict.value.replace("-", "_"): number for verdict, number in by.items()
        }

    def as_json(self) -> dict[str, Any]:
        """Return the document, ready for :func:`json.dumps`."""
        run = asdict(self.run)
        return {"schema": SCHEMA_ID, "run": run, "counts": self.counts(), "checks": [asdict(c) for c in self.checks]}
