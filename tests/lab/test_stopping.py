"""Stopping: whatever ends an audit, within about a second nothing more is sent and what was begun is taken back."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
import yaml

from fwproof.lab import Lab

from .auditing import INVENTORY, POLICY, ROOT, Run, on

pytestmark = pytest.mark.lab
GOOD = "ai-server"
SLOW = "store-postgres"
"""A host with a limit that takes 20 s to be measured."""
POLICY_OF_SLOW = """\
policy: one
hosts: [store-postgres]
services: {thing: tcp/5432}
inbound:
  default: deny
  allow:
    - {id: thing, service: thing, from: internal, rate: {limit: 5, per: 20s, by: source, measure: true}}
"""
NEW = "-A INPUT -p tcp -m tcp --dport 5432 -m conntrack --ctstate NEW -m recent --name slow --rsource"
TABLES_OF_SLOW = f"""\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -s 10.0.0.1 -p tcp -m tcp --dport 22 -j ACCEPT
{NEW} --rcheck --seconds 20 --hitcount 5 -j DROP
{NEW} --set
-A INPUT -s 10.0.0.0/16 -p tcp -m tcp --dport 5432 -j ACCEPT
COMMIT
"""
SOON = 2.0
"""Seconds in which an agent has to be gone: one, and what looking for it takes on a busy machine."""
AGENTS = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = open(f"/proc/{pid}/cmdline").read()
    except OSError:
        continue
    if int(pid) != os.getpid() and ("fwproof-agent" in words or "b64decode" in words):
        print(pid)
"""
"""Prints the processes of agents: installed ones, and streamed ones."""
DEAF_NO_MORE = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Starts a program that hears Ctrl-C: the jobs that a shell runs in the background do not, and so would it."""
WATCHER = """
import select, socket, struct, sys, time
sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
print("up", flush=True)
while sys.stdin not in select.select([sock, sys.stdin], [], [])[0]:
    data, place = sock.recvfrom(200)
    if place[2] == 4 or len(data) < 28:
        continue
    four = data[0] >> 4 == 4
    proto, at = (data[9], (data[0] & 15) * 4) if four else (data[6], 40)
    ports = struct.unpack_from("!HH", data, at) if len(data) >= at + 4 else (0, 0)
    if (proto == 6 and ports[1] == 22 and ports[0] < 61000) or (proto == 58 and data[at] in (135, 136)):
        continue
    print(time.time(), proto, *ports, flush=True)
"""
"""Prints the time of all that comes in but the auditor's SSH and neighbour discovery; a lab has nothing else."""


@pytest.fixture(scope="module")
def lab():
    with Lab(f"stop{os.getpid()}") as lab:
        yield lab


