"""``fwproof diff``: what became reachable and what stopped being, from one set of tables to another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from fwproof.cli.draft import draft
from fwproof.cli.saying import say
from fwproof.cli.tables import (
    Tables,
    complain,
    families_option,
    inventory_option,
    live,
    of_files,
    of_folder,
    of_host,
    packet_json,
    read_text,
    rule_json,
    understood_json,
)
from fwproof.decision import RuleRef
from fwproof.errors import Fault, HostError, InputError, UsageError
from fwproof.flow import Family
from fwproof.semantics.diff import Change, Comparison, compare
from fwproof.semantics.space import SpaceTooLarge
from fwproof.snapshot import Snapshot

SCHEMA = "fwproof-diff-1"
_WORDS = {
    "became-reachable": "became reachable", "stopped-being-reachable": "stopped being reachable",
    "refused-otherwise": "is refused otherwise", "not-known": "is not known",
}  # fmt: skip
LIVE = "host:"
"""What stands before the name of a host that is to be read live."""
_RUN = "fwproof.invalid/schema/results-"
"""What the schema of every results.json has in its name."""
_PARTS = {
    "rules.v4": "iptables_save", "rules.v6": "ip6tables_save", "iptables-save": "iptables_save",
    "ip6tables-save": "ip6tables_save", "iptables-legacy-save": "iptables_legacy_save",
    "ip6tables-legacy-save": "ip6tables_legacy_save", "nft": "nft_json", "ipset-save": "ipset_save",
    "ip-addr": "addresses", "ip-route": "routes", "ip6-route": "routes6", "ip-rule": "routing_rules",
    "ip6-rule": "routing_rules6", "sysctl": "sysctls", "ip_tables_names": "legacy_names",
    "ip6_tables_names": "legacy_names6", "traffic-control": "traffic_control",
}  # fmt: skip
"""Files of a folder, with or without ``.txt`` or ``.json``, and what they are; a later one counts before an earlier."""


def read_side(place: str, family: str | None, hosts: Mapping[str, Snapshot | HostError]) -> Tables:
    """Read one side: a live host, a snapshot's folder, a folder of files, or one file."""
    if place.startswith(LIVE):
        name = place.removeprefix(LIVE)
        return of_host(hosts[name], family, name)
    path = Path(place)
    if not path.is_dir():
        return of_files(*_file(path, read_text(path), family))
    files = _files_of(path)
    if (path / "snapshot.json").exists() or not files:
        return of_folder(path, family)
    return of_files(files, family)


def _files_of(folder: Path) -> dict[str, Path]:
    named = {path.name.removesuffix(".txt").removesuffix(".json"): path for path in sorted(folder.iterdir())}
    return {key: named[name] for name, key in _PARTS.items() if name in named}


def _file(path: Path, text: str, family: str | None) -> tuple[dict[str, Path], str | None]:
    """Return what a file is: nft's list, or a dump that says its family, or whose name does."""
    if text.lstrip().startswith("{"):
        return {"nft_json": path}, family
    of = Family(family) if family else _family_of(path, text)
    return {"iptables_save" if of is Family.IPV4 else "ip6tables_save": path}, of.value


def _family_of(path: Path, text: str) -> Family:
    first = text[:200].lower()
    if "ip6tables-save" in first or "ip6tables-nft-save" in first or path.suffix == ".v6":
        return Family.IPV6
    if "iptables-save" in first or path.suffix == ".v4":
        return Family.IPV4
    raise InputError([Fault(str(path), 0, 0, "does not say whether it is IPv4 or IPv6: give --family")])


def _sides(places: Sequence[str], inventory: Path | None, family: str | None) -> list[Tables]:
    """Read both sides, live hosts first and at once; raises UsageError where they are of different families."""
    names = [place.removeprefix(LIVE) for place in places if place.startswith(LIVE)]
    if inventory is not None and not names:
        raise UsageError("--inventory is where hosts are looked up: give OLD or NEW as host:NAME")
    hosts = live(names, inventory) if names else {}
    sides = [read_side(place, family, hosts) for place in places]
    if sides[0].families != sides[1].families:
        has = [f"{place} has {' and '.join(side.families)}" for place, side in zip(places, sides, strict=True)]
        raise UsageError(f"{', '.join(has)}: give --family for what is to be compared")
    for side in sides:
        complain(side)
    return sides


def _runs(places: Sequence[str]) -> bool:
    """Whether two runs are meant; raises UsageError where one of two is a run and the other is not."""
    found = [_is_run(Path(place)) for place in places]
    if any(found) and not all(found):
        run, other = (places[found.index(each)] for each in (True, False))
        raise UsageError(
            f"{run} is a run and {other} is not: give two runs, or tables on both sides, such as {run}/evidence/HOST"
        )
    return all(found)


def _is_run(path: Path) -> bool:
    """Whether a path is the folder of a run, or a results.json; a folder of tables stays one whatever else it holds."""
    try:
        if path.is_dir():
            tables = (path / "snapshot.json").exists() or _files_of(path)
            return (path / "results.json").exists() and not tables
        text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
    except OSError:
        return False
    if _RUN not in text:
        return False
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return not text.lstrip().startswith(("*", "#"))  # a cut one, of which reading it says more
    return isinstance(document, dict) and "nftables" not in document


