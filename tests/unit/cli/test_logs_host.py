"""The log of a live host: its files newest first, as far back as the review needs, and what was left out said."""

import gzip
import os
import subprocess
from datetime import UTC
from types import SimpleNamespace

import pytest

from fwproof.cli.logs_host import Wanted, read_host
from fwproof.errors import CommandTimeout, Garbled, HostError
from fwproof.evidence.log_stamps import Clock
from fwproof.hosts.log_parts import Part, PartStream, parts_of
from fwproof.review.sorts import HOUR
from fwproof.review.tally import Tally

DAY = 24 * HOUR
NOW = 1_732_500_000.0
LINE = "{} h kernel: fw drop in: IN=eth0 OUT= SRC=203.0.113.66 DST=10.0.0.10 LEN=40 PROTO=TCP SPT={} DPT=23 SYN\n"


class Channel:
    """A command that runs here, as a stream."""

    def __init__(self, argv):
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.said = None

    def readline(self, _timeout):
        return self.process.stdout.readline()

    @property
    def stderr(self):
        if self.said is None:
            self.said = self.process.stderr.read().decode()
        return self.said

    def close(self):
        self.process.stdout.close()
        self.said = self.stderr
        self.process.stderr.close()
        self.process.wait()


class Local:
    """The way to this machine, without SSH."""

    def __init__(self, path):
        self.host = SimpleNamespace(name="web", drop_log=None if path is None else str(path))
        self.opened = []

    def run(self, argv, *, name):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return SimpleNamespace(stdout=done.stdout, stderr=done.stderr, status=done.returncode)

    def open_channel(self, argv):
        self.opened.append(argv[4].rpartition("/")[2])
        return Channel(argv)


