"""Judging forms: a packet that the policy denies is denied however it is dressed.

The model decides about every form that it can express; conntrack, answers and counters say what the wire did. A form
that the tables cannot be read for is judged on the wire alone. Where a form that is let in would leave no sign (a
redirect, say: the kernel takes it and says nothing), silence counts only when the rule's counter moved for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fwproof.decision import Decision
from fwproof.errors import HostError, NotGranted
from fwproof.facts import EvasionFacts, Facts, FormFacts
from fwproof.flow import Family
from fwproof.forms import PLAIN, Group, words
from fwproof.judging.space import leak_cause
from fwproof.judging.wire import attribution_fault, traced_through
from fwproof.observation import Observation, PortState
from fwproof.plan import Check
from fwproof.results import Outcome, Verdict

_SHOWN = 4
_VERB = {True: "confirms", False: "does NOT confirm"}
_LINES = 40
_KERNELS_OWN = "ICMP protocol unreachable"
_LIKE_IT = ("icmp-proto-unreach", "prot-unreach")
"""What a rule of iptables or nft rejects with that looks the same."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One form: ``through`` is whether it got past the tables on the wire, None where that cannot be seen."""

    facts: FormFacts
    seen: Observation
    through: bool | None

    @property
    def name(self) -> str:
        return words(self.facts.form, self.facts.known.flow)

    @property
    def leaks(self) -> bool:
        """Whether it gets further than it may, by the tables or on the wire."""
        ruling = self.facts.known.ruling
        if self.through:
            return True
        if ruling.decision is Decision.UNKNOWN or Decision.ACCEPT not in ruling.may or not self.facts.form.reaches:
            return False
        return not (self.facts.form.spoofed and not self.seen.arrived)  # the tables cannot tell: the way has to stop it

    @property
    def unsure(self) -> bool:
        """Whether neither the tables nor the wire settle it."""
        ruling = self.facts.known.ruling
        if self.facts.form.spoofed and Decision.ACCEPT in ruling.may and not self.leaks:
            return self.seen.state is not PortState.NEVER_ARRIVED
        return self.seen.answered_for or (ruling.decision is Decision.UNKNOWN and self.through is None)

    @property
    def misattributed(self) -> tuple[str, str] | None:
        """Why, if so, the rule that should have decided did not: cause and reason."""
        return attribution_fault(self.facts.known)


def judge_evasion(check: Check, facts: Facts) -> Outcome:
    """Judge the forms of one group; raises HostError when one could not be looked at."""
    known = facts.exercised[check.id]
    if isinstance(known, HostError):
        raise known
    assert isinstance(known, EvasionFacts)
    if check.vantage is None:
        where = "with access root stands there" if check.group is Group.SPOOFING else "stands there"
        raise NotGranted(check.host, f"no vantage of the inventory {where}, so no packet was sent", "add one")
    rows = [_row(each) for each in known.forms]
    if not rows:
        why = "there is no source that this vantage could pretend to have"
        return Outcome(verdict=Verdict.NOT_APPLICABLE, reason=why, cause="", fix="")
    verdict, reason, cause, fix = _judged(check, rows)
    first = next((row for row in rows if row.leaks), rows[0]).facts.known.ruling.by
    return Outcome(
        verdict=verdict, reason=reason, cause=cause, fix=fix, proved=_proved(rows), observed=_observed(rows),
        attributed=_attributed(rows), rule=str(first or ""), evidence=tuple(_lines(rows)),
    )  # fmt: skip


def _row(facts: FormFacts) -> _Row:
    seen = facts.known.observation
    if isinstance(seen, HostError):
        raise seen
    assert seen is not None
    return _Row(facts, seen, _through(facts, seen))


