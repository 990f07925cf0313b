"""Judging claims over the whole packet space."""

from __future__ import annotations

from fwproof.errors import HostError
from fwproof.facts import Facts
from fwproof.plan import Check
from fwproof.results import Outcome


def judge_default(check: Check, facts: Facts) -> Outcome:
    raise HostError(check.host, "not yet")


def judge_claim(check: Check, facts: Facts) -> Outcome:
    raise HostError(check.host, "not yet")
