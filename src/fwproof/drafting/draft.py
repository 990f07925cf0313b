"""From a host that was read to a draft: an inventory, a policy of what holds and is for somebody, and questions.

What is open to the world, what no expectation allows and what does not hold becomes a question. The default stays
``deny``, so an audit of the draft fails where the host lets in what nobody has asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fwproof.drafting import tried
from fwproof.drafting.found import Access, accesses
from fwproof.drafting.inventory_text import inventory_text
from fwproof.drafting.policy_text import Allowed, Asked, Parts, policy_text
from fwproof.drafting.subject import Subject
from fwproof.drafting.tried import WAYS
from fwproof.drafting.writing import plain
from fwproof.drafting.zones import Zones
from fwproof.flow import ICMP, ICMPV6, Family
from fwproof.inventory import Inventory
from fwproof.policy.document import parse_document
from fwproof.policy.inventory_file import inventory_of
from fwproof.policy.load import policy_of
from fwproof.policy.model import Policy
from fwproof.ruleset.numbers import SERVICES
from fwproof.semantics.reach import Opening
from fwproof.semantics.space import SpaceTooLarge

_WELL_KNOWN = {port: name for name, port in SERVICES.items()} | {6379: "redis", 9200: "elasticsearch"}
EXTRAS = ("established", "loopback", "icmpv6-nd", "ipv6", "persistence", "managers", "rules")
"""What a draft expects beside services, each only where it holds."""
_ROUNDS = 4
_PASSES = {"inbound": "lets in", "outbound": "lets out", "forward": "passes on"}
_LET = {"inbound": "let in", "outbound": "let out", "forward": "pass on"}


@dataclass(frozen=True, slots=True)
class Drafted:
    """The texts of a draft; ``inventory`` is empty where there was one. ``questions`` are those of the policy."""

    inventory: str
    policy: str
    questions: tuple[Asked, ...]


@dataclass(slots=True)
class _Attempt:
    """What the policy is to hold, until it agrees with the host."""

    subject: Subject
    allowed: dict[str, Allowed] = field(default_factory=dict)
    extras: list[str] = field(default_factory=lambda: list(EXTRAS))
    asked: dict[str, Asked] = field(default_factory=dict)

    def ask(self, name: str, title: str, notes: Iterable[str] = ()) -> None:
        self.asked[name] = Asked(name, plain(title), tuple(notes))


def draft(
    subject: Subject, known: Inventory | None, *, inventory_path: Path, policy_path: Path, ssh: SshLine
) -> Drafted:
    """Return the draft of a host; ``known`` is the inventory that has it, None to draft one at ``inventory_path``."""
    zones = Zones.of(known) if known is not None else Zones(taken={subject.name})
    trial = _Attempt(subject)
    if Family.IPV6 not in subject.addresses:
        trial.extras.remove("icmpv6-nd")
    if len(subject.addresses) < 2:
        trial.extras.remove("ipv6")
    for direction, hook in WAYS.items():
        if direction == "forward":
            continue  # what passes through a host is asked about, whole
        try:
            found = accesses(subject.model, hook, tuple(subject.addresses.values()), subject.sockets.listed)
        except SpaceTooLarge as limit:
            trial.ask(f"{direction}-too-large", f"{limit}: who may use what?")
            continue
        for access in found:
            _allow(trial, zones, access, direction)
    text = inventory_text(subject, zones.guessed, ssh)
    inventory = known or inventory_of(parse_document(text.encode(), file=str(inventory_path), path=inventory_path))
    written = _agreed(trial, inventory, policy_path)
    used = {peer for allowed in trial.allowed.values() for peer in allowed.peers}
    zones_left = {name: guess for name, guess in zones.guessed.items() if name in used}
    text = "" if known is not None else inventory_text(subject, zones_left, ssh)
    return Drafted(text, written, tuple(trial.asked.values()))


def _allow(trial: _Attempt, zones: Zones, access: Access, direction: str) -> None:
    subject, (proto, port) = trial.subject, access.key
    name = _WELL_KNOWN.get(port or 0, f"{proto}-{port}") if port else "ping"
    name = f"{name}-{proto}" if proto == "udp" and port in _WELL_KNOWN else name
    peers = zones.peers(access, subject.links, direction)
    id_ = f"{name}-{'from' if direction == 'inbound' else 'to'}-{_word(peers)}"
    notes = [subject.rule_words(ref) for ref in access.by]
    if direction == "inbound":
        here = [each for each in subject.sockets.listed if each.service == access.service and not each.local]
        notes += [f"listens: {each}" for each in dict.fromkeys(map(str, here))] or (
            ["nothing listens there now"] if port else []
        )
    notes += [f"limited by {limit}; say how far with 'rate'" for limit in access.limits]
    trial.allowed[id_] = Allowed(
        id_, access.service, direction, tuple(peers), tuple(notes), tuple(map(str, access.peers))
    )  # fmt: skip


def _word(peers: list[str]) -> str:
    word = peers[0] if len(peers) == 1 else f"{len(peers)}-networks"
    return "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in word.lower()).strip("-")


def _agreed(trial: _Attempt, inventory: Inventory, path: Path) -> str:
    """Take out what does not hold, and ask about it, until the draft agrees with the host; return its text."""
    for _ in range(_ROUNDS):
        policy = _loaded(trial, inventory, path)
        wrong = tried.named(tried.broken(policy, inventory, trial.subject))
        for id_, why in wrong.items():
            _question(trial, id_, why)
        if not wrong:
            break
    _ask_leaks(trial, _loaded(trial, inventory, path))
    return _text(trial)


def _loaded(trial: _Attempt, inventory: Inventory, path: Path) -> Policy:
    return policy_of(parse_document(_text(trial).encode(), file=str(path), path=path), inventory)


def _text(trial: _Attempt) -> str:
    parts = Parts(tuple(trial.allowed.values()), tuple(trial.extras), tuple(trial.asked.values()))
    return policy_text(trial.subject, parts)


def _question(trial: _Attempt, id_: str, why: str) -> None:
    """Make a question of an expectation that does not hold."""
    allowed = trial.allowed.pop(id_, None)
    if allowed is not None:
        who = ", ".join(allowed.networks)
        title = f"{allowed.service} {'from' if allowed.direction == 'inbound' else 'to'} {who}: {why}. What is meant?"
        trial.ask(f"ask-{id_}", title, allowed.notes)
        return
    extra = "ipv6" if id_.startswith("ipv6") else id_
    if extra in trial.extras:
        trial.extras.remove(extra)
        trial.ask(f"ask-{extra}", f"{extra} does not hold: {why}. Shall it?")


def _ask_leaks(trial: _Attempt, policy: Policy) -> None:
    """Ask about everything that passes and that nobody is known to need; ICMP of a direction is one question."""
    count: dict[tuple[str, Family], int] = {}
    icmp: dict[tuple[str, Family], list[Opening]] = {}
    for direction, family, leak in tried.leaks(policy, trial.subject):
        if not isinstance(leak, str) and _is_icmp(leak):
            icmp.setdefault((direction, family), []).append(leak)
            continue
        number = count[direction, family] = count.get((direction, family), 0) + 1
        name = f"{direction}-{family}-{number}"
        if isinstance(leak, str):
            trial.ask(name, f"{family} {direction}: {leak}: what is meant to pass?")
            continue
        by = f"by {leak.by.place}" if leak.by else "by no rule at all"
        title = f"Who needs what the host {_PASSES[direction]} {by}: {_rooms(leak)}?"
        trial.ask(name, title, [*_notes(trial.subject, direction, leak), f"for example {leak.witness}"])
    for (direction, family), found in icmp.items():
        notes = [note for leak in found for note in _notes(trial.subject, direction, leak)]
        title = f"Which ICMP has to pass in {family}? {len(found)} rules {_LET[direction]} some, listed above"
        trial.ask(f"{direction}-{family}-icmp", title, notes)


def _notes(subject: Subject, direction: str, leak: Opening) -> list[str]:
    depends = [f"depends on {', '.join(leak.depends_on)}"] if leak.depends_on else []
    by = subject.rule_words(leak.by) if leak.by else "no rule decides"
    return [f"{_PASSES[direction]}: {_rooms(leak)}", by, *depends]


def _rooms(leak: Opening) -> str:
    return "; ".join(map(str, leak.rooms)) + ("; and more" if leak.more else "")


def _is_icmp(leak: Opening) -> bool:
    """Whether nothing but ICMP of one family is let through."""
    numbers = {number for room in leak.rooms for protos, _ in room.services for span in protos for number in span}
    return numbers in ({ICMP}, {ICMPV6}) and not leak.more


@dataclass(frozen=True, slots=True, kw_only=True)
class SshLine:
    """How a host was reached, as its inventory will say: empty and None where the usual will do."""

    address: str = ""
    port: int | None = None
    user: str = ""
    identity_file: str = ""
