"""Reading a baseline: what fwproof collect wrote, or one clear reason why it cannot be used."""

import json

import pytest

from fwproof.audit.gather import read_baseline
from fwproof.errors import CommandRefused, HostError, NotThere
from fwproof.facts import BaselineFacts
from fwproof.flow import Family
from fwproof.hosts import replay
from fwproof.snapshot import Capture, Snapshot

TABLE = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
TEXTS = {"iptables-save": TABLE, "ip6tables-save": TABLE, "ip-addr": "[]"}
OTHERS = ("nft", "ipset-save", "iptables-legacy-save", "ip6tables-legacy-save", "ip-route", "ip6-route", "sysctl",
          "ip-rule", "ip6-rule")  # fmt: skip
BOTH = set(Family)
TAKEN = "2026-01-01T00:00:00Z"


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Return a function that stores a snapshot as fwproof collect does, below the folder that is the current one."""
    monkeypatch.chdir(tmp_path)

    def store(host="web", faults=(), **changed):
        texts = {name: text for name, text in {**TEXTS, **changed}.items() if name not in dict(faults)}
        captures = {
            name: Capture(name=name, argv=(name,), status=0, stdout=text, stderr="", at=TAKEN, seconds=0)
            for name, text in texts.items()
        }  # fmt: skip
        missing = {name: NotThere(host, "not there") for name in OTHERS if name not in captures}
        replay.save(
            Snapshot(host=host, captures=captures, faults={**missing, **dict(faults)}), tmp_path / "baseline" / "web"
        )
        return tmp_path / "baseline" / "web"

    return store


def fault(folder, families=BOTH):
    found = read_baseline("web", folder, families)
    assert isinstance(found, HostError)
    assert found.advice == "take one while the host is as it should be: fwproof collect web -o baseline"
    return found.message


def test_a_stored_snapshot_is_read(stored):
    found = read_baseline("web", stored() / ".." / "web", BOTH)
    assert isinstance(found, BaselineFacts)
    assert (found.folder, found.snapshot.host) == ("baseline/web", "web")
    assert found.model.rulesets[Family.IPV6]


def test_none_there(stored):
    stored()
    folder = stored().parent.parent / "baseline" / "other"
    assert fault(folder) == (
        "the baseline cannot be used: baseline/other/snapshot.json: cannot be read: No such file or directory;"
        " expected a folder that fwproof collect wrote"
    )


def test_a_file_that_was_changed_since(stored):
    folder = stored()
    (folder / "iptables-save.txt").write_text(TABLE.replace("DROP", "ACCEPT"))
    assert fault(folder).startswith("the baseline cannot be used: baseline/web/iptables-save.txt: was changed")


def test_an_index_that_is_garbled(stored):
    folder = stored()
    (folder / "snapshot.json").write_text("{")
    assert "baseline/web/snapshot.json: is no JSON" in fault(folder)
    (folder / "snapshot.json").write_text(json.dumps({"schema": "x"}))
    assert "baseline/web/snapshot.json: is no snapshot" in fault(folder)


def test_another_hosts_baseline_is_refused(stored):
    assert fault(stored(host="db")) == "the baseline in baseline/web is that of db, another host"


def test_a_family_that_was_not_read_then(stored):
    folder = stored(faults=[("ip6tables-save", CommandRefused("web", "sudo does not allow it"))])
    assert fault(folder) == "the baseline in baseline/web cannot be used: sudo does not allow it"
    assert isinstance(read_baseline("web", folder, {Family.IPV4}), BaselineFacts)


def test_a_baseline_of_a_version_that_collected_less(stored):
    folder = stored()
    index = json.loads((folder / "snapshot.json").read_text())
    del index["faults"]["nft"]
    (folder / "snapshot.json").write_text(json.dumps(index))
    assert fault(folder) == "the baseline in baseline/web cannot be used: nft was not collected"
