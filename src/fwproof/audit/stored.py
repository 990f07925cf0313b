"""Facts as files of a run's evidence, and facts again from these files: the only way in and out.

::

    evidence/<host>/<name>.txt      what each command printed before anything was sent
    evidence/later/<id>/<name>.txt  the same of later readings, where it differs from what is stored already
    evidence/snapshots.json         of each reading: which command, when, its status, its file, or why there is none
    evidence/inventory.json         the hosts, where further files (Ansible's, OpenSSH's) have a part in them
    evidence/facts.jsonl            one line a fact, in the form of :mod:`fwproof.codec`; the first names the checks
    evidence/probes/exercises.jsonl one line a probe that belongs to no single fact (bans, measurements, neighbours)
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fwproof.audit.modelling import families_of, front_ends_of, model_of
from fwproof.codec import Codec, Misfit, Special
from fwproof.decision import Ruling
from fwproof.errors import HostError
from fwproof.facts import BaselineFacts, Exercised, Facts, FlowFacts
from fwproof.flow import Family
from fwproof.inventory import Inventory
from fwproof.observation import Observation
from fwproof.plan import Check
from fwproof.policy.table_model import Baseline
from fwproof.redact import redacted
from fwproof.report.clean import safe_path
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Capture, Snapshot

FACTS, SNAPSHOTS, EXERCISES = "evidence/facts.jsonl", "evidence/snapshots.json", "evidence/probes/exercises.jsonl"
INVENTORY = "evidence/inventory.json"
FACTS_SCHEMA, SNAPSHOTS_SCHEMA = "fwproof-facts-1", "fwproof-snapshots-1"
_BY_CHECK = {"flows", "exercised", "baselines"}
_ELSEWHERE = {"inventory", "snapshots", "models", "front_ends"}
"""Fields of Facts that come from the policies' own files, or from the snapshots."""
Read = Callable[[str], bytes]
"""Returns the content of a file of the run by its path; raises Misfit where that cannot be had."""


def _dumped(data: Any) -> bytes:
    return (json.dumps(data, separators=(",", ":"), allow_nan=False) + "\n").encode("ascii")


# ---- to files


class _Snapshots:
    """Gives each reading of a host a name, and each text a file, once."""

    def __init__(self, facts: Facts, clean: Callable[[str], str]) -> None:
        self._clean, self._codec = clean, Codec(text=clean)
        self.files: dict[str, bytes] = {}
        self._places: dict[str, str] = {}
        self._entries: dict[str, Any] = {}
        self._ids: dict[int, tuple[str, Snapshot]] = {}
        for host, snapshot in facts.snapshots.items():
            if isinstance(snapshot, HostError):
                self._entries[host] = self._codec.encode(snapshot)
            else:
                self._name(snapshot, host, f"evidence/{host}")

    def id_of(self, snapshot: Snapshot) -> str:
        """Return the name of a reading; one that was not met before gets the next."""
        if id(snapshot) not in self._ids:
            name = f"{snapshot.host}-{len(self._ids) + 1}"
            self._name(snapshot, name, f"evidence/later/{name}")
        return self._ids[id(snapshot)][0]

    def _name(self, snapshot: Snapshot, name: str, folder: str) -> None:
        self._ids[id(snapshot)] = name, snapshot
        captures = [self._capture(each, folder) for each in snapshot.captures.values()]
        faults = [{"name": what, **self._codec.encode(fault)} for what, fault in snapshot.faults.items()]
        self._entries[name] = {"host": snapshot.host, "captures": captures, "faults": faults}

    def _capture(self, capture: Capture, folder: str) -> dict[str, Any]:
        capture = replace(capture, stdout=self._clean(capture.stdout), stderr=self._clean(capture.stderr))
        digest = capture.sha256
        if digest not in self._places or not folder.startswith("evidence/later/"):
            place = safe_path(f"{folder}/{capture.name}.txt", "evidence")
            self.files[place] = capture.stdout.encode("utf-8", "surrogateescape")
            self._places.setdefault(digest, place)
        else:
            place = self._places[digest]
        return {
            "name": capture.name, "argv": list(capture.argv), "status": capture.status, "stderr": capture.stderr,
            "at": capture.at, "seconds": round(capture.seconds, 4), "sha256": digest, "file": place,
        }  # fmt: skip

    def index(self) -> bytes:
        """Return the list of all readings."""
        text = json.dumps({"schema": SNAPSHOTS_SCHEMA, "snapshots": self._entries}, indent=1)
        return (text + "\n").encode("ascii")


