"""From pydantic's errors to faults with a file, a line, a column and the words of the field."""

from __future__ import annotations

import typing
from copy import deepcopy
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fwproof.errors import Fault
from fwproof.policy.document import Document, Keys, Node
from fwproof.policy.fields import FAULT, Shape, quote_advice, suggest
from fwproof.policy.scalars import describe, quoted

S = TypeVar("S", bound=Shape)

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


def read_shape(model: type[S], document: Document, context: object = None) -> tuple[S | None, Document, list[Fault]]:
    """Return the document as ``model``, the document that it was made of, and every fault of its shape.

    With faults, value and document are what is left when the faulty parts are cut out (None when nothing is),
    so that the rest can still be checked against each other; they must not be used for anything else.
    """
    faults: list[Fault] | None = None
    rest = document
    for _ in range(_ROUNDS):
        try:
            value = model.model_validate(rest.plain(), context=context)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            if faults is None:
                faults = [_fault(model, document, one) for one in errors]
                rest = replace(document, root=deepcopy(document.root))
            if not _cut(rest.root, errors):
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


def _fault(model: type[Shape], document: Document, error: ErrorDetails) -> Fault:
    keys: Keys = tuple(key for key in error["loc"] if key != _KEY)
    kind = error["type"]
    around = _model_at(model, keys[:-1])
    if kind == "missing":
        description = _descriptions(around).get(str(keys[-1]), "")
        hint = f"; it says: {description[0].lower()}{description[1:]}" if description else ""
        parent = document.existing(keys[:-1])
        return document.fault(document.key_place(parent), f"key {quoted(str(keys[-1]))} is missing{hint}")
    if kind == "extra_forbidden":
        known = list(_descriptions(around))
        advice = suggest(str(keys[-1]), known) or f"; known here: {', '.join(known)}"
        return document.fault(document.key_place(keys), f"unknown key {quoted(str(keys[-1]))}{advice}")
    if _KEY in error["loc"]:
        return document.fault(document.key_place(keys), f"key {_message(error)}")
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
        return f"expected {words} {details[key]}, not {describe(value)}"
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


def _cut(root: Node, errors: list[ErrorDetails]) -> bool:
    """Cut each faulty value out of ``root``, and a mapping that lacks a key as a whole; False if that is all."""
    doomed: list[tuple[Node, Node]] = []
    for error in errors:
        steps = [key for key in error["loc"] if key != _KEY]
        if error["type"] == "missing":
            steps = steps[:-1]
        around, here = None, root
        for step in steps:
            child = here.child(step)
            if child is None:
                break
            around, here = here, child
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
