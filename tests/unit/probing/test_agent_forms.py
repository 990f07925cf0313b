"""Probes in other forms: the agent sends what is inert and marked, recognises all of it, and sends nothing else."""

import struct
from dataclasses import replace
from ipaddress import ip_address

import pytest

from fwproof.flow import ICMP, ICMPV6, TCP, UDP
from fwproof.forms import ESP, GRE, IGMP, SCTP, Ends, Form, Group, dressed, on_the_wire, words
from fwproof.probing import agent
from fwproof.probing.frames import probe_frames, reset_frame
from fwproof.probing.packets import dissect

from .test_agent import COOKIE, FOUR, OWN, PROGRAM, SIX, Captured, edited, error, flow, kept, run_bpf

IDENT = 61234
POSED = {4: ip_address("10.9.9.9"), 6: ip_address("fd99::1")}


def every():
    for src, dst in (FOUR, SIX):
        posed = ((POSED[src.version], 22),)
        for group in Group:
            if group is Group.EXTENSION_HEADERS and src.version == 4:
                continue
            for form, plain in dressed(group, Ends(src=src, dst=dst, closed=9, served=(22,), posed=posed)):
                yield pytest.param(
                    form, on_the_wire(form, plain, IDENT), id=f"{group}-{src.version}-{words(form, plain)}"
                )


EVERY = tuple(every())


def sent(frames, *, capture=None):
    for whole in agent.joined(list(frames)):
        agent.check_frame(whole, capture or Captured(), OWN | {str(source) for source in POSED.values()})


@pytest.mark.parametrize(("form", "flow_"), EVERY)
def test_every_form_is_sent_kept_and_recognised(form, flow_):
    frames = probe_frames(flow_, COOKIE, form, IDENT)
    sender, receiver, stranger = Captured(), Captured(), Captured()
    stranger.cookies = {COOKIE ^ 1}
    sent(frames, capture=sender)
    assert len(frames) == 1 or form.cut
    for number, frame in enumerate(frames):
        assert run_bpf(PROGRAM, frame) == agent.SNAPLEN
        receiver.take(frame, outgoing=False, interface="eth0", when=number)
        sender.take(frame, outgoing=True, interface="eth0", when=number)
        stranger.take(frame, outgoing=False, interface="eth0", when=number)
        packet = dissect(frame)
        assert packet is not None
        assert packet.proto == flow_.proto
        assert (packet.src, packet.dst) == (flow_.src, flow_.dst)
    for capture in (sender, receiver):
        assert sorted(row[3] for row in capture.packets) == ["piece"] * (len(frames) - 1) + ["probe"]
        assert {row[5] for row in capture.packets} == {IDENT}
    assert stranger.packets == []
    if not form.cut:
        assert len(frames[0]) == flow_.length, "the model is asked about the length that is sent"


def frames(proto, form=None, *, six=False, ident=IDENT, **more):
    form = form or Form()
    return probe_frames(on_the_wire(form, flow(proto, six=six, **more), ident), COOKIE, form, ident)


def cut(size=24, order="", **more):
    return list(frames(TCP, Form(name="cut", cut=size, order=order), **more))


LOW = Form(low_port=53)
HOP = Form(headers=(0,))


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        # from a low port to anything but the block: nobody who trusts the port may be spoken to
        (edited(frames(UDP, LOW)[0], 22, struct.pack("!H", 111)), "from ports"),
        (edited(frames(UDP, LOW)[0], 20, struct.pack("!H", 54)), "from ports"),
        (edited(frames(TCP, Form(low_port=20))[0], 20, struct.pack("!H", 22)), "from ports"),
        (edited(frames(UDP, LOW)[0], 44, b"\0"), "marker"),
        # other protocols with anything in them
        (edited(frames(GRE, dport=None)[0], 22, b"\x08\x00"), "blank"),
        (edited(frames(GRE, dport=None)[0], 20, b"\x20"), "blank"),
        (frames(GRE, dport=None)[0] + b"x", "blank"),
        (edited(frames(ESP, dport=None)[0], 20, b"\0\0\0\1"), "blank"),
        (edited(frames(IGMP, dport=None)[0], 20, b"\x11"), "blank"),
        (edited(frames(SCTP)[0], 32, b"\x0e"), "blank"),
        (frames(SCTP)[0] + b"\0\0\0\x04", "blank"),
        (edited(frames(GRE, dport=None)[0], 9, b"\x29"), "from ports"),
        # a redirect to somewhere, an advertisement of somebody, and what would be obeyed
        (edited(frames(ICMP, dport=None, icmp_type=5)[0], 24, bytes([10, 0, 0, 66])), "blank"),
        (edited(frames(ICMP, dport=None, icmp_type=9)[0], 24, b"\x01\x02\x00\x3c"), "blank"),
        (edited(frames(ICMPV6, six=True, dport=None, icmp_type=134)[0], 46, b"\x00\x3c"), "blank"),
        (edited(frames(ICMPV6, six=True, dport=None, icmp_type=137)[0], 48, SIX[0].packed), "blank"),
        (edited(frames(ICMPV6, six=True, dport=None, icmp_type=137)[0], 7, b"\xff"), "hop limit"),
        (edited(frames(ICMP, dport=None, icmp_type=13)[0], 28, b"\0\0\0\1"), "blank"),
        # options and headers that ask somebody for something
        (bytes([0x46]) + frames(TCP)[0][1:20] + b"\x83\x04\0\0" + frames(TCP)[0][20:], "options"),
        (edited(frames(TCP, HOP, six=True)[0], 42, b"\x05\x02\0\0\0\0"), "blank"),
        (edited(frames(TCP, Form(headers=(43,)), six=True)[0], 43, b"\1"), "blank"),
        (edited(frames(TCP, Form(headers=(44,)), six=True)[0], 44, b"\0\0\0\1"), "blank"),
        (frames(TCP, Form(headers=(0, 0)), six=True)[0], "alike"),
    ],
)  # fmt: skip
def test_what_is_not_inert_is_not_sent(bad, why):
    with pytest.raises(agent.Refused, match=why):
        sent([bad])


