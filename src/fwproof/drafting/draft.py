"""From a host that was read to a draft: an inventory, a policy of what holds and is for somebody, and questions.

What is open to the world, what no expectation allows and what does not hold becomes a question. The default stays
``deny``, so an audit of the draft fails where the host lets in what nobody has asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fwproof.drafting import tried
from fwproof.drafting.found import Access, Key, accesses
from fwproof.drafting.inventory_text import inventory_text
from fwproof.drafting.jails import Jail, jails_of
from fwproof.drafting.passages import Passage, passages, published
from fwproof.drafting.policy_text import Allowed, Asked, Parts, one_or_many, policy_text
from fwproof.drafting.rates import Limits, limits_of
from fwproof.drafting.subject import Subject
from fwproof.drafting.tried import SERVER, WAYS
from fwproof.drafting.vantages import vantage_questions
from fwproof.drafting.writing import dumped, plain
from fwproof.drafting.zones import Zones
from fwproof.flow import ICMP, ICMPV6, Family, Hook
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
    jails: dict[str, Jail] = field(default_factory=dict)

    def ask(self, name: str, title: str, notes: Iterable[str] = ()) -> None:
        name = _word(name)
        self.asked[name] = Asked(name, plain(title), tuple(notes))

    def allow(self, name: str, service: str, direction: str, access: Access, entry: _Entry) -> None:
        """Take in an expectation, by a name that no other has."""
        names = (name, *(f"{name}-{number}" for number in range(2, len(self.allowed) + 3)))
        id_ = next(each for each in names if each not in self.allowed)
        networks = tuple(map(str, access.peers))
        self.allowed[id_] = Allowed(
            id_, service, direction, tuple(entry.peers), tuple(entry.notes), networks, entry.more
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Entry:
    peers: Sequence[str]
    notes: Sequence[str]
    more: Mapping[str, Any] = field(default_factory=dict)


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
        try:
            _found(trial, zones, direction, hook)
        except SpaceTooLarge as limit:
            trial.ask(f"{direction}-too-large", f"{limit}: who may use what?")
    trial.jails = {f"bans-{jail.name}": jail for jail in jails_of(subject.snapshot, subject.sockets)}
    for id_, jail in list(trial.jails.items()):
        if jail.why:
            _question(trial, id_, jail.why)
    text = inventory_text(subject, zones.guessed, ssh)
    inventory = known or inventory_of(parse_document(text.encode(), file=str(inventory_path), path=inventory_path))
    written = _agreed(trial, inventory, policy_path)
    used = {peer for allowed in trial.allowed.values() for peer in allowed.zones()}
    zones_left = {name: guess for name, guess in zones.guessed.items() if name in used}
    text = "" if known is not None else inventory_text(subject, zones_left, ssh)
    return Drafted(text, written, tuple(trial.asked.values()))


def _found(trial: _Attempt, zones: Zones, direction: str, hook: Hook) -> None:
    """Take in what a host lets through in one direction for known networks."""
    subject = trial.subject
    if direction == "forward":
        for passage in passages(subject.model, subject.addresses):
            _allow_passage(trial, zones, passage)
        return
    found = accesses(subject.model, hook, tuple(subject.addresses.values()), subject.sockets.listed)
    forwarded = [access for access in found if access.onto and direction == "inbound"]
    for access in found:
        if access not in forwarded:
            _allow(trial, zones, access, direction)
    for passage in published(forwarded):
        _allow_passage(trial, zones, passage)


def _allow(trial: _Attempt, zones: Zones, access: Access, direction: str) -> None:
    subject, port = trial.subject, access.key[1]
    peers = zones.peers(access, subject.links, direction)
    notes = [subject.rule_words(ref) for ref in access.by]
    limits = Limits()
    if direction == "inbound":
        here = [each for each in subject.sockets.listed if each.service == access.service and not each.local]
        notes += [f"listens: {each}" for each in dict.fromkeys(map(str, here))] or (
            ["nothing listens there now"] if port else []
        )
        limits = limits_of(subject.model, subject.addresses, access)
    notes += [f"limited by {limit}" for limit in limits.names]
    notes += ["an audit tries that with a burst; --no-exercise leaves it out"] if limits.words else []
    notes += [f"depends on {word}" for word in access.depends if word not in limits.names]
    id_ = f"{_name_of(access.key)}-{'from' if direction == 'inbound' else 'to'}-{_word(', '.join(peers), len(peers))}"
    trial.allow(id_, access.service, direction, access, _Entry(peers, notes, limits.words))
    if limits.why:
        trial.ask(f"limit-{id_}", f"How far is {access.service} to be limited? {limits.why}", notes)


def _allow_passage(trial: _Attempt, zones: Zones, passage: Passage) -> None:
    subject, (here, there) = trial.subject, passage.ends()
    peers, to = zones.peers(here, subject.links, "inbound"), zones.peers(there, subject.links, "outbound")
    notes = [subject.rule_words(ref) for ref in passage.by]
    more: dict[str, Any] = {"to": one_or_many(to)}
    if passage.published is not None:
        proto, port = passage.published
        more["published"] = f"{proto}/{port}"
    name = f"{_name_of(passage.key)}-from-{_word(', '.join(peers), len(peers))}-to-{_word(', '.join(to), len(to))}"
    trial.allow(name[:60].strip("-"), here.service, "forward", here, _Entry(peers, notes, more))


def _name_of(key: Key) -> str:
    proto, port = key
    if port is None:
        return "ping"
    name = _WELL_KNOWN.get(port, f"{proto}-{port}")
    return f"{name}-{proto}" if proto == "udp" and port in _WELL_KNOWN else name


def _word(text: str, count: int = 1) -> str:
    word = text if count == 1 else f"{count}-networks"
    return re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")[:60]


def _agreed(trial: _Attempt, inventory: Inventory, path: Path) -> str:
    """Take out what does not hold, and ask about it, until the draft agrees with the host; return its text."""
    for _ in range(_ROUNDS):
        policy = _loaded(trial, inventory, path)
        wrong = tried.named(tried.broken(policy, inventory, trial.subject))
        for id_, why in wrong.items():
            _question(trial, id_, why)
        if not wrong:
            break
    _ask_limits(trial, _loaded(trial, inventory, path), inventory)
    policy = _loaded(trial, inventory, path)
    _ask_leaks(trial, policy)
    for name, title in vantage_questions(policy, inventory, trial.subject.name):
        trial.ask(f"vantage-{name}", title)
    return _text(trial)


def _loaded(trial: _Attempt, inventory: Inventory, path: Path) -> Policy:
    return policy_of(parse_document(_text(trial).encode(), file=str(path), path=path), inventory)


def _text(trial: _Attempt) -> str:
    asked, jails = tuple(trial.asked.values()), tuple(trial.jails.values())
    parts = Parts(tuple(trial.allowed.values()), tuple(trial.extras), asked, jails)
    return policy_text(trial.subject, parts)


def _question(trial: _Attempt, id_: str, why: str) -> None:
    """Make a question of an expectation that does not hold."""
    allowed = trial.allowed.pop(id_, None)
    if allowed is not None:
        who = ", ".join(allowed.networks)
        title = f"{allowed.service} {'to' if allowed.direction == 'outbound' else 'from'} {who}: {why}. What is meant?"
        trial.ask(f"ask-{id_}", title, allowed.notes)
        return
    for name in [name for name in trial.jails if id_ in {name, SERVER}]:
        jail = trial.jails.pop(name)
        ready = f"as it is: {dumped(jail.entry)}"
        end = "" if "?" in why else ". What is meant?"
        trial.ask(f"ask-{name}", f"fail2ban's jail {jail.name}: {why}{end}", (*jail.notes, ready))
    extra = "ipv6" if id_.startswith("ipv6") else id_
    if extra in trial.extras:
        trial.extras.remove(extra)
        trial.ask(f"ask-{extra}", f"{extra} does not hold: {why}. Shall it?")


def _ask_limits(trial: _Attempt, policy: Policy, inventory: Inventory) -> None:
    """Make questions of limits that no vantage could put to the test; the service stays, as its claim is proved."""
    for id_ in tried.unseen(policy, inventory):
        allowed = trial.allowed[id_]
        words = {key: value for key, value in allowed.more.items() if key in {"rate", "connections"}}
        rest = {key: value for key, value in allowed.more.items() if key not in words}
        trial.allowed[id_] = replace(allowed, more=rest)
        title = f"{allowed.service} is limited, and no vantage among those who may use it can try that. Shall it be?"
        trial.ask(f"limit-{id_}", title, (f"by simulation: {dumped(words)}", "a host with 'vantage: true' can try it"))


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
