"""Packets that a router on the way drops: who did it is told, as far as routers say."""

import os

import pytest

from fwproof.lab import Lab

from .auditing import Run, on

pytestmark = pytest.mark.lab
HOST = "ai-server"
SOME = f"({HOST}-outside or {HOST}-workstation) and not exercise and (webui-proxy or ollama-internal) and not rate"
RULE = "FORWARD -p tcp -m multiport --dports 8080,11434 -j DROP"


@pytest.fixture(scope="module")
def lab():
    with Lab(f"path{os.getpid()}") as lab:
        yield lab


def test_the_router_that_stops_a_packet_is_named_and_one_that_says_nothing_is_not(lab, tmp_path):
    on(lab, "router", f"iptables -I {RULE}; ip6tables -I {RULE}")
    # no router may send more than a few ICMPv6 errors at once; this one sends none at all in IPv6
    on(lab, "router", "ip6tables -A OUTPUT -p icmpv6 --icmpv6-type time-exceeded -j DROP")
    run = Run(lab, tmp_path / "reports", "-k", SOME)
    denied, allowed = (
        run.checks[f"webui-proxy[{HOST}-outside-ipv4]"],
        run.checks[f"ollama-internal[{HOST}-workstation-ipv4]"],
    )
    assert denied["verdict"] == "pass"
    assert "something before this firewall stopped the probe, so the wire did not test it" in denied["reason"]
    assert "203.0.113.1, hop 1 of the way, still answers for it, and nobody behind" in denied["reason"]
    assert any(line.startswith("path: 203.0.113.1, hop 1") for line in denied["evidence"])
    assert allowed["verdict"] == "inconclusive"
    assert "10.0.5.254, hop 1 of the way" in allowed["reason"]
    silent = run.checks[f"webui-proxy[{HOST}-outside-ipv6]"]
    assert "something before this firewall stopped the probe" in silent["reason"]
    assert "hop" not in silent["reason"]
