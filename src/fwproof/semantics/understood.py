"""How far the rule tables of a host are understood: what was read, and what the answers can only bound or not know.

*Exact* rules are understood as the kernel runs them. *Bounded* rules depend on something that no packet shows (a rate,
the time, a program on the host), which is named; answers hold for all its values or say "depends". *Unknown* rules were
not understood, and may do anything. *Unparsed* is what is no rule at all, or is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.ruleset.asks import Conntrack, Opaque, Oracle, Rate, Recent, Sort, Test, atoms
from fwproof.ruleset.model import Act, Rule, Ruleset, Target, Unparsed, worst
from fwproof.semantics.beneath import missing_beside
from fwproof.semantics.model import HostModel

WORDS = {Sort.EXACT: "exact", Sort.ORACLE: "bounded", Sort.OPAQUE: "unknown"}
"""What users read for each sort."""
UNPARSED = "unparsed"
HOW = ("exact", "bounded", "unknown", UNPARSED)
_WORST_FIRST = (UNPARSED, "unknown", "bounded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inexact:
    """A rule that is not exact, or a line that is no rule.

    ``how``: ``bounded``, ``unknown`` or ``unparsed``. ``rule`` is its place (``ip filter INPUT rule 3``), empty where
    it is none. ``line`` counts from 1, and objects in nft's list; 0 is about the whole text. ``why`` says what it
    depends on, or what was not understood.
    """

    how: str
    rule: str
    line: int
    text: str
    why: str

    def as_json(self) -> dict[str, Any]:
        """Return the keys of the documented format."""
        return {"how": self.how, "rule": self.rule, "line": self.line, "text": self.text, "why": self.why}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How far one text of one family is understood.

    ``source``: ``iptables-nft``, ``iptables-legacy``, ``iptables`` (which of the two is not known), ``nft`` or
    ``ipset``. ``text`` names what was read. ``inexact`` are the worst first. ``notes`` are tables that no packet of the
    family meets.
    """

    family: Family
    source: str
    text: str
    exact: int = 0
    inexact: tuple[Inexact, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many rules are ``exact``, ``bounded`` and ``unknown``, and how many lines are ``unparsed``."""
        found = Counter(each.how for each in self.inexact)
        return {"exact": self.exact} | {how: found[how] for how in HOW[1:]}

    def as_json(self) -> dict[str, Any]:
        """Return the keys of the documented format, without the lists."""
        return {"family": self.family.value, "source": self.source, "text": self.text, **self.counts}


def understood(model: HostModel, families: Collection[Family] = tuple(Family)) -> tuple[Reading, ...]:
    """Return how far each text that a model was made of is understood, by family; empty texts are left out."""
    found = []
    for family in Family:
        if family in families:
            rulesets = model.rulesets.get(family, ())
            read = [_reading(ruleset, missing_beside(ruleset, rulesets)) for ruleset in rulesets]
            found += [each for each in (*read, _sets(model, family)) if any(each.counts.values()) or each.notes]
    return tuple(found)


def total(readings: Collection[Reading]) -> dict[str, int]:
    """Return the counts of several readings together; a table of both families counts in both."""
    return {how: sum(each.counts[how] for each in readings) for how in HOW}


def source_of(ruleset: Ruleset) -> str:
    """Return what a ruleset was read through: ``iptables-nft``, ``iptables-legacy``, ``iptables`` or ``nft``."""
    if ruleset.native:
        return "nft"
    return f"iptables-{ruleset.backend}" if ruleset.backend else "iptables"


def _reading(ruleset: Ruleset, missing: str) -> Reading:
    exact, inexact = 0, [_unparsed(each) for each in ruleset.unparsed]
    if missing:
        inexact.append(Inexact(how=UNPARSED, rule="", line=0, text="", why=missing))
    for ref, parts in ruleset.printed().items():
        sort = worst(part.sort for part in parts)
        if sort is Sort.EXACT:
            exact += 1
        else:
            inexact.append(_inexact(WORDS[sort], ref, parts))
    inexact.sort(key=lambda each: _WORST_FIRST.index(each.how))
    return Reading(
        family=ruleset.family, source=source_of(ruleset), text=ruleset.source, exact=exact, inexact=tuple(inexact),
        notes=ruleset.comments if ruleset.native else (),
    )  # fmt: skip


def _sets(model: HostModel, family: Family) -> Reading:
    sets = model.sets
    odd = [
        replace(_unparsed(each), why=each.reason.removeprefix(f"{sets.source}:{each.line}: ")) for each in sets.unparsed
    ]
    return Reading(family=family, source="ipset", text=sets.source, inexact=tuple(odd))


def _unparsed(odd: Unparsed) -> Inexact:
    return Inexact(how=UNPARSED, rule="", line=odd.line, text=odd.text, why=odd.reason)


def _inexact(how: str, ref: RuleRef, parts: Collection[Rule]) -> Inexact:
    asked = dict.fromkeys(name for part in parts for match in part.matches for name in _asked(match.test))
    reasons = [f"depends on {'; '.join(asked)}"] if asked else []
    reasons += dict.fromkeys(reason for part in parts for reason in (*_misread(part), *_done(part.target)))
    place = f"{ref.family} {ref.table} {ref.chain} rule {ref.rule}"
    line = next(part.line for part in parts)
    return Inexact(how=how, rule=place, line=line, text=ref.text, why="; ".join(reasons))


def _asked(test: Test) -> Iterator[str]:
    """Yield the names of what no packet shows."""
    for atom in atoms(test):
        if isinstance(atom, Oracle | Rate) and not _lists(atom):
            yield atom.name
        elif isinstance(atom, Conntrack) and atom.rest:
            yield atom.rest


def _lists(test: Test) -> bool:
    """Whether a match always holds, and only changes what others ask: ``recent --set``."""
    return isinstance(test, Recent) and test.action == "set"


def _misread(rule: Rule) -> Iterator[str]:
    for match in rule.matches:
        for atom in atoms(match.test):
            if isinstance(atom, Opaque):
                yield f"the match is not understood: {atom.text}"
            elif isinstance(atom, Recent) and _lists(atom):
                yield f"it adds to the list that recent {atom.list} asks"


def _done(target: Target) -> Iterator[str]:
    if target.act in {Act.UNKNOWN, Act.ELSEWHERE}:
        yield target.reason
    elif target.lost:
        yield f"it changes the packet's {', '.join(target.lost)}, which is not followed"
