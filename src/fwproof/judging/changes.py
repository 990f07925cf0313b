"""Changes of meaning in words for a report."""

from __future__ import annotations

from fwproof.decision import RuleRef
from fwproof.semantics.diff import Change, Kind

SHOWN = 3
"""Changes that a reason tells; the evidence has all."""
_WORDS = {
    Kind.REACHABLE: "became reachable", Kind.UNREACHABLE: "stopped being reachable",
    Kind.ANSWER: "is refused otherwise", Kind.UNKNOWN: "is not known",
}  # fmt: skip
_LATER = {
    Kind.REACHABLE: "would be reachable after a boot", Kind.UNREACHABLE: "would not be reachable any more after a boot",
    Kind.ANSWER: "would be refused otherwise after a boot", Kind.UNKNOWN: "is not known",
}  # fmt: skip


def told(change: Change, *, later: bool = False) -> str:
    """Return a change as a sentence; ``later``: it is what the next boot would bring, not what has happened."""
    rooms = ", ".join(map(str, change.rooms)) + (" and more" if change.more else "")
    states = "/".join(change.states) if len(change.states) < SHOWN else "most states"
    depends = f"; depends on {', '.join(change.depends_on)}" if change.depends_on else ""
    then, now = ("now", "then") if later else ("before", "now")
    return (
        f"{(_LATER if later else _WORDS)[change.kind]} at {change.hook} ({states}): {rooms}: {then}"
        f" {_fate(change.before)}, {now} {_fate(change.after)}; for example {change.witness}{depends}"
    )


def _fate(fate: tuple[str, RuleRef | None]) -> str:
    return f"{fate[0]} by {fate[1]}" if fate[1] else fate[0]
