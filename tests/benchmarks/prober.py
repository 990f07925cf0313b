"""What one agent can do: how fast it starts, how fast it sends and how much of that is captured, in one run.

    python tests/benchmarks/prober.py [--runs 5]

Start: an agent that is streamed over real SSH in the lab and greets, against ``true`` on the same connection, and how
long after the connection's end a process of it is left. Sending: packets a second of an agent's sweep at its own cap,
against scapy's ``sendp()`` of frames that are built already, on the same veth. Captured: what the target's agent saw of
that sweep in its first pass. It asserts nothing; figures are of one machine on one day: keep the ratios.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.lab import sweepnet  # noqa: E402

from fwproof.audit.field import Field  # noqa: E402 - found through the line above
from fwproof.flow import TCP, Flow  # noqa: E402
from fwproof.policy.inventory_file import load_inventory  # noqa: E402
from fwproof.probing import portset  # noqa: E402
from fwproof.probing.agent import SWEEP_LOW, SWEEP_PPS  # noqa: E402
from fwproof.probing.start import start_agent  # noqa: E402
from fwproof.probing.sweep import Order, Sweeper  # noqa: E402

FRAMES = 5000
SCAPY = f"""
import sys, time, logging
logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
from scapy.all import Ether, IP, TCP, sendp, conf
conf.verb = 0
frames = [Ether(dst=sys.argv[1]) / IP(src="10.1.0.1", dst="10.2.0.10") / TCP(sport=50000, dport=p, flags="S")
          for p in range(1, {FRAMES + 1})]
begun = time.monotonic()
sendp(frames, iface="v0")
print(len(frames) / (time.monotonic() - begun))
"""


def starting(runs: int) -> None:
    """Compare starting an agent with running ``true``; run inside the auditor's network."""
    field = Field(load_inventory(ROOT / "fixtures" / "inventory.yaml"))
    field.enter_lab(lambda _line: None)
    field.open(["workstation"], {}, agents=False)
    transport = field.transports["workstation"]
    took: dict[str, list[float]] = {"true": [], "hello": [], "gone": []}
    for _ in range(runs):
        begun = time.monotonic()
        transport.run(("/bin/true",), name="true")
        took["true"].append(time.monotonic() - begun)
        begun = time.monotonic()
        agent = start_agent(transport)
        took["hello"].append(time.monotonic() - begun)
        agent.close()
        begun = time.monotonic()
        while transport.run(("/bin/sh", "-c", "grep -l fwproof-agent /proc/net/unix"), name="left").status == 0:
            time.sleep(0.01)  # the abstract socket that keeps a second agent away ends with its process
        took["gone"].append(time.monotonic() - begun)
    field.close()
    true, hello, gone = (statistics.median(each) * 1000 for each in took.values())
    print(
        f"true {true:.0f} ms, agent with greeting {hello:.0f} ms ({hello / true:.1f} times); gone after {gone:.0f} ms"
    )


def sending(net: sweepnet.Net, runs: int) -> None:
    """Compare how many packets a second an agent's sweep and scapy's sendp() send, and count what was captured."""
    flow = Flow(src=sweepnet.VANTAGE[4], dst=sweepnet.TARGET[4], proto=TCP, sport=SWEEP_LOW, flags=frozenset({"SYN"}))
    order = Order(sender="vantage", receiver="target", flow=flow, pps=SWEEP_PPS, retries=0)
    ours, seen, cpu = [], [], []
    for _ in range(runs):
        agents = {host: net.agent(host) for host in ("vantage", "target")}
        with Sweeper(agents) as sweeper:
            found = sweeper.sweep(order)
        for agent in agents.values():
            agent.close()
        ours.append(found.passes[0] / found.seconds)
        seen.append(found.arrivals[0].bit_count() / portset.ALL.bit_count())
        cpu.append(found.used["vantage"][0] / found.passes[0] * 1e6)
    mac = net.run("vantage", "ip", "neighbour", "show", "10.1.0.254").split("lladdr ")[1].split()[0]
    argv = net.argv("vantage", sys.executable, "-c", SCAPY, mac)
    scapy = [float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout) for _ in range(runs)]
    middle, other = statistics.median(ours), statistics.median(scapy)
    rates = f"agent {middle / 1000:.1f}, scapy's sendp {other / 1000:.2f} thousand packets a second"
    print(f"{rates}: {middle / other:.0f} times;")
    print(f"{statistics.median(cpu):.0f} µs of processor a packet; of each sweep {min(seen):.2%} or more captured")


def main() -> None:
    """Run both parts; the first in a process of its own, since it joins the lab's network for good."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--runs", type=int, default=5)
    asked.add_argument("--start", action="store_true", help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.start:
        starting(given.runs)
        return
    subprocess.run([sys.executable, __file__, "--start", "--runs", str(given.runs)], check=True)
    with sweepnet.made() as net:
        sending(net, given.runs)


main()
