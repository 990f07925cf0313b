"""What was agreed to: whether an audit may begin, and how it ends at once when its operator says so."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from fwproof.errors import UsageError
from fwproof.inventory import Authorisation, Inventory
from fwproof.run_record import Authorised


def check_allowed(inventory: Inventory, hosts: Collection[str], now: datetime | None = None) -> None:
    """Raise UsageError unless hosts may be audited now; an inventory without an authorisation says nothing of it."""
    given = inventory.authorisation
    check_scope(inventory, hosts)
    if given is None:
        return
    now, place = now or datetime.now(UTC), _place(inventory, given)
    if given.opens is not None and now < given.opens:
        raise UsageError(f"{place} begins at {shown(given.opens)}, and it is {shown(now)}: nothing was sent")
    if given.closes is not None and now >= given.closes:
        raise UsageError(f"{place} ended at {shown(given.closes)}, and it is {shown(now)}: nothing was sent")


def check_scope(inventory: Inventory, hosts: Collection[str]) -> None:
    """Raise UsageError for hosts that the inventory's authorisation does not cover."""
    given = inventory.authorisation
    outside = [name for name in hosts if name not in given.hosts] if given else []
    if given and outside:
        raise UsageError(
            f"{_place(inventory, given)} does not cover {', '.join(outside)}; it is for {', '.join(given.hosts)}: "
            "have it extended, or audit only those"
        )


def _place(inventory: Inventory, given: Authorisation) -> str:
    return f"{inventory.path}: the authorisation of {given.by}"


def shown(moment: datetime) -> str:
    """Return a time as its writer gave it, to the minute, with the time zone."""
    return moment.isoformat(timespec="minutes")


def recorded(given: Authorisation | None) -> Authorised | None:
    """Return an authorisation as results keep it."""
    if given is None:
        return None
    opens, closes = (shown(moment) if moment else "" for moment in (given.opens, given.closes))
    return Authorised(
        by=given.by, reference=given.reference, hosts=list(given.hosts), opens=opens, closes=closes,
        tester=given.tester, independence=given.independence,
    )  # fmt: skip


@contextmanager
def ended_by_signal(stop: Callable[[str], None]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop all sending at once, and then end what runs as Ctrl-C does.

    ``stop`` is called inside of the signal's handler: it must take no lock.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ended(number: int, _frame: object) -> None:
        stop(f"the audit was stopped by {signal.Signals(number).name}")
        raise KeyboardInterrupt

    before = {number: signal.signal(number, ended) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
