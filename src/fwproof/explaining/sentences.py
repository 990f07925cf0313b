"""The answer to "why can this reach that?" in sentences: the way, the rules, the answers, and the smallest change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from fwproof.decision import Decision, RuleRef, Ruling, Step
from fwproof.evidence.sockets import Socket
from fwproof.explaining.changes import Asked, Verified, closing, letting_in, opening
from fwproof.flow import Flow, protocol_name
from fwproof.semantics.conversation import Part
from fwproof.semantics.diff import Change, Kind

_WAYS = {
    "in": "It is for the host itself, so the rules for what comes in decide.",
    "out": "The host itself sends it, so the rules for what goes out decide.",
    "through": "It is for somebody else, so the rules for what the host passes on decide.",
}
_SENT_ON = "It is sent to an address of the host, and nat sends it on: the rules for what is passed on decide."
_CHAINS = {"INPUT": "comes in", "OUTPUT": "goes out", "FORWARD": "is passed on"}
_DONE = {Decision.ACCEPT: "let through", Decision.DROP: "dropped", Decision.REJECT: "refused with an answer"}
_KINDS = {Kind.REACHABLE: "can pass now", Kind.UNREACHABLE: "is refused now", Kind.ANSWER: "is refused otherwise",
          Kind.UNKNOWN: "is not known any more"}  # fmt: skip
_MOST = 12


def service_of(flow: Flow) -> str:
    """Return what a packet asks for, as a policy writes it."""
    name = protocol_name(flow.proto)
    if flow.icmp_type is not None:
        return f"{name} type {flow.icmp_type}"
    return name if flow.dport is None else f"{name}/{flow.dport}"


def answer(asked: Asked, sockets: Iterable[Socket] | None = None) -> Iterator[str]:
    """Yield the whole answer, a sentence or a command a line; ``sockets`` is None where they were not read."""
    yield verdict(asked)
    yield ""
    yield from _way(asked)
    yield from _decided(asked, asked.found.request, "It", "packet")
    yield from _nat(asked)
    yield from _replies(asked)
    yield from _listening(asked, sockets)
    yield ""
    yield from _change(asked)


def verdict(asked: Asked) -> str:
    """Return the answer in one sentence."""
    flow, found = asked.flow, asked.found
    what = f"{flow.src} {{}} reach {service_of(flow)} at {flow.dst}{{}}"
    ruling = found.request.ruling
    if ruling.decision is Decision.UNKNOWN:
        return f"{what.format('may or may not', '')}: a rule on the way could not be read."
    if ruling.refused:
        return f"{what.format('cannot', '')}: the packet is {_DONE.get(ruling.decision, 'refused')}."
    some = f", depending on {'; '.join(ruling.depends_on)}" if ruling.decision is Decision.DEPENDS else ""
    if found.works or (some and found.reply is not None and found.reply.ruling.accepted):
        return f"{what.format('can', some)}: the packet is let through, and so are the answers."
    return f"{what.format('can half', some)}: the packet is let through, but no answer comes back for certain."


def _way(asked: Asked) -> Iterator[str]:
    flow = asked.flow
    by = f" by {flow.iif}" if flow.iif else ""
    way = _SENT_ON if asked.way == "in" and _is_sent_on(asked) else _WAYS[asked.way]
    yield f"The packet: {flow}, the first of a connection{', coming in' + by if by else ''}. {way}"


def _named(asked: Asked, ref: RuleRef) -> str:
    name = asked.front.name(ref)
    return f"{name} [{ref}]" if name else str(ref)


def _decided(asked: Asked, part: Part, subject: str, what: str) -> Iterator[str]:
    ruling = part.ruling
    met = [step for step in _telling(ruling) if step.rule != ruling.by]
    for step in islice(met, _MOST):
        yield f"{subject} meets {_step(asked, step)}"
    if len(met) > _MOST:
        yield f"{subject} meets {len(met) - _MOST} more rules that do not decide."
    passed = len(ruling.trace) - len(met) - any(step.rule == ruling.by for step in ruling.trace)
    if passed:
        yield f"{passed} other rule{'s on the way have' if passed > 1 else ' on the way has'} no part in it."
    yield f"{subject} is {_by(asked, ruling, what)}"
    if ruling.decision is Decision.DEPENDS:
        yield from (
            f"Where it is let through, it is by {_named(asked, ref)}." for ref in letting_in(asked.model, part.flow)
        )
    if ruling.depends_on:
        word = "Why it is not known" if ruling.decision is Decision.UNKNOWN else "That hangs on"
        yield f"{word}: {'; '.join(ruling.depends_on)}."


def _telling(ruling: Ruling) -> list[Step]:
    """Return the rules that have a part in it: those that lead to the one that decides, and those that do something."""
    chains = {(step.rule.table, step.rule.chain) for step in ruling.trace}
    wanted = {ruling.by.chain} if ruling.by else set[str]()
    found: list[Step] = []
    for step in reversed([step for step in ruling.trace if step.matched != "no"]):
        target = step.action.split()[-1] if step.action else ""
        if (step.rule.table, target) in chains or step.action.startswith(("jump ", "goto ")):
            if target not in wanted:
                continue
            wanted.add(step.rule.chain)
        elif step.action.upper().startswith(("RETURN", "ACCEPT", "CONTINUE")) and step.rule != ruling.by:
            continue
        found.append(step)
    return found[::-1]


def _step(asked: Asked, step: Step) -> str:
    does = "" if step.rule.text.endswith(step.action) else f", which does: {step.action}"
    how = (
        ""
        if step.matched == "yes"
        else f" ({'if' if step.matched == 'depends' else 'perhaps'} {step.note or step.matched})"
    )
    return f"{_named(asked, step.rule)}{does}{how}"


def _by(asked: Asked, ruling: Ruling, what: str) -> str:
    if ruling.decision is Decision.DEPENDS:
        by = _named(asked, ruling.by) if ruling.by else "no rule"
        return f"let through or refused. Where it is refused, it is by {by}."
    done = _DONE.get(ruling.decision, "not known")
    if ruling.by is None:
        return f"{done}: no rule decides about this {what}."
    if ruling.by.rule is None and ruling.by.table not in {"routing", "conntrack"}:
        comes = _CHAINS.get(ruling.by.chain.upper(), "comes there")
        return f"{done} because no rule decides, and that is the default for what {comes}: {_named(asked, ruling.by)}."
    return f"{done} by {_named(asked, ruling.by)}."


def _is_sent_on(asked: Asked) -> bool:
    flow, after = asked.flow, asked.found.request.after
    return after is not None and (after.dst, after.dport) != (flow.dst, flow.dport)


def _nat(asked: Asked) -> Iterator[str]:
    after = asked.found.request.after
    if after is not None and _is_sent_on(asked):
        yield f"On the way nat sends it on to {after.dst}{'' if after.dport is None else f', port {after.dport}'}."


def _replies(asked: Asked) -> Iterator[str]:
    for part, name in ((asked.found.reply, "answers"), (asked.found.later, "later packets")):
        if part is None:
            continue
        if part.ruling.accepted:
            by = f" by {_named(asked, part.ruling.by)}" if part.ruling.by else ": no rule is about them"
            yield f"Its {name} are let through{by}."
        else:
            by = f" by {_named(asked, part.ruling.by)}" if part.ruling.by else ""
            yield f"Its {name} ({part.flow}) are {_DONE.get(part.ruling.decision, 'not let through for certain')}{by}."


def _listening(asked: Asked, sockets: Iterable[Socket] | None) -> Iterator[str]:
    flow = asked.flow
    if asked.way != "in" or sockets is None or flow.dport is None:
        return
    here = [each for each in sockets if each.takes(flow) and not each.local]
    if here:
        word = "Kept from it is" if asked.found.request.ruling.refused else "There it meets"
        yield f"{word} {', '.join(dict.fromkeys(map(str, here)))}."
    else:
        yield "Nothing listens there at the moment; what the rules let through counts all the same."


def _change(asked: Asked) -> Iterator[str]:
    ruling = asked.found.request.ruling
    if ruling.decision is Decision.UNKNOWN:
        yield "No change is proposed: what cannot be read cannot be changed safely."
        return
    close = not ruling.refused
    yield from _proposed(asked, closing(asked) if close else opening(asked), close=close)
    if close and asked.found.reply is not None and asked.found.reply.ruling.refused:
        yield "If it is meant to work, it is the answers that lack a rule."
        yield from _proposed(asked, opening(asked), close=False)


def _proposed(asked: Asked, found: list[Verified], *, close: bool) -> Iterator[str]:
    word = "close" if close else "open"
    if not found:
        yield f"No single change of the rules that would {word} it was found{_why_none(asked, close=close)}."
        return
    for number, each in enumerate(found):
        alone = f"The smallest change that would {word} it{' for this sender alone' if close else ''}:"
        yield (
            alone
            if number == 0 and any(edit.rule for edit in each.edits)
            else f"What would {word} it by taking the rule out:"
        )
        yield from (f"    {line}" for line in dict.fromkeys(edit.command for edit in each.edits))
        if any(edit.command.startswith(("iptables", "ip6tables", "nft ")) for edit in each.edits):
            yield "    That is for what runs now: save it where the host loads its rules from at boot."
        yield from _checked(each)


def _why_none(asked: Asked, *, close: bool) -> str:
    ruling = asked.found.request.ruling
    if close and ruling.by is None:
        return ": there is no rule and no default that lets it through, so there is no firewall to change"
    part = next((p for p in (asked.found.request, asked.found.reply) if p and not p.ruling.accepted), None)
    if part is not None and part.ruling.by is not None and part.ruling.by.table == "routing":
        return ": it is the kernel's routing that drops it, not a rule"
    return ""


def _checked(found: Verified) -> Iterator[str]:
    request, reply = found.after.request.ruling, found.after.reply
    done = _DONE.get(request.decision, request.decision.value)
    also = ", and the answers too" if request.accepted and reply is not None and reply.ruling.accepted else ""
    yield f"    Checked on the tables: the packet is then {done} by {request.by or 'no rule'}{also}."
    if found.unknown:
        yield f"    Whether anything else changes is not known: {found.unknown}."
    elif not found.others:
        yield "    Over all packets nothing else changes."
    for change in found.others[:_MOST]:
        yield from (f"    It changes more: {line}" for line in _lines(change))
    if len(found.others) > _MOST:
        yield f"    It changes {len(found.others) - _MOST} more kinds of packets."


def _lines(change: Change) -> Iterator[str]:
    place = f"{change.family} {change.hook.value} {'/'.join(change.states)}"
    yield from (f"{place}: {room} {_KINDS[change.kind]}" for room in change.rooms[:_MOST])
    if change.more or len(change.rooms) > _MOST:
        yield f"{place}: and more that is not listed"
