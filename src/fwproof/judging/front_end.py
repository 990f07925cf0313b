"""Outcomes in the words of the host's front end: what it calls the rules, and which of its commands would mend them."""

from __future__ import annotations

from dataclasses import replace

from fwproof.facts import Facts
from fwproof.frontends.front_end import FrontEnd
from fwproof.frontends.wish import Opening, Way, Wish
from fwproof.judging.managers import CHOOSE, NO_FIREWALL
from fwproof.plan import Check, Kind
from fwproof.policy.model import Allow
from fwproof.results import Outcome, Verdict

_WAYS = {"inbound": Way.IN, "outbound": Way.OUT, "forward": Way.THROUGH}


def in_its_words(outcome: Outcome, check: Check, facts: Facts) -> Outcome:
    """Return an outcome as the administrator of the host would say it; unchanged where there is no front end."""
    front = facts.front_ends.get(check.host)
    if front is None:
        return outcome
    say = front.spoken
    spoken = replace(
        outcome, reason=say(outcome.reason), proved=say(outcome.proved), observed=say(outcome.observed),
        attributed=say(outcome.attributed), rule=say(outcome.rule), cause=say(outcome.cause),
        evidence=tuple(map(say, outcome.evidence)),
    )  # fmt: skip
    if outcome.verdict is not Verdict.FAIL:
        return spoken
    if not front.rulers and outcome.wrong == "open":
        return replace(
            spoken, reason=f"{_bare(front)}: {spoken.reason}", cause=NO_FIREWALL, fix=f"{CHOOSE} {outcome.fix}"
        )
    if front.closes(check.family) and outcome.wrong != "open":
        spoken = replace(spoken, cause="ufw has IPV6=no, which closes IPv6")
    mend = _mend(outcome, check, front)
    return replace(spoken, fix=f"{mend}. In the kernel: {outcome.fix}" if mend else outcome.fix)


def _bare(front: FrontEnd) -> str:
    guests = ", ".join(each.manager for each in front.managers if each.places)
    return f"no firewall decides who gets in{f' (there are only rules of {guests})' if guests else ''}"


def _mend(outcome: Outcome, check: Check, front: FrontEnd) -> str:
    if check.family is None:
        return ""
    if check.kind is Kind.RATE and outcome.wrong == "open" and isinstance(check.expectation, Allow) and not outcome.by:
        return front.limiting(_opening(check.expectation))
    if (not outcome.by or not outcome.wrong) and not front.closes(check.family):
        return ""
    return front.mend(
        Wish(
            wrong=outcome.wrong or "shut", way=_way(check), family=check.family, by=outcome.by,
            allowed=_allowed(check), wanted=_wanted(check),
        )
    )  # fmt: skip


def _way(check: Check) -> Way:
    return _WAYS.get(check.direction or "", Way.IN)


def _opening(allow: Allow) -> Opening:
    service, rate = allow.service, allow.rate
    return Opening(
        proto=service.proto, port=service.port, peers=allow.peers.networks,
        rate=None if rate is None else (rate.limit, rate.per, rate.by),
    )  # fmt: skip


def _allowed(check: Check) -> tuple[Opening, ...]:
    if check.direction == "forward":
        return ()
    return tuple(map(_opening, check.policy.outbound if check.direction == "outbound" else check.policy.inbound))


def _wanted(check: Check) -> Opening | None:
    """Return what a check is about: its expectation's service and peers, or that of a sample, which is for nobody."""
    if isinstance(check.expectation, Allow):
        return _opening(check.expectation)
    service = check.service
    return None if service is None else Opening(proto=service.proto, port=service.port, peers=())
