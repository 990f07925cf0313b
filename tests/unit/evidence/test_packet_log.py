"""One line of every make of packet log, written by hand from nf_log_syslog.c, ulogd's plugins and journalctl(1)."""

import io
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwproof.evidence.log_stamps import Clock
from fwproof.evidence.packet_log import LONGEST, Kind, read_line, read_log

NOW = datetime(2024, 11, 25, 12, tzinfo=UTC).timestamp()
PACKET = (
    "IN=eth0 OUT= MAC=02:1a:b0:00:01:00:02:1a:b0:00:04:00:08:00 SRC=203.0.113.66 DST=10.0.0.10 LEN=60 TOS=0x00 "
    "PREC=0x00 TTL=62 ID=4711 DF PROTO=TCP SPT=44001 DPT=22 WINDOW=64240 RES=0x00 SYN URGP=0 "
)
AT = datetime(2024, 11, 23, 20, 11, 2, tzinfo=UTC).timestamp()


def clock(zone=UTC, now=NOW, written=None, boot=None):
    return Clock(zone, now, written, boot)


def one(text, **how):
    return read_line(text if isinstance(text, bytes) else text.encode(), clock(**how))


def ends(line):
    return (line.packet.prefix, line.packet.src.text, line.packet.dst.text, line.packet.proto, line.packet.dport)


SYSLOG = [
    f"Nov 23 20:11:02 web1 kernel: fw drop: {PACKET}",
    f"Nov 23 20:11:02 web1 kernel: [ 1234.567890] fw drop: {PACKET}",
    f"Nov 23 20:11:02 web1 fw drop: {PACKET}",  # LOGEMU
    f"Nov 23 20:11:02 web1 ulogd[7]: fw drop: {PACKET}",  # ulogd's SYSLOG
    f"2024-11-23T20:11:02+00:00 web1 kernel: fw drop: {PACKET}",
    f"2024-11-23T21:11:02+01:00 web1 kernel: fw drop: {PACKET}",
    f"2024-11-23T20:11:02Z web1 kernel: [1.000001] fw drop: {PACKET}",
    f"2024-11-23 20:11:02 web1 kernel: fw drop: {PACKET}",
    f"2024-11-23T20:11:02+0000 web1 kernel: fw drop: {PACKET}",  # journalctl -o short-iso
    f"1732392662.000000 web1 kernel: fw drop: {PACKET}",  # journalctl -o short-unix
    f"[Sat Nov 23 20:11:02 2024] fw drop: {PACKET}",  # dmesg -T
    f"2024-11-23T20:11:02,000000+00:00 fw drop: {PACKET}",  # dmesg --time-format iso
    f"<4>Nov 23 20:11:02 web1 kernel: fw drop: {PACKET}",
]


@pytest.mark.parametrize("text", SYSLOG)
def test_a_line_of_text_is_read_with_its_time_and_prefix(text):
    line = one(text)
    assert (line.kind, line.time) == (Kind.PACKET, AT)
    assert ends(line) == ("fw drop:", "203.0.113.66", "10.0.0.10", 6, 22)
    assert line.packet.opens
    assert line.host == ("web1" if "web1" in text else "")


def test_a_stamp_without_zone_is_in_the_zone_of_the_log():
    there = timezone(timedelta(hours=2))
    assert one(SYSLOG[0], zone=there).time == AT - 7200
    assert one(SYSLOG[4], zone=there).time == AT


@pytest.mark.parametrize(
    ("stamp", "written", "year"),
    [
        ("Dec 31 23:59:59", datetime(2025, 1, 2, tzinfo=UTC), 2024),
        ("Jan  1 00:00:01", datetime(2025, 1, 2, tzinfo=UTC), 2025),
        ("Feb 29 10:00:00", datetime(2025, 1, 2, tzinfo=UTC), 2024),
        ("Nov 23 20:11:02", datetime(2023, 12, 1, tzinfo=UTC), 2023),
        ("Jan  1 00:30:00", datetime(2024, 12, 31, 23, 0, tzinfo=UTC), 2025),  # a clock that is an hour ahead
    ],
)
def test_a_stamp_without_year_lies_before_the_log_was_written(stamp, written, year):
    line = one(f"{stamp} web1 kernel: x {PACKET}", now=NOW + 400 * 86400, written=written.timestamp())
    assert datetime.fromtimestamp(line.time, UTC).year == year


