"""Two zones that only a gateway joins, and dask's scheduler and workers inside a lab's networks. Not a test itself."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .auditing import on

ROOT = Path(__file__).parents[2]
HOSTS = {
    "auditor": ["10.60.0.1"],
    "app1": ["10.60.0.11"],
    "app2": ["10.60.0.12", "10.60.0.13"],
    "gateway": ["10.60.0.2", "10.60.1.2"],
    "db1": ["10.60.1.11"],
    "db2": ["10.60.1.12", "10.60.1.13"],
}
"""The addresses of each; the second one of a host is for bursts."""
NETWORKS = {"front": "10.60.0.", "back": "10.60.1."}
AUDITED = {"app1": "front", "db1": "back"}
INVENTORY = """\
zones: {front: [10.60.0.0/24], back: [10.60.1.0/24]}
defaults: {access: root, max_pps: 20000}
hosts:
  gateway: {addresses: [10.60.0.2, 10.60.1.2], access: read}
""" + "".join(
    f"  {name}: {{addresses: {json.dumps(addresses)}, vantage: {json.dumps(name in ('app2', 'db2'))}}}\n"
    for name, addresses in HOSTS.items()
    if name != "gateway"
)
POLICY = """\
policy: HOST
hosts: [HOST]
services: {web: tcp/8080, ssh: tcp/22}
inbound:
  default: deny
  allow:
    - {id: HOST-web, service: web, from: ZONE, rate: {limit: 5, per: 3s, by: source}}
    - {id: HOST-ssh, service: ssh, from: [front, back]}
"""
RULES = """\
for command in iptables ip6tables; do
  $command -A INPUT -i lo -j ACCEPT
  $command -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
  $command -P INPUT DROP
done
iptables -A INPUT -s 10.60.0.0/23 -p tcp --dport 22 -j ACCEPT
iptables -A INPUT -s SOURCES -p tcp --dport 8080 -m recent --name web --rcheck --seconds 3 --hitcount 5 -j DROP
iptables -A INPUT -s SOURCES -p tcp --dport 8080 -m conntrack --ctstate NEW -m recent --name web --set -j ACCEPT
"""
SOURCES = {"app1": "10.60.0.0/24", "db1": "10.60.0.0/23"}
"""Who gets in where: db1 lets in more than its policy does."""
JOINED = """\
import runpy, sys
from fwproof.lab import Lab
name, host, module = sys.argv[1:4]
Lab(name).join_network(host)
sys.argv[1:4] = []
runpy.run_module(module, run_name="__main__")
"""


def topology(folder: Path) -> Path:
    """Write the topology; the auditor has no route to the network behind the gateway."""
    (folder / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "fixtures/lab/bin/lab-service.py", folder / "bin/lab-service.py")
    hosts = {}
    for name, addresses in HOSTS.items():
        by_net = {net: [f"{a}/24" for a in addresses if a.startswith(start)] for net, start in NETWORKS.items()}
        links = [{"network": net, "addresses": some} for net, some in by_net.items() if some]
        hosts[name] = {"links": links, "access": "root"}
        if name not in {"gateway", "auditor"}:
            other = "10.60.1.0/24 via 10.60.0.2" if by_net["front"] else "10.60.0.0/24 via 10.60.1.2"
            hosts[name] |= {"routes": [other], "services": [{"kind": "http", "port": 8080}]}
    hosts["gateway"] |= {"access": "read", "sysctls": {"net.ipv4.ip_forward": 1}}
    path = folder / "topology.yaml"
    path.write_text(json.dumps({"service_program": "bin/lab-service.py", "networks": list(NETWORKS), "hosts": hosts}))
    return path


def written(folder: Path, lab, auditor: str = "auditor") -> tuple[Path, Path]:
    """Write inventory and policies; return the inventory and the folder of the policies."""
    inventory = folder / f"{auditor}.yaml"
    inventory.write_text(f"lab: {lab.topology}\nauditor: {auditor}\n{INVENTORY}")
    checks = folder / "checks"
    checks.mkdir(exist_ok=True)
    for host, zone in AUDITED.items():
        text = POLICY.replace("HOST", host).replace("ZONE", zone)
        (checks / f"{host}.policy.yaml").write_text(text)
    return inventory, checks


def guard(lab) -> None:
    """Load the rules of the audited hosts."""
    for host in AUDITED:
        on(lab, host, RULES.replace("SOURCES", SOURCES[host]))


def made_tls(folder: Path) -> Path:
    """Make an authority and a certificate for both sides."""
    made = pytest.importorskip("distributed.security", exc_type=ImportError).Security.temporary()
    for name, text in (("ca", made.tls_ca_file), ("cert", made.tls_client_cert), ("key", made.tls_client_key)):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    return folder


def _started(stack, lab, host, log, module, *words):
    # not `lab as`: a process that looks itself up in /proc must have the number that it has there
    command = [sys.executable, "-c", JOINED, lab.name, host, module]
    with log.open("w") as stream:
        process = subprocess.Popen([*command, *words], stderr=stream, stdout=stream)
    stack.callback(process.wait, 20)
    stack.callback(process.kill)
    return process


def until(log, words):
    """Wait for words in a log."""
    deadline = time.monotonic() + 30
    while words not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


class Cluster:
    """A scheduler at a host's address, and workers by name; all of them end with ``stack``."""

    def __init__(self, stack, lab, tls, folder, host, address):
        self.stack, self.lab, self.folder, self.workers = stack, lab, folder, {}
        self.address = f"tls://{address}:8786"
        self.files = ["--tls-ca-file", f"{tls}/ca", "--tls-cert", f"{tls}/cert", "--tls-key", f"{tls}/key"]
        _started(
            stack, lab, host, folder / "log", "distributed.cli.dask_scheduler",
            "--protocol", "tls", "--host", address, "--port", "8786", "--no-dashboard", "--no-show", *self.files,
        )  # fmt: skip
        until(folder / "log", "Scheduler at:")

    def begin(self, name, host, *zones):
        """Start a worker in a host's network that says it stands in zones; it is there once ``ready`` returns."""
        own = self.folder / name
        own.mkdir()
        self.workers[name] = _started(
            self.stack, self.lab, host, own / "log", "distributed.cli.dask_worker",
            self.address, "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard",
            "--resources", " ".join(f"zone:{zone}=1000" for zone in zones), "--local-directory", str(own), *self.files,
        )  # fmt: skip

    def ready(self):
        """Wait until all workers have told the scheduler that they are there."""
        for name in self.workers:
            until(self.folder / name / "log", "Registered to:")

    def kill(self, name):
        """End a worker as a power cut would."""
        self.workers[name].send_signal(signal.SIGKILL)
        self.workers[name].wait(10)


def client_files(tls, monkeypatch):
    """Name a client's TLS files as dask's configuration has them."""
    for name, value in (("CA_FILE", "ca"), ("CLIENT__CERT", "cert"), ("CLIENT__KEY", "key")):
        monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{name}", f"{tls}/{value}")
