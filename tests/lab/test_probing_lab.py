"""The prober over real SSH on the embedded lab: tiers, pinned agents, what is left behind.

Run as a program, this file is the auditor: it joins the admin host's network for good, so it is a process of
its own, and prints what it saw as JSON.
"""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fwproof.errors import HostError
from fwproof.flow import TCP, Family, Flow
from fwproof.hosts.access import AGENT_PATH
from fwproof.hosts.ssh import SshTransport
from fwproof.inventory import AgentPin
from fwproof.lab import Lab
from fwproof.observation import Observation, Probe
from fwproof.policy.inventory_file import load_inventory
from fwproof.probing.observe import Prober
from fwproof.probing.start import agent_sha256, start_agent

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
NAME = "probing-test"
AGENT_PROCESSES = (
    "import os\n"
    "for p in os.listdir('/proc'):\n"
    " if p.isdigit() and int(p) != os.getpid():\n"
    "  try: words = open(f'/proc/{p}/cmdline').read()\n"
    "  except OSError: continue\n"
    "  if 'fwproof-agent' in words or 'b64decode' in words: print(p, words)\n"
)


@pytest.fixture(scope="module")
def lab():
    with Lab(NAME, ROOT / "fixtures" / "lab" / "topology.yaml") as lab:
        yield lab


def ask(task):
    done = subprocess.run([sys.executable, __file__, task], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def shell(lab, host, command):
    done = lab.run(host, ["/bin/sh", "-c", command])
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_flows_are_observed_over_ssh(lab):
    seen = ask("observe")
    assert seen == {
        "admin ai-server 22 ipv4": "open",
        "admin ai-server 22 ipv6": "open",
        "workstation ai-server 22 ipv4": "silent",
        "workstation ai-server 11434 ipv6": "open",
        "outside ai-server 11434 ipv4": "silent",
        "workstation ai-server-published 11434 ipv4": "accepted-silent",
        "admin ai-server-published 11434 ipv6": "unreachable",
        "ai-server internet 443 ipv4": "refused-locally",
        "ai-server store-postgres 5432 ipv6": "open",
        "ai-server store-elastic 9200 ipv4": "open",
    }


def test_nothing_stays_behind(lab):
    ask("observe")
    time.sleep(0.5)
    for host in ("ai-server", "workstation", "outside"):
        assert lab.run(host, ["/usr/bin/python3", "-c", AGENT_PROCESSES]).stdout == ""


def test_an_agent_can_be_found_while_it_runs(lab):
    """The check above looks for the right thing."""
    found = lab.run("ai-server", ["/bin/sh", "-c", f'sleep 5 | {AGENT_PATH} & python3 -c "$0"', AGENT_PROCESSES])
    assert "fwproof-agent" in found.stdout


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (f"echo '# more' >> {AGENT_PATH}", "has SHA-256"),
        (f"chmod g+w {AGENT_PATH}", "changed by others"),
        (f"chown auditor {AGENT_PATH}", "changed by others"),
        ("chmod o+w /usr/local/sbin", "/usr/local/sbin can be changed"),
        (f"mv {AGENT_PATH} /tmp/a && ln -s /tmp/a {AGENT_PATH}", "not a plain file"),
        (f"rm {AGENT_PATH}", "is it installed"),
    ],
)
def test_a_tampered_agent_is_not_started(lab, change, why):
    shell(lab, "proxy", f"cp -p {AGENT_PATH} /root/kept")
    try:
        shell(lab, "proxy", change)
        assert why in ask("start proxy")["proxy"]
    finally:
        shell(lab, "proxy", f"rm -f {AGENT_PATH}; chmod 755 /usr/local/sbin; mv /root/kept {AGENT_PATH}")
    assert ask("start proxy")["proxy"] == "started"


def test_tiers(lab):
    started = ask("start ai-server workstation store-elastic")
    assert started["ai-server"] == started["workstation"] == "started"
    assert "access is read" in started["store-elastic"]


def test_the_installed_agent_refuses_what_it_should(lab):
    said = ask("refusals")
    assert "no such jail" in said["unban"]
    assert "no probe of this run has arrived" in said["stranger"]
    assert "another fwproof audit" in said["second"]


