"""Captures: the agents of a run, each of which watches its host from the first probe that needs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from threading import Lock

from fwproof.errors import AgentRefused, HostError
from fwproof.probing.channel import Agent


class Captures:
    """The agents by inventory name; captures are of packets with ``cookie``, started by threads of ``pool``.

    Threads may share it. A host whose capture did not start gives its HostError whenever it is asked for.
    """

    def __init__(self, agents: Mapping[str, Agent], cookie: int, pool: Executor) -> None:
        self.agents = agents
        self._cookie = cookie
        self._pool = pool
        self._lock = Lock()
        self._watching: dict[str, HostError | None] = {}

    def agent(self, host: str) -> Agent:
        """Return a host's agent; raises AgentRefused where there is none."""
        if host not in self.agents:
            raise AgentRefused(host, "no agent runs there, so nothing can be sent from it")
        return self.agents[host]

    def prepare(self, hosts: Iterable[str]) -> None:
        """Start the captures that do not run yet, all at the same time."""
        with self._lock:
            new = [host for host in dict.fromkeys(hosts) if host in self.agents and host not in self._watching]
            self._watching |= dict(zip(new, self._pool.map(self._begin, new), strict=True))

    def _begin(self, host: str) -> HostError | None:
        try:
            self.agents[host].hello()
            self.agents[host].capture(self._cookie)
        except HostError as error:
            return error
        return None

    def watched(self, host: str) -> Agent:
        """Return a host's agent with its capture running; raises the HostError that prevents it."""
        agent = self.agent(host)
        self.prepare([host])
        fault = self._watching[host]
        if fault is not None:
            raise fault
        return agent

    def optional(self, host: str) -> Agent | None:
        """Return what :meth:`watched` does, None for a host without an agent."""
        return self.watched(host) if host in self.agents else None
