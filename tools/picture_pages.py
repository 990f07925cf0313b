"""The pages that pictures are drawn of, made from reports/sample with the code as it is now.

The sample is one audit of two servers: as published, and repaired. What needs several runs of one server is made of it
by :func:`night`: the part of one server, with the name and the addresses of the repaired one, moved to another day.
Nothing else of it is changed, and the verdicts are the recorded ones; captions say that the days are made up.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from markdown_it import MarkdownIt
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from fwproof.report.document import read_results, render_json
from fwproof.report.html import render_html
from fwproof.report.write import write_run
from fwproof.results import Results
from fwproof.trends.ages import earlier_of

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "reports" / "sample"
PUBLISHED, REPAIRED = "ai-server-published", "ai-server"
SAME = (("10.0.0.11", "10.0.0.10"), ("fd00:0:0:1::11", "fd00:0:0:1::10"), (PUBLISHED, REPAIRED))
"""What the published server has and the repaired one has in its place."""
NIGHTS = (PUBLISHED, PUBLISHED, REPAIRED, REPAIRED, PUBLISHED, PUBLISHED)
"""Whose part of the sample stands for which night: repaired, and then somebody deployed the old rules again."""
BACK = 4
"""The night on which they are back, counted from 0."""
SNAPSHOTS = "evidence/snapshots.json"
COLUMNS = 100
_BEFORE = "-A INPUT -s 10.0.0.100/32 -p tcp -m tcp --dport 8080"
_AFTER = "-A INPUT -p tcp -m tcp --dport 8080"
_FWPROOF = [sys.executable, "-c", "from fwproof.cli.main import main; main()"]


def night(host: str, day: int) -> tuple[Results, dict[str, bytes]]:
    """Return the sample as an audit of one server alone on one of several nights, and the evidence about it."""
    recorded = read_results(SAMPLE)
    began = datetime.fromisoformat(recorded.run.started) + timedelta(days=day - len(NIGHTS))
    checks = tuple(check for check in recorded.checks if check.host == host)
    artefacts = [each for each in recorded.run.artefacts if each.path.startswith(f"evidence/{host}/")]
    run = replace(
        recorded.run, id=f"{began:%Y%m%dT%H%M%SZ}-{recorded.run.id[-8:]}", started=f"{began:%Y-%m-%dT%H:%M:%SZ}",
        ended=f"{began + timedelta(seconds=recorded.run.seconds):%Y-%m-%dT%H:%M:%SZ}", artefacts=artefacts,
        planned=len(checks), hosts=[each for each in recorded.run.hosts if each.name == host],
    )  # fmt: skip
    text = as_repaired(render_json(replace(recorded, run=run, checks=checks)).decode())
    evidence = {as_repaired(each.path): as_repaired((SAMPLE / each.path).read_text()).encode() for each in artefacts}
    evidence[SNAPSHOTS] = snapshot_of(host, evidence)
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "results.json").write_text(text)
        return read_results(Path(place)), evidence


def snapshot_of(host: str, evidence: dict[str, bytes]) -> bytes:
    """Return what was read of one server, with the hashes that its texts have now."""
    document = json.loads((SAMPLE / SNAPSHOTS).read_text())
    document["snapshots"] = {REPAIRED: json.loads(as_repaired(json.dumps(document["snapshots"][host])))}
    for capture in document["snapshots"][REPAIRED]["captures"]:
        if capture.get("file") in evidence:
            capture["sha256"] = hashlib.sha256(evidence[capture["file"]]).hexdigest()
    return json.dumps(document).encode()


def as_repaired(text: str) -> str:
    """Return a text of the published server with the name and the addresses of the repaired one."""
    for theirs, ours in SAME:
        text = re.sub(rf"(?<![\w.:]){re.escape(theirs)}(?![\w])", ours, text)
    return text


def nights(place: Path) -> Path:
    """Return a folder of runs, one a night, each with the ages that an audit would have told of them."""
    folder = place / "reports"
    if not folder.exists():
        for day, host in enumerate(NIGHTS):
            results, evidence = night(host, day)
            run = replace(results.run, earlier=earlier_of(results, folder))
            write_run(replace(results, run=run), evidence, folder)
    return folder


def run_of(place: Path, number: int) -> Path:
    """Return the run of a night, counted from 0."""
    return sorted(nights(place).glob("2*"))[number]


def fwproof(*words: str, place: Path = ROOT) -> str:
    """Return what a command prints, whatever its exit status; stops where it did not answer."""
    return _run(words, place, subprocess.PIPE)


def at_terminal(*words: str, place: Path) -> str:
    """Return what a command prints at a terminal of :data:`COLUMNS`."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    with os.fdopen(ours, "rb", buffering=0) as screen, ThreadPoolExecutor(1) as pool:
        read = pool.submit(_read, screen)
        try:
            _run(words, place, theirs)
        finally:
            os.close(theirs)  # which ends the reading
        return read.result().replace("\r\n", "\n")