def _through(facts: FormFacts, seen: Observation) -> bool | None:
    """Whether a form got past the tables, as far as the wire shows it."""
    if seen.state in {PortState.OPEN, PortState.CLOSED, PortState.REPLY_LOST, PortState.ACCEPTED_SILENT}:
        return True
    if seen.answer == _KERNELS_OWN:
        return not (facts.known.ruling.reject_with or "").startswith(_LIKE_IT)
    if seen.state is PortState.REJECTED:
        return False
    traced = traced_through(facts.known)
    if traced is not None:
        return traced
    counted = facts.known.counted
    if seen.arrived and facts.form.reaches and counted is not None and counted.confirms:
        return False
    shows = facts.form.shows and facts.tracked
    return False if seen.state is PortState.SILENT and shows else None


_Answer = tuple[Verdict, str, str, str]


def _judged(check: Check, rows: Sequence[_Row]) -> _Answer:
    leaks = [row for row in rows if row.leaks]
    dressed = [row for row in leaks if row.facts.form != PLAIN]
    if leaks:
        return _leak(check, rows, leaks, dressed)
    fault = next(filter(None, (row.misattributed for row in rows)), None)
    if fault is not None:
        reason = f"{_all(rows)} refused by the tables, but {fault[1]}"
        fix = "Collect the host again; if it persists, report the rule tables: the model reads them wrongly."
        return Verdict.FAIL, reason, fault[0], fix
    unsure = [row for row in rows if row.unsure]
    if unsure:
        note = unsure[0].seen.note or _state(unsure[0].seen)
        reason = f"neither the tables nor the wire settled {_named(unsure)}: {note}"
        return Verdict.INCONCLUSIVE, reason, "not settled", "Probe from another vantage, or grant the host more."
    return Verdict.PASS, _refused(check, rows), "", ""


def _leak(check: Check, rows: Sequence[_Row], leaks: Sequence[_Row], dressed: Sequence[_Row]) -> _Answer:
    shown = dressed or leaks
    ruling, agreed = shown[0].facts.known.ruling, Decision.ACCEPT in shown[0].facts.known.ruling.may
    reason = f"{len(shown)} of {len(rows)} packets get in that should not: {_named(shown)}"
    if len(leaks) > len(dressed) and dressed:
        reason += "; so does a plain packet"
    elif dressed and any(row.facts.form == PLAIN for row in rows):
        reason += "; a plain packet does not"
    if not agreed and check.family is Family.IPV6 and check.group in {Group.EXTENSION_HEADERS, Group.FRAGMENTS}:
        reason += f", past {ruling.by}: only the wire tells, since nft lists `ip6 nexthdr tcp tcp dport` as `tcp dport`"
        return Verdict.FAIL, reason, f"IPv6 extension headers get past {ruling.by}", _fix(check)
    if not agreed:
        reason += f". The model says {ruling.decision.value}, but on the wire: {_state(shown[0].seen)}"
        fix = f"Trace such a packet on the host ({shown[0].facts.known.flow}): the rule that should stop it does not."
        return Verdict.FAIL, reason, "model and wire disagree", fix
    if ruling.decision is Decision.UNKNOWN:
        reason += f". The wire shows it ({_state(shown[0].seen)}); the tables could not be read to the end"
        return Verdict.FAIL, reason, "open on the wire", _fix(check)
    reason += f", by {ruling.by}" if ruling.by else ", as no rule says otherwise"
    if check.group is Group.SPOOFING:
        return Verdict.FAIL, reason, "nothing on the way stops spoofed sources", _fix(check)
    return Verdict.FAIL, reason, leak_cause(ruling.by, "the host"), _fix(check)


