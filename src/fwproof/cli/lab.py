"""``fwproof lab`` and ``fwproof doctor``: the embedded lab on the command line."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import click

from fwproof.cli.saying import say
from fwproof.errors import FwproofError, UsageError
from fwproof.lab import Lab
from fwproof.lab.handle import guest_environment

_COMMAND = {"ignore_unknown_options": True, "allow_interspersed_args": False}  # options after HOST are the command's
_FORMAT = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output as."
)
_NAME = click.option("--name", help="Which lab, of several on this machine.  [default: $FWPROOF_LAB_NAME or lab]")

_TOPOLOGY = click.option("--topology", type=click.Path(path_type=Path), help="Another topology than the embedded one.")


def _progress(line: str) -> None:
    click.echo(line, err=True)


def _words(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command without the `--` that sets it apart from fwproof's own options."""
    return command[1:] if command[:1] == ("--",) else command


@click.group()
def lab() -> None:
    """Bring up, use and take down the embedded lab: real hosts made of namespaces.

    \b
    Examples:
      fwproof lab up
      fwproof lab exec ai-server -- iptables-save -c
      fwproof lab as workstation -- bash -c 'echo < /dev/tcp/ai-server/11434 && echo it answers'
      fwproof lab down
    """


@lab.command()
@_NAME
@_TOPOLOGY
def up(name: str | None, topology: Path | None) -> None:
    """Bring the lab up; the first time, build its image.

    \b
    Examples:
      fwproof lab up
      fwproof lab up --name other --topology fixtures/lab/routers.yaml

    \b
    Exit status: 0 up · 3 it could not be brought up · 4 bad input
    """
    handle = Lab(name, topology)
    begun = time.monotonic()
    handle.up(_progress)
    click.echo(f"{handle.name}: {len(handle.status()['hosts'])} hosts up in {time.monotonic() - begun:.1f} s")


@lab.command()
@_NAME
@_FORMAT
def status(name: str | None, form: str) -> None:
    """Say whether the lab is up, and where its hosts are; exit status 1 when it is not up.

    \b
    Examples:
      fwproof lab status --format json
    """
    found = Lab(name).status()
    if form == "json":
        click.echo(json.dumps(found))
    elif not found["up"]:
        click.echo(f"{found['name']}: not up")
    else:
        say([f"{found['name']}: up, process {found['pid']}, state in {found['state']}"])
        say(
            f"  {host:20} {'running' if facts['running'] else 'off':8} {'  '.join(facts['addresses'])}"
            for host, facts in found["hosts"].items()
        )
    sys.exit(0 if found["up"] else 1)


@lab.command(name="exec", context_settings=_COMMAND)
@_NAME
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def exec_(name: str | None, host: str, command: tuple[str, ...]) -> None:
    """Run a command inside a host, as its root; without a command, a shell.

    \b
    Examples:
      fwproof lab exec ai-server -- iptables-save -c
      fwproof lab exec ai-server

    \b
    Exit status: the command's own · 3 the lab or the host is not up
    """
    words = Lab(name).exec_command(host, _words(command) or ("/bin/sh",))
    sys.stdout.flush()
    os.execvpe(words[0], words, guest_environment())  # noqa: S606 - becomes the command: terminal and status are its own


@lab.command(name="as", context_settings=_COMMAND)
@_NAME
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def as_(name: str | None, host: str, command: tuple[str, ...]) -> None:
    """Run a program of this machine in a host's network.

    \b
    Examples:
      fwproof lab as outside -- curl -m 2 http://10.0.0.10:8080/

    \b
    Exit status: the program's own · 3 the lab or the host is not up
    """
    from fwproof.lab.visit import visit

    if not _words(command):
        raise UsageError("lab as: expected a command after the host: `fwproof lab as HOST -- COMMAND`")
    sys.exit(visit(Lab(name), host, _words(command)))


@lab.command()
@_NAME
@click.argument("host")
def reboot(name: str | None, host: str) -> None:
    """Switch a host off and on again: its disk stays, its memory does not.

    \b
    Examples:
      fwproof lab reboot ai-server

    \b
    Exit status: 0 rebooted · 3 the lab or the host is not up
    """
    click.echo(f"{host}: rebooted in {Lab(name).reboot(host):.2f} s")


@lab.command()
@_NAME
@click.argument("host")
def off(name: str | None, host: str) -> None:
    """Switch a host off, as a failed machine is; `reboot` brings it back.

    \b
    Examples:
      fwproof lab off ai-server

    \b
    Exit status: 0 off · 3 the lab or the host is not up
    """
    Lab(name).power_off(host)
    click.echo(f"{host}: off")


@lab.command()
@_NAME
def down(name: str | None) -> None:
    """Take the lab down; nothing of it is left but the image.

    \b
    Examples:
      fwproof lab down

    \b
    Exit status: 0 down, or was not up · 3 it could not be taken down
    """
    handle = Lab(name)
    begun = time.monotonic()
    was_up = handle.is_up()
    handle.down()
    click.echo(f"{handle.name}: {f'down in {time.monotonic() - begun:.2f} s' if was_up else 'was not up'}")


@lab.group()
def image() -> None:
    """Build, find or remove the image that the hosts boot from."""


@image.command()
@click.option(
    "--from", "tar", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Unpack this image.tar instead."
)
def build(tar: Path | None) -> None:
    """Build the image unless it is there, and print its folder.

    \b
    Examples:
      fwproof lab image build

    \b
    Exit status: 0 built, or was there · 3 it could not be built
    """
    from fwproof.lab.image import ensure_image

    click.echo(ensure_image(_progress, tar))


@image.command()
def path() -> None:
    """Print the image's folder; exit status 1 when it is not built yet.

    \b
    Examples:
      fwproof lab image path
    """
    from fwproof.lab.image import image_folder

    click.echo(image_folder())
    sys.exit(0 if image_folder().is_dir() else 1)


@image.command()
def rm() -> None:
    """Remove every image of this user.

    \b
    Examples:
      fwproof lab image rm

    \b
    Exit status: 0 removed, or there was none
    """
    from fwproof.lab.image import remove_images

    for folder in remove_images():
        click.echo(f"removed {folder}")


@click.command()
@_FORMAT
@_TOPOLOGY
def doctor(form: str, topology: Path | None) -> None:
    """Try each thing that the lab needs of this machine, and say what to do about what is missing.

    \b
    Examples:
      fwproof doctor
      fwproof doctor --topology many-hosts/topology.yaml

    \b
    Exit status: 0 the lab can run · 1 something is missing · 4 bad input
    """
    from fwproof.lab.doctor import examine

    findings = examine(topology)
    stops = any(finding.stops for finding in findings)
    if form == "json":
        click.echo(json.dumps([finding.as_json() for finding in findings]))
    else:
        for finding in findings:
            click.echo(str(finding))
        click.echo("\nthe lab cannot run here: see MISSING above" if stops else "\nthe lab can run here")
    sys.exit(1 if stops else 0)


if __name__ == "__main__":
    try:
        lab()
    except FwproofError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
