"""``fwproof schema``: the JSON Schema of a file that users write."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("kind", type=click.Choice(["policy", "inventory", "waivers", "controls", "accepted"]), default="policy")
def schema(kind: str) -> None:
    """Print the JSON Schema (draft-07) of policy, inventory, waivers, controls or accepted changes.

    Save it beside the files that name it in their first line:
    fwproof schema policy > checks/policy.schema.json
    """
    from fwproof.policy.schema import json_schema

    click.echo(json.dumps(json_schema(kind), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    schema()