def test_a_day_that_no_calendar_has_gives_no_time():
    line = one(f"Feb 31 10:00:00 web1 kernel: x {PACKET}")
    assert (line.kind, line.time) == (Kind.PACKET, None)


def test_dmesg_counts_from_boot():
    text = f"[12345.678901] fw drop: {PACKET}"
    assert one(text).time is None
    assert one(text, boot=AT - 12345.678901).time == pytest.approx(AT)


@pytest.mark.parametrize("year", ["1970", "2031", "9999"])
def test_a_stamp_of_another_age_is_not_believed(year):
    line = one(f"{year}-11-23T20:11:02Z web1 kernel: fw drop: {PACKET}")
    assert (line.kind, line.time, line.implausible) == (Kind.PACKET, None, True)


def journal(**fields):
    entry = {"__REALTIME_TIMESTAMP": "1732392662000000", "_TRANSPORT": "kernel", "SYSLOG_IDENTIFIER": "kernel",
             "_HOSTNAME": "web1", "MESSAGE": f"fw drop: {PACKET}"}  # fmt: skip
    return {**entry, **fields}


def test_the_journal_as_json():
    for text in (json.dumps(journal()), "\x1e" + json.dumps(journal())):
        line = one(text)
        assert (line.kind, line.time, line.host) == (Kind.PACKET, AT, "web1")
        assert ends(line) == ("fw drop:", "203.0.113.66", "10.0.0.10", 6, 22)
    assert one(json.dumps(journal(MESSAGE=list(f"x {PACKET}".encode())))).packet.prefix == "x"
    assert one(json.dumps(journal(MESSAGE=None))).kind is Kind.OTHER
    assert one(json.dumps(journal(MESSAGE="x SRC=10.0.0.1 DST=10.0.0.2"))).kind is Kind.NOT_UNDERSTOOD


def test_what_the_journal_did_not_get_from_the_kernel_is_not_believed():
    for fields in ({"_TRANSPORT": "syslog"}, {"_TRANSPORT": "stdout", "SYSLOG_IDENTIFIER": "web"}):
        assert one(json.dumps(journal(**fields))).kind is Kind.NOT_BELIEVED
    assert one(json.dumps(journal(_TRANSPORT="syslog", SYSLOG_IDENTIFIER="ulogd", _COMM="ulogd"))).kind is Kind.PACKET


def test_the_journal_s_export_with_binary_fields():
    body = f"fw drop: {PACKET}".encode() + b"\xff"
    one_entry = (
        b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1732392662000000\n_TRANSPORT=kernel\n_HOSTNAME=web1\n"
        b"NOISE\n" + (9).to_bytes(8, "little") + b"a\n\nIN=b=\n\n"
        b"MESSAGE\n" + len(body).to_bytes(8, "little") + body + b"\n\n"
    )
    text = f"__CURSOR=x\n_TRANSPORT=kernel\n__REALTIME_TIMESTAMP=1732392662000000\nMESSAGE=fw drop: {PACKET}\n".encode()
    first, second, third = read_log(io.BytesIO(one_entry + text + b"\nhello\n"), clock())
    assert (first.kind, first.time, ends(first)[1]) == (Kind.PACKET, AT, "203.0.113.66")
    assert (second.kind, second.time, third.kind) == (Kind.PACKET, AT, Kind.OTHER)


ULOGD = {
    "timestamp": "2024-11-23T20:11:02.250000", "dvc": "Netfilter", "raw.pktlen": 80, "oob.prefix": "fw drop: ",
    "oob.time.sec": 1732392662, "oob.time.usec": 250000, "oob.hook": 1, "oob.family": 10, "oob.protocol": 34525,
    "raw.label": 0, "ip.protocol": 6, "ip6.nexthdr": 6, "src_port": 52938, "dest_port": 80, "tcp.syn": 1, "tcp.ack": 0,
    "tcp.fin": 0, "tcp.rst": 0, "oob.in": "eth0", "oob.out": "", "src_ip": "2001:db8:bad::66", "dest_ip": "fd00::10",
}  # fmt: skip


