"""Planning: Expectation x Host x Vantage x Family becomes Check, with a stable, readable id each.

An expectation that no vantage of the inventory can ask is planned without one, never left out: a report that
says "not settled" is worth more than one that is silent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fwproof.errors import UsageError
from fwproof.inventory import Inventory
from fwproof.plan import Check, Kind
from fwproof.planning.allowed import allows
from fwproof.planning.asker import Asker
from fwproof.planning.defaults import defaults, evasions
from fwproof.planning.drops import drops
from fwproof.planning.whole import absent, essentials, jails, tables
from fwproof.policy.model import Policy


def plan(policy: Policy, inventory: Inventory) -> tuple[Check, ...]:
    """Return the checks that a policy means for its hosts, in the order of the file, grouped by host.

    Raises UsageError when the names of hosts make two checks look the same.
    """
    checks = tuple(check for name in policy.hosts for check in _asked(Asker(policy, inventory, inventory.hosts[name])))
    twice = [id_ for id_, count in Counter(check.id for check in checks).items() if count > 1]
    if twice:
        raise UsageError(
            f"{policy.name}: two checks would both be called {twice[0]}: host names that are joined by '-' read"
            " the same; rename a host or an expectation"
        )
    return checks


def _asked(ask: Asker) -> Iterator[Check]:
    for open_ in (*filter(None, (ask.policy.draft,)), *ask.policy.questions):
        yield ask.check(Kind.DRAFT, open_, "decided by a person")
    yield from allows(ask)
    yield from defaults(ask)
    for evasion in filter(None, (ask.policy.evasion,)):
        yield from evasions(ask, evasion)
    for essential in ask.policy.essential:
        yield from essentials(ask, essential)
    for bans in ask.policy.bans:
        yield from jails(ask, bans)
    for bans in ask.policy.bans[:1]:
        yield ask.check(Kind.BAN_SERVER, bans, "every jail works, and bans outlive a reboot", name="fail2ban")
    for drop_log in filter(None, (ask.policy.drop_log,)):
        yield from drops(ask, drop_log)
    yield from tables(ask)
    yield from absent(ask)
