"""JSON Schemas of policy, inventory and controls files, for completion and checks in an editor.

Draft-07, the newest dialect that the YAML language server documents. A schema knows shapes only: that a zone
exists, or that two expectations do not overlap, is for the loader to say.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from fwproof.policy.accepted import AcceptedFileShape
from fwproof.policy.catalogue import CatalogueShape
from fwproof.policy.fields import Shape
from fwproof.policy.inventory_shapes import InventoryShape
from fwproof.policy.shapes import PolicyShape
from fwproof.policy.waiver_file import WaiversShape

SHAPES: dict[str, type[Shape]] = {
    "policy": PolicyShape, "inventory": InventoryShape, "waivers": WaiversShape, "accepted": AcceptedFileShape,
    "controls": CatalogueShape,
}  # fmt: skip
_TITLES = {kind: f"fwproof {kind}" for kind in SHAPES} | {"accepted": "changes accepted since a baseline"}


class _Draft7(GenerateJsonSchema):
    """Pydantic's generator without null: a key that has no value is left out of these files."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Return the schema of the value itself."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return the schema with its default where that can be written in a file."""
        made = super().default_schema(schema)
        return {key: value for key, value in made.items() if key != "default" or value not in (None, "", 0, 0.0)}


def json_schema(kind: str) -> dict[str, Any]:
    """Return the draft-07 schema of files of a kind of :data:`SHAPES`; raises KeyError for another."""
    made = SHAPES[kind].model_json_schema(by_alias=True, schema_generator=_Draft7, mode="validation")
    plain = _rewritten(made)
    return {"$schema": "http://json-schema.org/draft-07/schema#", **plain, "title": _TITLES[kind]}


def _rewritten(value: Any, *, named: bool = False) -> Any:
    """Return a schema with draft-07's words; ``named`` says that the keys of ``value`` are names, not keywords."""
    if isinstance(value, list):
        return [_rewritten(item) for item in value]
    if not isinstance(value, dict):
        return value.replace("#/$defs/", "#/definitions/") if isinstance(value, str) else value
    made: dict[str, Any] = {}
    for key, child in value.items():
        # titles made from Python's names tell a reader nothing
        if key == "title" and not named:
            continue
        name = "definitions" if key == "$defs" and not named else key
        made[name] = _rewritten(child, named=not named and key in {"$defs", "properties"})
    if "patternProperties" in made:
        made = {"additionalProperties": False, **made}
    if "$ref" in made and len(made) > 1:
        # draft-07 ignores what stands beside a $ref
        made = {"allOf": [{"$ref": made.pop("$ref")}], **made}
    return made
