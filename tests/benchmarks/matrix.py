"""How long a whole vantage x service matrix takes, and what it can say: fwproof against nmap, in one run.

    python tests/benchmarks/matrix.py

Needs nmap on this machine. Both sides ask the same questions of the lab's repaired server, from the same seven
vantages at the same time, in both families. nmap is started directly in each vantage's network (no SSH to pay
for); fwproof's figure is given with and without its SSH connections and agents. Figures are of one machine on
one day: the ratios are what to keep.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from fwproof.audit.field import Field
from fwproof.flow import Family
from fwproof.flows import request
from fwproof.lab import Lab
from fwproof.observation import Observation, Probe
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.model import Service

ROOT = Path(__file__).parents[2]
TARGET = "ai-server"
TCP = (9, 22, 25, 80, 111, 443, 2375, 3000, 3306, 5432, 6379, 8080, 9090, 9200, 11434)
UDP = (53, 69, 123, 161, 11434)
SERVICES = [Service("tcp", port, f"tcp/{port}") for port in TCP] + [Service("udp", port, f"udp/{port}") for port in UDP]
INVENTORY = load_inventory(ROOT / "fixtures" / "inventory.yaml")
VANTAGES = [host for host in INVENTORY.vantages if host.name != TARGET]


def fwproof_side() -> dict[str, object]:
    """Connect, start the agents and send the matrix; run inside the auditor's network."""
    begun = time.monotonic()
    field = Field(INVENTORY)
    field.enter_lab(lambda _line: None)
    field.open([TARGET, *(host.name for host in VANTAGES)], {})
    probes = [
        Probe(ref=f"{host.name}-{family}-{service}", sender=host.name, receiver=TARGET,
              flow=request(service, host.address(family), INVENTORY.hosts[TARGET].address(family)))
        for host in VANTAGES for family in Family for service in SERVICES
    ]  # fmt: skip
    ready = time.monotonic()
    with field.prober as prober:
        seen = prober.observe(probes)
    done = time.monotonic()
    field.close()
    states = Counter(o.state.value if isinstance(o, Observation) else "error" for o in seen.values())
    return {"probing": done - ready, "total": done - begun, "states": states}


def nmap_side() -> dict[str, object]:
    """Run one nmap a vantage and family, all at the same time."""
    ports = f"T:{','.join(map(str, TCP))},U:{','.join(map(str, UDP))}"
    begun = time.monotonic()
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "fwproof", "lab", "as", host.name, "--", "nmap", "-n", "-Pn", "-sS", "-sU",
             *(["-6"] if family is Family.IPV6 else []), "-p", ports, "-oX", "-",
             str(INVENTORY.hosts[TARGET].address(family))],
            stdout=subprocess.PIPE, text=True,
        )
        for host in VANTAGES for family in Family
    ]  # fmt: skip
    states: Counter[str] = Counter()
    for process in running:
        output, _ = process.communicate()
        states.update(str(s.get("state")) for s in ET.fromstring(output).iter("state"))
    return {"total": time.monotonic() - begun, "states": states}


def main() -> None:
    if sys.argv[1:] == ["--fwproof"]:
        print(json.dumps(fwproof_side()))
        return
    os.environ["FWPROOF_LAB_NAME"] = "bench"
    with Lab(name="bench", topology=INVENTORY.lab):
        once = [sys.executable, __file__, "--fwproof"]
        ours = json.loads(subprocess.run(once, check=True, stdout=subprocess.PIPE, text=True).stdout)
        theirs = nmap_side()
    asked = len(VANTAGES) * len(SERVICES) * 2
    print(f"{len(VANTAGES)} vantages x {len(SERVICES)} services x 2 families = {asked} questions")
    print(f"nmap     {theirs['total']:6.2f} s               {dict(theirs['states'])}")
    print(f"fwproof  {ours['total']:6.2f} s with SSH      {ours['states']}")
    print(f"         {ours['probing']:6.2f} s probing only")
    whole, probing = theirs["total"] / ours["total"], theirs["total"] / ours["probing"]
    print(f"ratio    {whole:6.1f} x with SSH, {probing:.1f} x probing only")


main()
