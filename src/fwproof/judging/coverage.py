"""Judging rule coverage: what probes reached, what the kernel counted, and where the two disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fwproof.covered import CoverageFacts, CoverProbe
from fwproof.errors import HostError
from fwproof.facts import Facts
from fwproof.flow import TCP
from fwproof.judging.coverage_rows import Row, Status, rows
from fwproof.plan import Check
from fwproof.policy.table_model import Coverage
from fwproof.results import CoveredRule, CoveringProbe, Outcome, RuleCoverage, Verdict

_SHOWN = 6
_ACCEPTED = "accepted"
_FIX = (
    "Look at the rules that are named with fwproof explain and iptables -Z; where the model reads one otherwise than"
    " the kernel does, please report it with the rule tables."
)
_MORE = (
    "Add the vantages that the report names, or give rules of nft a counter; a rule of which nothing is asked is listed"
    " under 'coverage: accept', with the reason."
)


def judge_coverage(check: Check, facts: Facts) -> Outcome:
    """Judge the rules of one host and family by what was sent to reach each; raises HostError."""
    assert isinstance(check.expectation, Coverage)
    known = facts.exercised[check.id]
    if isinstance(known, HostError):
        raise known
    assert isinstance(known, CoverageFacts)
    accepted = {" ".join(one.rule.split()): one.reason for one in check.expectation.accepted}
    found = rows(known)
    asked = [row for row in found if " ".join(row.rule.text.split()) not in accepted]
    record = _record(known, found, asked, accepted)
    return _verdict(check.expectation, known, asked, record)


def _verdict(asks: Coverage, known: CoverageFacts, asked: Sequence[Row], record: RuleCoverage) -> Outcome:
    figures = figures_of(record)
    against = [row for row in asked if row.status is Status.DISAGREES]
    short = asks.at_least is not None and record.confirmed < asks.at_least * record.reachable
    open_ = [row for row in asked if row.status is Status.UNKNOWN]
    common = {
        "proved": _proved(asked), "observed": _observed(known), "attributed": f"{record.confirmed} rules counted it",
        "coverage": record, "evidence": tuple(_line(row) for row in asked if row.status is not Status.CONFIRMED),
    }  # fmt: skip
    if against:
        return _outcome(
            Verdict.FAIL, "; ".join([*_listed(against), figures]), common, rule=str(against[0].rule),
            cause="the model and the kernel disagree about rules", fix=_FIX,
        )  # fmt: skip
    if asks.at_least is not None and short:
        text = f"{figures}; {asks.at_least:.0%} of those that packets can reach are to be confirmed"
        missing = [row for row in asked if row.status not in {Status.CONFIRMED, Status.UNREACHABLE}]
        return _outcome(Verdict.FAIL, "; ".join([text, *_listed(missing)]), common, fix=_MORE,
                        cause="too few rules are confirmed by probes")  # fmt: skip
    if not record.reached or (open_ and asks.at_least is None):
        return _outcome(Verdict.INCONCLUSIVE, "; ".join([figures, *_listed(open_), *known.gaps]), common, fix=_MORE,
                        cause="of some rules it is not known whether packets reach them")  # fmt: skip
    return _outcome(Verdict.PASS, figures, common)


def _outcome(verdict: Verdict, reason: str, common: dict[str, object], **more: str) -> Outcome:
    return Outcome(verdict=verdict, reason=reason, **common, **more)  # type: ignore[arg-type]


def figures_of(record: RuleCoverage) -> str:
    """Return the coverage in a sentence."""
    share = f" ({record.confirmed / record.reachable:.0%})" if record.reachable else ""
    return (
        f"{record.confirmed} of {record.reachable} rules and defaults that packets can reach are confirmed{share}, "
        f"{record.reached} of all {record.total} were reached"
    )


def _record(
    known: CoverageFacts, found: Sequence[Row], asked: Sequence[Row], accepted: dict[str, str]
) -> RuleCoverage:  # fmt: skip
    def count(*statuses: Status) -> int:
        return sum(row.status in statuses for row in asked)

    return RuleCoverage(
        total=len(found), reachable=len(asked) - count(Status.UNREACHABLE),
        reached=count(Status.CONFIRMED, Status.REACHED), confirmed=count(Status.CONFIRMED),
        rules=[_covered(row, accepted.get(" ".join(row.rule.text.split()))) for row in found],
        probes=[
            CoveringProbe(name=each.name, hook=each.hook.value, sender=each.sender, packet=_packet(each))
            for each in known.probes
        ],
        gaps=list(known.gaps),
    )  # fmt: skip


def _packet(probe: CoverProbe) -> str:
    flags = f" {'/'.join(sorted(probe.flow.flags)) or 'without flags'}" if probe.flow.proto == TCP else ""
    return f"{replace(probe.flow, sport=None)}{flags}, {probe.flow.ctstate.value}"  # its port is the prober's


def _covered(row: Row, accepted: str | None) -> CoveredRule:
    ref = row.rule
    place = f"{ref.family} {ref.table} {ref.chain}" + (" policy" if ref.rule is None else f" rule {ref.rule}")
    status, why = (
        (row.status.value, row.why) if accepted is None else (_ACCEPTED, f"{accepted}; {row.status}: {row.why}")
    )
    return CoveredRule(
        place=place, text=ref.text, status=status, why=why, probes=list(row.probes), packets=row.packets,
        counted=row.moved,
    )  # fmt: skip


def _proved(asked: Sequence[Row]) -> str:
    dead = sum(row.status is Status.UNREACHABLE for row in asked)
    return f"{len(asked)} rules and defaults, {dead} of which no packet reaches"


def _observed(known: CoverageFacts) -> str:
    sent = sum(trip.sent for each in known.rounds for trip in each.trips)
    away = f"; nothing of {', '.join(known.away)} arrives" if known.away else ""
    return f"{len(known.probes)} probes, {sent} packets in {len(known.rounds)} rounds{away}"


def _listed(some: Sequence[Row]) -> list[str]:
    more = [f"and {len(some) - _SHOWN} more, which the report lists"] if len(some) > _SHOWN else []
    return [*map(_line, some[:_SHOWN]), *more]


def _line(row: Row) -> str:
    return f"{row.status.value}: {row.rule}: {row.why}"
