"""The embedded lab, up: its hosts, its two servers, and no way out."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from fwproof.errors import LabError
from fwproof.lab import Lab

pytestmark = pytest.mark.lab

SERVER = {4: "10.0.0.10", 6: "fd00:0:0:1::10"}
PUBLISHED = {4: "10.0.0.11", 6: "fd00:0:0:1::11"}
FAMILIES = pytest.mark.parametrize("family", [4, 6])

CONNECT = """
import errno, select, socket, sys, time
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
clients = [socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) for _ in range(count)]
for client in clients:
    client.setblocking(False)
    client.connect_ex((address, port))
deadline = time.monotonic() + 0.8  # before the first retransmission, which would count as another packet
waiting, answered = list(clients), 0
while waiting and time.monotonic() < deadline:
    for client in select.select([], waiting, [], 0.05)[1]:
        waiting.remove(client)
        answered += client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
print(answered)
"""

REQUEST = """
import http.client, sys
client = http.client.HTTPConnection(sys.argv[1], 11434, timeout=3)
client.request("GET", "/api/tags", headers={"Authorization": sys.argv[2]})
print(client.getresponse().status)
"""


@pytest.fixture(scope="module")
def lab():
    with Lab(f"t{os.getpid()}") as lab:
        yield lab


def run(lab, host, *argv):
    done = lab.run(host, argv)
    assert done.returncode == 0, done.stderr
    return done.stdout


def connects(lab, host, address, port, count=1):
    return int(run(lab, host, "python3", "-c", CONNECT, address, str(port), str(count)))


def packets(lab, host, family, fragment):
    """The packet counter of the one rule whose text has the fragment."""
    save = run(lab, host, "iptables-save" if family == 4 else "ip6tables-save", "-c")
    (line,) = [line for line in save.splitlines() if fragment in line]
    return int(line[1:].partition(":")[0])


def fwproof_lab(lab, *words):
    command = [sys.executable, "-m", "fwproof.cli.lab", *words]
    environment = {**os.environ, "FWPROOF_LAB_NAME": lab.name}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)


def test_every_host_runs_and_is_itself(lab):
    status = lab.status()
    assert status["up"]
    assert len(status["hosts"]) == 11
    for name in status["hosts"]:
        assert run(lab, name, "hostname") == f"{name}\n"


def test_no_host_knows_a_way_out(lab):
    for host in lab.status()["hosts"]:
        for address in ("192.0.2.1", "2001:db8:ffff::1"):
            done = lab.run(host, ["ip", "route", "get", address])
            assert done.returncode != 0, (host, done.stdout)
            assert "unreachable" in done.stderr
    switches = ["nsenter", "-t", str(lab.status()["pid"]), "-U", "-n", "ip"]
    for address in ("192.0.2.1", "10.0.0.10"):
        done = subprocess.run([*switches, "route", "get", address], capture_output=True, text=True, check=False)
        assert "unreachable" in done.stderr
    links = subprocess.run([*switches, "-o", "link"], capture_output=True, text=True, check=True).stdout
    names = {line.split(": ")[1].split("@")[0] for line in links.splitlines()}
    assert {n for n in names if not n.startswith(("lab-br", "lab-v"))} <= {"lo", "sit0", "tunl0", "ip6tnl0"}


def test_root_inside_is_nobody_outside(lab):
    for key in ("kernel/panic", "vm/swappiness", "net/core/somaxconn_none"):
        assert lab.run("workstation", ["sh", "-c", f"echo 5 > /proc/sys/{key}"]).returncode != 0
    assert lab.run("workstation", ["dmesg"]).returncode != 0


@FAMILIES
def test_the_repaired_server_admits_twenty_of_twenty_five_per_source(lab, family):
    before = packets(lab, "ai-server", family, "--set --name OLLAMA")
    with ThreadPoolExecutor() as pool:
        counts = pool.map(lambda host: connects(lab, host, SERVER[family], 11434, 25), ("workstation", "proxy"))
    assert list(counts) == [20, 20]
    assert packets(lab, "ai-server", family, "--set --name OLLAMA") - before == 40


@FAMILIES
@pytest.mark.parametrize(
    ("host", "port", "answered"),
    [
        ("proxy", 8080, 1),
        ("workstation", 8080, 0),
        ("admin", 22, 1),
        ("workstation", 22, 0),
        ("outside", 11434, 0),
        ("admin", 8080, 0),
        ("ai-server", 11434, 1),
    ],
)
def test_the_repaired_server_answers_whom_it_should(lab, family, host, port, answered):
    assert connects(lab, host, SERVER[family], port) == answered


@pytest.mark.parametrize(
    ("address", "port", "answered"),
    [
        ("10.0.2.10", 5432, 1),
        ("fd00:0:0:2::10", 5432, 1),
        ("10.0.2.11", 6379, 1),
        ("fd00:0:0:2::11", 6379, 1),
        ("10.0.2.12", 9200, 1),
        ("fd00:0:0:2::12", 9200, 1),
        ("10.0.0.1", 22, 1),
        ("fd00:0:0:1::1", 22, 1),
        ("198.51.100.9", 443, 0),
        ("2001:db8:9::9", 443, 0),
        ("10.0.2.10", 22, 0),
    ],
)
def test_the_repaired_server_reaches_what_it_should(lab, address, port, answered):
    assert connects(lab, "ai-server", address, port) == answered
    logged = [line for line in drops(lab).splitlines() if f"DST={address} " in line and f"DPT={port} " in line]
    assert bool(logged) != bool(answered)
    assert all("fw drop out: " in line for line in logged)


def drops(lab):
    return run(lab, "ai-server", "cat", "/var/log/ulogd/drops.log")


def test_drops_are_logged_for_the_auditor_to_read(lab):
    connects(lab, "outside", SERVER[4], 9)
    connects(lab, "outside", SERVER[6], 9)
    lines = [line for line in drops(lab).splitlines() if "DPT=9 " in line]
    assert all("fw drop in: " in line for line in lines)
    assert {line.partition("SRC=")[2].split()[0] for line in lines} == {"203.0.113.66", "2001:db8:bad::66"}
    assert run(lab, "ai-server", "stat", "-c", "%U:%G %a", "/var/log/ulogd/drops.log") == "root:adm 640\n"


@FAMILIES
def test_the_published_server_takes_packets_in_and_answers_nobody(lab, family):
    assert connects(lab, "workstation", PUBLISHED[family], 11434, 25) == 0
    if family == 4:
        assert packets(lab, "ai-server-published", 4, "--set --name OLLAMA") >= 25
        assert packets(lab, "ai-server-published", 4, "--update --seconds 60") >= 6
        assert packets(lab, "ai-server-published", 4, "-A OUTPUT -j DROP") >= 19
    loopback = {4: 0, 6: 1}  # only IPv6 was given a loopback
    address = "127.0.0.1" if family == 4 else "::1"
    assert connects(lab, "ai-server-published", address, 11434) == loopback[family]


@FAMILIES
def test_five_bad_keys_ban_and_a_good_key_does_not(lab, family):
    request = ["python3", "-c", REQUEST, SERVER[family]]
    assert run(lab, "store-redis", *request, "Bearer lab-good-key") == "200\n"
    source = {4: "10.0.2.11", 6: "fd00:0:0:2::11"}[family]
    refused = ["Bearer bad", "Basic YWxpY2U6eA==", "", "Bearer lab-good-key and more", "Bearer bad"]
    assert [run(lab, "store-redis", *request, words) for words in refused] == ["401\n"] * 5
    assert f"[auth] Invalid API key from {source}\n" in run(lab, "ai-server", "cat", "/var/log/ollama.log")
    banned = f"fail2ban-client status ollama-api | grep -q '{source}'"
    wait = f"for i in $(seq 50); do {banned} && exit 0; sleep 0.1; done; exit 1"
    run(lab, "ai-server", "sh", "-c", wait)
    try:
        assert connects(lab, "store-redis", SERVER[family], 11434) == 0
    finally:
        run(lab, "ai-server", "fail2ban-client", "set", "ollama-api", "unbanip", source)
    assert connects(lab, "store-redis", SERVER[family], 11434) == 1


@pytest.mark.parametrize(
    ("line", "banned"),
    [
        ("[auth] Invalid API key from 10.0.5.7", "10.0.5.7"),
        ("[auth] Invalid API key from fd00:0:0:5::7", "fd00:0:0:5::7"),
        ("[auth] Authentication failed for alice from 10.0.5.7", "10.0.5.7"),
        ("[auth] Invalid API key from 10.0.0.100 was the user's name", None),
        ("[auth] Authentication failed for Invalid API key from 10.0.0.100 from 10.0.5.7", None),
        ("[web] GET /?Invalid API key from 10.0.0.100", None),
    ],
)
def test_the_repaired_filter_reads_its_own_lines_only(lab, line, banned):
    words = ["fail2ban-regex", "-o", "ip", f"2026-11-23 20:00:00 {line}", "/etc/fail2ban/filter.d/ollama-auth.conf"]
    assert lab.run("ai-server", words).stdout.strip() == (banned or "")


def test_the_published_jail_watches_nothing(lab):
    assert "ollama-api" in run(lab, "ai-server-published", "fail2ban-client", "status")
    status = run(lab, "ai-server-published", "fail2ban-client", "status", "ollama-api")
    assert status.partition("File list:")[2].splitlines()[0].strip() == ""
    repaired = run(lab, "ai-server", "fail2ban-client", "status", "ollama-api")
    assert "File list:\t/var/log/ollama.log" in repaired


def test_the_internet_host_answers_udp(lab):
    script = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3);"
        "s.sendto(b'hello', ('198.51.100.9', 53)); print(s.recvfrom(99)[0])"
    )
    assert run(lab, "outside", "python3", "-c", script) == "b'hello'\n"


LOGIN = """
import sys
from pathlib import Path
import paramiko
from fwproof.lab import Lab