def files_of(  # noqa: PLR0913 - all by name, each one thing that is known of a run
    facts: Facts, checks: Sequence[Check], *, extra: Iterable[Observation] = (), cut: int = 0,
    clean: Callable[[str], str] = redacted, unjudged: Iterable[str] = (),
) -> dict[str, bytes]:  # fmt: skip
    """Return the files that hold all facts, by path; ``checks`` are all that was gathered for.

    ``unjudged`` are the ids of those of which an audit that was ended says nothing.
    ``extra`` are observations that no fact has, ``cut`` how many more there were. ``clean`` takes secrets out of every
    text. The way of a packet through the tables is left out, which the tables tell.
    """
    snapshots = _Snapshots(facts, clean)

    def model(value: HostModel) -> dict[str, Any]:
        if value.read_from is None:
            raise TypeError("a model that was not read from a host has no stored form")
        snapshot, families = value.read_from
        return {"model": snapshots.id_of(snapshot), "families": sorted(families)}

    codec = Codec({
        HostModel: Special(model, _no_decoder), Snapshot: Special(snapshots.id_of, _no_decoder),
        Ruling: Special(lambda value: Codec(text=clean).encode(replace(value, trace=())), _no_decoder),
    }, clean)  # fmt: skip
    first = {"schema": FACTS_SCHEMA, "checks": [check.id for check in checks], "unjudged": list(unjudged)}
    lines = [first, *_lines(facts, checks, codec)]
    rest: list[Any] = [codec.encode(each) for each in extra]
    if rest or cut:
        snapshots.files[EXERCISES] = b"".join(map(_dumped, [{"kept": len(rest), "cut": cut}, *rest]))
    return {**snapshots.files, FACTS: b"".join(map(_dumped, lines)), SNAPSHOTS: snapshots.index()}


def _lines(facts: Facts, checks: Sequence[Check], codec: Codec) -> Iterator[dict[str, Any]]:
    """Yield every fact that is not in the snapshots or the policies."""
    for each in dataclasses.fields(Facts):
        if each.name not in _BY_CHECK | _ELSEWHERE:
            yield {"fact": each.name, "value": codec.encode(getattr(facts, each.name))}
    for check in checks:
        if isinstance(check.expectation, Baseline):
            known = facts.baselines.get((check.host, check.expectation.folder(check.host)))
            yield {"check": check.id, "baselines": codec.encode(known)}
        if check.id in facts.flows:
            yield {"check": check.id, "flows": codec.encode(facts.flows[check.id])}
        if check.id in facts.exercised:
            yield {"check": check.id, "exercised": codec.encode(facts.exercised[check.id])}


def inventory_file(inventory: Inventory, clean: Callable[[str], str] = redacted) -> dict[str, bytes]:
    """Return an inventory as a file, where it was made of others than its own: those are not stored."""
    return {INVENTORY: _dumped(Codec(text=clean).encode(inventory))} if inventory.further else {}


def _no_decoder(_data: Any) -> Any:
    raise Misfit("this codec only writes")


# ---- and back


