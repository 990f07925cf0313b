import struct
import sys
from ipaddress import ip_address

import pytest

from fwproof.errors import AgentRefused, CommandTimeout, Garbled, HostUnreachable
from fwproof.flow import Family
from fwproof.observation import Seen
from fwproof.probing.bootstrap import stream_argv, streamed
from fwproof.probing.channel import Agent
from fwproof.probing.filing import File
from fwproof.probing.local import ProcessChannel
from fwproof.probing.pcap import pcap_bytes
from fwproof.probing.ports import BLOCK, Ports


class Script:
    """A channel that gives prepared lines."""

    def __init__(self, *lines, stderr=""):
        self.lines, self.stderr, self.sent = list(lines), stderr, []

    def send(self, data):
        self.sent.append(data)

    def readline(self, timeout):
        line = self.lines.pop(0)
        if isinstance(line, Exception):
            raise line
        return line

    def close(self):
        pass


@pytest.mark.parametrize(
    ("lines", "error", "why"),
    [
        ([b"Last login: Monday\n"], Garbled, "not one: Last login"),
        ([b'{"ref":7,"ok":{}}\n'], Garbled, "not one"),
        ([b'{"ref":1}\n'], Garbled, "no result"),
        ([b'{"ref":[1],"ok":{}}\n'], Garbled, "not one"),
        ([b"[" * 100_000 + b"\n"], Garbled, "not one"),
        ([b"\x1b[2J\xff\n"], Garbled, r"\\x1b\[2J\\xff"),
        ([b'{"ref":1,"error":"no \\u001b[0m way","kind":"refused"}\n'], AgentRefused, r"no \\x1b\[0m way"),
        ([b""], AgentRefused, "sudo: a password is required"),
    ],
)
def test_bad_answers(lines, error, why):
    with pytest.raises(error, match=why):
        Agent("h", Script(*lines, stderr="sudo: a password is required\n")).call("hello")


def test_a_refusal_leaves_the_agent_usable_and_a_timeout_does_not():
    agent = Agent("h", Script(b'{"ref":1,"error":"no","kind":"refused"}\n', b'{"ref":2,"ok":{"a":1}}\n'))
    with pytest.raises(AgentRefused):
        agent.call("x")
    assert agent.call("x") == {"a": 1}
    late = Agent("h", Script(CommandTimeout("h", "late"), b'{"ref":1,"ok":{}}\n'))
    for _ in range(2):
        with pytest.raises(CommandTimeout, match="late"):
            late.call("x")


def test_another_version_is_refused():
    with pytest.raises(AgentRefused, match="version 99"):
        Agent("h", Script(b'{"ref":1,"ok":{"version":99}}\n')).hello()
    with pytest.raises(Garbled, match="greeting"):
        Agent("h", Script(b'{"ref":1,"ok":{"version":1}}\n')).hello()


def test_captures_are_filed_by_port():
    packets = b'[[1000000000,"in","eth0","probe",6,61000,"00"],[2000000000,"out","eth0","answer",6,61001,"00"]]'
    body = b'{"ref":1,"ok":{"packets":%s,"confirmed":[[6,"10.0.0.1",61000,"10.0.0.2",22]],' % packets
    agent = Agent("h", Script(body + b'"tracking":{"ipv4":true,"ipv6":false},"lost":3}}\n'))
    first, second = agent.open(61000), agent.open(61001)
    agent.collect()
    assert [caught.seen.time for caught in first.caught] == [1.0]
    assert (first.confirmed, second.confirmed, agent.lost) == (True, False, 3)
    assert (agent.tracks(Family.IPV4), agent.tracks(Family.IPV6)) == (True, False)
    assert agent.open(61000) == File()
    assert (len(first.caught), first.confirmed) == (1, True)  # what is known of the first packet stays


def test_what_a_trace_tells_is_filed_by_port():
    rows = b'[[61000,2,"TRACE: filter:INPUT:rule:4 "],[61001,2,"filter","INPUT",3,7,1,"",null,"aa"]]'
    body = b'{"packets":[],"confirmed":[],"tracking":{},"lost":0,"traced":%s,"untold":2}' % rows
    agent = Agent("h", Script(b'{"ref":1,"ok":' + body + b"}\n"))
    first, second = agent.open(61000), agent.open(61001)
    agent.collect()
    assert [(e.legacy, e.number) for e in first.events] == [(True, 4)]
    assert [(e.legacy, e.number, e.verdict) for e in second.events] == [(False, 7, "accept")]
    assert (agent.untold, agent.lost) == (2, 0)


