"""reports/sample is a real audit of the lab's two servers; every format is rendered from it and compared.

`make sample` renders it again after a change of a format; `make sample-from-latest` records another run.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from fwproof.report.clean import safe_path
from fwproof.report.view import findings
from fwproof.report.write import write_run
from fwproof.results import Verdict
from fwproof.verify.verify import verify

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "reports/sample"

# what the demo is to show of the published configuration, each by the cause and what decides it
DEFECTS = {
    "replies": (r"^replies are dropped by ip filter OUTPUT", r"-A OUTPUT -j DROP"),
    "loopback": (r"^loopback is cut$", r"-A OUTPUT -j DROP"),
    "no default deny": (r"^ip INPUT has no default deny", r"^ip filter INPUT policy: ACCEPT"),
    "8080": (r"^the rule for tcp/8080 restricts nobody", r"--dport 8080 -j ACCEPT"),
    "11434": (r"^tcp/11434 has no ACCEPT of its own", r"^ip filter INPUT policy: ACCEPT"),
    "outside sources": (r"^tcp/11434: sources outside the named peers are not limited", r"^ip filter INPUT policy"),
    "19, not 20": (r"^tcp/11434: the limiter admits 19, not 20", r"--update .*--hitcount 20"),
    "no log": (r"^dropped packets are not logged", r"DROP"),
    "IPv6": (r"^IPv6 is dead: neighbour discovery is dropped", r"^ip6 filter INPUT policy: DROP"),
    "FORWARD": (r"^ip FORWARD has no default deny", r"^ip filter FORWARD policy: ACCEPT"),
    "reboot": (r"^nothing survives a reboot", None),
    "fail2ban": (r"^fail2ban's jail watches nothing", r"^failregex 2: "),
}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_sample_is_current(recorded, tmp_path):
    evidence = {name: content for name, content in files(SAMPLE).items() if name.startswith("evidence/")}
    names = [
        name
        for name in (recorded.run.inventory, *recorded.run.policies)
        if (SAMPLE / safe_path(name, "policy")).is_file()
    ]
    inputs = {name: (SAMPLE / safe_path(name, "policy")).read_bytes() for name in names}
    folder = write_run(recorded, evidence, tmp_path, inputs=inputs)
    if os.environ.get("FWPROOF_UPDATE_SAMPLE"):
        shutil.rmtree(SAMPLE)
        shutil.copytree(folder, SAMPLE)
    fresh, kept = files(folder), files(SAMPLE)
    changed = sorted(name for name in fresh.keys() | kept.keys() if fresh.get(name) != kept.get(name))
    assert changed == [], "the sample is out of date: look at the change, then run `make sample`"


def test_the_repaired_server_passes_and_the_published_one_fails(recorded):
    verdicts = {host: {check.verdict for check in recorded.checks if check.host == host} for host in
                {check.host for check in recorded.checks}}  # fmt: skip
    assert verdicts == {"ai-server": {Verdict.PASS}, "ai-server-published": {Verdict.PASS, Verdict.FAIL}}
    assert recorded.run.planned == len(recorded.checks)


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_is_named_with_its_rule_and_what_shows_it(recorded, defect):
    cause, rule = DEFECTS[defect]
    (found,) = [finding for finding in findings(recorded, Verdict.FAIL) if re.search(cause, finding.cause)]
    if rule is None:  # what is lacking is no rule
        assert "/etc/iptables/rules.v4" in found.lead.fix
        return
    assert any(re.search(rule, text) for text in found.rules)
    assert found.lead.observed or found.lead.proved
    assert found.lead.fix
    assert found.artefacts


def test_nothing_tells_where_it_was_recorded(recorded):
    assert (recorded.run.operator, recorded.run.command) == (
        "auditor",
        "pytest checks --inventory fixtures/inventory.yaml",
    )
    for name, content in files(SAMPLE).items():
        for place in (ROOT, Path.home()):
            assert f"{place}/".encode() not in content, name


def test_its_links_lead_to_its_files(page):
    links = [attrs["href"] for attrs in page((SAMPLE / "report.html").read_text("utf-8")).all("a")]
    away = {link for link in links if not link.startswith("#")}
    assert away == {name for name in files(SAMPLE) if name.startswith("evidence/")}


def test_it_is_small():
    assert sum(map(len, files(SAMPLE).values())) < 7_000_000


def test_every_verdict_of_the_sample_follows_from_its_evidence():
    found = verify(SAMPLE)
    assert found.problems == []
    assert len(found.recomputed.same) == found.checks
