import hashlib
from ipaddress import ip_address
from pathlib import Path

from fwproof.inventory import Access, AgentPin, SshAddress
from fwproof.policy.inventory_file import load_inventory

ROOT = Path(__file__).parents[3]
AGENT = ROOT / "src" / "fwproof" / "probing" / "agent.py"


def written(tmp_path, text):
    path = tmp_path / "inventory.yaml"
    path.write_text(text)
    return load_inventory(path)


def test_a_host_of_the_real_world_has_the_defaults_of_ssh(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    host = written(tmp_path, 'hosts:\n  a: {addresses: ["fd00::1", 10.0.0.1]}\n').hosts["a"]
    assert host.ssh == SshAddress(address="fd00::1", known_hosts=tmp_path / "home" / ".ssh" / "known_hosts")
    assert (host.access, host.agent, host.vantage, host.groups, host.drop_log) == (Access.READ, None, False, (), None)
    assert host.addresses == (ip_address("fd00::1"), ip_address("10.0.0.1"))
    assert (Path(host.file).name, host.line) == ("inventory.yaml", 2)


def test_a_host_overrides_the_defaults_key_by_key(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    inventory = written(
        tmp_path,
        "defaults:\n  ssh: {user: audit, port: 2222, identity_file: ~/key, known_hosts: hosts.known, timeout: 3}\n"
        "  access: root\n  vantage: true\n"
        "hosts:\n  a: {addresses: 10.0.0.1}\n"
        "  b:\n    addresses: 10.0.0.2\n    access: read\n    vantage: false\n"
        "    ssh: {address: b.example, user: me, host_key_alias: bee, identity_file: /k}\n",
    )
    first, second = inventory.hosts["a"].ssh, inventory.hosts["b"].ssh
    assert (first.address, first.user, first.port, first.timeout) == ("10.0.0.1", "audit", 2222, 3)
    assert (first.identity_file, first.known_hosts) == (tmp_path / "home" / "key", tmp_path / "hosts.known")
    assert (second.address, second.user, second.port) == ("b.example", "me", 2222)
    assert (second.host_key_alias, second.identity_file) == ("bee", Path("/k"))
    assert inventory.hosts["a"].access is Access.ROOT
    assert [host.name for host in inventory.vantages] == ["a"]


def test_the_pin_is_for_hosts_that_are_observed(tmp_path):
    pin = "{path: /usr/local/sbin/x, sha256: " + "a" * 64 + "}"
    inventory = written(
        tmp_path,
        f"defaults: {{agent: {pin}, access: observe}}\nhosts:\n  a: {{addresses: 10.0.0.1}}\n"
        "  b: {addresses: 10.0.0.2, access: root}\n",
    )
    assert inventory.hosts["a"].agent == AgentPin(path="/usr/local/sbin/x", sha256="a" * 64)
    assert inventory.hosts["b"].agent is None


def test_groups_and_zones(tmp_path):
    inventory = written(
        tmp_path,
        "zones: {z: [10.0.0.0/24, 10.1.0.1]}\nhosts:\n  a: {addresses: 10.0.0.1, groups: [g, h, g]}\n"
        "  b: {addresses: 10.0.0.2, groups: [g]}\n",
    )
    assert inventory.groups == {"g": ("a", "b"), "h": ("a",)}
    assert [host.name for host in inventory.select("g")] == ["a", "b"]
    assert inventory.select("nothing") == ()
    assert ip_address("10.1.0.1") in inventory.zones["z"]
    assert ip_address("10.1.0.2") not in inventory.zones["z"]


def test_the_lab_supplies_what_its_inventory_leaves_out(tmp_path):
    (tmp_path / "t.yaml").write_text("")
    inventory = written(tmp_path, "lab: t.yaml\nauditor: a\nhosts:\n  a: {addresses: 10.0.0.1}\n")
    assert inventory.lab == tmp_path / "t.yaml"
    assert (inventory.hosts["a"].ssh.identity_file, inventory.hosts["a"].ssh.known_hosts) == (None, None)


def test_the_shipped_inventory_pins_the_shipped_agent():
    inventory = load_inventory(ROOT / "fixtures" / "inventory.yaml")
    pins = {host.agent for host in inventory.hosts.values() if host.access is Access.OBSERVE}
    digest = hashlib.sha256(AGENT.read_bytes()).hexdigest()
    assert pins == {AgentPin(path="/usr/local/sbin/fwproof-agent", sha256=digest)}, (
        f"the agent changed; write its hash into fixtures/inventory.yaml: {digest}"
    )


def test_the_shipped_inventory_is_the_lab():
    inventory = load_inventory(ROOT / "fixtures" / "inventory.yaml")
    assert (inventory.lab, inventory.auditor) == (ROOT / "fixtures" / "lab" / "topology.yaml", "admin")
    assert {name: [str(a) for a in host.addresses[:2]] for name, host in inventory.hosts.items()} == {
        "ai-server": ["10.0.0.10", "fd00:0:0:1::10"],
        "ai-server-published": ["10.0.0.11", "fd00:0:0:1::11"],
        "proxy": ["10.0.0.100", "fd00:0:0:1::100"],
        "admin": ["10.0.0.1", "fd00:0:0:1::1"],
        "workstation": ["10.0.5.7", "fd00:0:0:5::7"],
        "store-postgres": ["10.0.2.10", "fd00:0:0:2::10"],
        "store-redis": ["10.0.2.11", "fd00:0:0:2::11"],
        "store-elastic": ["10.0.2.12", "fd00:0:0:2::12"],
        "outside": ["203.0.113.66", "2001:db8:bad::66"],
        "internet": ["198.51.100.9", "2001:db8:9::9"],
    }
    published = inventory.hosts["ai-server-published"].ssh
    assert (published.address, published.port, published.host_key_alias) == ("127.0.0.1", 2211, "ai-server-published")
    tiers = {access: [h.name for h in inventory.hosts.values() if h.access is access] for access in Access}
    assert (tiers[Access.READ], tiers[Access.ROOT]) == (["store-elastic"], ["workstation"])
    apart = {"ai-server", "ai-server-published", "store-elastic"}
    assert {host.name for host in inventory.vantages} == set(inventory.hosts) - apart
