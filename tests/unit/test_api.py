"""The Python API: quick to import, and the same answers as the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

import fwproof
from fwproof import Decision, Family, Flow, FwproofError, Hook, HostModel, openings, read_host, read_snapshot
from fwproof.audit import reading
from fwproof.errors import HostUnreachable, InputError, NotThere, UsageError
from fwproof.hosts import replay

from .cli.test_tables import INVENTORY, snapshot


def test_importing_it_costs_nothing():
    code = "import fwproof, sys; print(sorted(m for m in sys.modules if m.startswith('fwproof')))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "['fwproof']\n"


HEAVY = {"scapy", "paramiko", "pytest", "jinja2", "rich", "fwproof.audit", "fwproof.probing", "fwproof.lab"}


@pytest.mark.parametrize("verb", ["explain", "query", "lint", "diff", "understood"])
def test_a_verb_that_is_asked_about_files_does_not_load_what_audits_need(verb):
    code = f"import fwproof.cli.{verb}, sys; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert HEAVY & set(said.split()) == set()


def test_every_name_is_there():
    assert set(fwproof.__all__) == {*fwproof._WHERE, "__version__"}
    assert all(getattr(fwproof, name) is not None for name in fwproof.__all__)
    assert set(fwproof.__all__) <= set(dir(fwproof))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fwproof.nothing  # noqa: B018


def test_a_snapshot(tmp_path):
    replay.save(snapshot(), tmp_path)
    host = read_snapshot(tmp_path)
    assert isinstance(host, HostModel)
    (opening,) = openings(host, Hook.INPUT, Family.IPV4).openings
    assert (str(opening.rooms[0]), opening.certainty) == ("tcp 11434 from 10.0.0.0/16", "accept")
    assert isinstance(opening.witness, Flow)
    assert host.evaluate(opening.witness).decision is Decision.ACCEPT
    with pytest.raises(InputError):
        read_snapshot(tmp_path / "none")


def test_only_the_families_that_are_asked_have_to_be_there(tmp_path):
    replay.save(snapshot(faults={"ip6tables-save": NotThere("web1", "not installed")}), tmp_path)
    with pytest.raises(NotThere):
        read_snapshot(tmp_path)
    assert isinstance(read_snapshot(tmp_path, [Family.IPV4]), HostModel)


def test_a_live_host(tmp_path, monkeypatch):
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    found = {"web1": snapshot(), "web2": HostUnreachable("web2", "no connection")}
    monkeypatch.setattr(reading, "live_snapshots", lambda inventory, names: {name: found[name] for name in names})
    assert isinstance(read_host("web1", tmp_path / "inventory.yaml"), HostModel)
    with pytest.raises(HostUnreachable):
        read_host("web2", tmp_path / "inventory.yaml")
    with pytest.raises(UsageError, match="is a group; give one of its hosts: web1, web2"):
        read_host("web", tmp_path / "inventory.yaml")
    with pytest.raises(FwproofError, match="there is no such file"):
        read_host("web1", Path("none.yaml"))