def test_ulogd_as_json():
    line = one(json.dumps(ULOGD))
    assert (line.kind, line.time) == (Kind.PACKET, AT + 0.25)
    assert ends(line) == ("fw drop:", "2001:db8:bad::66", "fd00::10", 6, 80)
    assert line.packet.opens
    assert not line.packet.let_in
    assert one(json.dumps(ULOGD | {"action": "allowed"})).packet.let_in


def test_ulogd_s_own_stamp_counts_where_the_packet_has_none():
    without = {key: value for key, value in ULOGD.items() if not key.startswith("oob.time")}
    assert one(json.dumps(without), zone=timezone(timedelta(hours=1))).time == AT + 0.25 - 3600
    assert one(json.dumps(without | {"timestamp": "2024-11-23T20:11:02.250000+0000"})).time == AT + 0.25


def test_ulogd_as_json_of_icmp_and_of_what_is_no_packet():
    icmp = ULOGD | {"ip.protocol": 58, "icmpv6.type": 134}
    assert one(json.dumps(icmp)).packet.icmp_type == 134
    arp = {"oob.prefix": "arp", "oob.protocol": 0x0806, "oob.hook": 1}
    assert one(json.dumps(arp)).kind is Kind.NOT_IP
    assert one(json.dumps({"orig.ip.saddr": "10.0.0.1"})).kind is Kind.OTHER
    assert one(json.dumps(ULOGD | {"src_ip": "nonsense"})).kind is Kind.NOT_UNDERSTOOD
    assert one(json.dumps(ULOGD)[:-40]).kind is Kind.NOT_UNDERSTOOD


SIX = (
    "IN= OUT=eth0 SRC=fd00:0000:0000:0001:0000:0000:0000:0010 DST=2001:0db8:0009:0000:0000:0000:0000:0009 LEN=64 TC=0 "
    "HOPLIMIT=64 FLOWLBL=1 PROTO=ICMPv6 TYPE=128 CODE=0 ID=7 SEQ=1 "
)
QUOTED = (
    "IN=eth0 OUT=eth1 SRC=10.0.0.10 DST=10.0.5.7 LEN=72 TTL=63 PROTO=ICMP TYPE=3 CODE=3 "
    "[SRC=10.0.5.7 DST=10.0.0.10 LEN=44 PROTO=UDP SPT=5353 DPT=53 LEN=24 ] "
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (SIX, ("fd00:0:0:1::10", "2001:db8:9::9", 58, None, 128, True)),
        (QUOTED, ("10.0.0.10", "10.0.5.7", 1, None, 3, False)),
        ("IN=eth0 OUT= MAC= SRC=10.0.5.7 DST=10.0.0.10 LEN=40 FRAG:64 PROTO=UDP ",
         ("10.0.5.7", "10.0.0.10", 17, None, None, True)),
        ("IN=br0 OUT=br0 PHYSIN=eth0 PHYSOUT=eth1 MAC=02 SRC=10.0.5.7 DST=10.0.0.10 LEN=40 PROTO=47 ",
         ("10.0.5.7", "10.0.0.10", 47, None, None, True)),
        ("IN=eth0 OUT= MACSRC=02 MACDST=03 MACPROTO=0800 SRC=1.2.3.4 DST=10.0.0.10 PROTO=UDP SPT=53 DPT=40000 LEN=20 ",
         ("1.2.3.4", "10.0.0.10", 17, 40000, None, False)),
    ],
)  # fmt: skip
def test_fields_of_the_kernel(fields, expected):
    packet = one(f"Nov 23 20:11:02 h kernel: x {fields}").packet
    assert (packet.src.text, packet.dst.text, packet.proto, packet.dport, packet.icmp_type, packet.opens) == expected


