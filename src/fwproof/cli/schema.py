"""``fwproof schema``: the JSON Schema of a file that users write, or of results.json."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument(
    "kind", default="policy",
    type=click.Choice(["policy", "inventory", "waivers", "accepted", "controls", "results", "run-diff", "index"]),
)  # fmt: skip
def schema(kind: str) -> None:
    """Print the JSON Schema of files that users write (draft-07), or of what fwproof writes (2020-12).

    Save it beside the files that name it in their first line:
    fwproof schema policy > checks/policy.schema.json

    Of what fwproof writes: results.json, fwproof diff of two runs (run-diff), and index.json of fwproof index. Each has
    its version in $id: within results-1, say, keys may be added, and none is removed.

    \b
    Examples:
      fwproof schema policy > checks/policy.schema.json
      fwproof schema inventory

    \b
    Exit status: 0 printed
    """
    if kind == "results":
        from fwproof.report.document import render_schema

        click.echo(render_schema().decode(), nl=False)
        return
    if kind in {"run-diff", "index"}:
        from fwproof.trends.document import schema as of_trends

        click.echo(json.dumps(of_trends(kind), indent=2))
        return
    from fwproof.policy.schema import json_schema

    click.echo(json.dumps(json_schema(kind), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    schema()
