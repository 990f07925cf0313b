"""Looking at real hosts: OpenSSH, sudo and everything that can go wrong with them, on a lab of our own."""

import hashlib
import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from paramiko import ECDSAKey

from fwproof.hosts.access import sudoers
from fwproof.inventory import Access
from fwproof.lab import Lab

pytestmark = pytest.mark.lab

ADDRESS = {
    "ai-server": "10.0.0.10", "proxy": "10.0.0.100", "admin": "10.0.0.1", "workstation": "10.0.5.7",
    "router": "10.0.0.254", "store-postgres": "10.0.2.10", "store-redis": "10.0.2.11", "store-elastic": "10.0.2.12",
    "outside": "203.0.113.66", "internet": "198.51.100.9",
}  # fmt: skip
TUNNEL = {"address": "127.0.0.1", "port": 2211, "host_key_alias": "ai-server-published"}
AGENT = {
    "path": "/usr/local/sbin/fwproof-agent",
    "sha256": hashlib.sha256(files("fwproof.probing").joinpath("agent.py").read_bytes()).hexdigest(),
}


@pytest.fixture(scope="module")
def lab():
    with Lab(f"hosts-{os.getpid()}") as up:
        yield up


@pytest.fixture(scope="module")
def spec_of(lab):
    def spec(name, access="observe", **ssh):
        ends = {"identity_file": str(lab.ssh_identity), "known_hosts": str(lab.known_hosts)}
        where = TUNNEL if name == "ai-server-published" else {"address": ADDRESS[name]}
        return {"name": name, "ssh": {**ends, **where, **ssh}, "access": access, "agent": AGENT}

    return spec


@pytest.fixture(scope="module")
def driver(lab):
    inside = [
        sys.executable,
        "-W",
        "error",
        "-W",
        "ignore:.*:DeprecationWarning",
        str(Path(__file__).with_name("looking.py")),
    ]
    command = [sys.executable, "-m", "fwproof.cli.lab", "as", "--name", lab.name, "admin", "--", *inside]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.fixture(scope="module")
def look(driver, spec_of):
    def look(do, *hosts, ssh=None, access="observe", **more):
        specs = [spec_of(name, access, **(ssh or {})) for name in hosts]
        driver.stdin.write(json.dumps({"do": do, "hosts": specs, **more}) + "\n")
        driver.stdin.flush()
        return json.loads(driver.stdout.readline())

    return look


def on(lab, host, script):
    done = lab.run(host, ["/bin/sh", "-c", script])
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- looking


def test_every_host_is_collected_at_once(look, lab):
    names = [*ADDRESS, "ai-server-published"]
    servers = {name: ["ollama-api"] for name in names if name.startswith("ai-server")}
    answer = look("everyone", *names, jails=servers)
    assert answer.pop("seconds") < 20
    assert list(answer) == names
    for name in names:
        faults = {what: fault for what, fault in answer[name]["faults"].items() if "fail2ban" not in what}
        assert not [what for what, fault in faults.items() if fault["error"] != "NotThere"], (name, faults)
    repaired, published = answer["ai-server"]["captures"], answer["ai-server-published"]["captures"]
    assert "--hitcount 20" in repaired["iptables-save"]["stdout"]
    assert "ollama-api" in repaired["fail2ban-status"]["stdout"]
    assert "File list" in repaired["fail2ban-status-ollama-api"]["stdout"]
    assert repaired["boot-links"]["stdout"].endswith("/netfilter-persistent.service\n")
    assert "--hitcount 20" in published["iptables-save"]["stdout"]
    assert not published["boot-links"]["stdout"]
    assert answer["ai-server-published"]["faults"]["rules.v4"]["error"] == "NotThere"
    live = lab.run("ai-server", ["/usr/sbin/nft", "-j", "list", "chains"]).stdout
    assert len(json.loads(repaired["nft"]["stdout"])["nftables"]) >= len(json.loads(live)["nftables"])


def test_one_dead_host_leaves_the_others(look, lab):
    lab.power_off("outside")
    try:
        answer = look("everyone", "proxy", "outside", "admin", ssh={"timeout": 2.0})
    finally:
        lab.reboot("outside")
    assert answer["outside"]["error"] == "HostUnreachable"
    assert answer["seconds"] < 12
    for name in ("proxy", "admin"):
        assert answer[name]["captures"]["uname"]["stdout"].startswith(f"Linux {name} ")


def test_many_threads_share_one_connection(look):
    answer = look("crowd", "proxy", count=40)
    assert (answer["right"], answer["wrong"]) == (40, [])


def test_streams_and_input(look):
    answer = look("stream", "proxy", argv=["/bin/cat"], send=["one\n", "two\n"])
    assert answer["lines"] == ["one\n", "two\n"]
    assert look("run", "proxy", argv=["/usr/bin/wc", "-c"], stdin=300000)["stdout"] == "300000\n"


