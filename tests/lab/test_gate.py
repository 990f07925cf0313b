"""The gate with a kernel: candidates are loaded into a kernel of their own, and packets decide."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from fwproof.decision import Decision
from fwproof.errors import InputError, LabError, UsageError
from fwproof.flow import TCP, Family, Hook
from fwproof.flows import request
from fwproof.frontends.front_end import front_end_of
from fwproof.gating.folders import tables_of_folder
from fwproof.gating.guard import Harm, guarded
from fwproof.gating.loading import listed, through_kernel
from fwproof.gating.mutants import Slip, mutants
from fwproof.gating.script import read_script
from fwproof.gating.states import states
from fwproof.gating.tables import text_of
from fwproof.gating.ways import ManagementPath
from fwproof.gating.written import places
from fwproof.lab.twin import Port, Shape, Twin
from fwproof.policy.model import Service
from fwproof.ruleset.iptables import parse
from fwproof.semantics.compare import same_meaning
from fwproof.semantics.diff import Kind, compare
from fwproof.semantics.model import HostModel

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]
RULES = ROOT / "fixtures" / "lab" / "ai-server" / "etc" / "iptables"
SCRIPTS = ROOT / "fixtures" / "lab" / "ai-server-published" / "usr" / "local" / "sbin"
GATE = [sys.executable, "-c", "from fwproof.cli.main import main; main()", "gate", "--policy",
        str(ROOT / "checks" / "ai-server.policy.yaml"), "--inventory", str(ROOT / "fixtures" / "inventory.yaml"),
        "--mutation-seconds", "0"]  # fmt: skip
TCP_STATE = """
import socket, sys
sock = socket.socket()
sock.settimeout(float(sys.argv[4]))
sock.bind((sys.argv[1], 0))
try:
    sock.connect((sys.argv[2], int(sys.argv[3])))
    print("open")
except ConnectionRefusedError:
    print("closed")
except OSError:
    print("silent")
"""


def shape(**others):
    own = (ip_interface("10.0.0.10/24"), ip_interface("fd00:0:0:1::10/64"))
    port = Port(name="eth0", addresses=own, routes=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    far = {name: ("eth0", tuple(map(ip_address, addresses))) for name, addresses in others.items()}
    return Shape(name="srv", ports=(port,), others=far)


@pytest.fixture(scope="module")
def twin():
    with Twin(shape(near=["10.0.0.7", "fd00:0:0:1::7"])) as twin:
        yield twin


def gate(*words):
    done = subprocess.run([*GATE, *map(str, words), "--format", "json"], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def connected(twin, source, target, port, wait="1"):
    host = next(name for name, (_, addresses) in twin.shape.others.items() if ip_address(source) in addresses)
    return twin.run(host, "python3", "-c", TCP_STATE, source, target, str(port), wait).out.strip()


def test_the_repaired_server_passes_with_real_packets():
    status, found = gate("--for", "ai-server", "--iptables-save", RULES / "rules.v4", "--ip6tables-save",
                         RULES / "rules.v6")  # fmt: skip
    assert [check for check in found["checks"] if check["verdict"] in {"fail", "error", "inconclusive"}] == []
    assert status == 0
    assert found["kernel"]["asked"]
    assert found["kernel"]["otherwise"] == []
    kinds = {check["kind"] for check in found["checks"] if check["verdict"] == "pass"}
    assert {"inbound", "outbound", "evasion", "rate", "loopback", "icmpv6-nd", "coverage"} <= kinds
    (burst,) = [c for c in found["checks"] if c["id"] == "ollama-internal:rate[ai-server-proxy-ipv4]"]
    assert burst["reason"] == "exactly 20 of 25 were let in"


def test_the_published_server_fails_and_packets_show_it():
    status, found = gate("--for", "ai-server-published", "--script", SCRIPTS / "chapter-iptables.sh", "--script",
                         SCRIPTS / "chapter-ip6tables.sh", "--family", "ipv4")  # fmt: skip
    assert status == 1
    assert found["kernel"]["otherwise"] == []
    by_id = {check["id"]: check for check in found["checks"]}
    leak = by_id["webui-proxy[ai-server-published-outside-ipv4]"]
    assert leak["verdict"] == "fail"
    assert "only its reply was lost" in leak["reason"]
    assert found["lock_out"]["found"][0]["first"]["line"] == 26


def test_every_state_of_a_script_is_what_the_kernel_has_after_that_command(twin):
    commands = [command for name in ("chapter-iptables.sh", "chapter-ip6tables.sh")
                for command in read_script((SCRIPTS / name).read_text(), name)]  # fmt: skip
    commands += read_script(MORE, "more.sh")
    try:
        start = HostModel.build(iptables_save="", ip6tables_save="")
        for state in states(start, commands, dict.fromkeys(Family, "script")):
            if state.command is None:
                continue
            done = twin.run("srv", *state.command.words, stdin=state.command.feed.encode())
            assert (done.status == 0) or state.command.may_fail, done.err
            kernel = listed(twin)
            for family, key in ((Family.IPV4, "iptables_save"), (Family.IPV6, "ip6tables_save")):
                mine = state.model.rulesets[family][0]
                assert not same_meaning(mine, parse(kernel[key], family)), state.command
    finally:
        twin.run("srv", "nft", "flush", "ruleset")


MORE = """
iptables -N OWN
iptables -I INPUT 2 -s 10.0.0.1,10.0.0.2 -p tcp -m multiport --dports 22,80 -j OWN
iptables -A OWN -m comment --comment "two words" -j RETURN
iptables -R OWN 1 -m limit --limit 3/min -j ACCEPT
iptables -D INPUT 1
iptables -D INPUT -p tcp --dport 8080 -s 10.0.0.100/32 -j ACCEPT
iptables -D INPUT -p tcp --dport 8080 -s 10.0.0.100/32 -j ACCEPT || true
iptables -t nat -A PREROUTING -p tcp --dport 81 -j REDIRECT --to-ports 80
iptables -t mangle -A FORWARD -j MARK --set-mark 5
iptables -F OUTPUT
iptables -P FORWARD DROP
ip6tables -F
ip6tables -X
allow() { proto=$1; shift; for port; do iptables -I INPUT 1 -p "$proto" --dport "$port" -j ACCEPT; done; }
allow tcp 22 80:81
for ipt in iptables ip6tables; do
    $ipt -P INPUT ACCEPT
    $ipt-restore --noflush <<END
