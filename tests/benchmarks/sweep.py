"""How long a sweep of all ports takes and what it says: fwproof against nmap, masscan and naive scapy, in one run.

    python tests/benchmarks/sweep.py [--runs 3] [--loss 0,2,5] [--rate 20000] [--only fwproof,nmap-tuned,...]

Needs the Debian packages nmap and masscan, and root (or user namespaces). Vantage, router and target are network
namespaces of its own with no way out; the target has listeners, accepted ports that nobody serves, REJECT rules of
three kinds and a policy of DROP, and the router loses packets in either direction. ``wrong`` counts the ports whose
verdict is not what the rules do with them: a refusal (RST, ICMP) or an accepted port that a tool calls filtered is
wrong, an ``open|filtered`` is counted apart, as ``vague``. It prints a table and asserts nothing: figures are of one
machine on one day, and the ratios are what to keep. Slow tools run only where
``--slow`` is given, for TCP alone; they and masscan run once.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.lab import sweepnet  # noqa: E402 - found through the line above

SLOW = {"nmap -T4", "naive scapy"}
ONCE = SLOW | {"masscan"}
SCAPY = """
import sys, logging
logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
from scapy.all import IP, IPv6, TCP, UDP, conf, sr
conf.verb = 0
dst, proto = sys.argv[1:]
layer = (IPv6 if ":" in dst else IP)(dst=dst)
last = TCP(sport=50000, dport=(1, 65535), flags="S") if proto == "tcp" else UDP(sport=50000, dport=(1, 65535))
for sent, got in sr(layer / last, timeout=2)[0]:
    kind = "open" if got.haslayer(TCP) and got[TCP].flags == "SA" or proto == "udp" and got.haslayer(UDP) and not (
        got.haslayer("ICMP") or "ICMPv6" in got.summary()) else "closed"
    print(sent.dport, kind)
"""


@dataclass
class Result:
    """One run of one tool."""

    seconds: float
    states: dict[int, str]
    packets: int = 0
    cpu: float = 0.0
    memory: int = 0
    agents: str = ""
    note: str = ""
    wrong: int = field(default=0)
    vague: int = field(default=0)


def truth(proto: str) -> dict[int, str]:
    """Return what every port is: open, closed (accepted), rejected; all others are dropped."""
    names = {"open": "open", "closed": "closed", "reset": "rejected", "port": "rejected", "admin": "rejected"}
    return {port: names[kind] for kind, ports in sweepnet.MIXED[proto].items() for port in ports}


def score(result: Result, proto: str, *, strict: bool) -> None:
    """Count the verdicts that are wrong; a tool that cannot tell a rule's reset from a closed port is not blamed."""
    real = truth(proto)
    for port in range(1, 65536):
        is_, said = real.get(port, "filtered"), result.states.get(port, "filtered")
        refusals = {"closed"} if strict else {"closed", "rejected"}
        if said == "open|filtered":
            result.vague += 1
        elif said != is_ and not (is_ in refusals and said == "closed"):
            result.wrong += 1


def fwproof_here(target: dict[str, int], version: int, proto: str, rate: int) -> dict[str, object]:
    """Sweep, compare and settle, as the verb does; run as a program of its own, so that imports are paid for."""
    from dataclasses import replace

    from fwproof.audit.agreement import Agreement
    from fwproof.audit.sweeping import Sweeping, entering, predict
    from fwproof.flow import TCP, UDP, Flow
    from fwproof.probing import portset
    from fwproof.probing.agent import SWEEP_LOW
    from fwproof.probing.frames import sweep_frame
    from fwproof.probing.packets import FINGERPRINT_TOS
    from fwproof.probing.sweep import Order, Sweeper
    from fwproof.semantics.model import HostModel

    net = sweepnet.Net()
    net.argv = lambda host, *words: (  # type: ignore[method-assign]
        "nsenter", "-t", str(target[host]), "-U", "-n", "--preserve-credentials", *words)  # fmt: skip
    agents = {host: net.agent(host) for host in ("vantage", "target")}
    flow = Flow(
        src=sweepnet.VANTAGE[version], dst=sweepnet.TARGET[version], proto=TCP if proto == "tcp" else UDP,
        sport=SWEEP_LOW, tos=FINGERPRINT_TOS, flags=frozenset({"SYN"} if proto == "tcp" else ()),
    )  # fmt: skip
    flow = replace(flow, length=len(sweep_frame(flow, 0)))
    model = HostModel.build(**net.texts())
    predicted = predict(model, flow)
    order = Order(sender="vantage", receiver="target", flow=flow, pps=rate, may_enter=entering(predicted, portset.ALL))

    class Field:
        def agent(self, host: str) -> object:
            return agents[host]

    Field.agents = agents  # type: ignore[attr-defined]
    with Sweeper(agents) as sweeper:
        found = Sweeping(Field(), sweeper, model, lambda _line: None).report(order, predicted)  # type: ignore[arg-type]
    for agent in agents.values():
        agent.close()
    names = {"silent": "filtered", "accepted-silent": "closed"}
    states = {}
    for each in found.comparisons:
        said = names.get(each.state.value, each.state.value)
        said = "undecided" if each.agreement is Agreement.UNDECIDED else said
        if said != "filtered":
            states |= dict.fromkeys(portset.members(each.ports), said)
    used = " ".join(f"{host} {cpu:.1f} s {size // 1024} MiB" for host, (cpu, size) in found.swept.used.items())
    used = f"sweep alone {found.swept.seconds:.2f} s; {used}"
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"states": states, "agents": used, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss}


