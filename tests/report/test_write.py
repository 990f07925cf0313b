"""The run's folder: whole or absent, checkable without fwproof, with safe names, and latest pointing at it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fwproof.errors import FwproofError, UsageError
from fwproof.report import write
from fwproof.report.document import read_results
from fwproof.report.formats import EXTRAS, FORMATS, REPORTS, reports
from fwproof.report.junit import Dialect
from fwproof.report.write import write_run


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_layout(run, evidence, tmp_path):
    folder = write_run(run, evidence, tmp_path)
    assert folder == tmp_path / run.run.id
    reports = {"results.json", "results.schema.json", "junit.xml", "report.html", "summary.md", "manifest.json"}
    reports |= {"findings.csv", "allowed.csv"}
    assert names(folder) == reports | {"SHA256SUMS"} | set(evidence)
    assert (tmp_path / "latest").resolve() == folder
    assert (folder / "evidence/probes/admin-ai-server.pcap").read_bytes() == evidence[
        "evidence/probes/admin-ai-server.pcap"
    ]


def test_further_formats_are_summed_like_the_others(run, tmp_path):
    run = replace(run, run=replace(run.run, artefacts=[]))
    folder = write_run(run, {}, tmp_path, reports(EXTRAS, Dialect.RICH))
    assert names(folder) >= {*REPORTS, *EXTRAS.values()}
    assert (folder / "junit.xml").read_bytes() == (folder / "junit-rich.xml").read_bytes()
    for name, form in reports(EXTRAS, Dialect.RICH).items():
        assert (folder / name).read_bytes() == FORMATS[form](run)
        assert f"  {name}\n" in (folder / "SHA256SUMS").read_text()


def test_sums_hold_without_fwproof(run, evidence, tmp_path):
    folder = write_run(run, evidence, tmp_path)

    def check() -> int:
        return subprocess.run(
            ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=False, capture_output=True
        ).returncode

    assert check() == 0
    listed = {line.split("  ", 1)[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == names(folder) - {"SHA256SUMS"}
    (folder / "evidence/ai-server/iptables-save.txt").write_text("changed")
    assert check() == 1


def test_evidence_is_listed_with_its_hash(run, evidence, tmp_path):
    listed = {artefact.path: artefact for artefact in read_results(write_run(run, evidence, tmp_path)).run.artefacts}
    assert set(listed) == set(evidence)
    for path, content in evidence.items():
        assert (listed[path].sha256, listed[path].size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert listed["evidence/ai-server/fail2ban-status.txt"].what == "fail2ban-client status"


def test_two_writes_are_alike(run, evidence, tmp_path):
    one, two = (
        write_run(run, evidence, tmp_path / "a"),
        write_run(run, dict(reversed(evidence.items())), tmp_path / "b"),
    )
    assert (one / "SHA256SUMS").read_bytes() == (two / "SHA256SUMS").read_bytes()


@pytest.mark.parametrize(
    "name",
    ["../../outside", "evidence/../../../outside", "/outside", "evidence/a\nb/\x1b[31m", "evidence/-rf", "x" * 300],
)
def test_names_from_elsewhere_stay_inside(run, name, tmp_path):
    checks = (replace(run.checks[0], artefacts=[name]),)
    folder = write_run(replace(run, checks=checks), {name: b"content"}, tmp_path / "reports")
    read = read_results(folder)
    (place,) = read.checks[0].artefacts
    assert place == read.run.artefacts[0].path
    assert place.startswith("evidence/")
    assert (folder / place).read_bytes() == b"content"
    assert {path.name for path in tmp_path.iterdir()} == {"reports"}
    assert f"  {place}\n" in (folder / "SHA256SUMS").read_text()


@pytest.mark.parametrize(
    "pair", [("evidence/a.txt", "a.txt"), ("evidence/a", "evidence/A"), ("evidence/a", "evidence/a/b")]
)
def test_two_pieces_never_share_a_file(run, pair, tmp_path):
    with pytest.raises(UsageError, match="one file name"):
        write_run(run, dict.fromkeys(pair, b""), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_evidence_is_never_overwritten(run, evidence, tmp_path):
    folder = write_run(run, evidence, tmp_path)
    before = (folder / "SHA256SUMS").read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        write_run(replace(run, checks=()), {}, tmp_path)
    assert (folder / "SHA256SUMS").read_bytes() == before


def test_nothing_stays_of_a_write_that_failed(run, evidence, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "_fill", full)
    with pytest.raises(FwproofError, match="No space left on device"):
        write_run(run, evidence, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(run, tmp_path):
    (tmp_path / "reports").write_text("")
    with pytest.raises(FwproofError, match="cannot write the reports under"):
        write_run(run, {}, tmp_path / "reports")


def test_latest_follows_the_newest_run(run, tmp_path):
    write_run(run, {}, tmp_path)
    second = write_run(replace(run, run=replace(run.run, id="second")), {}, tmp_path)
    assert (tmp_path / "latest").resolve() == second
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_latest_is_a_copy_where_links_are_refused(run, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    for number in ("first", "second"):
        folder = write_run(replace(run, run=replace(run.run, id=number)), {}, tmp_path)
        assert not (tmp_path / "latest").is_symlink()
        assert (tmp_path / "latest/SHA256SUMS").read_bytes() == (folder / "SHA256SUMS").read_bytes()


def test_a_folder_that_is_not_ours_is_left_alone(run, tmp_path):
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest/thesis.txt").write_text("years of work")
    with pytest.raises(FwproofError, match=r"latest.*not a run"):
        write_run(run, {}, tmp_path)
    assert (tmp_path / "latest/thesis.txt").exists()


def test_the_schema_travels_along(run, tmp_path):
    folder = write_run(run, {}, tmp_path)
    assert (
        json.loads((folder / "results.schema.json").read_text())["$id"]
        == json.loads((folder / "results.json").read_text())["schema"]
    )
