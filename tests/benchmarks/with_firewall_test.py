"""Packets through the simulator of the PyPI package firewall-test, on the table as nft lists it.

    python tests/benchmarks/with_firewall_test.py RULESET.json PACKETS.json

Runs where firewall-test is installed. Prints processor seconds for reading the table, microseconds a packet (the
median), and for each packet whether it passed.
"""

import io
import json
import os
import statistics
import sys
import time
from pathlib import Path

import firewall_test

# the package's own modules import one another from inside of it
sys.path.append(str(Path(firewall_test.__file__).parent))
os.environ["VERB"] = "0"

from plugins.system.system_linux_netfilter import SystemLinuxNetfilter
from plugins.translate.linux import LinuxNetworkInterfaces, LinuxRouteRules, LinuxRoutes
from plugins.translate.netfilter.ruleset import NetfilterRuleset
from simulator.main import Simulator
from simulator.packet import PacketTCPUDP
from utils import logger

INTERFACES = [
    {"ifname": name, "operstate": "UP",
     "addr_info": [{"local": four, "prefixlen": 24}, {"local": six, "prefixlen": 64}]}
    for name, four, six in (("eth0", "192.0.2.1", "2001:db8::1"), ("eth1", "198.51.100.1", "2001:db8:1::1"))
]  # fmt: skip
# no default route, because the simulator drops what is private there without asking the rules
ROUTES = [{"dst": dst, "dev": dev, "table": "main"} for dev, dsts in (
    ("eth0", ("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1")), ("eth1", ("10.0.0.0/8", "fd00::/8"))
) for dst in dsts]  # fmt: skip
RULES = [{"priority": 0, "src": "all", "table": "main"}]


def main():
    logger.stdout = io.StringIO()
    text, packets = Path(sys.argv[1]).read_text(), json.loads(Path(sys.argv[2]).read_text())
    start = time.process_time()
    simulator = Simulator(
        system=SystemLinuxNetfilter, nis=LinuxNetworkInterfaces(json.dumps(INTERFACES)).get(),
        ruleset=NetfilterRuleset(text).get(), routes=LinuxRoutes(json.dumps(ROUTES)).get(),
        route_rules=LinuxRouteRules(json.dumps(RULES)).get(),
    )  # fmt: skip
    read = time.process_time() - start
    passed, seconds = [], []
    for src, dst, proto, sport, dport in packets:
        packet = PacketTCPUDP(src, dst, proto, dport, sport)
        start = time.process_time()
        passed.append(simulator.run(packet).passed)
        seconds.append(time.process_time() - start)
    print(json.dumps({"read": read, "packet_us": statistics.median(seconds) * 1e6, "passed": passed}))


if __name__ == "__main__":
    main()
