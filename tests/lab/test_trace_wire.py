"""Attribution by trace on real kernels: three engines, both families, other traffic, and what is left behind."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fwproof.decision import Decision
from fwproof.errors import HostError
from fwproof.flow import Flow
from fwproof.forms import Ends, Group, dressed, words
from fwproof.observation import Observation, Probe
from fwproof.probing.observe import Prober
from fwproof.probing.shot import Timing
from fwproof.semantics.conversation import converse
from fwproof.semantics.traced import Names, compared, rules_met

from . import sweepnet, tracenet

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module", params=tracenet.ENGINES)
def engine(request):
    return request.param


@pytest.fixture(scope="module")
def net(engine):
    with sweepnet.made() as net:  # one for each, since legacy tables stay for as long as their namespace
        tracenet.load(net, engine)
        yield net


@pytest.fixture
def prober(net):
    agents = {host: net.agent(host) for host in ("vantage", "target")}
    with Prober(agents, timing=Timing(window=0.6, settle=0.1)) as prober:
        yield prober
    for agent in agents.values():
        agent.close()


def traced(prober, model, probes):
    """Send probes and return each one's observation with the rules that it met, compared with the model."""
    with prober.tracing(["target"]) as found:
        assert not isinstance(found["target"], HostError), found["target"]
        names = Names(model, found["target"])
        seen = prober.observe(probes, retries=0)
    answers = {}
    for probe in probes:
        one = seen[probe.ref]
        assert isinstance(one, Observation), one
        ruling = converse(model, probe.flow).request.ruling
        answers[probe.ref] = one, compared(rules_met(names, "target", one), ruling)
    return answers


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("pps", [0, 500])
def test_every_rule_is_named(net, engine, prober, version, pps):
    model = tracenet.model(net, engine)
    with tracenet.noise(net, version, pps or 0.1):
        found = traced(prober, model, tracenet.probes(version))
    for (proto, port), steps in tracenet.PATHS.items():
        _, told = found[f"{proto} {port}"]
        assert tracenet.steps(told.path) == steps
        assert told.path.conclusive
        assert (told.path.decision is Decision.ACCEPT) is ((proto, port) in tracenet.ACCEPTED)
        assert told.agrees is True, told.why


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("group", Group)
def test_every_form_of_a_probe_is_traced(net, engine, prober, group, version):
    """The marker is found in each form, so a form that arrives and is not traced met no rule after its arrival."""
    ends = Ends(src=sweepnet.VANTAGE[version], dst=sweepnet.TARGET[version], closed=9, served=(1000,), posed=())
    sent = [
        Probe(ref=f"{n} {words(form, flow)}", sender="vantage", receiver="target", flow=flow, form=form)
        for n, (form, flow) in enumerate(dressed(group, ends))
    ]
    with prober.tracing(["target"]) as found:
        names = Names(tracenet.model(net, engine), found["target"])
        seen = prober.observe(sent, retries=0)
    paths = {ref: rules_met(names, "target", one) for ref, one in seen.items() if one.arrived}
    # the kernel itself discards these: data that overlaps, IPv6 without a whole header in its first fragment; xt_tcp
    # of a legacy rule drops such by itself, between two rules (hotdrop)
    discarded = ["overlapping", *(["of 8 bytes"] if version == 6 else [])]
    discarded += ["of 16 bytes"] if (engine, version) == ("legacy", 6) else []
    unseen = {ref.split(" ", 1)[1] for ref, path in paths.items() if not path.conclusive}
    assert {name for name in unseen if not any(word in name for word in discarded)} == set()
    assert bool(unseen) is (group is Group.FRAGMENTS)
    assert len(paths) >= len(sent) // 2


def test_what_the_host_sends_is_traced(net, engine, prober):
    out = Flow(src=sweepnet.TARGET[4], dst=sweepnet.VANTAGE[4], proto=tracenet.TCP, dport=9)
    answers = traced(
        prober, tracenet.model(net, engine), [Probe(ref="o", sender="target", receiver="vantage", flow=out)]
    )
    _, told = answers["o"]
    assert tracenet.steps(told.path) == (() if engine == "native" else ("OUTPUT:policy",))
    assert (told.agrees, told.path.begun) == (True, True)


def test_other_peoples_packets_are_not_traced(net, engine, prober):
    """`nft monitor trace` shows whatever has the trace bit; a packet of a probe's port and no marker has not."""
    monitor = subprocess.Popen(net.argv("target", "nft", "monitor", "trace"), stdout=subprocess.PIPE)
    try:
        with prober.tracing(["target"]), tracenet.noise(net, 4, 300):
            net.run("vantage", sys.executable, "-c", STRANGER, str(sweepnet.TARGET[4]))
            time.sleep(0.5)
            assert waiting(monitor.stdout) == b""
            prober.observe(tracenet.probes(4)[:1], retries=0)
            time.sleep(0.2)
            assert b"fwproof_trace" in waiting(monitor.stdout)
    finally:
        monitor.kill()
        monitor.wait()
        monitor.stdout.close()


