"""Listening sockets as ss prints them: every line is a socket or is told to be none, whatever names it has."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwproof.evidence.sockets import parse_sockets
from fwproof.flow import Family
from fwproof.flows import request
from fwproof.policy.model import Service

FOUR, SIX = Family.IPV4, Family.IPV6
LINE = "tcp   LISTEN 0      128          {}       {}:*    {}"
SSHD = 'users:(("sshd",pid=16,fd=4))'


def one(local, owners=SSHD, proto="tcp", state="LISTEN"):
    (found,) = parse_sockets(f"{proto} {state} 0 128 {local} *:* {owners}").listed
    return found


@pytest.mark.parametrize(
    ("local", "address", "families", "interface", "port", "is_local"),
    [
        ("0.0.0.0:22", None, (FOUR,), "", 22, False),
        ("[::]:22", None, (SIX,), "", 22, False),
        (":::22", None, (SIX,), "", 22, False),
        ("*:22", None, (FOUR, SIX), "", 22, False),
        ("10.0.0.10:22", "10.0.0.10", (FOUR,), "", 22, False),
        ("127.0.0.53%lo:53", "127.0.0.53", (FOUR,), "lo", 53, True),
        ("[::1]:25", "::1", (SIX,), "", 25, True),
        ("*%lo:25", None, (FOUR, SIX), "lo", 25, True),
        ("[fe80::1]%eth0:546", "fe80::1", (SIX,), "eth0", 546, False),
        ("[::ffff:10.0.0.10]:80", "10.0.0.10", (FOUR,), "", 80, False),
        ("[::ffff:127.0.0.1]:80", "127.0.0.1", (FOUR,), "", 80, True),
        ("0.0.0.0%vrf-red:65535", None, (FOUR,), "vrf-red", 65535, False),
    ],
)  # fmt: skip
def test_an_address_as_ss_prints_it(local, address, families, interface, port, is_local):
    found = one(local)
    told = (found.address and str(found.address), found.families, found.interface, found.port, found.local)
    assert told == (address, families, interface, port, is_local)


@pytest.mark.parametrize(
    ("owners", "process"),
    [
        (SSHD, "sshd"),
        ("", ""),
        ('users:(("nginx",pid=1,fd=4),("nginx",pid=2,fd=4))', "nginx"),
        ('users:(("nginx",pid=1,fd=4),("php-fpm8.2",pid=2,fd=4))', "nginx, php-fpm8.2"),
        ('users:(("a"b),(c",pid=1,fd=4))', '“a"b),(c”'),
        ('users:(("a, sshd",pid=1,fd=4))', "“a, sshd”"),
        ('users:(("(sd-pam)",pid=1,fd=4))', "“(sd-pam)”"),
        ('users:(("cut', ""),
    ],
)
def test_whose_a_socket_is(owners, process):
    assert one("0.0.0.0:22", owners).process == process


@pytest.mark.parametrize(
    "line",
    [
        "tcp LISTEN 0 128 0.0.0.0:2", "tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:", "tcp LISTEN 0 128 0.0.0.0: 0.0.0.0:*",
        "tcp LISTEN 0 128 0.0.0.0:0 0.0.0.0:*", "tcp LISTEN 0 128 0.0.0.0:65536 0.0.0.0:*",
        "tcp LISTEN 0 128 0.0.0.0:٢٢ 0.0.0.0:*", "tcp LISTEN 0 128 10.0.0.300:22 0.0.0.0:*",
        "tcp ESTAB 0 128 0.0.0.0:22 10.0.0.1:999", "tcp UNCONN 0 0 0.0.0.0:22 0.0.0.0:*",
        "udp LISTEN 0 0 0.0.0.0:22 0.0.0.0:*", "sctp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*",
        "Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port", "<b>hello</b>", '",pid=1,fd=4))',
    ],
)  # fmt: skip
def test_a_line_that_is_no_socket_is_told(line):
    found = parse_sockets(f"{LINE.format('0.0.0.0:22', '0.0.0.0', SSHD)}\n{line}\n\n")
    assert (len(found.listed), found.strange) == (1, (line,))


def test_a_name_with_a_line_end_spoils_its_own_line_only():
    """A name has 15 bytes: too few for a socket's line of its own."""
    name = "\ntcp L 0 0 *:1 "
    text = "\n".join(LINE.format(f"0.0.0.0:{port}", "0.0.0.0", f'users:(("{name}",pid=1,fd=4))') for port in (22, 23))
    found = parse_sockets(text)
    assert [socket.port for socket in found.listed] == [22, 23]
    assert len(found.strange) == 2
    assert [s.process for s in parse_sockets(text.replace("\n", "\v", 1)).listed[:1]] == ["“\vtcp L 0 0 *:1 ”"]


def test_processes_that_share_a_port_are_one_socket():
    lines = [LINE.format("*:80", "*", f'users:(("{name}",pid=1,fd=4))') for name in ("a", "b", "a")]
    (found,) = parse_sockets("\n".join(lines)).listed
    assert found.process == "a, b"
    assert parse_sockets("\n".join(lines)).of(FOUR) == parse_sockets("\n".join(lines)).of(SIX) == (found,)


@pytest.mark.parametrize(
    ("local", "dst", "port", "takes"),
    [
        ("0.0.0.0:22", "10.0.0.10", 22, True), ("0.0.0.0:22", "fd00::10", 22, False), ("*:22", "fd00::10", 22, True),
        ("10.0.0.10:22", "10.0.0.10", 22, True), ("10.0.0.11:22", "10.0.0.10", 22, False),
        ("0.0.0.0:22", "10.0.0.10", 23, False),
    ],
)  # fmt: skip
def test_which_packets_a_socket_takes(local, dst, port, takes):
    flow = request(Service("tcp", port, "x"), ip_address("10.0.0.1" if "." in dst else "fd00::1"), ip_address(dst))
    assert one(local).takes(flow) is takes
    udp = request(Service("udp", port, "x"), flow.src, flow.dst)
    assert one(local).takes(udp) is False


@given(st.text())
def test_no_text_is_too_strange(text):
    found = parse_sockets(text)
    assert len(found.listed) + len(found.strange) <= len(text.split("\n"))
