"""Two comparisons with ``!=`` that nft may have joined into one.

nft joins comparisons of fields that stand next to one another in a header (payload_do_merge() in its rule.c), those
with ``!=`` as well: it loads ``tcp sport != 1 tcp dport != 2`` as "the four bytes are not 1 and 2", which is *or* where
the rule says *and*, and lists it as it was written. The list does not show which of the two the kernel has, as other
programs than nft load rules too; so where they differ an oracle decides, one for all rules.
"""

from __future__ import annotations

from collections.abc import Mapping

from fwproof.ruleset.asks import AnyOf, Literal, Oracle
from fwproof.ruleset.nft import Json

JOINED = Oracle("listing", "whether nft joined two comparisons with != into one, which it lists as two")

_PORTED = ("tcp", "udp", "sctp", "dccp", "udplite", "th")
_NEIGHBOURS = frozenset({
    *((protocol, "sport", "dport") for protocol in _PORTED), ("icmp", "type", "code"), ("icmpv6", "type", "code"),
    ("ip", "ttl", "protocol"), ("ip6", "nexthdr", "hoplimit"), ("ip", "length", "id"), ("ip", "id", "frag-off"),
    ("ether", "saddr", "type"),
})  # fmt: skip
"""Fields that stand side by side and fill two, four or eight bytes; addresses are too long to be joined."""


def neighbours(first: Json, second: Json) -> bool:
    """Whether two statements compare neighbouring fields with single values by ``!=``."""
    fields = [_field(statement) for statement in (first, second)]
    if None in fields:
        return False
    (protocol, one), (other, two) = (each or ("", "") for each in fields)
    return protocol == other and ((protocol, one, two) in _NEIGHBOURS or (protocol, two, one) in _NEIGHBOURS)


def _field(statement: Json) -> tuple[str, str] | None:
    body = statement.get("match") if isinstance(statement, dict) and len(statement) == 1 else None
    if not isinstance(body, Mapping) or body.get("op") != "!=" or not isinstance(body.get("right"), str | int):
        return None
    left = body.get("left")
    payload = left.get("payload") if isinstance(left, dict) else None
    if not isinstance(payload, dict) or str(body["right"]).startswith("@"):
        return None
    protocol, name = payload.get("protocol"), payload.get("field")
    return (protocol, name) if isinstance(protocol, str) and isinstance(name, str) else None


def joined(first: Literal, second: Literal, text: str) -> AnyOf:
    """Return the test of two comparisons: both hold, or one of them where they were joined."""
    return AnyOf(((first, second), (first, (JOINED, False)), (second, (JOINED, False))), text)