@pytest.mark.parametrize("words", [["$(id)", "`id`", "a b", "it's", '"', "\\", "*", "; id", "\n", "-n", ""]])
def test_words_arrive_as_they_are(look, words):
    answer = look("run", "proxy", argv=["/usr/bin/printf", "%s|", *words])
    assert answer["stdout"] == "".join(f"{word}|" for word in words)


def test_both_streams_and_any_bytes(look):
    script = "i=0; while [ $i -lt 4000 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done; printf '\\377'; exit 9"
    answer = look("run", "proxy", argv=["/bin/sh", "-c", script])
    assert answer["status"] == 9
    assert answer["stderr"].count("\n") == 4000
    assert look("run", "proxy", argv=["/usr/bin/printf", "\\377"])["stdout"] == "\udcff"


def test_testinfra_over_the_same_connection(look):
    answer = look("testinfra", "proxy")
    del answer["seconds"]
    assert answer == {
        "release": True, "ssh": True, "user": "auditor", "printed": [3, "it's $HOME", "oops\n"], "table": 0,
        "bytes": "ff",
    }  # fmt: skip


# ---- who the host is


@pytest.fixture
def known(tmp_path):
    def write(text):
        path = tmp_path / "known_hosts"
        path.write_text(text)
        return {"known_hosts": str(path)}

    return write


def key_of(lab, host):
    return on(lab, host, "cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2]


def fingerprint(lab, host):
    return on(lab, host, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]


def test_an_unknown_host_key_is_refused(look, lab, known):
    answer = look("run", "proxy", argv=["/usr/bin/id"], ssh=known(""))
    assert answer["error"] == "HostKeyRefused"
    assert "unknown host key" in answer["text"]
    assert fingerprint(lab, "proxy") in answer["text"]
    assert "add a line for 10.0.0.100" in answer["advice"]


def test_a_changed_host_key_is_refused_with_both_fingerprints(look, lab, known):
    answer = look("run", "proxy", argv=["/usr/bin/id"], ssh=known(f"10.0.0.100 {' '.join(key_of(lab, 'admin'))}\n"))
    assert answer["error"] == "HostKeyRefused"
    assert "changed host key" in answer["text"]
    assert fingerprint(lab, "proxy") in answer["text"]
    assert fingerprint(lab, "admin") in answer["text"]


def test_a_key_of_another_kind_is_a_changed_key(look, known):
    other = ECDSAKey.generate()
    answer = look(
        "run", "proxy", argv=["/usr/bin/id"], ssh=known(f"10.0.0.100 {other.get_name()} {other.get_base64()}\n")
    )
    assert "changed host key" in answer["text"]
    assert other.fingerprint in answer["text"]


def test_a_revoked_host_key_is_refused_although_it_is_known(look, lab, known):
    key = " ".join(key_of(lab, "proxy"))
    answer = look("run", "proxy", argv=["/usr/bin/id"], ssh=known(f"10.0.0.100 {key}\n@revoked * {key}\n"))
    assert answer["error"] == "HostKeyRefused"
    assert "revoked" in answer["text"]


def test_no_known_hosts_file_is_a_refusal(look, tmp_path):
    answer = look("run", "proxy", argv=["/usr/bin/id"], ssh={"known_hosts": str(tmp_path / "none")})
    assert answer["error"] == "HostKeyRefused"
    assert "cannot be read" in answer["text"]


def test_the_alias_is_what_is_looked_up(look, lab, known):
    key = " ".join(key_of(lab, "proxy"))
    ssh = known(f"the-proxy {key}\n")
    assert look("run", "proxy", argv=["/usr/bin/id"], ssh=ssh)["error"] == "HostKeyRefused"
    assert look("run", "proxy", argv=["/usr/bin/id"], ssh={**ssh, "host_key_alias": "the-proxy"})["status"] == 0


@pytest.fixture(scope="module")
def many_keys(lab):
    """Start a second server on the proxy, with keys of three kinds and OpenSSH's own limit of ten sessions."""
    own = "/etc/ssh/ssh_host_ed25519_key"
    script = f"""cd /root; for kind in ecdsa rsa; do ssh-keygen -q -t $kind -N '' -f $kind; done
        /usr/sbin/sshd -p 2200 -h {own} -h /root/ecdsa -h /root/rsa -o MaxSessions=10 -E /root/sshd.log
        cat ecdsa.pub rsa.pub {own}.pub"""
    return {line.split()[0]: line.split()[1] for line in on(lab, "proxy", script).splitlines()}


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_a_host_with_several_keys_is_known_by_any_of_them(look, known, many_keys, kind):
    ssh = {**known(f"[10.0.0.100]:2200 {kind} {many_keys[kind]}\n"), "port": 2200}
    assert look("run", "proxy", argv=["/usr/bin/id"], ssh=ssh)["status"] == 0


def test_no_more_sessions_at_once_than_sshd_allows(look, known, many_keys, lab):
    ssh = {**known(f"[10.0.0.100]:2200 ssh-ed25519 {many_keys['ssh-ed25519']}\n"), "port": 2200}
    answer = look("crowd", "proxy", ssh=ssh, count=60)
    assert (answer["right"], answer["wrong"]) == (60, []), on(lab, "proxy", "tail -n 20 /root/sshd.log")


# ---- who the auditor is


@pytest.fixture
def identity(tmp_path):
    def write(password=None):
        path = tmp_path / "key"
        ECDSAKey.generate().write_private_key_file(str(path), password=password)
        return path

    return write


def test_a_refused_key(look, identity):
    answer = look("run", "proxy", argv=["/usr/bin/id"], ssh={"identity_file": str(identity())})
    assert answer["error"] == "LoginRefused"
    assert "authorized_keys" in answer["advice"]


def test_an_unknown_account(look):
    assert look("run", "proxy", argv=["/usr/bin/id"], ssh={"user": "nobody-here"})["error"] == "LoginRefused"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda identity, _: identity("secret"), "locked with a passphrase"),
        (lambda _, folder: folder / "none", "No such file"),
        (lambda _, folder: folder / "rubbish", "no private key"),
    ],
    ids=["locked", "missing", "rubbish"],
)
def test_an_identity_file_that_cannot_be_used(look, identity, tmp_path, make, text):
    (tmp_path / "rubbish").write_text("rubbish")
    answer = look("run", "proxy", argv=["/usr/bin/id"], ssh={"identity_file": str(make(identity, tmp_path))})
    assert answer["error"] == "LoginRefused"
    assert text in answer["text"]


