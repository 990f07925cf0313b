"""Judging: one expectation against what was proved, observed and attributed; pure, and one judge per kind."""

from fwproof.judging.judge import judge

__all__ = ["judge"]
