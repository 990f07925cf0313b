"""An audit with probes of hosts that are reached through a jump host only, many of them at once from one vantage."""

import hashlib
import json
import os
import shutil

import pytest

from fwproof.lab import Lab
from fwproof.probing.bootstrap import agent_source

from . import estate
from .auditing import Run

pytestmark = pytest.mark.lab

PLAIN = [f"web{number:02}" for number in range(12)]
OTHERS = {"watched": "observe", "mute": "read", "mute-watched": "observe", "shut": "observe"}
HOSTS = [*PLAIN, *OTHERS]
RULES = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
{neighbours}{shut}-A INPUT -s {inside} -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -j ACCEPT
COMMIT
"""
NEIGHBOURS = "".join(
    f"-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type {kind} -m hl --hl-eq 255 -j ACCEPT\n" for kind in (135, 136)
)
SHUT = "-A INPUT -s {peer} -p tcp -m tcp --dport 22 -j DROP\n"
POLICY = """\
policy: behind
hosts: [behind]
inbound:
  default: deny
  allow:
    - {id: ssh-back, title: The network may log in, service: tcp/22, from: back}
essential: [established, icmpv6-nd]
"""


def rules(folder, name, *, shut):
    for family, inside, peer, neighbours in (
        ("v4", "10.60.1.0/24", "10.60.1.3/32", ""), ("v6", "fd60:0:0:1::/64", "fd60:0:0:1::3/128", NEIGHBOURS),
    ):  # fmt: skip
        path = folder / name / "etc" / "iptables" / f"rules.{family}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(RULES.format(inside=inside, neighbours=neighbours, shut=SHUT.format(peer=peer) if shut else ""))


def addresses(network, number):
    return [f"10.60.{network}.{number}/24", f"fd60:0:0:{network}::{number:x}/64"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Write topology and inventory: the auditor, a bastion that routes nothing, a vantage and the hosts behind it."""
    folder = tmp_path_factory.mktemp("behind")
    (folder / "bin").mkdir()
    shutil.copy(estate.ROOT / "fixtures/lab/bin/lab-service.py", folder / "bin/lab-service.py")
    rules(folder, "light", shut=False)
    rules(folder, "shut", shut=True)
    front, back = ({"network": name, "addresses": []} for name in ("front", "back"))
    hosts = {
        "auditor": {"links": [front | {"addresses": addresses(0, 1)}]},
        "bastion": {"links": [front | {"addresses": addresses(0, 2)}, back | {"addresses": addresses(1, 2)}]},
        "scout": {"links": [back | {"addresses": addresses(1, 3)}]},
    }
    known = {"auditor": {"addresses": ["10.60.0.1"]}, "bastion": {"addresses": ["10.60.0.2"]}}
    known["scout"] = {"addresses": bare(addresses(1, 3)), "vantage": True, "access": "observe"}
    for number, name in enumerate(HOSTS, 16):
        access = OTHERS.get(name, "read")
        hosts[name] = {
            "links": [back | {"addresses": addresses(1, number)}], "units": ["netfilter-persistent"],
            "files": ["shut" if name == "shut" else "light"], "access": access,
            # its tables let all of IPv6 in that they should, and its kernel does not speak it
            "rc": ["sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1"] if name.startswith("mute") else [],
        }  # fmt: skip
        known[name] = {"addresses": bare(addresses(1, number)), "groups": ["behind"], "access": access}
    for name in ("scout", *HOSTS):
        known[name]["ssh"] = {"jump": "bastion"}
    topology = {"service_program": "bin/lab-service.py", "networks": ["front", "back"], "hosts": hosts}
    (folder / "topology.yaml").write_text(json.dumps(topology))
    agent = {"path": "/usr/local/sbin/fwproof-agent", "sha256": hashlib.sha256(agent_source()).hexdigest()}
    inventory = {
        "lab": "topology.yaml", "auditor": "auditor", "defaults": {"access": "read", "agent": agent},
        "zones": {"back": ["10.60.1.0/24", "fd60:0:0:1::/64"]}, "hosts": known,
    }  # fmt: skip
    (folder / "inventory.yaml").write_text(json.dumps(inventory))
    (folder / "behind.policy.yaml").write_text(POLICY)
    return folder


def bare(both):
    return [address.partition("/")[0] for address in both]


@pytest.fixture(scope="module")
def lab(built):
    with Lab(f"behind-{os.getpid()}", topology=built / "topology.yaml") as up:
        yield up


@pytest.fixture(scope="module")
def run(lab, built):
    for name in ("bastion", "scout"):
        estate.log_ins(lab, name)
    done = Run(lab, built / "reports", inventory=built / "inventory.yaml", policy=built / "behind.policy.yaml")
    assert done.results, done.out
    return done


def test_all_is_proved_and_observed_through_the_jump_host(lab, run):
    found = [check for name in PLAIN for check in run.of(name)]
    assert len(found) == 12 * 9, [check["id"] for check in run.of(PLAIN[0])]
    assert {check["verdict"] for check in found} == {"pass"}, [c for c in found if c["verdict"] != "pass"]
    probed = [check for name in PLAIN for check in run.of(name, "inbound")]
    assert len(probed) == 24
    assert all("a service answered" in check["observed"] for check in probed), probed[0]
    assert estate.log_ins(lab, "scout") <= 3


def test_one_vantage_asks_many_neighbours_at_once(run):
    asked = [check for name in (*PLAIN, "watched") for check in run.of(name, "icmpv6-nd")]
    assert len(asked) == 13
    assert {check["verdict"] for check in asked} == {"pass"}, asked
    unanswered = [check["observed"] for check in asked if "was answered" not in check["observed"]]
    assert not unanswered


def test_silence_is_a_failure_only_where_somebody_watched(run):
    (mute,), (watched,) = (run.of(name, "icmpv6-nd") for name in ("mute", "mute-watched"))
    assert mute["verdict"] == "inconclusive", mute
    assert "Nobody watched the receiver" in mute["reason"], mute
    assert "after 3 packets" in mute["observed"], mute
    assert (watched["verdict"], watched["cause"]) == ("fail", "model and wire disagree"), watched
    assert "arrived, and no advertisement left the host" in watched["observed"], watched


def test_a_rule_that_shuts_the_vantage_out_is_proved_seen_and_attributed(run):
    shut = run.of("shut", "inbound")
    assert {(check["family"], check["verdict"]) for check in shut} == {("ipv4", "fail"), ("ipv6", "fail")}, shut
    for check in shut:
        assert "--dport 22 -j DROP" in check["proved"], check
        assert "arrived at the host and was dropped there" in check["observed"], check
        assert "--dport 22 -j DROP" in check["attributed"], check
