"""The machine that runs an audit, and why it runs: what an auditor asks of every piece of evidence."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

import fwproof
from fwproof.run_record import Controller

_PATIENCE = 3.0


def controller() -> Controller:
    """Return what is known of this machine; what cannot be found out is said in words, or empty."""
    return Controller(
        host=socket.gethostname(), system=_system(), clock=_clock(), tool_sha256=_tool(), commit=_commit()
    )


def trigger() -> tuple[str, str]:
    """Return who began this run, ``ci``, ``schedule`` or ``manual``, and the address of a CI job.

    By what GitHub, GitLab, Jenkins, Azure, systemd (``INVOCATION_ID``, systemd.exec(5)) and cron leave in the
    environment; ``FWPROOF_TRIGGER`` says otherwise.
    """
    env = os.environ
    github = (
        f"{env.get('GITHUB_SERVER_URL', '')}/{env.get('GITHUB_REPOSITORY', '')}/actions/runs/{env.get('GITHUB_RUN_ID')}"
    )
    job = env.get("CI_JOB_URL") or env.get("BUILD_URL") or (github if env.get("GITHUB_RUN_ID") else "")
    told = env.get("FWPROOF_TRIGGER", "")
    if told in {"ci", "schedule", "manual"}:
        return told, job
    if env.get("CI") or env.get("TF_BUILD") or job:
        return "ci", job
    planned = "INVOCATION_ID" in env and not sys.stdin.isatty() and "SSH_CONNECTION" not in env and "TERM" not in env
    return ("schedule" if planned else "manual"), job


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _clock() -> str:
    """Return whether the clock is kept right, as systemd, chrony or ntpd tell; nothing is asked of a network."""
    told = _said("timedatectl", "show", "--property=NTPSynchronized", "--value")
    if told in {"yes", "no"}:
        return "synchronised by NTP" if told == "yes" else "not synchronised by NTP"
    tracking = _said("chronyc", "-n", "tracking")
    leap = next(
        (line.partition(":")[2].strip() for line in tracking.splitlines() if line.startswith("Leap status")), ""
    )
    if leap:
        return f"chrony says: {leap}"
    return "unknown: neither timedatectl nor chronyc tells"


def _said(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@cache
def _tool() -> str:
    """Return the SHA-256 over the package's files, each by its name and content: two equal ones are the same tool."""
    root, whole = Path(fwproof.__file__).parent, hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        whole.update(f"{path.relative_to(root).as_posix()}\0".encode())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def _commit() -> str:
    """Return the commit that a checkout stands at, with a mark where it was changed; empty for an installed package."""
    root = Path(fwproof.__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    commit = _said("git", "-C", str(root), "rev-parse", "HEAD")
    changed = _said("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no", "--", "src")
    return f"{commit} and changes" if commit and changed else commit
