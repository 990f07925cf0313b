"""Run record: who ran what, when, on which hosts and with which tools, as results.json keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field

from fwproof.controls import Framework


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A piece of raw evidence: path relative to the run's folder, SHA-256 in hex, bytes, and what it is."""

    path: str
    sha256: str
    size: int
    what: str


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
    inventory with the hosts that stand in them.
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
