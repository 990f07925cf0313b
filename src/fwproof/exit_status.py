"""The exit status of an audit: pytest's 0 to 5, and 6 where nothing failed but something is undetermined.

::

    0  as expected (waived deviations included)    3  internal error
    1  a violation                                 4  bad input
    2  interrupted                                 5  nothing was tested
                                                   6  nothing failed, but something is undetermined
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fwproof.results import Verdict

SEVERITIES = ("critical", "high", "medium", "low")
"""The severities of a policy, worst first."""
UNDETERMINED = 6
_NOTHING_TESTED = 5
_SETTLED = (0, 1)
"""What pytest says of a session that ran to its end; every other status stands."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What a job is to stop at. Neither changes what is found, reported or shown.

    ``fail_on``: violations and open questions below this severity leave the status alone; None for no bound. What
    could not be told counts as what it might be. ``exit_zero``: violations and open questions end with 0, for jobs
    that only report; what kept the audit itself from working does not. ``strict_waivers``: what is waived counts as
    the violation that it is.
    """

    fail_on: str | None = None
    exit_zero: bool = False
    strict_waivers: bool = False

    def counts(self, severity: str) -> bool:
        """Whether a finding of this severity counts; one that is not known does."""
        if self.fail_on is None or severity not in SEVERITIES:
            return True
        return SEVERITIES.index(severity) <= SEVERITIES.index(self.fail_on)

    def status(
        self, found: Collection[tuple[str, Verdict]], status: int, *, others_failed: int, alone: bool,
        unjudged: Collection[str] = (),
    ) -> int:  # fmt: skip
        """Return the exit status for checks as severity and verdict, where pytest's own is ``status``.

        ``others_failed`` is how many tests failed that are no checks of a policy; ``alone`` says that the session
        had none, so that a run that tested nothing is no success. ``unjudged`` are the severities of checks that were
        to be judged when the session ended (``-x``): nothing is known of them.
        """
        if status not in _SETTLED or others_failed > 0:
            return status
        counted = {verdict for severity, verdict in found if self.counts(severity)}
        if Verdict.FAIL in counted or (self.strict_waivers and Verdict.WAIVED in counted):
            return 0 if self.exit_zero else 1
        if counted & {Verdict.ERROR, Verdict.INCONCLUSIVE} or any(map(self.counts, unjudged)):
            return 0 if self.exit_zero else UNDETERMINED
        if alone and all(verdict is Verdict.NOT_APPLICABLE for _, verdict in found):
            return _NOTHING_TESTED
        return 0
