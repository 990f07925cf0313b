"""``fwproof explain``: the path of given packets through given rule tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from fwproof.decision import Decision, Ruling, Step
from fwproof.errors import Fault, FwproofError, InputError, UsageError
from fwproof.flow import ICMP, ICMPV6, PROTOCOLS, TCP, Address, CtState, Family, Flow, Hook
from fwproof.ruleset.numbers import FLAGS
from fwproof.semantics.model import HostModel

_TABLES = ("iptables_save", "ip6tables_save", "iptables_legacy_save", "ip6tables_legacy_save", "nft_json")
_PKTTYPES = ("host", "broadcast", "multicast")


@dataclass(frozen=True, slots=True)
class Packet:
    """One line of a packets file: its id, the flow, and the hook that the walk is restricted to."""

    id: Any
    flow: Flow
    hook: Hook | None


class _Wrong(Exception):
    """A value that a packet cannot have; the message says what was expected."""


def _number(largest: int) -> Callable[[str, Any], int]:
    def convert(key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
            raise _Wrong(f"{key}: expected a whole number from 0 to {largest}, not {json.dumps(value)}")
        return value

    return convert


def _word(*words: str) -> Callable[[str, Any], str]:
    def convert(key: str, value: Any) -> str:
        found = next((word for word in words if isinstance(value, str) and word.lower() == value.lower()), None)
        if found is None:
            raise _Wrong(f"{key}: expected one of {', '.join(words)}, not {json.dumps(value)}")
        return found

    return convert


def _name(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _Wrong(f"{key}: expected a name, not {json.dumps(value)}")
    return value


def _address(key: str, value: Any) -> Address:
    try:
        if isinstance(value, str) and "%" not in value:
            return ip_address(value)
    except ValueError:
        pass
    raise _Wrong(f"{key}: expected an IPv4 or IPv6 address, not {json.dumps(value)}")


def _proto(key: str, value: Any) -> int:
    text = str(value).lower() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if text in PROTOCOLS:
        return PROTOCOLS[text]
    if text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 255:
        return int(text)
    raise _Wrong(f"{key}: expected a protocol name or a number from 0 to 255, not {json.dumps(value)}")


def _flags(key: str, value: Any) -> frozenset[str]:
    names = set(FLAGS) - {"ALL", "NONE"}
    parts = [part.strip().upper() for part in value.split(",")] if isinstance(value, str) and value else []
    if not isinstance(value, str) or not set(parts) <= names:
        raise _Wrong(f"{key}: expected TCP flag names joined by commas ({', '.join(names)}), not {json.dumps(value)}")
    return frozenset(parts)


def _boolean(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"{key}: expected true or false, not {json.dumps(value)}")
    return value


_KEYS: dict[str, Callable[[str, Any], Any]] = {
    "iif": _name, "oif": _name, "src": _address, "dst": _address, "proto": _proto,
    "sport": _number(65535), "dport": _number(65535), "flags": _flags, "icmp_type": _number(255),
    "icmp_code": _number(255), "ctstate": _word(*CtState), "ctdir": _word("original", "reply"),
    "mark": _number(2**32 - 1), "connmark": _number(2**32 - 1), "length": _number(65535 + 40), "ttl": _number(255),
    "tos": _number(255), "mac_src": _name, "pkttype": _word(*_PKTTYPES), "fragment": _boolean,
    "spi": _number(2**32 - 1),
}  # fmt: skip


def read_packets(text: str, source: str) -> list[Packet]:
    """Return the packets of a JSON-lines text; raises InputError with every fault of the file."""
    packets, faults = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            packets.append(_packet(line, number))
        except _Wrong as wrong:
            faults.append(Fault(source, number, 1, str(wrong)))
    if faults or not packets:
        raise InputError(faults or [Fault(source, 0, 0, "expected one packet a line as a JSON object; there is none")])
    return packets


def _packet(line: str, number: int) -> Packet:
    try:
        given = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _Wrong(f"expected one JSON object on this line ({error})") from error
    if not isinstance(given, dict):
        raise _Wrong('expected a JSON object, such as {"src": …, "dst": …, "proto": "tcp"}')
    unknown = sorted(set(given) - set(_KEYS) - {"id", "hook"})
    if unknown:
        raise _Wrong(f"unknown key {', '.join(unknown)}; the keys are id, hook, {', '.join(_KEYS)}")
    missing = [key for key in ("src", "dst", "proto") if given.get(key) is None]
    if missing:
        raise _Wrong(f"{', '.join(missing)} missing: src, dst and proto are required")
    values = {key: _KEYS[key](key, value) for key, value in given.items() if key in _KEYS and value is not None}
    hook = given.get("hook")
    at = None if hook is None else Hook(_word(*Hook)("hook", hook))
    return Packet(given.get("id", number), _flow(values), at)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Wrong("a key is there twice on this line")
    return found


def _flow(values: dict[str, Any]) -> Flow:
    if values["src"].version != values["dst"].version:
        raise _Wrong("src and dst: expected two addresses of one family")
    if values["proto"] == ICMP and values["dst"].version == 6:
        values["proto"] = ICMPV6
    state = CtState(values.pop("ctstate", "NEW"))
    if values["proto"] == TCP and "flags" not in values:
        values["flags"] = frozenset({"SYN"} if state is CtState.NEW else {"ACK"})
    if "mac_src" in values:
        values["mac_src"] = values["mac_src"].lower()
    return Flow(ctstate=state, **values)


def answer(packet: Packet, ruling: Ruling) -> dict[str, Any]:
    """Return the answer object of the explain contract."""
    return {
        "id": packet.id, "decision": ruling.decision.value, "by": None if ruling.by is None else ruling.by.as_json(),
        "depends_on": list(ruling.depends_on), "trace": [_step(step) for step in ruling.trace],
    }  # fmt: skip


def _step(step: Step) -> dict[str, Any]:
    return {**step.rule.as_json(), "matched": step.matched, "action": step.action, "note": step.note}


def _as_text(packet: Packet, ruling: Ruling) -> Iterator[str]:
    yield f"{packet.id}: {packet.flow}: {ruling.decision.value}" + (f" by {_safe(str(ruling.by))}" if ruling.by else "")
    if ruling.depends_on:
        word = "because" if ruling.decision is Decision.UNKNOWN else "depends on"
        yield f"    {word} {_safe('; '.join(ruling.depends_on))}"
    for step in ruling.trace:
        if step.matched != "no":
            yield _safe(f"    {step.matched:7} {step.rule} -> {step.action}" + (f" ({step.note})" if step.note else ""))


def _safe(text: str) -> str:
    """Replace control characters: rule comments come from the audited host and must not steer a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _read(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise InputError([Fault(str(path), 0, 0, f"cannot be read: {error.strerror}")]) from error


def _existing(*names: str, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(*names, type=click.Path(path_type=Path), help=text)


@click.command()
@click.option("--packets", required=True, type=click.Path(path_type=Path), help="JSON lines, one packet a line.")
@_existing("--iptables-save", text="Output of iptables-save.")
@_existing("--ip6tables-save", text="Output of ip6tables-save.")
@_existing("--iptables-legacy-save", text="Output of iptables-legacy-save, where both variants are in use.")
@_existing("--ip6tables-legacy-save", text="Output of ip6tables-legacy-save.")
@_existing("--nft-json", text="Output of nft -j list ruleset.")
@_existing("--ipset-save", text="Output of ipset save.")
@_existing("--addresses", text="Output of ip -j addr.")
@_existing("--routes", text="Output of ip -j route (and ip -6 -j route after it).")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to answer.")
def explain(packets: Path, form: str, **files: Path | None) -> None:
    """Show the path of packets through rule tables: decision, deciding rule, and every rule on the way."""
    try:
        _explain(packets, form, files)
    except FwproofError as error:
        click.echo(_safe_lines(str(error)), err=True)
        sys.exit(error.exit_code)


def _safe_lines(text: str) -> str:
    return "\n".join(_safe(line) for line in text.split("\n"))


def _explain(packets: Path, form: str, files: dict[str, Path | None]) -> None:
    if all(files[key] is None for key in _TABLES):
        raise UsageError("no rule tables: give --iptables-save, --ip6tables-save or --nft-json FILE, or several")
    wanted = read_packets(_read(packets) or "", str(packets))
    texts = {key: _read(path) for key, path in files.items()}
    model = HostModel.build(**texts, sources={key: str(path) for key, path in files.items()})
    _complain(model)
    for packet in wanted:
        ruling = model.evaluate(packet.flow, packet.hook)
        lines = [json.dumps(answer(packet, ruling))] if form == "json" else _as_text(packet, ruling)
        for line in lines:
            click.echo(line)


def _complain(model: HostModel) -> None:
    """Say on stderr which lines were not understood; the answers already count them in."""
    for family in Family:
        for ruleset in model.rulesets[family]:
            for unparsed in ruleset.unparsed:
                click.echo(_safe(f"{ruleset.source}:{unparsed.line}: {unparsed.reason}"), err=True)
