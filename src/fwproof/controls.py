"""Controls: the requirements of a framework that checks can support, as values.

The words are our own, one line each; the frameworks' texts are their publishers'. :mod:`fwproof.policy.catalogue`
reads them from files.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One requirement: what it ``is``, what a check can show of it, and what none can (``lacks``).

    ``methods`` are NIST SP 800-53A's words for how it is shown: ``examine`` (tables and files are read) and ``test``
    (packets are sent). ``by`` are the words of a policy that support it (``inbound``, ``persistence``), none where no
    check of fwproof does. ``review`` is the period that the framework itself sets, ``section`` the manager whose
    hosts it is for, both empty where there is none.
    """

    id: str
    text: str
    shows: str = ""
    lacks: str = ""
    methods: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    review: str = ""
    section: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """A standard in one version, with those of its controls that the catalogue knows.

    ``source`` is who publishes it, ``manager`` who usually manages the hosts that it is about, empty for any.
    """

    id: str
    title: str
    source: str
    controls: tuple[Control, ...]
    manager: str = ""

    def control(self, identifier: str) -> Control | None:
        """Return a control by its id, None where the catalogue has none."""
        return next((control for control in self.controls if control.id == identifier), None)
