"""The agent's part in tracing: what the kernel told in the lab, byte for byte, and bytes that it never tells."""

import errno
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fwproof.probing import agent

from .test_agent import Captured

DATA = Path(__file__).with_name("data")
COOKIE = 0x1234
VANTAGE, TARGET = socket.inet_aton("10.1.0.1"), socket.inet_aton("10.2.0.10")


class Quiet(agent.Tracer):
    """A tracer without sockets."""

    def __init__(self):
        self.rows, self.lost, self.packets = [], 0, {}
        self.child, self.rope, self.open, self.saved = 0, -1, [], {}

    def sockets(self):
        return []


def recorded(name):
    lines = (DATA / f"trace-{name}.txt").read_text().splitlines()
    return [(int(kind), bytes.fromhex(body)) for kind, body in (line.split() for line in lines)]


def capture(*flows):
    found = Captured()
    found.cookies = {COOKIE}
    found.flows = dict.fromkeys(flows, 1)
    return found


TCP_FLOW = (agent.TCP, VANTAGE, 61623, TARGET, 1003)
UDP_FLOW = (agent.UDP, VANTAGE, 61625, TARGET, 2000)
ECHO = (agent.ICMP, VANTAGE, 61626, TARGET, 0)


def test_events_of_nft_are_told_of_probes():
    tracer = Quiet()
    tracer.sort(recorded("nft"), capture(TCP_FLOW, UDP_FLOW, ECHO))
    begin, jump, back, accept = [row for row in tracer.rows if row[0] == 61623]
    assert begin[1:8] == [1, "fwproof_trace", "in", 3, 2, -1, ""]
    assert jump[1:8] == [2, "filter", "INPUT", 3, 7, -3, "side"]
    assert back[1:8] == [2, "filter", "side", 3, 17, -5, ""]
    assert accept[1:8] == [2, "filter", "INPUT", 3, 8, 1, ""]
    assert {row[9] for row in (begin, jump, back, accept)} == {"afe1ddef"}
    assert [row[5] for row in tracer.rows if row[0] == 61625] == [6, 9]
    assert [row[5] for row in tracer.rows if row[0] == 61626] == [6, 11]


def test_nothing_is_told_of_strangers():
    """That includes what answers a probe and carries its marker on, which the trigger takes as well."""
    tracer = Quiet()
    tracer.sort(recorded("nft"), capture(UDP_FLOW))
    assert {row[0] for row in tracer.rows} == {61625}
    tracer = Quiet()
    tracer.sort(recorded("nft"), capture())
    assert tracer.rows == []


def test_an_id_that_comes_again_is_of_the_packet_that_began_last():
    tracer, known = Quiet(), capture(TCP_FLOW)
    events = recorded("nft")
    tracer.sort(events, known)
    told = len(tracer.rows)
    known.flows.clear()
    tracer.sort(events, known)
    assert len(tracer.rows) == told


def test_messages_of_legacy_rules_are_told_of_probes():
    tracer = Quiet()
    tracer.sort(recorded("legacy"), capture())  # these carry the marker, so they need no flow
    assert [row for row in tracer.rows if row[0] == tracer.rows[0][0]] == [
        [tracer.rows[0][0], 10, f"TRACE: filter:{step} "] for step in ("INPUT:rule:2", "side:rule:4", "INPUT:rule:3")
    ]
    assert len({row[0] for row in tracer.rows}) == 4
    other = capture()
    other.cookies = {COOKIE + 1}
    tracer = Quiet()
    tracer.sort(recorded("legacy"), other)
    assert tracer.rows == []


def test_other_messages_of_the_log_are_not_told():
    kind, body = recorded("legacy")[0]
    tracer = Quiet()
    tracer.sort([(kind, body.replace(b"TRACE: ", b"other: "))], capture())
    assert tracer.rows == []


