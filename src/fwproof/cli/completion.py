"""``fwproof completion``: the script that makes a shell complete verbs, options, hosts and files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_FWPROOF_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes a shell complete fwproof's verbs, options, hosts of the inventory, and files.

    \b
    Examples:
      fwproof completion bash > ~/.local/share/bash-completion/completions/fwproof
      fwproof completion zsh > ~/.zfunc/_fwproof
      fwproof completion fish > ~/.config/fish/completions/fwproof.fish

    \b
    Exit status: 0 printed · 2 another shell
    """
    click.echo(script(shell), nl=False)


def script(shell: str) -> str:
    """Return the script for a shell; the shell calls ``fwproof`` for each list of words."""
    from click.shell_completion import get_completion_class

    from fwproof.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    made = kind(cli, {}, "fwproof", _VARIABLE)
    # not source(): for bash that starts the one of this machine, and the script may be for another
    text = made.source_template % made.source_vars()
    return f"{text.strip()}\n"


def hosts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the hosts and groups of the inventory that a word begins; none where it cannot be read."""
    from click.shell_completion import CompletionItem

    from fwproof.audit.reading import INVENTORY
    from fwproof.errors import FwproofError
    from fwproof.policy.inventory_file import load_inventory

    try:
        known = load_inventory(Path(ctx.params.get("inventory") or INVENTORY))
    except FwproofError:
        return []
    names = [*known.hosts, *known.groups] if param.nargs == -1 else list(known.hosts)
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
