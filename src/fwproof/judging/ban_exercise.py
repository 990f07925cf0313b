"""Judging one provoked ban: what it does in the tables, on the wire and to others, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network

from fwproof.errors import HostError
from fwproof.evidence.fail2ban import JailStatus, parse_status
from fwproof.facts import BanFacts, Facts, Untried
from fwproof.flow import ICMPV6, Address, Family, Hook
from fwproof.judging.bans import BLIND
from fwproof.judging.space import ND_IN
from fwproof.plan import Check
from fwproof.policy.model import Bans
from fwproof.results import Outcome, Verdict
from fwproof.semantics.diff import Change, Comparison, Kind, compare
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import openings
from fwproof.semantics.reach_text import networks
from fwproof.semantics.space import Claim, SpaceTooLarge

_SHOWN = 3
_FIX = "See that the jail watches its log and that its action reaches the tables in use."


@dataclass
class _Looked:
    """What the tables say of a ban: what is wrong with it, what could not be told, and what is only said."""

    problems: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rule: str = ""


def judge_ban_exercise(check: Check, facts: Facts) -> Outcome:
    """Judge the life of one provoked ban."""
    assert isinstance(check.expectation, Bans)
    seen = facts.exercised.get(check.id)
    if isinstance(seen, HostError):
        raise seen
    if seen is None:
        return Outcome(verdict=Verdict.NOT_APPLICABLE, reason=f"no ban was provoked: {Untried.OFF}")
    assert isinstance(seen, BanFacts)
    wanted = f"{check.expectation.maxretry} bad attempts ban the source, and nobody else"
    looked = _tables(check, check.expectation, seen)
    missing = [*_missing(check.expectation, seen), *looked.problems] if seen.attempts else list(seen.steps)
    verdict, reason, cause = Verdict.PASS, "seen from provocation to unban", ""
    if missing:
        verdict, reason, cause = Verdict.FAIL, "; ".join(missing), _cause(seen, _status(facts, check))
    elif looked.unclear:
        reason = f"seen on the wire, but {'; '.join(looked.unclear)}"
        verdict, cause = Verdict.INCONCLUSIVE, "what the ban changes is not settled"
    return Outcome(
        verdict=verdict, reason="; ".join([f"{wanted}: {reason}", *looked.notes]), cause=cause,
        fix=_FIX if missing else "", proved=_proved(seen, looked), observed="; ".join(seen.steps),
        attributed=looked.rule, rule=looked.rule,
        evidence=tuple(dict.fromkeys((*seen.steps, *missing, *looked.unclear, *looked.notes))),
    )  # fmt: skip


def _missing(bans: Bans, seen: BanFacts) -> Iterator[str]:
    """Yield what was not as it must be, on the wire and in fail2ban's own list."""
    if not seen.banned:
        yield f"no ban came within the wait after {seen.attempts} bad attempts"
        return
    if not seen.refused:
        yield "the banned source still gets through"
    if seen.others_unharmed is False:
        yield "another source was refused as well"
    if bans.blocks == "everything":
        yield from (f"the banned source still reaches {service}" for service, let_in in seen.also if let_in)
    if not seen.unbanned:
        yield "the ban could not be taken back"
    elif not seen.open_again:
        yield "the source stays refused after the unban"
    if seen.left:
        yield f"after the unban the address is still in {', '.join(seen.left)}"


def _tables(check: Check, bans: Bans, seen: BanFacts) -> _Looked:
    """Compare the tables before, during and after the ban, over the whole packet space."""
    looked = _Looked()
    if seen.before is None or seen.during is None or seen.flow is None:
        looked.unclear += ["the tables were not read while it stood"] if seen.banned else []
        return looked
    assert check.family is not None
    peer, family = seen.flow.src, check.family
    _met(seen, looked)
    try:
        _reach(check, bans, seen.during, peer, looked)
        _kept_out(seen, seen.before, seen.during, family, looked)
        if seen.after is not None:
            _clean(seen.before, seen.after, family, looked)
    except SpaceTooLarge as limit:
        looked.unclear.append(f"what the ban changes could not be looked at as a whole: {limit}")
    looked.unclear = list(dict.fromkeys(looked.unclear))  # before, during and after have the same gaps
    return looked


