"""The coverage of controls as text, Markdown and JSON: one view of :mod:`fwproof.report.controls`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

from fwproof.controls import Control, Framework
from fwproof.report.clean import markdown_code as _code
from fwproof.report.clean import markdown_text as _text
from fwproof.report.controls import Coverage, Supported, Supporter
from fwproof.report.view import number_of

SUPPORTS = (
    "A check supports a control; it does not satisfy one. The assignment is the policy author's, the judgement the"
    " assessor's."
)

_IN_A_POLICY = {
    "management": "allow of a management service", "rate": "allow with a rate", "spoofing": "evasion with spoofing",
}  # fmt: skip
"""The catalogue's words for parts of a policy, as a policy has them."""


def summary(one: Coverage) -> str:
    """Return how many controls of a framework are in which state: ``9 passing, 4 failing, 3 without a check``."""
    parts = [f"{number} {state}" for state, number in one.states.items()] or ["0 supported"]
    if not one.framework.controls:
        return f"{', '.join(parts)}; the run holds no catalogue of it, so what nothing checks is not known"
    parts.append(f"{len(one.unchecked)} without a check")
    if one.beyond:
        parts.append(f"{len(one.beyond)} that no check supports by itself")
    return ", ".join(parts)


def aside(one: Coverage) -> str:
    """Return what is left out of a framework because it is for other hosts, empty where nothing is."""
    parts = [f"{number_of(number, 'control')} for hosts of {section}" for section, number in one.aside.items()]
    return f"Left out: {', '.join(parts)}." if parts else ""


def helps(control: Control) -> str:
    """Return what would support a control that nothing checks: ``listeners or rules``."""
    words = [_IN_A_POLICY.get(word, word) for word in control.by]
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1] if words else "")))


def how(control: Control) -> str:
    """Return by which methods a control is shown: ``By examination and test.``, empty where it is by none."""
    methods = ["examination" if method == "examine" else method for method in control.methods]
    return f"By {' and '.join(methods)}." if methods else ""


def where(one: Supported, most: int = 3) -> str:
    """Return the hosts on which a control is not well, where it is on others: ``on web1, web2 and 5 more``."""
    more = f" and {len(one.hosts) - most} more" if len(one.hosts) > most else ""
    return f"on {', '.join(one.hosts[:most])}{more}" if one.hosts else ""


def said(one: Supporter) -> str:
    """Return what the checks of an expectation say: ``ollama-internal: 2 of 24 fail``."""
    verdict = one.verdict
    if verdict is None:
        return f"{one.expectation}: {number_of(one.checks, 'check')}"
    if len(one.counts) == 1:
        return f"{one.expectation}: {one.checks} {verdict}"
    return f"{one.expectation}: {one.counts.get(verdict, 0)} of {one.checks} {verdict}"


def lines(coverages: Sequence[Coverage], width: int = 100) -> Iterator[str]:
    """Yield the view as lines for a terminal, the worst of each framework first."""
    for one in coverages:
        yield f"{one.framework.title} ({one.framework.id}): {summary(one)}"
        yield ""
        for state in one.states:
            for each in one.supported:
                if each.state is state:
                    yield from _entry(state, each.control, [where(each), ", ".join(map(said, each.supporters))], width)
        for control in one.unchecked:
            yield from _entry("no checks", control, [f"would be supported by {helps(control)}"], width)
        for control in one.beyond:
            yield from _entry("beyond", control, [control.shows or control.lacks], width)
        yield ""
        if aside(one):
            yield from wrap(aside(one), width)
            yield ""
    yield from wrap(SUPPORTS, width)


def _period(control: Control) -> str:
    return f"{control.text} (every {control.review})" if control.review else control.text


def _entry(state: str, control: Control, more: Sequence[str], width: int, indent: int = 31) -> Iterator[str]:
    """Yield a control: its state and id, what it asks for from column ``indent``, and more below that."""
    head = "  ".join(["", *([f"{state:<12}"] if state else []), control.id])
    for number, line in enumerate(wrap(_period(control), max(width - indent, 30)) or [""]):
        yield f"{f'{head} ' if number == 0 else '':<{indent}}{line}".rstrip()
    for paragraph in filter(None, more):
        for line in wrap(paragraph, max(width - indent - 2, 30), subsequent_indent="  ", break_on_hyphens=False):
            yield f"{'':<{indent + 2}}{line}"


