"""``fwproof``: verbs that pytest lacks; the audit itself is pytest's.

Each verb lives in a module of its own and is imported when it is called, so that ``fwproof --help`` is quick.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from fwproof import __version__
from fwproof.errors import FwproofError

_VERBS = {
    "demo": ("fwproof.cli.demo:demo", "Audit two servers on the embedded lab and write the reports."),
    "init": ("fwproof.cli.init:init", "Write a project, or draft one from a host."),
    "plan": ("fwproof.cli.plan:plan", "Say what an audit would do: every log-in, command and packet."),
    "audit": ("fwproof.cli.audit:audit", "Run pytest on the policies."),
    "lab": ("fwproof.cli.lab:lab", "Bring up, use and take down the embedded lab."),
    "doctor": ("fwproof.cli.lab:doctor", "Try what the lab needs of this machine."),
    "collect": ("fwproof.cli.collect:collect", "Store read-only snapshots of hosts."),
    "probe": ("fwproof.cli.probe:probe", "Send probes, sweeps or bursts from a vantage and compare with the tables."),
    "explain": ("fwproof.cli.explain:explain", "Follow packets through rule tables."),
    "query": ("fwproof.cli.query:query", "Show who reaches what, over the whole packet space."),
    "lint": ("fwproof.cli.lint:lint", "Find rules that do nothing, contradict others or allow too much."),
    "understood": ("fwproof.cli.understood:understood", "Show how far rule tables are understood, and what is not."),
    "diff": ("fwproof.cli.diff:diff", "Compare two runs, or what two sets of tables let through."),
    "gate": ("fwproof.cli.gate:gate", "Judge tables before they are deployed, without any host."),
    "parity": ("fwproof.cli.parity:parity", "Show what IPv4 and IPv6 let through differently."),
    "cover": ("fwproof.cli.cover:cover", "Choose few packets that reach every rule."),
    "logs": ("fwproof.cli.logs:logs", "Review a period of drop logs on one page."),
    "waivers": ("fwproof.cli.waivers:waivers", "Show accepted deviations and how long they last."),
    "report": ("fwproof.cli.report:report", "Render a run's results again, offline."),
    "index": ("fwproof.cli.index:index", "Make one page over all runs of a folder."),
    "bundle": ("fwproof.cli.bundle:bundle", "Copy a stored run with other addresses, for third parties."),
    "verify": ("fwproof.cli.verify:verify", "Check a stored run and work out every verdict again, offline."),
    "controls": ("fwproof.cli.controls:controls", "Show which controls checks support, and policies to start from."),
    "agent": ("fwproof.cli.agent:agent", "Install lines, hash and sudo rules of the host agent."),
    "completion": ("fwproof.cli.completion:completion", "Print what makes a shell complete commands."),
    "man": ("fwproof.cli.man:man", "Print the manual page."),
    "schema": ("fwproof.cli.schema:schema", "Print the JSON Schema of a file that users write."),
}


class _Verbs(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of a first day's work."""
        del ctx
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        del ctx
        if cmd_name not in _VERBS:
            return None
        module, _, name = _VERBS[cmd_name][0].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs with their one line each, without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _VERBS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb; a word that is none of an option's or argument's choices gets the nearest one named."""
        try:
            return super().invoke(ctx)
        except click.BadParameter as error:
            near = _nearest(error)
            if not near:
                raise
            raise click.BadParameter(
                error.message.rstrip(".") + near, error.ctx, error.param, error.param_hint
            ) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest verb for an unknown one."""
        if args and args[0] not in _VERBS:
            from fwproof.policy.nearest import suggest

            near = suggest(args[0], _VERBS)
            if near:
                ctx.fail(f"no command {args[0]!r}{near}")
        return super().resolve_command(ctx, args)


def _nearest(error: click.BadParameter) -> str:
    """Return a suggestion for a wrong choice, whose message begins with the word in quotes; empty for other errors."""
    from fwproof.policy.nearest import suggest

    kind = error.param.type if error.param is not None else None
    if not isinstance(kind, click.Choice) or "'" not in error.message:
        return ""
    return suggest(error.message.split("'")[1], map(str, kind.choices))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="fwproof")
def cli() -> None:
    """Prove, observe and attribute what a Linux host's firewall does.

    \b
    Examples:
      fwproof demo                                     the whole job, on a lab made of namespaces
      fwproof audit checks --inventory fixtures/inventory.yaml
      fwproof lab up; fwproof lab exec ai-server -- iptables-save
    """


def main() -> None:
    """Run the command line; every known failure is one message and its exit code, never a traceback."""
    try:
        cli(standalone_mode=True)
    except FwproofError as error:
        from fwproof.cli.saying import safe

        click.echo("\n".join(map(safe, f"fwproof: {error}".split("\n"))), err=True)
        sys.exit(error.exit_code)
