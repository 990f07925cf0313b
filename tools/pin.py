#!/usr/bin/env python3
"""tools/pin.py: renew the pins of requirements/*.txt from the ranges in pyproject.toml, with the newest releases.

Run it with the oldest Python that is supported (`make pins`), so that no pin is too new for it. Each file is resolved
under the pins of the ones before, and holds what those do not: together they are one consistent set. What the
benchmarks compare with is a set of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "requirements"
COMMENTS = {
    "run": "What fwproof itself needs, pinned; `make` installs this for the demo.",
    "build": "What installs this checkout and builds its wheel, on top of run.txt, pinned.",
    "dev": "What the tests and the linters need, on top of run.txt and build.txt, pinned.",
    "docs": "What builds the documentation site, on top of run.txt, build.txt and dev.txt, pinned.",
    "distributed": "What the optional engine dask.distributed needs, on top of the pins above, pinned.",
    "bench": "What the benchmarks compare with, pinned; `make bench` installs it into an environment of its own.",
}


def wanted(project: dict[str, Any]) -> dict[str, list[str]]:
    """Return the requirements of each file as pyproject.toml has them."""
    groups = project["dependency-groups"]
    return {
        "run": project["project"]["dependencies"],
        "build": [*project["build-system"]["requires"], *groups["build"]],
        "dev": [*groups["tests"], *groups["lint"]],
        "docs": groups["docs"],
        "distributed": project["project"]["optional-dependencies"]["distributed"],
        "bench": groups["bench"],
    }


def resolve(requirements: list[str], fixed: dict[str, str]) -> dict[str, str]:
    """Return name and version of everything that the requirements need, without installing any of it."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("".join(f"{name}=={version}\n" for name, version in fixed.items()))
        constraints.flush()
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--only-binary", ":all:", "--report", "-", "--constraint", constraints.name, *requirements]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = (item["metadata"] for item in json.loads(done.stdout)["install"])
    return {re.sub(r"[-_.]+", "-", item["name"]).lower(): item["version"] for item in found}


def main() -> None:
    """Resolve each file in turn and write it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    fixed: dict[str, str] = {}
    for name, requirements in wanted(project).items():
        if name == "bench":
            fixed = {}
        pins = {key: version for key, version in resolve(requirements, fixed).items() if key not in fixed}
        lines = [f"# {COMMENTS[name]}", *(f"{key}=={version}" for key, version in sorted(pins.items()))]
        (FOLDER / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"requirements/{name}.txt: {len(pins)} pins")  # noqa: T201 - a script that says what it did
        fixed |= pins


if __name__ == "__main__":
    main()