*filter
:OWN - [0:0]
:NEW - [0:0]
:OUTPUT DROP [0:0]
-A OWN -p tcp --dport ${NOBODY:-9} -j DROP
-I INPUT 1 -m comment --comment "two words" -j NEW
COMMIT
*mangle
[1:60] -A OUTPUT -j MARK --set-mark 5
COMMIT
END
done
iptables-restore <<'END'
*filter
:INPUT DROP
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-P OUTPUT DROP
-A INPUT -m comment --comment "$1 stays" -j ACCEPT
COMMIT
*nat
-A POSTROUTING -j MASQUERADE
COMMIT
END
"""


def test_a_log_in_that_stands_goes_on_or_not_as_the_guard_says():
    """The kernel's own answer to the guard's question, at each command, over a real connection."""
    script = read_script((SCRIPTS / "chapter-ip6tables.sh").read_text(), "s.sh")
    with Twin(shape(near=["fd00:0:0:1::1"])) as twin:
        twin.run("srv", "ip6tables", "-A", "INPUT", "-m", "state", "--state", "ESTABLISHED")  # conntrack is in use
        twin.run("srv", "ip6tables", "-A", "OUTPUT", "-p", "ipv6-icmp", "-j", "ACCEPT")
        twin.run("srv", "ip6tables", "-A", "INPUT", "-p", "ipv6-icmp", "-j", "ACCEPT")
        served = subprocess.Popen(twin.argv("srv", ("python3", "-c", ECHO)), stdout=subprocess.PIPE, text=True)
        assert served.stdout.readline() == "up\n"
        asks = subprocess.Popen(twin.argv("near", ("python3", "-c", ASK)), stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)  # fmt: skip
        try:
            assert asks.stdout.readline() == "up\n"
            start = HostModel.build(
                iptables_save="", ip6tables_save=listed(twin)["ip6tables_save"],
                addresses=twin.run("srv", "ip", "-j", "addr").out,
            )  # fmt: skip
            way = ManagementPath("ssh", request(SSH, ip_address("fd00:0:0:1::1"), ip_address("fd00:0:0:1::10")))
            walked = tuple(states(start, script, dict.fromkeys(Family, "s.sh")))
            seen = []
            for state in walked:
                assert state.command is None or twin.run("srv", *state.command.words).status == 0
                asks.stdin.write("go\n")
                asks.stdin.flush()
                seen.append(asks.stdout.readline().strip())
            cut = [state.command.line for state, word in zip(walked, seen, strict=True) if word == "cut"]
            (found,) = [each for each in guarded([way], walked).found if each.harm is Harm.CUT]
            assert (cut[0], cut[-1]) == (found.first.line, 7)
            assert found.until.line == 8
        finally:
            for process in (asks, served):
                process.kill()
                process.wait()
                process.stdout.close()
            asks.stdin.close()


SSH = Service("tcp", 22, "ssh")
ECHO = """
import socket
sock = socket.socket(socket.AF_INET6)
sock.bind(("::", 22))
sock.listen()
print("up", flush=True)
peer = sock.accept()[0]
while True:
    peer.sendall(peer.recv(1000) or exit())
