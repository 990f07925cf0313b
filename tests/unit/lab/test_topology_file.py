"""A topology is read strictly: every fault at once, each with its place."""

from pathlib import Path

import pytest

from fwproof.errors import InputError
from fwproof.inventory import Access
from fwproof.lab import default_topology, load_topology
from fwproof.lab.disk import network_batch

HEAD = "service_program: serve.py\nnetworks: [srv, data]\nhosts:\n"
LINK = "    links: [{network: srv, addresses: [10.0.0.1/24]}]\n"


def write(folder: Path, text: str) -> Path:
    (folder / "serve.py").touch()
    path = folder / "topology.yaml"
    path.write_text(text)
    return path


def test_embedded_topology_is_the_seed_s():
    topology = load_topology(default_topology())
    assert topology.networks == ("srv", "data", "work", "outside", "inet")
    assert topology.hosts["ai-server"].addresses == ("10.0.0.10", "fd00:0:0:1::10")
    assert topology.hosts["ai-server-published"].call_home.port == 2211
    assert {name for name, host in topology.hosts.items() if host.access is not Access.OBSERVE} == {
        "workstation",
        "store-elastic",
    }
    for host in topology.hosts.values():
        assert "default" not in network_batch(host)


def test_network_batch_avoids_the_tentative_second_of_ipv6(tmp_path):
    text = f"{HEAD}  a:\n    links: [{{network: srv, addresses: [10.0.0.1/24, 'fd00::1/64']}}]\n"
    host = load_topology(write(tmp_path, text)).hosts["a"]
    assert network_batch(host).splitlines() == [
        "link set eth0 up",
        "addr add 10.0.0.1/24 dev eth0",
        "addr add fd00::1/64 dev eth0 nodad",
    ]


def test_the_image_is_the_plain_one_unless_another_is_named(tmp_path):
    assert load_topology(default_topology()).image == "plain"
    assert load_topology(write(tmp_path, f"image: front-ends\n{HEAD}  a:\n{LINK}")).image == "front-ends"
    assert load_topology(default_topology().with_name("front-ends.yaml")).image == "front-ends"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "1:1", "the file is empty"),
        (f"image: windows\n{HEAD}  a:\n{LINK}", "1:8", "expected one of plain, front-ends, found 'windows'"),
        ("networks: [", "1:12", "not YAML"),
        ("- a\n", "1:1", "expected a mapping"),
        (f"{HEAD}  a:\n{LINK}    color: red\n", "6:12", "unknown key"),
        (f"{HEAD}  a: {{}}\n", "4:6", "the key 'links' is missing"),
        (f"{HEAD}  A b:\n{LINK}", "5:5", "expected a host name"),
        (f"{HEAD}  a:\n{LINK}  a:\n{LINK}", "6:3", "the key 'a' is given twice"),
        (f"{HEAD}  a:\n    links: [{{network: lan, addresses: []}}]\n", "5:23", "no such network 'lan'"),
        (f"{HEAD}  a:\n    links: [{{network: srv, addresses: [10.0.0.1]}}]\n", "5:40", "prefix length"),
        (f"{HEAD}  a:\n{LINK}    routes: [default via 10.0.0.2]\n", "6:14", "no default route"),
        (f"{HEAD}  a:\n{LINK}    routes: [0.0.0.0/0 via 10.0.0.2]\n", "6:14", "no default route"),
        (f"{HEAD}  a:\n{LINK}    routes: ['fd00::/64 via 10.0.0.2']\n", "6:14", "of one family"),
        (f"{HEAD}  a:\n{LINK}    sysctls: {{kernel.panic: 5}}\n", "6:29", "expected a net.* sysctl"),
        (f"{HEAD}  a:\n{LINK}    services: [{{kind: ftp, port: 21}}]\n", "6:23", "expected one of ollama"),
        (f"{HEAD}  a:\n{LINK}    services: [{{kind: http, port: 70000}}]\n", "6:35", "a number from 1 to 65535"),
        (f"{HEAD}  a:\n{LINK}    files: [../elsewhere]\n", "6:13", "expected a folder below"),
        (f"{HEAD}  a:\n{LINK}    modes: {{/etc/x: '999'}}\n", "6:21", "(octal)"),
        (f"{HEAD}  a:\n{LINK}    access: all\n", "6:13", "expected one of read, observe, root"),
        (f"{HEAD}  a:\n{LINK}    units: [cron]\n", "6:13", "expected one of netfilter-persistent"),
        (f"{HEAD}  a:\n{LINK}    call_home: {{to: b, port: 2211}}\n", "4:3", "no other host named 'b'"),
        (f"{HEAD}  a:\n{LINK}  b:\n{LINK}", "4:3", "10.0.0.1 is also a's address"),
    ],
)
def test_fault_has_its_place(tmp_path, text, place, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_topology(path)
    assert f"{path}:{place}: " in str(caught.value)
    assert message in str(caught.value)


def test_all_faults_come_at_once(tmp_path):
    text = f"{HEAD}  a:\n{LINK}    access: all\n    color: red\n"
    with pytest.raises(InputError) as caught:
        load_topology(write(tmp_path, text))
    assert len(caught.value.faults) == 2


def test_a_missing_file_is_one_message(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_topology(tmp_path / "none.yaml")
