"""Commands that a page shows with what they print, run again. Not a test itself."""

import re
import shlex

from click.testing import CliRunner

from fwproof.cli.main import cli

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def printed(command):
    """Return what a command of the page prints, on both streams."""
    done = CliRunner().invoke(cli, shlex.split(command)[1:])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.output


def with_outputs(text):
    """Return a page with what its commands print below each of them."""

    def block(found):
        kind, body = found.groups()
        if kind != "console":
            return found[0]
        commands = [line.removeprefix("$ ") for line in body.splitlines() if line.startswith("$ ")]
        return "```console\n" + "".join(f"$ {command}\n{printed(command)}" for command in commands) + "```"

    return BLOCK.sub(block, text)
