"""Hosts of every kind of front end, as they were read in the lab: fixtures/front-ends/captures. Not a test itself."""

from pathlib import Path

from fwproof.errors import NotThere
from fwproof.hosts.access import PLAIN_COMMANDS, ROOT_COMMANDS
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Capture, Snapshot

CAPTURES = Path(__file__).parents[2] / "fixtures" / "front-ends" / "captures"
NAMES = [command.name for command in (*PLAIN_COMMANDS, *ROOT_COMMANDS)]
PRINTS_NOTHING = ("firewalld-direct", "firewalld-direct-permanent")


def read(host="", **changes):
    """Return a host's snapshot; texts given by name replace or add captures, None takes one away."""
    files = (CAPTURES / host).glob("*.txt") if host else ()
    texts = {file.stem: file.read_text(encoding="utf-8") for file in files}
    texts = (
        dict.fromkeys(PRINTS_NOTHING if "firewalld-zones" in texts else (), "")
        | {"boot-links": "", "boot-units": ""}
        | texts
    )
    texts |= {name.replace("_", "-"): text for name, text in changes.items()}
    there = {
        name: Capture(name=name, argv=(), status=0, stdout=text, stderr="", at="", seconds=0.0)
        for name, text in texts.items()
        if text is not None
    }
    gone = {name: NotThere("h", f"{name}: not there") for name in NAMES if name not in there}
    return Snapshot(host="h", captures=there, faults=gone)


def model_of(snapshot):
    """Return the model of the tables in a snapshot."""
    keys = {"iptables-save": "iptables_save", "ip6tables-save": "ip6tables_save", "nft": "nft_json",
            "iptables-legacy-save": "iptables_legacy_save"}  # fmt: skip
    return HostModel.build(**{keys[n]: c.stdout for n, c in snapshot.captures.items() if n in keys})
