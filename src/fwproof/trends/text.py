"""A comparison of two runs for terminals and, within the size of a comment, for merge requests."""

from __future__ import annotations

from collections.abc import Iterator

from fwproof.report.clean import markdown_code, markdown_text, one_line
from fwproof.report.markdown import COMMENT
from fwproof.report.view import number_of
from fwproof.trends.changes import CoverageChange, HostRules, RunDiff, Sort
from fwproof.trends.groups import CHANGES, SHOWN, Cause, Way, causes, rules_said, ways

_CAUSES = 50
_LINES = 40
_KINDS = {
    "became-reachable": "became reachable", "stopped-being-reachable": "stopped being reachable",
    "refused-otherwise": "is refused otherwise", "not-known": "is not known",
}  # fmt: skip


def render_text(found: RunDiff) -> str:
    """Return the comparison for a terminal or a log; every line is made inert."""
    return "".join(f"{line}\n" for line in _lines(found))


def counts_line(found: RunDiff) -> str:
    """Return the one line of counts that a program may look for."""
    said = " · ".join(f"{sort.value} {found.sorts[sort.value]}" for sort in Sort if found.sorts.get(sort.value))
    return f"fwproof diff: {said or 'no checks'} · status {found.status}"


def _lines(found: RunDiff) -> Iterator[str]:
    yield f"{one_line(found.before.id)} → {one_line(found.after.id)}: {found.headline}"
    yield f"    {one_line(found.before.started)} to {one_line(found.after.started)} (UTC)"
    for sort in SHOWN:
        yield from _section(found, sort)
    yield from _reach(found)
    for rules in found.rules:
        yield from _rules(rules)
    yield from _section(found, Sort.UNCHANGED)
    for title, said in small_print(found):
        yield ""
        yield title.upper()
        yield from (f"  {one_line(each)}" for each in said)
    yield ""
    yield counts_line(found)


def _section(found: RunDiff, sort: Sort) -> Iterator[str]:
    groups = causes(found, sort)
    if not groups:
        return
    yield ""
    yield f"{sort.heading.upper()} ({number_of(found.sorts[sort.value], 'check')}): {sort.meaning}"
    for group in groups[:_CAUSES]:
        yield f"  {one_line(group.severity)}: {one_line(group.cause)}"
        yield f"      {group.verdicts}; {number_of(len(group.checks), 'check')} on {_some(group.hosts)}"
        if sort is Sort.UNCHANGED:
            continue
        yield f"      {_some(tuple(check.id for check in group.checks), 4)}"
        side = group.lead.after or group.lead.before
        if side is not None and sort in _EXPLAINED:
            yield f"      {one_line(side.reason)}"
            if side.fix:
                yield f"      to mend it: {one_line(side.fix)}"
    if len(groups) > _CAUSES:
        yield f"  and {number_of(len(groups) - _CAUSES, 'more cause')}; --format json has all"


_EXPLAINED = {Sort.NEW, Sort.OTHER_CAUSE, Sort.UNACCEPTED, Sort.LOST, Sort.FIRST_ASKED}


