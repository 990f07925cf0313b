"""From pydantic's errors to faults with a file, a line, a column and the words of the field."""

from __future__ import annotations

import typing
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fwproof.errors import Fault
from fwproof.policy.document import Document, Keys
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
_CUT = object()


def read_shape(model: type[S], document: Document, context: object = None) -> tuple[S | None, list[Fault]]:
    """Return the document as ``model`` and every fault of its shape.

    With faults, the value is what is left when the faulty parts are cut out (None when nothing is), so that
    the parts can still be checked against each other; it must not be used for anything else.
    """
    plain = document.plain()
    faults: list[Fault] | None = None
    for _ in range(_ROUNDS):
        try:
            value = model.model_validate(plain, context=context)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            if faults is None:
                faults = [_fault(model, document, one) for one in errors]
            if not _cut(plain, errors):
                return None, faults
        else:
            return value, faults or []
    return None, faults or []


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


def _cut(plain: Any, errors: list[ErrorDetails]) -> bool:
    """Cut each faulty value out of ``plain``, and a mapping that lacks a key as a whole; False if that is all."""
    for error in errors:
        steps = [key for key in error["loc"] if key != _KEY]
        if error["type"] == "missing":
            steps = steps[:-1]
        container, here, last = None, plain, None
        for step in steps:
            if not _has(here, step):
                break
            container, here, last = here, here[step], step
        if container is None:
            return False
        # a list keeps its length until the end: the other errors count its items
        container[last] = _CUT
    _sweep(plain)
    return True


def _has(value: Any, step: str | int) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)


def _sweep(value: Any) -> None:
    if isinstance(value, dict):
        for key in [key for key, child in value.items() if child is _CUT]:
            del value[key]
    elif isinstance(value, list):
        value[:] = [child for child in value if child is not _CUT]
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _sweep(child)