lab = Lab(sys.argv[1])
lab.join_network("admin")
for address, port, name in (("10.0.0.10", 22, "10.0.0.10"), ("fd00:0:0:1::10", 22, "fd00:0:0:1::10"),
                            ("127.0.0.1", 2211, "ai-server-published"), ("10.0.2.12", 22, "store-elastic")):
    client = paramiko.SSHClient()
    client.load_host_keys(str(lab.known_hosts))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    import socket
    with socket.create_connection((address, port), 5) as sock:
        client.connect(name, sock=sock, port=22, username="auditor", key_filename=str(lab.ssh_identity),
                       allow_agent=False, look_for_keys=False)
        _, out, _ = client.exec_command("hostname; sudo -n iptables-save -c | grep -c '^:INPUT'")
        print(out.read().decode().split())
        client.close()
"""


def test_the_auditor_logs_in_everywhere_even_at_the_published_server(lab):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOGIN, lab.name], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if "lost" not in line]
    assert [row.split("'")[1] for row in rows] == ["ai-server", "ai-server", "ai-server-published", "store-elastic"]
    assert all(row.endswith("'1']") for row in rows[:3])


def test_a_threaded_process_cannot_join(lab):
    with ThreadPoolExecutor() as pool:
        pool.submit(int).result()
        with pytest.raises(LabError, match="has a single thread can join"):
            lab.join_network("admin")


def test_exec_passes_status_and_streams_on(lab):
    done = fwproof_lab(lab, "exec", "proxy", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_as_is_this_machine_s_program_in_that_host_s_network(lab):
    script = (
        "import socket; print(socket.gethostbyname('ai-server')); open('/etc/resolv.conf').read() and exit(1); exit(5)"
    )
    done = fwproof_lab(lab, "as", "admin", "--", sys.executable, "-c", script)
    assert (done.returncode, done.stdout) == (5, "10.0.0.10\n"), done.stderr
    done = fwproof_lab(lab, "as", "workstation", "--", "ip", "-br", "addr")
    assert "10.0.5.7/24" in done.stdout
    assert "10.0.0" not in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("exec", "nobody", "--", "true"), 3, "no host named 'nobody' in the lab"),
        (("reboot", "nobody"), 3, "no host named 'nobody'"),
        (("as", "admin", "--", "fwproof-none"), 4, "is not a program of this machine"),
        (("up",), 3, "is already up"),
        (("up", "--name", "No/Good"), 4, "lab name 'No/Good'"),
        (("up", "--name", "other", "--topology", "/none.yaml"), 4, "cannot be read"),
        (("exec", "--name", "not-there", "admin", "--", "true"), 3, "is not up: start it with"),
    ],
)
def test_a_wrong_command_is_one_clear_message(lab, words, status, message):
    done = fwproof_lab(lab, *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_that_hangs_is_ended(lab):
    with pytest.raises(LabError, match=r"`sleep 98765` did not end in 0.3 s"):
        lab.run("proxy", ["sleep", "98765"], timeout=0.3)
    assert "98765" not in run(lab, "proxy", "ps", "ax")


def test_input_reaches_the_command(lab):
    assert lab.run("proxy", ["cat"], input="häß\n").stdout == "häß\n"


def test_a_reboot_keeps_the_disk_and_nothing_else(lab):
    for host in ("ai-server", "ai-server-published"):
        run(lab, host, "sh", "-c", "echo kept > /var/lib/kept; echo gone > /run/gone")
        assert run(lab, host, "iptables-save").count("\n-A ") > 0
        lab.reboot(host)
        assert run(lab, host, "cat", "/var/lib/kept") == "kept\n"
        assert lab.run(host, ["cat", "/run/gone"]).returncode != 0
    assert run(lab, "ai-server", "iptables-save").count("\n-A ") == 24
    assert run(lab, "ai-server", "ip6tables-save").count("\n-A ") > 24
    assert "-A " not in run(lab, "ai-server-published", "iptables-save")
    assert "-A " not in run(lab, "ai-server-published", "ip6tables-save")
    assert connects(lab, "workstation", PUBLISHED[4], 11434) == 1  # nothing restores the rules
    assert connects(lab, "workstation", SERVER[4], 8080) == 0


def test_the_rules_are_there_before_the_network(lab):
    """At no moment of a boot is the repaired server's network up without its rules."""
    run(lab, "ai-server", "sh", "-c", "mv /sbin/ip /sbin/ip.real")
    wrapper = (
        '#!/bin/sh\ncase "$*" in *batch*) iptables-save > /run/rules-before-network;; esac\nexec /sbin/ip.real "$@"\n'
    )
    lab.run("ai-server", ["sh", "-c", "cat > /sbin/ip; chmod 755 /sbin/ip"], input=wrapper)
    lab.reboot("ai-server")
    assert ":INPUT DROP" in run(lab, "ai-server", "cat", "/run/rules-before-network")


def test_a_host_that_is_off_says_so_and_comes_back(lab):
    lab.power_off("store-postgres")
    with pytest.raises(LabError, match="store-postgres is not running: start it with"):
        lab.run("store-postgres", ["true"])
    assert not lab.status()["hosts"]["store-postgres"]["running"]
    assert connects(lab, "proxy", "10.0.2.10", 5432) == 0
    lab.reboot("store-postgres")
    assert connects(lab, "proxy", "10.0.2.10", 5432) == 1
