"""Two zones that only a gateway joins, and dask's scheduler and workers inside a lab's networks. Not a test itself."""

import json
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from .auditing import on

ROOT = Path(__file__).parents[2]
HOSTS = {
    "auditor": "10.60.0.1",
    "app1": "10.60.0.11",
    "app2": "10.60.0.12",
    "gateway": "10.60.0.2",
    "db1": "10.60.1.11",
    "db2": "10.60.1.12",
}
AUDITED = ("app1", "db1")
INVENTORY = (
    """\
zones: {front: [10.60.0.0/24], back: [10.60.1.0/24]}
defaults: {access: root, max_pps: 20000}
hosts:
"""
    + "".join(
        f"  {name}: {{addresses: {address}, vantage: {'true' if name.endswith('2') else 'false'}}}\n"
        for name, address in HOSTS.items()
        if name != "gateway"
    )
    + "  gateway: {addresses: [10.60.0.2, 10.60.1.2], access: read}\n"
)
POLICY = """\
policy: NAME
hosts: [HOST]
services: {web: tcp/8080, ssh: tcp/22}
inbound:
  default: deny
  allow:
    - {id: NAME-web, service: web, from: ZONE, rate: {limit: 5, per: 60s, by: source}}
    - {id: NAME-ssh, service: ssh, from: [front, back]}
essential: [loopback, established]
"""
RULES = """\
iptables -A INPUT -i lo -j ACCEPT
iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A INPUT -p tcp --dport 22 -j ACCEPT
iptables -A INPUT -s SOURCES -p tcp --dport 8080 -m recent --name web --rcheck --seconds 60 --hitcount 5 -j DROP
iptables -A INPUT -s SOURCES -p tcp --dport 8080 -m conntrack --ctstate NEW -m recent --name web --set
iptables -A INPUT -s SOURCES -p tcp --dport 8080 -j ACCEPT
iptables -P INPUT DROP; ip6tables -P INPUT DROP
"""
SOURCES = {"app1": "10.60.0.0/24", "db1": "10.60.0.0/16"}
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
    for name, address in HOSTS.items():
        net = "front" if address.startswith("10.60.0.") else "back"
        hosts[name] = {"links": [{"network": net, "addresses": [f"{address}/24"]}], "access": "root"}
        if name[:2] in {"ap", "db"}:
            other = "10.60.1.0/24 via 10.60.0.2" if net == "front" else "10.60.0.0/24 via 10.60.1.2"
            hosts[name] |= {"routes": [other], "services": [{"kind": "http", "port": 8080}]}
    hosts["gateway"]["links"].append({"network": "back", "addresses": ["10.60.1.2/24"]})
    hosts["gateway"] |= {"access": "read", "sysctls": {"net.ipv4.ip_forward": 1}}
    path = folder / "topology.yaml"
    path.write_text(
        json.dumps({"service_program": "bin/lab-service.py", "networks": ["front", "back"], "hosts": hosts})
    )
    return path


def written(folder: Path, lab, auditor: str = "auditor") -> tuple[Path, Path]:
    """Write inventory and policies; return the inventory and the folder of the policies."""
    inventory = folder / f"{auditor}.yaml"
    inventory.write_text(f"lab: {lab.topology}\nauditor: {auditor}\n{INVENTORY}")
    checks = folder / "checks"
    checks.mkdir(exist_ok=True)
    for host, zone in (("app1", "front"), ("db1", "back")):
        text = POLICY.replace("NAME", host).replace("HOST", host).replace("ZONE", zone)
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


@contextmanager
def cluster(lab, tls, folder, at, workers):
    """Start a scheduler with the host ``at``, by its name and address, and workers by name: their host and zone."""
    host, address = at
    files = ["--tls-ca-file", f"{tls}/ca", "--tls-cert", f"{tls}/cert", "--tls-key", f"{tls}/key"]
    with ExitStack() as stack:
        _started(
            stack, lab, host, folder / "log", "distributed.cli.dask_scheduler",
            "--protocol", "tls", "--host", address, "--port", "8786", "--no-dashboard", "--no-show", *files,
        )  # fmt: skip
        until(folder / "log", "Scheduler at:")
        found = {}
        for name, (host, zone) in workers.items():
            own = folder / name
            own.mkdir()
            found[name] = _started(
                stack, lab, host, own / "log", "distributed.cli.dask_worker",
                f"tls://{address}:8786", "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard",
                "--resources", f"zone:{zone}=1000", "--local-directory", str(own), *files,
            )  # fmt: skip
        for name in found:
            until(folder / name / "log", "Registered to:")
        yield found


def client_files(tls, monkeypatch):
    """Name a client's TLS files as dask's configuration has them."""
    for name, value in (("CA_FILE", "ca"), ("CLIENT__CERT", "cert"), ("CLIENT__KEY", "key")):
        monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{name}", f"{tls}/{value}")
