import random
import struct
import subprocess
import sys
from ipaddress import ip_address

import pytest

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Flow
from fwproof.probing import agent
from fwproof.probing.frames import probe_frames, reset_frame, solicitation_frame
from fwproof.probing.packets import dissect

FOUR, SIX = (ip_address("10.0.0.1"), ip_address("10.0.0.10")), (ip_address("fd00::1"), ip_address("fd00::10"))


def flow(proto, ends=FOUR, **more):
    return Flow(**{"src": ends[0], "dst": ends[1], "proto": proto, "sport": 61234, "dport": 53, **more})


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize(
    ("proto", "ends", "length"),
    [
        (TCP, FOUR, 60),
        (TCP, FOUR, 44),
        (TCP, FOUR, 40),
        (TCP, SIX, 80),
        (TCP, SIX, 60),
        (UDP, FOUR, 60),
        (UDP, SIX, 80),
        (ICMP, FOUR, 60),
        (ICMPV6, SIX, 80),
    ],
)
def test_a_frame_has_the_flows_length_and_right_checksums(proto, ends, length):
    raw = probe_frames(flow(proto, ends, length=length), 7)[0]
    assert len(raw) == length
    at = 20 if ends is FOUR else 40
    pseudo = ends[0].packed + ends[1].packed + struct.pack("!IHBB", len(raw) - at, 0, 0, proto)
    assert checksum((b"" if proto == ICMP else pseudo) + raw[at:]) == 0xFFFF
    assert ends is SIX or checksum(raw[:20]) == 0xFFFF


def test_the_header_is_the_flows():
    raw = probe_frames(flow(TCP, flags=frozenset({"FIN", "URG", "PSH"}), tos=0x28, ttl=3), 7)[0]
    packet = dissect(raw)
    assert (packet.src, packet.dst, packet.sport, packet.dport) == (*FOUR, 61234, 53)
    assert (packet.flags, packet.tos, packet.ttl) == ({"FIN", "PSH", "URG"}, 0x28, 3)


def test_a_short_flow_still_carries_the_marker():
    raw = probe_frames(flow(UDP, length=20), 7)[0]
    assert raw[28:] == agent.payload(7, 61234)


def test_a_reset_follows_its_probe():
    probe, reset = probe_frames(flow(TCP), 7)[0], reset_frame(flow(TCP), 7)
    sequence = [struct.unpack_from("!I", raw, 24)[0] for raw in (probe, reset)]
    assert sequence == [agent.marker(7, 61234), agent.marker(7, 61234) + 1]
    assert dissect(reset).flags == {"RST"}


def test_solicitation():
    packet = dissect(solicitation_frame(*SIX, "02:00:00:00:00:01"))
    assert (packet.icmp_type, packet.target, packet.ttl) == (135, SIX[1], 255)
    assert str(packet) == "fd00::1 > ff02::1:ff00:10 ICMPv6 neighbour solicitation for fd00::10"


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"sport": None}, "source port"), ({"proto": 51}, "ah"), ({"proto": ICMP, "icmp_type": 8 + 4}, "ICMP type 12")],
)
def test_other_flows_are_refused(changes, why):
    with pytest.raises(ValueError, match=why):
        probe_frames(flow(**{"proto": TCP, **changes}), 7)[0]


def test_an_error_names_what_it_is_about():
    quoted = probe_frames(flow(UDP), 7)[0]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 56, 0, 0, 64, ICMP, 0, FOUR[1].packed, FOUR[0].packed)
    packet = dissect(head + struct.pack("!BBHI", 3, 3, 0, 0) + quoted[:28])
    assert packet.kind == "ICMP port unreachable"
    assert (packet.quoted.sport, packet.quoted.dport) == (61234, 53)


def test_rubbish_is_no_packet_and_raises_nothing():
    rng = random.Random(3)
    assert dissect(b"") is None
    for first in (0x45, 0x4F, 0x60, 0x00):
        for size in range(80):
            dissect(bytes([first]) + rng.randbytes(size))


def test_scapy_is_imported_late_and_quietly():
    code = (
        "import sys, warnings; warnings.simplefilter('error'); import fwproof.probing.observe\n"
        "assert 'scapy' not in sys.modules\n"
        "from fwproof.probing.packets import dissect; dissect(bytes(60))\n"
        "assert 'scapy.layers.inet' in sys.modules and 'scapy.all' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
