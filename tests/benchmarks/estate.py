"""Many hosts at once: time, memory, connections and file descriptors, beside the naive way, Ansible and testinfra.

    python tests/benchmarks/estate.py [50 200]

Brings up a lab of that many light hosts (sshd and netfilter) in four zones, with a vantage in each. Everything runs in
the network of the lab's auditor. What is read of a host is the same for all: the commands of the tier ``read``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from estate_lab import write

from fwproof.hosts.access import commands
from fwproof.inventory import Host, SshAddress
from fwproof.lab import Lab

MAIN = [sys.executable, "-c", "from fwproof.cli.main import main; main()"]
PATIENCE = 600.0
"""Seconds until a run is ended that does not end by itself."""
ENGINES = os.environ.get("ENGINES", "threads processes").split()
SAMPLE = 4
"""Hosts that the slow ways are tried with; their time is per host, for one after the other."""
COMMANDS = [c.argv("auditor") for c in commands(Host(name="h", addresses=(), ssh=SshAddress(address="h")), ())]


def watched(command: list[str], folder: Path, name: str) -> dict[str, float]:
    """Run a command; return its seconds, most memory (MiB), most file descriptors and threads at a time."""
    most = {"descriptors": 0, "threads": 0}
    environment = {**os.environ, "FWPROOF_LAB_NAME": name, "ANSIBLE_SSH_ARGS": "-o ControlMaster=no"}
    begun = time.monotonic()
    log = (folder / "log").open("w")
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    ) as process:

        def look() -> None:
            while True:
                try:
                    most["descriptors"] = max(most["descriptors"], len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
                    most["threads"] = max(most["threads"], len(list(Path(f"/proc/{process.pid}/task").iterdir())))
                except OSError:
                    return
                time.sleep(0.05)

        alarm = threading.Timer(PATIENCE, process.kill)
        alarm.start()
        thread = threading.Thread(target=look)
        thread.start()
        # not Popen.wait(), which throws the usage away
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    alarm.cancel()
    thread.join()
    log.close()
    return {
        "status": process.returncode, "seconds": round(time.monotonic() - begun, 1),
        "cpu": round(usage.ru_utime + usage.ru_stime, 1), "MiB": usage.ru_maxrss >> 10, **most,
    }  # fmt: skip


def log_ins(lab: Lab, names: list[str]) -> list[int]:
    """Return how many log-ins each host's sshd accepted since it was asked last."""
    script = "grep -c 'Accepted publickey' /var/log/sshd.log; : > /var/log/sshd.log"
    return [int(lab.run(name, ["/bin/sh", "-c", script]).stdout) for name in names]


def per_host(counts: list[int]) -> str:
    """Return the least, middle and greatest of some counts."""
    return f"{min(counts)}/{statistics.median(counts):g}/{max(counts)}"


def table_fulls() -> int:
    """Return how often the kernel's tables of neighbours, which all labs of a machine share, had no room."""
    found = 0
    for name in ("arp_cache", "ndisc_cache"):
        head, *rows = Path("/proc/net/stat", name).read_text().splitlines()
        at = head.split().index("table_fulls")
        found += sum(int(row.split()[at], 16) for row in rows)
    return found


def not_passed(folder: Path) -> list[str]:
    """Return what an audit says of the checks that did not pass, alike ones together."""
    path = folder / "reports" / "latest" / "results.json"
    if not path.exists():
        return ["it did not end by itself, and wrote no reports"]
    results = json.loads(path.read_text())
    alike = Counter(
        (c["verdict"], c["kind"], re.sub(r"[\da-f]*[:.][\da-f:.]+", "…", c["reason"]))
        for c in results["checks"]
        if c["verdict"] != "pass"
    )
    return [f"{count} x {' · '.join(words)}" for words, count in alike.most_common()]


def naive(lab: Lab, folder: Path, names: list[str], checks: int) -> dict[str, float]:
    """One connection for each check, one host after the other, with paramiko."""
    script = folder / "naive.py"
    script.write_text(
        "import json, shlex, sys, paramiko\nfrom fwproof.lab import Lab\n"
        "lab, addresses, commands, checks = Lab(sys.argv[1]), *map(json.loads, sys.argv[2:5])\n"
        "lab.join_network('auditor')\n"
        "for address in addresses:\n for n in range(checks):\n"
        "  c = paramiko.SSHClient(); c.load_host_keys(str(lab.known_hosts))\n"
        "  c.connect(address, username='auditor', key_filename=str(lab.ssh_identity), allow_agent=False)\n"
        "  for words in commands[n % len(commands):][:1]:\n"
        "   i, o, e = c.exec_command(shlex.join(words)); o.read()\n  c.close()\n"
    )
    words = [json.dumps(names), json.dumps(COMMANDS), str(checks)]
    return watched([sys.executable, str(script), lab.name, *words], folder, lab.name)