"""
ASK = """
import socket, sys
sock = socket.create_connection(("fd00:0:0:1::10", 22), 5)
sock.settimeout(1.5)
print("up", flush=True)
for number, line in enumerate(sys.stdin):
    mark = bytes([65 + number])
    sock.sendall(mark)
    got = b""
    try:
        while not got.endswith(mark):
            got += sock.recv(1000)
        print("goes on", flush=True)
    except TimeoutError:
        print("cut", flush=True)
"""


TABLES = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:WEB - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -s 10.0.0.8/32 -p tcp -m tcp --dport 80 -j REJECT --reject-with icmp-admin-prohibited
-A INPUT -s 10.0.0.0/24 -p tcp -m tcp --dport 80 -j WEB
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A WEB -s 10.0.0.9/32 -j DROP
-A WEB -j ACCEPT
COMMIT
"""


def test_what_a_slip_changes_is_what_it_changes_in_the_kernel():
    """For each rule deleted or exchanged: its witness is let in by the kernel before, or after, and not both."""
    base = HostModel.build(iptables_save=TABLES, ip6tables_save="")
    tried = 0
    for mutant in mutants(base, Family.IPV4):
        if mutant.slip is Slip.WIDENED:
            continue
        found = compare(base, mutant.model, Family.IPV4)
        changes = [c for c in found.changes if c.hook is Hook.INPUT and "NEW" in c.states and c.witness.proto == TCP
                   and c.witness.iif != "lo" and c.kind in {Kind.REACHABLE, Kind.UNREACHABLE}]  # fmt: skip
        for change in changes[:1]:
            flow = change.witness
            source = "10.0.0.77" if flow.src == ip_address("10.0.0.10") else str(flow.src)
            with Twin(shape(far=[source])) as twin:
                seen = []
                for text in (TABLES, text_of(mutant.model.rulesets[Family.IPV4][0])):
                    assert twin.run("srv", "iptables-restore", stdin=text.encode()).status == 0
                    seen.append(connected(twin, source, "10.0.0.10", flow.dport, "0.7"))
            model = [m.decide(flow, Hook.INPUT).decision is Decision.ACCEPT for m in (base, mutant.model)]
            assert [state == "closed" for state in seen] == model, (mutant.rule, mutant.text, flow, seen)
            tried += 1
    assert tried >= 6


def test_what_the_kernel_refuses_is_told_with_its_line(tmp_path):
    bad = tmp_path / "rules.v4"
    bad.write_text((RULES / "rules.v4").read_text().replace("--hitcount 20 --name", "--hitcount 20 --sprite --name"))
    status, found = gate("--for", "ai-server", "--iptables-save", bad, "--family", "ipv4")
    assert status == 1
    (refused,) = found["kernel"]["refused"]
    assert refused["line"] == bad.read_text().split("--sprite")[0].count("\n") + 1
    assert "--sprite" in refused["message"]
    with pytest.raises(InputError, match=r"^n\.nft:2:1: the kernel does not take it"):
        through_kernel([("n.nft", "table inet t {\n  chain c { tcp dprt 22 accept }\n}\n")])


NFT = """define ADMIN = 10.0.0.1
table inet filter {
  chain input {
    type filter hook input priority 0; policy drop;
    iif lo accept
    ct state established,related accept
    ip saddr $ADMIN tcp dport 22 accept
  }
}
"""


