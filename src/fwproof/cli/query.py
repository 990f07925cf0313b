"""``fwproof query``: who reaches what, over the whole packet space."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import click

from fwproof.cli.questions import SERVICE, Names, claims, names_of, networks, others
from fwproof.cli.saying import say
from fwproof.cli.tables import (
    Given,
    families_option,
    packet_json,
    read_tables,
    rule_json,
    table_options,
    understood_json,
)
from fwproof.decision import Ruling
from fwproof.errors import UsageError
from fwproof.flow import CtState, Family, Hook
from fwproof.semantics.conversation import converse
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Answer, Opening, openings, refusals
from fwproof.semantics.space import SpaceTooLarge

SCHEMA = "fwproof-query-1"
_NAMES = {
    "iif": "input interfaces", "oif": "output interfaces", "pkttype": "kinds of link-layer address",
    "mac": "MAC addresses", "fragment": "fragments", "tos": "TOS", "ttl": "TTL", "length": "lengths",
    "sport": "source ports", "flags": "TCP flags",
}  # fmt: skip
_HOOKS = ("input", "forward", "output")
Asked = tuple[Family, Hook, Answer]


@click.command()
@table_options
@families_option
@click.option("--from", "sources", multiple=True, metavar="NET", help="Only from this network, zone or host.")
@click.option("--to", "targets", multiple=True, metavar="NET", help="Only to this network, zone or host.")
@click.option("--except-from", "other_sources", multiple=True, metavar="NET", help="Only from anywhere else.")
@click.option("--except-to", "other_targets", multiple=True, metavar="NET", help="Only to anywhere else.")
@click.option("--service", "services", multiple=True, metavar="SERVICE", help=f"Only this service, {SERVICE}.")
@click.option("--who-reaches", "reached", multiple=True, metavar="SERVICE", help="The same as --service.")
@click.option("--hook", "hooks", multiple=True, type=click.Choice(_HOOKS), help="Default: input.")
@click.option("--state", type=click.Choice([s.value for s in CtState]), default="NEW", show_default=True,
              help="Conntrack state of the packets asked about.")  # fmt: skip
@click.option("--refused", is_flag=True, help="Ask what is refused to new connections, and by which rule.")
@click.option("--loopback", is_flag=True, help="Also packets on the loopback interface.")
@click.option("--most", type=click.IntRange(1), default=50, show_default=True, help="List at most so many rules.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to answer.")
def query(  # noqa: PLR0913, PLR0917 - the options of a question
    family: str | None, sources: tuple[str, ...], targets: tuple[str, ...], other_sources: tuple[str, ...],
    other_targets: tuple[str, ...], services: tuple[str, ...], reached: tuple[str, ...], hooks: tuple[str, ...],
    state: str, refused: bool, loopback: bool, most: int, form: str, **tables: Path | str | None,  # noqa: FBT001
) -> None:  # fmt: skip
    """Show who reaches what: every box of sources and services that the tables let in, the rule, and one packet.

    \b
    Examples:
      fwproof query --iptables-save rules.v4 --who-reaches tcp/11434
      fwproof query --snapshot web1/ --from 10.0.0.0/16 --hook input --hook forward
      fwproof query --host web1 --inventory inventory.yaml
      fwproof query --host web1 --service tcp/11434 --except-from internal

    The last proves that nobody else reaches it, or shows who does; zones and hosts are the inventory's. The answer is
    exact for every packet. Exit status 6 when a part of it is not known.
    """
    if refused and (other_sources or other_targets or state != "NEW" or loopback):
        raise UsageError(
            "--refused is about new connections of --from, --to and --service: leave the other options out"
        )
    given = {"--from": sources, "--to": targets, "--except-from": other_sources, "--except-to": other_targets}
    known = cache(lambda: _names(tables))
    ends = {option: networks(option, texts, known) for option, texts in given.items()}
    if known.cache_info().currsize and tables.get("host") is None:
        tables["inventory"] = None  # it was for the names
    model, families = read_tables(tables, family)
    answers: list[Asked] = []
    too_large: list[str] = []
    for each in families:
        for claim in claims(each, (*services, *reached), ends):
            for hook in map(Hook, hooks or ("input",)):
                try:
                    if refused:
                        found = refusals(model, hook, each, replace(claim, opening=True), most=most)
                    else:
                        found = openings(
                            model, hook, each, claim=claim, states=(CtState(state),), loopback=loopback, most=most,
                            outside=others(claim, ends),
                        )  # fmt: skip
                    answers.append((each, hook, found))
                except SpaceTooLarge as limit:
                    too_large.append(f"{each} {hook}: {limit}; narrow the question with --from, --to or --service")
    if form == "json":
        document = _document(model, answers, too_large)
        click.echo(json.dumps(document | {"understood": understood_json(model, families)}))
    else:
        say(_text(model, answers, too_large, "nothing is refused" if refused else "nothing gets through"))
    if too_large or any(answer.unknown for *_, answer in answers):
        raise SystemExit(6)


def _names(tables: Given) -> Names:
    """Return the names of the inventory that was given, or of the usual one if it is there."""
    from fwproof.audit.reading import INVENTORY
    from fwproof.policy.inventory_file import load_inventory

    path = Path(tables.get("inventory") or INVENTORY)
    return names_of(load_inventory(path)) if tables.get("inventory") or path.is_file() else {}


def _document(model: HostModel, answers: list[Asked], too_large: list[str]) -> dict[str, Any]:
    found = [opening_json(model, each) for *_, answer in answers for each in answer.openings]
    return {"schema": SCHEMA, "openings": found, "unlisted": sum(answer.unlisted for *_, answer in answers),
            "not_answered": too_large}  # fmt: skip


def _reply(model: HostModel, opening: Opening) -> Ruling | None:
    """Return what becomes of the answer to an opening's packet, None where it is not let in or begins nothing."""
    flow = opening.witness
    if opening.refused or opening.certainty == "unknown" or flow.ctstate is not CtState.NEW:
        return None
    reply = converse(model, flow, local=opening.hook is Hook.INPUT and not opening.onto).reply
    return None if reply is None else reply.ruling


