"""The agent's own rules, without a kernel: what it keeps, what it sends, what it refuses."""

import ast
import json
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from ipaddress import ip_address

import pytest

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Flow
from fwproof.probing import agent
from fwproof.probing.bootstrap import agent_source, stream_argv
from fwproof.probing.frames import probe_frames, reset_frame, solicitation_frame

COOKIE = 0xBEEF
FOUR, SIX = (ip_address("10.0.0.1"), ip_address("10.0.0.10")), (ip_address("fd00::1"), ip_address("fd00::10"))
OWN = {"10.0.0.1", "fd00::1"}


def flow(proto, *, six=False, sport=61000, dport=22, **more):
    src, dst = SIX if six else FOUR
    return Flow(src=src, dst=dst, proto=proto, sport=sport, dport=dport, **more)


def frame(proto, **more):
    return probe_frames(flow(proto, **more), COOKIE)[0]


class Captured(agent.Capture):
    """A capture without sockets."""

    def __init__(self):
        self.cookies = {COOKIE}
        self.flows, self.sources, self.solicited = {}, set(), set()
        self.packets, self.confirmed, self.lost = [], [], 0
        self.portless, self.heads, self.pieces, self.waiting = {}, {}, {}, []
        self.events = {4: 0, 6: 0}
        self.tracker, self.watches, self.tracer = None, {}, None


def run_bpf(program, packet):
    """Interpret classic BPF as the kernel does (Documentation/networking/filter.rst): bytes kept, 0 is dropped."""
    a = x = at = 0
    while True:
        code, jt, jf, k = program[at]
        at += 1
        if code == 0x06:
            return k
        if code in (0x30, 0x28, 0x20, 0x50, 0x48, 0x40):
            offset, size = k + (x if code & 0x40 else 0), {0x10: 1, 0x08: 2, 0x00: 4}[code & 0x18]
            if offset + size > len(packet):
                return 0
            a = int.from_bytes(packet[offset : offset + size], "big")
        elif code == 0xB1:
            x = (packet[k] & 15) * 4
        elif code == 0x54:
            a &= k
        else:
            taken = {0x15: a == k, 0x25: a > k, 0x35: a >= k, 0x45: bool(a & k)}[code]
            at += jt if taken else jf


PROGRAM = agent.assemble(agent.bpf_source())


def error(quoted, *, six=False, kind=3):
    body = struct.pack("!BBHI", kind, 0, 0, 0) + quoted
    if six:
        return struct.pack("!IHBB", 6 << 28, len(body), ICMPV6, 64) + SIX[1].packed + SIX[0].packed + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, ICMP, 0)
    return head + FOUR[1].packed + FOUR[0].packed + body


def with_options(packet):
    return bytes([0x46]) + packet[1:20] + b"\1\1\1\0" + packet[20:]


def icmp_reply(packet, kind):
    at = 20 if packet[0] >> 4 == 4 else 40
    return packet[:at] + bytes([kind]) + packet[at + 1 :]


@pytest.mark.parametrize(
    "packet",
    [
        frame(TCP),
        frame(UDP, sport=64999),
        frame(ICMP),
        frame(TCP, six=True),
        frame(UDP, six=True),
        frame(ICMPV6, six=True),
        with_options(frame(TCP)),
        icmp_reply(frame(ICMP), 0),
        icmp_reply(frame(ICMPV6, six=True), 129),
        error(frame(TCP)),
        error(frame(TCP), kind=11),
        error(frame(TCP, six=True), six=True, kind=1),
        solicitation_frame(SIX[0], SIX[1], "02:00:00:00:00:01"),
    ],
)
def test_the_kernel_filter_keeps_probes(packet):
    assert run_bpf(PROGRAM, packet) == agent.SNAPLEN


def swapped(packet):
    """The same packet with source and destination port exchanged."""
    at = 20 if packet[0] >> 4 == 4 else 40
    return packet[:at] + packet[at + 2 : at + 4] + packet[at : at + 2] + packet[at + 4 :]


def test_the_kernel_filter_looks_at_exactly_the_port_block():
    for port, kept in ((60999, 0), (61000, 128), (63000, 128), (64999, 128), (65000, 0), (22, 0)):
        for proto, six in ((TCP, False), (UDP, False), (TCP, True), (UDP, True)):
            packet = frame(proto, six=six, sport=port)
            assert run_bpf(PROGRAM, packet) == kept, (port, proto, six)
            assert run_bpf(PROGRAM, swapped(packet)) == kept, (port, proto, six)
        assert run_bpf(PROGRAM, frame(ICMP, sport=port)) == kept
        assert run_bpf(PROGRAM, frame(ICMPV6, six=True, sport=port)) == kept


