"""The walk of a packet, or of a set of packets, through the base chains of a route, as the kernel does it.

Accept ends one base chain, drop ends the packet (nf_hook_slow). RETURN in a base chain leads to its default;
after goto, RETURN and the end of the chain lead to the caller's caller (ip_tables.c, nf_tables_core.c).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from fwproof.decision import Decision, RuleRef, Step
from fwproof.ruleset.model import Act, Rule
from fwproof.semantics.bdd_calls import CALLS
from fwproof.semantics.context import Question
from fwproof.semantics.lookup import Candidates, Lookup
from fwproof.semantics.stages import Carry, Exit, Route, Stage, Turn
from fwproof.semantics.subject import Subject
from fwproof.semantics.trail import Accepted, Frame, Leaf, Link, Missed, State, agree, decisive, given, harmless, items

__all__ = ["MAX_LEAVES", "MAX_STEPS", "Frame", "Leaf", "Link", "Stage", "TooLarge", "Walker"]

S = TypeVar("S", bound=Subject)

_ENDS = {
    Act.DROP: Decision.DROP, Act.REJECT: Decision.REJECT,
    Act.UNKNOWN: Decision.UNKNOWN, Act.ELSEWHERE: Decision.UNKNOWN,
}  # fmt: skip
"""What a packet's way ends with at rules after which it goes no further; a base chain's ACCEPT only ends that chain."""
_TRANSLATES = frozenset({Act.SOURCE_NAT, Act.DESTINATION_NAT})
_CHANGES = frozenset({Act.MARK, Act.CONNMARK, Act.NOTRACK, Act.CHANGE})

MAX_STEPS = 2_000_000
"""Rules looked at in one walk, over all branches; more is answered as unknown instead of waiting."""
MAX_LEAVES = 500
"""Ends of a walk of one packet: combinations of oracle answers that matter to the way it takes.