class Arrivals:
    """What arrives at a host, while it is watched: times, in seconds of the epoch."""

    def __init__(self, lab, host):
        argv = [sys.executable, "-m", "fwproof", "lab", "exec", host, "--", "/usr/bin/python3", "-c", WATCHER]
        env = {**os.environ, "FWPROOF_LAB_NAME": lab.name}
        self.times = []
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=env)
        assert self.process.stdout.readline() == "up\n"
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.times.append(float(line.split()[0]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()  # which it takes for the end
        self.thread.join(10)
        self.process.wait(10)
        self.process.stdout.close()

    def after(self, moment):
        return [when for when in self.times if when > moment]

    def busiest(self, seconds=1.0):
        """Return how many arrived within any second, at most."""
        times, first, most = sorted(self.times), 0, 0
        for last, when in enumerate(times):
            while times[first] <= when - seconds:
                first += 1
            most = max(most, last - first + 1)
        return most


class Audit:
    """An audit under way, whose output is read line by line."""

    def __init__(self, lab, reports, *words, inventory=INVENTORY, policy=POLICY, verb=None):
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", str(policy)]
        command = verb or [*command, "--inventory", str(inventory), "--reports", str(reports), *words]
        env = {**os.environ, "FWPROOF_LAB_NAME": lab.name, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", DEAF_NO_MORE, *command], cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=env,
        )  # fmt: skip
        self.lines = []

    def until(self, words):
        """Read on until a line has ``words``."""
        for line in self.process.stdout:
            self.lines.append(line)
            if words in line:
                return
        raise AssertionError("".join(self.lines))

    def end(self, how):
        """End it by a signal; return when that was, and how long it took to end."""
        begun, at = time.monotonic(), time.time()
        self.process.send_signal(how)
        self.lines += self.process.stdout.readlines()
        self.process.wait(30)
        self.process.stdout.close()
        return at, time.monotonic() - begun

    def drop(self):
        """Make sure that nothing of it runs on."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def agents(lab, host):
    return lab.run(host, ["/usr/bin/python3", "-c", AGENTS]).stdout.split()


def gone(lab, *hosts, within):
    """Wait until no agent runs on hosts; return how long that took."""
    begun = time.monotonic()
    while left := [host for host in hosts if agents(lab, host)]:
        assert time.monotonic() - begun < within, left
    return time.monotonic() - begun


def banned(lab):
    status = on(lab, GOOD, "fail2ban-client status ollama-api")
    return status.rpartition("Banned IP list:")[2].split()


def inventory_with(folder, **changes):
    """Write the lab's inventory with other values: of hosts by their names, of the whole by ``top``."""
    inventory = yaml.safe_load(INVENTORY.read_text(encoding="utf-8"))
    inventory["lab"] = str(INVENTORY.parent / inventory["lab"])
    inventory |= changes.pop("top", {})
    for name, values in changes.items():
        inventory["hosts"][name.replace("_", "-")] |= values
    path = folder / "inventory.yaml"
    path.write_text(yaml.safe_dump(inventory, sort_keys=False), encoding="utf-8")
    return path


@contextmanager
def measuring(lab, folder, *words, **top):
    """Begin an audit that measures a limit, which takes 20 s."""
    lab.run(SLOW, ["/usr/sbin/iptables-restore"], input=TABLES_OF_SLOW)
    (folder / "one.policy.yaml").write_text(POLICY_OF_SLOW, encoding="utf-8")
    inventory = inventory_with(folder, store_postgres={"addresses": ["10.0.2.10"]}, top=top)
    audit = Audit(lab, folder / "reports", *words, policy=folder / "one.policy.yaml", inventory=inventory)
    try:
        yield audit
    finally:
        audit.drop()
        on(lab, SLOW, "iptables -P INPUT ACCEPT; iptables -F")
        (lab.state / "bursts.json").unlink(missing_ok=True)  # these tables, and their lists, are gone


@pytest.fixture
def slow(lab, tmp_path):
    """An audit in between two packets of a measurement; some 18 s of it are left."""
    with measuring(lab, tmp_path, "-m", "measure") as audit:
        audit.until("measuring limits")
        time.sleep(2)
        yield audit


def results_of(audit, folder):
    """Let an audit end by itself; return what it wrote."""
    audit.lines += audit.process.stdout.readlines()
    audit.process.wait(60)
    return json.loads((folder / "reports" / "latest" / "results.json").read_text(encoding="utf-8"))


# ---- the operator, or the machine


@pytest.mark.parametrize(
    ("words", "moment", "how"),
    [
        ((), "wave 2 of", signal.SIGKILL),
        (("-k", "evasion"), "packets in forms", signal.SIGINT),
        (("-k", "evasion"), "packets in forms", signal.SIGKILL),
        (("-k", "rate and outside"), "exercising bursts", signal.SIGTERM),
    ],
)
def test_sending_ends_with_the_audit(lab, tmp_path, words, moment, how):
    with Arrivals(lab, GOOD) as seen:
        audit = Audit(lab, tmp_path, *words)
        audit.until(moment)
        assert agents(lab, GOOD), "the check below looks for the right thing"
        at, _ = audit.end(how)
        gone(lab, GOOD, "workstation", "outside", "proxy", within=SOON)
        time.sleep(0.5)
        assert not seen.after(at + 1.0)
    assert audit.process.returncode == (-9 if how is signal.SIGKILL else 2)
    if how is not signal.SIGKILL:
        assert "Traceback" not in "".join(audit.lines)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_measurement_ends_with_the_audit(lab, slow, how):
    with Arrivals(lab, SLOW) as seen:
        at, seconds = slow.end(how)
        gone(lab, SLOW, "proxy", "workstation", within=SOON)
        assert not seen.after(at + 1.0)
    assert seconds < 5


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_ban_is_lifted_whatever_ends_the_audit(lab, tmp_path, how):
    audit = Audit(lab, tmp_path, "-k", f"ban and {GOOD}")
    audit.until("exercising bans")
    deadline = time.monotonic() + 10
    while not banned(lab):
        assert time.monotonic() < deadline
    audit.end(how)
    deadline = time.monotonic() + 9
    while left := banned(lab):
        assert time.monotonic() < deadline, left
    gone(lab, GOOD, within=10)
    assert not banned(lab), "and none comes later"
    for tool in ("iptables", "ip6tables"):
        assert "REJECT" not in on(lab, GOOD, f"{tool} -S | grep f2b || true")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_ends_with_its_verb(lab, tmp_path, how):
    verb = [sys.executable, "-m", "fwproof", "probe", GOOD, "--from", "proxy", "--sweep", "tcp", "--rate", "2000"]
    with Arrivals(lab, GOOD) as seen:
        sweep = Audit(lab, tmp_path, verb=verb)
        sweep.until("pass 1")
        time.sleep(1.5)
        assert len(seen.times) > 500
        at, _ = sweep.end(how)
        gone(lab, GOOD, "proxy", within=SOON)
        time.sleep(0.5)
        assert not seen.after(at + 1.0)
    assert sweep.process.returncode == (-9 if how is signal.SIGKILL else 130)


# ---- the way to the host


def test_a_lost_connection_to_the_target_ends_what_is_sent_to_it(lab, slow, tmp_path):
    with Arrivals(lab, SLOW) as seen:
        at = time.time()
        on(lab, SLOW, "pkill -9 -f '[s]shd: auditor'")
        gone(lab, SLOW, within=SOON)
        found = results_of(slow, tmp_path)
        assert not seen.after(at + 1.0)
    assert time.time() - at < 8
    assert [check["verdict"] for check in found["checks"]] == ["error"]
    assert slow.process.returncode == 6


def test_a_rule_that_cuts_off_the_administrator_is_noticed(lab, slow, tmp_path):
    rule = "INPUT -p tcp --dport 22 --syn -j DROP"
    with Arrivals(lab, SLOW) as seen:
        begun = time.monotonic()
        on(lab, SLOW, f"iptables -I {rule}")
        slow.until("nothing more is sent to it")
        assert time.monotonic() - begun < 10, "two seconds, and twice the patience of a log-in"
        at = time.time()
        found = results_of(slow, tmp_path)
        assert not seen.after(at + 0.5)
    assert time.time() - at < 5
    (why,) = found["run"]["stopped"]
    assert why.startswith(f"{SLOW}: it can no longer be reached over SSH by a new connection")
    assert [check["verdict"] for check in found["checks"]] == ["error"]
    assert "can no longer be reached over SSH" in found["checks"][0]["reason"]
    assert slow.process.returncode == 6


# ---- what was agreed to


def test_nothing_is_green_that_the_window_left_no_time_for(lab, tmp_path):
    moments = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds)) for seconds in (-60, 15)]
    given = {"by": "Jane Doe", "reference": "CHG-1", "hosts": [SLOW], "from": moments[0], "to": moments[1]}
    with measuring(lab, tmp_path, "-k", "measure or workstation", authorisation=given) as audit:
        found = results_of(audit, tmp_path)
    verdicts = {check["id"]: check["verdict"] for check in found["checks"]}
    assert verdicts.pop(f"thing:measure[{SLOW}-proxy-ipv4]") == "error"
    assert set(verdicts.values()) == {"pass"}, "what was found before stays found"
    reason = next(check["reason"] for check in found["checks"] if check["kind"] == "measure")
    assert "the authorised window closed at" in reason
    assert audit.process.returncode == 6
    assert found["run"]["authorisation"]["by"] == "Jane Doe"
    assert any("the authorised window closed" in why for why in found["run"]["stopped"])


