"""Every verdict of a stored run worked out again, by the audit's own code, from the stored tables and observations."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from fwproof.audit.evidence import bursts, evidence_of, exercise_pcaps, host_record
from fwproof.audit.outcomes import Judging, result_of
from fwproof.audit.rederive import Rederived, rederived
from fwproof.audit.stored import EXERCISES, checks_of, exercises_of, facts_of, inventory_of_file
from fwproof.audit.waivers import RunWaivers
from fwproof.codec import Misfit
from fwproof.errors import FwproofError
from fwproof.facts import Facts
from fwproof.inventory import Inventory
from fwproof.plan import Check
from fwproof.planning.plan import plan
from fwproof.policy.catalogue import shipped
from fwproof.policy.document import parse_document
from fwproof.policy.inventory_file import inventory_of
from fwproof.policy.load import policy_of
from fwproof.policy.waiver_file import waivers_of
from fwproof.redact import marks, redacted
from fwproof.report.clean import encodable, one_line, safe_path
from fwproof.report.formats import EXTRAS, FORMATS, REPORTS
from fwproof.report.manifest import POLICY, digest
from fwproof.results import CheckResult, Results
from fwproof.verify.files import Bundle, Problem

_OWN = {"seconds", "artefacts"}
"""What of a check is not judged: how long it took, and where its evidence lies."""
_FIRST = ("verdict", "reason", "rule")
_FURTHER = ("ansible", "ssh_config")
"""Keys of an inventory that name files which are not stored with a run."""
_SEEN = 160
"""Characters of a text that differs."""
_FORMS: dict[str, tuple[str, ...]] = {
    **{name: (form,) for name, form in REPORTS.items()},
    **{name: (form,) for form, name in EXTRAS.items()},
}
_FORMS["junit.xml"] = ("junit", "junit-rich")
"""Which formats a report of this name may have."""


@dataclass
class Recomputed:
    """What came of it: ids of checks whose rows are exactly what the evidence leads to, and of all others why not.

    ``as_recorded`` are among the ``same``: part of what they rest on was taken as the audit recorded it. ``unusable``:
    the evidence could not be used as a whole, for the reason that is the last of ``problems``.
    """

    same: list[str] = field(default_factory=list)
    as_recorded: dict[str, str] = field(default_factory=dict)
    impossible: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unusable: bool = False


def recompute(bundle: Bundle, results: Results) -> Recomputed:
    """Work out every verdict of a run again and compare it with what its results say."""
    found = Recomputed()
    try:
        inventory, checks, waivers = _planned(bundle, results, found.problems, found.notes)
        wanted = _wanted(bundle, results, checks, found.problems)
        facts = facts_of(bundle.read, wanted, inventory)
        again = rederived(facts, wanted)
    except (Misfit, FwproofError) as error:
        found.problems.append(Problem("evidence", "", one_line(str(error))))
        found.unusable = True
        found.impossible = dict.fromkeys(
            (check.id for check in results.checks), "the evidence cannot be used as a whole"
        )
        return found
    today = date.fromisoformat(results.run.started[:10])
    judging = Judging(again.facts, list(checks.values()), wanted, waivers.of, today)
    _compare_checks(results, wanted, again, judging, found)
    found.problems += _waivers(results, waivers, today)
    found.problems += _hosts(results, facts)
    found.problems += _packets(bundle, facts)
    return found


def reports(bundle: Bundle, results: Results) -> Iterator[Problem]:
    """Yield each report that is not what its results make: all are pure functions of them."""
    for name, forms in _FORMS.items():
        if name in bundle.sizes and bundle.read(name) not in {FORMATS[form](results) for form in forms}:
            yield Problem("report", name, "is not what results.json makes: one of them was changed")
    for each in results.run.artefacts:
        if each.path not in bundle.sizes or digest(bundle.read(each.path)) != each.sha256:
            yield Problem("evidence", one_line(each.path), "is not the file that results.json lists")


def _planned(
    bundle: Bundle, results: Results, problems: list[Problem], notes: list[str]
) -> tuple[Inventory, dict[str, Check], RunWaivers]:
    """Return the inventory, every check that the policies plan, and the waivers, from the stored inputs."""
    run = results.run
    document = _document(bundle, run.inventory, run.inventory_sha256, problems)
    further = [key for key in _FURTHER if document.root.child(key) is not None]
    inventory = inventory_of_file(bundle.read) if further else inventory_of(document, here=False)
    if further:
        notes.append(
            f"the hosts are taken as recorded: the inventory has {' and '.join(further)}, whose files stay there"
        )
    waivers = RunWaivers(None)
    for name, sha256 in run.waiver_files.items():
        waivers.files[Path(name)] = waivers_of(_document(bundle, name, sha256, problems), inventory)
    catalogue = {**shipped(), **{each.id: each for each in run.frameworks}}
    checks: dict[str, Check] = {}
    for name, sha256 in run.policies.items():
        policy = policy_of(_document(bundle, name, sha256, problems), inventory, catalogue)
        planned = plan(policy, inventory)
        checks |= {check.id: check for check in (*planned, *waivers.checks(policy, planned))}
    return inventory, checks, waivers


def _document(bundle: Bundle, name: str, sha256: str, problems: list[Problem]) -> Any:
    place = safe_path(name, POLICY)
    content = bundle.read(place)
    if digest(content) != sha256 and not marks(content):
        problems.append(Problem("input", place, "is not what the audit read, by the hash in results.json"))
    return parse_document(content, file=name, path=Path(name))


def _wanted(
    bundle: Bundle, results: Results, checks: Mapping[str, Check], problems: list[Problem]
) -> list[Check]:  # fmt: skip
    """Return the checks that were gathered for; what results, facts and policies say of them must agree."""
    gathered, unjudged = checks_of(bundle.read)
    told = [check.id for check in results.checks]
    judged, there = set(gathered) - unjudged, set(told)
    for id_ in dict.fromkeys((*gathered, *told)):
        if (id_ in judged) != (id_ in there):
            words = (
                "was judged, and is not in the results" if id_ in judged else "is in the results, and was not judged"
            )
            problems.append(Problem("verdict", one_line(id_), words))
    if len(set(told)) < len(told):
        problems.append(Problem("verdict", "", "a check is in the results twice"))
    if results.run.planned != len(checks):
        message = f"the results say that {results.run.planned} checks were planned, the policies plan {len(checks)}"
        problems.append(Problem("verdict", "", message))
    unplanned = [id_ for id_ in gathered if id_ not in checks]
    if unplanned:
        raise Misfit(f"{one_line(unplanned[0])}: no policy of the run plans this check")
    return [checks[id_] for id_ in gathered]


def _compare_checks(
    results: Results, checks: Sequence[Check], again: Rederived, judging: Judging, found: Recomputed
) -> None:  # fmt: skip
    told = {check.id: check for check in results.checks}
    for check in checks:
        row = told.get(check.id)
        if row is None:
            continue
        if check.id in again.misfits:
            found.impossible[check.id] = again.misfits[check.id]
            continue
        mine = result_of(check, judging.outcome(check), again.facts, file=row.file, seconds=0.0, artefacts=[])
        # the packets' ways through the tables, which it may show, are not stored
        different = _different(row, mine, {"evidence"} if check.id in again.as_recorded else ())
        if different:
            found.problems.append(Problem("verdict", one_line(check.id), different))
            continue
        found.same.append(check.id)
        if check.id in again.as_recorded:
            found.as_recorded[check.id] = again.as_recorded[check.id]


def _plain(row: CheckResult) -> dict[str, Any]:
    return {key: _as_written(value) for key, value in asdict(row).items() if key not in _OWN}


def _as_written(value: Any) -> Any:
    """Return a value of a record as results.json has it: without secrets, and as text that can be written."""
    if isinstance(value, str):
        return encodable(redacted(value))
    if isinstance(value, dict):
        return {key: _as_written(each) for key, each in value.items()}
    return [_as_written(each) for each in value] if isinstance(value, list | tuple) else value


def _different(row: CheckResult, mine: CheckResult, leave: Collection[str]) -> str:
    """Return in which of its words a row differs from what the evidence leads to, empty where in none."""
    told, made = ({key: each for key, each in _plain(one).items() if key not in leave} for one in (row, mine))
    names = [name for name in (*_FIRST, *told) if told[name] != made[name]]
    if not names:
        return ""
    name = names[0]
    more = sorted(set(names[1:]) - {name})
    also = f"; so do {', '.join(more)}" if more else ""
    theirs, ours = _from_the_difference(str(told[name]), str(made[name]))
    what = f"its {name} does not follow from the evidence"
    return f"{what}: results.json has {theirs!r}, the evidence leads to {ours!r}{also}"


def _from_the_difference(one: str, other: str) -> tuple[str, str]:
    """Return two texts on one line each, cut so that where they begin to differ is seen."""
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = 0 if same < _SEEN else same - _SEEN // 4
    before = "…" if start else ""
    return one_line(before + one[start:], _SEEN), one_line(before + other[start:], _SEEN)


def _waivers(results: Results, waivers: RunWaivers, today: date) -> Iterator[Problem]:
    if _as_written([asdict(each) for each in waivers.records(today)]) != _as_written(
        [asdict(each) for each in results.run.waivers]
    ):
        yield Problem("results", "waivers", "what results.json says of the waivers is not what their files say")


def _hosts(results: Results, facts: Facts) -> Iterator[Problem]:
    for record in results.run.hosts:
        if record.name not in facts.snapshots:
            yield Problem("evidence", one_line(record.name), "there is nothing of this host")
        elif _as_written(asdict(host_record(facts, record.name))) != _as_written(asdict(record)):
            yield Problem(
                "results", one_line(record.name), "what results.json says of this host is not what it printed"
            )


def _packets(bundle: Bundle, facts: Facts) -> Iterator[Problem]:
    """Yield each file of packets that is not what the stored observations hold."""
    rest = exercises_of(bundle.read) if EXERCISES in bundle.sizes else []
    made = evidence_of(facts) | exercise_pcaps(facts, [*bursts(facts), *rest])
    pcaps = {safe_path(name, "evidence"): content for name, content in made.items() if name.endswith(".pcap")}
    stored = {name for name in bundle.sizes if name.startswith("evidence/probes/") and name.endswith(".pcap")}
    for name in sorted(stored ^ set(pcaps)):
        yield Problem("evidence", name, "has packets that no observation has" if name in stored else "is not there")
    for name in sorted(stored & set(pcaps)):
        if bundle.read(name) != pcaps[name]:
            yield Problem("evidence", name, "does not hold the packets of the stored observations")
