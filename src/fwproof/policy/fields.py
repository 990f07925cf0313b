"""Field types that policies and inventories share: each refuses a bad value in the words of its field.

A type carries its reader, its message and its JSON Schema, so that an editor and the loader agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, PlainValidator, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from fwproof.flow import Address, Network
from fwproof.policy.scalars import describe, quoted

FAULT = "fwproof"
"""The pydantic error type of messages that are already in the user's words."""


class Shape(BaseModel):
    """Base of every mapping that a file may hold: unknown keys refused, no conversion between types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


def wrong(message: str) -> PydanticCustomError:
    """Return the error to raise from a field's reader; the key's name is put before ``message``."""
    return PydanticCustomError(FAULT, "{message}", {"message": message})


@dataclass(frozen=True)
class Text:
    """Annotation for a text that matches ``pattern`` and is at most ``limit`` characters long."""

    expected: str
    pattern: str
    limit: int = 64

    def read(self, value: Any) -> str:
        """Return the text; raise the field's error."""
        if not isinstance(value, str):
            raise wrong(f"expected {self.expected}, not {describe(value)}{quote_advice(value)}")
        if len(value) > self.limit:
            raise wrong(f"is longer than {self.limit} characters")
        if not re.fullmatch(self.pattern, value):
            raise wrong(f"expected {self.expected}, not {quoted(value)}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{self.pattern}$", "maxLength": self.limit}


@dataclass(frozen=True)
class Choice:
    """Annotation for a text that is one of ``words``."""

    words: tuple[str, ...]

    def read(self, value: Any) -> str:
        """Return the word; raise the field's error."""
        listed = " or ".join(filter(None, (", ".join(self.words[:-1]), self.words[-1])))
        if not isinstance(value, str):
            raise wrong(f"expected {listed}, not {describe(value)}")
        if value not in self.words:
            raise wrong(f"expected {listed}, not {quoted(value)}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.words)}


def quote_advice(value: object) -> str:
    """Return what to do about a scalar that YAML did not read as text."""
    return "; put it in quotes" if isinstance(value, bool | int | float) else ""


@dataclass(frozen=True)
class Shorthand:
    """Annotation for a value that may be written in a shorter way, which ``convert`` turns into the full one."""

    convert: Callable[[Any], Any]
    schema: tuple[tuple[str, Any], ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.convert, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [dict(self.schema), handler(schema)]}


def word_for(key: str, words: Iterable[str]) -> Shorthand:
    """Return the shorthand of a mapping in which one word stands for ``{key: word}``."""

    def convert(value: Any) -> Any:
        return value if isinstance(value, dict) else {key: value}

    return Shorthand(convert, (("type", "string"), ("enum", list(words))))


@dataclass(frozen=True)
class OneOrMany:
    """Annotation for a list that may be written without brackets when it has one item."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def convert(value: Any) -> Any:
            return value if isinstance(value, list) else [value]

        return core_schema.no_info_before_validator_function(convert, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        full = handler(schema)
        return {"anyOf": [full["items"], full]}


def read_address(value: Any) -> Address:
    """Return one unicast address of a host; raise the field's error for anything else."""
    if not isinstance(value, str):
        raise wrong(f"expected an IP address, not {describe(value)}{quote_advice(value)}")
    if "/" in value:
        raise wrong(f"expected one address, not the network {quoted(value)}")
    try:
        address = ip_address(value)
    except ValueError:
        raise wrong(f"expected an IP address such as 10.0.0.10 or fd00::10, not {quoted(value)}") from None
    return _unicast(address, value)


def _unicast(address: Address, text: str) -> Address:
    kinds = (
        (address.is_loopback, "a loopback address, which only the host itself can reach"),
        (address.is_multicast, "a multicast address"),
        (address.is_unspecified, "the unspecified address"),
        ("%" in str(address), "tied to an interface; leave out the part from '%'"),
        (getattr(address, "ipv4_mapped", None) is not None, "an IPv4 address in IPv6 clothing; write the IPv4 address"),
        (str(address) == "255.255.255.255", "the broadcast address"),
    )
    for is_it, what in kinds:
        if is_it:
            raise wrong(f"{quoted(text)} is {what}")
    return address


def read_network(value: Any) -> Network:
    """Return a network from an address or CIDR; raise the field's error for anything else."""
    if not isinstance(value, str):
        raise wrong(f"expected a network such as 10.0.0.0/16, not {describe(value)}{quote_advice(value)}")
    head, slash, prefix = value.partition("/")
    if not slash:
        return ip_network(read_address(value))
    try:
        network = ip_network(value if prefix.isdecimal() else "", strict=False)
    except ValueError:
        raise wrong(f"expected a network such as 10.0.0.0/16 or fd00::/48, not {quoted(value)}") from None
    if network.network_address == ip_address(head):
        return network
    raise wrong(f"{quoted(value)} has bits set after the prefix; write {network}, or {head} for the one address")


AddressField = Annotated[Address, PlainValidator(read_address), WithJsonSchema({"type": "string"})]
NetworkField = Annotated[Network, PlainValidator(read_network), WithJsonSchema({"type": "string"})]
Id = Annotated[str, Text("lower-case letters, digits and '-'", r"[a-z0-9][a-z0-9-]*")]
Name = Annotated[str, Text("a name of letters, digits, '.', '_' and '-'", r"[A-Za-z0-9][A-Za-z0-9._-]*")]
Title = Annotated[str, Text("one line of text", r"[^\n]*\S[^\n]*", limit=200)]
AbsolutePath = Annotated[
    str, Text("an absolute path of letters, digits, '.', '_', '-' and '/'", r"/[A-Za-z0-9._/-]+", limit=1024)
]
