"""The agent's sweeps, without a kernel: which templates it sends, what it counts, when it stops."""

import random
import struct
from ipaddress import ip_address

import pytest

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Flow
from fwproof.probing import agent, portset
from fwproof.probing.frames import probe_frames, sweep_frame

from .test_agent import COOKIE, FOUR, SIX, run_bpf

PORT = 65007


def flow(proto, *, six=False, sport=PORT, tos=0x28):
    src, dst = SIX if six else FOUR
    return Flow(src=src, dst=dst, proto=proto, sport=sport, tos=tos)


def frame(proto, **more):
    return sweep_frame(flow(proto, **more), COOKIE)


def template(proto, **more):
    return agent.Template(frame(proto, **more), {COOKIE})


def to(proto, port, **more):
    """Return the template as the agent sends it to a port."""
    found = template(proto, **more)
    packet = found.frame
    struct.pack_into("!H", packet, found.at, port)
    struct.pack_into("!H", packet, found.patch, (found.base - port) % 65535)
    return bytes(packet)


def ones(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("proto", [TCP, UDP])
def test_the_checksum_is_right_for_every_port(proto, six):
    found = template(proto, six=six)
    at, ends = (40, slice(8, 40)) if six else (20, slice(12, 20))
    for port in range(1, 65536):
        struct.pack_into("!H", found.frame, found.at, port)
        struct.pack_into("!H", found.frame, found.patch, (found.base - port) % 65535)
        if port % 97 and 2 < port < 65530:
            continue
        rest = bytes(found.frame[at:])
        pseudo = bytes(found.frame[ends]) + struct.pack("!II", len(rest), proto)
        assert ones(pseudo + rest) == 0xFFFF, port


def test_a_reset_is_one_further_in_the_sequence():
    back = agent.Template(sweep_frame(flow(TCP), COOKIE, reset=True), {COOKIE})
    assert back.mark == template(TCP).mark


def edited(packet, at, data):
    return packet[:at] + data + packet[at + len(data) :]


@pytest.mark.parametrize(("bad", "why"), [
    (frame(TCP, sport=61000), "from ports"),
    (frame(TCP, sport=65500), "from ports"),
    (sweep_frame(flow(TCP), COOKIE ^ 1), "marker"),
    (sweep_frame(flow(UDP), COOKIE ^ 1), "marker"),
    (frame(TCP) + b"GET /", "empty SYN"),
    (frame(UDP) + b"x", "empty SYN"),
    (edited(frame(TCP), 33, b"\x10"), "empty SYN"),
    (edited(frame(TCP), 46, b"\x01\x01"), "empty SYN"),
    (probe_frames(flow(UDP), COOKIE)[0], "empty SYN"),
    (edited(frame(TCP), 16, bytes([224, 0, 0, 1])), "unicast"),
    (edited(frame(TCP, six=True), 24, b"\xff\x02"), "unicast"),
    (edited(frame(TCP), 6, b"\x20\x00"), "one whole IP packet"),
    (edited(frame(TCP), 9, b"\x2f"), "empty SYN"),
    (b"", "one whole IP packet"),
])  # fmt: skip
def test_other_templates_are_refused(bad, why):
    with pytest.raises(agent.Refused, match=why):
        agent.Template(bad, {COOKIE})


PROGRAM = agent.assemble(agent.sweep_filter(PORT))


def answer(packet, *, six, flags=0x14, tos=0x28):
    """Return the TCP answer to a probe."""
    at = 40 if six else 20
    head = bytearray(packet[:at])
    if six:
        head[8:24], head[24:40] = packet[24:40], packet[8:24]
        head[0:2] = struct.pack("!H", 6 << 12 | tos << 4)
    else:
        head[12:16], head[16:20] = packet[16:20], packet[12:16]
        head[1] = tos
    sport, dport = struct.unpack_from("!HH", packet, at)
    return bytes(head) + struct.pack("!HHIIBBHHH", dport, sport, 0, 0, 0x50, flags, 0, 0, 0)


def error(packet, *, six, src=None, kind=None):
    """Return the ICMP error about a probe."""
    kind = kind or ((1, 4) if six else (3, 3))
    body = struct.pack("!BBHI", *kind, 0, 0) + packet[:64]
    end = src or (SIX if six else FOUR)[1].packed
    if six:
        return struct.pack("!IHBB", 6 << 28, len(body), ICMPV6, 64) + end + SIX[0].packed + body
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, ICMP, 0)
    return head + end + FOUR[0].packed + body


@pytest.mark.parametrize("six", [False, True])
def test_the_kernel_filter_keeps_a_sweep_and_nothing_else(six):
    probe = to(TCP, 80, six=six)
    for kept in (probe, to(UDP, 80, six=six), answer(probe, six=six), error(probe, six=six)):
        assert run_bpf(PROGRAM, kept) == agent.SNAPLEN
    for other in (
        frame(TCP, six=six, sport=PORT + 1),
        probe_frames(flow(TCP, six=six, sport=61000), COOKIE)[0],
        b"\x45",
    ):
        assert run_bpf(PROGRAM, other) == 0
    rng = random.Random(7)
    for _ in range(2000):
        run_bpf(PROGRAM, rng.randbytes(rng.randrange(1, 90)))


