"""``fwproof man``: the manual page, made of the help of every verb (man-pages(7), groff_man(7))."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from fwproof import __version__

_EXIT = (
    ("0", "Everything is as expected, or was said, written or done."),
    ("1", "A check failed; or, of a question, there are findings or differences."),
    ("2", "Interrupted, or the command line is wrong."),
    ("3", "An error inside fwproof or of the lab."),
    ("4", "Bad input: a policy, an inventory, rule text or options that cannot be used."),
    ("5", "Nothing was tested."),
    ("6", "Nothing failed, but something is not known: a host could not be looked at, or a question is open."),
)
_FILES = (
    ("checks/*.policy.yaml", "Policies: what firewalls are expected to do. Their schema: fwproof schema policy."),
    ("checks/waivers.yaml", "Accepted deviations, each with an owner and an end."),
    ("fixtures/inventory.yaml", "The hosts, the zones they stand in, and how each is reached."),
    ("reports/latest", "The newest run: report.html, results.json, junit.xml, evidence/."),
)
_LAB = "The name of the lab, where several are up at once."


@click.command()
def man() -> None:
    """Print the manual page.

    \b
    Examples:
      fwproof man > ~/.local/share/man/man1/fwproof.1
      fwproof man | man -l -

    \b
    Exit status: 0 printed
    """
    click.echo(page(), nl=False)


def page() -> str:
    """Return the whole page as roff."""
    from fwproof.cli.main import cli

    return "\n".join(_page(cli)) + "\n"


def _page(cli: click.Group) -> Iterator[str]:
    yield f'.TH FWPROOF 1 "" "fwproof {__version__}" "User Commands"'
    yield ".SH NAME"
    yield "fwproof \\- prove, observe and attribute what a Linux host's firewall does"
    yield ".SH SYNOPSIS"
    yield ".B fwproof"
    yield ".I VERB"
    yield "[\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]..."
    yield ".SH DESCRIPTION"
    yield from _text(inspect.cleandoc(cli.help or ""))
    yield ".SH VERBS"
    for path, command in commands(cli):
        yield from _verb(path, command)
    yield ".SH EXIT STATUS"
    yield from _pairs(_EXIT)
    yield ".SH FILES"
    yield from _pairs(_FILES)
    yield ".SH ENVIRONMENT"
    yield from _pairs((("FWPROOF_LAB_NAME", _LAB), ("NO_COLOR", "No colour, whatever it is set to.")))
    yield ".SH SEE ALSO"
    yield ".BR pytest (1), iptables (8), nft (8), ufw (8), firewall-cmd (1), fail2ban-client (1)".replace(
        ", ", " ,\n.BR "
    )


def commands(group: click.Group, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every verb and what is below it, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*above, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))


def _verb(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(("fwproof", *path)))
    pieces = " ".join(_roff(piece) for piece in command.collect_usage_pieces(context))
    yield f".SS {_roff(' '.join(path))}"
    yield f"\\fBfwproof {_roff(' '.join(path))}\\fR {pieces}"
    yield ".PP"
    yield from _text(inspect.cleandoc(command.help or ""))
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in record[0]:
            yield from _pairs([record])


def _text(text: str) -> Iterator[str]:
    """Yield paragraphs; those behind a backspace, click's mark, keep their lines."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text)):
        lines = paragraph.splitlines()
        kept = bool(lines) and lines[0].strip() == "\b"
        yield from [".PP"] if number else []
        if kept:
            yield from (".nf", *(_roff(line.replace("\b", "")) for line in lines[1:]), ".fi")
        else:
            yield from (_roff(line.strip()) for line in lines)


def _pairs(pairs: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...] | list[tuple[str, str]]) -> Iterator[str]:
    for name, words in pairs:
        yield from (".TP", f".B {_roff(name)}", _roff(words or name))


def _roff(text: str) -> str:
    """Return a line that troff shows as it is: no macro, no escape, and hyphens that can be copied."""
    shown = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{shown}" if shown.startswith((".", "'")) else shown
