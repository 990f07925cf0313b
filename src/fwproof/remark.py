"""One remark about a policy, and the kinds there are: told apart here, found by :mod:`fwproof.advice`.

They stand alone, so that a command that only names the kinds loads no policies.
"""

from __future__ import annotations

from dataclasses import dataclass

WARNINGS = (
    "unused-service", "unused-zone", "no-vantage", "one-sided", "sample-not-asked", "two-defaults", "open-to-any",
)  # fmt: skip
NOTES = ("no-samples", "unchecked", "no-controls", "no-severity", "no-owner", "unused-host", "draft")
KINDS = (*WARNINGS, *NOTES)


@dataclass(frozen=True, slots=True, order=True)
class Advice:
    """One remark about a file; line and column count from 1, as in a fault."""

    file: str
    line: int
    column: int
    kind: str
    message: str

    @property
    def is_warning(self) -> bool:
        """Whether it is more than a note."""
        return self.kind in WARNINGS

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.kind}: {self.message}"