def test_connections_do_not_carry_roots_rights(lab):
    rule = "OUTPUT -p tcp --dport 11434 -m owner --uid-owner 0 -j REJECT"
    shell(lab, "proxy", f"iptables -I {rule}")
    try:
        assert lab.run("proxy", ["python3", "-c", CONNECT]).returncode != 0, "the rule refuses root"
        assert ask("connect")["result"] == "connected"
    finally:
        shell(lab, "proxy", f"iptables -D {rule}")


CONNECT = "import socket; socket.create_connection(('10.0.0.10', 11434), 2)"


class Auditor:
    """What runs in the admin host's network."""

    def __init__(self):
        lab = Lab(NAME)
        lab.join_network("admin")
        inventory = load_inventory(ROOT / "fixtures" / "inventory.yaml")
        pin = AgentPin(path=AGENT_PATH, sha256=agent_sha256())
        self.hosts = {
            name: replace(
                host,
                agent=pin,
                ssh=replace(host.ssh, identity_file=lab.ssh_identity, known_hosts=lab.known_hosts),
            )
            for name, host in inventory.hosts.items()
        }
        self.open = []

    def start(self, name):
        transport = SshTransport(self.hosts[name])
        self.open.append(transport)
        agent = start_agent(transport)
        self.open.append(agent)
        return agent

    def close(self):
        for each in reversed(self.open):
            each.close()

    def task_start(self, *names):
        said = {}
        for name in names:
            try:
                self.start(name)
                said[name] = "started"
            except HostError as error:
                said[name] = str(error)
        return said

    def task_observe(self):
        wanted = (
            ("admin", "ai-server", 22, Family.IPV4),
            ("admin", "ai-server", 22, Family.IPV6),
            ("workstation", "ai-server", 22, Family.IPV4),
            ("workstation", "ai-server", 11434, Family.IPV6),
            ("outside", "ai-server", 11434, Family.IPV4),
            ("workstation", "ai-server-published", 11434, Family.IPV4),
            ("admin", "ai-server-published", 11434, Family.IPV6),
            ("ai-server", "internet", 443, Family.IPV4),
            ("ai-server", "store-postgres", 5432, Family.IPV6),
            ("ai-server", "store-elastic", 9200, Family.IPV4),
        )
        names = {name for sender, receiver, _, _ in wanted for name in (sender, receiver)} - {"store-elastic"}
        with Prober({name: self.start(name) for name in sorted(names)}) as prober:
            found = prober.observe(self.probe(*each) for each in wanted)
        return {ref: seen.state if isinstance(seen, Observation) else str(seen) for ref, seen in found.items()}

    def probe(self, sender, receiver, port, family):
        src, dst = self.hosts[sender].address(family), self.hosts[receiver].address(family)
        flow = Flow(src=src, dst=dst, proto=TCP, dport=port)
        return Probe(ref=f"{sender} {receiver} {port} {family}", sender=sender, receiver=receiver, flow=flow)

    def task_refusals(self):
        agents = {name: self.start(name) for name in ("workstation", "ai-server")}
        probe = self.probe("workstation", "ai-server", 22, Family.IPV4)
        with Prober(agents) as prober:
            prober.observe([probe])
        outside = self.hosts["outside"].address(Family.IPV4)
        return {
            "unban": _said(lambda: agents["ai-server"].unban("no-such-jail", probe.flow.src)),
            "stranger": _said(lambda: agents["ai-server"].unban("ollama-api", outside)),
            "second": _said(lambda: self.start("ai-server").call("capture", cookie=1)),
        }

    def task_connect(self):
        with Prober({"proxy": self.start("proxy")}) as prober:
            address = self.hosts["ai-server"].address(Family.IPV4)
            return {"result": prober.connect("proxy", address, 11434, timeout=3).result}


def _said(act):
    try:
        act()
    except HostError as error:
        return str(error)
    return "nothing"


if __name__ == "__main__":
    auditor = Auditor()
    task, *words = sys.argv[1].split()
    try:
        sys.stdout.write(json.dumps(getattr(auditor, f"task_{task}")(*words)))
    finally:
        auditor.close()
