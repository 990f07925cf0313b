"""``fwproof cover``: few packets that reach every rule, and why the others are not reached."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click

from fwproof.cli.families import in_each
from fwproof.cli.saying import say
from fwproof.cli.tables import families_option, packet_json, read_tables, rule_json, table_options
from fwproof.errors import UsageError
from fwproof.flow import TCP, CtState, Flow, Network
from fwproof.semantics.cover import Cover, Limits, Missed, Source, Why, Witness
from fwproof.semantics.cover import cover as find

SCHEMA = "fwproof-cover-1"
_ITSELF = "host"


@click.command()
@table_options
@families_option
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="[NAME=]NETWORK[@INTERFACE]",
    help="Only packets from here; several may be given. 'host' stands for what the host itself sends.",
)
@click.option("--to", "destinations", multiple=True, metavar="NETWORK", help="Only packets to these addresses.")
@click.option("--replies", is_flag=True, help="Also packets of other states than NEW.")
@click.option("--packets-out", type=click.Path(path_type=Path), help="Write the packets here, for explain --packets.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to answer.")
def cover(  # noqa: PLR0913 - one parameter for each option
    *, family: str | None, sources: tuple[str, ...], destinations: tuple[str, ...], replies: bool,
    packets_out: Path | None, form: str, **files: Path | None,
) -> None:  # fmt: skip
    """Choose as few packets as will do to reach every rule, and say of every other rule why none reaches it.

    \b
    Examples:
      fwproof cover --iptables-save rules.v4 --addresses addr.json --routes route.json
      fwproof cover --snapshot hosts/web1 --from lan=10.0.0.0/16@eth0 --from host --packets-out packets

    A rule is reached where all of its conditions hold, so that its counter moves; the default of a chain that has
    rules or drops counts as one. How many packets are needed at least is proved: so many rules have no packet in
    common. Exit status: 0 all is known, 6 of some rule it is not known whether a packet reaches it.
    """
    limits = Limits(
        sources=tuple(map(_source, sources)) or None,
        destinations=tuple(_network("--to", text) for text in destinations) or None,
        states=frozenset(CtState) if replies else frozenset({CtState.NEW}),
    )
    model, families = read_tables(files, family)
    by_family, unanswered = in_each(model, families, lambda model, each: find(model, each, limits))
    found = list(by_family.values())
    if packets_out is not None:
        _write(packets_out, found)
    if form == "json":
        covers = [_json(each) for each in found]
        click.echo(json.dumps({"schema": SCHEMA, "covers": covers, "not_answered": unanswered}))
    else:
        say(_text(found, unanswered))
    if unanswered or not all(each.known for each in found):
        raise SystemExit(6)


def _source(text: str) -> Source:
    name, equals, rest = text.partition("=")
    place = rest if equals else text
    if place == _ITSELF:
        return Source(name=name, itself=True)
    network, at, interface = place.partition("@")
    if at and not interface:
        raise UsageError(f"--from {text}: expected the name of an interface after @")
    return Source(name=name, networks=(_network("--from", network),), interface=interface or None)


def _network(option: str, text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: expected an address or a network ({error})") from error


def _packet(flow: Flow) -> dict[str, Any]:
    packet = packet_json(flow)
    # without the key, explain would take the flags that such a packet has in general
    return {**packet, "flags": ""} if flow.proto == TCP and not flow.flags else packet


def _write(path: Path, found: Sequence[Cover]) -> None:
    lines = [
        json.dumps({"id": f"{each.family}-{number}", **_packet(witness.flow)}) + "\n"
        for each in found
        for number, witness in enumerate(each.witnesses, 1)
    ]
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--packets-out {path}: cannot be written: {error.strerror}") from error


def _json(found: Cover) -> dict[str, Any]:
    return {
        "family": found.family.value, "counts": found.counts, "coverage": found.coverage,
        "packets": len(found.witnesses), "at_least": found.at_least, "minimal": found.minimal,
        "witnesses": [_witness(found, number, each) for number, each in enumerate(found.witnesses, 1)],
        "missed": [_missed(each) for each in found.missed],
    }  # fmt: skip


def _witness(found: Cover, number: int, each: Witness) -> dict[str, Any]:
    return {
        "id": f"{found.family}-{number}", "hook": each.hook.value, "source": each.source or None,
        "packet": _packet(each.flow), "reaches": [rule_json(ref) for ref in each.reaches],
        "depends": [rule_json(ref) for ref in each.depends],
        "given": [{"question": name, "answer": answer} for name, answer in each.given],
        "confirmed": each.confirmed,
    }  # fmt: skip


def _missed(each: Missed) -> dict[str, Any]:
    return {
        "rule": rule_json(each.rule), "why": each.why.value, "kind": each.kind or None, "text": each.text,
        "needs": list(each.needs), "causes": [rule_json(cause) for cause in each.causes],
        "example": None if each.example is None else _packet(each.example),
    }  # fmt: skip


def _text(found: Sequence[Cover], unanswered: Sequence[str]) -> Iterator[str]:
    for each in found:
        yield from _figures(each)
        for number, witness in enumerate(each.witnesses, 1):
            yield from _packet_lines(f"{each.family}-{number}", witness)
        for why in Why:
            missed = [one for one in each.missed if one.why is why]
            yield from (line for one in missed for line in _reason(one))
    yield from (f"not looked at: {each}" for each in unanswered)


def _figures(found: Cover) -> Iterator[str]:
    counts = found.counts
    share = "" if found.coverage is None else f" ({found.coverage:.0%})"
    reachable = counts["total"] - counts[Why.UNREACHABLE]
    fewest = "no fewer will do" if found.minimal else f"at least {found.at_least} are needed"
    yield (
        f"{found.family}: {len(found.witnesses)} packets reach {counts['reached']} of {reachable} rules and defaults "
        f"that can be reached{share}; {fewest}"
    )
    rest = [f"{counts[why]} {why}" for why in Why if counts[why]]
    if rest:
        yield f"    the others: {', '.join(rest)}"


def _packet_lines(name: str, witness: Witness) -> Iterator[str]:
    flow = witness.flow
    ways = [f"{word} {end}" for word, end in (("in", flow.iif), ("out", flow.oif)) if end]
    state = "" if flow.ctstate is CtState.NEW else f", {flow.ctstate}"
    source = f" from {witness.source}" if witness.source else ""
    yield f"{name}: {witness.hook}{source}: {flow} {' '.join(ways)}{state}"
    if not witness.confirmed:
        yield "    not confirmed: it meets more rates and lists than can be followed one by one"
    yield from (f"    reaches {ref}" for ref in witness.reaches)
    given = ", ".join(f"{question}: {'yes' if answer else 'no'}" for question, answer in witness.given)
    yield from (f"    reaches, if {given}: {ref}" for ref in witness.depends)


def _reason(missed: Missed) -> Iterator[str]:
    needs = f" ({', '.join(missed.needs)})" if missed.needs else ""
    yield f"{missed.why.value}: {missed.rule}"
    yield f"    {missed.text}{needs}"
    yield from (f"    by {cause}" for cause in missed.causes)
    if missed.example is not None and missed.why is not Why.ORACLE:
        yield f"    for example {missed.example}"
