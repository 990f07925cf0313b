#!/usr/bin/env python3
"""tools/sbom.py [FILE]: the bill of materials of what fwproof needs, as CycloneDX 1.6 JSON, made from the pins.

Names and versions are those of requirements/run.txt; licences are those that the installed packages declare, so it runs
in the environment that `make` sets up. It is the same for the same commit: its time is SOURCE_DATE_EPOCH, and its
serial number follows from what it lists.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
import uuid
from datetime import UTC, datetime
from importlib.metadata import PackageMetadata, metadata, version
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parents[1]
CLASSIFIERS = {
    "MIT License": "MIT", "Apache Software License": "Apache-2.0", "BSD License": "BSD-3-Clause",
}  # fmt: skip
"""Licences by the trove classifiers of packages that declare no SPDX expression, as SPDX calls them."""
SAID_OTHERWISE = {
    # what their licence files say, where the metadata's words are no SPDX expression or leave it open
    "oxidd": "MIT OR Apache-2.0",
    "paramiko": "LGPL-2.1-or-later",
}


def pins(file: Path) -> dict[str, str]:
    """Return name and version of each pin."""
    lines = (line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return dict(line.split("==") for line in lines)


def licence(name: str, package: PackageMetadata) -> str:
    """Return the SPDX expression of a package's licence; raises LookupError where it declares none that is known."""
    if name in SAID_OTHERWISE:
        return SAID_OTHERWISE[name]
    if declared := package.get("License-Expression"):
        return str(declared)
    told = {each.rpartition(" :: ")[2] for each in package.get_all("Classifier") or [] if each.startswith("License")}
    known = sorted(CLASSIFIERS[each] for each in told if each in CLASSIFIERS)
    if len(known) != 1:
        raise LookupError(f"{name}: no licence that is known in its metadata ({sorted(told)}); see SAID_OTHERWISE")
    return known[0]


def component(name: str, pinned: str) -> Component:
    """Return a package as a component; raises LookupError where another version is installed."""
    if version(name) != pinned:
        raise LookupError(f"{name}: {version(name)} is installed, {pinned} is pinned; run make first")
    return Component(
        name=name, version=pinned, type=ComponentType.LIBRARY, bom_ref=f"{name}=={pinned}",
        purl=PackageURL("pypi", None, name, pinned),
        licenses=[LicenseFactory().make_from_string(licence(name, metadata(name)))],
    )  # fmt: skip


def bill() -> str:
    """Return the document."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = pins(ROOT / "requirements" / "run.txt")
    parts = {name: component(name, pinned) for name, pinned in listed.items()}
    whole = Component(
        name="fwproof", version=project["version"], type=ComponentType.APPLICATION, bom_ref="fwproof",
        licenses=[LicenseFactory().make_from_string(project["license"])],
    )  # fmt: skip
    made = Bom(components=parts.values())
    made.metadata.component = whole
    made.metadata.timestamp = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    said = [f"fwproof {project['version']}", *(f"{name} {pinned}" for name, pinned in listed.items())]
    made.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(said))
    direct = {re.split(r"[\[<>=!~; ]", each)[0].lower().replace("_", "-") for each in project["dependencies"]}
    made.register_dependency(whole, [parts[name] for name in sorted(direct)])
    return str(JsonV1Dot6(made).output_as_string(indent=2)) + "\n"


def main() -> None:
    """Write the document to the file that is named, or to standard output."""
    text = bill()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).parent.mkdir(parents=True, exist_ok=True)
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
