"""A lab of many light hosts (sshd and netfilter only) in zones of 50, and the inventory and policy for it."""

from __future__ import annotations

import hashlib
import json
import shutil
from ipaddress import IPv6Address
from pathlib import Path

from fwproof.lab.pid1 import mac_of

ROOT = Path(__file__).resolve().parents[2]
RULES = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A INPUT -s {inside} -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -j ACCEPT
{neighbours}COMMIT
"""
NEIGHBOURS = "".join(
    f"-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type {kind} -m hl --hl-eq 255 -j ACCEPT\n" for kind in (135, 136)
)
ZONES = 4


def zone_of(number: int, count: int) -> int:
    """Return the zone of host ``number`` of ``count``; zones are of equal size."""
    return number * ZONES // count


def write(folder: Path, count: int) -> None:
    """Write a topology, an inventory and a policy: ``count`` audited hosts, a vantage in each zone, auditor, router."""
    lab = folder / "lab"
    (lab / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "fixtures/lab/bin/lab-service.py", lab / "bin/lab-service.py")
    rules = lab / "light" / "etc" / "iptables"
    rules.mkdir(parents=True)
    (rules / "rules.v4").write_text(RULES.format(inside="10.0.0.0/8", neighbours=""))
    (rules / "rules.v6").write_text(RULES.format(inside="fd00::/32", neighbours=NEIGHBOURS))
    back = ["10.0.0.0/8 via 10.{z}.0.254", "fd00::/32 via fd00:0:{z}::fe"]
    hosts = {
        "router": {
            "links": [
                {"network": f"z{z}", "addresses": [f"10.{z}.0.254/16", f"fd00:0:{z}::fe/64"]} for z in range(ZONES + 1)
            ],
            "sysctls": {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1},
        },
        "auditor": {
            "links": [{"network": "z0", "addresses": ["10.0.0.1/16", "fd00:0:0::1/64"]}],
            "routes": [line.format(z=0) for line in back],
        },
    }
    audited = {}
    for number in range(count):
        zone = zone_of(number, count) + 1
        addresses = [f"10.{zone}.1.{number % 250 + 1}", f"fd00:0:{zone}::1:{number + 1:x}"]
        hosts[f"h{number:03}"] = {
            "links": [{"network": f"z{zone}", "addresses": [f"{addresses[0]}/16", f"{addresses[1]}/64"]}],
            "routes": [line.format(z=zone) for line in back],
            "files": ["light"],
            "units": ["netfilter-persistent"],
            "access": "read",
        }
        audited[f"h{number:03}"] = {"addresses": addresses, "groups": ["all-of-them"]}
    topology = {"service_program": "bin/lab-service.py", "networks": [f"z{z}" for z in range(ZONES + 1)]}
    agent = hashlib.sha256((ROOT / "src/fwproof/probing/agent.py").read_bytes()).hexdigest()
    inventory = {
        "lab": "lab/topology.yaml",
        "auditor": "auditor",
        "defaults": {"access": "read", "agent": {"path": "/usr/local/sbin/fwproof-agent", "sha256": agent}},
        "limits": {"zones": {f"zone{z}": {"at_once": 8, "vantages": 1} for z in range(1, ZONES + 1)}},
        "zones": {"admin": ["10.0.0.0/16", "fd00:0:0::/64"]}
        | {f"zone{z}": [f"10.{z}.0.0/16", f"fd00:0:{z}::/64"] for z in range(1, ZONES + 1)},
        "hosts": {"auditor": {"addresses": ["10.0.0.1", "fd00:0:0::1"]}} | audited,
    }
    for zone in range(1, ZONES + 1):
        addresses = [f"10.{zone}.0.2", f"fd00:0:{zone}::2"]
        links = [{"network": f"z{zone}", "addresses": [f"{addresses[0]}/16", f"{addresses[1]}/64"]}]
        hosts[f"v{zone}"] = {"links": links, "routes": [line.format(z=zone) for line in back]}
        inventory["hosts"][f"v{zone}"] = {"addresses": addresses, "vantage": True, "access": "observe"}
    know_the_router(hosts, lab)
    # JSON is YAML
    (lab / "topology.yaml").write_text(json.dumps(topology | {"hosts": hosts}))
    (folder / "inventory.yaml").write_text(json.dumps(inventory, indent=1))
    (folder / "estate.policy.yaml").write_text(POLICY)


def link_local(mac: str) -> str:
    """Return the address that the kernel makes of a MAC address (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]))


def know_the_router(hosts: dict[str, dict], lab: Path) -> None:
    """Have the router and all others know each other for good.

    The kernel's table of neighbours is one for all namespaces, and permanent entries do not count in it: with those
    that it would learn on the way, 200 hosts fill it. What an audit tries, vantage and host on one link, is learned.
    """
    known = {name: [] for name in hosts}
    zones = [link["network"] for link in hosts["router"]["links"]]
    for number, (name, host) in enumerate(hosts.items()):
        if name == "router":
            continue
        (link,) = host["links"]
        zone = zones.index(link["network"])
        for one, index, other, at, addresses in (
            (name, 0, 0, zone, hosts["router"]["links"][zone]["addresses"]),
            ("router", zone, number, 0, link["addresses"]),
        ):
            mac = mac_of(other, at)
            theirs = [*(address.partition("/")[0] for address in addresses), link_local(mac)]
            known[one] += [f"neigh replace {each} lladdr {mac} dev eth{index} nud permanent" for each in theirs]
    for name, lines in known.items():
        folder = lab / "known" / name / "etc"
        folder.mkdir(parents=True)
        (folder / "neighbours").write_text("\n".join(lines) + "\n")
        hosts[name]["files"] = [*hosts[name].get("files", ()), f"known/{name}"]
        hosts[name]["rc"] = ["ip -batch /etc/neighbours"]


POLICY = """\
policy: estate
hosts: [all-of-them]
inbound:
  default: deny
  allow:
    - {id: ssh-inside, title: The inside may log in, service: tcp/22, from: [10.0.0.0/8, "fd00::/32"]}
essential: [loopback, established, icmpv6-nd]
rules: true
"""