def markdown(coverages: Sequence[Coverage], *, full: bool = True) -> str:
    """Return the view as Markdown: a table of frameworks and, if ``full``, one of the controls of each."""
    rows = [f"| {_text(one.framework.title)} | {_text(summary(one))} |" for one in coverages]
    parts = ["### Controls", SUPPORTS, "\n".join(["| framework | controls |", "|---|---|", *rows])]
    for one in coverages if full else ():
        parts += [f"#### {_text(one.framework.title)}", _table(one)]
        parts += filter(None, [_text(aside(one))])
    return "\n\n".join(parts)


def _table(one: Coverage) -> str:
    made = ["| control | | asks for | checks |", "|---|---|---|---|"]
    made += [
        _row(each.control, f"{each.state} {where(each)}".rstrip(), "; ".join(map(said, each.supporters)))
        for each in one.supported
    ]
    made += [_row(each, "no checks", f"would be supported by {helps(each)}") for each in one.unchecked]
    made += [_row(each, "beyond", each.shows or each.lacks) for each in one.beyond]
    return "\n".join(made)


def _row(control: Control, state: str, checks: str) -> str:
    return f"| `{_code(control.id)}` | {_text(state)} | {_text(_period(control))} | {_text(checks)} |"


def document(coverages: Sequence[Coverage]) -> list[dict[str, Any]]:
    """Return the view for JSON: one object a framework, one a control, in the catalogue's words."""
    return [
        {
            "framework": one.framework.id,
            "title": one.framework.title,
            "source": one.framework.source,
            "controls": [
                *(_supported(each) for each in one.supported),
                *({**entry(each), "state": "no checks", "hosts": [], "supported_by": []} for each in one.unchecked),
                *({**entry(each), "state": "beyond", "hosts": [], "supported_by": []} for each in one.beyond),
            ],
            "left_out": dict(one.aside),
        }
        for one in coverages
    ]


def _supported(each: Supported) -> dict[str, Any]:
    supporters = [
        {
            "expectation": one.expectation,
            "checks": one.checks,
            "verdict": one.verdict,
            "verdicts": {verdict.value: number for verdict, number in one.counts.items()},
        }
        for one in each.supporters
    ]
    return {**entry(each.control), "state": each.state.value, "hosts": list(each.hosts), "supported_by": supporters}


def entry(control: Control) -> dict[str, Any]:
    """Return a control of the catalogue for JSON."""
    return {
        "id": control.id, "asks": control.text, "shows": control.shows, "lacks": control.lacks,
        "methods": list(control.methods), "by": list(control.by), "review": control.review, "with": control.section,
    }  # fmt: skip


def catalogue_document(framework: Framework) -> dict[str, Any]:
    """Return a framework of the catalogue for JSON."""
    controls = [entry(control) for control in framework.controls]
    return {"framework": framework.id, "title": framework.title, "source": framework.source, "controls": controls}


def catalogue_lines(framework: Framework, width: int = 100) -> Iterator[str]:
    """Yield a framework of the catalogue as lines for a terminal."""
    yield f"{framework.title} ({framework.id}), {framework.source}"
    yield ""
    for control in framework.controls:
        more = [f"{label}: {text}" for label, text in _told(control).items() if text]
        yield from _entry("", control, more, width, indent=17)
    yield ""


def _told(control: Control) -> dict[str, str]:
    methods = f" ({', '.join(control.methods)})" if control.methods else ""
    return {
        "a check shows": control.shows, "none shows": control.lacks,
        "supported by": f"{helps(control)}{methods}" if control.by else "", "hosts of": control.section,
    }  # fmt: skip


def catalogue_markdown(framework: Framework) -> str:
    """Return a framework of the catalogue as a table."""
    made = [f"### {_text(framework.title)}", "", "| control | asks for | a check shows | none shows | supported by |"]
    made.append("|---|---|---|---|---|")
    for control in framework.controls:
        told = _told(control)
        cells = (_period(control), told["a check shows"], told["none shows"], told["supported by"])
        made.append(f"| `{_code(control.id)}` | {' | '.join(map(_text, cells))} |")
    return "\n".join(made)
