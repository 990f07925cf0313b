"""The JSON documents of trends, and their published schemas."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, create_model

from fwproof.report.document import all_encodable
from fwproof.trends import changes, history

_META = "https://json-schema.org/draft/2020-12/schema"


def render_diff(found: changes.RunDiff) -> bytes:
    """Return a comparison of two runs as a document of the format run-diff-1."""
    head = {"schema": changes.SCHEMA_ID, "status": found.status, "headline": found.headline,
            "effects": {effect.value: found.effects[effect] for effect in changes.Effect}}  # fmt: skip
    return _dumped(head | asdict(found))


def render_index(found: history.Index) -> bytes:
    """Return the index of a folder of runs as a document of the format index-1."""
    return _dumped({"schema": history.SCHEMA_ID} | asdict(found))


def _dumped(document: dict[str, Any]) -> bytes:
    return (json.dumps(all_encodable(document), indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode()


def schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of ``run-diff`` or ``index``; within a version, keys may be added."""
    if kind == "run-diff":
        head: dict[str, Any] = {
            "schema_": (Literal["https://fwproof.invalid/schema/run-diff-1"], Field(alias="schema")),
            "status": (Literal[0, 1, 6], ...), "headline": (str, ...), "effects": (dict[changes.Effect, int], ...),
        }  # fmt: skip
        values: type = changes.RunDiff
        name = changes.SCHEMA_ID
    else:
        head = {"schema_": (Literal["https://fwproof.invalid/schema/index-1"], Field(alias="schema"))}
        values, name = history.Index, history.SCHEMA_ID
    body = TypeAdapter(values).json_schema()
    model: type[BaseModel] = create_model("Document", **head)
    first = model.model_json_schema(by_alias=True)
    merged = {
        **body, "properties": {**first["properties"], **body["properties"]},
        "required": [*first["required"], *body["required"]],
        "$defs": {**first.get("$defs", {}), **body.get("$defs", {})},
    }  # fmt: skip
    return {"$schema": _META, "$id": name, **merged, "title": f"fwproof {name.rpartition('/')[2]}"}
