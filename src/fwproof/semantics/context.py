"""Where in the kernel a packet is when a rule looks at it, and what each test asks there.

The same header means different things at different hooks: an outgoing packet has no input interface, a
forwarded one has lost a hop, and before conntrack (raw, priority -300) no packet has a state.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fwproof.decision import RuleRef
from fwproof.flow import CtState, Flow, Hook
from fwproof.ruleset.asks import (
    AnyOf,
    Conntrack,
    ConnTuple,
    Constant,
    Fragment,
    Interface,
    OneOf,
    Opaque,
    Oracle,
    Rate,
    ReversePath,
    Test,
    Within,
)
from fwproof.ruleset.model import STATE, TEMPLATE, ZONE, Match, Target

FALSE = Constant(value=False)
TRUE = Constant(value=True)


@dataclass(frozen=True, slots=True)
class Context:
    """A hook and a table on the way of a packet.

    ``forwarded``: the packet is not for this host and not from it. ``again``: it already went through output
    on this host and comes back over the loopback interface, with its conntrack entry attached. ``early``: the
    priority of the chain, where it is not that of an iptables table, is before conntrack's (-200). ``whole``:
    fragments have been put together before the rules here. ``loads``: where they have not, nft takes the bytes of a
    late one for its transport header (nft_payload_fast_eval() does not look at the offset); iptables' own matches do
    not hold for it.
    """

    hook: Hook
    table: str
    forwarded: bool = False
    again: bool = False
    early: bool | None = None
    whole: bool = False
    loads: bool = False

    @property
    def untracked_yet(self) -> bool:
        """Whether conntrack (priority -200) has not seen the packet yet."""
        return (self.table == "raw" if self.early is None else self.early) and not self.again

    def after(self, *, notrack: bool) -> Context:
        """Return the context for a packet that a rule before conntrack has made untracked: that is its state now."""
        return replace(self, again=True) if notrack and self.untracked_yet else self

    def seen_by(self, match: Match) -> Context:
        """Return the context of a match: xt_ah.c and xt_esp.c look at the offset of fragments in nft's tables too."""
        return replace(self, loads=False) if self.loads and match.module in {"ah", "esp"} else self

    @property
    def has_iif(self) -> bool:
        """Whether the packet has an input interface here; elsewhere its name is empty."""
        return self.hook is not Hook.OUTPUT and (self.hook is not Hook.POSTROUTING or self.forwarded)

    @property
    def has_oif(self) -> bool:
        """Whether the packet has an output interface here; elsewhere its name is empty."""
        return self.hook not in {Hook.PREROUTING, Hook.INPUT}

    @property
    def senderless(self) -> bool:
        """Whether no socket of the host belongs to a packet here: before routing, and when it is passed on."""
        return self.hook in {Hook.PREROUTING, Hook.FORWARD} or (self.hook is Hook.POSTROUTING and self.forwarded)

    @property
    def hops_lost(self) -> int:
        """How much of the TTL the routing has taken: ip_forward() counts down before the forward hook."""
        return int(self.hook is Hook.FORWARD or (self.hook is Hook.POSTROUTING and self.forwarded))


@dataclass(frozen=True, slots=True)
class Connection:
    """What conntrack keeps of a connection: its first packet as it came and as it left (struct nf_conn).

    ``translated`` are the sides (src, dst) that nat changed on the way, ``unknown`` the fields of ``after`` whose
    values are not known.
    """

    first: Flow
    after: Flow
    translated: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()

    def value(self, field: str) -> int | None:
        """Return a part of one of the two tuples (``orig_src``, ``repl_dport`` …), None where it is not known."""
        way, _, end = field.partition("_")
        if way == "repl":
            end = TURNED[end]
            if end in self.unknown:
                return None
        value = getattr(self.first if way == "orig" else self.after, end)
        return None if value is None else int(value)

    def hidden(self, ctdir: str) -> frozenset[str]:
        """Return the fields of a packet of a direction that are not known when it comes to the host."""
        return frozenset(TURNED[name] for name in self.unknown & TURNED.keys()) if ctdir == "reply" else frozenset()


TURNED = {"src": "dst", "dst": "src", "sport": "dport", "dport": "sport"}
"""The field of an answer in which a packet's own is found."""


