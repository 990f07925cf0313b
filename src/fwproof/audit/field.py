"""The field: every host that an audit needs, connected once, with its agent where the host's tier grants one.

What cannot be opened is kept as the HostError that stood in the way; other hosts are not affected.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fwproof.audit.bounds import in_zones
from fwproof.audit.engine import TRIES
from fwproof.audit.losses import Losses
from fwproof.audit.memory import Memory
from fwproof.audit.recording import Record, RecordingProber
from fwproof.errors import AgentRefused, CommandRefused, HostError, NotGranted
from fwproof.hosts.collect import collect
from fwproof.hosts.ssh import SshTransport, Ways
from fwproof.inventory import Access, Host, Inventory, SshAddress
from fwproof.lab import Lab
from fwproof.probing.channel import Agent
from fwproof.probing.gate import Gate
from fwproof.probing.observe import Prober
from fwproof.probing.start import start_agent
from fwproof.snapshot import Snapshot

if TYPE_CHECKING:
    from fwproof.audit.posts import Posts

GREETING = 10.0
"""Seconds between two signs of life to an agent, which ends when none come for long (``IDLE`` in probing/agent.py)."""


@dataclass
class Field:
    """Connections, agents and snapshots by host name; ``close`` ends all of it and is safe to call again."""

    inventory: Inventory
    lab: Lab | None = None
    lab_is_ours: bool = False
    transports: dict[str, SshTransport] = field(default_factory=dict)
    agents: dict[str, Agent | HostError] = field(default_factory=dict)
    snapshots: dict[str, Snapshot | HostError] = field(default_factory=dict)
    traceable: set[str] = field(default_factory=set)
    untraced: dict[str, HostError] = field(default_factory=dict)
    ways: Ways | None = None
    gate: Gate = field(init=False)
    record: Record = field(default_factory=Record)
    posts: Posts | None = None
    losses: Losses | None = None
    _closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Let nothing be sent but what the inventory allows."""
        self.gate = Gate(self.inventory)

    def enter_lab(self, progress: Callable[[str], None]) -> None:
        """Bring up the lab that the inventory names, if need be, and join its auditor's network for good."""
        if self.inventory.lab is None:
            return
        self.lab = Lab(topology=self.inventory.lab)
        if not self.lab.is_up():
            self.lab.up(progress=progress, with_parent=True)
            self.lab_is_ours = True
        self.inventory = _with_lab_keys(self.inventory, self.lab)
        if self.inventory.auditor is not None:
            self.lab.join_network(self.inventory.auditor)

    def reach_by(self, scheduler: str, progress: Callable[[str], None]) -> None:
        """Have the workers of a scheduler connect to hosts, from now on; raises UsageError where it is not there."""
        from fwproof.audit.posts import Posts

        self.losses = Losses(self.gate, progress)
        self.posts = Posts(self.inventory, scheduler, self.losses.lost)

    def open(
        self, names: Iterable[str], jails: Mapping[str, tuple[str, ...]], *, agents: bool = True, trace: bool = False
    ) -> None:
        """Connect to hosts, read what their tier allows of those in ``jails``, and start their agents, all at once.

        ``agents`` False starts none. With ``trace``, those in ``jails`` are to trace rules: they are ``traceable``
        then, or ``untraced``, with the reason.
        """
        hosts = [self.inventory.hosts[name] for name in dict.fromkeys(names)]
        self.ways = self.ways or Ways(self.inventory.hosts, self.posts.dial if self.posts is not None else None)
        if agents:
            threading.Thread(target=self._greet, args=(self._closing,), name="greeter", daemon=True).start()
        open_ = partial(self._open, jails=jails, agents=agents, trace=trace)
        try:
            if self.losses is None:
                in_zones(self.inventory, hosts, open_)
            else:
                self._open_by_workers(hosts, open_, self.losses)
        except BaseException:
            self._hang_up()  # so that nothing waits for a host that does not answer
            raise

    def _open_by_workers(self, hosts: list[Host], open_: Callable[[Host], None], losses: Losses) -> None:
        """Open hosts, and those anew whose worker was lost meanwhile, as often as hosts are read."""
        losses.begin(hosts)
        in_zones(self.inventory, hosts, open_)
        for _ in range(TRIES - 1):
            hosts = losses.take()
            if not hosts:
                break
            self._forget(hosts)
            in_zones(self.inventory, hosts, open_)
        losses.settle()

    def _forget(self, hosts: list[Host]) -> None:
        """Take out what is known of hosts, as if they had never been opened."""
        for host in hosts:
            agent = self.agents.pop(host.name, None)
            if isinstance(agent, Agent):
                with suppress(HostError, OSError, EOFError):
                    agent.close()
            for known in (self.snapshots, self.transports, self.untraced):
                known.pop(host.name, None)
            self.traceable.discard(host.name)
        if self.ways is not None:
            self.ways.forget({host.name for host in hosts} | {j.name for host in hosts for j in host.ssh.jumps[:1]})

    def _greet(self, closing: threading.Event) -> None:
        """Let agents know that we are there, which end by themselves else: reading many hosts takes its time."""
        while not closing.wait(GREETING):
            for agent in [each for each in list(self.agents.values()) if isinstance(each, Agent)]:
                with suppress(HostError, OSError, EOFError):  # whoever asks it next will hear of it
                    agent.alive(GREETING)

    def _open(self, host: Host, jails: Mapping[str, tuple[str, ...]], *, agents: bool, trace: bool) -> None:
        try:
            transport = (self.ways or Ways()).to(host)
            transport.connect()
        except HostError as error:
            self.agents[host.name] = self.snapshots[host.name] = error
            return
        self.transports[host.name] = transport
        read = host.name in jails
        if read:
            self._keep(self.snapshots, host.name, lambda: collect(transport, jails[host.name]))
        if agents:
            start = self._start_tracer if trace and read else start_agent
            self._keep(self.agents, host.name, lambda: start(transport, self.gate))

    def _start_tracer(self, transport: SshTransport, gate: Gate) -> Agent:
        """Start an agent that may trace, or, where sudo refuses that, one that may not."""
        host = transport.host
        if host.access is Access.READ:
            self.untraced[host.name] = NotGranted(host.name, "its access is read, so no agent traces there")
            return start_agent(transport, gate)
        try:
            agent = start_agent(transport, gate, trace=True)
        except CommandRefused as refusal:
            advice = "its administrator can allow it: fwproof agent install --trace prints the line"
            why = f"tracing is not allowed there: {refusal.message}"
            self.untraced[host.name] = NotGranted(host.name, why, advice)
            return start_agent(transport, gate)
        self.traceable.add(host.name)
        return agent

    @staticmethod
    def _keep(into: dict, name: str, get: Callable[[], object]) -> None:  # type: ignore[type-arg]
        try:
            into[name] = get()
        except HostError as error:
            into[name] = error

    @property
    def memory(self) -> Memory:
        """What earlier bursts left behind: in the lab's own state, which ends with it, else in the user's cache."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fwproof"
        return Memory((self.lab.state if self.lab is not None else cache) / "bursts.json")

    @property
    def prober(self) -> Prober:
        """A prober over the agents that run; what becomes of each of its probes is kept in ``record``."""
        return RecordingProber(
            self.record, {name: agent for name, agent in self.agents.items() if isinstance(agent, Agent)}
        )

    def agent(self, name: str) -> Agent:
        """Return a host's agent; raise the HostError that stood in the way."""
        agent = self.agents.get(name) or AgentRefused(name, "it was not opened")
        if isinstance(agent, HostError):
            raise agent
        return agent

    def _hang_up(self) -> None:
        self._closing.set()
        self._closing = threading.Event()
        ends = [agent.close for agent in self.agents.values() if isinstance(agent, Agent)]
        ends += [self.ways.close] if self.ways is not None else []
        self.agents.clear()
        self.transports.clear()
        self.ways = None
        for end in ends:
            with suppress(HostError, OSError, EOFError):  # a connection that broke is closed as well
                end()

    def close(self) -> None:
        """End agents and connections, and the lab if this run brought it up."""
        try:
            self._hang_up()
        finally:
            if self.posts is not None:
                self.posts.close()
            if self.lab is not None and self.lab_is_ours:
                self.lab_is_ours = False
                self.lab.down()


def _with_lab_keys(inventory: Inventory, lab: Lab) -> Inventory:
    """Return the inventory with the lab's own key and known hosts where it names none."""

    def filled(ssh: SshAddress) -> SshAddress:
        return replace(
            ssh, identity_file=ssh.identity_file or lab.ssh_identity, known_hosts=ssh.known_hosts or lab.known_hosts,
            jumps=tuple(replace(jump, ssh=filled(jump.ssh)) for jump in ssh.jumps),
        )  # fmt: skip

    return replace(inventory, hosts={name: replace(h, ssh=filled(h.ssh)) for name, h in inventory.hosts.items()})
