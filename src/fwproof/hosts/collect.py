"""Collecting snapshots: everything that is read of a host, as raw text, with the reason for every gap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from fwproof.errors import HostError
from fwproof.hosts.access import Command, commands
from fwproof.hosts.shape import fault_of
from fwproof.hosts.transport import Transport
from fwproof.redact import redacted
from fwproof.snapshot import Capture, Snapshot

LIMIT = 60.0
"""Seconds that reading one host may take after the log-in."""
_AT_ONCE = 16
_T = TypeVar("_T")


def collect(transport: Transport, jails: Iterable[str] = (), *, timeout: float = LIMIT) -> Snapshot:
    """Read everything of one host within ``timeout`` seconds; ``jails`` are the fail2ban jails of its policies.

    A command that could not be run, failed, or printed rubbish is in ``faults``; what it printed all the same
    stays in ``captures`` as evidence. Raises HostUnreachable, HostKeyRefused or LoginRefused.
    """
    return _read(transport, commands(transport.host, jails), timeout)


def recapture(
    transport: Transport, names: Collection[str], jails: Iterable[str] = (), *, timeout: float = LIMIT
) -> Snapshot:
    """Read some captures once more (counters, ban lists, the drop log); KeyError for a name that is none."""
    wanted = {command.name: command for command in commands(transport.host, jails)}
    return _read(transport, tuple(wanted[name] for name in names), timeout)


def _read(transport: Transport, wanted: tuple[Command, ...], timeout: float) -> Snapshot:
    host = transport.host.name
    answers = transport.run_many(wanted, timeout=timeout)
    captures: dict[str, Capture] = {}
    faults: dict[str, HostError] = {}
    for command in wanted:
        answer = _without_secrets(answers[command.name])
        if isinstance(answer, HostError):
            faults[command.name] = answer
            continue
        captures[command.name] = answer
        fault = fault_of(host, command, answer)
        if fault is not None:
            faults[command.name] = fault
    return Snapshot(host=host, captures=captures, faults=faults)


def _without_secrets(answer: Capture | HostError) -> Capture | HostError:
    """Return an answer as it is judged and kept: whoever reads a report may not read the host's secrets."""
    if isinstance(answer, HostError):
        return type(answer)(answer.host, redacted(answer.message), answer.advice)
    return replace(answer, stdout=redacted(answer.stdout), stderr=redacted(answer.stderr))


def on_all(work: Callable[[str], _T], names: Collection[str]) -> dict[str, _T | HostError]:
    """Do ``work`` for every host name, many at once; a HostError becomes the answer for that host alone."""

    def one(name: str) -> _T | HostError:
        try:
            return work(name)
        except HostError as error:
            return error

    if not names:
        return {}
    with ThreadPoolExecutor(min(_AT_ONCE, len(names)), "fwproof-host") as pool:
        return dict(zip(names, pool.map(one, names), strict=True))
