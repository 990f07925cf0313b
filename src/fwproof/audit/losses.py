"""What becomes of hosts whose worker is lost: opened again through another, or not asked any more.

While hosts are opened nothing was sent yet, so that a host can be begun with anew: other worker, other connection,
other agent, tables read again. Later its agent has ended together with the connection and has taken back what it had
begun; what it would have seen, and the counters between, are gone. Its checks are errors then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from fwproof.hosts.ssh import goes_by
from fwproof.inventory import Host
from fwproof.probing.gate import Gate


class Losses:
    """Notes hosts that were lost, and tells of each; safe to use from several threads."""

    def __init__(self, gate: Gate, progress: Callable[[str], None]) -> None:
        self._gate, self._progress = gate, progress
        self._lock = threading.Lock()
        self._hosts: list[Host] = []
        self._gone: list[Host] = []
        self._settled = False

    def begin(self, hosts: Iterable[Host]) -> None:
        """Say which hosts are opened from now on."""
        self._hosts = list(hosts)

    def lost(self, name: str, why: str) -> None:
        """Note that the connection to a host, which may be a jump host, ended with its worker."""
        with self._lock:
            gone = [host for host in self._hosts if goes_by(host, {name})]
            if not self._settled:
                self._gone += [host for host in gone if host not in self._gone]
            for host in gone:
                self._gate.lose(host.name, why)
            next_ = "nothing more is sent to it" if self._settled else "it is opened again"
        for host in gone:
            self._progress(f"{host.name}: {why}; {next_}")

    def take(self) -> list[Host]:
        """Return the hosts that are to be opened again, which may be sent to as before."""
        with self._lock:
            gone, self._gone = self._gone, []
            for host in gone:
                self._gate.regain(host.name)
        return gone

    def settle(self) -> None:
        """Say that nothing is opened again from here on."""
        with self._lock:
            self._settled, gone = True, list(self._gone)
        for host in gone:
            self._progress(f"{host.name}: its worker was lost once more; nothing is sent to it")
