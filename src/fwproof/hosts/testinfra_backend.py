"""pytest-testinfra over fwproof's own connection, for checks that a user writes in Python.

testinfra's paramiko backend accepts unknown and changed host keys; this one goes through a
:class:`~fwproof.hosts.transport.Transport`, which refuses both, and shares its one connection.
"""

from __future__ import annotations

from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host as TestinfraHost

from fwproof.hosts.transport import Transport

_TIMEOUT = 60.0


class FwproofBackend(BaseBackend):  # type: ignore[misc]  # testinfra ships no type information for mypy here
    """Runs testinfra's commands on a host, as the auditing account."""

    NAME = "fwproof"

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport.host.name)
        self._transport = transport
        self._encoding = "UTF-8"  # commands run with LC_ALL=C; asking the host for its own would be no truer

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        """Run a shell command, ``%s`` in it replaced by the quoted ``args``; raises HostError as a transport does."""
        del kwargs
        words = self.get_command(command, *args)
        capture = self._transport.run(("/bin/sh", "-c", words), timeout=_TIMEOUT, name="testinfra")
        stdout, stderr = (text.encode("utf-8", "surrogateescape") for text in (capture.stdout, capture.stderr))
        return self.result(capture.status, self.encode(words), stdout, stderr)


def host(transport: Transport) -> TestinfraHost:
    """Return testinfra's host object for a transport: ``host(t).socket("tcp://22").is_listening`` and so on.

    testinfra's ``sudo`` runs ``sudo /bin/sh -c …``, which no tier below root allows; use ``host.run`` with the
    fixed words of the allow-list instead.
    """
    return TestinfraHost(FwproofBackend(transport))
