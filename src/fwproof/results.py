"""Results: the one record of a run that every report is made from.

The JSON form is versioned (:data:`SCHEMA_ID`); times are UTC in ISO 8601 with a trailing ``Z``, durations
seconds. Nothing here does I/O: :mod:`fwproof.report` writes and renders.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from fwproof.controls import Framework
from fwproof.decision import RuleRef

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
class Artefact:
    """A piece of raw evidence: path relative to the run's folder, SHA-256 in hex, bytes, and what it is."""

    path: str
    sha256: str
    size: int
    what: str


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
class Inexact:
    """A rule that is not understood exactly, or a line that is no rule.

    ``how``: ``bounded``, ``unknown`` or ``unparsed``. ``rule`` is its place, empty where it is no rule; ``line`` counts
    from 1, and objects in nft's list; 0 is about the whole text. ``why`` says what it depends on, or what was not
    understood.
    """

    how: str
    rule: str
    line: int
    text: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """How far the rules of one address family are understood that were read through one ``source``.

    ``source``: ``iptables-nft``, ``iptables-legacy``, ``iptables``, ``nft`` or ``ipset``; ``text`` is the capture.
    ``exact`` rules are understood as the kernel runs them; ``bounded`` ones depend on what no packet shows, such as a
    rate; ``unknown`` ones may do anything; ``unparsed`` counts lines that are no rule. ``inexact`` lists all but the
    exact ones. ``notes`` are tables that no packet of the family meets.
    """

    family: str
    source: str
    text: str
    exact: int
    bounded: int
    unknown: int
    unparsed: int
    inexact: list[Inexact]
    notes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRecord:
    """What is known of one host of the run: how it was looked at, and what could not be established.

    ``rules`` are the sums of ``understood``, with ``bounded`` called ``oracle`` and ``unknown`` called ``opaque``.
    ``machine_id`` is the SHA-256 of its machine-id(5), which tells it from others and says nothing else; ``backends``
    are the versions of the programs that hold its rules. Both are empty where they could not be read.
    """

    name: str
    addresses: list[str]
    access: str
    kernel: str
    firewall: str
    rules: dict[str, int]
    limits: list[str]
    error: str
    understood: list[Understood] = field(default_factory=list)
    machine_id: str = ""
    backends: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorised:
    """Who agreed to the run, as the inventory says: ``hosts`` by name, ``opens`` and ``closes`` empty without bound.

    ``tester`` is who tested, ``independence`` why they are independent; both empty where nobody said it.
    """

    by: str
    reference: str
    hosts: list[str]
    opens: str
    closes: str
    tester: str = ""
    independence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """How much went from ``sender`` to ``host``: packets that agents sent, or ordinary connections that they made.

    ``kind``: ``probes`` (asked for), ``again`` (the same again, where one may have got lost, and controls),
    ``resets`` (of a sweep) or ``connections``.
    """

    kind: str
    sender: str
    host: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverRecord:
    """A waiver as the run found it; ``hosts`` empty means all of the policy's. Days are UTC, the last one counts.

    ``state``: ``in force``, ``expired``, ``too long`` or ``not yet``; ``days_left`` on the day the run started.
    """

    id: str
    file: str
    line: int
    policy: str
    checks: list[str]
    hosts: list[str]
    cause: str
    owner: str
    approver: str
    ticket: str
    reason: str
    compensating_control: str
    created: str
    expires: str
    state: str
    days_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """The run that was written before into the same folder: its id, and the SHA-256 of its SHA256SUMS."""

    run: str
    sha256sums: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VantageRecord:
    """A host that sent probes: its access, its addresses in the inventory, and the source addresses really used."""

    name: str
    access: str
    addresses: list[str]
    sources: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """The machine that ran the audit: name, operating system, and whether its clock is set by NTP, in words.

    ``tool_sha256`` is over all files of the package in the order of their names; ``commit`` is its version control
    commit, empty where it was not run from a checkout.
    """

    host: str
    system: str
    clock: str
    tool_sha256: str
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Who ran what, when, on what, with which tools.

    ``authorisation`` is None where the inventory gives none. ``stopped`` says why nothing more was sent to hosts.
    ``frameworks`` are those whose controls the policies name, as the catalogue had them.
    ``trigger`` is ``manual``, ``schedule`` or ``ci``, and ``job`` the address of a CI job. ``previous`` is None for the
    first run of a folder. ``waiver_files`` are the SHA-256 of the files of waivers by path, as ``policies``.
    ``outside`` are hosts of the inventory that were not audited, each with the reason; ``zones`` are those of the
    inventory with the hosts that stand in them. ``workers`` are those that hosts were reached by, where that was not
    the auditor's own machine.
    """

    id: str
    started: str
    ended: str
    seconds: float
    tool: str
    versions: dict[str, str]
    operator: str
    command: str
    inventory: str
    inventory_sha256: str
    policies: dict[str, str]
    hosts: list[HostRecord]
    planned: int
    deselected: int
    artefacts: list[Artefact] = field(default_factory=list)
    authorisation: Authorised | None = None
    sent: list[Sent] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    frameworks: list[Framework] = field(default_factory=list)
    waivers: list[WaiverRecord] = field(default_factory=list)
    waiver_files: dict[str, str] = field(default_factory=dict)
    trigger: str = ""
    job: str = ""
    controller: Controller | None = None
    vantages: list[VantageRecord] = field(default_factory=list)
    previous: Previous | None = None
    outside: dict[str, str] = field(default_factory=dict)
    zones: dict[str, list[str]] = field(default_factory=dict)
    workers: dict[str, str] = field(default_factory=dict)


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
