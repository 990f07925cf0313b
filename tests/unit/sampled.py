"""The lab's two servers as the sample run read them: reports/sample/evidence. Not a test itself."""

from pathlib import Path

from fwproof.errors import NotThere
from fwproof.hosts.access import PLAIN_COMMANDS, ROOT_COMMANDS
from fwproof.snapshot import Capture, Snapshot

EVIDENCE = Path(__file__).parents[2] / "reports" / "sample" / "evidence"
GOOD, BAD = "ai-server", "ai-server-published"
NAMES = [command.name for command in (*PLAIN_COMMANDS, *ROOT_COMMANDS)]


def sampled(host, **changes):
    """Return a host's snapshot; texts by name (``_`` for ``-``) replace what was read, or add to it."""
    texts = {
        file.stem: file.read_bytes().decode("utf-8", "surrogateescape") for file in (EVIDENCE / host).glob("*.txt")
    }
    texts |= {name.replace("_", "-"): text for name, text in changes.items()}
    there = {
        name: Capture(name=name, argv=(), status=0, stdout=text, stderr="", at="2026-11-26T00:00:00Z", seconds=0.0)
        for name, text in texts.items()
    }
    gone = {name: NotThere(host, f"{name}: not there") for name in NAMES if name not in there}
    return Snapshot(host=host, captures=there, faults=gone)


def text_of(host, name):
    """Return what a command printed on a host."""
    return (EVIDENCE / host / f"{name}.txt").read_text(encoding="utf-8")
