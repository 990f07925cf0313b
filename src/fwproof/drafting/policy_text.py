"""The text of a drafted policy: what was seen as comments, what holds as expectations, the rest as questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fwproof.drafting.jails import Jail
from fwproof.drafting.subject import Subject
from fwproof.drafting.writing import block, comments, listing

_HEAD = (
    "DRAFT, made by fwproof init. It says what the host lets through today, not what it should: no audit of it",
    "passes until somebody has read every line, answered the questions and deleted 'status: draft'.",
    "What is open to the world, or to nobody that is known, is a question and is not allowed here.",
)
_ESSENTIAL = ("loopback", "established", "icmpv6-nd")
_EXTRAS: dict[str, tuple[str, object]] = {
    "ipv6": ("IPv4 and IPv6 let the same through", "same"),
    "persistence": ("what boots is what runs", True),
    "rules": ("no rule does nothing, contradicts another or allows too much", True),
    "managers": ("one manager decides who gets in", "one"),
}
_MORE = (
    "More that a policy can expect; `fwproof schema policy` has it all:",
    "  listeners: declared    nothing listens for others that is not allowed above",
    "  kernel: hardened       forwarding, rp_filter, redirects, now and after a reboot",
    "  coverage: true         probes reach the rules one by one",
    "  drop_log: {inbound: true, paths: true}    whatever is dropped is logged",
)


@dataclass(frozen=True, slots=True)
class Allowed:
    """A service for known peers, and what was seen of it; ``more`` are further words of its entry."""

    id: str
    service: str
    direction: str
    peers: tuple[str, ...]
    notes: tuple[str, ...]
    networks: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    def zones(self) -> tuple[str, ...]:
        """Return the names and networks of both ends."""
        to = self.more.get("to", ())
        return (*self.peers, *((to,) if isinstance(to, str) else to))

    def entry(self) -> dict[str, Any]:
        """Return it as a policy has it."""
        end = "to" if self.direction == "outbound" else "from"
        return {"id": self.id, "service": self.service, end: one_or_many(self.peers), **self.more}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and what was seen that raises it."""

    id: str
    title: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parts:
    """What a policy is made of."""

    allowed: tuple[Allowed, ...]
    extras: tuple[str, ...]
    asked: tuple[Asked, ...]
    jails: tuple[Jail, ...] = ()

    def of(self, direction: str) -> list[tuple[Sequence[str], dict[str, Any]]]:
        """Return the items of a direction's ``allow`` with their comments."""
        return [(each.notes, each.entry()) for each in self.allowed if each.direction == direction]


def policy_text(subject: Subject, parts: Parts) -> str:
    """Return a policy for the host that was read."""
    return "\n".join(_lines(subject, parts)) + "\n"


def _lines(subject: Subject, parts: Parts) -> Iterator[str]:
    yield "# yaml-language-server: $schema=policy.schema.json"
    yield "#"
    yield from comments([*_HEAD, "", *subject.seen()])
    yield ""
    yield from block({"policy": subject.name, "status": "draft", "hosts": [subject.name]})
    yield ""
    if parts.asked:
        yield from listing("questions", [(q.notes, {"id": q.id, "title": q.title}) for q in parts.asked])
        yield ""
    for direction in ("inbound", "outbound", "forward"):
        yield f"{direction}:"
        yield "  default: deny"
        yield from listing("allow", parts.of(direction), 2)
        yield ""
    yield from _rest(parts)


def _rest(parts: Parts) -> Iterator[str]:
    essential = [word for word in _ESSENTIAL if word in parts.extras]
    if essential:
        yield from block({"essential": essential})
    if parts.jails:
        yield from listing("bans", [(jail.notes, jail.entry) for jail in parts.jails])
    for name, (why, value) in _EXTRAS.items():
        if name in parts.extras:
            yield from comments([f"holds today: {why}"])
            yield from block({name: value})
    yield from comments(["", *_MORE])


def one_or_many(peers: Sequence[str]) -> str | list[str]:
    """Return peers as a policy has them: one of them by itself."""
    return peers[0] if len(peers) == 1 else list(peers)