def _met(seen: BanFacts, looked: _Looked) -> None:
    """Look whether the ban stands where the packets of the service pass."""
    assert seen.flow is not None
    assert seen.during is not None
    ruling = seen.during.evaluate(seen.flow)
    looked.rule = str(ruling.by or "")
    if ruling.refused or (seen.refused and not ruling.accepted):
        return  # a rate, or what only the kernel's own lists know, may decide: the wire has told
    where = f"the ban is in {', '.join(seen.held)}" if seen.held else "no rule or set of the kernel holds the address"
    by = f" by {ruling.by}" if ruling.by else ", as no rule says otherwise"
    looked.problems.append(f"{where}, and packets of the banned source are let in{by}")


def _reach(check: Check, bans: Bans, during: HostModel, peer: Address, looked: _Looked) -> None:
    """Look what a banned source still reaches."""
    assert check.family is not None
    needed = [Claim(proto=ICMPV6, icmp_types=ND_IN)] if check.family is Family.IPV6 else []
    claim = Claim(sources=(ip_network(peer),))
    found = openings(during, Hook.INPUT, check.family, claim=claim, outside=needed).openings
    lines = [str(room) for opening in found if opening.certainty != "unknown" for room in opening.rooms]
    told = f"{', '.join(lines[:_SHOWN])}{f' and {len(lines) - _SHOWN} more' if len(lines) > _SHOWN else ''}"
    if lines and bans.blocks == "everything":
        looked.problems.append(f"the banned source still gets in: {told}")
    elif lines:
        looked.notes.append(f"the banned source still gets in elsewhere: {told}")
    if bans.blocks == "everything":
        looked.unclear += [f"a rule that could not be read may let it in: {o.by}" for o in found if o.by is not None
                           and o.certainty == "unknown"]  # fmt: skip


def _kept_out(seen: BanFacts, before: HostModel, during: HostModel, family: Family, looked: _Looked) -> None:
    """Look whom the ban keeps out."""
    assert seen.flow is not None
    banned = {str(seen.flow.src), *seen.banned_too}
    found = compare(before, during, family)
    for change in found.changes:
        if change.kind is not Kind.UNREACHABLE:
            continue
        ends = [room.destinations if change.hook is Hook.OUTPUT else room.sources for room in change.rooms]
        others = [room for room, end in zip(change.rooms, ends, strict=True)
                  if not set(networks(end, family)) <= banned]  # fmt: skip
        looked.problems += [f"it keeps out others as well: {room} by {change.after[1]}" for room in others[:_SHOWN]]
    looked.unclear += _unknown(found)
    if found.unlisted:
        looked.unclear.append(f"{found.unlisted} more changes of the tables were not looked at")


def _unknown(found: Comparison) -> list[str]:
    """Return what nobody knows of two sets of tables: without an answer, no change is no sign that there is none."""
    unknown = [change for change in found.changes if change.kind is Kind.UNKNOWN]
    return [
        *(f"a change of the tables is not known: {change.rooms[0]}" for change in unknown),
        *(f"not read: {reason}" for reason in found.blind),
    ]


def _clean(before: HostModel, after: HostModel, family: Family, looked: _Looked) -> None:
    """Look whether the tables mean after the unban what they meant before the ban."""
    found = compare(before, after, family)
    looked.unclear += _unknown(found)
    changes = [change for change in found.changes if change.kind is not Kind.UNKNOWN]
    looked.problems += [f"the tables are not what they were: {_text(change)}" for change in changes[:_SHOWN]]


def _text(change: Change) -> str:
    return f"{change.kind.value} at {change.hook}: {change.rooms[0]}"


def _proved(seen: BanFacts, looked: _Looked) -> str:
    if seen.during is None or looked.unclear:
        return ""
    if looked.problems:
        return "; ".join(looked.problems[:_SHOWN])
    clean = ", and after the unban they mean what they meant before" if seen.after is not None else ""
    return f"over the whole packet space, the ban keeps out the banned source only; the tables hold it{clean}"


def _status(facts: Facts, check: Check) -> JailStatus | None:
    assert isinstance(check.expectation, Bans)
    jail = check.expectation.jail
    try:
        return parse_status(jail, facts.snapshot(check.host).text(f"fail2ban-status-{jail}"))
    except HostError:  # judge_bans says so; the exercise has its own answer
        return None


def _cause(seen: BanFacts, status: JailStatus | None) -> str:
    if status is not None and not status.watches_something:
        return BLIND
    return "a ban does not work as expected" if seen.banned else "bad attempts are not banned"
