"""What ufw or firewalld make of a configuration folder: they themselves, on a host of the embedded lab, loading it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def tables_of_folder(front: str, folder: Path, progress: Callable[[str], None]) -> dict[str, str]:
    """Return the tables; raises UsageError for a folder that is none of ``front``'s, LabError without a lab."""
    raise NotImplementedError
