"""One audit from the inventory to the written report; what the pytest plugin and the command line share."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fwproof.ages import Earlier
from fwproof.audit.allowed import recorded
from fwproof.audit.controller import controller, trigger
from fwproof.audit.engine import THREADS
from fwproof.audit.gather import Gathered, gather
from fwproof.audit.outcomes import Judging, result_of
from fwproof.audit.scope import outside, standing_in
from fwproof.audit.stored import inventory_file
from fwproof.audit.waivers import RunWaivers
from fwproof.errors import Fault, InputError, UsageError
from fwproof.inventory import Inventory
from fwproof.plan import Check
from fwproof.planning.plan import plan
from fwproof.policy.catalogue import joined
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy
from fwproof.policy.model import Policy
from fwproof.redact import HARMLESS_HEADERS, cleaned, without
from fwproof.report.clean import shown
from fwproof.report.document import in_words
from fwproof.report.formats import REPORTS
from fwproof.report.sign import SIGN_KEY
from fwproof.report.write import write_run
from fwproof.results import CheckResult, Outcome, Results, Verdict
from fwproof.run_record import HostRecord, Run

_PACKAGES = ("fwproof", "pytest", "scapy", "paramiko", "pytest-testinfra", "junit-xml", "PyYAML", "pydantic", "Jinja2")


def _utc() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def tool_versions() -> dict[str, str]:
    """Return the versions of everything that has a part in the answers."""
    found = {"python": platform.python_version(), "kernel": platform.release()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


class AuditRun:
    """The state of one audit: policies as they are collected, what was gathered, what was judged.

    ``exercise`` False provokes nothing: checks that need a burst, a ban or a dropped probe are not planned.
    ``trace`` has audited hosts tell which rules the probes meet. ``waivers`` is a file of waivers for all policies;
    without it, each policy's are those beside it. ``reports_as`` are the formats by file name. ``earlier`` says since
    when checks deviate, by the runs in the folder of reports. ``engine`` says who connects to hosts: ``threads`` of
    this process, or the workers of the dask.distributed scheduler at tls://HOST:PORT.
    """

    def __init__(  # noqa: PLR0913 - each is one setting of a run, all by name
        self, *, inventory_path: Path, reports: Path, exercise: bool, command: str, root: Path, trace: bool = False,
        waivers: Path | None = None, reports_as: Mapping[str, str] = REPORTS, sign: Path | None = None,
        earlier: Callable[[Results, Path], Earlier | None] | None = None, engine: str = THREADS,
    ) -> None:  # fmt: skip
        self.inventory_path, self.reports, self.exercise, self.trace = inventory_path, reports, exercise, trace
        self.command, self.root, self.reports_as, self.sign = command, root, reports_as, sign
        self.earlier, self.engine = earlier, engine
        self.policies: dict[Path, Policy] = {}
        self.checks: dict[Path, tuple[Check, ...]] = {}
        self.selected: tuple[Check, ...] = ()
        self.gathered: Gathered | None = None
        self.results: Results | None = None
        self.folder: Path | None = None
        self._outcomes: dict[str, tuple[Outcome, float]] = {}
        self._begun, self._begun_at = time.monotonic(), _utc()
        self.waivers = RunWaivers(waivers)

    @cached_property
    def inventory(self) -> Inventory:
        """The inventory, read once; raises InputError."""
        return load_inventory(self.inventory_path)

    @property
    def sign_key(self) -> Path | None:
        """The key that runs are signed with: the option's, the environment's, or the inventory's; None for none."""
        return self.sign or (Path(named) if (named := os.environ.get(SIGN_KEY)) else self.inventory.signing_key)

    def checks_of(self, path: Path) -> tuple[Check, ...]:
        """Return the checks that a policy file plans; raises InputError with every fault of the file."""
        if path not in self.checks:
            policy = load_policy(path, self.inventory)
            try:
                checks = plan(policy, self.inventory)
                self.waivers.read_for(policy, self.inventory)
                checks = (*checks, *self.waivers.checks(policy, checks))
            except UsageError as error:
                raise InputError([Fault(str(path), 0, 0, str(error))]) from error
            faults = list(self._clashes(checks))
            if faults:
                raise InputError(faults)
            self.policies[path], self.checks[path] = policy, checks
        return self.checks[path]

    def checks_of_all(self, paths: Sequence[Path]) -> list[Check]:
        """Return the checks that several policy files plan; raises InputError with every fault of all of them."""
        faults: list[Fault] = []
        for path in paths:
            try:
                self.checks_of(path)
            except InputError as error:
                faults += error.faults
        if faults:
            raise InputError(faults)
        return [check for path in paths for check in self.checks[path]]

    def _clashes(self, checks: Sequence[Check]) -> Iterator[Fault]:
        """Yield a fault for every expectation that would share a check's id with another policy's."""
        taken = {check.id: check for others in self.checks.values() for check in others}
        for check in checks:
            if check.id in taken:
                other, mine = taken[check.id].expectation, check.expectation
                message = (
                    f"{mine.id!r} is also what {other.file}:{other.line} calls a check of {check.host}; rename one"
                )
                yield Fault(mine.file, mine.line, 1, message)

    @property
    def planned(self) -> int:
        """How many checks the policies mean, selected or not."""
        return sum(map(len, self.checks.values()))

    def select(self, checks: Sequence[Check]) -> None:
        """Note which checks are to be judged, after pytest's own selection."""
        self.selected = tuple(checks)

    def gather(self, progress: Callable[[str], None]) -> None:
        """Look at every host and send every probe that the selected checks need."""
        self.gathered = gather(
            self.selected, self.inventory, progress, exercise=self.exercise, trace=self.trace, engine=self.engine
        )

    def judge(self, check: Check) -> Outcome:
        """Return a check's outcome; what could not be looked at becomes the verdict ``error``."""
        if check.id not in self._outcomes:
            assert self.gathered is not None
            begun = time.monotonic()
            outcome = self._judging.outcome(check)
            self._outcomes[check.id] = outcome, time.monotonic() - begun
        return self._outcomes[check.id][0]

    @property
    def today(self) -> date:
        """The day on which the run began, UTC: the one that waivers are held against."""
        return date.fromisoformat(self._begun_at[:10])

    @cached_property
    def _judging(self) -> Judging:
        assert self.gathered is not None
        planned = [check for checks in self.checks.values() for check in checks]
        return Judging(self.gathered.facts, planned, self.selected, self.waivers.of, self.today)

    @property
    def verdicts(self) -> list[tuple[str, Verdict]]:
        """Severity and verdict of every check that was judged."""
        judged = (check for check in self.selected if check.id in self._outcomes)
        return [(check.expectation.severity, self._outcomes[check.id][0].verdict) for check in judged]

    @property
    def unjudged(self) -> list[Check]:
        """The checks that were to be judged, and were not: the session ended before."""
        return [check for check in self.selected if check.id not in self._outcomes]

    def finish(self) -> None:
        """Write the reports of what was judged."""
        assert self.gathered is not None
        judged = [check for check in self.selected if check.id in self._outcomes]
        clean = partial(without, secrets=self._secrets())
        results = Results(run=self._record(), checks=tuple(self._result(check) for check in judged))
        if self.earlier is not None:
            results = replace(results, run=replace(results.run, earlier=self.earlier(results, self.reports)))
        self.results = in_words(results, clean)
        inputs = {name: cleaned(content, clean) for name, content in self._inputs().items()}
        unjudged = [check.id for check in self.unjudged]
        evidence = self.gathered.evidence | self.gathered.stored(self.selected, unjudged, clean)
        evidence |= inventory_file(self.inventory, clean)
        self.folder = write_run(self.results, evidence, self.reports, self.reports_as, inputs=inputs, key=self.sign_key)

    def _inputs(self) -> dict[str, bytes]:
        """Return the policies, the waivers and the inventory as they were read, by the names that reports show.

        One that was changed while the audit ran is left out: what was read of it is not known any more.
        """
        read = {self.inventory_path: self.inventory.sha256} | {p: each.sha256 for p, each in self.policies.items()}
        read |= {path: each.sha256 for path, each in self.waivers.files.items()}
        found: dict[str, bytes] = {}
        for path, digest in read.items():
            with suppress(OSError):
                content = path.read_bytes()
                if hashlib.sha256(content).hexdigest() == digest:
                    found[self._shown(path)] = content
        return found

    def _secrets(self) -> tuple[str, ...]:
        """Return what the policies send to be refused: a header of theirs may be somebody's password all the same."""
        bans = [each for policy in self.policies.values() for each in policy.bans]
        return tuple(
            value for each in bans for name, value in each.provoke.items() if name.lower() not in HARMLESS_HEADERS
        )  # fmt: skip

    def close(self) -> None:
        """Close every connection and take down the lab, if this run brought it up; safe to call again."""
        if self.gathered is not None:
            self.gathered.close()

    def _record(self) -> Run:
        assert self.gathered is not None
        started, hosts, (why, job) = self._begun_at, self._hosts(), trigger()
        return Run(
            id=f"{started.replace('-', '').replace(':', '')}-{uuid.uuid4().hex[:8]}",
            started=started, ended=_utc(), seconds=round(time.monotonic() - self._begun, 3),
            tool=f"fwproof {version('fwproof')}", versions=tool_versions(), operator=getpass.getuser(),
            command=self.command, inventory=self._shown(self.inventory_path), inventory_sha256=self.inventory.sha256,
            policies={self._shown(path): policy.sha256 for path, policy in self.policies.items()},
            hosts=hosts, planned=self.planned, deselected=self.planned - len(self.selected),
            authorisation=recorded(self.inventory.authorisation), sent=self.gathered.sent(),
            stopped=self.gathered.stopped(), frameworks=joined(self.policies.values()),
            waivers=[replace(each, file=self._shown(Path(each.file))) for each in self.waivers.records(self.today)],
            trigger=why, job=job, controller=controller(),
            waiver_files={self._shown(path): each.sha256 for path, each in self.waivers.files.items()},
            vantages=self.gathered.vantages(),
            outside=outside(self.inventory, {host.name for host in hosts}), zones=standing_in(self.inventory),
            workers=self.gathered.workers(),
        )  # fmt: skip

    def _hosts(self) -> list[HostRecord]:
        assert self.gathered is not None
        return self.gathered.host_records()

    def _shown(self, path: Path) -> str:
        return shown(path, self.root)

    def _result(self, check: Check) -> CheckResult:
        outcome, seconds = self._outcomes[check.id]
        assert self.gathered is not None
        return result_of(
            check, outcome, self.gathered.facts, file=self._shown(Path(check.expectation.file)), seconds=seconds,
            artefacts=self.gathered.artefacts_of(check),
        )  # fmt: skip