def test_the_kernel_filter_drops_the_rest():
    later_fragment = bytearray(frame(TCP))
    later_fragment[6:8] = b"\x00\x10"
    router_advertisement = bytearray(frame(ICMPV6, six=True))
    router_advertisement[40] = 134
    for packet in (
        later_fragment,
        router_advertisement,
        b"\x00" * 60,
        frame(TCP)[:9] + b"\x2f" + frame(TCP)[10:],
        b"\x45",
    ):
        assert run_bpf(PROGRAM, bytes(packet)) == 0
    rng = random.Random(7)  # a reader outside the packet must end the program, not the test
    for _ in range(3000):
        run_bpf(PROGRAM, rng.randbytes(rng.randrange(1, 90)))


def test_jumps_stay_inside_the_program_and_go_forward():
    for at, (_, jt, jf, _) in enumerate(PROGRAM):
        assert 0 <= jt <= 255
        assert 0 <= jf <= 255
        assert at + 1 + max(jt, jf) <= len(PROGRAM)


def kept(capture, packet, *, outgoing=False):
    before = len(capture.packets)
    capture.take(packet, outgoing, "eth0", 1)
    return capture.packets[before][3] if len(capture.packets) > before else None


def test_only_marked_flows_are_kept():
    capture = Captured()
    stranger = bytearray(frame(TCP))
    stranger[24:28] = b"\x12\x34\x56\x78"  # the sequence number
    assert kept(capture, bytes(stranger)) is None
    assert kept(capture, error(bytes(stranger))) is None
    assert capture.sources == set()
    other_run = probe_frames(flow(TCP), COOKIE ^ 1)[0]
    assert kept(capture, other_run) is None
    assert kept(capture, frame(TCP)) == "probe"
    assert capture.sources == {FOUR[0].packed}
    assert kept(capture, bytes(stranger)) == "probe", "the flow is known now: the vantage's own RST"
    assert kept(capture, error(frame(TCP)), outgoing=True) == "error"


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("proto", [TCP, UDP, ICMP])
def test_answers_belong_to_their_probe(proto, six):
    proto = ICMPV6 if six and proto == ICMP else proto
    probe = frame(proto, six=six)
    at, cut = (40, (8, 24, 40)) if six else (20, (12, 16, 20))
    ends = probe[: cut[0]] + probe[cut[1] : cut[2]] + probe[cut[0] : cut[1]]
    if proto in (TCP, UDP):
        body = probe[at + 2 : at + 4] + probe[at : at + 2] + probe[at + 4 :]
    else:
        body = bytes([129 if six else 0]) + probe[at + 1 :]
    capture = Captured()
    assert kept(capture, ends + body, outgoing=True) is None
    assert kept(capture, probe) == "probe"
    assert kept(capture, ends + body, outgoing=True) == "answer"
    assert capture.packets[-1][1:3] + capture.packets[-1][5:6] == ["out", "eth0", 61000]


def test_no_payload_and_no_long_tap():
    capture = Captured()
    assert kept(capture, frame(TCP) + b"secret words") == "probe"
    assert b"secret" not in bytes.fromhex(capture.packets[0][6])
    for _ in range(100):
        kept(capture, frame(TCP) + b"secret")
    assert len(capture.packets) == agent.MAX_PER_FLOW


def test_sources_are_those_whose_marked_packet_came_in():
    capture = Captured()
    kept(capture, frame(TCP), outgoing=True)
    assert capture.sources == set()


@pytest.mark.parametrize(
    "good",
    [
        frame(TCP),
        frame(UDP),
        frame(ICMP),
        frame(TCP, six=True, length=80),
        frame(UDP, six=True),
        frame(ICMPV6, six=True),
        reset_frame(flow(TCP), COOKIE),
        reset_frame(flow(TCP, six=True), COOKIE),
        frame(UDP, length=120),
    ],
)
def test_probes_may_be_sent(good):
    agent.check_frame(good, Captured(), OWN)