def _fix(check: Check) -> str:
    six = check.family is Family.IPV6
    tool = "ip6tables" if six else "iptables"
    match check.group:
        case Group.FLAGS:
            return f"Let state decide, not flags: {tool} -A INPUT -m conntrack --ctstate INVALID -j DROP first."
        case Group.SOURCE_PORTS:
            return "A source port proves nothing: accept RELATED,ESTABLISHED instead of answers from a port."
        case Group.EXTENSION_HEADERS | Group.FRAGMENTS if six:
            return "Match the protocol behind the headers: in nft `meta l4proto tcp` or `tcp dport`, not `ip6 nexthdr`."
        case Group.SPOOFING if six:
            return "On the router: ip6tables -t raw -A PREROUTING -m rpfilter --invert -j DROP."
        case Group.SPOOFING:
            return "On the router: sysctl net.ipv4.conf.all.rp_filter=1, or rules on where sources come from."
        case _:
            return "Refuse by default, and accept what is meant only, by protocol, port or ICMP type."


def _refused(check: Check, rows: Sequence[_Row]) -> str:
    if check.group is Group.SPOOFING:
        stopped = sum(row.seen.state is PortState.NEVER_ARRIVED for row in rows)
        passed = len(rows) - stopped
        note = f"; {passed} arrived there, so nothing on the way stopped them, and the tables did" if passed else ""
        return f"{stopped} of {len(rows)} spoofed packets were stopped on the way{note}"
    unseen = [row for row in rows if row.through is None]
    if len(unseen) == len(rows):
        absent = all(row.seen.arrived is False for row in rows)
        note = "something before this firewall stopped all of them" if absent else "the wire could not show it"
        return f"{_all(rows)} refused by the tables; {note}"
    alone = sum(row.facts.known.ruling.decision is Decision.UNKNOWN for row in rows)
    note = f"; {alone} of them observed only" if alone else ""
    note += f"; of {len(unseen)} the wire shows nothing either way: {_named(unseen)}" if unseen else ""
    return f"{_all(rows)} refused by the tables, and on the wire{note}"


def _all(rows: Sequence[_Row]) -> str:
    return f"all {len(rows)} packets are" if len(rows) > 1 else f"{rows[0].name} is"


def _named(rows: Sequence[_Row]) -> str:
    names = list(dict.fromkeys(row.name for row in rows))
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _proved(rows: Sequence[_Row]) -> str:
    counts = Counter((r.decision.value, str(r.by or "no rule")) for r in (row.facts.known.ruling for row in rows))
    return "; ".join(f"{decision} of {count} by {by}" for (decision, by), count in counts.most_common(3))


def _state(seen: Observation) -> str:
    return seen.state.value.replace("-", " ") + (f" ({seen.answer})" if seen.answer else "")


def _observed(rows: Sequence[_Row]) -> str:
    counts = Counter(_state(row.seen) for row in rows)
    sent = sum(row.seen.sent for row in rows)
    again = f", in {sent} packets" if sent > len(rows) else ""
    missing = next((row.seen.note for row in rows if row.seen.note and not row.seen.arrived), "")
    words_ = f"{len(rows)} sent{again}: " + ", ".join(f"{count} {state}" for state, count in counts.most_common())
    return f"{words_}. {missing}".rstrip(". ") if missing else words_


def _attributed(rows: Sequence[_Row]) -> str:
    counted = {c.rule: c for row in rows if (c := row.facts.known.counted) is not None}
    traced = Counter(t.path.by for row in rows if (t := row.facts.known.traced) is not None and t.agrees is not None)
    words_ = [f"trace: {by} decided {count}" for by, count in traced.most_common(3)]
    return "; ".join(words_) or "; ".join(
        f"the counter of {c.rule} {_VERB[c.confirms]} it: {c}" for c in counted.values()
    )


def _lines(rows: Sequence[_Row]) -> Iterable[str]:
    """Yield one line a form, and the packets of those that get in."""
    lines = []
    for row in rows:
        ruling = row.facts.known.ruling
        lines.append(f"{row.name}: {ruling.decision.value} by {ruling.by or 'no rule'}; on the wire {_state(row.seen)}")
        lines += [f"  {p.host} {p.direction} {p.summary}" for p in row.seen.packets[:4]] if row.leaks else []
    return lines[:_LINES]
