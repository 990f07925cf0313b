"""Since when checks deviate, by the runs that a folder already had when a run was written into it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Age:
    """Since when a check deviates, waived or not, without a run in between in which it was as expected.

    ``since`` is when the first such run began (UTC, ISO 8601), ``run`` its id; ``runs`` counts those in which it
    deviates, the one that tells of it among them. ``at_least``: no run before that one had an answer that ends it, so
    that it may be older.
    """

    since: str
    run: str
    runs: int
    at_least: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """The earlier runs of a folder, as far as they were looked at for the ages of what deviates.

    ``runs`` is how many were read: the newest ones, until every age was known. ``unread`` are those that could not
    be, each with the reason, and what was left out for its number. ``ages`` are those of checks that fail or are
    waived, by the check's id.
    """

    runs: int
    unread: list[str]
    ages: dict[str, Age] = field(default_factory=dict)
