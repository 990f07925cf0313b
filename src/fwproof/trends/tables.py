"""The tables that two runs stored of a host, compared as text and by meaning.

Evidence is looked at only if it is what the run says it stored: its SHA-256 is in results.json.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fwproof.audit.modelling import model_of
from fwproof.audit.stored import readings_of
from fwproof.codec import Misfit
from fwproof.decision import RuleRef
from fwproof.errors import HostError, NotThere
from fwproof.flow import Family
from fwproof.report.clean import one_line
from fwproof.results import Results
from fwproof.semantics.bdd_walk import unread
from fwproof.semantics.diff import Change, Comparison, Kind, compare
from fwproof.semantics.model import HostModel
from fwproof.semantics.space import SpaceTooLarge
from fwproof.snapshot import Snapshot
from fwproof.trends.changes import HostRules, RuleChange, TextChange

_TABLES = ("iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft", "ipset-save")
_BESIDE = ("ip-addr", "ip-route", "ip6-route", "ip-rule", "ip6-rule", "sysctl", "ip_tables_names", "ip6_tables_names",
           "traffic-control")  # fmt: skip
"""What the model reads besides tables."""
_OWN = {"ip": "iptables-save", "ip6": "ip6tables-save"}
_SHOWN = 200
"""Lines of a text's differences that are kept."""
_LINES = 20_000
"""Lines of a text up to which it is compared line by line; beyond it only by meaning."""
_COUNTED = re.compile(r"^\[\d+:\d+\] | \[\d+:\d+\]$")
"""Before a rule, and after a chain; what a rule itself says in such a form stays."""
_COUNTERS = {"packets", "bytes", "handle", "index"}
Texts = Mapping[str, str]


def host_rules(before: Results, after: Results, folders: tuple[Path, Path], most: int) -> Iterator[HostRules]:
    """Yield how the tables differ of each host that both runs have; at most ``most`` changes a host and family."""
    known = {host.name for host in before.run.hosts}
    sides = _Stored(before, folders[0]), _Stored(after, folders[1])
    for host in after.run.hosts:
        if host.name in known:
            yield _compared(host.name, sides, most)


class _Altered(Misfit):
    """A file that is not the one that its run stored."""


