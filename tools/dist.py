#!/usr/bin/env python3
"""tools/dist.py [FOLDER]: builds wheel and sdist of the last commit twice, and keeps them if both builds are alike.

Each is built from an export of the commit (`git archive`), so that nothing that lies about gets in, in a folder of its
own, with the commit's time as SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _git(*words: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, stdout=subprocess.PIPE).stdout


def build(commit: str, folder: Path) -> dict[str, Path]:
    """Build a commit in ``folder``; return what came of it by name."""
    source, made = folder / "source", folder / "made"
    source.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", str(source)], input=_git("archive", commit), check=True)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _git("log", "-1", "--format=%ct", commit).decode().strip()}
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(made)]
    subprocess.run(words, cwd=source, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {path.name: path for path in sorted(made.iterdir())}


def main() -> None:
    """Build twice, compare, and say the hashes."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"
    commit = _git("rev-parse", "HEAD").decode().strip()
    with tempfile.TemporaryDirectory() as name:
        builds = [build(commit, Path(name, each)) for each in ("one", "two")]
        sums = [{file: hashlib.sha256(path.read_bytes()).hexdigest() for file, path in made.items()} for made in builds]
        if sums[0] != sums[1]:
            sys.exit(f"tools/dist.py: two builds of {commit} differ: {sums[0]} and {sums[1]}")
        target.mkdir(parents=True, exist_ok=True)
        for file, path in builds[0].items():
            shutil.copyfile(path, target / file)
    (target / "SHA256SUMS").write_text("".join(f"{each}  {file}\n" for file, each in sums[0].items()), encoding="utf-8")
    sys.stdout.write("".join(f"{each}  {target / file}\n" for file, each in sums[0].items()))


if __name__ == "__main__":
    main()
