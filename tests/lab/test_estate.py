"""The estate: jump hosts, ssh_config, Ansible inventories, host certificates, engines; on a lab of its own."""

import os

import pytest

from fwproof.hosts import replay
from fwproof.lab import Lab

from . import estate

pytestmark = pytest.mark.lab

DEFAULTS = "defaults: {access: read}\n"


def hosts(**jumps):
    lines = [
        f"  {name}: {{addresses: {address}{f', ssh: {{jump: {jumps[name]}}}' if name in jumps else ''}}}"
        for name, address in estate.ADDRESS.items()
    ]
    return "hosts:\n" + "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    topology = estate.topology(tmp_path_factory.mktemp("estate"))
    with Lab(f"estate-{os.getpid()}", topology=topology) as up:
        yield up


@pytest.fixture(autouse=True)
def _forgotten(lab):
    for name in estate.HOSTS:
        estate.log_ins(lab, name)


def test_hosts_behind_two_jump_hosts_take_one_connection_each(lab, tmp_path):
    way = {"web1": "bastion", "web2": "bastion", "inner": "bastion", "deep1": "inner"}
    names = ["bastion", "inner", "web1", "web2", "deep1"]
    done, stored = estate.collect(lab, tmp_path, DEFAULTS + hosts(**way), *names)
    assert (done.returncode, stored) == (0, sorted(names)), done.stderr
    assert {name: estate.log_ins(lab, name) for name in names} == dict.fromkeys(names, 1)
    assert "deep1" in replay.load(tmp_path / "out" / "deep1").captures["uname"].stdout


WAY = {"web1": "bastion", "web2": "bastion", "inner": "bastion", "deep1": "inner"}


def test_a_jump_host_that_is_down_is_one_error_for_all_behind_it(lab, tmp_path):
    lab.power_off("inner")
    try:
        defaults = "defaults: {access: read, ssh: {timeout: 2}}\n"
        done, stored = estate.collect(lab, tmp_path, defaults + hosts(**WAY), "web1", "inner", "deep1")
    finally:
        lab.reboot("inner")
    assert (done.returncode, stored) == (6, ["web1"])
    first, second = (line for line in done.stderr.splitlines() if line.startswith(("inner:", "deep1:")))
    assert first.startswith("inner: no way there through the jump host bastion: it ")
    assert second.startswith("deep1: no way there through the jump host bastion: it ")


