from ipaddress import ip_address

import pytest

from fwproof.evidence.droplog import parse_line, parse_log
from fwproof.flow import ICMPV6, TCP, Flow

ULOGD = (
    "Nov 23 20:11:02 ai-server fw drop in:  IN=eth0 OUT= MAC=02:1a:b0:00:01:00:02:1a:b0:00:04:00:08:00 SRC=10.0.5.7 "
    "DST=10.0.0.10 LEN=44 TOS=00 PREC=0x00 TTL=63 ID=1 DF PROTO=TCP SPT=61234 DPT=9 SEQ=1 "
)
KERNEL = (
    "2026-11-23T20:11:02.123456+00:00 web1 kernel: [ 1234.567890] [UFW BLOCK] IN=eth0 OUT= MAC=aa SRC=2001:db8::1 "
    "DST=fd00::10 LEN=72 TC=0 HOPLIMIT=63 FLOWLBL=0 PROTO=ICMPv6 TYPE=128 CODE=0 ID=7 SEQ=1"
)
QUOTED = (
    "Nov 23 20:11:02 h kernel: drop IN= OUT=eth0 SRC=10.0.0.10 DST=10.0.5.7 LEN=72 PROTO=ICMP TYPE=3 CODE=3 "
    "[SRC=10.0.5.7 DST=10.0.0.10 LEN=44 PROTO=UDP SPT=5353 DPT=53 LEN=24 ]"
)


def test_a_line_of_ulogd_is_read():
    line = parse_line(ULOGD)
    assert line is not None
    assert (line.prefix, line.iif, line.oif) == ("fw drop in:", "eth0", "")
    assert (line.sport, line.dport, line.proto) == (61234, 9, TCP)


def test_a_line_of_the_kernel_is_read():
    line = parse_line(KERNEL)
    assert line is not None
    assert line.prefix == "[UFW BLOCK]"
    assert (line.proto, line.icmp_type, line.sport) == (ICMPV6, 128, None)


def test_the_quoted_header_of_an_icmp_error_does_not_replace_its_own():
    line = parse_line(QUOTED)
    assert line is not None
    assert (str(line.src), line.proto) == ("10.0.0.10", 1)


@pytest.mark.parametrize(
    "text", ["", "hello", "IN=eth0 OUT= SRC=nonsense DST=10.0.0.1 PROTO=TCP", "IN=a OUT=b PROTO=TCP"]
)
def test_what_is_no_packet_line_is_passed_over(text):
    assert parse_line(text) is None


def test_a_line_belongs_to_one_packet_only():
    flow = Flow(src=ip_address("10.0.5.7"), dst=ip_address("10.0.0.10"), proto=TCP, sport=61234, dport=9)
    other = Flow(src=ip_address("10.0.5.7"), dst=ip_address("10.0.0.10"), proto=TCP, sport=61235, dport=9)
    (line,) = parse_log(f"noise\n{ULOGD}\n")
    assert line.is_of(flow)
    assert not line.is_of(other)
