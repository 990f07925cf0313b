"""The tables that two runs stored of a host, compared as text and by meaning.

Evidence is looked at only if it is what the run says it stored: its SHA-256 is in results.json.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fwproof.decision import RuleRef
from fwproof.errors import InputError
from fwproof.flow import Family
from fwproof.report.clean import one_line
from fwproof.results import HostRecord, Results
from fwproof.semantics.diff import Change, Comparison, compare
from fwproof.semantics.model import HostModel
from fwproof.semantics.space import SpaceTooLarge
from fwproof.trends.changes import HostRules, RuleChange, TextChange

PARTS = {
    "rules.v4": "iptables_save", "rules.v6": "ip6tables_save", "iptables-save": "iptables_save",
    "ip6tables-save": "ip6tables_save", "iptables-legacy-save": "iptables_legacy_save",
    "ip6tables-legacy-save": "ip6tables_legacy_save", "nft": "nft_json", "ipset-save": "ipset_save",
    "ip-addr": "addresses", "ip-route": "routes", "ip6-route": "routes6", "ip-rule": "routing_rules",
    "ip6-rule": "routing_rules6", "sysctl": "sysctls",
}  # fmt: skip
"""Files of a folder, with or without ``.txt`` or ``.json``, and what they are; a later one counts before an earlier."""
_LIVE = {name: key for name, key in PARTS.items() if not name.startswith("rules.")}
"""Those that a run stored of what was in the kernel: the files that boot are no tables of a host as it ran."""
_TABLES = ("iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save", "nft", "ipset-save")
_OWN = {"ip": "iptables-save", "ip6": "ip6tables-save"}
_SHOWN = 200
"""Lines of a text's differences that are kept."""
_LINES = 20_000
"""Lines of a text up to which it is compared line by line; beyond it only by meaning."""
_COUNTED = re.compile(r"^\[\d+:\d+\] | \[\d+:\d+\]$")
"""Before a rule, and after a chain; what a rule itself says in such a form stays."""
_COUNTERS = {"packets", "bytes", "handle", "index"}
Texts = dict[str, str]


def host_rules(before: Results, after: Results, folders: tuple[Path, Path], most: int) -> Iterator[HostRules]:
    """Yield how the tables differ of each host that both runs have; at most ``most`` changes a host and family."""
    old = {host.name: host for host in before.run.hosts}
    for host in after.run.hosts:
        if host.name in old:
            sides = [_stored(host.name, results, folder)
                     for results, folder in zip((before, after), folders, strict=True)]  # fmt: skip
            yield _compared(old[host.name], host, sides, most)


def _stored(host: str, results: Results, folder: Path) -> tuple[Texts, list[str]]:
    """Return a host's texts by name, and which are not as the run stored them."""
    texts: Texts = {}
    altered: list[str] = []
    listed = {artefact.path: artefact.sha256 for artefact in results.run.artefacts}
    for name in _LIVE:
        path = f"evidence/{host}/{name}.txt"
        if path not in listed:
            continue
        place = folder / path
        try:
            if not place.resolve().is_relative_to(folder.resolve()) or not place.is_file():
                continue
            content = place.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(content).hexdigest() == listed[path]:
            texts[name] = content.decode("utf-8", "surrogateescape")
        else:
            altered.append(f"{path} of run {one_line(results.run.id, 80)} was altered since it was stored")
    return texts, altered


def _compared(old: HostRecord, new: HostRecord, sides: list[tuple[Texts, list[str]]], most: int) -> HostRules:
    (was, altered), (now, altered_too) = sides
    altered = altered + altered_too
    gaps = [f"{name} is in the evidence of the {word} run alone" for name in _TABLES
            for word, here, there in (("earlier", was, now), ("later", now, was)) if name in here and name not in there]
    gaps += [f"{word} run: {limit}" for word, record in (("earlier", old), ("later", new)) for limit in record.limits
             if limit.startswith(tuple(f"{name} was not read" for name in _TABLES))]  # fmt: skip
    if not (set(_TABLES) & was.keys() and set(_TABLES) & now.keys()):
        gaps.insert(0, "the runs' evidence of its tables is not here")
        return _record(new.name, None, [], [], gaps, altered)
    texts = [change for name in _TABLES if (change := _text(name, was, now))]
    if was.keys() == now.keys() and all(_normal(name, was) == _normal(name, now) for name in was):
        return _record(new.name, None if gaps or altered else True, texts, [], gaps, altered)
    found, blind = _meaning(was, now, most)
    gaps += blind
    same = None if gaps or altered else True
    if any(each.changes or each.unlisted or each.effects for each in found):
        same = False
    return _record(new.name, same, texts, found, gaps, altered)


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


def _meaning(was: Texts, now: Texts, most: int) -> tuple[list[Comparison], list[str]]:
    try:
        models = [HostModel.build(**_arguments(texts), sources={_LIVE[n]: n for n in texts}) for texts in (was, now)]
    except InputError as error:
        return [], [f"the tables cannot be read: {one_line(str(error))}"]
    found: list[Comparison] = []
    blind: list[str] = []
    for family in Family:
        try:
            each = compare(models[0], models[1], family, most=most)
        except SpaceTooLarge as limit:
            blind.append(f"{family}: {limit}")
            continue
        found.append(each)
        blind += [f"{family}: {reason}" for reason in each.blind]
    return found, blind


def _arguments(texts: Texts) -> dict[str, Any]:
    return {_LIVE[name]: text for name, text in texts.items()}


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


def files_of(folder: Path) -> dict[str, Path]:
    """Return the files of tables in a folder, by the parameter of :meth:`HostModel.build` that they are for."""
    named = {path.name.removesuffix(".txt").removesuffix(".json"): path for path in sorted(folder.iterdir())}
    return {key: named[name] for name, key in PARTS.items() if name in named}


