"""``fwproof explain``: the path of given packets through given rule tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fwproof.cli.packets import Packet, packet_of, read_packets
from fwproof.cli.saying import say
from fwproof.cli.tables import Given, read_tables, read_text, table_options
from fwproof.decision import Decision, Ruling, Step
from fwproof.errors import UsageError
from fwproof.flow import CtState, Family
from fwproof.semantics.conversation import converse
from fwproof.semantics.model import HostModel


@click.command()
@table_options
@click.argument("check", required=False, metavar="CHECK-ID")
@click.option("--why", metavar="'SENDER -> TARGET:tcp/8080'", help="Who reaches what, and why, in words.")
@click.option("--run", type=click.Path(path_type=Path), help="The run of CHECK-ID  [default: reports/latest].")
@click.option("--packets", type=click.Path(path_type=Path), help="JSON lines, one packet a line.")
@click.option("--packet", "words", multiple=True, metavar="'KEY=VALUE …'", help="A packet; may be repeated.")
@click.option("--connection", is_flag=True, help="Follow the packets after it, its answers and errors as well.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to answer.")
def explain(  # noqa: PLR0913 - one parameter for each option
    *, check: str | None, why: str | None, run: Path | None, packets: Path | None, words: tuple[str, ...],
    connection: bool, form: str, **tables: Path | str | None,
) -> None:  # fmt: skip
    """Show the path of packets through rule tables: decision, deciding rule, and every rule on the way.

    With --why or the id of a check, in words: the path, the rule that decides, what becomes of the answers, and the
    smallest change that would close what is open (or open what is closed), as commands of whoever manages the host.
    The change is tried on the tables first, and what else it would change is said over all packets; nothing is done.

    \b
    Examples:
      fwproof explain --why '203.0.113.66 -> ai-server:tcp/8080'
      fwproof explain --why '10.0.5.7 -> 10.0.0.10:tcp/22' --snapshot baseline/web1
      fwproof explain 'webui-proxy[ai-server-published-outside-ipv4]' --run reports/latest
      fwproof explain --host web1 --packet 'src=10.0.5.7 dst=10.0.0.10 proto=tcp dport=22'
      fwproof explain --iptables-save rules.v4 --packets packets.jsonl --format json

    \b
    Keys of a packet: src, dst and proto are required; the others are
      id, hook, iif, oif, sport, dport, flags, icmp_type, icmp_code, ctstate, ctdir, mark, connmark, length, ttl,
      tos, mac_src, pkttype, fragment, spi

    \b
    Exit status: 0 answered · 4 bad input · 6 a host could not be looked at

    hook restricts the walk to the tables of one hook; without it the packet takes its whole way through the host.

    With --connection a packet that begins one is followed by those that come later, by its answer and by an error
    about it, with the state, mark and addresses that conntrack gives them; their ids end in /later, /reply and /error.
    """
    if check is not None and "->" in check:
        raise UsageError(f"{check}: that is a packet and no CHECK-ID: ask fwproof explain --why '{check}'")
    if check is not None or why is not None:
        if packets is not None or words or connection or form != "text" or (check is not None and why is not None):
            raise UsageError(
                "a CHECK-ID or --why is a question of its own: leave out packets, --connection and --format"
            )
        _in_words(check, why, run, tables)
        return
    if run is not None:
        raise UsageError("--run is where a CHECK-ID is looked up: give one")
    wanted = read_packets(read_text(packets), str(packets)) if packets is not None else []
    wanted += [packet_of(text, number) for number, text in enumerate(words, len(wanted) + 1)]
    if not wanted:
        raise UsageError(
            "nothing to explain: give --why 'SENDER -> TARGET:tcp/22', a CHECK-ID,"
            " --packet 'src=… dst=… proto=tcp dport=22' or --packets FILE"
        )
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


def _in_words(check: str | None, why: str | None, run: Path | None, tables: Given) -> None:
    from fwproof.cli import why as asked  # here, so that packets do not wait for it

    if why is not None:
        if run is not None:
            raise UsageError("--run is where a CHECK-ID is looked up, and --why asks tables")
        say(asked.why(why, tables))
        return
    if any(value is not None for value in tables.values()):
        raise UsageError("a CHECK-ID is about the tables that its run kept: leave out other tables")
    assert check is not None
    say(asked.why_of_check(check, run or Path("reports/latest")))


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
