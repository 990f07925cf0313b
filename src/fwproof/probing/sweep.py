"""Sweeper: one probe to each of many ports, from one vantage to one target, watched at both ends.

What arrived and stayed silent is proven and never sent again. What did not arrive, or was answered and did not come
back, is sent again from a new source port.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

from fwproof.errors import AgentRefused, HostError
from fwproof.flow import TCP, Flow
from fwproof.observation import Seen
from fwproof.probing import portset
from fwproof.probing.agent import SWEEP_HIGH, SWEEP_LOW, SWEEP_PPS, SWEEP_SECONDS
from fwproof.probing.channel import Agent
from fwproof.probing.frames import sweep_frame
from fwproof.probing.packets import FINGERPRINT_TOS, dissect
from fwproof.probing.swept import Sightings, Swept, judge

DEFAULT_PPS = 5000
"""Packets a second that a server in production bears without notice: 13 s for a sweep."""
RETRIES = 3
"""Times that a lost packet is sent again; the last few ports twice as often, where sending again was seen to help."""
_FEW, _SOME = 64, 1024
_PART = 0.8 * SWEEP_SECONDS
_QUIET = 0.2
"""Seconds without a new arrival after which what is still missing counts as lost; longer than a long way's delay."""
_PORT_SECONDS = 0.4
"""Seconds until the next source port's turn: 500 ports last longer than an entry that nobody has answered, and one of
UDP that was (30 s and 120 s: net.netfilter.nf_conntrack_udp_timeout, _stream; TCP's tcp_timeout_syn_sent is 120 s)."""
_SETTLE = 0.05
"""Seconds for the target's kernel to answer once a probe is there (it takes less than 2 ms)."""