@dataclass(frozen=True, slots=True)
class Question:
    """Something about a packet that its header does not answer; equal questions have equal answers.

    ``name`` is for people; ``test`` is what was asked where it is a rate or other oracle. ``turned``: the rule
    asks for the opposite (``!``), which is the same question.
    """

    key: str
    name: str
    test: Test | None = field(default=None, compare=False)
    turned: bool = field(default=False, compare=False)


Answer = bool | Question


def settle(  # noqa: PLR0911, PLR0913, PLR0917 - one return for each kind of test, and what it depends on
    match: Match, ctstate: CtState, ctdir: str, context: Context, translated: frozenset[str] = frozenset(),
    unknown: frozenset[str] = frozenset(), connection: Connection | None = None,
) -> tuple[Test, bool]:  # fmt: skip
    """Return the test that a match amounts to in a context for a packet of a given state, and its negation.

    ``translated`` are the sides (src, dst) that nat has changed on this very walk, ``unknown`` what targets have;
    ``connection`` is that of a later packet, where it is known how it began.
    """
    test, negated = match.test, match.negated
    state = CtState.INVALID if context.untracked_yet else ctstate
    if isinstance(test, Interface):
        present = context.has_iif if test.field == "iif" else context.has_oif
        return (test if present else Constant(test.covers(""))), negated
    if isinstance(test, Fragment) and context.whole:
        return FALSE, negated
    if isinstance(test, AnyOf):
        return _any_of(test, ctstate, ctdir, context, translated, unknown, connection), negated
    if asks_conntrack(test):
        template = TEMPLATE in unknown and context.untracked_yet
        if template and _only_state(test):
            state, ctdir = CtState.NEW, "original"
        elif template or (ZONE in unknown and state in _ZONED) or (STATE in unknown and not context.untracked_yet):
            cause = "a packet was rewritten" if STATE in unknown else "target CT"
            return Oracle("conntrack", f"conntrack after {cause}: {getattr(test, 'text', test)}"), negated
        return _of_connection(test, state, ctdir, translated, connection, negated=negated)
    if isinstance(test, Within) and test.field == "ttl" and context.hops_lost:
        return Within("ttl", tuple((low + 1, high + 1) for low, high in test.ranges)), negated
    if isinstance(test, Oracle) and test.kind in {"owner", "cgroup", "sender"} and context.senderless:
        return FALSE, negated
    if isinstance(test, ReversePath) and context.hook is not Hook.PREROUTING:
        return Oracle("fib", test.text), negated
    return test, negated


def changes_of(target: Target, context: Context, *, notrack: bool) -> tuple[str, ...]:
    """Return what a target changes here.

    CT does nothing to packets that conntrack has seen, nor to those that are kept from it; ``ct zone set`` has them
    tracked all the same (xt_CT.c, nft_ct_set_zone_eval()).
    """
    if context.untracked_yet and not (notrack and target.name == "CT"):
        return (*target.changes, STATE) if LOOKED_AT.intersection(target.changes) else target.changes
    return tuple(each for each in target.changes if each not in {TEMPLATE, ZONE})


LOOKED_AT = frozenset({"src", "dst", "proto", "sport", "dport", "icmp", "flags"})
"""What conntrack tells connections and their states by (nf_conntrack_in())."""
_ZONED = frozenset({CtState.ESTABLISHED, CtState.RELATED, CtState.UNTRACKED})
"""States that a packet may not have when conntrack looks for its connection in another zone."""


def _only_state(test: Test) -> bool:
    """Whether a test asks for the state alone; what else a template says, iptables and nft see differently."""
    if isinstance(test, Conntrack):
        return test.states is not None and test.status is None and not test.rest
    return isinstance(test, OneOf)


def asks_conntrack(test: Test) -> bool:
    """Whether conntrack's entry of the packet decides a test, or that there is none."""
    return isinstance(test, Conntrack | ConnTuple) or getattr(test, "field", "") in {"ctstate", "connmark"}


def _of_connection(  # noqa: PLR0913 - as for settle
    test: Test, state: CtState, ctdir: str, translated: frozenset[str], connection: Connection | None, *, negated: bool
) -> tuple[Test, bool]:
    if isinstance(test, OneOf):
        return Constant(state.value in test.words), negated
    if isinstance(test, Conntrack):
        sides = translated if connection is None else connection.translated
        return _conntrack(test, state, ctdir, sides, known=state is CtState.NEW or connection is not None), negated
    if isinstance(test, ConnTuple):
        return _tuple(test, state, ctdir, connection, negated=negated)
    if state in {CtState.INVALID, CtState.UNTRACKED}:
        return FALSE, False  # xt_connmark.c: without a conntrack entry the match fails, negated or not
    return test, negated


