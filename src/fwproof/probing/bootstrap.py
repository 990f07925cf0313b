"""How an agent comes to a host that has none installed: its source, streamed to a short program that becomes it."""

from __future__ import annotations

import base64
from functools import cache
from importlib.resources import files

from fwproof.hosts.transport import ByteChannel

BOOTSTRAP = (
    "import sys;r=sys.stdin.buffer.raw;n=int(r.readline());b=b''\n"
    "while len(b)<n:\n"
    " d=r.read(n-len(b))\n"
    " if not d:sys.exit(1)\n"
    " b+=d\n"
    "exec(compile(b,'fwproof-agent','exec'))"
)
"""Program for ``python3 -IS -c``: reads the agent's length and source from standard input, and becomes it."""


@cache
def agent_source() -> bytes:
    """Return the agent's file, byte for byte as it is installed and hashed."""
    return files("fwproof.probing").joinpath("agent.py").read_bytes()


def streamed(channel: ByteChannel) -> ByteChannel:
    """Send the agent's source to a channel on which :data:`BOOTSTRAP` runs; return the channel."""
    source = agent_source()
    channel.send(b"%d\n" % len(source) + source)
    return channel


def stream_argv(*, sudo: bool) -> tuple[str, ...]:
    """Return the command line of a streamed agent; one word of code, so that any login shell passes it on."""
    code = base64.b64encode(BOOTSTRAP.encode()).decode()
    words = ("/usr/bin/python3", "-IS", "-c", f"import base64;exec(base64.b64decode('{code}'))")
    return ("/usr/bin/sudo", "-n", *words) if sudo else words
