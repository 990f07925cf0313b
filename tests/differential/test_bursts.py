"""The burst simulator against the kernel: how many new connections each kind of limiter lets in."""

# ruff: noqa: E501 - rules stand on one line, as iptables-save prints them

from ipaddress import ip_address

import pytest

from fwproof.decision import Decision
from fwproof.flow import Flow
from fwproof.semantics.model import HostModel

from . import kernel as k
from .test_tables import kernel, load  # noqa: F401 - the fixture

pytestmark = [pytest.mark.lab]
SENT = 30
ONE = "--name {n} --mask 255.255.255.255 --rsource"
NEW = "-A INPUT -p tcp -m tcp --dport 11434 -m conntrack --ctstate NEW"
CASES = {
    "set, then update": ([f"{NEW} -m recent --set {ONE}", f"{NEW} -m recent --update --seconds 60 --hitcount 20 {ONE} -j DROP"], 19),
    "check, then set": ([f"{NEW} -m recent --rcheck --seconds 60 --hitcount 20 {ONE} -j DROP", f"{NEW} -m recent --set {ONE} -j ACCEPT"], 20),
    "update, then set": ([f"{NEW} -m recent --update --seconds 60 --hitcount 20 {ONE} -j DROP", f"{NEW} -m recent --set {ONE}"], 20),
    "sixteen is a power of two": ([f"{NEW} -m recent --rcheck --hitcount 16 {ONE} -j DROP", f"{NEW} -m recent --set {ONE}"], 16),
    "limit": ([f"{NEW} -m limit --limit 20/hour --limit-burst 7 -j ACCEPT", f"{NEW} -j DROP"], 7),
    "hashlimit upto": ([f"{NEW} -m hashlimit --hashlimit-upto 20/hour --hashlimit-burst 9 --hashlimit-mode srcip --hashlimit-name {{n}} -j ACCEPT", f"{NEW} -j REJECT"], 9),
    "hashlimit above": ([f"{NEW} -m hashlimit --hashlimit-above 20/hour --hashlimit-burst 9 --hashlimit-mode srcip --hashlimit-name {{n}} -j DROP"], 9),
    "no limiter": ([f"{NEW} -j ACCEPT"], SENT),
}  # fmt: skip


@pytest.mark.parametrize("backend", ["nft", "legacy"])
@pytest.mark.parametrize("case", CASES)
def test_a_burst_is_let_in_as_far_as_simulated(kernel, case, backend):  # noqa: F811 - the fixture
    lines, admitted = CASES[case]
    number = list(CASES).index(case) * 2 + (backend == "nft")
    rules = "\n".join(line.format(n=f"burst{number}") for line in lines)
    text = f"*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n{rules}\nCOMMIT\n"
    printed = load(kernel, text, 4, backend)
    flows = [
        Flow(src=ip_address("10.0.5.7"), dst=ip_address("10.0.0.10"), proto=6, sport=20000 + number * 100 + n, dport=11434,
             flags=frozenset({"SYN"}), iif="eth0", length=40)
        for n in range(SENT)
    ]  # fmt: skip
    model = HostModel.build(iptables_save=printed, addresses=kernel.facts[0], routes=kernel.facts[1])
    simulated = model.simulate_burst(flows[0], SENT)
    before = kernel.watched()
    kernel.send([("frame", k.frame(flow).hex(), "") for flow in flows])
    kernel.settle(before["arrived"] + SENT)
    let_in = kernel.watched()["input"] - before["input"]
    assert (let_in, simulated.count(Decision.ACCEPT)) == (admitted, admitted)
    limiters = model.limiters(flows[0])
    assert [limiter.admits for limiter in limiters] == ([] if case == "no limiter" else [admitted])
