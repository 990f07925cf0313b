"""A fleet: 300 hosts in one page of a bearable size; the time is printed, not judged."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import replace

from fwproof.report.formats import FORMATS
from fwproof.results import Results


def test_three_hundred_hosts(run, page, capsys):
    ours = [check for check in run.checks if check.host == "ai-server-published"][::4]
    names = [f"web{number:03}" for number in range(300)]
    records = [replace(run.run.hosts[1], name=name) for name in names]
    checks = tuple(replace(check, host=name, id=f"{check.id}-{name}") for name in names for check in ours)
    fleet = Results(run=replace(run.run, hosts=records, planned=len(checks)), checks=checks)
    for form in ("html", "junit", "json", "markdown", "text"):
        begun = time.perf_counter()
        size = len(FORMATS[form](fleet))
        took = time.perf_counter() - begun
        with capsys.disabled():
            sys.stdout.write(f"\n{form}: {len(checks):,} checks of 300 hosts, {size / 1e6:.1f} MB in {took:.2f} s")
    html = FORMATS["html"](fleet).decode()
    assert len(html) < 10_000_000
    summed = [int(number.replace(",", "")) for number in re.findall(r'<span class="sum">([\d,]+) checks?</span>', html)]
    assert html.count('class="record ') - len(summed) + sum(summed) == len(checks)
    parsed = page(html)
    anchors = {f"#{attrs['id']}" for _, attrs in parsed.elements if "id" in attrs}
    assert {attrs["href"] for attrs in parsed.all("a") if attrs["href"].startswith("#")} <= anchors
    assert "As this run is large" in html
    assert html.count('<figure class="matrix">') == 2
    assert "web007 and 292 more hosts" in parsed.text