def moved(frame, offset):
    return edited(frame, 6, struct.pack("!H", 0x2000 | offset // 8))


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (cut()[:1], "first byte to its last"),
        (cut()[1:], "without gaps"),
        ([cut(8)[0], *cut(8)[2:]], "without gaps"),
        ([cut()[0], edited(cut(order="overlapping")[1], 20, b"\xff\xff")], "agree where they overlap"),
        ([cut()[0], cut()[1] + b"GET / HTTP/1.0"], "empty"),
        ([cut()[0], cut()[1] + bytes(120)], "first byte to its last|one whole"),
        ([edited(cut(8)[0], 20, struct.pack("!H", 1024)), *cut(8)[1:]], "from ports"),
        ([cut(six=True, length=80)[0], edited(cut(six=True, length=80)[1], 44, b"\0\0\0\1")], "first byte|gaps"),
    ],
)  # fmt: skip
def test_fragments_that_make_up_no_probe_are_not_sent(bad, why):
    with pytest.raises(agent.Refused, match=why):
        sent(bad)


def test_later_fragments_of_strangers_are_never_told():
    capture, pieces = Captured(), cut(16)
    capture.take(pieces[2], outgoing=False, interface="eth0", when=1)
    stranger = edited(pieces[1], 4, struct.pack("!H", IDENT + 1))
    capture.take(stranger, outgoing=False, interface="eth0", when=2)
    assert capture.packets == []
    capture.take(pieces[0], outgoing=False, interface="eth0", when=3)
    assert [(row[3], row[0]) for row in capture.packets] == [("probe", 3), ("piece", 1)]
    for number in range(agent.MAX_WAITING * 3):
        capture.take(edited(stranger, 4, struct.pack("!H", number)), outgoing=False, interface="eth0", when=9)
    assert len(capture.waiting) <= agent.MAX_WAITING + 1
    assert len(capture.packets) == 2


@pytest.mark.parametrize(("form", "flow_"), EVERY)
def test_errors_about_a_form_belong_to_it(form, flow_):
    first = min(probe_frames(flow_, COOKIE, form, IDENT), key=lambda f: getattr(agent.piece_of(f), "offset", 0))
    if form.spoofed:
        return
    capture = Captured()
    answer = error(first, six=flow_.dst.version == 6, kind=1 if flow_.dst.version == 6 else 3)
    assert kept(capture, answer) == "error"
    assert capture.packets[0][5] == IDENT


def test_a_reset_has_the_headers_of_its_syn():
    form = Form(headers=(0, 60))
    frame = reset_frame(on_the_wire(form, flow(TCP, six=True), IDENT), COOKIE, form, IDENT)
    sent([frame])
    assert dissect(frame).headers == (0, 60)
    low = reset_frame(on_the_wire(LOW, flow(TCP), IDENT), COOKIE, LOW, IDENT)
    sent([low])


def test_conntrack_knows_protocols_without_ports_by_their_addresses(monkeypatch):
    capture = Captured()
    sent(frames(GRE, dport=None), capture=capture)
    capture.note_event((GRE, FOUR[0].packed, 0, FOUR[1].packed, 0))
    capture.note_event((ESP, FOUR[0].packed, 0, FOUR[1].packed, 0))
    capture.note_event((UDP, FOUR[0].packed, 53, FOUR[1].packed, IDENT))
    monkeypatch.setattr(capture, "pump", lambda: None)
    capture.sock = type("Sock", (), {"getsockopt": lambda *_: struct.pack("=II", 5, 0)})()
    assert capture.fetch()["confirmed"] == [[GRE, "10.0.0.1", IDENT, "10.0.0.10", 0]]


# ---- foreign sources


def test_an_installed_agent_uses_no_foreign_source(monkeypatch):
    spoofed = [replace(flow(TCP), src=POSED[4])]
    wrong = probe_frames(spoofed[0], COOKIE)
    one = agent.Agent()
    assert not agent.STREAMED, "a file that is there is not streamed"
    with pytest.raises(agent.Refused, match="not an address of this host"):
        one.check_sources(list(wrong), OWN)
    assert one.spoofed == set()
    monkeypatch.setattr(agent, "STREAMED", True)
    one.check_sources(list(wrong), OWN)
    assert one.spoofed == {"10.9.9.9"}


@pytest.mark.parametrize("source", ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "ff02::1", "::1", "fe80::1",
                                    "::ffff:10.0.0.1"])  # fmt: skip
def test_no_source_that_is_none(monkeypatch, source):
    monkeypatch.setattr(agent, "STREAMED", True)
    ends = FOUR if ":" not in source else SIX
    wrong = probe_frames(replace(flow(TCP, six=":" in source), src=ip_address(source), dst=ends[1]), COOKIE)
    with pytest.raises(agent.Refused, match="unicast"):
        agent.Agent().check_sources(list(wrong), OWN)


def test_the_number_of_foreign_sources_is_capped(monkeypatch):
    monkeypatch.setattr(agent, "STREAMED", True)
    one = agent.Agent()
    many = [probe_frames(replace(flow(TCP), src=ip_address(f"10.9.9.{n}")), COOKIE)[0] for n in range(1, 66)]
    one.check_sources(many[:64], OWN)
    with pytest.raises(agent.Refused, match="at most 64"):
        one.check_sources(many[64:], OWN)
