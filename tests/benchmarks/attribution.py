"""Who decided about a packet: by counters and by trace, under other people's traffic, in one run.

    python tests/benchmarks/attribution.py [--noise 0 100 500]

Vantage, router and target are network namespaces. The target has 30 rules for one port each (10 accept, 10 drop, 10
reject) and a policy for the rest; 40 probes go to 40 ports, and the noise to all of them. By counter, each probe is
sent alone, and a rule decided when it is the only one that moved; milliseconds are those of reading the counters. By
trace, all are sent in one volley, and the kernel says it; milliseconds are all of it, trigger and names included, by
probe. Figures are of one machine on one day: keep the ratios.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from tests.lab import sweepnet  # noqa: E402

from fwproof.decision import RuleRef  # noqa: E402 - found through the line above
from fwproof.flow import TCP, Family, Flow  # noqa: E402
from fwproof.observation import Observation, Probe  # noqa: E402
from fwproof.probing.observe import Prober  # noqa: E402
from fwproof.probing.shot import Timing  # noqa: E402
from fwproof.ruleset.iptables import parse  # noqa: E402
from fwproof.semantics.model import HostModel  # noqa: E402
from fwproof.semantics.traced import Names, rules_met  # noqa: E402

PORTS = [base + number for base in (1000, 2000, 3000, 4000) for number in range(10)]
DEEDS = {1000: "ACCEPT", 2000: "DROP", 3000: "REJECT --reject-with tcp-reset"}
NOISE = """
import random, socket, sys, time
pps, start, sent = float(sys.argv[1]), time.monotonic(), 0
ports = [base + number for base in (1000, 2000, 3000, 4000) for number in range(10)]
while True:
    with socket.socket() as sock:
        sock.setblocking(False)
        try:
            sock.connect((sys.argv[2], random.choice(ports)))
        except OSError:
            pass
    sent += 1
    time.sleep(max(0, start + sent / pps - time.monotonic()))
"""


def save() -> str:
    """Return the rules as iptables-restore wants them."""
    rules = [
        f"-A INPUT -p tcp -m tcp --dport {base + at} -j {deed}" for base, deed in DEEDS.items() for at in range(10)
    ]
    lines = ["*filter", ":INPUT DROP [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
    return "\n".join([*lines, "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", *rules, "COMMIT", ""])


def truth(port: int) -> int | None:
    """Return the number of the rule that decides about a port, None for the policy."""
    return 2 + (port // 1000 - 1) * 10 + port % 10 if port < 4000 else None


def probes() -> list[Probe]:
    """Return the 40 probes in an order of their own."""
    flows = {port: Flow(src=sweepnet.VANTAGE[4], dst=sweepnet.TARGET[4], proto=TCP, dport=port) for port in PORTS}
    order = random.Random(1).sample(PORTS, len(PORTS))
    return [Probe(ref=str(port), sender="vantage", receiver="target", flow=flows[port]) for port in order]


class Bench:
    """One engine's target, its agents and what was measured."""

    def __init__(self, net: sweepnet.Net, engine: str) -> None:
        net.run("target", "nft", "flush", "ruleset")
        net.run("target", f"iptables-{engine}-restore", stdin=save())
        self.net, self.command = net, "iptables-save" if engine == "nft" else "iptables-legacy-save"
        text = net.run("target", self.command)
        self.model = HostModel.build(iptables_save=text, addresses=net.run("target", "ip", "-j", "address"))
        self.agents = {host: net.agent(host) for host in ("vantage", "target")}
        self.prober = Prober(self.agents, timing=Timing(window=0.5, settle=0.05))

    def close(self) -> None:
        """End the agents."""
        self.prober.close()
        for agent in self.agents.values():
            agent.close()

    def counts(self) -> dict[RuleRef, int]:
        """Return what every rule and the policy of INPUT have counted."""
        chain = parse(self.agents["target"].counters(self.command), Family.IPV4).tables["filter"].chains["INPUT"]
        found = {rule.ref: rule.counters.packets for rule in chain.rules if rule.counters}
        assert chain.counters is not None
        found[RuleRef(family="ip", table="filter", chain="INPUT", rule=None, text="DROP")] = chain.counters.packets
        return found

    def by_counter(self) -> tuple[int, int, int, float]:
        """Return how many of the 40 were right, ambiguous and wrong, and milliseconds a probe for the readings."""
        right = ambiguous = wrong = 0
        spent = []
        for probe in probes():
            begun = time.monotonic()
            before = self.counts()
            spent.append(time.monotonic() - begun)
            self.prober.observe([probe], retries=0, window=0.05)
            begun = time.monotonic()
            after = self.counts()
            spent[-1] += time.monotonic() - begun
            moved = [ref.rule for ref, count in after.items() if count > before[ref] and ref.rule != 1]
            right += moved == [truth(int(probe.ref))]
            ambiguous += len(moved) != 1
            wrong += len(moved) == 1 and moved != [truth(int(probe.ref))]
        return right, ambiguous, wrong, statistics.median(spent) * 1000

    def by_trace(self) -> tuple[int, int, int, float, float]:
        """Return the same of a trace, with all of it, and what of that a volley takes without one."""
        alone = time.monotonic()
        self.prober.observe(probes(), retries=0)
        alone = time.monotonic() - alone
        begun = time.monotonic()
        with self.prober.tracing(["target"]) as found:
            seen = self.prober.observe(probes(), retries=0)
        names = Names(self.model, found["target"])
        right = wrong = 0
        for ref, one in seen.items():
            assert isinstance(one, Observation)
            path = rules_met(names, "target", one)
            good = path.conclusive and path.by is not None and path.by.rule == truth(int(ref))
            right += good
            wrong += path.conclusive and not good
        whole = time.monotonic() - begun
        each = 1000 / len(PORTS)
        return right, len(PORTS) - right - wrong, wrong, whole * each, (whole - alone) * each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--noise", type=int, nargs="+", default=[0, 100, 500], help="packets a second")
    chosen = parser.parse_args()
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{os.cpu_count()} CPUs, load {load}; Linux {os.uname().release}; Python {sys.version.split()[0]}")
    print(
        "engine  noise  by counter: right, ambiguous, wrong, ms   by trace: right, open, wrong, ms (more than untraced)"
    )
    for engine in ("nft", "legacy"):
        with sweepnet.made() as net:
            bench = Bench(net, engine)
            try:
                for pps in chosen.noise:
                    row(bench, engine, pps)
            finally:
                bench.close()


def row(bench: Bench, engine: str, pps: int) -> None:
    """Measure under so much noise, and print it."""
    words = (sys.executable, "-c", NOISE, str(pps or 0.01), str(sweepnet.TARGET[4]))
    noise = subprocess.Popen(bench.net.argv("vantage", *words))
    try:
        time.sleep(0.5)
        counted, traced = bench.by_counter(), bench.by_trace()
        assert noise.poll() is None, "the noise has ended"
    finally:
        noise.kill()
        noise.wait()
    left, right = "{:18} {:9} {:6} {:6.1f}".format(*counted), "{:15} {:5} {:6} {:6.1f} ({:+.1f})".format(*traced)
    print(f"{engine:7} {pps:5} {left} {right}")


main()