def _json(read: Read, path: str) -> Any:
    try:
        return json.loads(read(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Misfit(f"{path}: is no JSON: {str(error)[:200]}") from error


def _json_lines(read: Read, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(read(path).split(b"\n"), 1):
        if line.strip():
            try:
                data = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise Misfit(f"{path}:{number}: is no JSON: {str(error)[:200]}") from error
            if not isinstance(data, dict):
                raise Misfit(f"{path}:{number}: is no object")
            yield f"{path}:{number}", data


class _Restored:
    """Readings of hosts from files, with a model each where one is asked for."""

    def __init__(self, read: Read) -> None:
        index = _json(read, SNAPSHOTS)
        if not isinstance(index, dict) or index.get("schema") != SNAPSHOTS_SCHEMA:
            raise Misfit(f"{SNAPSHOTS}: is not of the schema {SNAPSHOTS_SCHEMA!r}")
        entries = index.get("snapshots")
        if not isinstance(entries, dict):
            raise Misfit(f"{SNAPSHOTS}: has no snapshots")
        self._read, self._index = read, entries
        self._known: dict[str, Snapshot | HostError] = {}
        self._models: dict[tuple[str, frozenset[Family]], HostModel | HostError] = {}

    def snapshot(self, name: Any) -> Snapshot | HostError:
        """Return a reading by its name; raises Misfit."""
        if not isinstance(name, str) or name not in self._index:
            raise Misfit(f"{SNAPSHOTS}: there is no {name!r:.80}")
        if name not in self._known:
            self._known[name] = self._snapshot(name, self._index[name])
        return self._known[name]

    def _snapshot(self, name: str, entry: Any) -> Snapshot | HostError:
        where, codec = f"{SNAPSHOTS}: {name}", Codec()
        if isinstance(entry, dict) and "fault" in entry:
            found: HostError = codec.decode(entry, HostError, where)
            return found
        try:
            captures = [self._capture(each) for each in entry["captures"]]
            faults = {str(each["name"]): codec.decode(each, HostError, where) for each in entry["faults"]}
            return Snapshot(host=str(entry["host"]), captures={each.name: each for each in captures}, faults=faults)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Misfit(f"{where}: an entry is not as an audit writes it: {error!r:.200}") from error

    def _capture(self, entry: Any) -> Capture:
        stdout = self._read(str(entry["file"])).decode("utf-8", "surrogateescape")
        capture = Capture(
            name=str(entry["name"]), argv=tuple(map(str, entry["argv"])), status=int(entry["status"]), stdout=stdout,
            stderr=str(entry["stderr"]), at=str(entry["at"]), seconds=float(entry["seconds"]),
        )  # fmt: skip
        if capture.sha256 != entry["sha256"]:
            raise Misfit(f"{entry['file']}: is not what {capture.name} printed: its SHA-256 is {capture.sha256}, "
                         f"{SNAPSHOTS} says {str(entry['sha256'])[:64]}")  # fmt: skip
        return capture

    def model(self, data: Any) -> HostModel:
        """Return the model that a stored reference names; raises Misfit where it cannot be built."""
        try:
            key = str(data["model"]), frozenset(map(Family, data["families"]))
        except (KeyError, TypeError, ValueError) as error:
            raise Misfit(f"{FACTS}: names no model: {data!r:.80}") from error
        if key not in self._models:
            self._models[key] = model_of(self.snapshot(key[0]), set(key[1]))
        found = self._models[key]
        if isinstance(found, HostError):
            raise Misfit(f"{SNAPSHOTS}: {key[0]}: no model can be made of it: {found.message}")
        return found

    def decoded(self, data: Any) -> Snapshot:
        """Return the reading that a stored reference names; raises Misfit."""
        found = self.snapshot(data)
        if isinstance(found, HostError):
            raise Misfit(f"{SNAPSHOTS}: {data!r:.80} is no snapshot")
        return found


def checks_of(read: Read) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the ids of the checks that the facts are of, and of those that were not judged; raises Misfit."""
    nothing: dict[str, Any] = {}
    _, first = next(_json_lines(read, FACTS), ("", nothing))
    if first.get("schema") != FACTS_SCHEMA or not isinstance(first.get("checks"), list):
        raise Misfit(f"{FACTS}: is not of the schema {FACTS_SCHEMA!r}")
    unjudged = first.get("unjudged")
    if not isinstance(unjudged, list):
        raise Misfit(f"{FACTS}: does not say which checks were judged")
    return tuple(map(str, first["checks"])), frozenset(map(str, unjudged))


def facts_of(read: Read, checks: Sequence[Check], inventory: Inventory) -> Facts:
    """Return the facts in a run's files, with the models built anew from what the hosts printed; raises Misfit.

    What the audit said of single packets is as it was stored; :mod:`fwproof.audit.rederive` works it out again.
    """
    restored = _Restored(read)
    codec = Codec({
        HostModel: Special(_no_encoder, restored.model), Snapshot: Special(_no_encoder, restored.decoded),
    })  # fmt: skip
    families = families_of(checks)
    snapshots = {host: restored.snapshot(host) for host in families}
    models = {host: model_of(snapshot, families[host]) for host, snapshot in snapshots.items()}
    found: dict[str, Any] = {"flows": {}, "exercised": {}, "baselines": {}}
    _fill(found, codec, list(_json_lines(read, FACTS))[1:], {check.id: check for check in checks})
    return Facts(
        inventory=inventory, snapshots=snapshots, models=models, front_ends=front_ends_of(snapshots, models), **found
    )


def readings_of(read: Read) -> Callable[[str], Snapshot | HostError]:
    """Return a function that gives what was read of a host before anything was sent; both raise Misfit."""
    return _Restored(read).snapshot


def inventory_of_file(read: Read) -> Inventory:
    """Return the inventory of :func:`inventory_file`; raises Misfit."""
    found: Inventory = Codec().decode(_json(read, INVENTORY), Inventory, INVENTORY)
    return found


def exercises_of(read: Read) -> list[Observation]:
    """Return the observations that belong to no fact; raises Misfit."""
    lines, codec = list(_json_lines(read, EXERCISES)), Codec()
    return [codec.decode(data, Observation, where) for where, data in lines[1:]]


_HINTS: Mapping[str, Any] = {
    "flows": FlowFacts | HostError, "exercised": Exercised | HostError, "baselines": BaselineFacts | HostError | None,
}  # fmt: skip


def _fill(found: dict[str, Any], codec: Codec, lines: Sequence[tuple[str, Any]], checks: Mapping[str, Check]) -> None:
    hints = typing.get_type_hints(Facts)
    for where, line in lines:
        if "fact" in line:
            name = str(line["fact"])
            if name not in hints or name in _BY_CHECK | _ELSEWHERE or name in found:
                raise Misfit(f"{where}: {name!r:.80} is no fact of a run, or there twice")
            found[name] = codec.decode(line.get("value"), hints[name], where)
            continue
        check = checks.get(str(line.get("check")))
        names = [name for name in _HINTS if name in line]
        if check is None or len(names) != 1:
            raise Misfit(f"{where}: is no fact of a check of this run")
        value = codec.decode(line[names[0]], _HINTS[names[0]], where)
        key: Any = check.id
        if isinstance(check.expectation, Baseline) and names[0] == "baselines":
            key = check.host, check.expectation.folder(check.host)
        found[names[0]][key] = value


def _no_encoder(_value: Any) -> Any:
    raise TypeError("this codec only reads")
