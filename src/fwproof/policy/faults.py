"""From pydantic's errors to faults with a file, a line, a column and the words of the field."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fwproof.errors import Fault
from fwproof.policy.document import Document, Keys, Node
from fwproof.policy.fields import FAULT, Shape, quote_advice
from fwproof.policy.nearest import nearest, suggest
from fwproof.policy.scalars import describe, quoted

S = TypeVar("S", bound=Shape)

Spare = Mapping[Keys, str | list[str]]

_KEY = "[key]"
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
}
_BOUNDS = {"greater_than_equal": ("at least", "ge"), "greater_than": ("more than", "gt"),
           "less_than_equal": ("at most", "le"), "less_than": ("less than", "lt")}  # fmt: skip
_ROUNDS = 12


def read_shape(
    model: type[S], document: Document, context: object = None, spare: Spare | None = None
) -> tuple[S | None, Document, list[Fault]]:
    """Return the document as ``model``, the document that it was made of, and every fault of its shape.

    With faults, value and document are what is left when the faulty parts are cut out (None when nothing is),
    so that the rest can still be checked against each other; they must not be used for anything else. ``spare``
    has stand-ins for keys that were lacking or cut out, by their place.
    """
    faults: list[Fault] | None = None
    rest = document
    for _ in range(_ROUNDS):
        try:
            value = model.model_validate(rest.plain(), context=context)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            if faults is None:
                faults = _faults(model, document, errors)
                rest = replace(document, root=deepcopy(document.root))
            if not _cut(rest.root, errors, spare or {}):
                break
        else:
            return value, rest, faults or []
    return None, document, faults or []


def without_echoes(document: Document, faults: list[Fault]) -> list[Fault]:
    """Return the document's own faults and those of ``faults`` that stand where it has none yet.

    A value that could not be read is reported for that, and not for its type as well.
    """
    known = {(fault.line, fault.column) for fault in document.faults}
    return [*document.faults, *(fault for fault in faults if (fault.line, fault.column) not in known)]


def _faults(model: type[Shape], document: Document, errors: list[ErrorDetails]) -> list[Fault]:
    """Return a fault per error, less the missing keys that a misspelt one beside them was meant to be."""
    meant = set()
    for error in errors:
        if error["type"] == "extra_forbidden":
            known = _descriptions(_model_at(model, error["loc"][:-1]))
            meant.add((*error["loc"][:-1], nearest(str(error["loc"][-1]), known)))
    wanted = (error for error in errors if error["type"] != "missing" or error["loc"] not in meant)
    return [_fault(model, document, error) for error in wanted]


def _fault(model: type[Shape], document: Document, error: ErrorDetails) -> Fault:
    keys: Keys = tuple(key for key in error["loc"] if key != _KEY)
    kind = error["type"]
    if kind in {"missing", "extra_forbidden"}:
        last, known = str(keys[-1]), _descriptions(_model_at(model, keys[:-1]))
        if kind == "missing":
            about = f" ({known[last][:1].lower()}{known[last][1:]})" if known.get(last) else ""
            return document.fault(document.key_place(keys[:-1]), f"key {quoted(last)} is missing{about}")
        advice = suggest(last, known) or f"; known here: {', '.join(known)}"
        return document.fault(document.key_place(keys), f"unknown key {quoted(last)}{advice}")
    if _KEY in error["loc"]:
        return document.fault(document.key_place(keys), f"key {quoted(str(keys[-1]))}: {_message(error)}")
    return document.fault(document.place(keys), f"{_label(document, keys)}{_message(error)}")


def _label(document: Document, keys: Keys) -> str:
    names = [key for key in document.existing(keys) if isinstance(key, str)]
    return f"{quoted(names[-1])}: " if names else ""


def _message(error: ErrorDetails) -> str:
    kind, value, details = error["type"], error["input"], error.get("ctx", {})
    if kind == FAULT:
        return str(details["message"])
    if kind in _TYPES:
        advice = quote_advice(value) if kind == "string_type" else ""
        return f"expected {_TYPES[kind]}, not {describe(value)}{advice}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"expected {words} {details[key]:g}, not {describe(value)}"
    if kind == "too_short":
        return "the list is empty; name at least one, or delete the key"
    return f"{describe(value)} cannot be used here"


def _descriptions(model: type[Shape] | None) -> dict[str, str]:
    if model is None:
        return {}
    return {field.alias or name: field.description or "" for name, field in model.model_fields.items()}


def _model_at(model: type[Shape], keys: Keys) -> type[Shape] | None:
    """Return the mapping that stands at ``keys`` of a document with the shape of ``model``."""
    here: Any = model
    for key in keys:
        if isinstance(here, type) and issubclass(here, Shape):
            fields = {field.alias or name: field.annotation for name, field in here.model_fields.items()}
            here = _bare(fields.get(str(key)))
        elif typing.get_origin(here) in {list, dict}:
            here = _bare(typing.get_args(here)[-1])
        else:
            return None
    if typing.get_origin(here) is list:  # a list of one, written without brackets
        here = _bare(typing.get_args(here)[0])
    return here if isinstance(here, type) and issubclass(here, Shape) else None


def _bare(annotation: Any) -> Any:
    """Return an annotation without Annotated and without ``| None``."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    alternatives = [a for a in typing.get_args(annotation) if a is not type(None)]
    if type(None) in typing.get_args(annotation):
        return _bare(alternatives[0])
    return annotation


def _cut(root: Node, errors: list[ErrorDetails], spare: Spare) -> bool:
    """Cut each faulty value out of ``root``, and a mapping that lacks a key as a whole; False if that is all."""
    doomed: list[tuple[Node, Node]] = []
    for error in errors:
        keys: Keys = tuple(key for key in error["loc"] if key != _KEY)
        if error["type"] == "missing":
            if _filled(root, keys, spare):
                continue
            keys = keys[:-1]
        around, here = _innermost(root, keys)
        if around is None:
            return False
        doomed.append((around, here))
    for around, gone in doomed:
        if isinstance(around.value, dict):
            for key in [key for key, child in around.value.items() if child is gone]:
                del around.value[key]
        elif isinstance(around.value, list):
            around.value[:] = [child for child in around.value if child is not gone]
    return True


def _innermost(root: Node, keys: Keys) -> tuple[Node | None, Node]:
    """Return the innermost value on the way along ``keys``, and what holds it."""
    around, here = None, root
    for key in keys:
        child = here.child(key)
        if child is None:
            break
        if child is not here:
            around, here = here, child
    return around, here


def _filled(root: Node, keys: Keys, spare: Spare) -> bool:
    """Put the stand-in for a missing key in its place, if there is one."""
    _, here = _innermost(root, keys[:-1])
    value = spare.get(keys)
    if value is None or not isinstance(here.value, dict):
        return False
    items = [Node(here.place, item) for item in value] if isinstance(value, list) else value
    here.value[str(keys[-1])] = Node(here.place, items)
    return True
