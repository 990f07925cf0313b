"""The waivers of a run: read from beside the policies or from where the caller says, applied, and recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path

from fwproof.errors import InputError
from fwproof.inventory import Inventory
from fwproof.judging.waiving import unmet, waiver_checks
from fwproof.plan import Check
from fwproof.policy.document import read_document
from fwproof.policy.model import Policy
from fwproof.policy.waiver_file import load_waivers
from fwproof.policy.waivers import FILE, Waiver, Waivers
from fwproof.run_record import WaiverRecord

_POLICIES = "*.policy.yaml"


def policy_names(folder: Path) -> set[str]:
    """Return the names of the policies in a folder, as far as their files can be read."""
    names = set()
    for path in sorted(folder.glob(_POLICIES)):
        with suppress(InputError):  # its own faults are told when it is loaded
            root = read_document(path).plain()
            if isinstance(root, dict) and isinstance(root.get("policy"), str):
                names.add(root["policy"])
    return names


def recorded(waiver: Waiver, today: date) -> WaiverRecord:
    """Return a waiver as results.json has it."""
    return WaiverRecord(
        id=waiver.id, file=waiver.file, line=waiver.line, policy=waiver.policy,
        checks=[selector.text for selector in waiver.checks], hosts=list(waiver.hosts), cause=waiver.cause,
        owner=waiver.owner, approver=waiver.approver, ticket=waiver.ticket, reason=waiver.reason,
        compensating_control=waiver.compensating, created=waiver.created.isoformat(),
        expires=waiver.expires.isoformat(), state=waiver.state(today).value, days_left=waiver.days_left(today),
    )  # fmt: skip


class RunWaivers:
    """The waivers of the policies of one run; ``given`` is a file for all of them, else each folder has its own."""

    def __init__(self, given: Path | None) -> None:
        self.given = given
        self.files: dict[Path, Waivers] = {}
        self._of: dict[str, tuple[Waiver, ...]] = {}

    def read_for(self, policy: Policy, inventory: Inventory) -> None:
        """Read the file that a policy's waivers are in; raises InputError with every fault of it."""
        path = self.given or policy.path.parent / FILE
        if path not in self.files and (self.given is not None or path.exists()):
            names = None if self.given else policy_names(path.parent)
            self.files[path] = load_waivers(path, inventory, names)

    def checks(self, policy: Policy, checks: Sequence[Check]) -> tuple[Check, ...]:
        """Return the checks of a policy's waivers; raises InputError where one is about none of its ``checks``."""
        waivers = tuple(each for file in self.files.values() for each in file.waivers if each.policy == policy.name)
        faults = list(unmet(waivers, policy, checks))
        if faults:
            raise InputError(faults)
        self._of[policy.name] = waivers
        return waiver_checks(waivers, policy, checks)

    def of(self, check: Check) -> tuple[Waiver, ...]:
        """Return the waivers that a check may fall under."""
        return self._of.get(check.policy.name, ())

    def records(self, today: date) -> Iterator[WaiverRecord]:
        """Yield every waiver about a policy of the run, in the order of the files."""
        for file in self.files.values():
            yield from (recorded(each, today) for each in file.waivers if each.policy in self._of)
