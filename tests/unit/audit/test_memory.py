"""What bursts left behind, between audits."""

from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import pytest

from fwproof.audit.memory import Memory

TARGET, SOURCE, OTHER = map(ip_address, ("10.0.0.10", "10.0.0.100", "10.0.5.7"))


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("fwproof.audit.memory.time.time", lambda: now[0])
    return now


def test_a_burst_counts_for_its_window_and_for_its_ends_only(tmp_path, clock):
    memory = Memory(tmp_path / "deep" / "bursts.json")
    assert memory.left(TARGET, SOURCE) == 0.0
    memory.note(TARGET, SOURCE, 60.0)
    clock[0] += 20
    assert memory.left(TARGET, SOURCE) == 40.0
    assert memory.left(TARGET, OTHER) == 0.0
    assert memory.left(SOURCE, TARGET) == 0.0
    clock[0] += 41
    assert memory.left(TARGET, SOURCE) == 0.0


def test_what_is_over_is_forgotten_and_what_is_not_is_kept(tmp_path, clock):
    memory = Memory(tmp_path / "bursts.json")
    memory.note(TARGET, SOURCE, 10.0)
    memory.note(TARGET, OTHER, 60.0)
    clock[0] += 30
    memory.note(SOURCE, OTHER, 60.0)
    assert memory.path.read_text(encoding="utf-8").count('"') == 4
    assert memory.left(TARGET, OTHER) == 30.0


def test_bursts_of_several_threads_are_all_noted(tmp_path):
    memory = Memory(tmp_path / "bursts.json")
    sources = [ip_address(f"192.0.2.{n}") for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda source: memory.note(TARGET, source, 60.0), sources))
    assert all(memory.left(TARGET, source) > 0 for source in sources)
    assert [path.name for path in tmp_path.iterdir()] == ["bursts.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"a b": "x"}', '{"a b": null}', "[" * 100_000, "\udcff"])
def test_a_memory_that_cannot_be_read_is_none(tmp_path, text):
    path = tmp_path / "bursts.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    memory = Memory(path)
    assert memory.left(TARGET, SOURCE) == 0.0
    memory.note(TARGET, SOURCE, 60.0)
    assert memory.left(TARGET, SOURCE) > 0