def _any_of(  # noqa: PLR0913, PLR0917 - as for settle
    test: AnyOf, ctstate: CtState, ctdir: str, context: Context, translated: frozenset[str], unknown: frozenset[str],
    connection: Connection | None,
) -> Test:  # fmt: skip
    """Settle every part; products that cannot hold are left out, and parts that always hold."""
    products = []
    for product in test.products:
        parts = [
            settle(
                Match(module="", text="", test=part, negated=negated),
                ctstate,
                ctdir,
                context,
                translated,
                unknown,
                connection,
            )
            for part, negated in product
        ]
        if not any(isinstance(part, Constant) and part.value == negated for part, negated in parts):
            products.append(tuple(each for each in parts if not isinstance(each[0], Constant)))
    if () in products:
        return TRUE
    return AnyOf(tuple(products), test.text) if products else FALSE


def _tuple(
    test: ConnTuple, state: CtState, ctdir: str, connection: Connection | None, *, negated: bool
) -> tuple[Test, bool]:
    """Follow conntrack_mt(): without an entry the state alone decides, and without a state test nothing matches.

    Of a connection's first packet both tuples are known; later ones do not show by themselves how it began. Its
    protocol is that of all its packets, but not of ICMP errors about it.
    """
    if state in {CtState.INVALID, CtState.UNTRACKED}:
        return Constant(test.stateful), False
    value = None if connection is None else connection.value(test.field)
    if value is not None:
        return Constant(any(low <= value <= high for low, high in test.ranges)), negated
    first = state is CtState.NEW and ctdir.lower() == "original"
    if first or (test.field == "proto" and state is not CtState.RELATED):
        return Within(test.field, test.ranges), negated
    return Oracle("conntrack", f"conntrack {test.text}"), negated


def _conntrack(test: Conntrack, state: CtState, ctdir: str, translated: frozenset[str], *, known: bool) -> Test:
    """Follow conntrack_mt() of xt_conntrack.c; SNAT and DNAT are states that a later packet alone does not show.

    ``known``: it is known what nat has made of the connection.
    """
    tracked = state not in {CtState.INVALID, CtState.UNTRACKED}
    asked: list[str] = []
    if test.states is not None:
        holds = state.value in test.states
        nat = test.states & {"SNAT", "DNAT"}
        if known and tracked:
            holds, nat = holds or bool(nat & {f"{side[0].upper()}NAT" for side in translated}), frozenset()
        if not holds and nat and tracked:
            asked.append(f"{'not ' if test.states_negated else ''}conntrack state {','.join(sorted(nat))}")
        elif holds == test.states_negated:
            return FALSE
    if not tracked:
        return Constant(test.states is not None)
    if test.direction is not None and test.direction != ctdir.lower():
        return FALSE
    if test.status is not None:
        held = _status(test.status, state)
        if held is None:
            asked.append(f"{'not ' if test.status_negated else ''}conntrack status {','.join(sorted(test.status))}")
        elif held == test.status_negated:
            return FALSE
    asked += [test.rest] if test.rest else []
    return Oracle("conntrack", " and ".join(asked)) if asked else TRUE


def _status(wanted: frozenset[str], state: CtState) -> bool | None:
    """Return whether conntrack's entry has one of the bits; None where the state of the packet does not tell.

    NEW is that no answer was seen and that nobody expected the connection (resolve_normal_ct()).
    """
    if state is CtState.ESTABLISHED and wanted & {"SEEN_REPLY", "CONFIRMED"}:
        return True
    if not wanted or (state is CtState.NEW and wanted <= {"EXPECTED", "SEEN_REPLY", "ASSURED"}):
        return False
    return None


def question_of(test: Test, rule: RuleRef, visit: int) -> Question:
    """Return the question that an oracle asks; a rate asks anew at every rule and every visit of it."""
    if isinstance(test, Oracle):
        return Question(
            f"{test.name} @ {rule.family} {rule.table} {rule.chain} {rule.rule} # {visit}" if test.each else test.name,
            test.name,
            test,
        )
    if isinstance(test, Rate):
        return Question(f"{test.name} @ {rule.family} {rule.table} {rule.chain} {rule.rule} # {visit}", test.name, test)
    if isinstance(test, Opaque):
        return Question(test.name, test.name, test)
    raise AssertionError(test)