def _said(state: str, reason: str) -> str:
    """Return nmap's state; "filtered" because of an ICMP error is a refusal that it has seen."""
    return "rejected" if state == "filtered" and ("unreach" in reason or "prohibited" in reason) else state


class Bench:
    """The tools, over one net."""

    def __init__(self, net: sweepnet.Net, rate: int) -> None:
        self.net, self.rate = net, rate

    def arrived(self) -> int:
        (link,) = json.loads(self.net.run("target", "ip", "-s", "-j", "link", "show", "t0"))
        return int(link["stats64"]["rx"]["packets"])

    def measured(self, argv: list[str], *, inside: bool, limit: float = 900.0) -> tuple[Result, str]:
        """Run a program, in the vantage's network if ``inside``; return its result without states, and its output."""
        words = [*self.net.argv("vantage", *argv)] if inside else argv
        before, begun = self.arrived(), time.monotonic()
        with tempfile.TemporaryFile("w+") as out:
            process = subprocess.Popen(words, stdout=out, stderr=subprocess.DEVNULL, cwd=ROOT)
            note = ""
            while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                if time.monotonic() - begun > limit:
                    note = f"did not end, interrupted after {limit:.0f} s"
                    process.send_signal(signal.SIGINT if time.monotonic() - begun < limit + 5 else signal.SIGKILL)
                    time.sleep(0.5)
                time.sleep(0.005)
            seconds = time.monotonic() - begun
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
            out.seek(0)
            text = out.read()
        found = Result(
            seconds, {}, self.arrived() - before, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, note=note
        )
        return found, text

    def fwproof(self, version: int, proto: str) -> Result:
        pids = json.dumps({host: holder.pid for host, holder in self.net.holders.items()})
        argv = [sys.executable, __file__, "--one", pids, str(version), proto, str(self.rate)]
        found, text = self.measured(argv, inside=False)
        said = json.loads(text)
        found.states = {int(port): state for port, state in said["states"].items()}
        found.agents, found.cpu, found.memory = said["agents"], said["cpu"], said["memory"]
        return found

    def nmap(self, version: int, proto: str, *options: str) -> Result:
        kind = ["-sS"] if proto == "tcp" else ["-sU"]
        six = ["-6"] if version == 6 else []
        argv = ["nmap", *kind, *six, "-Pn", "-n", "-p-", *options, "-oX", "-", str(sweepnet.TARGET[version])]
        found, text = self.measured(argv, inside=True)
        try:
            tree = ET.fromstring(text)
        except ET.ParseError:
            found.note = found.note or "no readable output"
            return found
        for extra in tree.iter("extraports"):
            if extra.get("state") == "open|filtered":
                found.states = dict.fromkeys(range(1, 65536), "open|filtered")
        for extra in tree.iter("extraports"):
            for reason in extra.iter("extrareasons"):
                said = _said(str(extra.get("state")), reason.get("reason", ""))
                if said not in {"filtered", "open|filtered"}:
                    for low, high in re.findall(r"(\d+)(?:-(\d+))?", reason.get("ports", "")):
                        found.states |= dict.fromkeys(range(int(low), int(high or low) + 1), said)
        for port in tree.iter("port"):
            state = port.find("state")
            assert state is not None
            found.states[int(port.get("portid", 0))] = _said(str(state.get("state")), state.get("reason", ""))
        return found

    def masscan(self, version: int, proto: str) -> Result:
        if version == 6:
            return Result(0.0, {}, note="skipped: IPv6 was not tried")
        mac = json.loads(self.net.run("router", "ip", "-j", "link", "show", "rv"))[0]["address"]
        ports = "1-65535" if proto == "tcp" else "U:1-65535"
        argv = ["masscan", str(sweepnet.TARGET[4]), "-p", ports, "--rate", str(self.rate), "--wait", "2", "-oL", "-",
                "--interface", "v0", "--adapter-ip", str(sweepnet.VANTAGE[4]), "--router-mac", mac]  # fmt: skip
        found, text = self.measured(argv, inside=True, limit=15.0)
        for line in text.splitlines():
            words = line.split()
            if len(words) > 3 and words[0] in {"open", "closed"}:
                found.states[int(words[2])] = words[0]
        return found

    def scapy(self, version: int, proto: str) -> Result:
        found, text = self.measured([sys.executable, "-c", SCAPY, str(sweepnet.TARGET[version]), proto], inside=True)
        found.states = {int(port): said for port, said in (line.split() for line in text.splitlines())}
        return found

    def tools(self) -> dict[str, object]:
        rate = ("--min-rate", str(self.rate), "--max-retries")
        return {
            "fwproof": self.fwproof,
            "nmap tuned": lambda v, p: self.nmap(v, p, "-T4", *rate, "1"),
            "nmap reckless": lambda v, p: self.nmap(v, p, "-T4", "--min-rate", "100000", "--max-retries", "0"),
            "masscan": self.masscan,
            "nmap -T4": lambda v, p: self.nmap(v, p, "-T4"),
            "naive scapy": self.scapy,
        }  # fmt: skip