# ---- hosts that do not answer


@pytest.mark.parametrize(
    ("host", "ssh", "text"),
    [
        ("proxy", {"port": 2}, "Connection refused"),
        ("ai-server", {"address": "10.0.0.77"}, "no connection to 10.0.0.77"),
        ("ai-server", {"port": 2}, "within 2 s"),
        ("internet", {"port": 80}, "SSH handshake"),
        ("internet", {"port": 443}, "SSH handshake"),
        ("proxy", {"address": "no.such.host.invalid"}, "no known name"),
    ],
    ids=["closed", "nobody", "dropped", "web", "banner", "no-name"],
)
def test_no_connection(look, host, ssh, text):
    answer = look("run", host, argv=["/usr/bin/id"], ssh={**ssh, "timeout": 2.0})
    assert answer["error"] == "HostUnreachable"
    assert text in answer["text"]
    assert answer["seconds"] < 6


def test_a_server_that_never_speaks(look, lab):
    listen = "import socket,time; s=socket.create_server(('',2022)); time.sleep(60)"
    on(lab, "router", f'setsid python3 -c "{listen}" >/dev/null 2>&1 & sleep 0.5')
    answer = look("run", "router", argv=["/usr/bin/id"], ssh={"port": 2022, "timeout": 1.0})
    assert answer["error"] == "HostUnreachable"
    assert answer["seconds"] < 5


def test_a_dead_host_costs_its_time_limit_once(look):
    answer = look("again", "ai-server", ssh={"port": 2, "timeout": 1.0})
    (first, *rest) = answer["times"]
    assert first[0] == "HostUnreachable"
    assert first[1] >= 1.0
    assert all(kind == "HostUnreachable" and seconds < 0.1 for kind, seconds in rest)


# ---- commands that go wrong


def test_a_hanging_command(look):
    answer = look("run", "proxy", argv=["/usr/bin/sleep", "60"], timeout=1.0)
    assert answer["error"] == "CommandTimeout"
    assert answer["seconds"] < 4


def test_a_hanging_command_among_many(look):
    argvs = [["/bin/echo", "a"], ["/usr/bin/sleep", "60"], ["/bin/echo", "b"]]
    answer = look("many", "proxy", argvs=argvs, timeout=3.0)
    assert answer["0"]["stdout"] == "a\n"
    assert [answer[n]["error"] for n in ("1", "2")] == ["CommandTimeout"] * 2
    assert answer["seconds"] < 6


def test_endless_output_is_cut_off(look):
    answer = look("run", "proxy", argv=["/usr/bin/yes", "rubbish" * 100], timeout=60.0)
    assert answer["error"] == "Garbled"
    assert "64 MiB" in answer["text"]


def test_a_program_that_is_not_installed(look):
    answer = look("run", "proxy", argv=["/no/such/program", "-x"])
    assert answer["error"] == "NotThere"
    assert "/no/such/program: not installed" in answer["text"]


