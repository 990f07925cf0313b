"""Rule tables of hosts for questions outside of an audit: read live over SSH, or from what ``fwproof collect`` stored.

Nothing is sent but SSH, and nothing on a host is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fwproof.audit.field import Field
from fwproof.audit.modelling import model_of
from fwproof.errors import HostError, UsageError
from fwproof.flow import Family
from fwproof.hosts import replay
from fwproof.inventory import Inventory
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.nearest import suggest
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Snapshot

INVENTORY = Path("fixtures/inventory.yaml")
"""The inventory where none is named."""
_NAMED = 20


def _quiet(_line: str) -> None:
    pass


def live_snapshots(
    inventory: Inventory, names: Sequence[str], progress: Callable[[str], None] = _quiet, *, jails: Iterable[str] = ()
) -> dict[str, Snapshot | HostError]:
    """Read hosts over SSH, all at once, each into a snapshot or the reason why it could not be looked at.

    An inventory that names a lab brings it up if need be, for the time of this call, and moves this process into the
    network of the lab's auditor for good. Raises LabError where that cannot be done.
    """
    with opened(inventory, names, progress, jails=jails) as field:
        return {name: field.snapshots[name] for name in names}


@contextmanager
def opened(
    inventory: Inventory, names: Sequence[str], progress: Callable[[str], None] = _quiet, *, jails: Iterable[str] = ()
) -> Iterator[Field]:
    """Read hosts as :func:`live_snapshots` does, and keep the connections to them for as long as the context lasts."""
    field = Field(inventory)
    try:
        field.enter_lab(progress)
        field.open(names, dict.fromkeys(names, tuple(jails)), agents=False)
        yield field
    finally:
        field.close()


def one_host(inventory: Inventory, name: str) -> str:
    """Return the name of a host; UsageError for one that is unknown, and for a group of several."""
    if name in inventory.hosts:
        return name
    members = [host.name for host in inventory.select(name)]
    if members:
        raise UsageError(f"{inventory.path}: {name!r} is a group; give one of its hosts: {', '.join(members[:_NAMED])}")
    near = suggest(name, [*inventory.hosts, *inventory.groups])
    known = near or f"; there are {', '.join(list(inventory.hosts)[:_NAMED])}"
    raise UsageError(f"{inventory.path}: no host {name!r}{known}")


def model_from(found: Snapshot | HostError, families: Collection[Family] = tuple(Family)) -> HostModel:
    """Return the model of a host that was read; raises the HostError that stood in the way of any of ``families``."""
    model = model_of(found, set(families))
    if isinstance(model, HostError):
        raise model
    return model


def read_snapshot(folder: Path | str, families: Collection[Family] = tuple(Family)) -> HostModel:
    """Return the model of a host from the folder that ``fwproof collect`` wrote for it.

    Raises InputError for a folder that is none or was changed, HostError where the tables of one of ``families`` could
    not be read when it was collected.
    """
    return model_from(replay.load(Path(folder)), families)


def read_host(
    name: str, inventory: Path | str = INVENTORY, families: Collection[Family] = tuple(Family)
) -> HostModel:  # fmt: skip
    """Return the model of a host of an inventory file, read live over SSH.

    With an inventory that names a lab, see :func:`live_snapshots`. Raises InputError, UsageError and HostError.
    """
    known = load_inventory(Path(inventory))
    return model_from(live_snapshots(known, [one_host(known, name)])[name], families)