def line(name: str, runs: list[Result]) -> str:
    times = sorted(run.seconds for run in runs)
    middle = statistics.median(times)
    spread = f" ({times[0]:.1f}-{times[-1]:.1f})" if len(times) > 1 else ""
    worst = max(runs, key=lambda run: run.wrong)
    wrong = f"{min(r.wrong for r in runs)}-{worst.wrong}" if len(runs) > 1 else str(worst.wrong)
    last = runs[-1]
    packets = statistics.median(run.packets for run in runs)
    return (
        f"| {name} | {len(runs)} | {middle:.2f}{spread} | {packets:,.0f} | {wrong} | {last.vague:,} | {last.cpu:.1f} "
        f"| {last.memory // 1024} | {last.agents or last.note} |"
    )


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        pids, version, proto, rate = sys.argv[2:]
        print(json.dumps(fwproof_here(json.loads(pids), int(version), proto, int(rate))))
        return
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--runs", type=int, default=3)
    asked.add_argument("--loss", default="0,2,5")
    asked.add_argument("--rate", type=int, default=20000)
    asked.add_argument("--only", default="")
    asked.add_argument("--protocols", default="tcp,udp")
    asked.add_argument("--families", default="4,6")
    asked.add_argument("--slow", action="store_true", help="also nmap -T4 and naive scapy, each once")
    given = asked.parse_args()
    with sweepnet.made() as net:
        bench = Bench(net, given.rate)
        for proto in given.protocols.split(","):
            for version in map(int, given.families.split(",")):
                for loss in map(int, given.loss.split(",")):
                    net.lose(loss)
                    print(f"\n{proto} IPv{version}, {loss} % loss, {given.rate} packets a second\n")
                    print("| tool | n | seconds | packets at target | wrong | vague | CPU s | MiB | agents, remarks |")
                    print("|---|---|---|---|---|---|---|---|---|", flush=True)
                    for name, tool in bench.tools().items():
                        if (given.only and name not in given.only.split(",")) or (
                            name in SLOW and not (given.slow and proto == "tcp")
                        ):
                            continue
                        runs = []
                        for _ in range(1 if name in ONCE else given.runs):
                            time.sleep(1.5)  # so that the kernel's ICMP allowance is much the same for everyone
                            runs.append(tool(version, proto))  # type: ignore[operator]
                            score(runs[-1], proto, strict=name == "fwproof")
                        print(line(name, runs), flush=True)


main()
