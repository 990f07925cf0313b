"""The life of one provoked fail2ban ban: bad attempts, the ban in the kernel, its effect, the unban.

Only the vantage's own address is ever banned, and the ban is lifted in every case, also when a step fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from fwproof.audit.exercises import ends_of, watched
from fwproof.audit.modelling import model_of, named_in, tables_now
from fwproof.errors import HostError, NotGranted, NotThere
from fwproof.evidence.fail2ban import JailStatus, parse_status
from fwproof.facts import BanFacts
from fwproof.flow import Address, Flow
from fwproof.flows import request
from fwproof.inventory import Host, Inventory
from fwproof.observation import Observation, PortState, Probe
from fwproof.plan import Check
from fwproof.policy.model import Bans, Service
from fwproof.probing.channel import Agent
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Capture, Snapshot

if TYPE_CHECKING:
    from fwproof.audit.field import Field
    from fwproof.probing.observe import Prober

_PATIENCE = 8.0
"""Seconds in which a ban must follow the last bad attempt; fail2ban's polling takes about one."""
_OFTEN = 0.2
_OPEN = {PortState.OPEN, PortState.CLOSED}


def request_text(bans: Bans, host: Address) -> bytes:
    """Return the HTTP request that counts as a bad attempt."""
    shown = f"[{host}]" if host.version == 6 else str(host)
    lines = [f"{bans.provoke.get('method', 'GET')} {bans.provoke.get('path', '/')} HTTP/1.1", f"Host: {shown}"]
    lines += [f"{key}: {value}" for key, value in bans.provoke.items() if key not in {"method", "path"}]
    return ("\r\n".join([*lines, "Connection: close", "", ""])).encode()


def _unprovoked(reason: str) -> BanFacts:
    step = f"nothing was provoked, as no attempt can be seen: {reason}"
    return BanFacts(
        attempts=0, banned=False, refused=False, others_unharmed=None, unbanned=False, open_again=False, steps=(step,),
    )  # fmt: skip


def status_argv(jail: str) -> tuple[str, ...]:
    """Return what shows a jail's ban list."""
    return ("/usr/bin/sudo", "-n", "/usr/bin/fail2ban-client", "status", jail)


def unharmed(inventory: Inventory, check: Check) -> Iterator[tuple[Host, Address]]:
    """Yield the vantages that may use the service and are not banned: one of them shows that others are not."""
    assert check.family is not None
    assert isinstance(check.expectation, Bans)
    service = str(check.expectation.service)
    allows = [allow for allow in check.policy.inbound if str(allow.service) == service]
    for other in inventory.vantages:
        address = other.address(check.family)
        if address is None or other.name in {check.vantage, check.host}:
            continue
        if any(address in allow.peers for allow in allows):
            yield other, address


def named_more(before: Snapshot, now: Snapshot, address: Address) -> tuple[str, ...]:
    """Return the tables and sets that name an address more often than before the ban."""
    old = named_in(before, str(address))
    return tuple(name for name, count in named_in(now, str(address)).items() if count > old.get(name, 0))


