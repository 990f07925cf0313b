"""Hosts of every kind of front end, as they were read in the lab: fixtures/front-ends/captures."""

from dataclasses import replace
from pathlib import Path

import pytest

from fwproof.errors import NotThere
from fwproof.flow import Family
from fwproof.frontends.front_end import front_end_of
from fwproof.hosts.access import PLAIN_COMMANDS, ROOT_COMMANDS
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Capture, Snapshot

CAPTURES = Path(__file__).parents[3] / "fixtures" / "front-ends" / "captures"
NAMES = [command.name for command in (*PLAIN_COMMANDS, *ROOT_COMMANDS)]
PRINTS_NOTHING = ("boot-links", "firewalld-direct", "firewalld-direct-permanent")


def capture(name, text):
    return Capture(name=name, argv=(), status=0, stdout=text, stderr="", at="", seconds=0.0)


@pytest.fixture
def read():
    """Return a function that returns a host's snapshot; texts given by name replace or add captures, None takes away."""

    def read(host="", **changes):
        files = (CAPTURES / host).glob("*.txt") if host else ()
        texts = {file.stem: file.read_text(encoding="utf-8") for file in files}
        with_firewalld = {"boot-links", *(n for n in PRINTS_NOTHING if "firewalld-zones" in texts)}
        texts = {name: "" for name in PRINTS_NOTHING if name in with_firewalld} | texts
        texts |= {name.replace("_", "-"): text for name, text in changes.items()}
        texts = {name: text for name, text in texts.items() if text is not None}
        gone = {name: NotThere("h", f"{name}: not there") for name in NAMES if name not in texts}
        return Snapshot(host="h", captures={n: capture(n, t) for n, t in texts.items()}, faults=gone)

    return read


def model_of(snapshot):
    keys = {"iptables-save": "iptables_save", "ip6tables-save": "ip6tables_save", "nft": "nft_json",
            "iptables-legacy-save": "iptables_legacy_save"}  # fmt: skip
    return HostModel.build(**{keys[n]: c.stdout for n, c in snapshot.captures.items() if n in keys})


@pytest.fixture
def front(read):
    """Return a function that returns the front ends of a host, read as ``read`` reads it."""

    def front(host="", **changes):
        snapshot = read(host, **changes)
        model = model_of(snapshot)
        return replace(front_end_of(snapshot, model.rulesets))

    return front


@pytest.fixture
def rule(read):
    """Return a function that returns the place of the rule of a host whose text holds some words."""

    def rule(host, words, family=Family.IPV4, **changes):
        rules = model_of(read(host, **changes)).rules(family)
        return next(each.ref for each in rules if words in f"{each.ref.chain} {each.ref.text}")

    return rule
