"""Reading what a traced host tells of the rules that probes met, as the kernel numbers and words it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fwproof.observation import Handles, RuleEvent
from fwproof.probing.agent import TRACE_TABLE

_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}  # netfilter.h, NFPROTO_*
TRIGGER = TRACE_TABLE.rstrip(b"\0").decode()
_KINDS = {1: "policy", 2: "return", 3: "rule"}  # nf_tables.h, NFT_TRACETYPE_*
_VERDICTS = {
    0: "drop", 1: "accept", 2: "stolen", 3: "queue", 4: "repeat", 5: "accept", -1: "continue", -2: "continue",
    -3: "jump", -4: "goto", -5: "return",
}  # fmt: skip
"""Codes of verdicts (netfilter.h, NF_*; nf_tables.h, NFT_*); NF_STOP accepts, a number above is a queue's."""
_LEGACY = re.compile(r"TRACE: (?P<table>[^:]+):(?P<chain>.+):(?P<kind>rule|return|policy):(?P<number>\d{1,9})")
"""The prefix of a legacy TRACE message; a chain's name may have colons, a table's has none (ip_tables.c)."""


def event_of(host: str, row: Sequence[Any]) -> RuleEvent:
    """Return what one row of the agent says; ValueError, TypeError or IndexError when it is none."""
    family = _FAMILIES.get(int(row[1]), f"family {int(row[1])}")
    if len(row) == 3:
        found = _LEGACY.match(str(row[2]))
        if found is None:
            raise ValueError(f"no message of a trace: {row[2]!r:.80}")
        return RuleEvent(
            host=host, legacy=True, family=family, table=_name(found["table"]), chain=_name(found["chain"]),
            kind=found["kind"], number=int(found["number"]),
        )  # fmt: skip
    _, _, table, chain, kind, handle, code, _, policy, packet = row
    word = "begin" if table == TRIGGER else _KINDS.get(kind, "other")
    told = policy if word == "policy" else code
    code = -128 if told is None else int(told)
    verdict = _VERDICTS.get(code & 0xFF if code > 0 else code, "unknown")
    return RuleEvent(
        host=host, family=family, table=_name(table), chain=_name(chain), kind=word, number=int(handle or 0),
        verdict=verdict, packet=_name(packet),
    )  # fmt: skip


def _name(text: object) -> str:
    """Return a name as the kernel may have it, whatever the host says (NFT_NAME_MAXLEN is 256)."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(text)[:256])


def handles_of(answer: Mapping[str, Any]) -> Handles:
    """Return the handles of each chain's rules from the agent's answer; what is none raises as event_of."""
    return {
        (_FAMILIES.get(int(family), f"family {int(family)}"), str(table), str(chain)): tuple(map(int, handles))
        for family, table, chain, handles in answer["rules"]
    }
