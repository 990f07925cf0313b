"""Whether what the wire showed of one packet is what the tables do with it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from fwproof.decision import Decision, Ruling
from fwproof.flow import ICMP, ICMPV6, TCP, Family, Flow
from fwproof.observation import PortState
from fwproof.probing.packets import Packet
from fwproof.semantics.traced import Traced

_LET_IN = frozenset({PortState.OPEN, PortState.CLOSED, PortState.REPLY_LOST})
_ANSWERS = {
    "net-unreachable": (0, 0), "no-route": (0, 0), "host-unreachable": (1, 3), "addr-unreachable": (1, 3),
    "proto-unreachable": (2, None), "prot-unreachable": (2, None), "port-unreachable": (3, 4),
    "net-prohibited": (9, None), "host-prohibited": (10, None), "admin-prohibited": (13, 1),
    "adm-prohibited": (13, 1), "policy-fail": (None, 5), "reject-route": (None, 6),
}  # fmt: skip
"""ICMP and ICMPv6 codes of the answers that REJECT and nft's reject give (ipt_reject.h, ip6t_reject.h, nf_tables.h)."""


class Agreement(StrEnum):
    """How a prediction and an observation compare."""

    AGREES = "agrees"
    OBSERVED_ONLY = "observed-only"
    """The tables do not say what happens (a rule could not be read); the wire does."""
    UNDECIDED = "undecided"
    """The wire does not say."""
    DISAGREES = "disagrees"


@dataclass(frozen=True, slots=True)
class Compared:
    """An agreement and the reason for any other."""

    agreement: Agreement
    why: str = ""


def compare(flow: Flow, ruling: Ruling, reply: Ruling | None, state: PortState, answer: str | None) -> Compared:
    """Compare what the tables do with a flow and with its answer with what became of it on the wire."""
    if state in _LET_IN:
        return _is(Decision.ACCEPT, ruling, f"it was let in ({state.value})")
    if state is PortState.REJECTED:
        return _rejected(flow, ruling, answer)
    if state is PortState.SILENT:
        return _silent(ruling)
    if state is PortState.ACCEPTED_SILENT:
        return _mute(flow, ruling, reply)
    return Compared(Agreement.UNDECIDED, "the wire does not say")


def by_trace(found: Compared, traced: Traced | None) -> Compared:
    """Return a comparison with what a trace adds: it tells what the wire leaves open, and who else decided."""
    if traced is None or traced.agrees is None or found.agreement is Agreement.DISAGREES:
        return found
    if not traced.agrees:
        return Compared(Agreement.DISAGREES, traced.why)
    return Compared(Agreement.AGREES) if found.agreement is Agreement.UNDECIDED else found


def _is(decision: Decision, ruling: Ruling, seen: str) -> Compared:
    if decision in ruling.may:
        return Compared(Agreement.OBSERVED_ONLY if Decision.UNKNOWN in ruling.may else Agreement.AGREES)
    if Decision.UNKNOWN in ruling.may:
        return Compared(Agreement.OBSERVED_ONLY)
    return Compared(Agreement.DISAGREES, f"{seen}, the tables say {ruling.decision.value}")


def _rejected(flow: Flow, ruling: Ruling, answer: str | None) -> Compared:
    found = _is(Decision.REJECT, ruling, f"it was rejected ({answer})")
    wanted = answer_of(flow, ruling.reject_with)
    if found.agreement is not Agreement.AGREES or wanted is None or answer is None or wanted == answer:
        return found
    return Compared(Agreement.DISAGREES, f"it was rejected with {answer}, the tables say with {wanted}")


def _silent(ruling: Ruling) -> Compared:
    if Decision.DROP in ruling.may or Decision.UNKNOWN in ruling.may:
        return _is(Decision.DROP, ruling, "it was dropped")
    if Decision.REJECT in ruling.may and "reset" not in (ruling.reject_with or ""):
        return Compared(
            Agreement.UNDECIDED, "the tables reject it, and the kernel limits how many ICMP errors it sends"
        )
    return Compared(Agreement.DISAGREES, f"it was dropped, the tables say {ruling.decision.value}")


def _mute(flow: Flow, ruling: Ruling, reply: Ruling | None) -> Compared:
    found = _is(Decision.ACCEPT, ruling, "conntrack says that it was let in")
    if found.agreement is Agreement.AGREES and flow.proto == TCP and reply is not None and reply.accepted:
        return Compared(Agreement.UNDECIDED, "it was let in, and no answer left, which the tables do not explain")
    return found


def answer_of(flow: Flow, reject_with: str | None) -> str | None:
    """Return what a reject rule's answer is called on the wire, None where that is not known."""
    words = (reject_with or "").lower()
    if "reset" in words or "tcp-rst" in words:
        return "RST"
    name = re.sub(r"^icmp(x|6|v6)?[- ]", "", words.replace("icmpx type ", "icmpx "))
    six = flow.family is Family.IPV6
    code = _ANSWERS.get(name, (None, None))[six]
    if code is None:
        return None
    kind, proto = (1, ICMPV6) if six else (3, ICMP)
    return Packet(src=flow.dst, dst=flow.src, proto=proto, icmp_type=kind, icmp_code=code).kind
