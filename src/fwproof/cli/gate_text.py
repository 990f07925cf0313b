"""What a gate found, for a terminal, for a merge request, and as annotations of a code host's job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from fwproof.cli.diff import change_lines
from fwproof.decision import RuleRef
from fwproof.gating.gate import Gated
from fwproof.gating.guard import Found, Harm
from fwproof.gating.mutation import Score, Survivor
from fwproof.gating.offline import Judged
from fwproof.report.clean import markdown_code, markdown_text
from fwproof.report.view import number_of
from fwproof.results import Verdict

LIMIT = 60_000
"""Characters; comments of merge requests hold 64 kB."""
_SHOWN, _FEW = 12, 3
_HEADS = {
    0: "may be deployed", 1: "must not be deployed", 5: "was not tested at all", 6: "cannot be told to be right",
}  # fmt: skip
_MARKS = {True: "ok", False: "FAIL", None: "?"}
_IDLE = "-"
"""What stands before a question that nobody asked."""


@dataclass(frozen=True, slots=True)
class Section:
    """One question of the gate: whether it went well (None: not known), a sentence, and findings with their details."""

    title: str
    well: bool | None
    said: str
    items: tuple[tuple[str, tuple[str, ...]], ...] = ()
    idle: bool = False


def sections(found: Gated) -> list[Section]:
    """Return everything that a gate found, in the order of its questions."""
    made = [_policy(found), _difference(found), _lock_out(found), _kernel(found), _mutation(found)]
    gaps = [
        *(f"{f}: the policy is about it, and the candidate has no tables of it" for f in found.missing),
        *found.gaps,
    ]
    made += (
        [Section("Not looked at", None, number_of(len(gaps), "gap"), tuple((gap, ()) for gap in gaps))] if gaps else []
    )
    if found.candidate.assumed:
        taken = tuple((each, ()) for each in found.candidate.assumed)
        made.append(Section("Taken for granted", True, "nobody says otherwise", taken, idle=True))
    return made


def headline(found: Gated) -> str:
    """Return the answer in a sentence."""
    return f"The tables for {found.asked.host} {_HEADS[found.status]} (policy {found.asked.policy.name})."


def text(found: Gated) -> Iterator[str]:
    """Yield the answer as lines of a terminal."""
    for section in sections(found):
        mark = _IDLE if section.idle else _MARKS[section.well]
        yield f"{mark:<5}{section.title}: {section.said}"
        for lead, more in section.items[:_SHOWN]:
            yield f"     {lead}"
            yield from (f"         {line}" for line in more)
        if len(section.items) > _SHOWN:
            yield f"     and {len(section.items) - _SHOWN} more; --format json has all"
    yield headline(found)


def markdown(found: Gated) -> str:
    """Return the answer as a review comment, of at most 64 kB; what no longer fits is counted."""
    lines = [f"## {markdown_text(headline(found))}", ""]
    made = sections(found)
    for section in made:
        mark = "💤" if section.idle else "❔" if section.well is None else "✅" if section.well else "❌"
        lines.append(f"- {mark} **{markdown_text(section.title)}**: {markdown_text(section.said)}")
    room = LIMIT - sum(len(line) + 1 for line in lines)
    for section in made:
        if not section.items:
            continue
        part, room = _details(section, room)
        lines += part
    return "\n".join(lines) + "\n"


def _details(section: Section, room: int) -> tuple[list[str], int]:
    """Return the findings of a section as far as there is room, and the room that is left."""
    lines = ["", f"### {markdown_text(section.title)}", ""]
    room -= sum(len(line.encode()) + 1 for line in lines) + 60
    for number, (lead, more) in enumerate(section.items):
        entry = [f"- {markdown_text(lead)}", *(f"  - `{markdown_code(line)}`" for line in more)]
        size = sum(len(line.encode()) + 1 for line in entry)
        if size > room:
            return [*lines, f"- and {len(section.items) - number} more, which `--format json` has"], room
        lines += entry
        room -= size
    return lines, room


# ---- the questions


def _policy(found: Gated) -> Section:
    bad = found.of(Verdict.FAIL)
    unclear = found.of(Verdict.ERROR, Verdict.INCONCLUSIVE)
    untested = [each for each in found.judged if each.untested]
    good = len(found.of(Verdict.PASS))
    parts = [f"{good} of {number_of(len(found.judged), 'check')} hold"]
    parts += [f"{len(bad)} fail"] if bad else []
    parts += [f"{len(unclear)} undetermined"] if unclear else []
    parts += [f"{len(untested)} not tested"] if untested else []
    items = [*_causes(found, bad), *_causes(found, unclear), *_untested(untested)]
    return Section("Policy", False if bad else None if unclear else True, ", ".join(parts), tuple(items))


def _causes(found: Gated, checks: Sequence[Judged]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield a finding for each root cause, with the check that shows it."""
    for cause, same in _by_cause(checks):
        lead = next((each for each in same if each.outcome.by), same[0])
        place = next((p for p in (place_of(found, ref) for ref in lead.outcome.by) if p), "")
        more = [
            f"{lead.check.id}: {lead.outcome.reason}",
            *filter(None, (place, lead.outcome.fix and f"mend: {lead.outcome.fix}")),
        ]
        yield f"{cause} ({number_of(len(same), 'check')}, {lead.outcome.verdict.value})", tuple(more)


