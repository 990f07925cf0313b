"""Packets as users write them: JSON lines (``fwproof explain --packets``), or ``key=value`` words (``--packet``)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from fwproof.errors import Fault, InputError, UsageError
from fwproof.flow import ICMP, ICMPV6, PROTOCOLS, TCP, Address, CtState, Flow, Hook
from fwproof.ruleset.numbers import FLAGS

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
_NUMBERS = frozenset({"sport", "dport", "icmp_type", "icmp_code", "mark", "connmark", "length", "ttl", "tos"})


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
    return _made(given, number)


def packet_of(text: str, number: int) -> Packet:
    """Return the packet of ``src=10.0.5.7 dst=10.0.0.10 proto=tcp dport=22``; ``number`` is its id if it has none.

    The keys and values are those of the JSON form, numbers also in hexadecimal. Raises UsageError.
    """
    try:
        return _made(_unique([_split(word) for word in text.split()]), number)
    except _Wrong as wrong:
        raise UsageError(f"--packet {text!r}: {wrong}") from wrong


def _split(word: str) -> tuple[str, Any]:
    key, equals, value = word.partition("=")
    if not equals:
        raise _Wrong(f"expected key=value, not {word!r}")
    return key, _plain(key, value)


def _plain(key: str, text: str) -> Any:
    """Return a word as the value that JSON would have there."""
    if key == "fragment":
        return {"true": True, "false": False}.get(text.lower(), text)
    if key not in _NUMBERS:
        return text
    try:
        return int(text, 0)
    except ValueError:
        return text


def _made(given: dict[str, Any], number: int) -> Packet:
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
        raise _Wrong("a key is there twice")
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