@pytest.mark.parametrize("name", ["nft", "legacy"])
def test_cut_and_damaged_events_end_nothing(name):
    chance, known = random.Random(7), capture(TCP_FLOW, UDP_FLOW, ECHO)
    ports = {61623, 61625, 61626} | ({row[0] for row in told(name)} if name == "legacy" else set())
    for kind, body in recorded(name):
        damaged = [body[:size] for size in range(len(body))]
        for _ in range(50):
            other = bytearray(body)
            for _ in range(chance.randrange(1, 5)):
                other[chance.randrange(len(other))] = chance.randrange(256)
            damaged.append(bytes(other))
        tracer = Quiet()
        tracer.sort([(kind, each) for each in damaged], known)
        assert {row[0] for row in tracer.rows} <= ports


def told(name):
    tracer = Quiet()
    tracer.sort(recorded(name), capture())
    return tracer.rows


def test_what_is_held_is_bounded_and_what_is_lost_is_counted(monkeypatch):
    monkeypatch.setattr(agent, "MAX_TRACED", 3)
    tracer = Quiet()
    tracer.sort(recorded("nft"), capture(TCP_FLOW, UDP_FLOW, ECHO))
    assert len(tracer.rows) == 3
    assert tracer.lost == 5
    known = capture()
    known.tracer, known.sock = tracer, Statistics()
    answer = known.fetch()
    assert (len(answer["traced"]), answer["untold"]) == (3, 5)
    assert (known.fetch()["traced"], known.fetch()["untold"]) == ([], 0)


class Statistics:
    """The capture's socket, which has nothing."""

    def getsockopt(self, *_):
        return struct.pack("=II", 0, 0)

    def recvmsg(self, *_):
        raise BlockingIOError(errno.EAGAIN, "")


def test_an_overrun_is_counted(monkeypatch):
    class Overrun:
        answers = iter((OSError(errno.ENOBUFS, ""), struct.pack("=IHHII", 20, 0xA11, 0, 0, 0) + bytes(4),
                        BlockingIOError(errno.EAGAIN, "")))  # fmt: skip

        def recv(self, _size):
            answer = next(self.answers)
            if isinstance(answer, bytes):
                return answer
            raise answer

    tracer = Quiet()
    monkeypatch.setattr(tracer, "sockets", lambda: [Overrun()])
    assert tracer.drain() == [(0xA11, bytes(4))]
    assert tracer.lost == 1


def test_tracing_needs_the_administrators_word(monkeypatch):
    asked = agent.Agent()
    asked.capture = capture()
    monkeypatch.setattr(agent, "MAY_TRACE", False)
    with pytest.raises(agent.Refused, match="tracing is not allowed here"):
        asked.op_trace({"on": True})


def test_tracing_needs_a_capture():
    with pytest.raises(agent.Refused, match="start the capture first"):
        agent.Agent().op_trace({"on": True})


