"""What a host finds on its disk."""

import hashlib

import pytest

from fwproof.inventory import Access
from fwproof.lab import default_topology, load_topology
from fwproof.lab.disk import Accounts, LabKeys, compose_disk
from fwproof.lab.keys import KeyPair, hosts_file, known_hosts_line, names_of, ssh_config

TOPOLOGY = load_topology(default_topology())
KEYS = LabKeys(
    auditor=KeyPair("private", "ssh-ed25519 AUDITOR auditor\n"),
    hosts={name: KeyPair(f"private-{name}", f"ssh-ed25519 KEY-{name} {name}\n") for name in TOPOLOGY.hosts},
    callers={"ai-server-published": KeyPair("private-caller", "ssh-ed25519 CALLER x\n")},
)
ACCOUNTS = Accounts("root:x:0:0:::\n", "root:x:0:\nadm:x:4:\n", "root:*:1::::::\n")


def disk(name):
    files = compose_disk(TOPOLOGY, TOPOLOGY.hosts[name], KEYS, ACCOUNTS, hosts_file(TOPOLOGY))
    return {file.path: file for file in files}


@pytest.mark.parametrize("name", list(TOPOLOGY.hosts))
def test_the_auditor_is_an_ordinary_user_of_every_host(name):
    files = disk(name)
    assert b"\nauditor:x:1500:1500:" in files["/etc/passwd"].data
    assert b"\nauditor:*:" in files["/etc/shadow"].data
    assert b"adm:x:4:auditor\n" in files["/etc/group"].data
    keys = files["/home/auditor/.ssh/authorized_keys"]
    assert (keys.data, keys.mode, keys.owner) == (b"ssh-ed25519 AUDITOR auditor\n", 0o600, 1500)
    assert files["/etc/ssh/ssh_host_ed25519_key"].mode == 0o600


@pytest.mark.parametrize("name", list(TOPOLOGY.hosts))
def test_the_agent_is_where_the_tier_says(name):
    files = disk(name)
    assert ("/usr/local/sbin/fwproof-agent" in files) == (TOPOLOGY.hosts[name].access is Access.OBSERVE)
    sudoers = files["/etc/sudoers.d/fwproof"]
    assert sudoers.mode == 0o440
    assert (b"NOPASSWD: ALL" in sudoers.data) == (TOPOLOGY.hosts[name].access is Access.ROOT)


def test_only_the_repaired_server_restores_rules():
    link = "/etc/systemd/system/multi-user.target.wants/netfilter-persistent.service"
    assert disk("ai-server")[link].link == "/lib/systemd/system/netfilter-persistent.service"
    assert disk("ai-server")["/etc/iptables/rules.v4"].mode == 0o640
    published = disk("ai-server-published")
    assert link not in published
    assert not [path for path in published if path.startswith("/etc/iptables/")]


def test_the_caller_may_do_nothing_but_listen_on_its_port():
    line = disk("admin")["/home/callhome/.ssh/authorized_keys"].data.decode()
    assert line == 'restrict,port-forwarding,permitlisten="127.0.0.1:2211" ssh-ed25519 CALLER x\n'
    assert b"/usr/bin/false" in disk("admin")["/etc/passwd"].data
    assert b"callhome" not in disk("proxy")["/etc/passwd"].data
    script = disk("ai-server-published")["/usr/local/sbin/lab-call-home"].data.decode()
    assert "callhome@10.0.0.1" in script
    assert "'127.0.0.1:2211:[::1]:22'" in script


def test_known_hosts_has_names_and_addresses():
    line = known_hosts_line(names_of(TOPOLOGY.hosts["ai-server"]), KEYS.hosts["ai-server"])
    assert line == "ai-server,10.0.0.10,fd00:0:0:1::10 ssh-ed25519 KEY-ai-server\n"


def test_ssh_config_takes_the_tunnel(tmp_path):
    text = ssh_config(TOPOLOGY, tmp_path)
    assert "Host ai-server-published\n  HostName 127.0.0.1\n  Port 2211\n  HostKeyAlias ai-server-published\n" in text
    assert "StrictHostKeyChecking yes" in text


@pytest.mark.parametrize(
    ("path", "sha256"),
    [
        ("/etc/fail2ban/jail.d/ai-services.conf", "e71e7fa32568c57c0206dd238ccc9a0d4037ecfc6c793f52e3b8ea1d8af85537"),
        ("/etc/fail2ban/filter.d/ollama-auth.conf", "f9ea6e9db5edf2440c1cc3a0c5fa7504f4e1b4f080cb50eff1c6672e7644ebbb"),
        ("/usr/local/sbin/chapter-iptables.sh", "fa9950e2855e992c2ec61c48ce4c5f23e5e447c62b1d0dc6436b3a44ad786de8"),
        ("/usr/local/sbin/chapter-ip6tables.sh", "90b1965557637e6f484a32df52ad3d9a78c79f5198153e23e5db33774a5e093e"),
    ],
)
def test_the_chapter_stands_as_printed(path, sha256):
    assert hashlib.sha256(disk("ai-server-published")[path].data).hexdigest() == sha256