class _Stored:
    """Reads a run's evidence, and only what is as the run stored it."""

    def __init__(self, results: Results, folder: Path) -> None:
        self._run, self._folder = one_line(results.run.id, 80), folder
        self._readings: Callable[[str], Snapshot | HostError] | None = None
        self._listed = {artefact.path: artefact.sha256 for artefact in results.run.artefacts}

    def of(self, host: str) -> Snapshot | HostError:
        """Return what was read of a host; raises Misfit."""
        if self._readings is None:
            self._readings = readings_of(self._content)
        return self._readings(host)

    def _content(self, path: str) -> bytes:
        """Return a file's content; raises Misfit where it is not there or not listed, _Altered where it is another."""
        place, name = self._folder / path, f"{one_line(path)} of run {self._run}"
        try:
            inside = place.resolve().is_relative_to(self._folder.resolve())
            if path not in self._listed or not inside or not place.is_file():
                raise Misfit(f"{name} is not here")
            content = place.read_bytes()
        except OSError as error:
            raise Misfit(f"{name} cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != self._listed[path]:
            raise _Altered(f"{name} was altered since it was stored")
        return content


def _compared(host: str, sides: tuple[_Stored, _Stored], most: int) -> HostRules:
    read: list[Snapshot] = []
    gaps: list[str] = []
    altered: list[str] = []
    for side, word in zip(sides, ("earlier", "later"), strict=True):
        try:
            found = side.of(host)
        except Misfit as why:
            (altered if isinstance(why, _Altered) else gaps).append(str(why))
            continue
        if isinstance(found, HostError):
            gaps.append(f"it could not be read in the {word} run: {found.message}")
        else:
            read.append(found)
    if len(read) < len(sides):
        return _record(host, None, [], [], gaps, altered)
    was, now = ({name: capture.stdout for name, capture in each.captures.items()} for each in read)
    texts = [change for name in _TABLES if (change := _text(name, was, now))]
    differ = bool(texts) or any(was.get(name) != now.get(name) for name in _BESIDE)
    compared, gaps = _meaning(read, most, differ=differ)
    same = None if gaps or any(each.changes for each in compared) else True
    if any(each.unlisted or each.effects or any(change.kind is not Kind.UNKNOWN for change in each.changes)
           for each in compared):  # fmt: skip
        same = False
    return _record(host, same, texts, compared, gaps, altered)


def _alike(model: HostModel, family: Family) -> Comparison:
    """Return the comparison of tables with themselves, without the work of it: what was not read is all there is."""
    blind = model.blind.get(family, ("its rules were not read",)) or tuple(unread(model, family))
    return Comparison(family=family, changes=(), blind=blind)


def _meaning(read: list[Snapshot], most: int, *, differ: bool) -> tuple[list[Comparison], list[str]]:
    """Return what differs in each family, and of what nothing can be said; ``differ`` is whether anything can."""
    found: list[Comparison] = []
    gaps: list[str] = []
    for family in Family:
        models = [model_of(snapshot, {family}) for snapshot in read]
        faults = [model for model in models if isinstance(model, HostError)]
        if len(faults) == len(models) and all(isinstance(fault, NotThere) for fault in faults):
            continue  # a host without this family
        gaps += [f"{family}: {fault.message}" for fault in faults]
        both = [model for model in models if not isinstance(model, HostError)]
        if len(both) < len(models):
            continue
        try:
            each = compare(both[0], both[1], family, most=most) if differ else _alike(both[0], family)
        except SpaceTooLarge as limit:
            gaps.append(f"{family}: {limit}")
            continue
        found.append(each)
        gaps += [f"{family}: {reason}" for reason in each.blind]
    return found, gaps


def _record(  # noqa: PLR0913, PLR0917 - the parts of one record
    host: str, same: bool | None, texts: list[TextChange], found: list[Comparison], gaps: list[str],  # noqa: FBT001
    altered: list[str],
) -> HostRules:  # fmt: skip
    return HostRules(
        host=host, same=same, texts=texts, changes=[_change(change) for each in found for change in each.changes],
        unlisted=sum(each.unlisted for each in found), altered=altered,
        effects=[f"{each.family}: {effect}" for each in found for effect in each.effects],
        not_compared=list(dict.fromkeys(gaps)),
    )  # fmt: skip


def _change(change: Change) -> RuleChange:
    return RuleChange(
        kind=change.kind.value, family=change.family.value, hook=change.hook.value, states=list(change.states),
        boxes=[str(room) for room in change.rooms], more_boxes=change.more, before=_fate(change.before),
        after=_fate(change.after), depends_on=list(change.depends_on), witness=str(change.witness),
    )  # fmt: skip


def _fate(fate: tuple[str, RuleRef | None]) -> str:
    return f"{fate[0]} by {fate[1]}" if fate[1] else fate[0]


# ---- as text


def _text(name: str, was: Texts, now: Texts) -> TextChange | None:
    old, new = (_normal(name, texts) for texts in (was, now))
    if old == new:
        return None
    if max(len(old), len(new)) > _LINES:
        said = f"@@ too long to compare line by line: {len(old):,} lines became {len(new):,} @@"
        return TextChange(file=name, lines=[said], more=0)
    found = list(difflib.unified_diff(old, new, lineterm="", n=1))[2:]
    lines = [line if line.startswith("@@") else f"{line[0]} {line[1:]}" for line in found]
    return TextChange(file=name, lines=lines[:_SHOWN], more=max(len(lines) - _SHOWN, 0))


def _normal(name: str, texts: Texts) -> list[str]:
    """Return a text's lines without what moves by itself: counters, handles, the time of the dump."""
    text = texts.get(name, "")
    if name == "nft":
        return list(_objects(text, texts))
    lines = (_COUNTED.sub("", line).strip() for line in text.splitlines() if not line.startswith("#"))
    return [line for line in lines if line]


def _objects(text: str, texts: Texts) -> Iterator[str]:
    """Yield nft's objects, one a line, but for those of tables that iptables-save shows as well."""
    shown = {(family, line[1:].strip()) for family, name in _OWN.items()
             for line in texts.get(name, "").splitlines() if line.startswith("*")}  # fmt: skip
    try:
        objects = json.loads(text)["nftables"] if text.strip() else []
        found = [(kind, value) for each in objects for kind, value in each.items() if kind != "metainfo"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        yield from text.splitlines()
        return
    for kind, value in found:
        about: Mapping[str, Any] = value if isinstance(value, dict) else {}
        table = about.get("name") if kind == "table" else about.get("table")
        if (about.get("family"), table) not in shown:
            yield json.dumps({kind: _still(value)}, sort_keys=True)


def _still(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _still(each) for key, each in value.items() if key not in _COUNTERS or isinstance(each, dict)}
    return [_still(each) for each in value] if isinstance(value, list) else value
