"""Routers of the lab: what passes through them, proved, sent through them and watched on both sides and on the way.

The hosts are those of fixtures/lab/routers.yaml, two gateways with iptables and two with nftables; the policies are in
fixtures/routers. One audit answers most questions.
"""

import re

import pytest

from .auditing import ROOT, on, scenario

pytestmark = pytest.mark.lab
FOLDER = ROOT / "fixtures" / "routers"
INSIDE = {"gate": "web", "gate-published": "web-published", "gate-nft": "web-nft"}
BOTH = pytest.mark.parametrize("family", ["ipv4", "ipv6"])
GOOD = pytest.mark.parametrize("gate", ["gate", "gate-nft"])

lab, audit, first = scenario("routers", "routers.yaml", FOLDER, "-k", "gate or spoofing", timeout=240)


def not_passed(run, host):
    return {id_ for id_, verdict in run.verdicts(host).items() if verdict != "pass"}


@GOOD
def test_routers_that_are_as_their_policy_says_pass_everything(first, gate):
    assert len(first.of(gate, "forward")) == 10
    assert not_passed(first, gate) == set(), first.out


@GOOD
@BOTH
def test_a_packet_is_watched_on_both_sides_and_on_the_way_and_masqueraded(first, gate, family):
    check = first.checks[f"web-out[{gate}-{INSIDE[gate]}-{family}-outside]"]
    assert re.search(rf"{gate} passed it on as tcp \S+ -> \S+:443; a service answered", check["observed"])
    assert "A full connection stood" in check["observed"]
    hosts = [line.split()[:2] for line in check["evidence"] if " > " in line]
    way = [[INSIDE[gate], "out"], [gate, "in"], [gate, "out"], ["outside", "in"]]
    assert [step for step in hosts if step in way][:4] == way, "the probe is known by its marker at every place"
    assert re.search(
        r"the counter of .*(FORWARD|forward) rule \d+: .*443.* confirms it: \+\d+ for \d+ probe", check["attributed"]
    )


@GOOD
@BOTH
def test_a_published_port_is_rewritten_as_the_tables_say(first, gate, family):
    check = first.checks[f"page-in[{gate}-outside-{family}]"]
    address = {"gate": ("10.8.1.10", "[fd00:8:1::10]"), "gate-nft": ("10.8.1.30", "[fd00:8:1::30]")}[gate][
        family == "ipv6"
    ]
    assert f"-> {address}:80; a service answered" in check["observed"]
    assert any(line.startswith(f"{INSIDE[gate]} in ") and f"> {address}:80" in line for line in check["evidence"])
    assert "confirms it" in check["attributed"]
    claim = first.checks[f"page-in[{gate}-{family}]"]
    assert claim["reason"] == "tcp/8080 is open to exactly outside"
    # the same page without the port forward is refused
    assert "nothing passes but what the policy lists" in first.checks[f"forward-default[{gate}-{family}]"]["reason"]


@GOOD
@BOTH
def test_what_is_refused_is_seen_to_come_and_not_to_leave(first, gate, family):
    check = first.checks[f"forward-default[{gate}-outside-{family}-{INSIDE[gate]}-tcp-22]"]
    assert f"came to {gate} and was dropped there" in check["observed"]
    assert "confirms it: +" in check["attributed"]
    assert not [line for line in check["evidence"] if line.startswith(f"{gate} out")]


@GOOD
@BOTH
def test_pings_pass_through_as_well(first, gate, family):
    check = first.checks[f"ping-in[{gate}-outside-{family}-{INSIDE[gate]}]"]
    assert f"{gate} passed it on; a service answered" in check["observed"]


def test_a_router_of_a_tutorial_lets_through_what_it_should_not(first):
    check = first.checks["forward-default[gate-published-web-published-ipv4-outside-tcp-25]"]
    assert check["verdict"] == "fail"
    assert "is let through by ip filter FORWARD rule 1" in check["reason"]
    assert "gate-published passed it on as tcp 203.0.113.12" in check["observed"]
    assert "a service answered" in check["observed"]
    check = first.checks["forward-default[gate-published-outside-ipv4-web-published-tcp-22]"]
    assert (check["verdict"], check["cause"]) == ("fail", "ip FORWARD has no default deny: its policy is ACCEPT")
    assert "gate-published passed it on; the far end dropped it" in check["observed"]
    assert "on the wire it did not show" not in check["reason"]
    assert first.checks["page-in[gate-published-outside-ipv4]"]["verdict"] == "pass"