class Watched(agent.Watch):
    """A watch without a socket."""

    def __init__(self, proto, *, six=False):
        found = template(proto, six=six)
        self.sport, self.proto, self.four = found.sport, found.proto, found.four
        self.mark, self.tos, self.dst, self.src = found.mark, found.tos, found.head.dst, found.head.src
        self.ends = (16, 20) if found.four else (24, 40)
        self.ports, self.seen_tos = struct.pack("!H", self.sport), None
        self.kinds, self.counts, self.samples, self.last, self.lost = {}, {}, [], 0, 0

    def see(self, packet, *, outgoing=False):
        self.take(packet, outgoing, (1, 2))

    def ports_of(self, kind):
        return portset.words(int.from_bytes(self.kinds.get(kind, b""), "little"))


@pytest.mark.parametrize("six", [False, True])
def test_what_a_target_sees_is_told_by_kind(six):
    watch = Watched(TCP, six=six)
    probes = {port: to(TCP, port, six=six) for port in (22, 80, 81, 82, 83, 84)}
    for probe in probes.values():
        watch.see(probe)
    watch.see(answer(probes[22], six=six, flags=0x12), outgoing=True)
    watch.see(answer(probes[80], six=six), outgoing=True)
    watch.see(answer(probes[81], six=six, tos=0), outgoing=True)
    watch.see(error(probes[82], six=six), outgoing=True)
    watch.see(error(probes[83], six=six, src=bytes(16 if six else 4)), outgoing=True)
    back = bytearray(answer(answer(probes[22], six=six), six=six))
    watch.see(bytes(back))
    seen = {kind: watch.ports_of(kind) for kind in watch.kinds}
    code = "1.4" if six else "3.3"
    assert seen == {
        "iA": "22, 80-84", "oS": "22", "oR": "80", "oJ": "81", f"oI{code}": "82", f"oN{code}": "83", "iX": "22",
    }  # fmt: skip
    assert watch.count("o") == 5


@pytest.mark.parametrize("six", [False, True])
def test_udp_answers_and_errors(six):
    watch = Watched(UDP, six=six)
    for port in (53, 54):
        watch.see(to(UDP, port, six=six))
    watch.see(answer(to(UDP, 53, six=six), six=six), outgoing=True)
    watch.see(error(to(UDP, 54, six=six), six=six), outgoing=True)
    assert (watch.ports_of("oU"), watch.ports_of("oI1.4" if six else "oI3.3")) == ("53", "54")


def test_strangers_are_not_counted():
    watch = Watched(TCP)
    stranger = edited(to(TCP, 80), 24, b"\x12\x34\x56\x78")
    watch.see(stranger)
    watch.see(answer(to(TCP, 81), six=False), outgoing=True)  # an answer to what was never asked
    watch.see(error(stranger, six=False), outgoing=True)
    watch.see(to(TCP, 80)[:24])
    watch.see(b"\x45" * 30)
    watch.see(b"\x60" * 30)
    assert watch.kinds == {}
    watch.see(to(TCP, 82))
    other = edited(answer(to(TCP, 82), six=False), 16, ip_address("10.0.0.99").packed)
    watch.see(other, outgoing=True)
    assert list(watch.kinds) == ["iA"]


def test_samples_are_few_and_without_payload():
    watch = Watched(TCP)
    for port in range(1, 200):
        watch.see(to(TCP, port))
        watch.see(answer(to(TCP, port), six=False) + b"secret", outgoing=True)
    assert len(watch.samples) == 8
    assert not any(b"secret" in bytes.fromhex(sample[3]) for sample in watch.samples)


def event(proto, src, sport, dport):
    """Return a conntrack NEW event as the kernel sends it (nfnetlink_conntrack.h)."""

    def attribute(kind, data):
        return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)

    ends = (1, 2) if len(src) == 4 else (3, 4)
    dst = (FOUR if len(src) == 4 else SIX)[1].packed
    address = attribute(1 | 0x8000, attribute(ends[0], src) + attribute(ends[1], dst))
    ports = (
        attribute(1, bytes([proto])) + attribute(2, struct.pack("!H", sport)) + attribute(3, struct.pack("!H", dport))
    )
    body = bytes(4) + attribute(1 | 0x8000, address + attribute(2 | 0x8000, ports)) + attribute(3, bytes(4))
    return struct.pack("=IHHII", 16 + len(body), 0x100, 0, 0, 0) + body


