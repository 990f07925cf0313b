"""What ``fwproof probe`` found, in words and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fwproof.audit.adhoc import Burst, Found, Probed, Wish
from fwproof.audit.agreement import Agreement, Compared
from fwproof.audit.sweeping import Comparison, Report
from fwproof.cli.tables import packet_json, rule_json
from fwproof.decision import Decision, Ruling
from fwproof.flow import protocol_name
from fwproof.observation import Observation
from fwproof.probing import portset
from fwproof.semantics.traced import Traced

SCHEMA = "fwproof-probe-1"
_SHOWN = 12


def text(found: Found) -> Iterator[str]:
    """Yield what was found as lines for people."""
    for report in found.sweeps:
        yield from _sweep_lines(report)
    for each in found.probes:
        yield f"{each.flow}: {_outcome(each.seen)}"
        if each.traced is not None:
            yield from _traced_lines(each.traced)
        yield from _against(each.compared, each.ruling)
    for burst in found.bursts:
        yield from _burst_lines(burst)
    if found.unread:
        yield f"the tables were not read, so nothing is compared: {found.unread}"


def _outcome(seen: Observation) -> str:
    answer = f" ({seen.answer})" if seen.answer else ""
    again = f", sent {seen.sent} times" if seen.sent > 1 else ""
    return f"{seen.state.value}{answer}{again}" + (f". {seen.note}" if seen.note else "")


def _traced_lines(traced: Traced) -> Iterator[str]:
    for met in traced.path.met:
        yield f"    met {met.rule}: {met.verdict}"
    if traced.agrees and not traced.path.met:
        yield "    met no rule"
    if traced.agrees is None:
        yield f"    the trace does not tell who decided: {traced.why}"


def _traced_json(traced: Traced | None) -> dict[str, Any] | None:
    if traced is None:
        return None
    path = traced.path
    return {
        "met": [{"rule": rule_json(met.rule), "verdict": met.verdict} for met in path.met],
        "by": rule_json(path.by), "decision": path.decision.value if path.decision else None,
        "unnamed": list(path.unnamed), "whole": path.whole, "agrees": traced.agrees, "why": traced.why or None,
    }  # fmt: skip


def _against(compared: Compared, ruling: Ruling | None) -> Iterator[str]:
    if ruling is not None:
        yield f"    the tables say {_said(ruling)}"
    if compared.agreement in {Agreement.DISAGREES, Agreement.UNDECIDED}:
        yield f"    {compared.agreement.value.upper()}: {compared.why}"


def _said(ruling: Ruling) -> str:
    by, on = ruling.by or "no rule at all", "; ".join(ruling.depends_on)
    if ruling.decision is Decision.DEPENDS:
        return f"{' or '.join(sorted(each.value for each in ruling.may))}: it depends on {on}"
    return f"{ruling.decision.value}{f' (depends on {on})' if on else ''}, {by}"


def _sweep_lines(report: Report) -> Iterator[str]:
    swept = report.swept
    name = f"{protocol_name(swept.flow.proto)} {swept.flow.src} -> {swept.flow.dst}"
    again = f", {swept.retried} of them sent again" if swept.retried else ""
    settled = f", {report.extra} more to settle what was open" if report.extra else ""
    yield (
        f"{name}: {swept.asked.bit_count():,} ports in {swept.seconds:.1f} s, "
        f"{swept.sent:,} packets{again}{settled}"
    )  # fmt: skip
    for state, answer, ports in _by_outcome(report.comparisons):
        label = f"{state} ({answer})" if answer else state
        yield f"  {ports.bit_count():6,} {label}: {_listed(ports)}"
    for settled_by, ports in _grouped(report.comparisons, lambda each: each.settled):
        yield f"  {ports.bit_count():6,} settled, {settled_by}"
    for agreement in (Agreement.DISAGREES, Agreement.UNDECIDED):
        for each in report.of(agreement):
            why = f"{each.why}. {each.note}" if each.note else each.why
            yield f"  {agreement.value.upper()}: {_listed(each.ports, whole=True)}: {why}"
            if each.ruling is not None:
                yield f"      {each.ruling.by or 'no rule at all'}"
    good = report.of(Agreement.AGREES)
    yield f"  {sum(each.ports.bit_count() for each in good):6,} as the tables say"
    for rule, expected, moved in report.counted:
        yield f"    {expected:,} packets should be, and {moved:,} were, counted by {rule}"


def _by_outcome(found: Iterable[Comparison]) -> list[tuple[str, str | None, int]]:
    ports: dict[tuple[str, str | None], int] = {}
    for each in found:
        key = (each.state.value, each.answer)
        ports[key] = ports.get(key, 0) | each.ports
    return [(state, answer, some) for (state, answer), some in ports.items()]


def _grouped(found: Iterable[Comparison], key: Callable[[Comparison], str]) -> list[tuple[str, int]]:
    ports: dict[str, int] = {}
    for each in found:
        if key(each):
            ports[key(each)] = ports.get(key(each), 0) | each.ports
    return list(ports.items())


def _listed(ports: int, *, whole: bool = False) -> str:
    ranges = portset.ranges_of(ports)
    if whole or len(ranges) <= _SHOWN:
        return portset.words(ports)
    first = portset.words(portset.of_ranges(ranges[:_SHOWN]))
    return f"{first} and {len(ranges) - _SHOWN} more ranges (--format json has all)"


def _burst_lines(burst: Burst) -> Iterator[str]:
    good, sent = sum(map(bool, burst.let_in)), len(burst.let_in)
    first = next((at for at, each in enumerate(burst.let_in, 1) if each is False), None)
    refused = f", the first refused is number {first}" if first else ""
    yield f"{burst.flow}: {good} of {sent} let in{refused}"
    if burst.predicted:
        expected = sum(each.value == "accept" for each in burst.predicted)
        yield f"    the tables say {expected} of {sent}"
    yield from _against(burst.compared, None)
    if burst.note:
        yield f"    {burst.note}"


def document(wish: Wish, found: Found) -> dict[str, Any]:
    """Return what was found as one JSON document."""
    return {
        "schema": SCHEMA, "host": wish.host, "vantage": wish.vantage, "rate": wish.pps,
        "sweeps": [_sweep_json(each) for each in found.sweeps], "probes": [_probe_json(each) for each in found.probes],
        "bursts": [_burst_json(each) for each in found.bursts], "tables_unread": found.unread or None,
        "status": found.status,
    }  # fmt: skip


def _compared_json(compared: Compared, ruling: Ruling | None) -> dict[str, Any]:
    return {
        "agreement": compared.agreement.value, "why": compared.why or None,
        "decision": None if ruling is None else ruling.decision.value,
        "by": None if ruling is None else rule_json(ruling.by),
        "depends_on": [] if ruling is None else list(ruling.depends_on),
    }  # fmt: skip


def _sweep_json(report: Report) -> dict[str, Any]:
    swept = report.swept
    return {
        "family": swept.flow.family.value, "proto": protocol_name(swept.flow.proto), "src": str(swept.flow.src),
        "dst": str(swept.flow.dst), "tos": swept.flow.tos, "asked": swept.asked.bit_count(),
        "passes": list(swept.passes), "retried": swept.retried, "resets": swept.resets, "extra": report.extra,
        "sent": swept.sent + report.extra, "seconds": round(swept.seconds, 3),
        "tracked": swept.sightings.tracked, "lossy": list(swept.sightings.lossy),
        "agents": {name: {"cpu_seconds": cpu, "memory_kib": size} for name, (cpu, size) in swept.used.items()},
        "outcomes": [
            {
                "state": each.state.value, "ports": [list(ends_) for ends_ in portset.ranges_of(each.ports)],
                "answer": each.answer, "note": each.note or None, "settled": each.settled or None,
                **_compared_json(Compared(each.agreement, each.why), each.ruling),
            }
            for each in report.comparisons
        ],
        "counted": [{"rule": rule_json(rule), "expected": expected, "counted": moved}
                    for rule, expected, moved in report.counted],
    }  # fmt: skip


def _probe_json(each: Probed) -> dict[str, Any]:
    seen = each.seen
    return {
        "packet": packet_json(seen.probe.flow), "state": seen.state.value, "answer": seen.answer,
        "note": seen.note or None, "sent": seen.sent, "arrived": seen.arrived, "confirmed": seen.confirmed,
        **_compared_json(each.compared, each.ruling), "traced": _traced_json(each.traced),
    }  # fmt: skip


def _burst_json(burst: Burst) -> dict[str, Any]:
    return {
        "packet": packet_json(burst.flow), "states": [one.state.value for one in burst.seen],
        "let_in": list(burst.let_in), "predicted": [each.value for each in burst.predicted],
        "note": burst.note or None, "agreement": burst.compared.agreement.value, "why": burst.compared.why or None,
    }  # fmt: skip