def _untested(checks: Sequence[Judged]) -> Iterator[tuple[str, tuple[str, ...]]]:
    groups: dict[str, list[str]] = {}
    for each in checks:
        groups.setdefault(each.untested, []).append(each.check.kind.value)
    for why, kinds in groups.items():
        yield f"not tested: {number_of(len(kinds), 'check')}: {why} ({', '.join(dict.fromkeys(kinds))})", ()


def place_of(found: Gated, ref: RuleRef) -> str:
    """Return where a rule is written, as FILE:LINE; empty where it is written nowhere."""
    if found.candidate.told is not None:
        return found.candidate.places.get(ref, "")
    for command in (each for whole in found.candidate.commands for each in whole.block or (whole,)):
        if command.family.table_family == ref.family and any(f"-A {ref.chain} {r}" == ref.text for r in command.rules):
            return f"{command.source}:{command.line}"
    for family, sets in found.candidate.model.rulesets.items():
        if family.table_family != ref.family:
            continue
        for ruleset in sets:
            rule = next((rule for rule in ruleset.rules() if rule.ref == ref), None)
            if rule is not None and rule.line and not ruleset.native:
                return f"{ruleset.source}:{rule.line}"
    return ""


def _difference(found: Gated) -> Section:
    if found.changes is None:
        return Section("Difference", True, "not asked for: --against says what runs now", idle=True)
    items = []
    for each in found.changes:
        for change in each.changes:
            first, *rest = change_lines(change)
            items.append((first, tuple(line.strip() for line in rest)))
        items += [(f"{each.family}: {effect}", ()) for effect in each.effects]
        items += [(f"{each.family}: and {each.unlisted} more changes", ())] if each.unlisted else []
        items += [(f"{each.family}: not known: {reason}", ()) for reason in each.blind]
    count = sum(len(each.changes) + each.unlisted for each in found.changes)
    said = f"{number_of(count, 'change')} to what runs" if items else "the same meaning as what runs"
    return Section("Difference", None if any(each.blind for each in found.changes) else True, said, tuple(items))


def _lock_out(found: Gated) -> Section:
    guard = found.guard
    if not guard.ways:
        said = "no way by which the host is managed is known: --management FROM:SERVICE names one"
        return Section("Lock-out", None, said)
    said = f"{number_of(len(guard.ways), 'way')} looked at in {number_of(guard.states, 'state')}"
    items = [_harm(found, each) for each in (*guard.found, *found.windows)]
    items += [(guard.cut_short, ())] if guard.cut_short else []
    well = False if guard.failed else None if guard.unclear else True
    return Section("Lock-out", well, said, tuple(items))


def _harm(found: Gated, each: Found) -> tuple[str, tuple[str, ...]]:
    way = f"{each.way}: " if each.way else ""
    more = [
        f"from {each.first}" if each.first else "", f"until {each.until}" if each.until else "",
        f"by {found.spoken(each.by)}" if each.by else "", f"for example {each.witness}" if each.witness else "",
    ]  # fmt: skip
    return f"{each.harm}: {way}{each.text}", tuple(filter(None, more))


def _kernel(found: Gated) -> Section:
    if found.twin is None:
        if found.trouble:
            return Section("Kernel twin", None, found.trouble)
        return Section("Kernel twin", True, "no kernel was asked (--no-twin)", idle=True)
    items = [(str(fault), ()) for fault in found.twin.refused]
    items += [(f"the kernel has it otherwise than it was read: {each}", ()) for each in found.twin.otherwise]
    items += [(f"no place in it for {each}", ()) for each in found.twin.absent]
    covered = (each for each in found.judged if each.outcome.coverage is not None)
    items += [(f"{each.check.family}: {each.outcome.reason}", ()) for each in covered]
    bad = found.twin.refused or found.twin.otherwise
    if bad:
        return Section("Kernel twin", False, "the kernel does not take the tables as they are", tuple(items))
    if found.twin.gaps:
        return Section("Kernel twin", None, "loaded and probed; not all that it lists could be compared", tuple(items))
    return Section("Kernel twin", True, "loaded, listed as read, and probed", tuple(items))