def test_an_nft_script_is_read_through_the_kernel(tmp_path):
    script = tmp_path / "rules.nft"
    script.write_text(NFT)
    _, found = gate("--for", "ai-server", "--nft", script, "--family", "ipv4")
    assert found["kernel"]["asked"]
    assert found["kernel"]["refused"] == found["kernel"]["otherwise"] == []
    by_id = {check["id"]: check["verdict"] for check in found["checks"]}
    assert by_id["ssh-admin[ai-server-admin-ipv4]"] == "pass"
    assert by_id["webui-proxy[ai-server-proxy-ipv4]"] == "fail"


def test_a_script_that_is_run_sees_nothing_that_it_could_change_and_no_way_out(tmp_path):
    mark = tmp_path / "mark"
    mark.write_text("as it was")
    mark.chmod(0o666)
    tmp_path.chmod(0o777)
    script = f"""
echo changed > {ROOT}/changed && exit 3
echo changed > /etc/changed && exit 4
mount -o remount,bind,rw / && exit 5
umount -l / && exit 6
test -e {mark} && exit 7
ip route get 198.51.100.1 && exit 8
iptables -A INPUT -p tcp --dport 22 -j ACCEPT
"""
    (found,) = through_kernel([("s.sh", script)], by_sh=True)
    assert "--dport 22" in found["iptables_save"]
    assert not (ROOT / "changed").exists()
    assert mark.read_text() == "as it was"


def test_nothing_stays_when_whoever_asked_is_killed():
    code = (
        "import os, time\nfrom fwproof.lab.twin import Twin, Shape\nt = Twin(Shape(name='a', ports=(), others={}))\n"
        "print(t._pid, flush=True)\ntime.sleep(60)\n"
    )
    asks = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(asks.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    asks.send_signal(signal.SIGKILL)
    asks.wait()
    asks.stdout.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_a_machine_without_the_program_says_so(twin, monkeypatch):
    monkeypatch.setattr("fwproof.gating.loading._NFT", ("fwproof-no-such-program",))
    with pytest.raises(LabError, match="no fwproof-no-such-program"):
        through_kernel([("n.nft", "")])


@pytest.mark.skipif(os.geteuid() != 0, reason="this user is an ordinary one already, and all of the above is its test")
def test_an_ordinary_user_without_subordinate_ids_has_a_twin(tmp_path):
    """The caller's own files are read-only too, and stay so whatever is tried inside."""
    python = shutil.which("python3", path="/usr/bin")
    if python is None:
        pytest.skip("no Python that every user may run")
    place = Path("/srv") / f"fwproof-twin{os.getpid()}"  # a folder that the twin does not hide
    shutil.copytree(ROOT / "src", place / "src")
    code = (
        "from ipaddress import ip_interface\nfrom fwproof.lab.twin import Port, Shape, Twin\n"
        "port = Port(name='eth0', addresses=(ip_interface('192.0.2.1/24'),))\n"
        "with Twin(Shape(name='a', ports=(port,), others={})) as t:\n"
        f"    print(t.run('a', 'sh', '-c', 'mount -o remount,bind,rw /; touch {place}/mine; iptables -P INPUT DROP; '"
        "          'iptables -S INPUT'))\n"
    )
    nobody = 54_321
    try:
        os.chown(place, nobody, nobody)
        place.chmod(0o755)
        done = subprocess.run(
            [python, "-c", code], user=nobody, group=nobody, extra_groups=[], cwd="/", capture_output=True, text=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(place / "src"), "HOME": str(place)},
            check=False,
        )  # fmt: skip
        assert "-P INPUT DROP" in done.stdout, done.stderr
        assert "Read-only file system" in done.stdout
        assert not (place / "mine").exists()
    finally:
        shutil.rmtree(place)