def stamp(days):
    from datetime import datetime

    return datetime.fromtimestamp(NOW - days * DAY, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write(path, days, count=10, *, packed=False):
    """Write a log whose lines are from one moment, so many days ago, which is when it was written last."""
    text = "".join(LINE.format(stamp(days), 1024 + number) for number in range(count)).encode()
    path.write_bytes(gzip.compress(text) if packed else text)
    os.utime(path, (NOW - days * DAY,) * 2)
    return len(text)


def read(path, **wanted):
    tally = Tally()
    transport = path if isinstance(path, Local) else Local(path)
    told = read_host(transport, tally, Clock(UTC, NOW), Wanted(wanted.pop("since", None), None, **wanted))
    return tally, told[0], transport


def test_older_files_are_read_as_far_as_the_period_and_as_long_again(tmp_path):
    for name, days in (("d", 0), ("d.1", 5), ("d.2.gz", 10), ("d.3.gz", 20), ("d-20240101", 400)):
        write(tmp_path / name, days, packed=name.endswith("gz"))
    (tmp_path / "d.bak").write_text("x")
    tally, told, transport = read(tmp_path / "d")
    assert transport.opened == ["d", "d.1", "d.2.gz"]
    assert (tally.lines.total(), tally.unread) == (30, [])
    assert told.startswith("the drop log of web (d, d.1, d.2.gz, 0.0 MiB")
    assert read(tmp_path / "d", since=-24)[2].opened == ["d"]
    assert read(tmp_path / "d", since=-24 * 300)[2].opened == ["d", "d.1", "d.2.gz", "d.3.gz", "d-20240101"]


def test_the_newest_is_read_where_not_all_has_room_and_what_is_missing_is_said(tmp_path):
    size = write(tmp_path / "d", 0, 1000)
    tally, told, _ = read(tmp_path / "d", most=size // 2 + 20)
    assert (tally.lines.total(), len(tally.lines)) == (500, 1), "from the first whole line on, and no half line"
    assert "not read: the oldest 0.1 MiB of" in told
    assert len(tally.unread) == 1
    full, _, _ = read(tmp_path / "d", most=size)
    assert (full.lines.total(), full.unread) == (1000, [])


def test_what_is_missing_before_the_period_alone_weakens_nothing(tmp_path):
    write(tmp_path / "d", 0, 10)
    size = write(tmp_path / "d.1", 9, 1000)
    tally, told, _ = read(tmp_path / "d", most=size // 2)
    assert "not read: the oldest" in told
    assert tally.unread == []
    nothing, told, transport = read(tmp_path / "d", most=len(LINE) * 4)
    assert transport.opened == ["d"]
    assert "d.1, written last 2024-11-16 (--most MIB reads more)" in told
    assert len(nothing.unread) == 1


def test_a_packed_file_is_cut_to_its_end_as_well(tmp_path):
    write(tmp_path / "d", 0, 1)
    size = write(tmp_path / "d.1.gz", 2, 1000, packed=True)
    tally, told, _ = read(tmp_path / "d", most=size // 2)
    assert 450 < tally.lines.total() < 502
    assert "MiB of" in told
    assert "d.1.gz" in tally.unread[0]


def test_a_packed_file_that_is_broken_or_packed_otherwise_is_said(tmp_path):
    write(tmp_path / "d", 0)
    write(tmp_path / "d.1.gz", 1, 500, packed=True)
    (tmp_path / "d.1.gz").write_bytes((tmp_path / "d.1.gz").read_bytes()[:-30])
    (tmp_path / "d.2.xz").write_text("x")
    tally, told, _ = read(tmp_path / "d")
    assert "d.1.gz to its end" in told
    assert any("d.2.xz is packed so that it cannot be read" in text for text in tally.unread)


def test_no_log_is_an_error_and_an_unreadable_older_one_is_said(tmp_path, monkeypatch):
    with pytest.raises(HostError, match="its drop log cannot be read"):
        read(tmp_path / "d")
    with pytest.raises(HostError, match="names no drop log"):
        read(Local(None))
    write(tmp_path / "d", 0)
    write(tmp_path / "d.1", 1)
    transport = Local(tmp_path / "d")
    real = transport.open_channel
    monkeypatch.setattr(
        transport, "open_channel",
        lambda argv: real([*argv[:4], "/nonexistent", "9"] if argv[4].endswith(".1") else argv),
    )  # fmt: skip
    tally, told, _ = read(transport)
    assert "d.1 cannot be read" in told
    assert len(tally.unread) == 1
    monkeypatch.setattr(transport, "open_channel", lambda argv: real([*argv[:4], "/nonexistent", "9"]))
    with pytest.raises(HostError, match="no leave to read it"):
        read(transport)


def test_time_is_bounded(tmp_path, monkeypatch):
    write(tmp_path / "d", 0)
    write(tmp_path / "d.1", 1)
    transport = Local(tmp_path / "d")
    monkeypatch.setattr(Channel, "readline", lambda self, _: (_ for _ in ()).throw(CommandTimeout("web", "slow")))
    tally, told, _ = read(transport)
    assert transport.opened == ["d"], "no other file is begun"
    assert "the time was up" in told
    assert len(tally.unread) == 2


def test_names_that_are_none_of_the_log_s_own_are_not_opened(tmp_path):
    path = tmp_path / "d"
    write(path, 0)
    transport = Local(path)
    lines = [f"10 {int(NOW)} {path}", f"10 {int(NOW)} /etc/shadow", f"10 {int(NOW)} {path}.1/../../etc/shadow",
             f"x {int(NOW)} {path}.1", f"10 {int(NOW)} {path}.1.gz; reboot", f"{'9' * 40} 1 {path}.2"]  # fmt: skip
    transport.run = lambda argv, *, name: SimpleNamespace(stdout="\n".join(lines), stderr="", status=0)
    parts, others = parts_of(transport)
    assert [part.name for part in parts] == [str(path)]
    assert others == ()


class Endless:
    """A host that sends more than it said, without end."""

    stderr = ""

    def __init__(self, first):
        self.lines = iter([first])

    def readline(self, _timeout):
        return next(self.lines, b"x" * (1 << 20))

    def close(self):
        pass


def test_a_host_that_never_ends_or_tells_no_size_is_refused():
    transport = SimpleNamespace(host=SimpleNamespace(name="web"), open_channel=lambda _: Endless(b"10\n"))
    stream = PartStream(transport, Part("/d", 10, NOW), 1 << 20, float("inf"))
    with pytest.raises(Garbled, match="has no end"):
        stream.read()
    transport.open_channel = lambda _: Endless(b"lots\n")
    with pytest.raises(HostError, match="did not tell its size"):
        PartStream(transport, Part("/d", 10, NOW), 1 << 20, float("inf"))
