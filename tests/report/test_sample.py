"""reports/sample is what the reports look like: regenerated here and compared, byte for byte."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fwproof.report.write import write_run

SAMPLE = Path(__file__).parents[2] / "reports/sample"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_sample_is_current(run, evidence, tmp_path):
    folder = write_run(run, evidence, tmp_path)
    if os.environ.get("FWPROOF_UPDATE_SAMPLE"):
        shutil.rmtree(SAMPLE, ignore_errors=True)
        shutil.copytree(folder, SAMPLE)
    fresh, kept = files(folder), files(SAMPLE)
    changed = sorted(name for name in fresh.keys() | kept.keys() if fresh.get(name) != kept.get(name))
    assert changed == [], "the sample is out of date: look at the change, then run `make sample`"
