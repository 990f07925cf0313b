"""Values to JSON and back, by the types that their fields are declared with: how what an audit found out is stored.

One rule a type, and none for a single class: a dataclass is an object of its fields, but for those that have their
default, with its class under ``is``; of several classes that a field may have, that name says which. Enumerations,
addresses and times are their text, bytes base64, sets sorted lists, mappings without text keys lists of pairs (the
order of a mapping is kept), infinity ``"inf"``; a HostError has its class under ``fault``. Text that came from a host
may hold undecodable bytes as lone surrogates, which JSON escapes.

What a HostModel is made of is no value; whoever stores one says how (:class:`Special`).
"""

from __future__ import annotations

import base64
import binascii
import collections.abc
import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime
from enum import Enum
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

from fwproof import errors
from fwproof.errors import HostError

_FAULTS: Mapping[str, type[HostError]] = {
    kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HostError)
}
_ADDRESSES = (IPv4Address, IPv6Address)
_NETWORKS = (IPv4Network, IPv6Network)
_PLAIN = (bool, int, float, str)
_SETS = (frozenset, collections.abc.Set)


class Misfit(Exception):
    """Stored data is not what its type says; the message names the place."""


@dataclasses.dataclass(frozen=True, slots=True)
class Special:
    """How values of one class are stored in place of the general rule."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class Codec:
    """Encodes and decodes values; ``special`` has the classes that are stored in a way of their own.

    ``text`` is what becomes of every text that is encoded: where secrets are taken out.
    """

    def __init__(self, special: Mapping[type, Special] | None = None, text: Callable[[str], str] = str) -> None:
        self.special, self.text = dict(special or {}), text

    def encode(self, value: Any) -> Any:
        """Return what :func:`json.dumps` writes for a value; TypeError for one of no known kind."""
        special = self.special.get(type(value))
        if special is not None:
            return special.encode(value)
        if isinstance(value, HostError):
            told = {"host": value.host, "message": self.text(value.message), "advice": self.text(value.advice)}
            return {"fault": type(value).__name__, **told}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            given = ((each, getattr(value, each.name)) for each in _fields(type(value)))
            told = {each.name: self.encode(one) for each, one in given if not _is_default(each, one)}
            return {"is": type(value).__name__} | told
        return self._encode_plain(value)

    def _encode_plain(self, value: Any) -> Any:  # noqa: PLR0911 - one line a kind
        if isinstance(value, Enum):
            return value.value
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, bytes):
            return base64.b64encode(value).decode("ascii")
        if isinstance(value, (*_ADDRESSES, *_NETWORKS, Path, date)):
            return str(value)
        if isinstance(value, Mapping):
            return self._encode_mapping(value)
        if isinstance(value, _SETS):
            return sorted(map(self.encode, value), key=_sortable)
        if isinstance(value, list | tuple):
            return [self.encode(each) for each in value]
        raise TypeError(f"{type(value).__name__} has no stored form")

    def _encode_mapping(self, value: Mapping[Any, Any]) -> Any:
        pairs = [(self.encode(key), self.encode(each)) for key, each in value.items()]
        if all(isinstance(key, str) for key, _ in pairs):
            return dict(pairs)
        return [list(pair) for pair in pairs]

    def decode(self, data: Any, hint: Any, where: str = "") -> Any:  # noqa: PLR0911 - one line a kind
        """Return the value of type ``hint`` in decoded JSON; raises Misfit."""
        if isinstance(hint, typing.TypeVar) or hint is Any:
            return data
        special = self.special.get(hint) if isinstance(hint, type) else None
        if special is not None:
            return special.decode(data)
        origin, inner = typing.get_origin(hint), typing.get_args(hint)
        if origin in {typing.Union, types.UnionType}:
            return self._decode_any(data, inner, where)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return self._decode_dataclass(data, hint, where)
        if isinstance(hint, type) and issubclass(hint, HostError):
            return _fault(data, where)
        if origin is not None:
            return self._decode_many(data, origin, inner, where)
        return _decode_plain(data, hint, where)

    def _decode_any(self, data: Any, hints: tuple[Any, ...], where: str) -> Any:
        if data is None:
            if type(None) in hints:
                return None
            raise Misfit(f"{where}: a value is missing")
        hints = tuple(each for each in hints if each is not type(None))
        if isinstance(data, dict) and "fault" in data:
            return _fault(data, where)
        name = data.get("is") if isinstance(data, dict) else None
        named = [each for each in hints if isinstance(each, type) and each.__name__ == name]
        for hint in named or hints:
            try:
                return self.decode(data, hint, where)
            except Misfit:
                if len(named or hints) == 1:
                    raise
        raise Misfit(f"{where}: none of {', '.join(getattr(each, '__name__', str(each)) for each in hints)}")

    def _decode_dataclass(self, data: Any, hint: Any, where: str) -> Any:
        if not isinstance(data, dict) or data.get("is") != hint.__name__:
            raise Misfit(f"{where}: no {hint.__name__}")
        hints, fields = _hints(hint), _fields(hint)
        unknown = set(data) - {each.name for each in fields} - {"is"}
        if unknown:
            raise Misfit(f"{where}: {hint.__name__} has no {min(unknown)}")
        given = {
            each.name: self.decode(data[each.name], hints[each.name], f"{where}.{each.name}")
            for each in fields if each.name in data
        }  # fmt: skip
        try:
            return hint(**given)
        except TypeError as error:
            raise Misfit(f"{where}: {hint.__name__} lacks a value: {error}") from error

    def _decode_many(self, data: Any, origin: Any, inner: tuple[Any, ...], where: str) -> Any:
        if issubclass(origin, collections.abc.Mapping):
            if isinstance(data, dict):
                data = [[key, each] for key, each in data.items()]
            pairs = [_pair(each, where) for each in _listed(data, where)]
            return {self.decode(k, inner[0], f"{where} key"): self.decode(v, inner[1], f"{where}[{k!s:.60}]")
                    for k, v in pairs}  # fmt: skip
        items = _listed(data, where)
        if origin is tuple and not (len(inner) == 2 and inner[1] is Ellipsis):
            if len(items) != len(inner):
                raise Misfit(f"{where}: {len(items)} values where there are {len(inner)}")
            return tuple(self.decode(each, hint, where) for each, hint in zip(items, inner, strict=True))
        found = [self.decode(each, inner[0], f"{where}[{n}]") for n, each in enumerate(items)]
        if origin in _SETS:
            return frozenset(found)
        return found if origin is list else tuple(found)


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    return type(value) is type(field.default) and bool(value == field.default)


def _decode_plain(data: Any, hint: Any, where: str) -> Any:  # noqa: PLR0911, C901 - one line a kind
    try:
        if hint is type(None) and data is None:
            return None
        if hint is float and isinstance(data, int | float | str) and not isinstance(data, bool):
            return float(data)
        if hint in _PLAIN and type(data) is hint:
            return data
        if isinstance(data, str) and isinstance(hint, type):
            if issubclass(hint, Enum):
                return hint(data)
            if issubclass(hint, Path):
                return Path(data)
            if hint is date or hint is datetime:
                return hint.fromisoformat(data)
            if hint is bytes:
                return base64.b64decode(data, validate=True)
            made = ip_address(data) if hint in _ADDRESSES else ip_network(data) if hint in _NETWORKS else None
            if isinstance(made, hint):
                return made
    except (ValueError, binascii.Error) as error:
        raise Misfit(f"{where}: {str(error)[:200]}") from error
    raise Misfit(f"{where}: no {getattr(hint, '__name__', hint)}: {data!r:.80}")


def _fault(data: Any, where: str) -> HostError:
    kind = _FAULTS.get(str(data.get("fault"))) if isinstance(data, dict) else None
    if kind is None:
        raise Misfit(f"{where}: no known reason why something could not be looked at")
    return kind(str(data.get("host", "")), str(data.get("message", "")), str(data.get("advice", "")))


def _listed(data: Any, where: str) -> list[Any]:
    if not isinstance(data, list):
        raise Misfit(f"{where}: no list")
    return data


def _pair(data: Any, where: str) -> tuple[Any, Any]:
    if not isinstance(data, list) or len(data) != 2:
        raise Misfit(f"{where}: no pair")
    return data[0], data[1]


def _sortable(encoded: Any) -> str:
    return json.dumps(encoded, sort_keys=True)


@cache
def _fields(kind: type) -> tuple[dataclasses.Field[Any], ...]:
    return tuple(each for each in dataclasses.fields(kind) if each.init)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)
