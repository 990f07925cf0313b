"""Agent: the auditor's side of one probing agent, over any byte channel (SSH, or a local process).

One request is under way at a time; threads may share an Agent.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from ipaddress import IPv6Address
from typing import Any

from fwproof.errors import AgentRefused, CommandRefused, CommandTimeout, Garbled, HostError, HostUnreachable
from fwproof.flow import Address, Family
from fwproof.hosts.transport import ByteChannel
from fwproof.observation import Handles
from fwproof.probing.agent import VERSION
from fwproof.probing.filing import Caught, File, Files, printable
from fwproof.probing.gate import Gate, Share
from fwproof.probing.greeting import Hello, greeting
from fwproof.probing.trace import handles_of

_UNREADABLE = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)
"""What reading an answer raises when its parts are not what the agent sends."""

_LOOK = 0.2
"""Seconds between two looks whether the audit was stopped, while an agent does what may take longer."""


class Agent:
    """One agent at work on ``host``; raises HostError (usually AgentRefused) when it cannot do what is asked.

    Whatever it sends passes ``gate`` first.
    """

    def __init__(self, host: str, channel: ByteChannel, gate: Gate | None = None) -> None:
        self.host = host
        self.gate = gate or Gate()
        self._channel = channel
        self._lock = threading.Lock()
        self._ref = 0
        self._broken: HostError | None = None
        self._hello: Hello | None = None
        self._files = Files(host)
        self.tracing = False
        """Whether rules are traced now."""

    @property
    def lost(self) -> int:
        """Packets or events that the host could not hand over in time; more than none makes silence doubtful."""
        return self._files.lost

    @property
    def untold(self) -> int:
        """How many events of traced rules the host lost so far."""
        return self._files.untold

    def call(
        self, op: str, *, timeout: float = 15.0, share: Share | None = None, kind: str = "probes", **arguments: Any
    ) -> dict[str, Any]:
        """Carry out one operation and return its answer; ``timeout`` is in seconds.

        What it sends takes its permits from ``share`` where one was set aside, and is counted as of its ``kind``; what
        only takes back something (``undo``) is let through in any case.
        """
        with self.gate.passing(self.host, op, arguments, share, kind), self._lock:
            return self._call({"op": op, **arguments}, timeout)

    def alive(self, timeout: float) -> None:
        """Let the agent know that we are there, unless another request does just now; raises what is wrong with it."""
        if self._lock.acquire(blocking=False):
            try:
                self._call({"op": "alive"}, timeout)
            finally:
                self._lock.release()

    def _call(self, words: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        if self._broken is not None:
            raise self._broken
        self._ref += 1
        try:
            self._channel.send(json.dumps({"ref": self._ref, **words}, separators=(",", ":")).encode() + b"\n")
            return self._answer(self._line(words["op"], timeout))
        except AgentRefused:
            raise
        except HostError as error:  # the channel is out of step from here on: nothing later can be trusted
            self._broken = error
            if isinstance(error, HostUnreachable):
                self.gate.lose(self.host, error.message)
            raise

    def _line(self, op: object, timeout: float) -> bytes:
        """Return the line that answers; gives up a connection that is being made when the audit is stopped."""
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            try:
                return self._channel.readline(min(left, _LOOK) if op == "connect" else left)
            except CommandTimeout:
                if op != "connect" or left <= _LOOK or self.gate.closed:
                    raise

    def _answer(self, line: bytes) -> dict[str, Any]:
        if not line:
            raise self._ended()
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict) or answer.get("ref") not in (self._ref, None):
            raise Garbled(self.host, f"the agent's answer is not one: {printable(line)}", "is the shell's start quiet?")
        if "error" in answer:
            raise AgentRefused(self.host, f"the agent says: {printable(str(answer['error']).encode())}")
        ok = answer.get("ok")
        if not isinstance(ok, dict):
            raise Garbled(self.host, f"the agent's answer has no result: {printable(line)}")
        return ok

    def _ended(self) -> HostError:
        said = self._channel.stderr.strip()
        words = f": {printable(said.encode(errors='replace'))}" if said else ""
        self._broken = AgentRefused(self.host, f"the agent ended{words}", "is python3 there, and does sudo allow it?")
        self.gate.lose(self.host, "its agent ended")
        return self._broken

    def hello(self) -> Hello:
        """Greet the agent, once; AgentRefused when it speaks another version of the protocol."""
        if self._hello is None:
            before = time.time()
            answer = self.call("hello")
            self._hello = self._greeting(answer, (before + time.time()) / 2)
        return self._hello

    def _greeting(self, answer: Mapping[str, Any], now: float) -> Hello:
        version = answer.get("version")
        if version != VERSION:
            raise AgentRefused(self.host, f"the agent has version {version}, not {VERSION}", "install it again")
        with self.reading("greeting"):
            return greeting(answer, now)

    def capture(self, cookie: int) -> None:
        """Begin to capture a run's packets; AgentRefused, with who it is, while another audit has the host."""
        self.call("capture", cookie=cookie, who=_who())

    def collect(self, wait: float = 0.0) -> None:
        """Fetch what was captured, waiting up to ``wait`` seconds for something, and file it.

        What any thread has fetched is filed when this returns, in the order of capture.
        """
        with self._files.lock:
            answer = self.call("get", timeout=wait + 15.0, wait=wait)
            with self.reading("captures"):
                self._files.add(answer)

    @contextmanager
    def listening(self, target: IPv6Address) -> Iterator[Sequence[Caught]]:
        """Have neighbour discovery about ``target`` captured, and give what comes of it from now on, as it is filed.

        Each listener has a list of its own: several may wait at once, for one target as well.
        """
        self.call("solicited", target=str(target))
        self.collect()  # what was captured before is nobody's answer
        with self._files.listening(target) as heard:
            yield heard

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Turn what reading a malformed answer raises into Garbled; ``what`` names it in the message."""
        try:
            yield
        except _UNREADABLE as error:
            raise Garbled(self.host, f"the agent's {what} cannot be read: {error!r:.200}") from error

    def open(self, port: int) -> File:
        """Return a new file for what is captured from now on of the packet with a source port, in order of capture."""
        return self._files.open(port)

    def trace(self, *, on: bool) -> Handles:
        """Begin or end the tracing of probes, for which a capture runs; return the rules' handles at the beginning."""
        answer = self.call("trace", on=on, timeout=30.0)
        self.tracing = on
        with self.reading("list of rules"):
            return handles_of(answer) if on else {}

    def tracks(self, family: Family) -> bool:
        """Whether conntrack is at work in a family, so that a missing event means something."""
        return self._files.tracks(family)

    def counters(self, command: str) -> str:
        """Return what a fixed counters command prints (``iptables-save``, ``ip6tables-save``, ``nft`` …)."""
        answer = self.call("counters", name=command, timeout=45.0)
        if answer.get("status") != 0:
            raise CommandRefused(
                self.host, f"{command} ended with {answer.get('status')}: {answer.get('stderr')!r:.200}"
            )
        return str(answer.get("stdout"))

    def forget(self, address: Address) -> tuple[str, ...]:
        """Take an address that probed this host off its xt_recent lists; return their names."""
        answer = self.call("forget", address=str(address))
        with self.reading("lists"):
            return tuple(str(name) for name in answer["lists"])

    def owe(self, jail: str, address: Address, *, paid: bool = False) -> None:
        """Let the agent lift a ban to come when it ends, whoever of us is still there; ``paid`` takes that back."""
        self.call("owe", jail=jail, address=str(address), paid=paid, timeout=45.0)

    def unban(self, jail: str, address: Address) -> None:
        """Lift fail2ban's ban of an address that probed this host.

        Raises AgentRefused for a jail that there is not, CommandRefused when fail2ban would not.
        """
        answer = self.call("unban", jail=jail, address=str(address), timeout=75.0)
        if answer.get("status") != 0:
            raise CommandRefused(self.host, f"fail2ban did not unban {address}: {answer.get('stderr')!r:.200}")

    def close(self) -> None:
        """End the agent."""
        self._channel.close()


@cache
def _who() -> str:
    """Return who we are, for another auditor who finds a host taken."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # an account without a name
        user = f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}"
