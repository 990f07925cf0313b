"""The list of what is allowed (PCI DSS 4.0.1, 1.2.5): each service with who may use it, why, and the deciding rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fwproof.results import AllowedRule, CheckResult, Results, Verdict

_DEFAULTS = {"inbound-default", "outbound-default", "forward-default"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Something that is allowed by an expectation, or (``approved`` False) that passes without one.

    ``check`` is what found it; ``port`` is as ``tcp/443``, empty where anything may pass.
    """

    approved: bool
    check: CheckResult
    port: str
    peers: str
    networks: tuple[str, ...]
    rules: tuple[AllowedRule, ...]

    @property
    def packets(self) -> int | None:
        """How often the rules had counted when the tables were read; None where one has no counter."""
        return _sum(self.rules)

    @property
    def texts(self) -> tuple[str, ...]:
        """The deciding rules, each with its place."""
        return tuple(f"{rule.place}: {rule.text}" for rule in self.rules) or (
            (self.check.rule,) * bool(self.check.rule)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Openings of several hosts that differ in nothing but the host and the counters; the first stands for all."""

    openings: tuple[Opening, ...]

    @property
    def first(self) -> Opening:
        """The opening that the entry shows."""
        return self.openings[0]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that have it."""
        return tuple(dict.fromkeys(opening.check.host for opening in self.openings))

    @property
    def packets(self) -> int | None:
        """What the rules of all hosts had counted; None where one has no counter."""
        return _sum([rule for opening in self.openings for rule in opening.rules])


def _sum(rules: Sequence[AllowedRule]) -> int | None:
    known = [rule.packets for rule in rules if rule.packets is not None]
    return sum(known) if rules and len(known) == len(rules) else None


def openings(results: Results) -> Iterator[Opening]:
    """Yield what is allowed, and what passes without approval, in the order of the checks."""
    for check in results.checks:
        found = check.allowance
        if found is not None:
            yield Opening(
                approved=True, check=check, port=found.service, peers=found.peers, networks=tuple(found.networks),
                rules=tuple(found.rules),
            )  # fmt: skip
        elif check.kind in _DEFAULTS and check.verdict is Verdict.FAIL:
            peers = check.vantage or "not limited"
            yield Opening(approved=False, check=check, port="", peers=peers, networks=(), rules=())


def entries(results: Results) -> tuple[Entry, ...]:
    """Return the openings with equal hosts as one, what nobody approved last."""
    groups: dict[object, list[Opening]] = {}
    for opening in openings(results):
        check = opening.check
        if opening.approved:
            key: object = (check.policy, check.expectation, check.family, opening.port, check.verdict, opening.texts)
        else:
            key = (check.kind, check.family, check.cause, check.rule)
        groups.setdefault((not opening.approved, key), []).append(opening)
    found = (Entry(openings=tuple(group)) for group in groups.values())
    return tuple(sorted(found, key=lambda entry: not entry.first.approved))
