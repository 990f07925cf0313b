"""Checks of the log of drops: its lines, and every way to be dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fwproof.farends import permits
from fwproof.flow import Family
from fwproof.inventory import Host
from fwproof.plan import Check, Kind
from fwproof.planning.asker import Asker
from fwproof.planning.defaults import samples
from fwproof.policy.model import Service
from fwproof.policy.table_model import DropLog

_DISCARD = Service("tcp", 9, "tcp/9")
"""RFC 863's port, which nobody serves: the probe of a drop log where the policy has no sample."""


def drops(ask: Asker, drop_log: DropLog) -> Iterator[Check]:
    """Yield a line of the log in each direction and family, and what is proved of every way to be dropped."""
    for direction in drop_log.directions:
        for family in ask.families(drop_log):
            vantage, service = _dropped(ask, direction, family) if drop_log.exercise else (None, None)
            check = ask.check(Kind.DROP_LOG, drop_log, "logged", service=service, direction=direction)
            id_ = f"{drop_log.id}[{ask.host.name}-{direction}-{family.value}]"
            peer = vantage.address(family) if vantage else None
            yield replace(check, id=id_, family=family, vantage=vantage.name if vantage else None, peer=peer)
    if drop_log.paths is not None:
        for direction in (*drop_log.directions, *(("forward",) if drop_log.paths.forward else ())):
            for family in ask.families(drop_log):
                check = ask.check(Kind.DROP_PATHS, drop_log, "every drop is logged, and the log is limited", family)
                id_ = f"{drop_log.id}:paths[{ask.host.name}-{direction}-{family.value}]"
                yield replace(check, id=id_, direction=None if direction == "forward" else direction)


def _dropped(ask: Asker, direction: str, family: Family) -> tuple[Host | None, Service | None]:
    """Return a far end and a service whose packet the policy wants dropped: a sample of the default."""
    inbound = direction == "inbound"
    default = ask.policy.inbound_default if inbound else ask.policy.outbound_default
    kind = Kind.INBOUND_DEFAULT if inbound else Kind.OUTBOUND_DEFAULT
    for sample in default.samples if default else ():
        for check in samples(ask, kind, default, sample, family) if default else ():
            if check.vantage is not None and check.vantage != ask.inventory.auditor:
                return ask.inventory.hosts[check.vantage], check.service
    far = [v for v in ask.field.vantages(family) if v.name != ask.inventory.auditor]
    allows = ask.policy.inbound if inbound else ask.policy.outbound
    for vantage in far:
        if not any(permits(allow, _DISCARD, vantage.address(family)) for allow in allows):
            return vantage, _DISCARD
    return None, None