def _quiet(_line: str) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A sweep to be made: ``flow`` is the probe without its ports, ``ports`` a port set, ``pps`` packets a second.

    ``may_enter`` is how many of the ports the target may let in, for which its connection table must have room.
    """

    sender: str
    receiver: str
    flow: Flow
    ports: int = portset.ALL
    pps: int = DEFAULT_PPS
    retries: int = RETRIES
    may_enter: int = 65535

    def __post_init__(self) -> None:
        """Refuse what the agents would refuse."""
        if not 1 <= self.pps <= SWEEP_PPS:
            raise ValueError(f"a sweep sends 1 to {SWEEP_PPS} packets a second, not {self.pps}")
        if not self.ports or self.ports & ~portset.ALL:
            raise ValueError("a sweep is over ports from 1 to 65535")

    @property
    def seconds(self) -> float:
        """About how long it takes when nothing is lost."""
        return self.ports.bit_count() / self.pps + 0.5


def turn(last: int, now: float) -> int:
    """Return which pass from the epoch on is the next, at ``now``, Unix time in seconds; its source port follows.

    No earlier sweep may have left an entry at the target's conntrack for that port: of a packet that belongs to an
    entry there is no event, so that a port that is let in would look refused. Ports therefore follow the clock, for the
    sweep before may have been another process's; they come round after 200 s.
    """
    return max(last + 1, int(now / _PORT_SECONDS))


@dataclass(slots=True)
class _Under:
    """A sweep under way."""

    order: Order
    near: Agent
    far: Agent | None
    flow: Flow
    seen: Sightings
    passes: list[int]
    samples: list[Seen]
    used: dict[str, tuple[float, int]]
    arrivals: list[int]
    resets: int = 0


class Sweeper:
    """Makes sweeps between hosts that have an agent; ``agents`` is by inventory name. Raises HostError."""

    def __init__(self, agents: Mapping[str, Agent], *, cookie: int | None = None) -> None:
        self._agents = dict(agents)
        self._cookie = secrets.randbelow(1 << 16) if cookie is None else cookie
        self._turn = 0
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="sweep")
        self._watching: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def sweep(self, order: Order, progress: Callable[[str], None] = _quiet) -> Swept:
        """Make a sweep; without an agent at the receiver, it is seen from the sender only."""
        begun = time.monotonic()
        run = self._begin(order)
        todo, helped = order.ports, False
        while todo:
            progress(f"pass {len(run.passes) + 1}: {todo.bit_count():,} packets")
            before = run.seen.missing | run.seen.unreturned
            self._pass(run, todo)
            left = run.seen.missing | self._worth(run)
            helped |= len(run.passes) > 1 and bool(before & ~left)
            most = order.retries * (2 if helped and left.bit_count() <= _FEW else 1)
            todo = left if len(run.passes) <= most else 0
        return Swept(
            sender=order.sender, receiver=order.receiver, flow=run.flow, asked=order.ports,
            groups=judge(run.flow, run.seen), sightings=run.seen, passes=tuple(run.passes), resets=run.resets,
            seconds=time.monotonic() - begun, pps=order.pps, samples=tuple(sorted(run.samples, key=lambda s: s.time)),
            used=run.used, arrivals=tuple(run.arrivals),
        )  # fmt: skip

    @staticmethod
    def _worth(run: _Under) -> int:
        """Return the ports whose answer was lost on the way back, and that are worth another packet."""
        lost = run.seen.unreturned
        return lost if len(run.passes) < 2 or lost.bit_count() <= _SOME else 0

    def _begin(self, order: Order) -> _Under:
        if order.sender == order.receiver:
            raise AgentRefused(order.sender, "a sweep goes from one host to another")
        if order.sender not in self._agents:
            raise AgentRefused(order.sender, "no agent runs there, so nothing can be sent from it")
        near, far = self._agents[order.sender], self._agents.get(order.receiver)
        for agent in filter(None, (near, far)):
            if agent.host not in self._watching:
                agent.hello()
                agent.capture(self._cookie)
                self._watching.add(agent.host)
        flow = replace(order.flow, tos=order.flow.tos or FINGERPRINT_TOS, sport=None, dport=None)
        seen = Sightings(asked=order.ports, far=None if far is None else {})
        return _Under(order, near, far, flow, seen, [], [], {}, [])

    def _pass(self, run: _Under, ports: int) -> None:
        """Send one packet to each of some ports, and add what was seen of them."""
        flow = replace(run.flow, sport=self._port())
        frame = sweep_frame(flow, self._cookie).hex()
        ends = [agent for agent in (run.near, run.far) if agent]
        try:
            for agent, job in [(a, self._pool.submit(a.call, "sweep_watch", frame=frame)) for a in ends]:
                self._room(agent, run, job.result(), ports.bit_count())
            errors, sent = self._send(run, frame, ports, "again" if run.passes else "probes")
            self._settle(run, flow, sent)
            reports = self._reports(run, flow, close=False)
            pass_ = self._read(run, reports, ports, errors)
            self._reset(run, flow, pass_.half_open if flow.proto == TCP else 0)
        finally:
            self._unwatch(ends, flow)
        run.passes.append(sent)
        run.arrivals.append(pass_.arrived)
        run.seen = run.seen.joined(pass_)

    def _port(self) -> int:
        self._turn = turn(self._turn, time.time())
        return SWEEP_LOW + self._turn % (SWEEP_HIGH - SWEEP_LOW + 1)

    def _room(self, agent: Agent, run: _Under, answer: Mapping[str, Any], more: int) -> None:
        """Refuse to fill a host's connection table to more than a half."""
        with agent.reading("connection count"):
            held, most = (int(number) for number in answer["room"])
        if agent is run.far:
            more = min(more, run.order.may_enter)
        elif not held:
            more = 0  # conntrack is not at work there
        if most and (held + more) * 2 > most:
            raise AgentRefused(
                agent.host,
                f"its connection table holds {held} of {most} entries, and {more} more would fill it above half",
                "sweep fewer ports at a time, or wait until it has emptied",
            )

    def _send(self, run: _Under, frame: str, ports: int, kind: str) -> tuple[dict[int, int], int]:
        """Send in parts of less than a second; the agent stops by itself when it is not asked for the next."""
        packed, seed, total, sent = portset.packed(ports), secrets.randbits(32), ports.bit_count(), 0
        pps = run.order.pps
        errors: dict[int, int] = {}
        while sent < total:
            limit = run.near.gate.limit(run.order.receiver)
            part = int(pps * _PART) if limit is None else min(int(pps * _PART), limit // 8)
            count = min(total - sent, max(1, part))
            answer = run.near.call(
                "sweep_send", frame=frame, ports=packed, seed=seed, skip=sent, count=count, pps=pps, timeout=30.0,
                kind=kind,
            )  # fmt: skip
            with run.near.reading("sweep report"):
                done, stopped = int(answer["sent"]), str(answer["stopped"])
                errors |= {int(port): int(error) for port, error in answer["errors"].items()}
            if stopped or done <= 0:
                raise AgentRefused(run.near.host, f"it stopped sending: {stopped or 'no reason given'}")
            sent += done
            if run.far is not None and sent < total:
                self._room(run.far, run, run.far.call("connections"), 0)
        return errors, sent

    def _settle(self, run: _Under, flow: Flow, sent: int) -> None:
        """Wait until everything has arrived or nothing more does, then for the answers."""

        def wait(agent: Agent, kind: str, want: int, quiet: float) -> int:
            answer = agent.call(
                "sweep_wait", port=flow.sport, kind=kind, want=min(want, 65536), quiet=quiet, wait=10.0, timeout=30.0
            )
            with agent.reading("count"):
                return int(answer["count"])

        if run.far is None:
            wait(run.near, "i", sent, max(_QUIET, 1.0))
            return
        wait(run.far, "iA", sent, _QUIET)
        wait(run.far, "", 65536, _SETTLE)
        answers = wait(run.far, "o", 0, 0.0)
        wait(run.near, "i", answers, _QUIET)

    def _reports(self, run: _Under, flow: Flow, *, close: bool) -> dict[str, dict[str, Any]]:
        ends = [agent for agent in (run.near, run.far) if agent]
        jobs = {a.host: self._pool.submit(a.call, "sweep_get", port=flow.sport, close=close) for a in ends}
        return {host: job.result() for host, job in jobs.items()}

    def _read(
        self, run: _Under, reports: Mapping[str, Mapping[str, Any]], ports: int, errors: Mapping[int, int]
    ) -> Sightings:
        """Read what the agents saw of one pass."""
        kinds: dict[str, dict[str, int]] = {}
        lossy = []
        for agent in filter(None, (run.near, run.far)):
            answer = reports[agent.host]
            with agent.reading("sweep"):
                kinds[agent.host] = {str(k): portset.unpacked(bits) for k, bits in answer["kinds"].items()}
                lossy += [agent.host] if int(answer["lost"]) else []
                run.samples += [_sample(agent, *each) for each in answer["samples"]]
                cpu, memory = answer["used"]
                run.used[agent.host] = (float(cpu), int(memory))
        far = None if run.far is None else kinds[run.far.host]
        tracking, tos = False, None
        if run.far is not None:
            with run.far.reading("sweep"):
                tracking = bool(reports[run.far.host]["tracking"][run.flow.family.value])
                tos = reports[run.far.host]["tos"]
        return Sightings(
            asked=ports, errors=dict(errors), near=kinds[run.near.host], far=far, tracking=tracking,
            marked=tos in {None, run.flow.tos}, lossy=tuple(lossy),
        )  # fmt: skip

    def _reset(self, run: _Under, flow: Flow, ports: int) -> None:
        """Take back the SYNs that left something half-open, so that nothing of a sweep stays at the target."""
        if ports:
            frame = sweep_frame(flow, self._cookie, reset=True).hex()
            run.resets += self._send(run, frame, ports, "resets")[1]

    def _unwatch(self, ends: list[Agent], flow: Flow) -> None:
        for agent in ends:
            try:
                agent.call("sweep_get", port=flow.sport, close=True)
            except HostError:  # what stood in the way has been raised already, or the watch never began
                continue


def _sample(agent: Agent, when: int, kind: str, _port: int, data: str) -> Seen:
    raw = bytes.fromhex(data)
    words = str(dissect(raw) or "unreadable")
    side = "out" if str(kind).startswith("o") else "in"
    return Seen(host=agent.host, direction=side, time=when / 1e9, summary=words, raw=raw)
