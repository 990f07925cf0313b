"""``fwproof probe`` as it is called: what it refuses before anything is sent, what it says it will send."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from fwproof.audit.adhoc import Wish
from fwproof.cli.main import cli
from fwproof.errors import FwproofError
from fwproof.flow import Family
from fwproof.policy.model import Service
from fwproof.probing import portset

ROOT = Path(__file__).parents[3]
INVENTORY = ("--inventory", ROOT / "fixtures" / "inventory.yaml")


@pytest.fixture(autouse=True)
def nothing_is_opened(monkeypatch):
    def opened(*_):
        raise AssertionError("it was about to connect")

    monkeypatch.setattr("fwproof.cli.probe.opened", opened)


def run(*words):
    return CliRunner().invoke(cli, ["probe", *map(str, words), *map(str, INVENTORY)])


@pytest.mark.parametrize(("words", "why"), [
    (("nosuch", "--from", "admin", "tcp/22"), "no host 'nosuch'"),
    (("10.0.0.10", "--from", "admin", "tcp/22"), "no host '10.0.0.10'"),
    (("ai-servers", "--from", "admin", "tcp/22"), "is a group"),
    (("ai-server", "--from", "nosuch", "tcp/22"), "no host 'nosuch'"),
    (("proxy", "--from", "ai-server", "tcp/22"), "ai-server is no vantage"),
    (("admin", "--from", "admin", "tcp/22"), "cannot be probed from itself"),
    (("ai-server", "--from", "admin"), "nothing to send"),
    (("ai-server", "--from", "admin", "tcp"), "expected one port"),
    (("ai-server", "--from", "admin", "tcp/0"), "expected one port"),
    (("ai-server", "--from", "admin", "tcp/22-23"), "expected one port"),
    (("ai-server", "--from", "admin", "gre"), "expected one port"),
    (("ai-server", "--from", "admin", "icmp/13"), "expected one port"),
    (("ai-server", "--from", "admin", "tcp/70000"), "expected a protocol"),
    (("ai-server", "--from", "admin", "--sweep", "tcp,sctp"), "expected tcp, udp or tcp,udp"),
    (("ai-server", "--from", "admin", "--sweep", ""), "expected tcp, udp or tcp,udp"),
    (("ai-server", "--from", "admin", "--sweep", "tcp", "--ports", "0-5"), "ports from 1 to 65535"),
    (("ai-server", "--from", "admin", "--sweep", "tcp", "--ports", "x"), "expected"),
    (("ai-server", "--from", "admin", "--ports", "22", "tcp/22"), "--ports is for --sweep"),
    (("ai-server", "--from", "admin", "--burst", "5", "--sweep", "tcp"), "--burst needs services"),
    (("ai-server", "--from", "admin", "--burst", "5", "tcp/22"), "could lock the auditor out"),
    (("ai-server", "--from", "admin", "--burst", "65", "tcp/80"), "--burst"),
    (("ai-server", "--from", "admin", "--rate", "50001", "tcp/80"), "--rate"),
    (("ai-server", "--from", "admin", "--rate", "0", "tcp/80"), "--rate"),
    (("ai-server", "--from", "admin", "--trace"), "nothing to send"),
    (("ai-server", "--from", "admin", "--trace", "--burst", "5", "tcp/80"), "--trace is for single probes"),
])  # fmt: skip
def test_what_is_refused(words, why):
    result = run(*words)
    said = str(result.exception) if isinstance(result.exception, FwproofError) else result.output
    assert why in said
    assert result.exit_code != 0
    assert "sending" not in result.output


def test_what_will_be_sent_is_said_first():
    result = run("ai-server", "--from", "workstation", "--sweep", "tcp,udp", "--family", "ipv4", "--rate", "10000")
    assert isinstance(result.exception, AssertionError)
    assert "a sweep of 65,535 ports (tcp, udp) to ai-server from workstation over ipv4: " in result.output
    assert ": 131,070 packets, at most 10,000 a second, about 14 s" in result.output


def test_how_much_is_sent():
    web = Service("tcp", 80, "tcp/80")
    wish = Wish(host="h", vantage="v", families=tuple(Family), services=(web,), protocols=("tcp",),
                ports=portset.of_ranges([(1, 1000)]), pps=1000)  # fmt: skip
    assert wish.packets() == (2002, pytest.approx(3.004))
    burst = Wish(host="h", vantage="v", families=(Family.IPV4,), services=(web,), burst=25, pps=50)
    assert burst.packets() == (25, pytest.approx(0.5))