def test_a_trace_begins_with_the_handles_of_the_rules():
    script = Script(b'{"ref":1,"ok":{"rules":[[2,"filter","INPUT",[4]]],"legacy":[]}}\n', b'{"ref":2,"ok":{}}\n')
    agent = Agent("h", script)
    assert agent.trace(on=True) == {("ip", "filter", "INPUT"): (4,)}
    assert agent.tracing
    assert agent.trace(on=False) == {}
    assert not agent.tracing
    with pytest.raises(Garbled, match="list of rules"):
        Agent("h", Script(b'{"ref":1,"ok":{"rules":[[2]]}}\n')).trace(on=True)


@pytest.mark.parametrize(
    "body",
    [
        b'{"packets":[["x"]]}',
        b"{}",
        b'{"packets":7}',
        b'{"packets":[[1e400,"in","e","probe",6,1,"00"]],"confirmed":[],"tracking":{},"lost":[]}',
        b'{"packets":[[1,"in","e","probe",6,1,9]],"confirmed":[],"tracking":{},"lost":0}',
        b'{"packets":[],"confirmed":[[6,"no address",1,"x",2]],"tracking":{},"lost":0}',
        b'{"packets":[],"confirmed":[],"tracking":7,"lost":0}',
        b'{"packets":[],"confirmed":[],"tracking":{},"lost":0,"traced":[[1]]}',
        b'{"packets":[],"confirmed":[],"tracking":{},"lost":0,"traced":[[1,2,"x"]]}',
        b'{"packets":[],"confirmed":[],"tracking":{},"lost":0,"traced":[7]}',
        b'{"packets":[],"confirmed":[],"tracking":{},"lost":0,"untold":"many"}',
    ],
)
def test_captures_that_cannot_be_read(body):
    with pytest.raises(Garbled, match="captures"):
        Agent("h", Script(b'{"ref":1,"ok":' + body + b"}\n")).collect()


def test_names_from_a_host_are_made_harmless():
    row = b'[1,"sideways","<b>\\u001b[31m","probe",6,61000,"00"]'
    agent = Agent("h", Script(b'{"ref":1,"ok":{"packets":[' + row + b'],"confirmed":[],"tracking":{},"lost":0}}\n'))
    file = agent.open(61000)
    agent.collect()
    (caught,) = file.caught
    assert "\x1b" not in caught.seen.summary
    assert caught.seen.direction == "in"


def test_a_real_agent_greets_over_a_process():
    argv = (sys.executable, *stream_argv(sudo=False)[1:])
    agent = Agent("here", streamed(ProcessChannel("here", argv)))
    hello = agent.hello()
    agent.close()
    assert abs(hello.skew) < 5
    assert ip_address("127.0.0.1") in hello.addresses or not any(link.up for link in hello.interfaces)


def test_a_process_that_hangs_or_ends():
    hanging = ProcessChannel(
        "h", (sys.executable, "-c", "import sys; print('par', end='', flush=True); sys.stdin.read()")
    )
    with pytest.raises(CommandTimeout):
        hanging.readline(0.2)
    hanging.close()
    hanging.close()
    ended = ProcessChannel("h", (sys.executable, "-c", "import sys; sys.exit('no such thing')"))
    assert ended.readline(5) == b""
    assert "no such thing" in ended.stderr
    with pytest.raises(HostUnreachable):
        ended.send(b"x" * 10_000_000)
    ended.close()


def test_ports_rotate_through_the_whole_block():
    ports = Ports(start=64998)
    taken = [ports.take() for _ in range(BLOCK)]
    assert taken[:3] == [64998, 64999, 61000]
    assert len(set(taken)) == BLOCK


def test_pcap():
    raw = bytes([0x45, 0]) + struct.pack("!H", 100) + bytes(16)
    seen = [Seen(host="h", direction="in", time=time, summary="", raw=raw) for time in (2.5, 1.000000001)]
    data = pcap_bytes(seen)
    assert struct.unpack_from("<IHHiIII", data) == (0xA1B23C4D, 2, 4, 0, 0, 65535, 101)
    assert struct.unpack_from("<IIII", data, 24) == (1, 1, 20, 100)
    assert struct.unpack_from("<IIII", data, 24 + 16 + 20) == (2, 500_000_000, 20, 100)
    assert data.endswith(raw)


def test_scapy_reads_the_pcap(tmp_path):
    from scapy.utils import rdpcap

    raw = bytes([0x45, 0]) + struct.pack("!HHHBBH", 20, 0, 0, 64, 0, 0) + bytes([10, 0, 0, 1, 10, 0, 0, 2])
    path = tmp_path / "probe.pcap"
    path.write_bytes(pcap_bytes([Seen(host="h", direction="in", time=1.5, summary="", raw=raw)]))
    (packet,) = rdpcap(str(path))
    assert packet.src == "10.0.0.1"
