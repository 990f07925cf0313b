"""What the exact model costs, and what else one could do with the same table. Run by hand; it asserts nothing.

    make bench
    .venv/bin/python tests/benchmarks/bench.py [--rules 100 1000] [--kinds blocklist kube acl] [--versions 4 6]

Each table is measured in processes of its own, in one run and one after the other: fwproof (ours.py says what the
columns are), Z3 on the same claim, the simulator of firewall-test on the same packets, and loading the table into the
kernel, in a network namespace that is made for it. Whoever takes more than ``--seconds`` is stopped, and that is said.
"""

import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from big_tables import KINDS, hook_of, packets, table

from fwproof.semantics.model import HostModel

HERE = Path(__file__).parent
OTHERS = HERE.parents[1] / ".venv" / "bench" / "bin" / "python"
PACKETS = 20
OURS = ("rules", "read", "build", "proof", "query", "diff", "lint", "index", "decide_us", "walk_us", "walk_x",
        "read_mb", "lookup_mb", "peak_mb")  # fmt: skip
THEIRS = ("z3_s", "z3_x", "z3_mb", "ft_read", "ft_us", "ft_x", "ft_same", "ipt_nft", "ipt_leg", "nft", "nft_x")
SCALED = ("read", "build", "query", "diff", "lint", "decide_us", "walk_us", "peak_mb", "z3_s", "ft_us", "nft")


class NotMeasured(Exception):
    """Something was not measured; the message says why, in a few words."""


