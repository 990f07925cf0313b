"""A small estate for test_estate.py: two networks behind each other, entered through jump hosts only."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOSTS = {
    "auditor": ["front 10.50.0.1/24 fd50:0:0:0::1/64"],
    "bastion": ["front 10.50.0.2/24 fd50:0:0:0::2/64", "back 10.50.1.2/24 fd50:0:0:1::2/64"],
    "inner": ["back 10.50.1.3/24 fd50:0:0:1::3/64", "deep 10.50.2.3/24 fd50:0:0:2::3/64"],
    "web1": ["back 10.50.1.11/24 fd50:0:0:1::11/64"],
    "web2": ["back 10.50.1.12/24 fd50:0:0:1::12/64"],
    "deep1": ["deep 10.50.2.11/24 fd50:0:0:2::11/64"],
}
ADDRESS = {name: links[0].split()[1].partition("/")[0] for name, links in HOSTS.items()}


def topology(folder: Path) -> Path:
    (folder / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "fixtures/lab/bin/lab-service.py", folder / "bin/lab-service.py")
    hosts = {}
    for name, links in HOSTS.items():
        split = [link.split() for link in links]
        hosts[name] = {"links": [{"network": net, "addresses": rest} for net, *rest in split], "access": "read"}
    path = folder / "topology.yaml"
    networks = ["front", "back", "deep"]
    path.write_text(json.dumps({"service_program": "bin/lab-service.py", "networks": networks, "hosts": hosts}))
    return path


def collect(lab, folder: Path, inventory: str, *names: str, meanwhile=lambda: None):
    """Run ``fwproof collect``, and do something meanwhile; return the process and the hosts that it stored."""
    path = folder / "inventory.yaml"
    path.write_text(f"lab: {lab.topology}\nauditor: auditor\n{inventory}")
    out = folder / "out"
    command = [sys.executable, "-c", "from fwproof.cli.main import main; main()", "collect", *names]
    with subprocess.Popen(
        [*command, "--inventory", str(path), "-o", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "FWPROOF_LAB_NAME": lab.name, "HOME": str(folder)}, cwd=folder, text=True,
    ) as process:  # fmt: skip
        meanwhile()
        stdout, stderr = process.communicate(timeout=120)
    done = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
    return done, sorted(path.name for path in out.iterdir()) if out.exists() else []


def log_ins(lab, host: str) -> int:
    """Return how many log-ins a host's sshd has accepted, and forget them."""
    script = "grep -c 'Accepted publickey' /var/log/sshd.log; : > /var/log/sshd.log"
    return int(lab.run(host, ["/bin/sh", "-c", script]).stdout)