@pytest.mark.parametrize(("words", "may"), [("", False), ("--trace", True), ("--trace x", False), ("--trac", False)])
def test_the_installed_file_traces_only_by_its_argument(words, may):
    path = Path(agent.__file__)
    code = (
        f"import sys; sys.argv[1:] = {words.split()!r}; import runpy; print(runpy.run_path({str(path)!r})['MAY_TRACE'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(may)


# ---- the watchdog


def write(path, text):
    path.write_text(text)
    return str(path)


def test_a_setting_is_restored_when_tracing_ends(tmp_path):
    path = write(tmp_path / "2", "nfnetlink_log")
    tracer = Quiet()
    tracer.child, tracer.rope = agent.watchdog({path: "nf_log_ipv4"})
    assert agent.read(path) == "nfnetlink_log"
    tracer.close()
    assert agent.read(path) == "nf_log_ipv4"
    tracer.close()  # again


@pytest.mark.parametrize("error", [agent.Refused("no such table"), OSError(errno.EPERM, "no")])
def test_what_fails_half_way_is_undone(tmp_path, monkeypatch, error):
    write(tmp_path / "names", "filter")
    path = write(tmp_path / "2", "nf_log_ipv4")
    during = []

    def pull(self, _cookies):
        during.append((agent.read(path), self.child))
        raise error

    pairs = []
    monkeypatch.setattr(agent, "netfilter", lambda: pairs.append(socket.socketpair()) or Fake(pairs[-1][0]))
    monkeypatch.setattr(agent, "acknowledge", lambda *_: None)
    monkeypatch.setattr(agent, "LEGACY_TABLES", {2: str(tmp_path / "names"), 10: str(tmp_path / "none")})
    monkeypatch.setattr(agent, "NF_LOG", str(tmp_path / "{}"))
    monkeypatch.setattr(agent.Tracer, "pull", pull)
    with pytest.raises(type(error)):
        agent.Tracer({COOKIE})
    ((value, child),) = during
    assert value == "nfnetlink_log"
    assert agent.read(path) == "nf_log_ipv4"
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    for one, other in pairs:
        assert one.fileno() == -1
        other.close()


class Fake:
    """A netlink socket that takes everything."""

    def __init__(self, sock):
        self.sock = sock

    def setsockopt(self, *_):
        pass

    def send(self, _data):
        pass

    def close(self):
        self.sock.close()


def test_a_setting_that_somebody_changed_meanwhile_stays(tmp_path):
    path = write(tmp_path / "2", "nfnetlink_log")
    tracer = Quiet()
    tracer.child, tracer.rope = agent.watchdog({path: "NONE"})
    write(tmp_path / "2", "nf_log_syslog")
    tracer.close()
    assert agent.read(path) == "nf_log_syslog"


def test_an_agent_whose_watchdog_is_gone_restores_by_itself(tmp_path):
    path = write(tmp_path / "2", "nfnetlink_log")
    tracer = Quiet()
    tracer.saved = {path: "nf_log_ipv4"}
    tracer.child, tracer.rope = agent.watchdog(tracer.saved)
    os.kill(tracer.child, signal.SIGKILL)
    tracer.close()
    assert agent.read(path) == "nf_log_ipv4"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("whom", ["agent", "watchdog", "both"])
def test_a_setting_is_restored_whoever_is_killed(tmp_path, whom, number):
    path = write(tmp_path / "2", "nfnetlink_log")
    code = (
        "import sys, time; from fwproof.probing import agent\n"
        "print(*agent.watchdog({sys.argv[1]: 'NONE'}), flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline().split()[0])
    time.sleep(0.1)  # so that the watchdog listens for signals
    kept = whom != "agent" and number == signal.SIGKILL  # nobody is left who could; the agent's docstring says so
    if whom != "agent":
        os.kill(child, number)
    if whom != "watchdog":
        process.send_signal(number)
    end = time.monotonic() + 5
    wanted = "nfnetlink_log" if kept else "NONE"
    while agent.read(path) != wanted and time.monotonic() < end:
        time.sleep(0.01)
    assert agent.read(path) == wanted
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_watchdog_outlives_the_session_of_its_agent(tmp_path):
    path = write(tmp_path / "2", "nfnetlink_log")
    code = (
        "import sys, time; from fwproof.probing import agent\n"
        "agent.watchdog({sys.argv[1]: 'NONE'}); print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout.readline() == b"\n"
    time.sleep(0.1)  # so that the watchdog has its own session
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 5
    while agent.read(path) != "NONE" and time.monotonic() < end:
        time.sleep(0.01)
    assert agent.read(path) == "NONE"


def test_the_watchdog_holds_nothing_open(tmp_path):
    here, there = socket.socketpair()
    tracer = Quiet()
    tracer.child, tracer.rope = agent.watchdog({write(tmp_path / "2", "x"): "y"})
    there.close()
    here.settimeout(5)
    assert here.recv(1) == b""  # else the end of an SSH channel would not be seen
    here.close()
    tracer.close()