def test_a_solicitation_may_be_sent_and_its_answer_is_kept():
    capture = Captured()
    frame_ = solicitation_frame(SIX[0], SIX[1], "02:00:00:00:00:01")
    assert kept(capture, frame_) is None
    agent.check_frame(frame_, capture, OWN)
    assert kept(capture, frame_) == "neighbour"


def test_no_more_than_some_addresses_are_watched_for_solicitations(monkeypatch):
    monkeypatch.setattr(agent, "MAX_SOLICITED", 1)
    capture = Captured()
    for _ in range(2):
        agent.note_solicited(capture, SIX[0].packed)
    with pytest.raises(agent.Refused, match="at most 1 addresses"):
        agent.check_frame(solicitation_frame(SIX[0], SIX[1], "02:00:00:00:00:01"), capture, OWN)


def edited(packet, at, data):
    return packet[:at] + data + packet[at + len(data) :]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (frame(TCP)[:12] + FOUR[1].packed + frame(TCP)[16:], "not an address of this host"),
        (probe_frames(flow(TCP, sport=1024), COOKIE)[0], "from ports"),
        (probe_frames(flow(TCP), COOKIE ^ 1)[0], "marker"),
        (frame(TCP) + b"GET /", "empty"),
        (edited(frame(UDP), 28, b"\xff\x00 other"), "marker"),
        (frame(UDP) + b"more", "marker"),
        (frame(UDP, length=128) + b"\0", "one whole IP packet"),
        (edited(frame(TCP), 6, b"\x20\x00"), "one whole IP packet"),
        (edited(frame(TCP), 16, bytes([224, 0, 0, 1])), "unicast"),
        (edited(frame(TCP), 16, b"\xff\xff\xff\xff"), "unicast"),
        (edited(frame(UDP, six=True), 24, b"\xff\x02"), "unicast"),
        (edited(frame(ICMP), 20, b"\x05"), "TCP, UDP or ICMP echo"),
        (edited(frame(TCP), 9, b"\x2f"), "TCP, UDP or ICMP echo"),
        (edited(solicitation_frame(*SIX, "02:00:00:00:00:01"), 39, b"\x01"), "group of its target"),
        (b"", "one whole IP packet"),
        (b"\x45" * 24, "one whole IP packet"),
    ],
)
def test_anything_else_is_not_sent(bad, why):
    with pytest.raises(agent.Refused, match=why):
        agent.check_frame(bad, Captured(), OWN)


@pytest.mark.parametrize(
    ("entry", "address", "covered"),
    [
        ("10.0.5.7", "10.0.5.7", True),
        ("10.0.5.0", "10.0.5.7", True),
        ("10.0.0.0", "10.0.5.7", True),
        ("10.0.5.6", "10.0.5.7", False),
        ("10.0.5.4", "10.0.5.7", False),
        ("10.0.5.8", "10.0.5.7", False),
        ("10.0.5.17", "10.0.5.7", False),
        ("0.0.0.0", "10.0.5.7", False),
        ("fd00:0000:0000:0005:0000:0000:0000:0007", "fd00:0:0:5::7", True),
        ("fd00:0000:0000:0005:0000:0000:0000:0000", "fd00:0:0:5::7", True),
        ("fd00:0000:0000:0006:0000:0000:0000:0000", "fd00:0:0:5::7", False),
        ("::", "fd00:0:0:5::7", False),
        ("10.0.5.7", "fd00:0:0:5::7", False),
        ("rubbish", "10.0.5.7", False),
    ],
)
def test_an_entry_of_a_rate_list_is_the_address_or_its_network(entry, address, covered):
    assert agent.covers(entry, ip_address(address).packed) is covered


def test_conntrack_events_of_strangers_are_not_told(monkeypatch):
    capture = Captured()
    mine, other = (TCP, FOUR[0].packed, 61000, FOUR[1].packed, 22), (TCP, FOUR[0].packed, 61001, FOUR[1].packed, 22)
    for event in (mine, other, (TCP, FOUR[0].packed, 40000, FOUR[1].packed, 22), None):
        capture.note_event(event)
    capture.learn(mine)
    monkeypatch.setattr(capture, "pump", lambda: None)
    capture.sock = type("Sock", (), {"getsockopt": lambda *_: struct.pack("=II", 5, 2)})()
    answer = capture.fetch()
    assert answer["confirmed"] == [[TCP, "10.0.0.1", 61000, "10.0.0.10", 22]]
    assert answer["lost"] == 2
    assert capture.events[4] == 3