def test_the_key_of_every_hop_is_checked(lab, tmp_path):
    other = lab.run("web2", ["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout.split()[:2]
    lines = [line for line in lab.known_hosts.read_text().splitlines() if not line.startswith("bastion,")]
    known = tmp_path / "known"
    known.write_text("\n".join([*lines, f"10.50.0.2 {' '.join(other)}"]) + "\n")
    defaults = f"defaults: {{access: read, ssh: {{known_hosts: {known}}}}}\n"
    done, stored = estate.collect(lab, tmp_path, defaults + hosts(**WAY), "web1", "web2")
    assert (done.returncode, stored) == (6, [])
    assert done.stderr.count("no way there through the jump host bastion: changed host key") == 2
    assert estate.log_ins(lab, "bastion") == 0


def test_what_ssh_config_says_is_done(lab, tmp_path):
    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.d" / "deep").write_text("Host deep*\n  ProxyJump auditor@10.50.0.2:22,inner\n")
    key = tmp_path / "id"
    key.write_bytes(lab.ssh_identity.read_bytes())
    config = tmp_path / "config"
    config.write_text(
        f"Include {tmp_path}/config.d/*\n"
        f"Host web1\n  HostName 10.50.1.11\n  ProxyJump bastion\n  HostKeyAlias web1\n  ConnectTimeout=5\n"
        f"Host inner\n  HostName 10.50.1.3\nHost bastion\n  HostName 10.50.0.2\n"
        f"Host * !nobody\n  User auditor\n  IdentityFile {key}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {lab.known_hosts}\n"
    )
    # the inventory knows no way, no key and no alias; inner is no host of it
    text = "ssh_config: config\nhosts:\n  web1: {addresses: 10.50.9.9}\n  deep1: {addresses: 10.50.2.11}\n"
    text += "  auditor: {addresses: 10.50.0.1}\n"
    done, stored = estate.collect(lab, tmp_path, text, "web1", "deep1")
    assert (done.returncode, stored) == (0, ["deep1", "web1"]), done.stderr
    assert [estate.log_ins(lab, name) for name in ("inner", "web1", "deep1")] == [1, 1, 1]


INI = """\
[front]
bastion ansible_host=10.50.0.2   # the way in
[back]
web[1:2]
inner ansible_host=10.50.1.3
[back:vars]
ansible_ssh_common_args='-o StrictHostKeyChecking=no -J bastion'
[estate:children]
front
back
"""
YAML = """\
all:
  children:
    front: {hosts: {bastion: {ansible_host: 10.50.0.2}}}
    back:
      vars: {ansible_ssh_common_args: -o ProxyJump=bastion, secret: !vault x}
      hosts:
        web[1:2]:
        inner: {ansible_host: 10.50.1.3}
"""


@pytest.mark.parametrize(("name", "text"), [("hosts.ini", INI), ("hosts.yml", YAML)])
def test_an_ansible_inventory_is_read_as_it_is(lab, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    (tmp_path / "host_vars").mkdir()
    for number in (1, 2):
        (tmp_path / "host_vars" / f"web{number}.yml").write_text(f"ansible_host: {estate.ADDRESS[f'web{number}']}\n")
    more = f"ansible: {name}\nhosts:\n  auditor: {{addresses: 10.50.0.1}}\n  web1: {{access: read}}\n"
    done, stored = estate.collect(lab, tmp_path, more, "back")
    assert (done.returncode, stored) == (0, ["inner", "web1", "web2"]), done.stderr
    assert [estate.log_ins(lab, name) for name in ("bastion", "web1")] == [1, 1]


CERTIFIED = """\
cd /root; rm -f ca* host*; ssh-keygen -q -t {ca} -N '' -f ca; ssh-keygen -q -t {kind} -N '' -f host
ssh-keygen -q -s ca -I web1 {options} host.pub
kill "$(cat /run/certified.pid)" 2>/dev/null
/usr/sbin/sshd -p 2022 -h /root/host -o HostCertificate=/root/host-cert.pub -o PidFile=/run/certified.pid
cat ca.pub
"""
GOOD = "-h -n 10.50.1.11,web1 -V -1h:+1h"


@pytest.mark.parametrize(
    ("ca", "kind", "options", "names", "refused"),
    [
        ("ed25519", "ed25519", GOOD, "[10.50.1.*]:2022", ""),
        ("ecdsa", "ecdsa", GOOD, "[10.50.1.11]:2022", ""),
        ("rsa", "rsa", GOOD, "*", ""),
        ("ed25519", "ed25519", GOOD, "[10.50.2.*]:2022", "unknown host key"),
        ("ed25519", "ed25519", "-h -n web2 -V -1h:+1h", "*", "it is for web2, not for 10.50.1.11"),
        ("ed25519", "ed25519", "-h -n 10.50.1.11 -V -2h:-1h", "*", "its time is over"),
        ("ed25519", "ed25519", "-h -n 10.50.1.11 -V +1h:+2h", "*", "its time has not come yet"),
    ],
)
def test_host_certificates(lab, tmp_path, ca, kind, options, names, refused):
    script = CERTIFIED.format(ca=ca, kind=kind, options=options)
    public = lab.run("web1", ["/bin/sh", "-c", script]).stdout.split()[:2]
    known = tmp_path / "known"
    known.write_text(lab.known_hosts.read_text() + f"@cert-authority {names} {' '.join(public)}\n")
    text = f"defaults: {{ssh: {{known_hosts: {known}}}}}\nhosts:\n  auditor: {{addresses: 10.50.0.1}}\n"
    text += "  bastion: {addresses: 10.50.0.2}\n"
    text += "  web1: {addresses: 10.50.1.11, ssh: {port: 2022, jump: bastion}}\n"
    done, stored = estate.collect(lab, tmp_path, text, "web1")
    assert (done.returncode, stored) == ((6, []) if refused else (0, ["web1"])), done.stderr
    assert refused in done.stderr


def test_processes_read_as_threads_do(lab, tmp_path):
    names = ["bastion", "web1"]
    done, stored = estate.collect(lab, tmp_path, DEFAULTS + hosts(**WAY), *names, "--engine", "processes")
    assert (done.returncode, stored) == (0, names), done.stderr
    assert "iptables-save" in replay.load(tmp_path / "out" / "web1").captures
