"""Starting an agent on a host: streamed at tier root, installed and pinned at tier observe, none at tier read."""

from __future__ import annotations

import hashlib
import stat
from pathlib import PurePosixPath

from fwproof.errors import AgentRefused
from fwproof.hosts.transport import Transport
from fwproof.inventory import Access, AgentPin, Host
from fwproof.probing.bootstrap import agent_source, stream_argv, streamed
from fwproof.probing.channel import Agent
from fwproof.probing.gate import Gate
from fwproof.probing.greeting import CAP_NET_RAW


def agent_sha256() -> str:
    """Return the SHA-256 of the agent that this fwproof brings, in hex: the pin for the inventory."""
    return hashlib.sha256(agent_source()).hexdigest()


TRACE = "--trace"
"""The argument with which an installed agent may trace rules; sudo has to allow it by a line of its own."""


def agent_argv(host: Host, *, trace: bool = False) -> tuple[str, ...]:
    """Return the command that starts the agent on a host; nothing at tier read."""
    if host.access is Access.ROOT:
        return stream_argv(sudo=host.ssh.user != "root")
    if host.access is not Access.OBSERVE or host.agent is None:
        return ()
    return ("/usr/bin/sudo", "-n", host.agent.path, *([TRACE] if trace else []))


def pin_argvs(pin: AgentPin) -> tuple[tuple[str, ...], ...]:
    """Return the commands that show whether the installed agent is the pinned one."""
    path = PurePosixPath(pin.path)
    return (
        ("/usr/bin/stat", "-c", "%f %u", *map(str, (path, *path.parents))),
        ("/usr/bin/sha256sum", str(path)),
    )


def start_agent(transport: Transport, gate: Gate | None = None, *, trace: bool = False) -> Agent:
    """Start the agent on the transport's host and greet it; an installed one is asked to be let ``trace``.

    What it sends passes ``gate`` first.

    Raises CommandRefused when sudo does not allow that, AgentRefused when the inventory's access does not provide for
    one, when the installed file is not the pinned one or can be changed by others than root, or when the agent may not
    open raw sockets; and whatever the transport raises.
    """
    host = transport.host
    if host.access is Access.READ:
        raise AgentRefused(host.name, "its access is read: the wire is seen from the other end only")
    if host.access is Access.ROOT:
        agent = Agent(host.name, streamed(transport.open_channel(agent_argv(host))), gate)
    else:
        if host.agent is None:
            raise AgentRefused(host.name, "no agent is pinned", "fwproof agent install says how to install one")
        check_pin(transport, host.agent)
        agent = Agent(host.name, transport.open_channel(agent_argv(host, trace=trace)), gate)
    able = False
    try:
        able = agent.hello().may(CAP_NET_RAW)
    finally:
        if not able:
            agent.close()
    if not able:
        raise AgentRefused(host.name, "the agent may not open raw sockets (CAP_NET_RAW)", "check the sudo rule")
    return agent


def check_pin(transport: Transport, pin: AgentPin) -> None:
    """Raise AgentRefused unless the installed agent is the pinned file and only root can change it.

    Looks with the auditor's own rights. Every folder on the way must be root's as well: whoever can rename one
    can replace the file after it was checked.
    """
    host = transport.host.name
    path = PurePosixPath(pin.path)
    if not path.is_absolute() or ".." in path.parts:
        raise AgentRefused(host, f"the agent's path must be absolute and plain, not {pin.path!r}")
    places = [path, *path.parents]
    stat_argv, sum_argv = pin_argvs(pin)
    listing = transport.run(stat_argv, name="agent-stat")
    if listing.status != 0:
        raise AgentRefused(host, f"{path} cannot be examined: {listing.stderr.strip()[:200]!r}", "is it installed?")
    rows = listing.stdout.split("\n")[: len(places)]
    for place, row in zip(places, rows, strict=True):
        _check_owner(host, place, row, file=place == path)
    digest = transport.run(sum_argv, name="agent-sha256").stdout.split(" ")[0]
    if digest != pin.sha256.lower():
        raise AgentRefused(
            host,
            f"{path} has SHA-256 {digest[:64]!r}, the inventory pins {pin.sha256!r}",
            "find out who changed it, then install the agent again or correct the pin",
        )


def _check_owner(host: str, place: PurePosixPath, row: str, *, file: bool) -> None:
    try:
        mode, owner = int(row.split(" ", maxsplit=1)[0], 16), int(row.split(" ")[1])
    except (ValueError, IndexError):
        raise AgentRefused(host, f"stat says {row[:80]!r} of {place}, not its mode and owner") from None
    if not (stat.S_ISREG(mode) if file else stat.S_ISDIR(mode)):
        raise AgentRefused(host, f"{place} is not a plain {'file' if file else 'folder'}")
    if owner != 0 or mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise AgentRefused(
            host, f"{place} can be changed by others than root (owner {owner}, mode {stat.filemode(mode)})"
        )