def run(arguments, seconds, **more):
    """Run a program and return what it prints."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    paths = os.pathsep.join([str(HERE.parents[1] / "src"), str(HERE)])
    try:
        done = subprocess.run(
            [str(a) for a in arguments], check=True, capture_output=True, text=True, timeout=seconds,
            env={**os.environ, "PYTHONPATH": paths, "PATH": path}, **more,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise NotMeasured(f">{seconds:.0f} s") from error
    except FileNotFoundError as error:
        raise NotMeasured("not installed") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or f"exit {error.returncode}").splitlines()[-1]
        raise NotMeasured(f"failed: {last}") from error
    return done.stdout


def ours(place, seconds):
    return json.loads(run([sys.executable, HERE / "ours.py", *place], seconds))


def by_z3(place, seconds, own):
    found = json.loads(run([OTHERS, HERE / "with_z3.py", *place], seconds))
    if found["answer"] is None:
        raise NotMeasured("unknown")
    mine = [own.get("build"), own.get("proof")]
    if "answer" in own and own["answer"] != found["answer"]:
        raise NotMeasured("says otherwise")
    alike = found["total"] / sum(mine) if all(isinstance(each, float) for each in mine) else None
    return {"z3_s": found["total"], "z3_x": alike, "z3_mb": found["peak_mb"]}


def in_namespace(tool, text, seconds):
    """Return how long a program takes to load a table into the kernel, in an empty namespace: best of three.

    Making the namespace is in it, some milliseconds.
    """
    return min(clocked(["unshare", "-n", *tool], text, seconds) for _ in range(3))


def clocked(arguments, text, seconds):
    start = time_of_children()
    run(arguments, seconds, input=text)
    return time_of_children() - start


def time_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def by_kernel(text, version, seconds, own):
    tool = "iptables" if version == 4 else "ip6tables"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table"
        file.write_text(text)
        native = run([f"{tool}-restore-translate", "-f", file], seconds)
    found = {
        "ipt_nft": in_namespace([f"{tool}-nft-restore"], text, seconds),
        "ipt_leg": in_namespace([f"{tool}-legacy-restore"], text, seconds),
        "nft": in_namespace(["nft", "-f", "-"], native, seconds),
    }
    mine = [own.get(step) for step in ("read", "build", "proof")]
    if all(isinstance(each, float) for each in mine):
        found["nft_x"] = found["nft"] / sum(mine)
    listed = run(["unshare", "-n", "sh", "-c", "nft -f - && nft -j list ruleset"], seconds, input=native)
    return found, listed


def verdicts_only(listed):
    """Leave out rules that only log: the simulator fails on them, and they decide nothing."""
    kinds = {"accept", "drop", "reject", "return", "jump", "goto"}
    objects = json.loads(listed)["nftables"]
    return {"nftables": [o for o in objects if "rule" not in o or any(kinds & set(e) for e in o["rule"]["expr"])]}


def by_simulator(listed, place, text, seconds, own):
    kind, _, version = place
    flows = list(packets(random.Random(7), text, version, hook_of(kind), PACKETS))
    asked = [(str(f.src), str(f.dst), "tcp" if f.proto == 6 else "udp", f.sport, f.dport) for f in flows]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("ruleset", "packets")]
        for file, content in zip(files, (json.dumps(verdicts_only(listed)), json.dumps(asked)), strict=True):
            file.write_text(content)
        found = json.loads(run([OTHERS, HERE / "with_firewall_test.py", *files], seconds))
    model = HostModel.build(**{"iptables_save" if version == 4 else "ip6tables_save": text})
    same = [model.decide(flow, hook_of(kind)).accepted == passed
            for flow, passed in zip(flows, found["passed"], strict=True)]  # fmt: skip
    alike = found["packet_us"] / own["decide_us"] if "decide_us" in own else None
    return {"ft_read": found["read"], "ft_us": found["packet_us"], "ft_x": alike,
            "ft_same": f"{sum(same)}/{len(same)}"}  # fmt: skip


def row(kind, rules, version, seconds):
    """Return the figures of one table, and what was not measured, with the reasons."""
    place, text, found, missing = (kind, rules, version), table(kind, rules, version), {}, []

    def attempt(name, work):
        try:
            return work()
        except NotMeasured as reason:
            missing.append(f"{name}: {reason}")
            return {}

    found |= attempt("fwproof", lambda: ours(place, seconds * 5))
    found |= attempt("z3", lambda: by_z3(place, seconds, found))
    kernel = attempt("kernel", lambda: by_kernel(text, version, seconds, found))
    if kernel:
        times, listed = kernel
        found |= times
        found |= attempt("firewall-test", lambda: by_simulator(listed, place, text, seconds, found))
    missing += [f"{name}: {value}" for name, value in found.items() if isinstance(value, str) and "large" in value]
    return found, missing


def shown(value):
    if isinstance(value, str):
        return "too large" if "large" in value else value
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) and value < 1000 else f"{value:.0f}"


def line(words):
    return " ".join([f"{words[0]:<12}", *(f"{word:>9}" for word in words[1:])])


def print_rows(title, columns, measured):
    print(f"\n{title}\n{line(['', *columns])}")
    for name, found in measured.items():
        print(line([f"{name[0]} v{name[2]}", *(shown(found.get(column)) for column in columns)]))


def print_growth(measured):
    """Print how each figure grows from one number of rules to the next: 1 is as the rules, 2 as their square."""
    print(f"\ngrowth: exponents from one size to the next\n{line(['', 'from', 'to', *SCALED])}")
    for (name, found), (after, later) in zip(measured.items(), list(measured.items())[1:], strict=False):
        if (name[0], name[2]) == (after[0], after[2]) and "rules" in found and "rules" in later:
            steps = [exponent(found, later, column) for column in SCALED]
            print(line([f"{name[0]} v{name[2]}", str(found["rules"]), str(later["rules"]), *steps]))


def exponent(first, later, column):
    pair = first.get(column), later.get(column)
    if not all(isinstance(value, int | float) and value > 0 for value in pair):
        return "-"
    return f"{math.log(pair[1] / pair[0]) / math.log(later['rules'] / first['rules']):.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rules", type=int, nargs="+", default=[100, 1000, 10000, 50000])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--versions", type=int, nargs="+", choices=[4, 6], default=[4, 6])
    parser.add_argument("--seconds", type=float, default=300)
    chosen = parser.parse_args()
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{os.cpu_count()} CPUs, load {load}; Linux {os.uname().release}; Python {sys.version.split()[0]}")
    measured, missing = {}, []
    for kind in chosen.kinds:
        for version in chosen.versions:
            for rules in chosen.rules:
                found, gone = row(kind, rules, version, chosen.seconds)
                measured[kind, rules, version] = found
                missing += [f"{kind} v{version} {rules}: {reason}" for reason in gone]
                print(f"# {kind} v{version} {rules}: {json.dumps(found)}", file=sys.stderr, flush=True)
    print_rows("fwproof: processor seconds, microseconds a packet (_us), megabytes (_mb)", OURS, measured)
    print_rows("others: processor seconds, and how many times fwproof's (_x)", ("rules", *THEIRS), measured)
    print_growth(measured)
    print("\nnot measured\n" + "\n".join(missing or ["nothing"]))


if __name__ == "__main__":
    main()