def test_a_port_that_nothing_sends_on_is_told(first):
    """The tutorial forwards a port in IPv4; in IPv6 the router itself answers at it, with a reset."""
    check = first.checks["page-in[gate-published-outside-ipv6]"]
    assert check["verdict"] == "fail"
    assert check["reason"].endswith("should be sent on to tcp/80 at inside, and is for 2001:db8:bad::12 port 8080")
    assert first.checks["page-in[gate-published-ipv6]"]["cause"].endswith(
        "sent on to another place than the policy names"
    )


@BOTH
@pytest.mark.parametrize(("host", "arrives"), [("web", False), ("web-nft", False), ("web-published", True)])
def test_spoofed_inside_sources_from_outside(first, host, arrives, family):
    check = first.checks[f"evasion:spoofing[{host}-outside-{family}]"]
    came = [line for line in check["evidence"] if f"{host} in " in line]
    if arrives:
        assert (check["verdict"], check["cause"]) == ("fail", "nothing on the way stops spoofed sources")
        assert len(came) == 2
        assert "10.8.1.254" in check["reason"] or "fd00:8:1:0:ffff" in check["reason"]
    else:
        assert check["verdict"] == "pass", check
        assert check["reason"] == "2 of 2 spoofed packets were stopped on the way"
        assert "Another packet from the same vantage did arrive" in check["observed"]


@GOOD
def test_a_router_drops_spoofed_sources_that_come_to_itself(first, gate):
    for family in ("ipv4", "ipv6"):
        check = first.checks[f"evasion:spoofing[{gate}-outside-{family}]"]
        assert check["verdict"] == "pass", check
        assert "drop of " in check["proved"]
        assert "input" not in check["proved"].lower(), (
            "the way back stops them, as they come in by the outside interface"
        )
        assert "silent" in check["observed"]


# ---- what changes


def test_rp_filter_alone_stops_what_its_forward_chain_lets_through(lab, audit):
    on(lab, "gate-published", "sysctl -qw net.ipv4.conf.all.rp_filter=1")
    try:
        run = audit("-k", "spoofing and web-published and ipv4")
    finally:
        on(lab, "gate-published", "sysctl -qw net.ipv4.conf.all.rp_filter=0")
    assert run.verdicts("web-published") == {"evasion:spoofing[web-published-outside-ipv4]": "pass"}, run.out


def test_a_port_forward_to_the_wrong_host_is_told_by_tables_and_wire(lab, audit):
    rule = "-d 203.0.113.11/32 -i eth0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination"
    on(
        lab,
        "gate",
        f"iptables -t nat -R PREROUTING 1 {rule} 10.99.0.66:80; iptables -I FORWARD -d 10.99.0.66 -j ACCEPT",
    )
    try:
        run = audit(
            "-k", "page-in and gate-outside-ipv4 or page-in and gate-ipv4", policy=FOLDER / "routers.policy.yaml"
        )
    finally:
        on(
            lab,
            "gate",
            f"iptables -t nat -R PREROUTING 1 {rule} 10.8.1.10:80; iptables -D FORWARD -d 10.99.0.66 -j ACCEPT",
        )
    flow = run.checks["page-in[gate-outside-ipv4]"]
    assert flow["verdict"] == "fail"
    assert flow["reason"] == "should be sent on to tcp/80 at inside, and is for 10.99.0.66 port 80"
    assert "sent on to 10.99.0.66, not to inside" in run.checks["page-in[gate-ipv4]"]["reason"]


def test_packets_that_take_another_way_are_not_this_routers(lab, audit):
    """The inventory is wrong about the way: the far end has the packets, and the router has never seen them."""
    on(lab, "web", "ip route replace 203.0.113.66/32 via 10.8.1.2")
    try:
        run = audit("-k", "time-out and gate-web-ipv4", policy=FOLDER / "routers.policy.yaml")
    finally:
        on(lab, "web", "ip route del 203.0.113.66/32")
    check = run.checks["time-out[gate-web-ipv4-outside]"]
    assert check["verdict"] == "not-applicable", check
    assert check["reason"] == "packets from web to outside do not go through gate"
