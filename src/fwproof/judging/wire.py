"""What the wire says of one probe: in words, and in the one bit that matters, whether it was let through."""

from __future__ import annotations

from fwproof.decision import Decision
from fwproof.errors import HostError
from fwproof.facts import FlowFacts
from fwproof.observation import Observation, PortState
from fwproof.semantics.traced import Traced

_IN_WORDS = {
    PortState.OPEN: "arrived, and a service answered",
    PortState.CLOSED: "arrived and was let in; nobody listens",
    PortState.REJECTED: "arrived, and a rule rejected it",
    PortState.ACCEPTED_SILENT: "arrived and was let in (conntrack confirmed it); no answer left the host",
    PortState.SILENT: "arrived at the host and was dropped there",
    PortState.REPLY_LOST: "arrived and was answered; the answer was lost on the way back",
    PortState.NEVER_ARRIVED: "never arrived",
    PortState.REFUSED_LOCALLY: "was stopped by the sender's own output rules",
    PortState.UNREACHABLE: "found no neighbour or no route",
    PortState.NO_ANSWER: "left no answer from which the wire can be read",
}


ELSEWHERE = "something else answers at the host's address"
"""The cause where a service answered that is not the host's; equal causes are one finding."""
_UNSEEN = "could not be observed"
_SELF_EVIDENT = {PortState.SILENT, PortState.ACCEPTED_SILENT, PortState.REFUSED_LOCALLY, PortState.REJECTED}
"""States whose words say what the prober's note says."""


_BEYOND = {
    PortState.OPEN: "a service answered", PortState.CLOSED: "nobody listens there",
    PortState.REJECTED: "the far end refused it", PortState.ACCEPTED_SILENT: "no answer left the far end",
    PortState.SILENT: "the far end dropped it", PortState.REPLY_LOST: "the answer was lost on the way back",
    PortState.NEVER_ARRIVED: "it never came to the far end",
    PortState.NO_ANSWER: "what became of it there is not known",
}  # fmt: skip
"""What became of a probe that the host on the way has passed on."""


def _words(seen: Observation) -> str:
    passage = seen.passage
    if passage is None or not passage.came:
        return _IN_WORDS[seen.state]
    if not passage.went:
        verb = "refused" if passage.refusal else "dropped"
        return f"came to {passage.host} and was {verb} there"
    after = passage.after
    turned = after is not None and (after.src, after.dst, after.dport) != (
        seen.probe.flow.src, seen.probe.flow.dst, seen.probe.flow.dport
    )  # fmt: skip
    rewritten = f" as {after}" if turned else ""
    return f"{passage.host} passed it on{rewritten}; {_BEYOND.get(seen.state, _IN_WORDS[seen.state])}"


def observed_words(facts: FlowFacts) -> str:
    """Return what became of the probe in one or two sentences."""
    seen = facts.observation
    if seen is None:
        return "no probe was sent"
    if isinstance(seen, HostError):
        return f"{_UNSEEN}: {seen}"
    words = f"{seen.probe.flow}: {_words(seen)}"
    if seen.answer:
        words += f" ({seen.answer})"
    if seen.sent > 1:
        words += f", after {seen.sent} packets"
    if seen.note and seen.state not in _SELF_EVIDENT:
        words += f". {seen.note}"
    return words.rstrip(".") + _connected_words(facts)


def _connected_words(facts: FlowFacts) -> str:
    if facts.connected is None:
        return ""
    if isinstance(facts.connected, HostError):
        return f". A full connection could not be tried: {facts.connected}"
    return f". A full connection {'stood' if facts.connected.ok else 'failed'}: {facts.connected.detail}"


_REACHED = {
    PortState.OPEN: True, PortState.CLOSED: True, PortState.ACCEPTED_SILENT: True, PortState.REPLY_LOST: True,
    PortState.NEVER_ARRIVED: False, PortState.UNREACHABLE: False, PortState.NO_ANSWER: None,
}  # fmt: skip


