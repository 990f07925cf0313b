#!/usr/bin/env python3
"""Keep a run as reports/sample: `make sample-from-latest`, or `tools/record_sample.py RUN`.

Who ran it and the words of the command line are made neutral; everything else stays as it was recorded. The other
formats are rendered from results.json, as in every run; tests/report/test_sample.py then holds them to it.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from fwproof.errors import FwproofError
from fwproof.report.clean import safe_path
from fwproof.report.document import read_results
from fwproof.report.manifest import POLICY
from fwproof.report.write import write_run
from fwproof.results import Results

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "reports" / "sample"
OPERATOR, COMMAND = "auditor", "pytest checks --inventory fixtures/inventory.yaml"


def evidence_of(results: Results, run: Path) -> dict[str, bytes]:
    """Return the run's evidence by path; every piece must still be what was recorded."""
    found = {artefact.path: (run / artefact.path).read_bytes() for artefact in results.run.artefacts}
    for artefact in results.run.artefacts:
        if hashlib.sha256(found[artefact.path]).hexdigest() != artefact.sha256:
            sys.exit(f"{run / artefact.path} is not what was recorded: take another run")
    return found


def inputs_of(results: Results, run: Path) -> dict[str, bytes]:
    """Return the policies and the inventory of the run, by the names that its results have for them."""
    names = (results.run.inventory, *results.run.policies)
    return {name: (run / safe_path(name, POLICY)).read_bytes() for name in names}


def refuse_local(folder: Path) -> None:
    """Stop where a file names a folder of this machine."""
    for path in sorted(folder.rglob("*")):
        for place in (ROOT, Path.home()):
            if path.is_file() and f"{place}/".encode() in path.read_bytes():
                sys.exit(f"{path.relative_to(folder)} names {place}: run the audit with relative paths")


def main() -> None:
    """Record the run that is named, or the newest."""
    run = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "reports" / "latest")
    try:
        results = read_results(run)
        known = results.run.controller
        neutral = replace(known, host=OPERATOR, commit="") if known else None
        run_ = replace(results.run, operator=OPERATOR, command=COMMAND, controller=neutral)
        results = replace(results, run=run_)
        with tempfile.TemporaryDirectory() as place:
            folder = write_run(results, evidence_of(results, run), Path(place), inputs=inputs_of(results, run))
            refuse_local(folder)
            shutil.rmtree(SAMPLE, ignore_errors=True)
            shutil.copytree(folder, SAMPLE)
    except (FwproofError, OSError) as error:
        sys.exit(f"nothing was recorded: {error}")
    print(f"{SAMPLE}: run {results.run.id}, {len(results.checks)} checks")  # noqa: T201 - a tool for people


if __name__ == "__main__":
    main()