def _mutation(found: Gated) -> Section:
    each = found.mutation
    if each is None:
        return Section("Slips", True, "none tried", idle=True)
    share = "" if each.score is None else f" ({each.score:.0%})"
    count = each.noticed + len(each.survivors)
    said = f"of {number_of(count, 'slip')} that matter, expectations notice {each.noticed}{share}; {_tried(each)}"
    items = [_survivor(found, one) for one in each.survivors if one.mendable]
    items += _hopeless([one for one in each.survivors if not one.mendable])
    items += [(f"not known: {mutant.rule}: {mutant.text}: {why}", ()) for mutant, why in each.unknown]
    return Section("Slips", not found.weak, said, tuple(items))


def _tried(each: Score) -> str:
    sample = (
        f"a sample of {each.tried} of {each.total} was tried"
        if each.tried < each.total
        else f"all {each.total} were tried"
    )
    return f"{each.equivalent} change nothing; {sample} in {each.seconds:.0f} s"


def _survivor(found: Gated, one: Survivor) -> tuple[str, tuple[str, ...]]:
    more = [one.what, f"for example {one.witness}" if one.witness else "", f"add: {one.suggestion}"]
    return f"unnoticed: {found.spoken(str(one.mutant.rule))}: {one.mutant.text}", tuple(filter(None, more))


def _hopeless(survivors: Sequence[Survivor]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what no line of a policy would notice, by the reason."""
    groups: dict[str, list[Survivor]] = {}
    for one in survivors:
        groups.setdefault(one.suggestion, []).append(one)
    for why, same in groups.items():
        shown = [f"{one.mutant.rule}: {one.mutant.text}" for one in same[:_FEW]]
        rest = [f"and {len(same) - _FEW} more"] if len(same) > _FEW else []
        yield f"{number_of(len(same), 'slip')} unnoticed, and {why}", (*shown, *rest)


# ---- annotations


def workflow_commands(found: Gated) -> Iterator[str]:
    """Yield workflow commands that put findings at their lines, and the answer as the last line of the log."""
    for fault in found.refused:
        yield _annotation("error", fault.file, fault.line, fault.message)
    for each in found.guard.found:
        level = "error" if each.harm in {Harm.LOCKED_OUT, Harm.CUT} else "warning"
        at = each.first
        message = f"{each.harm}: {each.way}: {each.text}" + (f" by {each.by}" if each.by else "")
        yield _annotation(level, at.source if at else "", at.line if at else 0, message)
    for each in found.windows:
        if each.first:
            yield _annotation("warning", each.first.source, each.first.line, f"{each.harm}: {each.text}")
    for cause, checks in _by_cause(found.of(Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE)):
        lead = next((each for each in checks if each.outcome.by), checks[0])
        place = next((p for p in (place_of(found, ref) for ref in lead.outcome.by) if p), "")
        file, _, line = place.rpartition(":")
        level = "error" if lead.outcome.verdict is Verdict.FAIL else "warning"
        file = file or lead.check.expectation.file
        number = int(line) if line.isdigit() else lead.check.expectation.line
        yield _annotation(level, file, number, f"{cause}: {lead.outcome.reason}")
    if found.trouble:
        yield _annotation("warning", "", 0, found.trouble)
    level = {0: "notice", 1: "error"}.get(found.status, "warning")
    yield _annotation(level, "", 0, headline(found))


def _by_cause(checks: Iterable[Judged]) -> Iterable[tuple[str, list[Judged]]]:
    groups: dict[str, list[Judged]] = {}
    for each in checks:
        groups.setdefault(each.outcome.cause or each.outcome.reason, []).append(each)
    return groups.items()


def _annotation(level: str, file: str, line: int, message: str) -> str:
    place = ",".join(filter(None, (f"file={_property(file)}" if file else "", f"line={line}" if line else "")))
    return f"::{level}{' ' + place if place else ''}::{_data(message)}"


def _escaped(pairs: Sequence[tuple[str, str]]) -> Callable[[str], str]:
    def escape(text: str) -> str:
        text = "".join(
            letter if letter.isprintable() or letter in "\r\n" else "\N{REPLACEMENT CHARACTER}" for letter in text
        )
        for plain, safe in pairs:
            text = text.replace(plain, safe)
        return text

    return escape


# as the code host's own toolkit escapes them (actions/toolkit, packages/core/src/command.ts)
_data = _escaped((("%", "%25"), ("\r", "%0D"), ("\n", "%0A")))
_property = _escaped((("%", "%25"), ("\r", "%0D"), ("\n", "%0A"), (":", "%3A"), (",", "%2C")))