@pytest.mark.parametrize("six", [False, True])
def test_new_connections_of_a_sweep_are_told_from_others(six):
    from .test_agent import Captured

    capture, watch = Captured(), Watched(TCP, six=six)
    capture.watches = {PORT: watch}
    src = (SIX if six else FOUR)[0].packed
    assert capture.swept(event(TCP, src, PORT, 443))
    assert watch.ports_of("C") == "443"
    for other in (
        event(UDP, src, PORT, 1),
        event(TCP, src, PORT + 1, 1),
        event(TCP, bytes(len(src)), PORT, 1),
        b"",
        bytes(80),
    ):
        assert not capture.swept(other)
    assert watch.ports_of("C") == "443"
    assert capture.events == {4: 0 if six else 1, 6: 1 if six else 0}
    assert agent.conntrack_flow(event(TCP, src, PORT, 443)[16:]) == (
        TCP, src, PORT, (SIX if six else FOUR)[1].packed, 443), "both readers see the same event"  # fmt: skip


class Sock:
    def __init__(self):
        self.sent = []

    def sendto(self, packet, where):
        self.sent.append((bytes(packet), where))
        if struct.unpack_from("!H", packet, 22)[0] == 13:
            raise OSError(1, "no")


@pytest.fixture
def sender(monkeypatch):
    """An agent that sends into a list, with a watch of the sweep."""
    from .test_agent import Captured

    one = agent.Agent()
    one.capture = Captured()
    one.capture.watches = {PORT: Watched(TCP)}
    one.sock = Sock()
    monkeypatch.setattr(one.capture, "pump", lambda: None)
    monkeypatch.setattr(one, "sender", lambda _src, cut: one.sock)
    monkeypatch.setattr(one, "rest", lambda _seconds: None)
    monkeypatch.setattr(one, "interrupted", lambda: "")
    monkeypatch.setattr(agent, "own_addresses", lambda: {"10.0.0.1"})
    return one


def ask(sender, wanted, **more):
    request = {"frame": frame(TCP).hex(), "ports": portset.packed(portset.of_ports(wanted)), "seed": 5, "skip": 0,
               "count": len(wanted), "pps": 1000}  # fmt: skip
    return sender.op_sweep_send({**request, **more})


def test_each_port_is_sent_to_once_in_an_order_of_the_seed(sender):
    ports = list(range(10, 400))
    report = ask(sender, ports)
    order = [struct.unpack_from("!H", packet, 22)[0] for packet, _ in sender.sock.sent]
    assert sorted(order) == ports != order
    assert (report["sent"], report["errors"], report["stopped"]) == (390, {"13": 1}, "")
    assert {where for _, where in sender.sock.sent} == {("10.0.0.10", 0)}
    sender.sock.sent.clear()
    for skip in range(0, 390, 100):
        ask(sender, ports, skip=skip, count=100)
    assert [struct.unpack_from("!H", packet, 22)[0] for packet, _ in sender.sock.sent] == order


@pytest.mark.parametrize(("change", "why"), [
    ({"pps": 100, "count": 101}, "at most 1 s at a time"),
    ({"frame": frame(TCP, sport=PORT + 1).hex()}, "watch the sweep first"),
    ({"frame": edited(frame(TCP), 12, bytes([10, 0, 0, 2])).hex()}, "not an address of this host"),
])  # fmt: skip
def test_a_sweep_has_its_limits(sender, change, why):
    with pytest.raises(agent.Refused, match=why):
        ask(sender, range(1, 500), **change)
    assert not sender.sock.sent


@pytest.mark.parametrize(
    "change", [{"pps": 50001}, {"pps": 0}, {"count": 0}, {"ports": "eA=="}, {"ports": "eHh4eHh4"}, {"skip": -1}]
)
def test_a_malformed_sweep_is_bad(sender, change):
    with pytest.raises(ValueError, match="must be"):
        ask(sender, [80], **change)


def test_the_number_of_packets_is_capped(sender):
    sender.sent = agent.MAX_PACKETS - 5
    with pytest.raises(agent.Refused, match="has sent its"):
        ask(sender, range(1, 7))


def test_a_half_full_connection_table_stops_a_sweep(sender, monkeypatch):
    monkeypatch.setattr(sender, "interrupted", agent.Agent.interrupted.__get__(sender))
    monkeypatch.setattr(agent.sys, "stdin", type("Input", (), {"fileno": lambda _: 0})())
    monkeypatch.setattr(agent.select, "select", lambda *_: ([], [], []))
    monkeypatch.setattr(agent, "connections", lambda: (501, 1000))
    report = ask(sender, range(1, 500))
    assert (report["sent"], report["stopped"]) == (0, "this host's connection table is half full (501 of 1000)")
    monkeypatch.setattr(agent, "connections", lambda: (500, 1000))
    assert ask(sender, range(1, 500))["sent"] == 499


def test_input_stops_a_sweep(sender, monkeypatch):
    monkeypatch.setattr(sender, "interrupted", agent.Agent.interrupted.__get__(sender))
    monkeypatch.setattr(agent.sys, "stdin", type("Input", (), {"fileno": lambda _: 0})())
    monkeypatch.setattr(agent.select, "select", lambda *_: ([0], [], []))
    assert ask(sender, range(1, 500))["stopped"] == "asked to"