def _read(screen: io.RawIOBase) -> str:
    found = b""
    with suppress(OSError):  # EIO is the end of a terminal that nobody has any more (pty(7))
        while piece := screen.read(1 << 16):
            found += piece
    return found.decode()


def _run(words: Sequence[str], place: Path, stdout: int) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": str(COLUMNS), "TERM": "xterm"}
    done = subprocess.run(
        [*_FWPROOF, *words], cwd=place, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode not in {0, 1}:
        sys.exit(f"fwproof {shlex.join(words)}: {done.stderr}")
    return done.stdout


def report(place: Path) -> Path:
    """Write the report of the sample, as it would be written now."""
    return kept(place / "report.html", render_html(read_results(SAMPLE)))


def aged(place: Path) -> Path:
    """Return the report of the last night."""
    return run_of(place, len(NIGHTS) - 1) / "report.html"


def diff(place: Path) -> Path:
    """Write the comparison of the night on which the old rules are back with the one before."""
    words = (f"reports/{run_of(place, BACK - 1).name}", f"reports/{run_of(place, BACK).name}", "--format", "html")
    return kept(place / "diff.html", fwproof("diff", *words, place=place))


def index(place: Path) -> Path:
    """Write the index of all nights."""
    nights(place)
    fwproof("index", "reports", place=place)
    return nights(place) / "index.html"


def candidate(place: Path) -> list[str]:
    """Return the words of a gate: the repaired server's tables in which somebody opens tcp/8080 to everybody.

    Slips are not tried: how many can be in a time differs from run to run.
    """
    for folder in ("running", "new"):
        (place / folder).mkdir(parents=True, exist_ok=True)
        for name, source in (("rules.v4", "iptables-save"), ("rules.v6", "ip6tables-save")):
            text = (SAMPLE / "evidence" / REPAIRED / f"{source}.txt").read_text()
            opened = text.replace(_BEFORE, _AFTER)
            if name == "rules.v4" and opened == text:
                sys.exit(f"{source}.txt of the sample has no rule {_BEFORE}")
            (place / folder / name).write_text(opened if folder == "new" else text)
    for name in ("checks", "fixtures"):
        shutil.copytree(ROOT / name, place / name, dirs_exist_ok=True)
    words = "gate --policy checks/ai-server.policy.yaml --for ai-server --against running"
    return f"{words} --iptables-save new/rules.v4 --ip6tables-save new/rules.v6 --mutation-seconds 0".split()


def comment(place: Path) -> Path:
    """Write the gate's review comment, as a forge shows Markdown."""
    made = (
        MarkdownIt("commonmark")
        .enable("table")
        .render(fwproof(*candidate(place / "gate"), "--format", "markdown", place=place / "gate"))
    )
    for emoji, mark in _EMOJI.items():
        made = made.replace(emoji, mark)
    return kept(place / "comment.html", _page(_COMMENT, f"<article>{made}</article>"))


def gate(place: Path) -> Path:
    """Write the same as on a terminal."""
    return terminal(place / "gate", candidate(place / "gate"), most=14)


def explain(place: Path) -> Path:
    """Write why a packet gets in, by the tables of the published server."""
    place /= "explain"
    shutil.copytree(ROOT / "fixtures", place / "fixtures", dirs_exist_ok=True)
    for name, source in (("rules.v4", "iptables-save"), ("addresses.json", "ip-addr")):
        shutil.copy(SAMPLE / "evidence" / PUBLISHED / f"{source}.txt", place / name)
    words = ["explain", "--why", f"203.0.113.66 -> {PUBLISHED}:tcp/8080", "--iptables-save", "rules.v4"]
    return terminal(place, [*words, "--addresses", "addresses.json"])


def audit(place: Path) -> Path:
    """Write the end of what an audit prints, as `fwproof report` makes it of the same run."""
    place /= "audit"
    (place / "reports" / "sample").mkdir(parents=True)
    shutil.copy(SAMPLE / "results.json", place / "reports" / "sample")
    return terminal(place, ["report", "reports/sample", "--color", "always"], most=-34)


def terminal(place: Path, words: Sequence[str], most: int = 0) -> Path:
    """Write a page with a command and what it printed: its first ``most`` lines, or its last paragraphs if negative."""
    lines = at_terminal(*words, place=place).splitlines()
    begin = next(n for n in range(len(lines) + most, len(lines)) if not lines[n - 1]) if most < 0 else 0
    shown = lines[begin:] if most < 0 else lines[: most or None]
    cut = len(lines) - len(shown)
    told = f"… {cut} more lines" if cut else ""
    console = Console(record=True, width=10_000, file=io.StringIO(), force_terminal=True, color_system="standard")
    prompt = "$ fwproof " + " ".join(word if re.fullmatch(r"[\w./-]+", word) else f"'{word}'" for word in words)
    console.print(Text(prompt, style="bold"), soft_wrap=True)
    if cut and most < 0:
        console.print(Text(told, style="dim"))
    for line in shown:
        console.print(Text.from_ansi(line), soft_wrap=True)
    if cut and most > 0:
        console.print(Text(told, style="dim"))
    text = console.export_html(theme=_THEME, inline_styles=True, code_format="{code}")
    return kept(place / "terminal.html", _page(_TERMINAL, f"<figure><pre>{text}</pre></figure>"))


def kept(path: Path, text: str) -> Path:
    """Write a page; stops where it names a folder of this machine."""
    for folder in (ROOT, Path.home(), path.parent):
        if f"{folder}/" in text:
            sys.exit(f"{path.name} names {folder}")
    path.write_text(text)
    return path


def _page(style: str, body: str) -> str:
    return f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><style>{style}</style><body>{body}</body></html>'


_COMMENT = """
body { margin: 0; padding: 16px; font: 14px/1.5 system-ui, "DejaVu Sans"; color: #1f2328; background: #fff; }
article { border: 1px solid #d1d9e0; border-radius: 6px; padding: 16px 20px; }
* { overflow-wrap: anywhere; }
h2, h3 { line-height: 1.25; padding-bottom: .3em; border-bottom: 1px solid #d1d9e0; } h2 { margin-top: 0; }
code { font: 85%/1.5 "DejaVu Sans Mono", monospace; padding: .2em .4em; border-radius: 6px; background: #eff1f3; }
ul { padding-left: 2em; } li { margin-top: .25em; }
.ok { color: #1a7f37; } .bad { color: #cf222e; } .off { color: #59636e; }
"""
_EMOJI = {"✅": "<b class='ok'>✔</b>", "❌": "<b class='bad'>✖</b>", "💤": "<b class='off'>◌</b>"}
"""What stands for emoji, of which the machine that draws need not have a font."""
_TERMINAL = f"""
body {{ margin: 0; padding: 16px; background: #fff; }}
figure {{ margin: 0; width: {COLUMNS}ch; font: 14px/1.45 "DejaVu Sans Mono", monospace;
  padding: 14px 18px; border-radius: 8px; background: #16191d; }}
pre {{ margin: 0; font: inherit; color: #d8dbdf; white-space: pre-wrap; word-break: break-all; }}
"""
_THEME = TerminalTheme(
    (22, 25, 29), (216, 219, 223),
    [(22, 25, 29), (240, 122, 31), (120, 190, 120), (229, 200, 90), (86, 180, 233), (230, 163, 200), (110, 200, 200),
     (216, 219, 223)],
)  # fmt: skip
"""Background, text, and the eight colours; those of the report in dark, for what fails and what is in error."""

PAGES: dict[str, Callable[[Path], Path]] = {
    "report": report, "aged": aged, "diff": diff, "index": index, "comment": comment, "audit": audit,
    "explain": explain, "gate": gate,
}  # fmt: skip
"""What makes each page, in a folder of its own."""