def _some(names: tuple[str, ...], most: int = 6) -> str:
    shown = ", ".join(one_line(name, 120) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def _reach(found: RunDiff) -> Iterator[str]:
    every = ways(found)
    if every:
        yield ""
        yield f"REACHABILITY ({number_of(len(found.reachability), 'cell')} changed)"
    for way in every[:_CAUSES]:
        yield f"  {CHANGES[way.change]}{'' if way.as_wanted else _against(way)}: {one_line(way.said)}"
        yield f"      proved: {way.proved}; observed: {way.observed}"
        yield f"      {one_line(way.lead.said_after[0])}"
        yield f"      {one_line(way.lead.said_after[1])}"
    if len(every) > _CAUSES:
        yield f"  and {number_of(len(every) - _CAUSES, 'more change')}; --format json has all"


def _against(way: Way) -> str:
    return " AGAINST THE POLICY" if way.change in {"opened", "closed"} else ""


def _rules(rules: HostRules) -> Iterator[str]:
    yield ""
    yield f"RULES of {one_line(rules.host)}: {rules_said(rules)}"
    for change in rules.changes:
        place = f"{change.family} {change.hook} {'/'.join(change.states)}"
        for box in change.boxes:
            yield f"  {place}: {_KINDS.get(change.kind, change.kind)}: {one_line(box)}"
        yield f"      before: {one_line(change.before)}"
        yield f"      after: {one_line(change.after)}"
        yield f"      for example {one_line(change.witness)}"
    if rules.unlisted:
        yield f"  and {rules.unlisted:,} more; --most lists more"
    yield from (f"  {one_line(each)}" for each in rules.effects)
    for text in rules.texts:
        yield f"  {one_line(text.file)}:"
        yield from (f"    {one_line(line)}" for line in text.lines[:_LINES])
        left = len(text.lines[_LINES:]) + text.more
        if left:
            yield f"    and {number_of(left, 'more line')}"
    yield from (f"  not compared: {one_line(each)}" for each in [*rules.altered, *rules.not_compared])


def small_print(found: RunDiff) -> Iterator[tuple[str, list[str]]]:
    """Yield what a reader wants last: waivers, coverage, and for what the runs do not compare."""
    if found.waivers:
        yield "Waivers", [f"{one.id} {one.change}: {one.said} (until {one.expires}, {one.owner})"
                          for one in found.waivers]  # fmt: skip
    if found.coverage:
        yield "Rule coverage", [_covered(one) for one in found.coverage]
    if found.not_comparable:
        yield "Not quite comparable", [f"{gap.about}: {gap.said}" for gap in found.not_comparable]


def _covered(one: CoverageChange) -> str:
    (had, of), (has, now) = one.before, one.after
    lost = "".join(f"; no longer: {text}" for text in one.lost[:5])
    return f"{one.host} {one.family}: {had} of {of} rules confirmed, now {has} of {now}{lost}"


# ---- Markdown


def render_diff_markdown(found: RunDiff, limit: int = COMMENT) -> str:
    """Return the comparison as a comment on a merge request, in at most ``limit`` bytes of UTF-8."""
    head = [f"## {markdown_text(found.headline)}", _runs_table(found)]
    tail = f"`{counts_line(found)}`\n"
    gaps = [line for title, said in small_print(found) for line in (f"**{title}**", "\n".join(
        f"- {markdown_text(each)}" for each in said[:20]) + ("\n- …" if len(said) > 20 else ""))]  # fmt: skip
    room = limit - sum(map(_size, [*head, tail])) - 200  # for the line that says what was cut
    gaps = [part if _size(part) < limit // 8 else "This did not fit here." for part in gaps]
    room -= sum(map(_size, gaps))
    parts = list(_parts(found))
    for position, part in enumerate(parts):
        room -= _size(part)
        if room < 0:
            head.append(f"{number_of(len(parts) - position, 'more part')} did not fit here; --format html has all.")
            break
        head.append(part)
    return "\n\n".join([*head, *gaps, tail])


def _size(part: str) -> int:
    return len(part.encode("utf-8")) + 2


def _runs_table(found: RunDiff) -> str:
    keys = ("pass", "fail", "waived", "error", "inconclusive", "not_applicable")
    lines = [
        f"| run | began (UTC) | {' | '.join(key.replace('_', ' ') for key in keys)} |",
        f"|---|---|{'--:|' * len(keys)}",
    ]
    for run in (found.before, found.after):
        numbers = " | ".join(str(run.counts[key]) for key in keys)
        lines.append(f"| {markdown_text(run.id)} | {markdown_text(run.started)} | {numbers} |")
    return "\n".join(lines)


def _parts(found: RunDiff) -> Iterator[str]:
    for sort in SHOWN:
        yield from _causes(found, sort)
    every = ways(found)
    if every:
        yield "### Reachability"
    for way in every:
        against = "" if way.as_wanted else _against(way)
        yield (f"- {CHANGES[way.change]}{against}: {markdown_text(way.said)}; proved: {way.proved}; "
               f"observed: {way.observed}")  # fmt: skip
    for rules in found.rules:
        if rules.same is not True or rules.texts:
            yield from _rules_markdown(rules)
    yield from _causes(found, Sort.UNCHANGED)


def _causes(found: RunDiff, sort: Sort) -> Iterator[str]:
    groups = causes(found, sort)
    if groups:
        yield f"### {sort.heading} ({number_of(found.sorts[sort.value], 'check')})\n\n{sort.meaning.capitalize()}."
        yield from (_cause(group, full=sort in _EXPLAINED) for group in groups)


def _cause(group: Cause, *, full: bool) -> str:
    number = number_of(len(group.checks), "check")
    about = f"{markdown_text(group.severity)}, {group.verdicts}: {number} on {markdown_text(_some(group.hosts))}"
    lines = [f"- **{markdown_text(group.cause)}**, {about}"]
    side = group.lead.after or group.lead.before
    if full and side is not None:
        lines.append(f"  - {markdown_text(side.reason)}")
        lines += [f"  - deciding rule: `{markdown_code(side.rule)}`"] if side.rule else []
        lines += [f"  - how to mend: {markdown_text(side.fix)}"] if side.fix else []
        lines.append(f"  - `{markdown_code(_some(tuple(check.id for check in group.checks), 4))}`")
    return "\n".join(lines)


def _rules_markdown(rules: HostRules) -> Iterator[str]:
    yield f"### Rules of {markdown_text(rules.host)}: {markdown_text(rules_said(rules))}"
    for change in rules.changes:
        box = "; ".join(change.boxes)
        yield (f"- {markdown_text(f'{change.family} {change.hook}')}: {_KINDS.get(change.kind, change.kind)}: "
               f"`{markdown_code(box)}`\n  - before: `{markdown_code(change.before)}`\n  - after: "
               f"`{markdown_code(change.after)}`\n  - for example `{markdown_code(change.witness)}`")  # fmt: skip
    lines = [f"- `{markdown_code(line)}`" for text in rules.texts for line in text.lines[:_LINES]]
    if lines:
        yield "\n".join(lines)
    gaps = [*rules.altered, *rules.not_compared]
    if gaps:
        yield "\n".join(f"- not compared: {markdown_text(each)}" for each in gaps[:20])
