"""The judge of each kind of check; one table, so that a kind without a judge is an error at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fwproof.facts import Facts
from fwproof.judging.absent import judge_absent
from fwproof.judging.ban_action import judge_ban_action
from fwproof.judging.ban_exercise import judge_ban_exercise
from fwproof.judging.ban_filter import judge_ban_filter
from fwproof.judging.ban_server import judge_ban_server
from fwproof.judging.bans import judge_bans
from fwproof.judging.boot_order import judge_boot_order
from fwproof.judging.coverage import judge_coverage
from fwproof.judging.draft import judge_draft
from fwproof.judging.drift import judge_drift
from fwproof.judging.drop_paths import judge_drop_paths
from fwproof.judging.droplog import judge_drop_log
from fwproof.judging.essential import judge_established, judge_loopback, judge_neighbour
from fwproof.judging.evasion import judge_evasion
from fwproof.judging.flow import judge_flow
from fwproof.judging.kernel import judge_kernel
from fwproof.judging.limits import judge_rate
from fwproof.judging.listeners import judge_listeners
from fwproof.judging.managers import judge_managers
from fwproof.judging.measures import judge_measure
from fwproof.judging.parity import judge_parity
from fwproof.judging.passing import judge_passing
from fwproof.judging.persistence import judge_persistence
from fwproof.judging.rules import judge_rules
from fwproof.judging.space import judge_claim, judge_default
from fwproof.judging.standing import judge_standing
from fwproof.plan import Check, Kind
from fwproof.results import Outcome


def _default(check: Check, facts: Facts) -> Outcome:
    """Judge a default over the whole space, or by one sample that was sent."""
    return judge_flow(check, facts) if check.vantage is not None else judge_default(check, facts)


def _claim(check: Check, facts: Facts) -> Outcome:
    """Judge a claim about what comes to the host or leaves it, or about what passes through."""
    return judge_passing(check, facts) if check.direction == "forward" else judge_claim(check, facts)


JUDGES: Mapping[Kind, Callable[[Check, Facts], Outcome]] = {
    Kind.INBOUND: judge_flow,
    Kind.OUTBOUND: judge_flow,
    Kind.FORWARD: judge_flow,
    Kind.CLAIM: _claim,
    Kind.INBOUND_DEFAULT: _default,
    Kind.OUTBOUND_DEFAULT: _default,
    Kind.FORWARD_DEFAULT: _default,
    Kind.EVASION: judge_evasion,
    Kind.RATE: judge_rate,
    Kind.MEASURE: judge_measure,
    Kind.CONNECTIONS: judge_standing,
    Kind.LOOPBACK: judge_loopback,
    Kind.ESTABLISHED: judge_established,
    Kind.NEIGHBOUR: judge_neighbour,
    Kind.BANS: judge_bans,
    Kind.BAN_FILTER: judge_ban_filter,
    Kind.BAN_ACTION: judge_ban_action,
    Kind.BAN_SERVER: judge_ban_server,
    Kind.BAN_EXERCISE: judge_ban_exercise,
    Kind.DROP_LOG: judge_drop_log,
    Kind.DROP_PATHS: judge_drop_paths,
    Kind.PERSISTENCE: judge_persistence,
    Kind.BOOT: judge_boot_order,
    Kind.PARITY: judge_parity,
    Kind.RULES: judge_rules,
    Kind.COVERAGE: judge_coverage,
    Kind.LISTENERS: judge_listeners,
    Kind.DRIFT: judge_drift,
    Kind.MANAGERS: judge_managers,
    Kind.ABSENT: judge_absent,
    Kind.DRAFT: judge_draft,
    Kind.KERNEL: judge_kernel,
}


def judge(check: Check, facts: Facts) -> Outcome:
    """Return the outcome of one check; raises HostError for what could not be looked at."""
    return JUDGES[check.kind](check, facts)