def opening_json(model: HostModel, opening: Opening) -> dict[str, Any]:
    """Return one opening with the keys of the documented format."""
    reply = _reply(model, opening)
    return {
        "family": opening.family.value, "hook": opening.hook.value, "certainty": opening.certainty,
        "depends_on": list(opening.depends_on), "by": rule_json(opening.by),
        "boxes": [room.as_json() for room in opening.rooms], "more_boxes": opening.more,
        "narrowed_by": list(opening.narrowed), "witness": packet_json(opening.witness),
        "sent_on_to": opening.onto or None,
        "reply": None if reply is None else {"decision": reply.decision.value, "by": rule_json(reply.by)},
    }  # fmt: skip


def _text(model: HostModel, answers: list[Asked], too_large: list[str], nothing: str) -> Iterator[str]:
    for family, hook, answer in answers:
        if not answer.openings:
            yield f"{family} {hook}: {nothing}"
        for each in answer.openings:
            yield from opening_lines(model, each, f"{family} {hook}: ")
        if answer.unlisted:
            yield f"{family} {hook}: and {answer.unlisted} more rules; --most lists more, --service and --from less"
    if not answers and not too_large:
        yield "nothing was asked: the networks are of another address family than the tables"
    yield from (f"not answered: {each}" for each in too_large)


def opening_lines(model: HostModel, opening: Opening, place: str) -> Iterator[str]:
    """Yield an opening as lines for people."""
    for room in opening.rooms:
        yield f"{place}{room}"
    if opening.more:
        yield f"{place}and more that is not listed"
    if opening.certainty == "unknown":
        yield f"    not known: {'; '.join(opening.depends_on)}"
    else:
        verb = "refused by" if opening.refused else "let in by"
        yield f"    {verb} {opening.by or 'no rule at all'}"
    if opening.onto:
        yield f"    sent on to {opening.onto} by nat"
    if opening.certainty == "depends":
        yield f"    depends on {'; '.join(opening.depends_on)}"
    if opening.narrowed:
        yield f"    not every such packet, but only with some {', '.join(_NAMES[name] for name in opening.narrowed)}"
    yield f"    for example {opening.witness}" + (f" on {opening.witness.iif}" if opening.hook is Hook.INPUT else "")
    reply = _reply(model, opening)
    if reply is not None and not reply.accepted:
        yield f"    whose answer is not let out for certain: {reply.decision.value} by {reply.by or 'no rule'}"