def test_two_audits_from_two_machines_do_not_share_a_host(lab, tmp_path, monkeypatch):
    first = Audit(lab, tmp_path / "first", "-k", "evasion or rate")
    first.until("packets in forms")
    other = tmp_path / "machine"
    other.mkdir()
    monkeypatch.setenv("TMPDIR", str(other))  # the lock of this machine is there
    second = Run(lab, tmp_path / "second", "-k", "webui-proxy and workstation and ipv4")
    first.end(signal.SIGINT)
    probed = [check for check in second.checks.values() if check["kind"] == "inbound" and check["vantage"]]
    assert {check["verdict"] for check in probed} == {"error"}
    for check in probed:
        assert "another fwproof audit is observing this host: " in check["reason"]
        assert " on " in check["reason"], "and who it is"


# ---- the rate


@pytest.mark.parametrize("words", [("-k", f"evasion and {GOOD} and not published"), ("-k", "ai-server and rate")])
def test_no_second_has_more_packets_than_the_cap(lab, tmp_path, words):
    with Arrivals(lab, GOOD) as seen:
        run = Run(lab, tmp_path / "reports", *words, inventory=inventory_with(tmp_path, ai_server={"max_pps": 60}))
        assert run.status in {0, 1}, run.out
    assert len(seen.times) > 140, "there was something to hold back"
    assert seen.busiest() <= 60


def test_a_sweep_keeps_to_the_cap(lab, tmp_path):
    capped = inventory_with(tmp_path, ai_server={"max_pps": 400})
    verb = [sys.executable, "-m", "fwproof", "probe", GOOD, "--from", "workstation", "--sweep", "tcp", "--ports",
            "1-2000", "--family", "ipv4", "--inventory", str(capped)]  # fmt: skip
    env = {**os.environ, "FWPROOF_LAB_NAME": lab.name}
    with Arrivals(lab, GOOD) as seen:
        done = subprocess.run(verb, cwd=ROOT, env=env, text=True, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "at most 400 a second" in done.stderr
    assert len(seen.times) >= 2000, "and nothing was left out"
    assert 250 < seen.busiest() <= 400
    faster = subprocess.run([*verb, "--rate", "500"], cwd=ROOT, env=env, text=True, capture_output=True, check=False)
    assert faster.returncode == 4
    assert "max_pps" in faster.stderr
