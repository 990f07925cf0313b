"""Prober: sends probes between hosts and says of each what became of it, as seen at both ends."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from typing import Self

from fwproof.errors import HostError
from fwproof.flow import TCP, UDP, Address, Flow
from fwproof.forms import PLAIN, on_the_wire
from fwproof.observation import Handles, Observation, PortState, Probe
from fwproof.probing.captures import Captures
from fwproof.probing.case import Case, controls_for, is_missing, refused_on_the_way, way_of
from fwproof.probing.channel import Agent
from fwproof.probing.gate import Share
from fwproof.probing.holding import Held, held
from fwproof.probing.neighbour import solicit
from fwproof.probing.packets import FINGERPRINT_TOS
from fwproof.probing.ports import BLOCK, Ports
from fwproof.probing.shot import Shot, Timing
from fwproof.probing.timetable import TimedProbes, Timetable, busiest
from fwproof.probing.verdict import Finding, judge
from fwproof.probing.volley import Prepare, fire
from fwproof.probing.ways import Ways

_BATCH = BLOCK // 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An ordinary TCP connection made on a host: how it went, in which time, what was read.

    ``result`` is ``connected``, ``silent`` (connected, but no answer in time), ``broken`` (ended by the other
    side without an answer), ``timeout``, or the errno's name (``ECONNREFUSED``, ``EPERM``, ``EHOSTUNREACH`` …).
    """

    result: str
    seconds: float
    data: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the connection stood."""
        return self.result in {"connected", "silent", "broken"}


class Prober:
    """Probes between the hosts that have an agent; ``agents`` is by inventory name.

    A failing host spoils the probes that it sends or receives, and no others: they get the HostError instead
    of an Observation. Threads may share a Prober.
    """

    def __init__(self, agents: Mapping[str, Agent], *, timing: Timing | None = None, cookie: int | None = None) -> None:
        self._timing = timing or Timing()
        self._cookie = secrets.randbelow(1 << 16) if cookie is None else cookie
        self._ports = Ports()
        self._pool = ThreadPoolExecutor(max_workers=max(4, 2 * len(agents)), thread_name_prefix="probe")
        self._captures = Captures(dict(agents), self._cookie, self._pool)
        self._ways = Ways()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the threads; the agents stay open, since the caller started them."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def observe(
        self,
        probes: Iterable[Probe],
        *,
        retries: int = 2,
        window: float | None = None,
        gap: float | None = None,
        extra: bool = False,
    ) -> dict[str, Observation | HostError]:
        """Send probes and return what became of each, by its ``ref``.

        A packet that did not arrive is sent again up to ``retries`` times, one whose answer was lost once; each
        with a new source port. ``window`` is how long, in seconds, to wait for an arrival or an answer, ``gap`` lies
        between two packets of a sender. ``extra``: nothing is asked that was not asked before.
        """
        timing = self._timing if window is None else replace(self._timing, window=window)
        timing = timing if gap is None else replace(timing, gap=gap)
        cases = [Case(probe, extra=extra) for probe in probes]
        for start in range(0, len(cases), _BATCH):
            batch = cases[start : start + _BATCH]
            self._with_retries(batch, retries, timing)
            self._fingerprint(batch, timing)
        found = {case.probe.ref: self._conclude(case) for case in cases}
        return found | self._controlled(cases, found, timing)

    def burst(
        self, sender: str, receiver: str, flow: Flow, count: int, *, gap: float = 0.02
    ) -> tuple[Observation, ...]:
        """Send ``count`` new connections ``gap`` seconds apart, each from its own source port, none of them twice.

        Returns one Observation per packet in the order of sending; raises the HostError that spoiled any.
        """
        probes = tuple(Probe(ref=str(n), sender=sender, receiver=receiver, flow=flow) for n in range(count))
        cases = [Case(probe) for probe in probes]
        with self._share([TimedProbes(0.0, gap, probes)]) as share:
            self._volley(cases, replace(self._timing, gap=gap), share=share)
        return self._all_of(cases)

    def timed(self, salvos: Sequence[TimedProbes]) -> tuple[Observation, ...]:
        """Send each salvo at its own time, all counted from one start, and no packet twice.

        Returns one Observation per packet in the order of the salvos; raises the HostError that spoiled any.
        """
        cases = [Case(probe) for salvo in salvos for probe in salvo.probes]
        with self._share(salvos) as share:
            self._volley(cases, self._timing, prepare=Timetable(salvos, self._pool).prepare, share=share)
        return self._all_of(cases)

    def _share(self, salvos: Sequence[TimedProbes]) -> AbstractContextManager[Share | None]:
        """Set aside what packets that have their time need of their host's cap: all go to one."""
        first = next((probe for salvo in salvos for probe in salvo.probes), None)
        if first is None or first.sender not in self._captures.agents:
            return nullcontext()
        return self._captures.agents[first.sender].gate.share(first.receiver, 2 * busiest(salvos))

    def _all_of(self, cases: Iterable[Case]) -> tuple[Observation, ...]:
        found = []
        for case in cases:
            seen = self._conclude(case)
            if isinstance(seen, HostError):
                raise seen
            found.append(seen)
        return tuple(found)

    def connect(  # noqa: PLR0913 - each is a plain property of one connection
        self,
        sender: str,
        address: Address,
        port: int,
        *,
        payload: bytes = b"",
        timeout: float = 5.0,
        source: Address | None = None,
        limit: int = 4096,
    ) -> Connection:
        """Make an ordinary TCP connection from a host, send ``payload``, and read up to ``limit`` bytes if any.

        ``timeout`` in seconds bounds the whole; the connection has the rights of the auditor's account there.
        """
        agent = self._captures.agent(sender)
        answer = agent.call(
            "connect",
            timeout=timeout + 15.0,
            address=str(address),
            port=port,
            payload=payload.hex(),
            limit=limit if payload else 0,
            source=str(source) if source else None,
            patience=timeout,
        )
        with agent.reading("connection report"):
            data = bytes.fromhex(answer["answer"])
            return Connection(result=str(answer["result"])[:20], seconds=float(answer["seconds"]), data=data)

    @contextmanager
    def tracing(self, hosts: Iterable[str]) -> Iterator[dict[str, Handles | HostError]]:
        """Have hosts tell meanwhile which rules probes meet there; give the handles of each one's rules, or why not."""
        found = {host: self._begin_trace(host) for host in hosts}
        try:
            yield found
        finally:
            for host in (name for name, handles in found.items() if not isinstance(handles, HostError)):
                with suppress(HostError):  # an agent that broke down has ended, and its trace with it
                    self._captures.agents[host].trace(on=False)

    def _begin_trace(self, host: str) -> Handles | HostError:
        try:
            return self._captures.watched(host).trace(on=True)
        except HostError as error:
            return error

    def pause(self, sender: str, seconds: float) -> None:
        """Wait; raises Stopped as soon as nothing may be sent from a host."""
        self._captures.agent(sender).gate.pause(seconds, sender)

    def holding(self, sender: str) -> AbstractContextManager[Held]:
        """Give ordinary connections to keep open from a host, which are reset in the end."""
        return held(self._captures.agent(sender))

    def neighbour(self, sender: str, receiver: str, target: IPv6Address) -> Observation:
        """Ask from ``sender`` who has ``target``, an address of ``receiver`` on the same link (RFC 4861).

        ``open`` when the advertisement came back, ``silent`` when the solicitation arrived and none left.
        """
        return solicit(self._captures.watched(sender), self._captures.optional(receiver), target, self._timing)

    def _with_retries(self, cases: Sequence[Case], retries: int, timing: Timing) -> None:
        pending = list(cases)
        for _ in range(retries + 1):
            self._volley(pending, timing)
            pending = [case for case in pending if case.again()]
            if not pending:
                return

    def _fingerprint(self, cases: Sequence[Case], timing: Timing) -> None:
        """Ask again, with a TOS, where a reset may be the kernel's or a rule's and conntrack does not say."""
        doubtful = []
        for case in cases:
            if case.fault or case.shots[-1].fault or case.probe.flow.tos:
                continue
            best = case.best()
            answer = best.ends().returned
            if answer and answer.proto == TCP and "RST" in answer.flags and not best.confirmed:
                doubtful.append(case)
        self._volley(doubtful, timing, tos=FINGERPRINT_TOS)

    def _volley(
        self, cases: Sequence[Case], timing: Timing, tos: int = 0, prepare: Prepare | None = None,
        share: Share | None = None,
    ) -> None:  # fmt: skip
        shots = []
        self._captures.prepare(
            host for case in cases for host in (case.probe.sender, case.probe.receiver, case.probe.through or "")
        )
        for case in cases:
            ident = self._ports.take()
            flow = on_the_wire(case.probe.form, replace(case.probe.flow, tos=tos or case.probe.flow.tos), ident)
            try:
                sender = self._captures.watched(case.probe.sender)
                receiver = self._captures.optional(case.probe.receiver)
                through = self._captures.optional(case.probe.through) if case.probe.through else None
            except HostError as error:
                case.fault = error
                continue
            shot = Shot(
                probe=case.probe, flow=flow, ident=ident, sender=sender, receiver=receiver, share=share,
                again=bool(case.shots) or case.extra, through=through,
            )  # fmt: skip
            shot.open_files()
            case.shots.append(shot)
            shots.append(shot)
        if shots:
            fire(shots, self._cookie, timing, self._pool, prepare)
            self._ways.learn(shots)

    def _conclude(self, case: Case) -> Observation | HostError:
        fault = case.unsent()
        if fault is not None:
            return fault
        shot = case.best()
        ends = shot.ends()
        finding = judge(ends)
        if shot.lossy and finding.state in {PortState.NEVER_ARRIVED, PortState.SILENT}:
            note = f"{' and '.join(shot.lossy)} could not capture every packet in time, so silence proves nothing."
            finding = Finding(PortState.NO_ANSWER, finding.answer, note)
        return Observation(
            probe=replace(case.probe, flow=shot.flow if shot.flow.proto in {TCP, UDP} else case.probe.flow),
            state=finding.state,
            sent=len(case.shots),
            arrived=ends.arrived,
            confirmed=shot.confirmed,
            answer=finding.answer,
            note=finding.note,
            packets=tuple(seen for each in case.shots for seen in each.packets())[-32:],
            events=shot.events(),
            untold=shot.untold,
            passage=ends.passage,
        )

    def _controlled(
        self, cases: Sequence[Case], found: Mapping[str, Observation | HostError], timing: Timing
    ) -> dict[str, Observation | HostError]:
        """Say of every probe that never arrived whether others from the same vantage do.

        Where the first packet to arrive on a way is a control, the way may just have come up (neighbours on it
        were being resolved): the probes are sent once more, after the control.
        """
        missing = [case for case in cases if is_missing(found[case.probe.ref])]
        late = [case for case in missing if way_of(case.probe) not in self._ways.reached]
        controls = [
            Case(replace(probe, ref=f"control-{index}", flow=flow, form=PLAIN), extra=True)
            for probe in {way_of(case.probe): case.probe for case in late}.values()
            for index, flow in enumerate(controls_for(self._honest(probe)))
        ]
        self._with_retries(controls, 0, timing)
        unasked = {way_of(case.probe): fault for case in controls if (fault := case.unsent())}
        again = [case for case in late if way_of(case.probe) in self._ways.reached and not case.probe.form.spoofed]
        if again:
            self._with_retries(again, 0, timing)
            self._fingerprint(again, timing)
        said = {way_of(seen.probe): seen for seen in found.values() if refused_on_the_way(seen)}
        concluded = {case.probe.ref: self._conclude(case) for case in missing}
        return {
            ref: self._ways.controlled(seen, said, unasked) if is_missing(seen) else seen
            for ref, seen in concluded.items()
        }

    def _honest(self, probe: Probe) -> Flow:
        """Return a probe's flow from an address that its sender has: a control with another would be stopped too."""
        if not probe.form.spoofed:
            return probe.flow
        agent = self._captures.agent(probe.sender)
        answer = agent.call("route", dst=str(probe.flow.dst))
        with agent.reading("route"):
            return replace(probe.flow, src=ip_address(answer["source"]))