def testinfra(lab: Lab, folder: Path, addresses: list[str]) -> dict[str, float]:
    """testinfra over its paramiko backend: one connection a host, and one host after the other."""
    script = folder / "with_testinfra.py"
    script.write_text(
        "import json, shlex, sys, testinfra\nfrom fwproof.lab import Lab\n"
        "lab = Lab(sys.argv[1]); lab.join_network('auditor')\n"
        "for address in json.loads(sys.argv[2]):\n"
        " h = testinfra.get_host(f'paramiko://auditor@{address}', ssh_identity_file=str(lab.ssh_identity))\n"
        " for words in json.loads(sys.argv[3]):\n  h.run(shlex.join(words).replace('%', '%%'))\n"
    )
    return watched(
        [sys.executable, str(script), lab.name, json.dumps(addresses), json.dumps(COMMANDS)], folder, lab.name
    )


def ansible(lab: Lab, folder: Path, names: list[str], addresses: list[str]) -> dict[str, float] | None:
    """Ansible's ad-hoc ``raw``, 16 hosts at once, all commands of a host in one."""
    program = shutil.which("ansible", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        return None
    import shlex

    lines = [
        f"{name} ansible_host={address} ansible_user=auditor ansible_ssh_private_key_file={lab.ssh_identity}"
        f" ansible_ssh_common_args='-o UserKnownHostsFile={lab.known_hosts}'"
        for name, address in zip(names, addresses, strict=True)
    ]
    (folder / "hosts.ini").write_text("\n".join(lines) + "\n")
    (folder / "args").write_text("; ".join(map(shlex.join, COMMANDS)).replace("{{", "{ {").replace("{%", "{ %"))
    script = folder / "with_ansible.py"
    script.write_text(
        "import os, sys\nfrom fwproof.lab import Lab\nLab(sys.argv[1]).join_network('auditor')\n"
        "words = ['-i', 'hosts.ini', 'all', '-f', '16', '-m', 'raw', '-a', open('args').read()]\n"
        "os.execv(sys.argv[2], [sys.argv[2], *words])\n"
    )
    return watched([sys.executable, str(script), lab.name, program], folder, lab.name)


def show(what: str, hosts: int, found: dict[str, float], counts: list[int] | None = None, note: str = "") -> None:
    """Print one row."""
    logged = per_host(counts) if counts else "-"
    print(
        f"| {what} | {hosts} | {found['seconds']} | {found['cpu']} | {found['MiB']} | {found['descriptors']} |"
        f" {found['threads']} | {logged} | {note} |",
        flush=True,
    )


def measure(count: int) -> None:
    """Measure with one size of lab."""
    folder = Path(tempfile.mkdtemp(prefix="estate-"))
    write(folder, count)
    lab = Lab(f"bench-{os.getpid()}", topology=folder / "lab" / "topology.yaml")
    begun = time.monotonic()
    with lab:
        print(f"\n{count} hosts, lab up in {time.monotonic() - begun:.1f} s; load {os.getloadavg()[0]:.1f}\n")
        print(
            "| what | hosts | seconds | processor s | MiB | descriptors | threads | log-ins a host | |\n"
            + "|---" * 9
            + "|"
        )
        names = [f"h{n:03}" for n in range(count)]
        known = json.loads((folder / "inventory.yaml").read_text())["hosts"]
        addresses = [known[name]["addresses"][0] for name in names]
        log_ins(lab, names)
        for engine in ENGINES:
            out = folder / f"out-{engine}"
            words = ["collect", "all-of-them", "--inventory", "inventory.yaml", "-o", str(out), "--engine", engine]
            found = watched([*MAIN, *words], folder, lab.name)
            note = f"exit {found['status']:g}, {len(list(out.iterdir()))} stored"
            show(f"fwproof collect, {engine}", count, found, log_ins(lab, names), note)
        full = table_fulls()
        found = watched([*MAIN, "audit", "estate.policy.yaml", "--inventory", "inventory.yaml"], folder, lab.name)
        others = [f"load {os.getloadavg()[0]:.1f}, no room for a neighbour {table_fulls() - full} times"]
        others += not_passed(folder)
        text = (folder / "log").read_text()
        counted = re.findall(r"planned[ =]\S*|^.*planned.*$", text, re.MULTILINE)
        show("fwproof audit", count, found, log_ins(lab, names), (counted or [f"exit {found['status']:g}"])[-1])
        for line in others:
            print(f"  {line}", file=sys.stderr, flush=True)
        checks = int((re.findall(r"([\d,]+) planned", text) or [str(14 * count)])[-1].replace(",", "")) // count
        if importlib.util.find_spec("testinfra"):
            found = testinfra(lab, folder, addresses[:SAMPLE])
            note = f"{found['seconds'] / SAMPLE * count:.0f} s for {count} by the same rate"
            show("testinfra, one after the other", SAMPLE, found, log_ins(lab, names[:SAMPLE]), note)
        found = naive(lab, folder, addresses[:SAMPLE], checks)
        note = f"{checks} checks a host; {found['seconds'] / SAMPLE * count:.0f} s for {count} by the same rate"
        show("naive: a connection a check", SAMPLE, found, log_ins(lab, names[:SAMPLE]), note)
        other = ansible(lab, folder, names, addresses)
        if other:
            show("Ansible raw, 16 forks", count, other, log_ins(lab, names), f"exit {other['status']:g}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for size in map(int, sys.argv[1:] or ["50", "200"]):
        measure(size)