def reached_in_words(said: str, direction: str | None) -> bool | None:
    """Return what :func:`observed_words` says of a probe that a run kept: whether it got where it was sent to.

    Inbound that is past the audited host's rules, outbound off the host, forward past it. Of a packet that never
    arrived it tells no more than that something was in its way. None where the words do not tell.
    """
    head, _, words = said.partition(": ")
    if head == _UNSEEN:
        return None
    if " passed it on" in words.partition(";")[0]:
        return True
    if words.startswith("came to ") and words.split(" (")[0].endswith((" refused there", " dropped there")):
        return False
    state = next((state for state, known in _IN_WORDS.items() if words.startswith(known)), None)
    if state in {PortState.SILENT, PortState.REJECTED}:
        return direction == "outbound"
    if state is PortState.REFUSED_LOCALLY:
        return False if direction == "outbound" else None
    return None if state is None else _REACHED[state]


def let_through(seen: Observation, direction: str | None) -> bool | None:
    """Whether the audited host's tables let the probe through; None when the wire cannot tell.

    Forward, what the host itself showed decides, and where nobody watched there, that it came to the far end. Inbound,
    the audited host is the receiver. Outbound it is the sender: a packet that arrived anywhere, or that was answered,
    got out; one that its own output rules stopped did not.
    """
    if seen.probe.through is not None:
        if seen.passage is not None:
            return seen.passage.went if seen.passage.came else None
        return True if seen.arrived else None
    if direction != "outbound":
        return seen.let_in
    if seen.state is PortState.REFUSED_LOCALLY:
        return False
    if seen.arrived or seen.answered_for or seen.state in {PortState.OPEN, PortState.CLOSED, PortState.REPLY_LOST}:
        return True
    return None


def traced_through(facts: FlowFacts) -> bool | None:
    """Whether the rules that a probe met let it through; None when no trace tells."""
    if facts.traced is None or not facts.traced.path.conclusive:
        return None
    return facts.traced.path.decision is Decision.ACCEPT


def attribution_fault(known: FlowFacts) -> tuple[str, str] | None:
    """Return cause and reason where the kernel has another rule decide than the model; a trace outranks a counter."""
    if known.traced is not None and known.traced.agrees is not None:
        return None if known.traced.agrees else ("model and trace disagree", known.traced.why)
    if known.counted is not None and not known.counted.confirms:
        return "model and counters disagree", "the rule that should have decided did not count the packets"
    return None


def evidence_lines(facts: FlowFacts) -> tuple[str, ...]:
    """Return the packets, counters and log lines behind an answer, one line each."""
    lines = [f"rule met: {step.rule} -> {step.action}" for step in facts.ruling.trace if step.matched != "no"][-6:]
    if isinstance(facts.observation, Observation):
        lines += [f"{p.host} {p.direction} {p.summary}" for p in facts.observation.packets[:8]]
    if facts.traced is not None:
        lines.append(f"trace: {facts.traced.path}")
    if facts.counted is not None:
        lines.append(f"counter: {facts.counted.rule}: {facts.counted}")
    if facts.stopped:
        lines.append(f"path: {facts.stopped}")
    if facts.logged is not None:
        lines.append(f"log: {facts.logged.text}")
    return tuple(lines)


def attributed_words(facts: FlowFacts) -> str:
    """Return the kernel's own evidence for who decided."""
    words = [] if facts.traced is None else [_traced_words(facts.traced)]
    if facts.counted is not None:
        verb = "confirms" if facts.counted.confirms else "does NOT confirm"
        words.append(f"the counter of {facts.counted.rule} {verb} it: {facts.counted}")
    if isinstance(facts.observation, Observation) and facts.observation.confirmed:
        words.append("conntrack reported the new connection")
    if facts.logged is not None:
        words.append(f"logged as “{facts.logged.prefix}”")
    return "; ".join(filter(None, words))


def _traced_words(traced: Traced) -> str:
    """Return what the trace says of who decided."""
    path = traced.path
    if traced.agrees is None or path.by is None:
        return f"trace: {traced.why or 'it met no rule'}" if path.begun else ""
    return f"trace: {path.by} ({path.decision})" + (f", of {len(path.met)} rules met" if path.met[1:] else "")
