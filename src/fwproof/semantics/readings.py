"""What was read of a host, and what not."""

from __future__ import annotations

from fwproof.flow import Family
from fwproof.ruleset import iptables
from fwproof.ruleset.model import Ruleset
from fwproof.semantics.addresses import Route as Road
from fwproof.semantics.addresses import (
    parse_routes,
)  # fmt: skip


def routes_of(text: str | None, source: str, family: Family) -> tuple[Road, ...]:
    """Return the routes of a family that a text lists; raises InputError naming ``source``."""
    parsed = () if text is None else parse_routes(text, source, family if text and ":" in text else None)
    return tuple(each for each in parsed if Family.of(each.network) is family)


def unread_of(family: Family, rulesets: tuple[Ruleset, ...]) -> tuple[str, ...]:
    """Return why the rules of a family are not all known."""
    program = "iptables" if family is Family.IPV4 else "ip6tables"
    if not rulesets:
        return (f"the rules of {program} were not read",)
    reasons = []
    if any(r.mentions_legacy for r in rulesets) and not any(r.backend == "legacy" for r in rulesets):
        reasons.append(f"{program}-save says that there are legacy tables as well, and they were not read")
    reasons += [
        f"{ruleset.source}:{unparsed.line}: {unparsed.reason}"
        for ruleset in rulesets
        for unparsed in ruleset.unparsed
        if unparsed.table not in iptables.BUILT_IN or unparsed.table not in ruleset.tables
    ]
    return tuple(reasons)
