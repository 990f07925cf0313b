"""``fwproof explain``: the path of given packets through given rule tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fwproof.cli.packets import Packet, packet_of, read_packets
from fwproof.cli.tables import read_tables, read_text, say, table_options
from fwproof.decision import Decision, Ruling, Step
from fwproof.errors import UsageError
from fwproof.flow import CtState, Family
from fwproof.semantics.conversation import converse
from fwproof.semantics.model import HostModel


@click.command()
@table_options
@click.option("--packets", type=click.Path(path_type=Path), help="JSON lines, one packet a line.")
@click.option("--packet", "words", multiple=True, metavar="'KEY=VALUE …'", help="A packet; may be repeated.")
@click.option("--connection", is_flag=True, help="Follow the packets after it, its answers and errors as well.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to answer.")
def explain(
    packets: Path | None, words: tuple[str, ...], connection: bool, form: str,  # noqa: FBT001
    **tables: Path | str | None,
) -> None:  # fmt: skip
    """Show the path of packets through rule tables: decision, deciding rule, and every rule on the way.

    \b
    Examples:
      fwproof explain --host web1 --packet 'src=10.0.5.7 dst=10.0.0.10 proto=tcp dport=22'
      fwproof explain --iptables-save rules.v4 --packets packets.jsonl --format json

    \b
    Keys of a packet: src, dst and proto are required; the others are
      id, hook, iif, oif, sport, dport, flags, icmp_type, icmp_code, ctstate, ctdir, mark, connmark, length, ttl,
      tos, mac_src, pkttype, fragment, spi

    hook restricts the walk to the tables of one hook; without it the packet takes its whole way through the host.

    With --connection a packet that begins one is followed by those that come later, by its answer and by an error
    about it, with the state, mark and addresses that conntrack gives them; their ids end in /later, /reply and /error.
    """
    wanted = read_packets(read_text(packets), str(packets)) if packets is not None else []
    wanted += [packet_of(text, number) for number, text in enumerate(words, len(wanted) + 1)]
    if not wanted:
        raise UsageError("no packets: give --packet 'src=… dst=… proto=tcp dport=22' or --packets FILE")
    asked = {packet.flow.family for packet in wanted}
    model, _ = read_tables(tables, None, [family for family in Family if family in asked])
    for packet in wanted:
        for each, ruling in (
            _parts(model, packet) if connection else [(packet, model.evaluate(packet.flow, packet.hook))]
        ):
            if form == "json":
                click.echo(json.dumps(answer(each, ruling)))
            else:
                say(_as_text(each, ruling))


def _parts(model: HostModel, packet: Packet) -> Iterator[tuple[Packet, Ruling]]:
    """Yield a packet and those that belong to its connection, with what becomes of them; raises UsageError."""
    if packet.flow.ctstate is not CtState.NEW or packet.hook is not None:
        raise UsageError(
            f"packet {packet.id}: --connection follows a packet of ctstate NEW on its whole way, without hook"
        )
    found = converse(model, packet.flow)
    for name, part in (("", found.request), ("/later", found.later), ("/reply", found.reply), ("/error", found.error)):
        if part is not None:
            yield replace(packet, id=f"{packet.id}{name}" if name else packet.id, flow=part.flow), part.ruling


def answer(packet: Packet, ruling: Ruling) -> dict[str, Any]:
    """Return the answer object of the explain contract."""
    return {
        "id": packet.id, "decision": ruling.decision.value, "by": None if ruling.by is None else ruling.by.as_json(),
        "depends_on": list(ruling.depends_on), "trace": [_step(step) for step in ruling.trace],
    }  # fmt: skip


def _step(step: Step) -> dict[str, Any]:
    return {**step.rule.as_json(), "matched": step.matched, "action": step.action, "note": step.note}


def _as_text(packet: Packet, ruling: Ruling) -> Iterator[str]:
    by = f" by {ruling.by}" if ruling.by else " by no rule at all" if ruling.decision is Decision.ACCEPT else ""
    yield f"{packet.id}: {packet.flow}: {ruling.decision.value}{by}"
    if ruling.depends_on:
        word = "because" if ruling.decision is Decision.UNKNOWN else "depends on"
        yield f"    {word} {'; '.join(ruling.depends_on)}"
    for step in ruling.trace:
        if step.matched != "no":
            does = "" if step.rule.text.endswith(step.action) else f" -> {step.action}"
            yield f"    {step.matched:7} {step.rule}{does}" + (f" ({step.note})" if step.note else "")
