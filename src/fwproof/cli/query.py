"""``fwproof query``: who reaches what, over the whole packet space."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click

from fwproof.cli.tables import families_option, packet_json, read_tables, rule_json, say, table_options, understood_json
from fwproof.errors import UsageError
from fwproof.flow import ICMP, ICMPV6, PROTOCOLS, CtState, Family, Hook, Network
from fwproof.ruleset.asks import Ranges
from fwproof.semantics.packet import PORTED
from fwproof.semantics.reach import Answer, Opening, openings
from fwproof.semantics.space import Claim, SpaceTooLarge

SCHEMA = "fwproof-query-1"
_SERVICE = "a protocol, with ports or an ICMP type: tcp/22, tcp/80,8000-8100, udp, icmp/8, gre"
_EXPECTED = f"expected {_SERVICE}"
_NAMES = {
    "iif": "input interfaces", "oif": "output interfaces", "pkttype": "kinds of link-layer address",
    "mac": "MAC addresses", "fragment": "fragments", "tos": "TOS", "ttl": "TTL", "length": "lengths",
    "sport": "source ports", "flags": "TCP flags",
}  # fmt: skip
_HOOKS = ("input", "forward", "output")


def service(text: str, family: Family) -> tuple[int, Ranges | None, tuple[int, ...] | None]:
    """Return protocol number, ports and ICMP types of a service; ``icmp`` is ICMPv6 in IPv6.

    Raises UsageError.
    """
    name, slash, detail = text.lower().partition("/")
    proto = PROTOCOLS.get(name, int(name) if re.fullmatch(r"[0-9]{1,3}", name) else 256)
    if proto > 255 or (slash and not detail):
        raise UsageError(f"--service {text}: {_EXPECTED}")
    if proto in {ICMP, ICMPV6}:
        types = {"echo-request": 8 if family is Family.IPV4 else 128}
        if detail and detail not in types and not re.fullmatch(r"[0-9]{1,3}", detail):
            raise UsageError(f"--service {text}: {_EXPECTED}")
        proto = ICMP if family is Family.IPV4 else ICMPV6
        return proto, None, None if not detail else (types[detail] if detail in types else int(detail),)
    if detail and proto not in PORTED:
        raise UsageError(f"--service {text}: {name} has no ports")
    return proto, _ports(text, detail) if detail else None, None


def _ports(text: str, detail: str) -> Ranges:
    found = []
    for part in detail.split(","):
        ends = re.fullmatch(r"([0-9]{1,5})(?:[-:]([0-9]{1,5}))?", part)
        low, high = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if not low <= high <= 65535:
            raise UsageError(f"--service {text}: {_EXPECTED}")
        found.append((low, high))
    return tuple(found)


def _networks(option: str, texts: tuple[str, ...]) -> tuple[Network, ...] | None:
    if not texts:
        return None
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise UsageError(f"{option}: expected an address or a network such as 10.0.0.0/16 ({error})") from error


def _claims(family: Family, services: tuple[str, ...], ends: dict[str, tuple[Network, ...] | None]) -> list[Claim]:
    """Return one claim for each service; none where an end has no address of the family."""
    if any(n is not None and not any(Family.of(e) is family for e in n) for n in ends.values()):
        return []
    if not services:
        return [Claim(sources=ends["--from"], destinations=ends["--to"])]
    asked = [service(text, family) for text in services]
    return [
        Claim(proto=p, ports=ports, icmp_types=types, sources=ends["--from"], destinations=ends["--to"])
        for p, ports, types in asked
    ]


@click.command()
@table_options
@families_option
@click.option("--from", "sources", multiple=True, metavar="NET", help="Only from this address or network.")
@click.option("--to", "targets", multiple=True, metavar="NET", help="Only to this address or network.")
@click.option("--service", "services", multiple=True, metavar="SERVICE", help=f"Only this service, {_SERVICE}.")
@click.option("--who-reaches", "reached", multiple=True, metavar="SERVICE", help="The same as --service.")
@click.option("--hook", "hooks", multiple=True, type=click.Choice(_HOOKS), help="Default: input.")
@click.option("--state", type=click.Choice([s.value for s in CtState]), default="NEW", show_default=True,
              help="Conntrack state of the packets asked about.")  # fmt: skip
@click.option("--loopback", is_flag=True, help="Also packets on the loopback interface.")
@click.option("--most", type=click.IntRange(1), default=50, show_default=True, help="List at most so many rules.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to answer.")
def query(  # noqa: PLR0913, PLR0917 - the options of a question
    family: str | None, sources: tuple[str, ...], targets: tuple[str, ...], services: tuple[str, ...],
    reached: tuple[str, ...], hooks: tuple[str, ...], state: str, loopback: bool, most: int, form: str,  # noqa: FBT001
    **tables: Path | str | None,
) -> None:  # fmt: skip
    """Show who reaches what: every box of sources and services that the tables let in, the rule, and one packet.

    \b
    Examples:
      fwproof query --iptables-save rules.v4 --who-reaches tcp/11434
      fwproof query --snapshot web1/ --from 10.0.0.0/16 --hook input --hook forward
      fwproof query --host web1 --inventory inventory.yaml

    The answer is exact for every packet. Exit status 6 when a part of it is not known.
    """
    model, families = read_tables(tables, family)
    ends = {"--from": _networks("--from", sources), "--to": _networks("--to", targets)}
    answers: list[tuple[Family, Hook, Answer]] = []
    too_large: list[str] = []
    for each in families:
        for claim in _claims(each, (*services, *reached), ends):
            for hook in map(Hook, hooks or ("input",)):
                try:
                    found = openings(
                        model, hook, each, claim=claim, states=(CtState(state),), loopback=loopback, most=most
                    )
                    answers.append((each, hook, found))
                except SpaceTooLarge as limit:
                    too_large.append(f"{each} {hook}: {limit}; narrow the question with --from, --to or --service")
    if form == "json":
        click.echo(json.dumps(_document(answers, too_large) | {"understood": understood_json(model, families)}))
    else:
        say(_text(answers, too_large))
    if too_large or any(answer.unknown for *_, answer in answers):
        raise SystemExit(6)


def _document(answers: list[tuple[Family, Hook, Answer]], too_large: list[str]) -> dict[str, Any]:
    found = [opening_json(each) for *_, answer in answers for each in answer.openings]
    return {"schema": SCHEMA, "openings": found, "unlisted": sum(answer.unlisted for *_, answer in answers),
            "not_answered": too_large}  # fmt: skip


def opening_json(opening: Opening) -> dict[str, Any]:
    """Return one opening with the keys of the documented format."""
    return {
        "family": opening.family.value, "hook": opening.hook.value, "certainty": opening.certainty,
        "depends_on": list(opening.depends_on), "by": rule_json(opening.by),
        "boxes": [room.as_json() for room in opening.rooms], "more_boxes": opening.more,
        "narrowed_by": list(opening.narrowed), "witness": packet_json(opening.witness),
    }  # fmt: skip


def _text(answers: list[tuple[Family, Hook, Answer]], too_large: list[str]) -> Iterator[str]:
    for family, hook, answer in answers:
        if not answer.openings:
            yield f"{family} {hook}: nothing gets through"
        for each in answer.openings:
            yield from opening_lines(each, f"{family} {hook}: ")
        if answer.unlisted:
            yield f"{family} {hook}: and {answer.unlisted} more rules; --most lists more, --service and --from less"
    if not answers and not too_large:
        yield "nothing was asked: the networks are of another address family than the tables"
    yield from (f"not answered: {each}" for each in too_large)


def opening_lines(opening: Opening, place: str) -> Iterator[str]:
    """Yield an opening as lines for people."""
    for room in opening.rooms:
        yield f"{place}{room}"
    if opening.more:
        yield f"{place}and more that is not listed"
    if opening.certainty == "unknown":
        yield f"    not known: {'; '.join(opening.depends_on)}"
    else:
        yield f"    let in by {opening.by or 'no rule at all'}"
    if opening.certainty == "depends":
        yield f"    depends on {'; '.join(opening.depends_on)}"
    if opening.narrowed:
        yield f"    not every such packet, but only with some {', '.join(_NAMES[name] for name in opening.narrowed)}"
    yield f"    for example {opening.witness}" + (f" on {opening.witness.iif}" if opening.hook is Hook.INPUT else "")
