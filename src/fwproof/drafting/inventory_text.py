"""The text of a drafted inventory: one host, how it is reached, and the zones that its rules speak of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fwproof.drafting.subject import Subject
from fwproof.drafting.vantages import candidates
from fwproof.drafting.writing import block, comments, dumped
from fwproof.flow import Network

if TYPE_CHECKING:
    from fwproof.drafting.draft import SshLine

Guesses = Mapping[str, tuple[tuple[Network, ...], str]]
"""Zones by name: their networks, and why they are thought to be one."""
_HEAD = (
    "DRAFT, made by fwproof init from what was read of one host. Zones are guesses: give them the names",
    "and the networks that you know. A host from which probes may be sent gets 'vantage: true'",
    "(docs/own-hosts.md); without one, a policy is proved on the tables, and nothing is seen on the wire.",
)


def inventory_text(subject: Subject, zones: Guesses, ssh: SshLine) -> str:
    """Return an inventory for a host and the zones that were guessed."""
    return "\n".join(_lines(subject, zones, ssh)) + "\n"


def _lines(subject: Subject, zones: Guesses, ssh: SshLine) -> Iterator[str]:
    yield "# yaml-language-server: $schema=inventory.schema.json"
    yield "#"
    yield from comments(_HEAD)
    yield ""
    if zones:
        yield "zones:"
    for name, (networks, why) in zones.items():
        yield from comments([why], 2)
        yield from block({name: [str(network) for network in networks]}, 2)
    if zones:
        yield ""
    yield "hosts:"
    host: dict[str, Any] = {"addresses": [str(address) for address in subject.addresses.values()]}
    given = {"address": ssh.address, "port": ssh.port, "user": ssh.user, "identity_file": ssh.identity_file}
    if any(given.values()):
        host["ssh"] = {key: value for key, value in given.items() if value}
    host["access"] = "read"
    yield from block({subject.name: host}, 2)
    yield from _others(zones)


def _others(zones: Guesses) -> Iterator[str]:
    """Yield hosts that rules speak of, as comments: that probes may be sent from there is not for a rule to say."""
    single = {name: found for name, (networks, _) in zones.items() if (found := candidates(networks))}
    if not single:
        return
    yield ""
    yield from comments(["hosts that its rules speak of; take out the '#' where whoever answers for one agrees:"], 2)
    yield from (f"  # {name}-host: {dumped({'addresses': found, 'vantage': True})}" for name, found in single.items())