def converse(*lines):
    """Run the agent as it is streamed, without any privilege that matters, and return its answers."""
    source = agent_source()
    stdin = b"%d\n" % len(source) + source + b"".join(line + b"\n" for line in lines)
    argv = [sys.executable, *stream_argv(sudo=False)[1:]]
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=30, check=True)
    assert done.stderr == b""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_hostile_input_gets_an_answer_each_and_ends_nothing():
    requests = [
        b"rubbish",
        b"[]",
        b"\xff\xfe",
        b'{"ref":1}',
        b'{"ref":2,"op":"__init__"}',
        b'{"ref":3,"op":"capture"}',
        b'{"ref":4,"op":"get"}',
        b'{"ref":5,"op":"counters","name":"/bin/sh"}',
        b'{"ref":6,"op":"unban","jail":"-h","address":"10.0.0.1"}',
        b'{"ref":7,"op":"connect","address":"127.0.0.1; id","port":1}',
        b'{"ref":8,"op":"connect","address":"127.0.0.1","port":true}',
        b'{"ref":9,"op":"route","dst":null}',
        b'{"ref":10,"op":"hello"}',
        b'{"ref":11,"op":"bye"}',
        b'{"ref":12,"op":"hello"}',
    ]
    answers = converse(*requests)
    kinds = [answer.get("kind", "ok") for answer in answers]
    assert kinds == ["bad"] * 3 + ["refused"] * 2 + ["bad"] + ["refused"] * 3 + ["bad"] * 3 + ["ok", "ok"]
    assert answers[12]["ok"]["version"] == agent.VERSION


def test_connections_are_kept_until_they_are_released():
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listener:
        place = f'"address":"127.0.0.1","source":"127.0.0.1","port":{listener.getsockname()[1]},"patience":0.2'
        answers = converse(
            f'{{"op":"hold","count":3,{place}}}'.encode(), b'{"op":"release"}',
            f'{{"op":"hold","count":1,{place}}}'.encode(), b'{"op":"finish","patience":1.0}', b'{"op":"release"}',
        )  # fmt: skip
        ends = []
        for _ in range(3):
            with listener.accept()[0] as peer:
                try:
                    ends.append(peer.recv(1))
                except ConnectionResetError:
                    ends.append("reset")
    assert [answer["ok"] for answer in answers] == [
        {"stood": 3, "result": "connected"}, {"released": 3},
        {"stood": 1, "result": "connected"}, {"kept": 1, "acknowledged": 1}, {"released": 1},
    ]  # fmt: skip
    assert ends == ["reset"] * 3, "nothing of them stays"


def test_what_is_kept_has_its_bounds():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    place = f'"op":"hold","address":"127.0.0.1","port":{port},"patience":0.2'
    answers = converse(
        f'{{{place},"source":"127.0.0.1","count":2}}'.encode(), f'{{{place},"source":"10.9.9.9","count":1}}'.encode(),
        f'{{{place},"source":"127.0.0.1","count":257}}'.encode(), f'{{{place},"count":1}}'.encode(),
    )  # fmt: skip
    assert [answer["ok"]["result"] for answer in answers[:2]] == ["ECONNREFUSED", "EADDRNOTAVAIL"]
    assert [answer["kind"] for answer in answers[2:]] == ["bad", "bad"]


def test_the_file_is_one_that_old_hosts_can_run():
    source = agent_source()
    ast.parse(source, feature_version=(3, 6))
    assert len(source) < 104_000
    assert source.startswith(b"#!/usr/bin/python3 -IS\n")
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else name.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in node.names
    }
    assert imported <= sys.stdlib_module_names


# ---- the end, however it comes


