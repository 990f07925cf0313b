"""How hosts are reached: what the inventory, Ansible and ssh_config say, which of them counts, and what is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fwproof.errors import InputError
from fwproof.inventory import Access, ZoneLimits
from fwproof.policy.ansible import load_ansible
from fwproof.policy.inventory_file import load_inventory

INI = """\
; a comment
gate ansible_host=10.0.0.1 ansible_port=2200
[web]
web[01:03].lan:2222 http_port=80
[db]
db-[a:b] ansible_host=10.0.2.1 # two of one address
[prod:children]
web
db
[prod:vars]
ansible_user=deploy
ansible_become=true
ansible_ssh_common_args='-o ProxyJump="jumper@gate" -o StrictHostKeyChecking=no'
[web:vars]
ansible_user=www
"""


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def read(text, **files):
        for name, content in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(content)
        (tmp_path / "inventory.yaml").write_text(text)
        return load_inventory(tmp_path / "inventory.yaml")

    return read


def refused(function, *args, **files):
    with pytest.raises(InputError) as caught:
        function(*args, **files)
    return str(caught.value)


def way(inventory, name):
    ssh = inventory.hosts[name].ssh
    return [(jump.name, jump.ssh.user, jump.ssh.address, jump.ssh.port) for jump in ssh.jumps]


def test_jump_hosts_are_those_of_the_inventory_or_as_they_are_written(read):
    inventory = read(
        "defaults: {ssh: {user: audit, jump: gate}}\nhosts:\n  gate: {addresses: 10.0.0.1, ssh: {port: 2200}}\n"
        "  a: {addresses: 10.0.0.2}\n  b: {addresses: 10.0.0.3, ssh: {jump: [a, 'me@far.example:22']}}\n"
        "  c: {addresses: 10.0.0.4, ssh: {jump: none}}\n"
    )
    gate = ("gate", "audit", "10.0.0.1", 2200)
    assert [way(inventory, name) for name in ("gate", "a", "c")] == [[], [gate], []]
    assert way(inventory, "b") == [gate, ("a", "audit", "10.0.0.2", 22), ("far.example", "me", "far.example", 22)]
    assert not any(jump.ssh.jumps for host in inventory.hosts.values() for jump in host.ssh.jumps)


def test_jump_hosts_in_circles_are_refused(read):
    text = "hosts:\n  a: {addresses: 10.0.0.2, ssh: {jump: b}}\n  b: {addresses: 10.0.0.3, ssh: {jump: a}}\n"
    assert refused(read, text).endswith(":2:3: 'a': its jump hosts go in circles: a via b via a")


def test_what_the_inventory_says_goes_before_ansible_and_that_before_ssh_config(read, tmp_path):
    files = {
        "hosts_dot_ini": "a ansible_host=10.0.0.1 ansible_user=theirs ansible_port=1\nb ansible_host=10.0.0.2\n",
        "config": "Host *\n User last\n Port 9\n ConnectTimeout 3\n",
    }
    text = "ansible: hosts.ini\nssh_config: config\nhosts: {b: {addresses: 10.0.0.2, ssh: {port: 5}}}\n"
    inventory = read(text, **files)
    assert [(h.ssh.user, h.ssh.port, h.ssh.timeout) for h in inventory.hosts.values()] == [
        ("last", 5, 3),
        ("theirs", 1, 3),
    ]
    inventory = read("defaults: {ssh: {user: mine}}\n" + text)
    assert {h.ssh.user for h in inventory.hosts.values()} == {"mine"}
    assert (Path(inventory.hosts["a"].file).name, inventory.hosts["a"].line) == ("hosts.ini", 1)
    # without the word, ssh_config is not looked at
    assert read("hosts: {b: {addresses: 10.0.0.2}}\n").hosts["b"].ssh.port == 22


def test_ansible_variables_mean_what_the_table_says(tmp_path):
    (tmp_path / "hosts.ini").write_text(INI)
    (tmp_path / "group_vars" / "db").mkdir(parents=True)
    (tmp_path / "group_vars" / "db" / "main.yml").write_text("ansible_become: no\nother: {deep: [1]}\nkey: !vault x\n")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "web02.lan.yml").write_text("---\nansible_ssh_private_key_file: keys/id\n")
    found = load_ansible(tmp_path / "hosts.ini")
    assert list(found) == ["gate", "web01.lan", "web02.lan", "web03.lan", "db-a", "db-b"]
    web, db = found["web02.lan"], found["db-a"]
    assert (web.user, web.port, web.groups, web.become) == ("www", 2222, ("web", "prod"), True)
    assert (web.identity_file, web.line) == (str(tmp_path / "keys/id"), 4)
    assert (db.user, db.become, db.address, [(h.user, h.host) for h in db.jumps]) == (
        "deploy",
        False,
        "10.0.2.1",
        [("jumper", "gate")],
    )
    assert (found["gate"].port, found["gate"].jumps, found["gate"].groups) == (2200, None, ())


def test_become_is_access_root_where_the_inventory_says_nothing(read):
    ini = {"h_dot_ini": "[g]\na ansible_host=10.0.0.1 ansible_become=yes\nb ansible_host=10.0.0.2\n"}
    assert [h.access for h in read("ansible: h.ini\n", **ini).hosts.values()] == [Access.ROOT, Access.READ]
    inventory = read("ansible: h.ini\ndefaults: {access: read}\n")
    assert {h.access for h in inventory.hosts.values()} == {Access.READ}
    assert inventory.groups == {"g": ("a", "b")}


@pytest.mark.skipif(
    not (shutil.which("ansible-inventory") or Path(sys.executable).with_name("ansible-inventory").exists()),
    reason="Ansible is not installed here",
)
def test_ansible_itself_says_the_same(tmp_path):
    (tmp_path / "hosts.ini").write_text(INI)
    program = shutil.which("ansible-inventory") or str(Path(sys.executable).with_name("ansible-inventory"))
    command = [program, "-i", str(tmp_path / "hosts.ini"), "--list"]
    said = json.loads(
        subprocess.run(command, capture_output=True, check=True, stdin=subprocess.DEVNULL, timeout=60).stdout
    )
    theirs = said["_meta"]["hostvars"]
    found = load_ansible(tmp_path / "hosts.ini")
    assert set(found) == set(theirs)
    for name, host in found.items():
        wanted = [theirs[name].get(key) for key in ("ansible_user", "ansible_port", "ansible_host", "ansible_become")]
        wanted[3] = wanted[3] if wanted[3] is None else str(wanted[3]).lower() == "true"
        assert [host.user or None, host.port or None, host.address or None, host.become] == wanted, name


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("h.ini", "[web\na\n", "h.ini:1:1: expected a host's name, or a range"),
        ("h.ini", "[a:b]\n", "h.ini:1:1: expected [group], [group:vars] or [group:children]"),
        ("h.ini", "a ansible_host\n", "h.ini:1:1: expected variable=value, not 'ansible_host'"),
        ("h.ini", "a ansible_host='x\n", "h.ini:1:1: cannot be read: no closing quotation"),
        ("h.ini", "a[3:1]\n", "a range must end after it begins"),
        ("h.ini", "a[1:999999]\n", "at most 10000 hosts"),
        ("h.ini", "a\n[g:vars]\nx=1\n", "h.ini:2:1: variables of 'g', a group that is not in this file"),
        ("h.ini", "[a:children]\nb\n[b:children]\na\n", "is among its own parents"),
        ("h.ini", "a\n", "h.ini:1:1: a has a name and no address"),
        ("h.ini", "a ansible_host={{x}}\n", "is a template; fwproof evaluates none"),
        ("h.ini", "a ansible_host=10.0.0.1 ansible_port=ssh\n", "ansible_port: expected a port, not 'ssh'"),
        ("h.ini", "a ansible_host=10.0.0.1 ansible_connection=local\n", "a is reached by 'local'"),
        (
            "h.ini",
            "a ansible_host=10.0.0.1 ansible_ssh_common_args='-o ProxyCommand=x'\n",
            "fwproof runs no ProxyCommand",
        ),
        ("h.ini", "a ansible_host=10.0.0.1 ansible_ssh_common_args='-J a:b:c'\n", "expected the jump host as"),
        ("h.ini", "$ANSIBLE_VAULT;1.1;AES256\n6162\n", "h.ini: is encrypted by ansible-vault"),
        ("h.ini", "#!/usr/bin/env python3\n", "h.ini: is a script; fwproof executes nothing"),
        ("h.yml", "plugin: aws_ec2\n", "h.yml:1:1: is the configuration of an inventory plugin"),
        ("h.yml", "all:\n  host: {}\n", "h.yml:2:1: expected hosts, children or vars in the group 'all', not 'host'"),
        ("h.yml", "all: {hosts: {a: {ansible_host: !vault x}}}\n", "ansible_host of a is encrypted by ansible-vault"),
        ("h.yml", "all: [a]\n", "h.yml:1:1: group 'all': expected a mapping of keys"),
        ("h.yml", "all: {hosts: {a: {}}\n", "is no YAML that can be read"),
    ],
)
def test_what_ansible_has_and_cannot_be_read_is_refused_with_file_and_line(read, name, text, said, tmp_path):
    (tmp_path / name).write_text(text)
    assert said in refused(read, f"ansible: {name}\n")


def test_an_encrypted_file_of_variables_is_refused(read):
    files = {"h_dot_ini": "a ansible_host=10.0.0.1\n", "group_vars__all_dot_yml": "$ANSIBLE_VAULT;1.1;AES256\n61\n"}
    assert "group_vars/all.yml: is encrypted by ansible-vault" in refused(read, "ansible: h.ini\n", **files)


def test_limits_are_of_zones_that_are_there(read):
    text = (
        "zones: {z: 10.0.0.0/24}\nhosts: {a: {addresses: 10.0.0.1}}\nlimits: {at_once: 3, zones: {z: {vantages: 2}}}\n"
    )
    inventory = read(text)
    assert (inventory.at_once, inventory.limits) == (3, {"z": ZoneLimits(None, 2)})
    assert "there is no zone 'y'" in refused(read, text.replace("{z: {v", "{y: {v"))


def test_what_a_host_says_goes_before_its_groups_and_files_before_both(tmp_path):
    (tmp_path / "h.ini").write_text("[g]\na ansible_user=own\nb\nc ansible_user=own\n[g:vars]\nansible_user=group\n")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "g.yml").write_text("ansible_port: 7\nansible_user: file\n")
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "c").write_text("ansible_user: most\n")
    found = load_ansible(tmp_path / "h.ini")
    assert {name: (host.user, host.port) for name, host in found.items()} == {
        "a": ("own", 7), "b": ("file", 7), "c": ("most", 7)
    }  # fmt: skip
