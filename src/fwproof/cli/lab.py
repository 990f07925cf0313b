"""``fwproof lab`` and ``fwproof doctor``: the embedded lab on the command line."""

from __future__ import annotations

import json
import sys
import time

import click

from fwproof.errors import FwproofError
from fwproof.lab import Lab


def _progress(line: str) -> None:
    click.echo(line, err=True)


@click.group()
@click.option("--name", help="Which lab, of several on this machine.  [default: $FWPROOF_LAB_NAME or lab]")
@click.pass_context
def lab(context: click.Context, name: str | None) -> None:
    """Run the embedded lab: real hosts made of namespaces."""
    context.obj = name


@lab.command()
@click.pass_obj
def up(name: str | None) -> None:
    """Bring the lab up; the first time, build its image."""
    handle = Lab(name)
    begun = time.monotonic()
    handle.up(_progress)
    click.echo(f"{handle.name}: {len(handle.status()['hosts'])} hosts up in {time.monotonic() - begun:.1f} s")


@lab.command()
@click.pass_obj
def down(name: str | None) -> None:
    """Take the lab down."""
    handle = Lab(name)
    begun = time.monotonic()
    handle.down()
    click.echo(f"{handle.name}: down in {time.monotonic() - begun:.2f} s")


if __name__ == "__main__":
    try:
        lab()
    except FwproofError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
