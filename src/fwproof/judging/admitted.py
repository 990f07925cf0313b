"""What a limit let in over time, for whoever wants to see it: the attempts of each source, as both ends saw them."""

from __future__ import annotations

from collections.abc import Sequence

from fwproof.measured import Attempt
from fwproof.policy.model import Rate
from fwproof.results import Admissions, Attempts

_LETTERS = {True: "y", False: "n", None: "?"}
_PLACES = 4
"""Decimal places of a second; a capture tells no finer what two hosts agree on."""


def admissions_of(rate: Rate, attempts: Sequence[Attempt]) -> Admissions | None:
    """Return the attempts by source, in order of time; None where none was sent.

    One whose time nobody saw (0) is left out.
    """
    timed = sorted((attempt for attempt in attempts if attempt.at), key=lambda attempt: attempt.at)
    by_source: dict[str, list[Attempt]] = {}
    for attempt in timed:
        by_source.setdefault(attempt.source, []).append(attempt)
    series = [
        Attempts(
            source=source, at=[round(one.at - timed[0].at, _PLACES) for one in own],
            fates="".join(_LETTERS[one.let_in] for one in own),
        )
        for source, own in by_source.items()
    ]  # fmt: skip
    return Admissions(limit=rate.limit, per=rate.per, by=rate.by, series=series) if series else None
