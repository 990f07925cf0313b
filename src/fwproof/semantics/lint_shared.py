"""Findings about tables that both address families share: what is wrong with a rule for one of them may be its purpose.

A rule of an ``inet`` table such as ``ip saddr 10.0.0.1 accept`` takes no IPv6 packet, and is not in vain for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fwproof.flow import Family
from fwproof.semantics.lint_finding import Finding, Kind

_SHARED = frozenset({"inet", "netdev"})


def of_both(found: Mapping[Family, Sequence[Finding]]) -> list[tuple[Family, Finding]]:
    """Return the findings of all families, without those on shared rules that have a use in one of them.

    ``found`` holds what was found in every family that was looked at. A rule that allows too much does so in one
    family alone as well. One that no packet of a family fits is about the other family, which says what is wrong.
    """
    wrong = [{each.rule: each.kind for each in findings} for findings in found.values()]

    def stands(each: Finding) -> bool:
        if each.kind is Kind.OVER_BROAD or each.rule.family not in _SHARED:
            return True
        kinds = {rules.get(each.rule) for rules in wrong}
        return None not in kinds and (each.kind is not Kind.NEVER or kinds == {Kind.NEVER})

    return [(family, each) for family, findings in found.items() for each in findings if stands(each)]