class Exercise:
    """One exercise of one host and family; ``run`` does the whole of it."""

    def __init__(self, field: Field, prober: Prober, check: Check) -> None:
        assert isinstance(check.expectation, Bans)
        if not watched(field, check.host):
            raise NotGranted(check.host, "its access is read, and a ban that is provoked could not be lifted again",
                             "grant it observe")  # fmt: skip
        self.field, self.prober, self.check, self.bans = field, prober, check, check.expectation
        self.vantage, self.peer, self.own = ends_of(field, check)
        self.target, self.attempts = field.agent(check.host), 0
        self.steps: list[str] = []
        self.asked: set[str] = set()

    def run(self) -> BanFacts:
        """Provoke, look, lift; raises HostError when a step could not be tried at all."""
        nothing = self._nothing_watches()
        if nothing:
            return _unprovoked(nothing)
        if not self._opens(self.vantage, self.peer):
            raise HostError(self.check.host, f"{self.vantage} does not reach {self.bans.service} before any ban")
        before = tables_now(self.field, self.check.host)
        found = BanFacts(
            attempts=self.bans.maxretry, banned=False, refused=False, others_unharmed=None, unbanned=False,
            open_again=False, steps=(), flow=request(self.bans.service, self.peer, self.own),
            before=self._model(before),
        )  # fmt: skip
        try:
            self.target.owe(self.bans.jail, self.peer)
            self._provoke()
            if self._until(lambda: str(self.peer) in self._banned(), "in the jail's ban list"):
                found = self._effect(replace(found, banned=True), before)
        finally:
            unbanned = self._lift(banned=found.banned)
        if unbanned:
            again = self._until(lambda: self._opens(self.vantage, self.peer), "let in again after the unban")
            after = tables_now(self.field, self.check.host)
            found = replace(
                found, unbanned=True, open_again=again, after=self._model(after), left=self._named(before, after)
            )
        return replace(found, steps=tuple(self.steps))

    def _effect(self, found: BanFacts, before: Snapshot) -> BanFacts:
        """Look at what the ban does: on the wire, in the tables, and to others."""
        refused = self._refused()
        during = tables_now(self.field, self.check.host)
        held = self._named(before, during)
        self.steps.append(f"the address is in {', '.join(held)}" if held else "no table or set names the address")
        assert found.before is not None
        return replace(
            found, refused=refused, during=self._model(during), held=held, also=self._also(found.before),
            others_unharmed=self._others(), banned_too=tuple(a for a in self._banned() if a != str(self.peer)),
        )  # fmt: skip

    def _model(self, snapshot: Snapshot) -> HostModel:
        assert self.check.family is not None
        model = model_of(snapshot, {self.check.family})
        if isinstance(model, HostError):
            raise model
        return model

    def _named(self, before: Snapshot, now: Snapshot) -> tuple[str, ...]:
        return named_more(before, now, self.peer)

    def _also(self, before: HostModel) -> tuple[tuple[str, bool | None], ...]:
        """Try what else the source might reach before the ban, and return whether it still does."""
        named = [allow.service for allow in self.check.policy.inbound if self.peer in allow.peers]
        named += [Service("udp", self.bans.service.port, "udp"), Service("icmp", None, "ping", "echo-request")]
        services = {str(service): service for service in named if str(service) != str(self.bans.service)}
        found: list[tuple[str, bool | None]] = []
        for text, service in services.items():
            if before.decide(request(service, self.peer, self.own)).accepted:
                let_in = self._probe(self.vantage, self.peer, service).let_in
                words = {True: "is still let in", False: "is refused too", None: "cannot be told"}
                self.steps.append(f"{text} from {self.peer} {words[let_in]}")
                found.append((text, let_in))
        return tuple(found)

    def _provoke(self) -> None:
        port = self.bans.service.port
        assert port is not None
        for _ in range(self.bans.maxretry):
            made = self.prober.connect(
                self.vantage, self.own, port, payload=request_text(self.bans, self.own), timeout=3.0, source=self.peer
            )
            self.attempts += 1
            if not made.ok:
                self.steps.append(f"an attempt failed: {made.result}")
        status = made.data.split(b"\r\n", 1)[0].decode("ascii", "replace")
        self.steps.append(f"{self.bans.maxretry} bad attempts from {self.peer}, the last answered “{status}”")

    def _nothing_watches(self) -> str:
        """Return why no attempt can be seen by fail2ban, empty when it watches."""
        try:
            capture = self._asked()
        except NotThere:
            return "fail2ban is not installed"
        if capture.status != 0:
            said = (capture.stderr.strip() or capture.stdout.strip()).splitlines() or [f"status {capture.status}"]
            return f"fail2ban says of {self.bans.jail}: {said[-1]}"
        return "" if self._status().watches_something else f"the file list of {self.bans.jail} is empty"

    def _asked(self) -> Capture:
        return self.field.transports[self.check.host].run(status_argv(self.bans.jail), name="fail2ban-status")

    def _status(self) -> JailStatus:
        status = parse_status(self.bans.jail, self._asked().stdout)
        if status is None:
            raise HostError(self.check.host, f"what fail2ban says of {self.bans.jail} cannot be read")
        return status

    def _banned(self) -> tuple[str, ...]:
        return self._status().banned

    def _until(self, holds: Callable[[], bool], what: str) -> bool:
        begun = time.monotonic()
        while not holds():
            if time.monotonic() - begun > _PATIENCE:
                self.steps.append(f"not {what} within {_PATIENCE:.0f} s")
                return False
            self.field.gate.pause(_OFTEN, self.check.host)
        self.steps.append(f"{what} after {time.monotonic() - begun:.1f} s")
        return True

    def _probe(self, sender: str, address: Address, service: Service | None = None) -> Observation:
        flow: Flow = request(service or self.bans.service, address, self.own)
        probe, again = Probe(ref="ban", sender=sender, receiver=self.check.host, flow=flow), sender in self.asked
        seen = self.prober.observe([probe], extra=again)["ban"]
        self.asked.add(sender)
        if isinstance(seen, HostError):
            raise seen
        return seen

    def _opens(self, sender: str, address: Address) -> bool:
        return self._probe(sender, address).state in _OPEN

    def _refused(self) -> bool:
        begun = time.monotonic()
        # fail2ban lists an address first and then runs the action that bans it
        while (seen := self._probe(self.vantage, self.peer)).let_in is not False:
            if time.monotonic() - begun > _PATIENCE:
                break
            self.field.gate.pause(_OFTEN, self.check.host)
        self.steps.append(f"a probe from {self.peer} is now {seen.state.value}")
        return seen.let_in is False

    def _others(self) -> bool | None:
        """Try the service from another source, and return whether it is still let in; None where there is none."""
        assert self.check.family is not None
        for other, address in unharmed(self.field.inventory, self.check):
            if not isinstance(self.field.agents.get(other.name), Agent):
                continue  # it could not be opened, which its own checks say
            good = self._opens(other.name, address)
            self.steps.append(f"{other.name} ({address}) is {'still let in' if good else 'refused as well'}")
            return good
        self.steps.append("no other vantage that may use the service was at hand, so others were not tried")
        return None

    def _lift(self, *, banned: bool) -> bool:
        """Take the ban back; one that was not seen may still be on its way, so it is taken back as well.

        Where that may be so, the agent goes on until it ends.
        """
        try:
            self.target.unban(self.bans.jail, self.peer)
            if banned or self.attempts < self.bans.maxretry:
                self.target.owe(self.bans.jail, self.peer, paid=True)
        except HostError as error:
            self.steps.append(f"the unban was refused: {error.message}")
            return False
        return banned and self._until(lambda: str(self.peer) not in self._banned(), "gone from the ban list")