END = "SRC=192.0.2.55 DST=198.51.100.20 LEN=40 TOS=0x00 PREC=0x00 TTL=243 ID=5"


@pytest.mark.parametrize(
    ("text", "prefix", "asked"),
    [
        (f"[UFW BLOCK] IN=eth0 OUT= MAC=00 {END} PROTO=ICMP TYPE=8 CODE=0 ID=1 SEQ=1 MARK=0x1",
         "[UFW BLOCK]", (1, None)),
        (f"Shorewall:net-fw:DROP:IN=eth0 OUT= MAC= {END} PROTO=UDPLITE SPT=5 DPT=6 LEN=8",
         "Shorewall:net-fw:DROP:", (136, 6)),
        (f"IN= OUT=eth0 {END} PROTO=TCP SPT=1 DPT=443 SEQ=1 WINDOW=1 RES=0x00 SYN URGP=0 OPT (020405B4) UID=1 GID=1 ",
         "", (6, 443)),
        (f"x IN=eth0 OUT= MAC=aa {END} MF FRAG:185 PROTO=UDP ", "x", (17, None)),
        (f"x IN=eth0 OUT= MAC=aa {END} PROTO=TCP INCOMPLETE [8 bytes] ", "x", (6, None)),
        (f"x IN=eth0 OUT= MAC=aa {END} PROTO=AH SPI=0x1 ", "x", (51, None)),
        (f"nf_ct_proto_6: invalid rst IN= OUT= {END} PROTO=TCP SPT=1 DPT=2 WINDOW=0 RES=0x00 RST URGP=0 ",
         "nf_ct_proto_6: invalid rst", (6, 2)),
    ],
)  # fmt: skip
def test_lines_of_many_front_ends(text, prefix, asked):
    packet = one(f"Jul 20 10:00:00 fw kernel: {text}").packet
    assert (packet.prefix, (packet.proto, packet.dport)) == (prefix, asked)


@pytest.mark.parametrize(
    ("flags", "opens"),
    [("SYN", True), ("ACK SYN", False), ("ACK", False), ("ACK FIN", False), ("RST", False), ("FIN", None),
     ("URG PSH FIN", None), ("SYN FIN", None)],
)  # fmt: skip
def test_tcp_flags_tell_first_packets_from_late_and_odd_ones(flags, opens):
    assert one(f"x {PACKET.replace('SYN', flags)}").packet.opens is opens


def test_what_was_sent_to_many():
    assert one(f"x {PACKET.replace('DST=10.0.0.10', 'DST=224.0.0.251')}").packet.broadcast
    assert one(f"x {PACKET.replace('MAC=02:1a:b0:00:01:00', 'MAC=ff:ff:ff:ff:ff:ff')}").packet.broadcast
    assert not one(f"x {PACKET}").packet.broadcast


def test_lines_about_no_ip_packet():
    arp = "IN=eth0 OUT= ARP HTYPE=1 PTYPE=0x0800 OPCODE=1 MACSRC=02 IPSRC=10.0.0.1 MACDST=00 IPDST=10.0.0.2"
    assert one(f"Nov 23 20:11:02 h kernel: x {arp}").kind is Kind.NOT_IP
    assert one("Nov 23 20:11:02 h kernel: x IN=eth0 OUT= MAC=02 TRUNCATED").kind is Kind.NOT_IP


@pytest.mark.parametrize(
    "text",
    [
        f"x {PACKET}".replace("203.0.113.66", "203.0.113.666"),
        f"x {PACKET}".replace("PROTO=TCP", "PROTO=NONSENSE"),
        f"x {PACKET}".replace("DPT=22", "DPT=99999"),
        f"x {PACKET}".replace("10.0.0.10", "fd00::10"),
        f"x {PACKET}".replace("203.0.113.66", "fe80::1%eth0").replace("10.0.0.10", "fd00::10"),
        f"x {QUOTED}".replace("PROTO=ICMP TYPE=3 CODE=3 ", ""),
        f"x {PACKET}".replace("IN=eth0", "IN=" + "e" * 16),
        f"x {PACKET}".replace("PROTO=TCP", "PROTO=²"),
        f"x {PACKET}"[:-120],
    ],
)
def test_what_looks_like_a_packet_and_is_not_understood_is_counted(text):
    assert one(text).kind is Kind.NOT_UNDERSTOOD


