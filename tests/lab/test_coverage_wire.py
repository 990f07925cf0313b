"""Rule coverage on real kernels: each rule's status against the kernel's own counters, and models that lie."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from fwproof.audit.coverage import gather_coverage
from fwproof.audit.tracing import Tracing, untraced
from fwproof.errors import AgentRefused
from fwproof.flow import Family
from fwproof.inventory import Access, Host, Inventory, SshAddress
from fwproof.judging.coverage_rows import Status, rows
from fwproof.plan import Check, Kind
from fwproof.policy.model import Policy
from fwproof.policy.table_model import Coverage
from fwproof.probing.observe import Prober
from fwproof.probing.shot import Timing
from fwproof.semantics.model import HostModel

from .test_probing_wire import ROUTER, TARGET, VANTAGE, agents, clean, net, prober

__all__ = ["agents", "clean", "net", "prober"]
pytestmark = pytest.mark.lab

RULES = """
table inet t {
  chain i {
    type filter hook input priority 0; policy drop;
    iif lo counter accept comment "loop"
    ct state established,related counter accept comment "answers"
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } counter accept
    ct state invalid counter drop comment "odd"
    tcp dport 7001 counter accept comment "one"
    tcp dport 7002 counter accept comment "two"
    tcp dport 8080 counter accept comment "service"
    tcp dport 8081 counter jump inner
    udp dport 5353 accept comment "uncounted"
    counter udp dport 5354 accept comment "counted before"
    ip saddr 192.0.2.0/24 counter accept comment "far"
    ip6 saddr 2001:db8::/32 counter accept comment "far"
    tcp dport 8080 counter drop comment "dead"
    counter drop comment "rest"
  }
  chain inner {
    ip saddr 10.1.0.0/24 counter accept comment "inner"
    ip6 saddr fd00:1::/64 counter accept comment "inner"
    counter reject comment "beside"
  }
  chain o {
    type filter hook output priority 0; policy accept;
    tcp dport 9 counter drop comment "no discard"
  }
}
"""


class Ground:
    """What gathering needs of a field, over the agents of the wire."""

    def __init__(self, net, agents, names, access=Access.ROOT):
        known = {"vantage": VANTAGE, "target": TARGET, "router": ROUTER}
        hosts = {
            name: Host(
                name=name, addresses=tuple(known[name].values()), ssh=SshAddress(address="x"), access=access,
                vantage=name == "vantage",
            )
            for name in names
        }  # fmt: skip
        self.inventory = Inventory(path=Path("i"), sha256="", hosts=hosts, zones={})
        self.agents = {name: agents[name] for name in names if name in agents}

        def run(argv, name):
            del name
            return SimpleNamespace(status=0, stderr="", stdout=net.run("target", *argv[2:]))

        self.transports = {"target": SimpleNamespace(run=run)}

    def agent(self, name):
        if name not in self.agents:
            raise AgentRefused(name, "it has none")
        return self.agents[name]


def model_of(net, host="target", change=lambda text: text):
    run = net.run
    return HostModel.build(
        nft_json=change(run(host, "nft", "-j", "list", "ruleset")), addresses=run(host, "ip", "-j", "addr"),
        routes=run(host, "ip", "-j", "route"), routes6=run(host, "ip", "-6", "-j", "route"),
        sysctls=run(host, "sysctl", "-a", "--pattern", "forwarding|ip_forward|rp_filter"),
    )  # fmt: skip


def covered(  # a name for each thing that a test changes
    net, agents, prober, version, model, host="target", names=("vantage", "target"), access=Access.ROOT, meets=untraced
):
    here = {"id": "coverage", "title": "t", "file": "f", "line": 1}
    policy = Policy(name="p", path=Path("p"), sha256="", hosts=(host,), services={})
    check = Check(
        id=f"coverage[{host}-{version}]", kind=Kind.COVERAGE, policy=policy, expectation=Coverage(**here), host=host,
        expected="", family=Family.of(TARGET[version]),
    )  # fmt: skip
    watch = SimpleNamespace(model=model, moved={})
    facts = gather_coverage(Ground(net, agents, names, access), prober, check, watch, hopeless=False, meets=meets)
    return facts, rows(facts)


def named(found, word):
    return [row for row in found if f'"{word}"' in row.rule.text]


def told(found, word):
    return {row.status for row in named(found, word)}


@pytest.mark.parametrize("version", [4, 6])
def test_each_status_is_what_the_kernel_counted(net, agents, prober, version):
    net.rules("target", RULES)
    before = counts(net)
    _, found = covered(net, agents, prober, version, model_of(net))
    after = counts(net)
    for word in ("loop", "answers", "odd", "one", "two", "service", "inner", "rest", "no discard"):
        assert Status.CONFIRMED in told(found, word), (word, named(found, word))
    assert told(found, "uncounted") == {Status.REACHED}
    assert told(found, "counted before") == {Status.REACHED}
    assert named(found, "counted before")[0].why.startswith("it has no counter, or one before a condition")
    assert told(found, "dead") == {Status.UNREACHABLE}
    (far,) = (row for row in named(found, "far") if row.status is not Status.UNREACHABLE)
    assert far.status is Status.ELSEWHERE
    assert "192.0.2." in far.why or "2001:db8:" in far.why
    beside = named(found, "beside")[0]
    assert beside.status is Status.ELSEWHERE, beside
    assert not [row for row in found if row.status is Status.DISAGREES]
    # the kernel is the judge: what is confirmed has counted, and what nothing reaches has not
    for row in found:
        moved = after.get(row.rule.text, 0) - before.get(row.rule.text, 0)
        if row.status is Status.CONFIRMED:
            assert moved > 0, row
            assert moved >= row.packets, row
        if row.status in {Status.UNREACHABLE, Status.ELSEWHERE} and "far" not in row.rule.text:
            assert moved == 0, row


@pytest.mark.parametrize("version", [4, 6])
def test_a_trace_confirms_what_no_counter_shows(net, agents, prober, version):
    net.rules("target", RULES)
    model = model_of(net)
    with prober.tracing(["target"]) as handles:
        meets = Tracing(handles=handles).meets("target", model)
        _, found = covered(net, agents, prober, version, model, meets=meets)
    for word in ("uncounted", "counted before", "one", "inner"):
        assert Status.CONFIRMED in told(found, word), named(found, word)
    assert {row.why for row in named(found, "uncounted")} == {"the kernel's trace names it"}
    assert not [row for row in found if row.status is Status.DISAGREES]


def test_a_trace_contradicts_a_model_that_names_another_rule(net, agents, prober):
    net.rules("target", RULES)
    model = model_of(net, change=lambda text: text.replace('"right": 5353', '"right": 5355'))
    with prober.tracing(["target"]) as handles:
        meets = Tracing(handles=handles).meets("target", model)
        _, found = covered(net, agents, prober, 4, model, meets=meets)
    assert Status.DISAGREES in {row.status for row in found}, found


def counts(net):
    text = net.run("target", "nft", "-j", "list", "ruleset")
    model = HostModel.build(nft_json=text)
    return {
        rule.ref.text: rule.counters.packets
        for family in Family for rule in model.rules(family) if rule.counters is not None
    }  # fmt: skip


def other_port(old, new):
    def change(text):
        rules = json.loads(text)
        for each in rules["nftables"]:
            for statement in each.get("rule", {}).get("expr", ()):
                right = statement.get("match", {}).get("right")
                if right in (old, new):
                    statement["match"]["right"] = new if right == old else old
        return json.dumps(rules)

    return change


LIARS = [
    # what the model misreads, and the rules about which the kernel then says otherwise
    pytest.param(4, other_port(8080, 4444), {"service", "rest"}, id="a port"),
    pytest.param(6, other_port(7001, 7002), {"one", "two"}, id="two rules that changed places"),
]


@pytest.mark.parametrize(("version", "change", "wrong"), LIARS)
def test_a_model_that_differs_from_the_kernel_is_found(net, agents, prober, version, change, wrong):
    net.rules("target", RULES)
    _, found = covered(net, agents, prober, version, model_of(net, change=change))
    words = ("one", "two", "service", "rest", "odd", "loop", "inner", "answers")
    against = {word for word in words if Status.DISAGREES in told(found, word)}
    assert against == wrong, [row for row in found if row.status is Status.DISAGREES]
    assert all("met it" in row.why or "does not meet it" in row.why for word in wrong for row in named(found, word))


def test_a_rule_that_is_said_to_be_dead_and_counts_is_found(net, agents, prober):
    def shadow(text):
        rules = json.loads(text)
        for each in rules["nftables"]:
            if each.get("rule", {}).get("comment") == "odd":
                each["rule"]["expr"] = [s for s in each["rule"]["expr"] if "match" not in s]
        return json.dumps(rules)

    # a table of both families would count packets of the other one as well
    four = "\n".join(line for line in RULES.splitlines() if "ip6" not in line and "icmpv6" not in line)
    net.rules("target", four.replace("table inet", "table ip"))
    _, found = covered(net, agents, prober, 4, model_of(net, change=shadow))
    (service,) = named(found, "service")
    assert service.status is Status.UNREACHABLE, service
    (odd,) = named(found, "odd")
    assert odd.status is Status.DISAGREES, odd
    (rest,) = named(found, "rest")
    assert rest.status is Status.DISAGREES, rest
    assert "proves that no packet reaches it" in rest.why


@pytest.fixture
def noise(net):
    """Send other traffic to a port of the target all the while: some 200 packets a second."""
    program = (
        "import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "while True:\n s.sendto(b'x', ('10.2.0.10', 6000)); time.sleep(0.005)\n"
    )
    process = subprocess.Popen(net.argv("vantage", "python3", "-c", program))
    yield
    process.kill()
    process.wait()


def test_other_traffic_neither_confirms_nor_accuses(net, agents, prober, noise):
    del noise
    net.rules("target", RULES)
    _, found = covered(net, agents, prober, 4, model_of(net))
    assert not [row for row in found if row.status is Status.DISAGREES]
    assert told(found, "service") == {Status.CONFIRMED}
    (rest,) = named(found, "rest")
    # the default of an nft chain has no counter, so nothing can be concluded from the others either
    assert rest.status is Status.REACHED, rest
    assert "other traffic" in rest.why


THROUGH = """
table ip n {
  chain pre {
    type nat hook prerouting priority -100;
    tcp dport 8080 counter dnat to 10.2.0.10:8080 comment "published"
  }
}
table inet f {
  chain passing {
    type filter hook forward priority 0; policy drop;
    ct state established,related counter accept comment "answers"
    tcp dport 8080 ct status dnat counter accept comment "to the container"
    tcp dport 22 counter accept comment "through"
    counter drop comment "rest"
  }
}
"""


def test_packets_take_the_way_through_the_host_and_nat(net, agents, prober):
    net.rules("router", THROUGH)
    _, found = covered(net, agents, prober, 4, model_of(net, "router"), "router",
                       ("vantage", "router", "target"))  # fmt: skip
    try:
        for word in ("published", "through", "rest"):
            assert told(found, word) == {Status.CONFIRMED}, (word, found)
        assert told(found, "to the container") == {Status.CONFIRMED}, named(found, "to the container")
        assert not [row for row in found if row.status is Status.DISAGREES]
    finally:
        net.rules("router", "")


def test_without_an_agent_on_the_host_a_counter_that_moved_is_all_that_confirms(net, agents):
    net.rules("target", RULES)
    mine = {"vantage": agents["vantage"]}
    with Prober(mine, timing=Timing(window=0.4, settle=0.25)) as prober:
        facts, found = covered(net, mine, prober, 4, model_of(net), access=Access.READ)
    assert told(found, "service") == told(found, "one") == {Status.CONFIRMED}
    assert told(found, "uncounted") == {Status.REACHED}
    assert told(found, "no discard") == {Status.ELSEWHERE}
    assert facts.gaps == ("its access is read, so nothing is sent from it",)
    assert not [row for row in found if row.status is Status.DISAGREES]


LEGACY = """\
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 8080 -m comment --comment "a service" -j ACCEPT
-A INPUT -p icmp -m comment --comment "an echo" -j ACCEPT
COMMIT
"""


def test_legacy_tables_are_counted_too(net, agents, prober):
    net.rules("target", "")
    net.run("target", "iptables-legacy-restore", stdin=LEGACY)
    try:
        model = legacy_model(net)
        _, found = covered(net, agents, prober, 4, model)
        assert told(found, "a service") == told(found, "an echo") == {Status.CONFIRMED}, found
        (policy,) = (row for row in found if row.rule.text == "DROP")
        assert policy.status is Status.CONFIRMED, policy
    finally:
        net.run("target", "iptables-legacy-restore", stdin="*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n")


def legacy_model(net):
    run = net.run
    return HostModel.build(
        iptables_legacy_save=run("target", "iptables-legacy-save"), addresses=run("target", "ip", "-j", "addr"),
        routes=run("target", "ip", "-j", "route"),
    )  # fmt: skip


def test_zeros_that_iptables_prints_for_rules_of_nft_accuse_nobody(net, agents, prober):
    rules = 'tcp dport 8080 accept comment "service"\n    udp dport 5353 counter accept comment "counted"'
    net.rules("target", f"table ip filter {{\n  chain INPUT {{\n    type filter hook input priority 0; policy drop;\n"
              f"    {rules}\n  }}\n}}\n")  # fmt: skip
    shown = net.run("target", "iptables-save", "-c")
    assert "[0:0] -A INPUT" in shown, "iptables shows these rules, with counters that do not exist"
    model = HostModel.build(
        iptables_save=shown, nft_json=net.run("target", "nft", "-j", "list", "ruleset"),
        addresses=net.run("target", "ip", "-j", "addr"), routes=net.run("target", "ip", "-j", "route"),
    )  # fmt: skip
    _, found = covered(net, agents, prober, 4, model)
    by = {("udp" in row.rule.text, row.rule.rule): row.status for row in found if row.rule.chain == "INPUT"}
    assert by == {(False, 1): Status.REACHED, (True, 2): Status.CONFIRMED, (False, None): Status.REACHED}, found