@pytest.fixture
def streaming():
    """An agent that runs in a process of its own, and what one says to it."""
    running = subprocess.Popen(
        [sys.executable, *stream_argv(sudo=False)[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )  # fmt: skip
    source = agent_source()
    running.stdin.write(b"%d\n" % len(source) + source)
    running.stdin.flush()

    def say(**request):
        running.stdin.write(json.dumps(request).encode() + b"\n")
        running.stdin.flush()

    def ask(**request):
        say(**request)
        return json.loads(running.stdout.readline())

    running.say, running.ask = say, ask
    yield running
    running.kill()
    running.wait()
    running.stdin.close()
    running.stdout.close()


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listener:
        listener.settimeout(5)
        yield listener


def place(listener):
    return {"address": "127.0.0.1", "source": "127.0.0.1", "port": listener.getsockname()[1], "patience": 0.5}


def was_reset(peer):
    peer.settimeout(5)
    with pytest.raises(ConnectionResetError):
        peer.recv(1)
    return True


def test_an_operation_ends_with_the_input(streaming, listener):
    streaming.ask(op="hello")
    streaming.say(op="connect", **{**place(listener), "patience": 20, "limit": 10})
    peer = listener.accept()[0]  # which never says anything
    begun = time.monotonic()
    streaming.stdin.close()
    assert streaming.wait(5) == 0
    assert time.monotonic() - begun < 1.0
    peer.close()


@pytest.mark.parametrize("end", ["input", signal.SIGTERM, signal.SIGHUP])
def test_kept_connections_are_reset_at_the_end(streaming, listener, end):
    assert streaming.ask(op="hold", count=2, **place(listener))["ok"]["stood"] == 2
    peers = [listener.accept()[0] for _ in range(2)]
    begun = time.monotonic()
    if end == "input":
        streaming.stdin.close()
    else:
        streaming.send_signal(end)
    assert all(was_reset(peer) for peer in peers)
    assert time.monotonic() - begun < 1.0
    assert streaming.wait(5) == 0
    for peer in peers:
        peer.close()


def test_kept_connections_are_reset_when_nobody_speaks(streaming, listener):
    """As when the way to the auditor is cut, and no end of input ever comes."""
    streaming.ask(op="hold", count=1, **place(listener))
    with listener.accept()[0] as peer:
        for _ in range(8):  # as long as somebody does, they stay
            time.sleep(0.2)
            assert streaming.ask(op="alive")["ok"] == {}
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(1)
        peer.setblocking(True)
        begun = time.monotonic()
        assert was_reset(peer)
        assert 0.5 < time.monotonic() - begun < 1.6
    answer = streaming.ask(op="finish", patience=0.1)
    assert (answer["kind"], answer["error"][:25]) == ("refused", "the connections were rese")
    assert streaming.ask(op="hold", count=1, **place(listener))["ok"]["stood"] == 1, "and it starts afresh"


def test_bans_are_lifted_at_the_end_as_soon_as_they_are_there(monkeypatch):
    said, answers = [], [(0, "0\n", ""), (0, "0\n", ""), (0, "1\n", "")]
    monkeypatch.setattr(agent, "command", lambda words: (said.append(words), answers.pop(0))[1])
    one = agent.Agent()
    one.owed = [("web", bytes((10, 0, 0, 1)))]
    one.settle()
    assert said == [("fail2ban-client", "set", "web", "unbanip", "10.0.0.1")] * 3
    assert one.owed == []


def test_what_is_owed_needs_what_an_unban_needs(monkeypatch):
    monkeypatch.setattr(agent, "command", lambda words: (0, "Jail list: web, ssh", ""))
    one = agent.Agent()
    one.capture = type("C", (), {"sources": {bytes((10, 0, 0, 1))}, "pump": lambda _: None})()
    for jail, address, why in (("-x", "10.0.0.1", "no such jail"), ("web", "10.0.0.2", "no probe")):
        with pytest.raises(agent.Refused, match=why):
            one.op_owe({"jail": jail, "address": address})
    one.op_owe({"jail": "web", "address": "10.0.0.1"})
    one.op_owe({"jail": "web", "address": "10.0.0.1"})
    assert one.owed == [("web", bytes((10, 0, 0, 1)))]
    one.op_owe({"jail": "web", "address": "10.0.0.1", "paid": True})
    assert one.owed == []


def test_nothing_is_sent_for_longer_than_a_second(monkeypatch):
    monkeypatch.setattr(agent, "own_addresses", lambda: OWN)
    one, left = agent.Agent(), []
    one.capture = type("C", (), {"cookies": {COOKIE}, "learn": lambda *_: None})()
    one.rest, one.transmit = lambda _: None, lambda frame: left.append(frame) or 0
    frames = [frame(TCP, sport=61000 + n).hex() for n in range(4)]
    with pytest.raises(agent.Refused, match="at most 1 s at a time"):
        one.op_send({"frames": frames, "gap": 0.4})
    assert not left
    one.op_send({"frames": frames, "gap": 0.3})
    assert len(left) == 4