@pytest.mark.parametrize(
    "text", ["hello", "", "vpn: IN=17 OUT=4 bytes", "SRC=/usr/src", "Nov 23 20:11:02 h kernel: IN="]
)
def test_other_lines_are_other_lines(text):
    assert one(text).kind is Kind.OTHER


def test_a_line_that_was_cut_is_not_understood():
    whole = f"Nov 23 20:11:02 h kernel: x {PACKET}"
    assert {one(whole[:at]).kind for at in range(whole.index("MAC=") + 4, whole.index("PROTO=") + 6)} == {
        Kind.NOT_UNDERSTOOD
    }


FAKE = "IN=lo OUT= SRC=10.0.0.1 DST=10.0.0.10 LEN=1 PROTO=UDP SPT=1 DPT=1"


def test_fields_in_a_prefix_are_not_the_packet_s():
    assert ends(one(f"Nov 23 20:11:02 h kernel: {FAKE} {PACKET}"))[1:] == ("203.0.113.66", "10.0.0.10", 6, 22)
    assert one(f"Nov 23 20:11:02 h kernel: SRC=1.1.1.1 DPT=7{PACKET}").packet.dport == 22
    assert one(f"Nov 23 20:11:02 h kernel: DROP{PACKET}").packet.prefix == "DROP"


def test_what_a_program_writes_is_not_the_kernel_s():
    assert one(f"Nov 23 20:11:02 h nginx[22]: GET /{PACKET}").kind is Kind.NOT_BELIEVED
    assert one(f"Nov 23 20:11:02 h {'GET ' * 40}{PACKET}").kind is Kind.NOT_BELIEVED


def test_a_line_without_end_is_read_to_a_point_and_passed_over():
    stream = io.BytesIO(b"x SRC=" + b"y" * (3 * LONGEST) + b" DST=\n" + f"x {PACKET}\n".encode())
    assert [line.kind for line in read_log(stream, clock())] == [Kind.OTHER, Kind.PACKET]
    huge = b"__CURSOR=x\nMESSAGE\n" + (1 << 62).to_bytes(8, "little") + b"IN=" * LONGEST
    assert len(list(read_log(io.BytesIO(huge), clock()))) == 1


def test_hostile_lines_take_no_time():
    for part in ("IN=", "IN= OUT=", "SRC=1.1.1.1 DST=", "[" * 9, "PROTO=TCP "):
        read_line(("x " + part * (LONGEST // len(part))).encode(), clock())


words = st.sampled_from(
    ["IN=", "OUT=", " ", "SRC=", "DST=", "PROTO=", "TCP", "ICMP", "SPT=", "DPT=", "TYPE=", "10.0.0.1", "::1", "[",
     "]", "Nov 23 20:11:02", "2024-11-23T20:11:02Z", "kernel:", "[1.5]", "{", "}", '"MESSAGE":', '"src_ip":',
     "__CURSOR=", "\n", "MAC=", "WINDOW=", "SYN", "99999999999999999999", "\x00", "\x1b[2J", "\u202e", PACKET,
     json.dumps(ULOGD)]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(words | st.text(max_size=8)))
def test_no_line_ends_in_a_traceback(parts):
    list(read_log(io.BytesIO("".join(parts).encode("utf-8", "surrogatepass")), clock()))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 250))
def test_no_damage_to_a_line_ends_in_a_traceback(noise, place):
    for text in (SYSLOG[1], json.dumps(ULOGD), json.dumps(journal())):
        raw = text.encode()
        list(read_log(io.BytesIO(raw[:place] + noise + raw[place + 5 :]), clock()))


values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.integers(), max_size=3)
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*ULOGD, *journal(), "@timestamp", "icmp.type", "action"]), values))
def test_no_object_ends_in_a_traceback(entry):
    for found in (ULOGD | entry, journal() | entry):
        read_line(json.dumps(found).encode(), clock())
