"""How long a browser takes to open the report of a fleet, and how large that is.

    python tests/benchmarks/fleet_page.py [hosts] [checks a host]

The run is the invented one of the tests, its failing server made many; the times are Chromium's own (Navigation Timing,
Paint Timing), counted from the navigation to the file, of several openings.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from browser import Browser
from sample_run import everything

from fwproof.report.html import render_html
from fwproof.results import CheckResult, Results, Verdict

_TIMES = """(() => {
  const at = performance.getEntriesByType('navigation')[0], first = performance.getEntriesByType('paint');
  return [at.domInteractive, first.length ? first[first.length - 1].startTime : 0, at.loadEventEnd];
})()"""
_OPENINGS = 5


def fleet(hosts: int, each: int, *, alike: bool) -> Results:
    """Return a run of so many hosts with so many checks each, all alike, or no two of them."""
    run = everything()
    mine = [check for check in run.checks if check.host == "ai-server-published" or check.coverage]
    ours = list(islice(cycle([*filter(_with_coverage, mine), *mine]), each))
    names = [f"web{number:03}" for number in range(hosts)]
    records = [replace(run.run.hosts[1], name=name) for name in names]
    checks = tuple(
        replace(check, host=name, id=f"{number}-{check.id}-{name}", verdict=_turned(check, place * 7919 >> number % 60))
        if not alike
        else replace(check, host=name, id=f"{number}-{check.id}-{name}")
        for place, name in enumerate(names)
        for number, check in enumerate(ours)
    )
    return Results(run=replace(run.run, hosts=records, planned=len(checks)), checks=checks)


def _with_coverage(check: CheckResult) -> bool:
    return check.coverage is not None


def _turned(check: CheckResult, bits: int) -> Verdict:
    return check.verdict if bits & 1 else Verdict.PASS


def main(hosts: int = 300, each: int = 185) -> None:
    """Measure hosts that are all alike, and such of which no two are."""
    for alike in (True, False):
        measure(hosts, each, alike=alike)


def measure(hosts: int, each: int, *, alike: bool) -> None:
    """Render the page, open it several times, print the medians."""
    results = fleet(hosts, each, alike=alike)
    begun = time.perf_counter()
    html = render_html(results)
    took = time.perf_counter() - begun
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_text(html, "utf-8")
        browser = Browser()
        seen = []
        for _ in range(_OPENINGS):
            browser.open(page)
            browser.value("new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))")
            seen.append(browser.value(_TIMES))
        browser.close()
    parsed, painted, loaded = (statistics.median(times) / 1000 for times in zip(*seen, strict=True))
    kind = "equal" if alike else "different"
    sys.stdout.write(
        f"{len(results.checks):,} checks of {hosts} {kind} hosts: {len(html) / 1e6:.1f} MB, rendered in {took:.1f} s;"
        f" opened: parsed {parsed:.2f} s, painted {painted:.2f} s, loaded {loaded:.2f} s (median of {_OPENINGS})\n"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