def test_ufw_itself_loads_its_folder(tmp_path):
    """Its default policies, its own chains, and what the candidate adds to them."""
    folder = tmp_path / "etc" / "ufw"
    folder.mkdir(parents=True)
    (folder / "ufw.conf").write_text("ENABLED=yes\nLOGLEVEL=off\n")
    rule = "-A ufw-user-input -p tcp --dport 22 -s 10.0.0.1 -j ACCEPT\n"
    rule = f"### tuple ### allow tcp 22 0.0.0.0/0 any 10.0.0.1 in\n{rule}"
    (folder / "user.rules").write_text(
        "*filter\n:ufw-user-input - [0:0]\n:ufw-user-output - [0:0]\n:ufw-user-forward - [0:0]\n### RULES ###\n\n"
        f"{rule}\n### END RULES ###\nCOMMIT\n"
    )
    said = []
    loaded = tables_of_folder("ufw", folder, said.append)
    texts = loaded.texts
    assert said
    own = {"family": "inet", "local": "10.0.0.10", "prefixlen": 24}
    model = HostModel.build(**texts, addresses=json.dumps([{"ifname": "eth0", "addr_info": [own]}]))
    flow = request(SSH, ip_address("10.0.0.1"), ip_address("10.0.0.10"))
    assert model.decide(flow, Hook.INPUT).accepted
    assert model.decide(replace(flow, src=ip_address("10.0.0.2")), Hook.INPUT).refused
    assert ":INPUT DROP" in texts["ip6tables_save"]
    front = front_end_of(loaded.told, model.rulesets)
    written = places(folder, model, front)
    (ref,) = [ref for ref in written if "--dport 22" in ref.text]
    assert written[ref] == f"{folder / 'user.rules'}:8"
    assert front.name(ref) == "ufw rule 1: allow from 10.0.0.1 to any port 22 proto tcp"
    (folder / "ufw.conf").write_text("ENABLED=no\n")
    with pytest.raises(UsageError, match="ENABLED=no"):
        tables_of_folder("ufw", folder, said.append)


INVENTORY = """
zones: {office: [10.1.0.0/16], admins: [10.9.0.0/28]}
hosts: {web: {addresses: [10.0.0.10]}}
"""
POLICY = """
policy: web
hosts: [web]
services: {ssh: tcp/22, app: tcp/80}
inbound:
  default: deny
  allow:
    - {id: app, service: app, from: office, rate: {limit: 10, per: 60s, by: source}}
    - {id: ssh-admin, service: ssh, from: admins}
outbound:
  default: deny
  allow: [{id: database, service: tcp/5432, to: 10.3.0.5}]
"""
WEB = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -s 10.1.0.0/16 -p tcp -m tcp --dport 80 -m recent --rcheck --seconds 60 --hitcount 10 --name APP -j DROP
-A INPUT -s 10.1.0.0/16 -p tcp -m tcp --dport 80 -m recent --set --name APP -j ACCEPT
-A INPUT -s 10.9.0.0/28 -p tcp -m tcp --dport 22 -j ACCEPT
-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A OUTPUT -d 10.3.0.5/32 -p tcp -m tcp --dport 5432 -j ACCEPT
COMMIT
"""


def test_an_inventory_of_zones_and_one_host_will_do(tmp_path):
    for name, text in (("inventory.yaml", INVENTORY), ("web.policy.yaml", POLICY), ("rules.v4", WEB)):
        (tmp_path / name).write_text(text)
    words = [*GATE[:4], "--policy", tmp_path / "web.policy.yaml", "--inventory", tmp_path / "inventory.yaml",
             "--iptables-save", tmp_path / "rules.v4", "--mutation-seconds", "0", "--format", "json"]  # fmt: skip
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    told = {check["id"]: (check["verdict"], check["reason"]) for check in found["checks"]}
    assert done.returncode == 0, [each for each in told.items() if each[1][0] != "pass"]
    assert told["app[web-in-office-ipv4]"][1].endswith("while their limit is not used up, and on the wire")
    assert told["app[web-in-admins-ipv4]"] == ("pass", "refused by the tables, and on the wire")
    assert told["database[web-in-database-ipv4]"] == ("pass", "let through by the tables, and on the wire")
    assert told["app:rate[web-in-office-ipv4]"] == ("pass", "exactly 10 of 15 were let in")


ZONE = """<?xml version="1.0" encoding="utf-8"?>
<zone>
  <service name="ssh"/>
  <port port="8080" protocol="tcp"/>
  <rule family="ipv4">
    <source address="10.0.0.0/8"/>
    <port port="11434" protocol="tcp"/>
    <accept/>
  </rule>
