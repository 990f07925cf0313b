"""``fwproof agent``: what a host's administrator needs to install the agent, and to allow it no more."""

from __future__ import annotations

import json
from importlib.resources import files

import click

from fwproof.hosts.access import AGENT_PATH, SUDOERS_PATH, sudoers
from fwproof.inventory import Access
from fwproof.probing.start import agent_sha256

_USER = click.option("--user", default="auditor", show_default=True, help="The account that audits the host.")
_JAILS = click.option(
    "--jail", "jails", multiple=True, metavar="JAIL", help="A fail2ban jail of the policy; repeatable."
)
_TRACE = click.option("--trace", is_flag=True, help="Also let the agent trace the rules that its own probes meet.")
_ACCESS = click.option(
    "--access", type=click.Choice([tier.value for tier in Access]), default=Access.OBSERVE.value, show_default=True,
    help="read: fixed commands. observe: these and the agent. root: everything.",
)  # fmt: skip


@click.group()
def agent() -> None:
    """Show how to install the host agent: the commands, the hash to pin, the sudo rules.

    Nothing is done on any host; an administrator runs what these commands print.

    \b
    Examples:
      fwproof agent install --jail ollama-api
      fwproof agent sudoers --user auditor --access read | ssh root@HOST 'cat > /etc/sudoers.d/fwproof'
      fwproof agent hash --format json

    \b
    Exit status: 0 printed · 4 bad input
    """


@agent.command()
@_USER
@_JAILS
@_TRACE
def install(user: str, jails: tuple[str, ...], trace: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Print the install commands, the sudoers lines and the pin, for access `observe`.

    \b
    Examples:
      fwproof agent install --user auditor --jail ollama-api

    \b
    Exit status: 0 printed · 4 bad input
    """
    rules, candidate = sudoers(user, Access.OBSERVE, jails, trace=trace), f"{SUDOERS_PATH}.new"
    click.echo(
        f"""\
# 1. From this machine, copy the agent to the host (as its administrator; HOST is a name of yours):
scp {files("fwproof.probing").joinpath("agent.py")} HOST:fwproof-agent

# 2. On the host, as root: check that it is the file you meant, and install it.
echo '{agent_sha256()}  fwproof-agent' | sha256sum -c && install -o root -g root -m 0755 fwproof-agent {AGENT_PATH}

# 3. On the host, as root: allow {user} these commands and no others; visudo checks them before
#    they count, for sudo passes over names with a dot.
cat > {candidate} <<'EOF'
{rules}EOF
visudo -cf {candidate} && install -o root -g root -m 0440 {candidate} {SUDOERS_PATH}; rm {candidate}

# 4. In the inventory, under the host (or its defaults):
access: observe
agent: {{path: {AGENT_PATH}, sha256: {agent_sha256()}}}"""
    )


@agent.command(name="hash")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def hash_(form: str) -> None:
    """Print the agent's SHA-256, which the inventory pins.

    \b
    Examples:
      fwproof agent hash --format json

    \b
    Exit status: 0 printed
    """
    pin = {"path": AGENT_PATH, "sha256": agent_sha256()}
    click.echo(json.dumps(pin) if form == "json" else f"{pin['sha256']}  {pin['path']}")


@agent.command(name="sudoers")
@_USER
@_ACCESS
@_JAILS
@_TRACE
def sudoers_(user: str, access: str, jails: tuple[str, ...], trace: bool) -> None:  # noqa: FBT001 - as above
    """Print the sudoers file of an access tier.

    \b
    Examples:
      fwproof agent sudoers --user auditor --access read

    \b
    Exit status: 0 printed · 4 bad input
    """
    if trace and access == Access.READ:
        raise click.UsageError("--trace is for observe: with access read, no agent runs that could")
    click.echo(sudoers(user, Access(access), jails, trace=trace), nl=False)