Well below Python's recursion limit, since the tree of the questions can be as deep as it has ends.
"""
DEEPEST = 512
"""How deep chains may call one another; nft allows 16 (NFT_JUMP_STACK_SIZE), and nobody writes more."""


class TooLarge(Exception):
    """A walk has more branches than it may have; the message says which limit was met."""


class Walker(Generic[S]):
    """Walks subjects along one route; ``traced`` keeps every step, which sets of packets do without.

    With ``lookup`` rules that the header rules out are passed over and leave no step; the ends are the same.
    """

    def __init__(
        self, route: Route, *, traced: bool = True, lookup: Lookup[S] | None = None, leaves: int = MAX_LEAVES,
        steps: int = MAX_STEPS,
    ) -> None:  # fmt: skip
        self.route = route
        self.traced = traced
        self.lookup = lookup
        self.max_leaves = leaves
        self.max_steps = steps
        self.steps = 0
        self._pending: list[State[S] | Leaf[S]] = []
        self._found: dict[tuple[int, str], tuple[S, Candidates]] = {}

    def walk(self, subject: S, choices: Sequence[tuple[Question, bool]] = ()) -> Iterator[Leaf[S]]:
        """Yield every end of the walk; ``choices`` are answers given beforehand. Raises TooLarge."""
        link = None
        for choice in choices:
            link = Link(link, choice)
        found = self._enter(0, subject, link, None, None)
        step = self._step if self.lookup is None else self._leap
        leaves = 0
        while True:
            while isinstance(found, State):
                self.steps += 1
                found = step(found)
                if self.steps > self.max_steps:
                    raise TooLarge(f"more than {self.max_steps} rules were looked at")
            if found is not None:
                leaves += 1
                if leaves > self.max_leaves:
                    raise TooLarge(f"more than {self.max_leaves} combinations decide it")
                yield found
            if not self._pending:
                return
            found = self._pending.pop()

    def _enter(
        self, at: int, subject: S, choices: Link | None, trace: Link | None, accepted: Accepted | None
    ) -> State[S] | Leaf[S] | None:
        """Go to the next base chain that sees the packet, to a routing decision, or to the end of the way."""
        while at < len(self.route):
            here = self.route[at]
            if isinstance(here, Carry):
                subject, trace = self._carried(here, subject, trace)
            elif not isinstance(here, Stage) or not here.nat or subject.meets_nat(here.context):
                break
            at += 1
        if at == len(self.route) or isinstance(here, Exit):
            return Leaf(Decision.ACCEPT, accepted.by if accepted else None, subject, items(choices), items(trace))
        if isinstance(here, Turn):
            return self._turn(here, subject, choices, trace, accepted)
        assert isinstance(here, Stage)
        if here.blind:
            return Leaf(Decision.UNKNOWN, None, subject, items(choices), items(trace), reason=here.blind)
        frame = Frame(here.chain, 0, None, frozenset([here.chain.name]))
        return State(at, frame, 0, subject, choices, trace, accepted)

    def _carried(self, here: Carry, subject: S, trace: Link | None) -> tuple[S, Link | None]:
        """Let conntrack translate a later packet of a connection, and say so."""
        after, note = subject.carried(here.context)
        if note and self.traced:
            ref = RuleRef(family=here.family, table="conntrack", chain=here.context.hook.upper(), rule=None, text=note)
            trace = Link(trace, Step(rule=ref, matched="yes", action=note))
        return after, trace

    def _turn(
        self, turn: Turn, subject: S, choices: Link | None, trace: Link | None, accepted: Accepted | None
    ) -> State[S] | Leaf[S] | None:
        found: list[State[S] | Leaf[S] | None] = []
        for way in turn.decide(subject):
            given, possible = agree(choices, way)
            if possible and way.dropped:
                ref = RuleRef(family=turn.family, table="routing", chain="routing", rule=None, text=way.dropped)
                step = Link(trace, Step(rule=ref, matched="yes", action="DROP", note="the kernel's routing"))
                steps = items(step) if self.traced else ()
                found.append(Leaf(Decision.DROP, ref, way.subject, items(given), steps, reason=way.dropped))
            elif possible:
                found.append(self._enter(way.to, way.subject, given, trace, accepted))
        return self._first(found)

    def _first(self, found: list[State[S] | Leaf[S] | None]) -> State[S] | Leaf[S] | None:
        """Go on with the first of several ways, and keep the others for later."""
        real = [each for each in found if each is not None]
        self._pending.extend(real[:0:-1])
        return real[0] if real else None

    def _step(self, state: State[S]) -> State[S] | Leaf[S] | None:
        frame = state.frame
        if frame.at >= len(frame.chain.rules):
            return self._return(state)
        rule = frame.chain.rules[frame.at]
        missed = self._matched(state, rule, state.match)
        if isinstance(missed, Missed):
            return self._next(state, missed.subject, self._no(state, rule, missed.match))
        return missed

    def _matched(self, state: State[S], rule: Rule, first: int) -> State[S] | Leaf[S] | Missed[S] | None:
        """Ask a rule's matches, from the one at ``first`` on, and let it act where they hold."""
        context, visit = self._stage(state).context, state.frame.visit
        subject = state.subject
        for index in range(first, len(rule.matches)):
            parts = tuple(subject.split(rule.matches[index], context, rule.ref, visit))
            if len(parts) == 1 and isinstance(parts[0][0], bool):
                answer, subject = parts[0]
                if not answer:
                    return Missed(subject, index)
            else:
                found = [after for part in parts for after in self._branch(state, rule, index, part)]
                self._pending.extend(found[:0:-1])
                return found[0]
        return self._apply(state if subject is state.subject else state._replace(subject=subject), rule)

    def _leap(self, state: State[S]) -> State[S] | Leaf[S] | None:
        """Go on to the next rule that the header does not rule out; those between count as steps."""
        frame, known = state.frame, state.match
        if not known:
            found = self._candidates(state)
            left, at = found.rules >> frame.at, frame.at
            if not left:
                self.steps += len(frame.chain.rules) - at
                return self._return(state)
            skipped = (left & -left).bit_length() - 1
            if skipped or state.asked:
                self.steps += skipped
                at += skipped
                frame = Frame(frame.chain, at, frame.back, frame.path, frame.visit)
                state = State(
                    state.stage, frame, 0, state.subject, state.choices, state.trace, state.accepted, state.calls
                )  # fmt: skip
            known = 0 if found.asked and found.asked >> at & 1 else found.known[at]
        rule = frame.chain.rules[frame.at]
        if known == len(rule.matches):
            return self._apply(state, rule)
        missed = self._matched(state, rule, known)
        if isinstance(missed, Missed):
            return self._next(state, missed.subject, self._no(state, rule, missed.match))
        return missed

    def _candidates(self, state: State[S]) -> Candidates:
        """Return the rules of the present chain that the subject may meet; it is the same until a rule changes it."""
        assert self.lookup is not None
        chain, subject = state.frame.chain, state.subject
        key = (state.stage, chain.name)
        known = self._found.get(key)
        if known is None or known[0] is not subject:
            known = self._found[key] = (
                subject,
                self.lookup.candidates(chain, subject, self._stage(state).context, idle=self.traced),
            )
        return known[1]

    def _branch(self, state: State[S], rule: Rule, index: int, part: tuple[bool | Question, S]) -> Iterator[State[S]]:
        """Yield the states that one part of the subject goes on in, one for each answer to its question."""
        answer, subject = part
        if isinstance(answer, bool):
            yield self._held(state, rule, index, subject, state.choices, holds=answer)
            return
        known = given(state.choices, answer)
        if known is not None:
            yield self._held(state, rule, index, subject, state.choices, holds=known != answer.turned)
        elif harmless(rule, index):
            yield self._next(state, subject, self._note(state, rule, "depends", answer.name))
        else:
            for value in (not answer.turned, answer.turned):
                choices = Link(state.choices, (answer, value))
                yield self._held(state, rule, index, subject, choices, holds=value != answer.turned)

    def _held(  # noqa: PLR0913 - what a state is made of
        self, state: State[S], rule: Rule, index: int, subject: S, choices: Link | None, *, holds: bool
    ) -> State[S]:
        asked = rule.matches[index].text if choices is not None and choices is not state.choices else state.asked
        if holds:
            return state._replace(match=index + 1, subject=subject, choices=choices, asked=asked)
        trace = self._note(state, rule, "depends" if asked else "no", f"not {rule.matches[index].text}")
        return self._next(state._replace(choices=choices), subject, trace)

    def _next(self, state: State[S], subject: S, trace: Link | None) -> State[S]:
        frame = state.frame
        after = Frame(frame.chain, frame.at + 1, frame.back, frame.path, frame.visit)
        return State(state.stage, after, 0, subject, state.choices, trace, state.accepted, state.calls)

    def _no(self, state: State[S], rule: Rule, index: int) -> Link | None:
        return self._note(state, rule, "no", f"not {rule.matches[index].text}") if self.traced else None

    def _note(self, state: State[S], rule: Rule, matched: str, note: str = "") -> Link | None:
        if not self.traced:
            return None
        action = rule.target.text or "continue"
        return Link(state.trace, Step(rule=rule.ref, matched=matched, action=action, note=note))

    def _apply(self, state: State[S], rule: Rule) -> State[S] | Leaf[S] | None:
        target, act = rule.target, rule.target.act
        decision = _ENDS.get(act)
        matched, trace, done = "", None, state
        if self.traced:
            matched = "unknown" if decision is Decision.UNKNOWN else "depends" if state.asked else "yes"
            trace = self._note(state, rule, matched, target.reason or state.asked)
            done = state._replace(trace=trace)
        if decision is not None:
            return self._leaf(done, decision, rule.ref, target.reject_with, target.reason)
        if act in CALLS:
            return self._call(done, rule)
        if act is Act.ACCEPT:
            return self._accept(done, rule.ref)
        if act is Act.RETURN:
            return self._return(done)
        if act in _TRANSLATES:
            return self._translate(state, rule, matched)
        subject = state.subject.change(target, self._stage(state).context) if act in _CHANGES else state.subject
        return self._next(done, subject, trace)

    def _stage(self, state: State[S]) -> Stage:
        stage = self.route[state.stage]
        assert isinstance(stage, Stage)
        return stage

    def _translate(self, state: State[S], rule: Rule, matched: str) -> State[S] | Leaf[S] | None:
        """Let a nat target write the packet; it ends the chain like ACCEPT (nf_nat_setup_info)."""
        stage, found = self._stage(state), list[State[S] | Leaf[S] | None]()
        ways = state.subject.translate(rule.target, stage.context, rule.ref) if stage.nat else None
        if ways is None:
            reason = f"{rule.target.name} does nothing known in {stage.table.name} {stage.chain.name}"
            return self._leaf(state, Decision.UNKNOWN, rule.ref, None, reason)
        for way in ways:
            given, possible = agree(state.choices, way)
            trace = self._note(state, rule, matched, way.dropped or way.note)
            done = state._replace(subject=way.subject, choices=given, trace=trace)
            if possible and way.dropped:
                found.append(self._leaf(done, Decision.DROP, rule.ref, None, way.dropped))
            elif possible:
                found.append(self._accept(done, rule.ref))
        return self._first(found)

    def _call(self, state: State[S], rule: Rule) -> State[S] | Leaf[S]:
        frame, stage = state.frame, self._stage(state)
        called = stage.table.chains[rule.target.chain]
        if called.name in frame.path or called.default is not None:
            kind = "calls itself" if called.default is None else "is a base chain, which no rule can jump to"
            return self._leaf(state, Decision.UNKNOWN, rule.ref, None, f"chain {called.name} {kind}")
        if len(frame.path) > DEEPEST:
            return self._leaf(state, Decision.UNKNOWN, rule.ref, None, f"chains call one another {DEEPEST} deep")
        back = frame.back
        if rule.target.act is Act.JUMP:
            back = Frame(frame.chain, frame.at + 1, frame.back, frame.path, frame.visit)
        visit, link = 0, state.calls
        while link is not None:
            visit, link = visit + (link.item == called.name), link.before
        inside = Frame(called, 0, back, frame.path | {called.name}, visit)
        calls = Link(state.calls, called.name)
        return State(
            state.stage, inside, 0, state.subject, state.choices, state.trace, state.accepted, calls
        )  # fmt: skip

    def _return(self, state: State[S]) -> State[S] | Leaf[S] | None:
        if state.frame.back is not None:
            return state._replace(frame=state.frame.back, match=0)
        return self._default(state)

    def _default(self, state: State[S]) -> State[S] | Leaf[S] | None:
        stage = self._stage(state)
        default = stage.chain.default or "ACCEPT"
        ref = RuleRef(family=stage.family, table=stage.table.name, chain=stage.chain.name, rule=None, text=default)
        done = state
        if self.traced:
            step = Step(rule=ref, matched="yes", action=default, note="default of the chain")
            done = state._replace(trace=Link(state.trace, step))
        return self._accept(done, ref) if default == "ACCEPT" else self._leaf(done, Decision.DROP, ref, None, "")

    def _accept(self, state: State[S], ref: RuleRef) -> State[S] | Leaf[S] | None:
        accepted = decisive(state.accepted, Accepted(ref, self._stage(state).main))
        return self._enter(state.stage + 1, state.subject, state.choices, state.trace, accepted)

    def _leaf(
        self, state: State[S], decision: Decision, by: RuleRef | None, reject_with: str | None, reason: str
    ) -> Leaf[S]:
        return Leaf(decision, by, state.subject, items(state.choices), items(state.trace), reject_with, reason)