</zone>
"""


def test_findings_in_a_folder_of_firewalld_are_in_its_words_and_at_its_lines(tmp_path):
    folder = tmp_path / "firewalld"
    (folder / "zones").mkdir(parents=True)
    (folder / "firewalld.conf").write_text("DefaultZone=public\n")
    (folder / "zones" / "public.xml").write_text(ZONE)
    words = [*GATE, "--for", "ai-server", "--firewalld", folder, "--no-twin", "--family", "ipv4"]
    done = subprocess.run([*map(str, words), "--format", "json"], capture_output=True, text=True, check=False)
    found = {check["id"]: check for check in json.loads(done.stdout)["checks"]}
    open_ = found["webui-proxy[ai-server-admin-ipv4]"]
    assert "firewalld zone public, port 8080/tcp" in open_["reason"]
    assert open_["written"] == [f"{folder}/zones/public.xml:4"]
    assert "firewall-cmd --zone=public --remove-port=8080/tcp" in open_["fix"]
    rich = found["ollama-internal[ai-server-ipv4]"]
    assert rich["written"] == [f"{folder}/zones/public.xml:5"]


ROUTER_LINKS = {"lo": "127.0.0.1/8 ::1/128", "eth0": "203.0.113.11/24 2001:db8:bad::11/64",
                "eth1": "10.8.1.1/24 fd00:8:1::1/64", "eth2": "10.99.0.11/24"}  # fmt: skip


def test_what_a_router_passes_on_is_sent_through_the_twin_and_watched_on_both_sides(tmp_path):
    """Its networks are the twin's links: who is on one reaches the others through it alone."""
    folder = ROOT / "fixtures" / "lab" / "routers" / "gate" / "etc" / "iptables"
    ends = {name: [ip_interface(each) for each in text.split()] for name, text in ROUTER_LINKS.items()}
    known = [
        {"ifname": name, "addr_info": [{"family": "inet" if each.version == 4 else "inet6", "local": str(each.ip),
                                        "prefixlen": each.network.prefixlen} for each in own]}
        for name, own in ends.items()
    ]  # fmt: skip
    (tmp_path / "addr").write_text(json.dumps(known))
    routes = [{"dst": str(each.network), "dev": name} for name, own in ends.items() if name != "lo" for each in own]
    (tmp_path / "routes").write_text(json.dumps(routes))
    words = [*GATE[:4], "--policy", ROOT / "fixtures" / "routers" / "routers.policy.yaml", "--inventory",
             ROOT / "fixtures" / "routers" / "inventory.yaml", "--for", "gate", "--family", "ipv4", "--addresses",
             tmp_path / "addr", "--routes", tmp_path / "routes", "--mutation-seconds", "0", "--format",
             "json"]  # fmt: skip
    text = (folder / "rules.v4").read_text()
    (tmp_path / "open.v4").write_text(text.replace(":FORWARD DROP", ":FORWARD ACCEPT"))

    def run(rules):
        done = subprocess.run([*map(str, words), "--iptables-save", str(rules)], capture_output=True, text=True,
                              check=False)  # fmt: skip
        found = json.loads(done.stdout)
        return done.returncode, {check["id"]: check for check in found["checks"]}, found

    status, told, found = run(folder / "rules.v4")
    assert status == 0, [each for each in told.values() if each["verdict"] not in {"pass", "not-applicable"}]
    assert "gate passed it on as tcp 203.0.113.11:" in told["web-out[gate-web-ipv4-outside]"]["observed"]
    assert ":80; a service answered" in told["page-in[gate-outside-ipv4]"]["observed"]
    assert "came to gate and was dropped there" in told["forward-default[gate-outside-ipv4-web-tcp-22]"]["observed"]
    assert any("passes packets on" in each for each in found["assumed"])
    status, told, _ = run(tmp_path / "open.v4")
    assert status == 1
    assert "gate passed it on" in told["forward-default[gate-outside-ipv4-web-tcp-22]"]["observed"]


def test_files_of_nft_are_loaded_in_turn():
    texts = through_kernel([("a.nft", "flush ruleset\ntable inet a {}\n"), ("b.nft", "table inet b {}\n")])
    assert ['"a"' in each["nft_json"] for each in texts] == [True, True]
    assert ['"b"' in each["nft_json"] for each in texts] == [False, True]
