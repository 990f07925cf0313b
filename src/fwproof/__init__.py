"""fwproof: proves, observes and attributes what a Linux host's firewall does.

The names here are the model's Python API; docs/model.md shows each of them at work. They are imported when they are
first used, so that ``import fwproof`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fwproof.audit.reading import read_host, read_snapshot
    from fwproof.decision import Decision, Ruling
    from fwproof.errors import FwproofError
    from fwproof.flow import CtState, Family, Flow, Hook
    from fwproof.semantics.diff import compare
    from fwproof.semantics.lint import lint
    from fwproof.semantics.model import HostModel
    from fwproof.semantics.reach import openings
    from fwproof.semantics.space import Claim, SpaceTooLarge
    from fwproof.semantics.understood import understood

__version__ = "0.1.0"
__all__ = [
    "Claim", "CtState", "Decision", "Family", "Flow", "FwproofError", "Hook", "HostModel", "Ruling", "SpaceTooLarge",
    "__version__", "compare", "lint", "openings", "read_host", "read_snapshot", "understood",
]  # fmt: skip

_WHERE = {
    "Claim": "semantics.space", "CtState": "flow", "Decision": "decision", "Family": "flow", "Flow": "flow",
    "FwproofError": "errors", "Hook": "flow", "HostModel": "semantics.model", "Ruling": "decision",
    "SpaceTooLarge": "semantics.space", "compare": "semantics.diff", "lint": "semantics.lint",
    "openings": "semantics.reach", "read_host": "audit.reading", "read_snapshot": "audit.reading",
    "understood": "semantics.understood",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a name of the API on its first use (PEP 562)."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"fwproof.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the API's names, for completion."""
    return sorted(__all__)