@click.command()
@click.argument("old")
@click.argument("new")
@inventory_option
@families_option
@click.option("--most", type=click.IntRange(1), default=50, show_default=True, help="List at most so many changes.")
@click.option("--accept-draft", is_flag=True, help="Answer with a draft of accepted.yaml, to be filled in.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "markdown", "html"]), default="text",
    help="How to answer; markdown and html are for runs.",
)  # fmt: skip
def diff(  # noqa: PLR0913, PLR0917 - two sides, and the options of a question
    old: str, new: str, inventory: Path | None, family: str | None, most: int, form: str,
    accept_draft: bool,  # noqa: FBT001 - a flag
) -> None:  # fmt: skip
    """Compare two runs, or the meaning of two sets of tables.

    \b
    Runs: OLD and NEW are each the folder of a run (reports/latest), or a results.json.
    Tables: OLD and NEW are each one of
      host:NAME    a host of the inventory, read live over SSH
      a folder     that fwproof collect wrote for a host; of a run (reports/latest/evidence/NAME);
                   or with rules.v4, rules.v6, nft.json, ipset-save.txt …
      a file       of iptables-save, ip6tables-save or nft -j list ruleset

    \b
    Examples:
      fwproof diff baseline/web1 host:web1
      fwproof diff host:web1 host:web2 --family ipv4
      fwproof diff rules.v4 rules.v4.new
      fwproof diff reports/20261122T100000Z-5a3c91d2 reports/latest

    Of runs it tells which findings are new, fixed and unchanged (a check is the same one where policy and id are),
    who reaches what otherwise than before, what the tables in their evidence let through otherwise, and what became
    of waivers and rule coverage; and for what the runs do not compare. --format markdown keeps to the 64 kB of a
    comment, html is one page, json has the schema that fwproof schema run-diff prints.
    Exit status: 0 nothing got worse, 1 a check got worse (it fails and did not, or has lost its waiver), 4 bad input,
    6 it cannot be told (a check is not known, fails from another cause, or is asked by one run alone).

    Of tables, every packet, in every state and on every path, is decided in both. --accept-draft writes what differs as
    entries of accepted.yaml, the file beside a baseline that says which changes stay, who answers for them, and why.
    Exit status: 0 same meaning, 1 different, 4 bad input, 6 not known.
    """
    if _runs([old, new]):
        if inventory or family or accept_draft:
            raise UsageError("--inventory, --family and --accept-draft are for tables; two runs were given")
        from fwproof.cli import diff_runs

        raise SystemExit(diff_runs.show(Path(old), Path(new), form, most))
    if form not in {"text", "json"}:
        raise UsageError(f"--format {form} is for two runs; tables were given")
    before, after = _sides([old, new], inventory, family)
    found: list[Comparison] = []
    too_large: list[str] = []
    for each in before.families:
        try:
            found.append(compare(before.model, after.model, each, most=most))
        except SpaceTooLarge as limit:
            too_large.append(f"{each}: {limit}")
    unanswered = too_large + [f"{c.family}: {'; '.join(c.blind)}" for c in found if c.blind]
    if accept_draft:
        say(draft(found, datetime.now().astimezone().date()), whole=True)
    elif form == "json":
        sides = {word: understood_json(side.model, side.families) for word, side in (("old", before), ("new", after))}
        click.echo(json.dumps(document(found, unanswered) | {"understood": sides}))
    else:
        say(_text(found, unanswered))
    raise SystemExit(_status(found, unanswered))


def _status(found: list[Comparison], unanswered: list[str]) -> int:
    unclear = unanswered or any(change.kind == "not-known" for each in found for change in each.changes)
    differs = any(each.unlisted or each.effects or any(change.kind != "not-known" for change in each.changes)
                  for each in found)  # fmt: skip
    return 1 if differs else 6 if unclear else 0


def document(found: Sequence[Comparison], unanswered: Sequence[str]) -> dict[str, Any]:
    """Return the answer as JSON."""
    return {
        "schema": SCHEMA, "same": not unanswered and all(each.same for each in found),
        "changes": [_json(change) for each in found for change in each.changes],
        "unlisted": sum(each.unlisted for each in found), "effects": [e for each in found for e in each.effects],
        "not_answered": list(unanswered),
    }  # fmt: skip


def _json(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind.value, "family": change.family.value, "hook": change.hook.value,
        "states": list(change.states), "boxes": [room.as_json() for room in change.rooms],
        "more_boxes": change.more, "before": _fate(change.before), "after": _fate(change.after),
        "depends_on": list(change.depends_on), "witness": packet_json(change.witness),
    }  # fmt: skip


def _fate(fate: tuple[str, RuleRef | None]) -> dict[str, Any]:
    return {"decision": fate[0], "by": rule_json(fate[1])}


def _text(found: list[Comparison], unanswered: list[str]) -> Iterator[str]:
    for each in found:
        for change in each.changes:
            yield from change_lines(change)
        if each.unlisted:
            yield f"{each.family}: and {each.unlisted} more changes; --most lists more"
        yield from (f"{each.family}: {effect}" for effect in each.effects)
        if each.same:
            yield f"{each.family}: same meaning: every packet is decided the same at input, forward and output"
    yield from (f"not known: {each}" for each in unanswered)


def change_lines(change: Change) -> Iterator[str]:
    """Yield a change in words: what, how it was and is decided, and a packet."""
    place = f"{change.family} {change.hook} {'/'.join(change.states)}"
    for room in change.rooms:
        yield f"{place}: {_WORDS[change.kind.value]}: {room}"
    if change.more:
        yield f"{place}: and more that is not listed"
    for word, (decision, ref) in (("before", change.before), ("after", change.after)):
        yield f"    {word}: {decision}" + (f" by {ref}" if ref else "")
    if change.depends_on:
        yield f"    depends on {'; '.join(change.depends_on)}"
    yield f"    for example {change.witness}"