def test_a_connection_that_is_lost(look):
    answer = look("run", "proxy", argv=["/bin/sh", "-c", "kill -9 $(ps -o ppid= $PPID); sleep 30"], timeout=20.0)
    assert answer["error"] == "HostUnreachable"
    assert answer["seconds"] < 15


def test_rubbish_in_place_of_a_rule_table(look, lab):
    program = "/usr/sbin/iptables-save"
    on(lab, "store-redis", f"rm {program}; printf '#!/bin/sh\\necho rubbish\\n' > {program}; chmod 755 {program}")
    answer = look("snapshot", "store-redis")
    assert answer["faults"]["iptables-save"]["error"] == "Garbled"
    assert answer["captures"]["iptables-save"]["stdout"] == "rubbish\n"
    assert "ip6tables-save" not in answer["faults"]


@pytest.mark.parametrize("forced", ["/usr/bin/yes rubbish", "/bin/echo no", "/bin/false", "exec /usr/bin/sleep 99"])
def test_a_forced_command_is_an_error_and_never_an_empty_answer(look, lab, forced):
    home = on(lab, "internet", "getent passwd auditor").split(":")[5]
    keys = f"{home}/.ssh/authorized_keys"
    on(lab, "internet", f"cp -p {keys} /root/keys; sed -i 's|^|command=\"{forced}\" |' {keys}")
    try:
        answer = look("many", "internet", argvs=[["/bin/echo", "a"]], timeout=3.0)
    finally:
        on(lab, "internet", f"cp -p /root/keys {keys}")
    assert answer["0"]["error"] in {"Garbled", "CommandTimeout"}
    assert answer["seconds"] < 8


# ---- what sudo allows


@pytest.mark.parametrize("tier", list(Access))
def test_visudo_accepts_the_rules_of_every_tier(lab, tier):
    done = lab.run("proxy", ["/usr/sbin/visudo", "-cf", "-"], input=sudoers("auditor", tier, ["ollama-api", "sshd"]))
    assert (done.returncode, "parsed OK" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["/usr/sbin/iptables-save"],
        ["/usr/sbin/iptables-save", "-f", "/etc/pwned"],
        ["/usr/sbin/iptables-save", "-c", "-f", "/etc/pwned"],
        ["/usr/sbin/nft", "list", "ruleset"],
        ["/usr/sbin/nft", "flush", "ruleset"],
        ["/usr/bin/cat", "/etc/shadow"],
        ["/usr/bin/cat", "/etc/iptables/rules.v4", "/etc/shadow"],
        ["/usr/bin/tail", "-n", "2000", "/etc/shadow"],
        ["/usr/bin/fail2ban-client", "stop"],
        ["/usr/local/sbin/fwproof-agent", "x"],
        ["/usr/bin/id"],
    ],
    ids=" ".join,
)
def test_sudo_allows_no_more_than_the_list(look, lab, words):
    answer = look("run", "ai-server", argv=["/usr/bin/sudo", "-n", *words])
    assert answer["error"] == "CommandRefused"
    assert "fwproof agent sudoers" in answer["advice"]
    assert lab.run("ai-server", ["/usr/bin/test", "-e", "/etc/pwned"]).returncode != 0


def test_without_sudo_every_root_capture_is_refused_and_the_rest_is_read(look, lab):
    on(lab, "store-postgres", "rm /etc/sudoers.d/*; rm -rf /var/lib/sudo")
    answer = look("snapshot", "store-postgres")
    refused = {name for name, fault in answer["faults"].items() if fault["error"] == "CommandRefused"}
    assert refused >= {"iptables-save", "nft", "ipset-save", "rules.v4", "fail2ban-status"}
    assert not refused & {"uname", "ip-addr", "sockets"}
    assert answer["captures"]["uname"]["status"] == 0


# ---- the agent


def test_the_pinned_agent_starts(look):
    assert look("agent", "proxy")["started"]


def test_a_tampered_agent_is_refused_with_both_hashes(look, lab):
    on(lab, "admin", "echo '# tampered' >> /usr/local/sbin/fwproof-agent")
    answer = look("agent", "admin")
    found = on(lab, "admin", "sha256sum /usr/local/sbin/fwproof-agent").split()[0]
    assert answer["error"] == "AgentRefused"
    assert found in answer["text"]
    assert AGENT["sha256"] in answer["text"]


def test_an_agent_that_others_can_change_is_refused(look, lab):
    on(
        lab,
        "workstation",
        "mkdir -p /usr/local/sbin; cp /dev/null /usr/local/sbin/fwproof-agent; chmod 777 /usr/local/sbin",
    )
    answer = look("agent", "workstation")
    assert answer["error"] == "AgentRefused"
    assert "changed by others" in answer["text"]
