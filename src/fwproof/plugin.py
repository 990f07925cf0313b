"""The pytest plugin: ``*.policy.yaml`` files are collected, every check is an item, gathering comes first.

Failing in ``setup`` is an error (could not look, or could not tell), failing in ``runtest`` a failure (the host
is not as expected); the reports are made from the outcomes that the run keeps. State lives in the config's stash.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fwproof import plugin_reports
from fwproof.errors import Fault, FwproofError, InputError
from fwproof.plan import Check, Kind
from fwproof.report.clean import no_command, visible
from fwproof.results import Outcome, Verdict

if TYPE_CHECKING:
    from fwproof.audit.run import AuditRun

SUFFIX = ".policy.yaml"
_MISNAMED = (".policy.yml", ".policy.yaml", ".policy.json")
"""How files end that are meant as policies and are none."""
_RUN = pytest.StashKey["AuditRun"]()
_FAULTS: pytest.StashKey[list[Fault]] = pytest.StashKey()
_TROUBLE = pytest.StashKey[str]()
_PROVOKING = {Kind.RATE, Kind.MEASURE, Kind.CONNECTIONS, Kind.BAN_EXERCISE, Kind.DROP_LOG}
_ONE_PROCESS = "fwproof gathers once, concurrently, in one process: run policies without -n"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the audit's own options to pytest's."""
    group = parser.getgroup("fwproof", "firewall audit")
    group.addoption("--inventory", metavar="FILE", help="the hosts and zones (default: fixtures/inventory.yaml)")
    group.addoption("--reports", metavar="DIR", help="where runs are written (default: reports)")
    group.addoption(  # pytest's own --trace starts a debugger
        "--trace-rules", action="store_true", help="have audited hosts tell which rules the probes meet (nft trace)"
    )
    group.addoption("--waivers", metavar="FILE", help="accepted deviations (default: waivers.yaml beside each policy)")
    group.addoption(
        "--strict-waivers", action="store_true", help="exit with 1 when a deviation is waived, as if it were not"
    )
    group.addoption("--sign-key", metavar="FILE", help="SSH key that the run is signed with (or FWPROOF_SIGN_KEY)")
    group.addoption(
        "--no-exercise", action="store_true", help="provoke nothing: no bursts, no bans, no drop-log probes"
    )
    group.addoption(
        "--fwproof-engine", metavar="threads|tls://HOST:PORT", default="threads",
        help="who connects to hosts: this process, or workers of a dask.distributed scheduler in the hosts' zones",
    )  # fmt: skip
    plugin_reports.add_options(group)


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the run; nothing is read or sent before items are about to be judged."""
    words = "a check of a policy; `-m \"fwproof(host='web1')\"` selects by any of these, `-m rate` by kind"
    config.addinivalue_line("markers", f"fwproof(kind, host, vantage, family, direction, severity): {words}")
    for kind in Kind:
        config.addinivalue_line("markers", f"{kind.value}: a check of this kind (fwproof)")
    config.addinivalue_line("markers", "exercise: a check that provokes something on purpose (fwproof)")
    config.stash[_FAULTS] = []


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> PolicyFile | None:
    """Collect policy files."""
    if file_path.name.endswith(SUFFIX):
        return PolicyFile.from_parent(parent, path=file_path)
    if file_path.name.lower().endswith(_MISNAMED):
        message = f"nothing here would be tested: policies are files that end in {SUFFIX}"
        parent.config.stash[_FAULTS].append(Fault(str(file_path), 0, 0, message))
    return None


def _run_of(config: pytest.Config) -> AuditRun:
    if _RUN not in config.stash:
        from fwproof.audit.run import AuditRun  # here, so that a session without policies does not pay for it
        from fwproof.trends.ages import earlier_of

        root = config.rootpath
        inventory = config.getoption("--inventory") or root / "fixtures" / "inventory.yaml"
        reports = config.getoption("--reports") or root / "reports"
        config.stash[_RUN] = AuditRun(
            inventory_path=Path(inventory), reports=Path(reports), exercise=not config.getoption("--no-exercise"),
            command=" ".join(["pytest", *config.invocation_params.args]), root=root,
            trace=config.getoption("--trace-rules"), waivers=_path_or_none(config.getoption("--waivers")),
            sign=_path_or_none(config.getoption("--sign-key")), reports_as=plugin_reports.reports_as(config),
            earlier=earlier_of, engine=config.getoption("--fwproof-engine"),
        )  # fmt: skip
    return config.stash[_RUN]


def _path_or_none(text: str | None) -> Path | None:
    return None if text is None else Path(text)


class PolicyFile(pytest.File):
    """A policy; its items are its checks, in the order of the file."""

    def collect(self) -> Iterator[CheckItem]:
        """Yield one item per check. Faults wait until every file was read, so that all are told at once."""
        if hasattr(self.config, "workerinput"):  # a worker of xdist
            raise self.CollectError(_ONE_PROCESS)
        try:
            checks = _run_of(self.config).checks_of(self.path)
        except InputError as error:
            self.config.stash[_FAULTS].extend(error.faults)
            return
        for check in checks:
            # pytest 9.2 would take the brackets of a bare name for no parameters, and --lf would not know it again
            yield CheckItem.from_parent(self, name=check.id, nodeid=f"{self.nodeid}::{check.id}", check=check)


class CheckItem(pytest.Item):
    """One check as a pytest item; its location is the expectation's line in the policy."""

    def __init__(self, *, check: Check, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check = check
        self.add_marker(
            pytest.mark.fwproof(
                kind=check.kind.value, host=check.host, vantage=check.vantage, direction=check.direction,
                family=check.family.value if check.family else None, severity=check.expectation.severity,
            )
        )  # fmt: skip
        self.add_marker(check.kind.value)
        if check.kind in _PROVOKING and check.vantage is not None:
            self.add_marker("exercise")
        for keyword in (check.host, check.vantage, check.family, check.kind.value, check.direction):
            if keyword:
                self.extra_keyword_matches.add(str(keyword))

    def setup(self) -> None:
        """Judge from the gathered facts; what could not be told ends here, as pytest's ERROR."""
        outcome = _run_of(self.config).judge(self.check)
        self.user_properties.append(("verdict", outcome.verdict.value))
        if outcome.verdict in {Verdict.ERROR, Verdict.INCONCLUSIVE}:
            pytest.fail(_in_words(outcome), pytrace=False)
        if outcome.verdict in {Verdict.NOT_APPLICABLE, Verdict.WAIVED}:
            pytest.skip(outcome.reason)

    def runtest(self) -> None:
        """Fail when the outcome is not as expected."""
        outcome = _run_of(self.config).judge(self.check)
        if outcome.verdict is Verdict.FAIL:
            pytest.fail(_in_words(outcome), pytrace=False)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Point at the expectation in the policy; pytest counts lines from 0."""
        return self.check.expectation.file, self.check.expectation.line - 1, self.name


def _in_words(outcome: Outcome) -> str:
    labels = ("proved", "observed", "attributed", "rule", "fix")
    lines = (f"{label:>10}: {getattr(outcome, label)}" for label in labels if getattr(outcome, label))
    return no_command(visible("\n".join([outcome.reason, *lines])))


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Name the nearest check where one was asked for that does not exist."""
    try:
        return (yield)
    except pytest.UsageError as error:
        near = _nearest_checks(session.config)
        if not near:
            raise
        raise pytest.UsageError(*error.args, *near) from error


def _nearest_checks(config: pytest.Config) -> list[str]:
    if _RUN not in config.stash:
        return []
    from fwproof.policy.nearest import suggest

    ids = [check.id for checks in config.stash[_RUN].checks.values() for check in checks]
    asked = [argument.partition("::")[2] for argument in config.args if "::" in argument]
    near = {name: suggest(name, ids) for name in asked if name not in ids}
    return [f"no check {name!r}{found}" for name, found in near.items() if found]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config) -> None:
    """Refuse to start when a policy or the inventory has faults."""
    faults = config.stash[_FAULTS]
    if faults:
        raise pytest.UsageError(str(InputError(faults)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note what was selected; here, because --lf and others deselect after everybody else."""
    config, items = session.config, session.items
    checks = [item.check for item in items if isinstance(item, CheckItem)]
    if not checks:
        return
    _run_of(config).select(checks)
    if len(checks) == len(items) and getattr(config.option, "tbstyle", "") == "auto":
        config.option.tbstyle = "no"  # the summary below tells failures once, grouped by cause
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and config.option.reportchars == "fE":  # pytest's default: nobody asked for it
            reporter.reportchars = reporter.reportchars.translate({ord("f"): None, ord("E"): None})


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Gather everything that the selected checks need, before the first one is judged."""
    config = session.config
    if config.option.collectonly or _RUN not in config.stash or not config.stash[_RUN].selected:
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    show = Progress(reporter)
    try:
        config.stash[_RUN].gather(show)
    except FwproofError as error:
        if error.exit_code == pytest.ExitCode.USAGE_ERROR:
            raise pytest.UsageError(str(error)) from error
        pytest.exit(str(error), returncode=error.exit_code)


class Progress:
    """Live progress: a line for each stage, through pytest's terminal where there is one."""

    def __init__(self, reporter: Any) -> None:
        self.reporter, self.begun = reporter, time.monotonic()

    def __call__(self, message: str) -> None:
        """Show what is being done, with the seconds since the start."""
        line = no_command(f"[{time.monotonic() - self.begun:5.1f} s] {visible(message)}")
        if self.reporter is None:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - without pytest's terminal there is no other
        elif self.reporter.verbosity >= 0:
            self.reporter.ensure_newline()
            self.reporter.write_line(line)
            self.reporter.flush()


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Write the reports, take down what the run brought up, and settle the exit status."""
    run = session.config.stash.get(_RUN, None)
    if run is not None and run.gathered:
        try:
            run.finish()
            _settle(session, run)
        except FwproofError as error:
            _tell_trouble(session, str(error), pytest.ExitCode.INTERNAL_ERROR)
        except KeyboardInterrupt:
            _tell_trouble(session, "interrupted: the reports were not written", pytest.ExitCode.INTERRUPTED)
    if run is not None:
        run.close()
    yield


def _settle(session: pytest.Session, run: AuditRun) -> None:
    config, found = session.config, run.verdicts
    ours = sum(verdict in {Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE} for _, verdict in found)
    session.exitstatus = plugin_reports.gate(config).status(
        found, int(session.exitstatus), others_failed=session.testsfailed - ours,
        alone=session.testscollected == len(run.selected),
        unjudged=[check.expectation.severity for check in run.unjudged],
    )  # fmt: skip


def _tell_trouble(session: pytest.Session, message: str, status: pytest.ExitCode) -> None:
    """Say at the end that there are no reports, which no exit status of a good audit may hide."""
    session.exitstatus = status
    session.config.stash[_TROUBLE] = message
    if not session.config.pluginmanager.has_plugin("terminalreporter"):
        print(message, file=sys.stderr, flush=True)  # noqa: T201 - without pytest's terminal there is no other


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the failures grouped by cause and the line of counts."""
    run = config.stash.get(_RUN, None)
    if run is None or run.results is None:
        return
    from fwproof.report.terminal import render_summary

    terminalreporter.ensure_newline()
    width = shutil.get_terminal_size((100, 24)).columns
    color, verbose = bool(terminalreporter.hasmarkup), config.get_verbosity() > 0
    for line in render_summary(run.results, run.folder, width=width, color=color, verbose=verbose):
        terminalreporter.write_line(line)
    for line in plugin_reports.lines_for_the_service(config, run.results, run.folder):
        terminalreporter.write_line(line)
    if _TROUBLE in config.stash:
        terminalreporter.write_line(config.stash[_TROUBLE], red=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind, also when the session ended early."""
    run = config.stash.get(_RUN, None)
    if run is not None:
        run.close()