def waiting(stream):
    """Return what can be read without waiting."""
    found = b""
    while select.select([stream], [], [], 0)[0]:
        found += os.read(stream.fileno(), 1 << 16)
    return found


STRANGER = """
import socket, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 61005))
for data in (b"", b"fwproof probe ", b"fwproof probe \\0\\0\\0\\0", b"x" * 100):
    udp.sendto(data, (sys.argv[1], 2000))
tcp = socket.socket()
tcp.bind(("", 61006))
tcp.setblocking(False)
try:
    tcp.connect((sys.argv[1], 1000))
except BlockingIOError:
    pass
"""


def test_a_tampered_rule_is_found(net, engine, prober):
    """The model is of tables in which another rule accepts one port: only that probe's attribution disagrees."""

    def tamper(text):
        return text.replace("--dport 1001 -j DROP", "--dport 1007 -j DROP").replace('"right": 1001', '"right": 1007')

    found = traced(prober, tracenet.model(net, engine, tamper), tracenet.probes(4))
    wrong = {ref: told.why for ref, (_, told) in found.items() if told.agrees is not True}
    assert list(wrong) == ["tcp 1001"]
    assert "the kernel had" in wrong["tcp 1001"]


def test_rules_that_changed_since_are_found(net, engine, prober):
    model = tracenet.model(net, engine)
    tool = "iptables-legacy" if engine == "legacy" else "iptables-nft"
    words = "insert rule inet lab INPUT udp dport 7 drop" if engine == "native" else "-I INPUT -p udp --dport 7 -j DROP"
    net.run("target", "nft" if engine == "native" else tool, *words.split())
    try:
        found = traced(prober, model, tracenet.probes(4))
        moved = [f"{proto} {port}" for (proto, port), steps in tracenet.PATHS.items()
                 if steps[-1][:6] == "INPUT:" and steps != ("INPUT:policy",)]  # fmt: skip
        assert [ref for ref in moved if found[ref][1].agrees is not False] == []
    finally:
        tracenet.load(net, engine)


def test_nothing_is_left_and_nothing_told_without_a_trace(net, engine, prober):
    before = tracenet.left_behind(net)
    with prober.tracing(["target"]):
        during = tracenet.left_behind(net)
        assert during[0] == ["table inet fwproof_trace"]
        assert during[1] == (["nfnetlink_log"] * 2 if engine == "legacy" else before[1])
    assert tracenet.left_behind(net) == before
    assert before[0] == []
    seen = prober.observe(tracenet.probes(4)[:2])
    assert not any(one.events for one in seen.values())


AUDITOR = """
import sys, time
from contextlib import ExitStack
sys.path[:0] = [{tests!r}]
from tests.lab import sweepnet
from fwproof.probing.observe import Prober
net = sweepnet.Net()
class Holder:
    pid = int(sys.argv[1])
net.holders = {{"target": Holder}}
stack = ExitStack()
prober = stack.enter_context(Prober({{"target": net.agent("target")}}))
print(stack.enter_context(prober.tracing(["target"])).keys(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("killed", ["agent", "auditor"])
def test_nothing_is_left_when_somebody_is_killed(net, engine, killed):
    before = tracenet.left_behind(net)
    code = AUDITOR.format(tests=str(Path(__file__).parents[2]))
    pid = str(net.holders["target"].pid)
    auditor = subprocess.Popen([sys.executable, "-c", code, pid], stdout=subprocess.PIPE, text=True)
    try:
        assert "target" in auditor.stdout.readline()
        assert tracenet.left_behind(net) != before
        agent = next(int(child) for child in children(auditor.pid) if "b64decode" in command(child))
        os.kill(agent if killed == "agent" else auditor.pid, signal.SIGKILL)
        end = time.monotonic() + 5
        while tracenet.left_behind(net) != before and time.monotonic() < end:
            time.sleep(0.02)
        assert tracenet.left_behind(net) == before
    finally:
        auditor.kill()
        auditor.wait()
        auditor.stdout.close()


def children(pid):
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.split()


def command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("engine", ["legacy"], indirect=True)  # only legacy rules speak through NFLOG
def test_a_group_that_somebody_reads_is_left_to_him(net, prober):
    before = tracenet.left_behind(net)
    reader = subprocess.Popen(net.argv("target", sys.executable, "-c", READER), stdout=subprocess.PIPE, text=True)
    try:
        assert reader.stdout.readline() == "bound\n"
        with prober.tracing(["target"]) as found:
            assert "NFLOG group 0 cannot be had" in str(found["target"])
            assert tracenet.left_behind(net) == before
    finally:
        reader.kill()
        reader.wait()
        reader.stdout.close()


READER = """
import socket, struct, time
sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
sock.bind((0, 0))
sock.send(struct.pack("=IHHIIBBHHHBxxx", 28, 0x401, 5, 1, 0, 0, 0, 0, 5, 1, 1))
assert struct.unpack_from("=i", sock.recv(100), 16)[0] == 0
print("bound", flush=True)
time.sleep(60)
"""
