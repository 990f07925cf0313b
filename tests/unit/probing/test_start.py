import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fwproof.errors import AgentRefused
from fwproof.hosts.access import AGENT_PATH
from fwproof.inventory import Access, AgentPin, Host, SshAddress
from fwproof.policy.inventory_file import load_inventory
from fwproof.probing.bootstrap import agent_source
from fwproof.probing.start import agent_sha256, check_pin, start_agent
from fwproof.snapshot import Capture

FILE, FOLDER, LINK = 0o100755, 0o40755, 0o120777
PIN = AgentPin(path=AGENT_PATH, sha256=agent_sha256())


@dataclass
class FakeTransport:
    """Answers stat and sha256sum; opens the channel it was given."""

    host: Host
    listing: str = ""
    digest: str = agent_sha256()
    status: int = 0
    channel: object = None
    opened: list = field(default_factory=list)

    def run(self, argv, *, timeout=30.0, stdin=None, name=""):
        out = self.listing if argv[0].endswith("stat") else f"{self.digest}  {argv[-1]}\n"
        status = self.status if argv[0].endswith("stat") else 0
        return Capture(name=name, argv=tuple(argv), status=status, stdout=out, stderr="No such file", at="", seconds=0)

    def open_channel(self, argv):
        self.opened.append(tuple(argv))
        return self.channel

    def close(self):
        pass


def host(access=Access.OBSERVE, pin=PIN, user="auditor"):
    return Host(name="h", addresses=(), ssh=SshAddress(address="192.0.2.1", user=user), access=access, agent=pin)


def listing(*rows):
    """Rows of `stat -c '%f %u'` for the file and the four folders above it."""
    full = list(rows) + [(FOLDER, 0)] * (5 - len(rows))
    return "".join(f"{mode:x} {owner}\n" for mode, owner in full)


def test_the_labs_inventory_pins_this_agent():
    inventory = load_inventory(Path(__file__).parents[3] / "fixtures" / "inventory.yaml")
    assert {host.agent.sha256 for host in inventory.hosts.values() if host.agent} == {agent_sha256()}


def test_the_pinned_file_is_accepted():
    check_pin(FakeTransport(host(), listing((FILE, 0))), PIN)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([(FILE, 1000)], "changed by others"),
        ([(FILE | 0o020, 0)], "changed by others"),
        ([(FILE, 0), (FOLDER | 0o002, 0)], "/usr/local/sbin can be changed"),
        ([(FILE, 0), (FOLDER, 0), (FOLDER, 500)], "/usr/local can be changed"),
        ([(LINK, 0)], "not a plain file"),
        ([(FILE, 0), (LINK, 0)], "not a plain folder"),
    ],
)
def test_what_others_can_change_is_refused(rows, why):
    with pytest.raises(AgentRefused, match=why):
        check_pin(FakeTransport(host(), listing(*rows)), PIN)


def test_another_file_is_refused_with_both_hashes():
    digest = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(AgentRefused) as caught:
        check_pin(FakeTransport(host(), listing((FILE, 0)), digest=digest), PIN)
    assert digest in str(caught.value)
    assert PIN.sha256 in str(caught.value)


def test_unreadable_answers_are_refused():
    with pytest.raises(AgentRefused, match="not its mode and owner"):
        check_pin(FakeTransport(host(), "welcome to the machine\n" * 5), PIN)
    with pytest.raises(AgentRefused, match="is it installed"):
        check_pin(FakeTransport(host(), status=1), PIN)


@pytest.mark.parametrize("path", ["fwproof-agent", "/usr/local/../../tmp/agent"])
def test_the_path_is_plain(path):
    with pytest.raises(AgentRefused, match="absolute and plain"):
        check_pin(FakeTransport(host()), AgentPin(path=path, sha256=PIN.sha256))


class FakeChannel:
    """Records what is sent and answers hello with the capabilities it was given."""

    stderr = ""

    def __init__(self, capabilities):
        self.capabilities, self.sent, self.closed = capabilities, b"", False

    def send(self, data):
        self.sent += data

    def readline(self, timeout):
        return (
            b'{"ref":1,"ok":{"version":1,"python":"3.11","uid":0,"kernel":"6","time":0,"interfaces":[],"capabilities":%d}}\n'
            % self.capabilities
        )

    def close(self):
        self.closed = True


def test_tiers():
    with pytest.raises(AgentRefused, match="access is read"):
        start_agent(FakeTransport(host(Access.READ)))
    with pytest.raises(AgentRefused, match="no agent is pinned"):
        start_agent(FakeTransport(host(pin=None)))
    installed = FakeTransport(host(), listing((FILE, 0)), channel=FakeChannel(1 << 13))
    start_agent(installed)
    assert installed.opened == [("/usr/bin/sudo", "-n", AGENT_PATH)]
    streamed = FakeTransport(host(Access.ROOT, pin=None, user="root"), channel=FakeChannel(1 << 13))
    start_agent(streamed)
    assert streamed.opened[0][:3] == ("/usr/bin/python3", "-IS", "-c")
    assert agent_source() in streamed.channel.sent
    sudo = FakeTransport(host(Access.ROOT, pin=None), channel=FakeChannel(1 << 13))
    start_agent(sudo)
    assert sudo.opened[0][:2] == ("/usr/bin/sudo", "-n")


def test_an_agent_without_raw_sockets_is_refused_and_closed():
    channel = FakeChannel(1 << 12)
    with pytest.raises(AgentRefused, match="CAP_NET_RAW"):
        start_agent(FakeTransport(host(), listing((FILE, 0)), channel=channel))
    assert channel.closed


def test_an_installed_agent_traces_only_by_its_argument():
    installed = FakeTransport(host(), listing((FILE, 0)), channel=FakeChannel(1 << 13))
    start_agent(installed, trace=True)
    assert installed.opened == [("/usr/bin/sudo", "-n", AGENT_PATH, "--trace")]
