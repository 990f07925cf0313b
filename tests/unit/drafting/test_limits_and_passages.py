"""Limits, jails, what passes through and vantages of a draft: as they are, or a question where they are no words."""

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace

import pytest

from fwproof.audit.reading import model_from
from fwproof.drafting import jails, rates
from fwproof.drafting.draft import SshLine, draft
from fwproof.drafting.found import filled
from fwproof.drafting.subject import Subject, audited_addresses
from fwproof.drafting.tried import broken
from fwproof.errors import HostError
from fwproof.evidence.ban_lines import Line, LogFile, Trial, Trials
from fwproof.facts import JailFacts
from fwproof.flow import Family
from fwproof.frontends.front_end import front_end_of
from fwproof.policy.document import parse_document
from fwproof.policy.inventory_file import inventory_of, load_inventory
from fwproof.policy.load import policy_of

HOST = "ai-server"
ROOT = Path(__file__).parents[3]
HERE = {"inventory_path": Path("fixtures/inventory.yaml"), "policy_path": Path("checks/x.policy.yaml")}
NO_NFT = '{"nftables": []}'


@pytest.fixture(scope="module")
def known():
    return load_inventory(ROOT / "fixtures" / "inventory.yaml")


def subject(sample, jails=None, **changes):
    snapshot = sample.sampled(HOST, **changes)
    model = model_from(snapshot)
    more = {"jails": jails} if jails is not None else {}
    return Subject(
        name=HOST, snapshot=snapshot, model=model, front=front_end_of(snapshot, model.rulesets),
        addresses=audited_addresses(model), **more,
    )  # fmt: skip


def drafted(about, known=None):
    made = draft(about, known, ssh=SshLine(), **HERE)
    inventory = known or inventory_of(parse_document(made.inventory.encode(), file="i", path=Path("i.yaml")))
    policy = policy_of(parse_document(made.policy.encode(), file="p", path=Path("checks/p")), inventory)
    assert broken(policy, inventory, about) == []
    return made, policy


def questions(policy):
    return {question.id: question.title for question in policy.questions}


# ---- limits


def test_a_limit_is_drafted_with_the_number_that_the_rules_enforce(sample, known):
    _, policy = drafted(subject(sample), known)
    rates = {str(allow.service): allow.rate for allow in policy.inbound if allow.rate}
    assert set(rates) == {"tcp/11434"}
    rate = rates["tcp/11434"]
    assert (rate.limit, rate.per, rate.by, rate.measure) == (20, 60.0, "source", ())


def test_a_limit_that_no_vantage_can_try_is_asked_about(sample):
    made, policy = drafted(subject(sample))
    assert not any(allow.rate for allow in policy.inbound)
    assert "is limited, and no vantage" in questions(policy)["limit-tcp-11434-from-internal"]
    assert "# by simulation: {rate: {limit: 20, per: 60s, by: source}}" in made.policy


@pytest.mark.parametrize(("name", "ports", "given", "found"), [
    ("api", None, {"port": "ssh"}, []), ("api", "ssh", {"port": "ssh"}, [("tcp", 22)]),
    ("sshd", None, {"port": "ssh"}, [("tcp", 22)]), ("api", None, {"port": "8080,81"}, [("tcp", 8080), ("tcp", 81)]),
    ("dns", "53", {"port": "53", "protocol": "tcp,udp"}, [("tcp", 53), ("udp", 53)]),
    ("api", "81", {"port": "81", "protocol": "all"}, [("tcp", 81)]), ("api", None, {}, []),
])  # fmt: skip
def test_the_services_of_a_jail_are_the_ports_that_it_was_given(monkeypatch, name, ports, given, found):
    """Actions for all ports get ``ssh`` from fail2ban's own defaults, and never look at it."""
    monkeypatch.setattr(jails, "bans_of", lambda _: [(Family.IPV4, SimpleNamespace(ports=ports))])
    assert jails._services(SimpleNamespace(name=name, actions=[SimpleNamespace(settings=given)])) == found


@pytest.mark.parametrize(("kept", "ignored"), [(True, ()), (False, ("10.0.0.1",))])
def test_the_notes_of_a_jail_say_what_sudo_keeps_and_who_is_never_banned(monkeypatch, kept, ignored):
    monkeypatch.setattr(jails, "bans_of", lambda _: [])
    config = SimpleNamespace(
        name="api", actions=[], log_paths=["/var/log/x"], journal=[], failregexes=["a"], backend="auto",
        ignored=ignored, ignore_command="", maxretry=3, findtime=60, bantime=60, usedns="warn", increment=False,
    )  # fmt: skip
    snapshot = SimpleNamespace(faults={"fail2ban-status-api": HostError("h", "no")} if kept else {})
    notes = "\n".join(jails._jail("api", config, SimpleNamespace(listed=()), snapshot).notes)
    assert ("its state may be asked with the lines of `fwproof agent sudoers --jail api`" in notes) is kept
    assert ("never banned: 10.0.0.1" in notes) is bool(ignored)


@pytest.mark.parametrize(("network", "own", "found"), [
    ("10.0.0.0/24", ["10.0.0.9"], "10.0.0.1"), ("10.0.0.0/24", ["10.0.0.1", "10.0.0.2"], "10.0.0.3"),
    ("10.0.0.0/31", ["10.0.0.1"], "10.0.0.0"), ("10.0.0.7/32", ["10.0.0.7"], "10.0.0.7"),
    ("255.255.255.254/31", ["255.255.255.255"], "255.255.255.254"),
])  # fmt: skip
def test_a_limit_is_tried_from_inside_of_its_network(network, own, found):
    assert str(rates._one_of(ip_network(network), [ip_address(each) for each in own])) == found


CLOSED = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT DROP [0:0]\nCOMMIT\n"
SAVED = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
{}
-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""
SSH = "-A INPUT -s 10.0.0.1/32 -p tcp -m tcp --dport 22 --syn -m conntrack --ctstate NEW {} -j {}"
BUCKET = "-m hashlimit --hashlimit-upto {} --hashlimit-burst {} --hashlimit-mode srcip --hashlimit-name ssh"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([SSH.format("-m limit --limit 10/min --limit-burst 5", "ACCEPT")], {"rate": (5, 30.0, "total")}),
        ([SSH.format(BUCKET.format("6/min", 3), "ACCEPT")], {"rate": (3, 30.0, "source")}),
        ([SSH.format("-m connlimit --connlimit-above 4", "DROP"), SSH.format("", "ACCEPT")],
         {"standing": (4, "source")}),
        ([SSH.format("-m connlimit --connlimit-above 4 --connlimit-mask 0", "DROP"), SSH.format("", "ACCEPT")],
         {"standing": (4, "total")}),
        ([SSH.format("-m connlimit --connlimit-above 9", "DROP"), SSH.format(BUCKET.format("6/min", 3), "ACCEPT")],
         {"rate": (3, 30.0, "source"), "standing": (9, "source")}),
        ([SSH.format("", "ACCEPT")], {}),
    ],
)  # fmt: skip
def test_each_kind_of_limit_has_its_words(sample, known, rules, words):
    _, policy = drafted(
        subject(sample, iptables_save=SAVED.format("\n".join(rules)), nft=NO_NFT, ip6tables_save=CLOSED), known
    )
    allow = next(allow for allow in policy.inbound if str(allow.service) == "tcp/22")
    found = {}
    if allow.rate is not None:
        found["rate"] = (allow.rate.limit, allow.rate.per, allow.rate.by)
    if allow.standing is not None:
        found["standing"] = (allow.standing.limit, allow.standing.by)
    assert found == words


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ("-m limit --limit 7/min --limit-burst 5", "no whole seconds"),
        (f"{BUCKET.format('6/min', 3)} --hashlimit-srcmask 24", "counts neither single sources nor all together"),
        (f"-m limit --limit 10/min --limit-burst 5 {BUCKET.format('6/min', 3)}", "several limits at once"),
    ],
)
def test_a_limit_that_no_words_fit_is_asked_about(sample, known, match, why):
    rules = SSH.format(match, "ACCEPT")
    _, policy = drafted(subject(sample, iptables_save=SAVED.format(rules), nft=NO_NFT, ip6tables_save=CLOSED), known)
    allow = next(allow for allow in policy.inbound if str(allow.service) == "tcp/22")
    assert allow.rate is None
    assert why in questions(policy)[f"limit-{allow.id}"]


# ---- what passes through

ADDRESSES = [
    {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "203.0.113.11", "prefixlen": 24}]},
    {"ifname": "eth1", "addr_info": [{"family": "inet", "local": "10.8.1.1", "prefixlen": 24}]},
]
ROUTES = [
    {"dst": "203.0.113.0/24", "dev": "eth0", "prefsrc": "203.0.113.11"},
    {"dst": "10.8.1.0/24", "dev": "eth1", "prefsrc": "10.8.1.1"},
]
GATE = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
{}
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
{}
COMMIT
"""
OUT = "-A FORWARD -s 10.8.1.0/24 -d 203.0.113.0/24 -i eth1 -o eth0 -p tcp -m tcp --dport 443 -j ACCEPT"
IN = "-A FORWARD -s 203.0.113.0/24 -d 10.8.1.10/32 -p tcp -m tcp --dport 80 -m conntrack --ctstate DNAT -j ACCEPT"
FORWARDED = "-A PREROUTING -d 203.0.113.11/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.8.1.10:80"


def gate(sample, rules, nat="", forwards=1):
    sysctl = sample.text_of(HOST, "sysctl").replace("/ipv4/ip_forward:0", f"/ipv4/ip_forward:{forwards}")
    assert f"/ipv4/ip_forward:{forwards}" in sysctl
    return subject(
        sample, iptables_save=GATE.format("\n".join(rules), nat), ip6tables_save=CLOSED, nft=NO_NFT, sysctl=sysctl,
        ip_addr=json.dumps(ADDRESSES), ip_route=json.dumps(ROUTES), ip6_route="[]",
    )  # fmt: skip


def test_what_a_router_passes_on_is_allowed_between_the_networks_of_its_rules(sample):
    _, policy = drafted(gate(sample, [OUT]))
    (passing,) = policy.forward
    assert (str(passing.service), passing.published) == ("tcp/443", None)
    assert [list(map(str, ends.networks)) for ends in (passing.peers, passing.to)] == [
        ["10.8.1.0/24"], ["203.0.113.0/24"]
    ]  # fmt: skip


def test_a_port_forward_is_drafted_by_both_of_its_ports(sample):
    _, policy = drafted(gate(sample, [IN], FORWARDED))
    (passing,) = policy.forward
    assert (str(passing.service), str(passing.published)) == ("tcp/80", "tcp/8080")
    assert list(map(str, passing.to.networks)) == ["10.8.1.10/32"]
    assert policy.inbound == ()


def test_what_is_passed_on_to_the_world_is_asked_about(sample):
    _, policy = drafted(gate(sample, ["-A FORWARD -s 10.8.1.0/24 -p tcp -m tcp --dport 443 -j ACCEPT"]))
    assert policy.forward == ()
    assert "tcp 443 from 10.8.1.0/24" in questions(policy)["forward-ipv4-1"]


def test_a_host_that_passes_nothing_on_has_no_allows_for_it(sample):
    _, policy = drafted(gate(sample, [OUT], forwards=0))
    assert policy.forward == ()
    assert "forward-ipv4-1" in questions(policy)


def test_only_holes_that_the_host_itself_leaves_are_closed(sample):
    from ipaddress import ip_network

    model = gate(sample, []).model
    whole = ip_network("10.8.1.0/24")
    holed = list(whole.address_exclude(ip_network("10.8.1.1/32")))
    assert filled(holed, model) == (whole,)
    assert filled([n for n in holed if n != ip_network("10.8.1.128/25")], model) != (whole,)
    assert filled([ip_network("10.8.1.0/32")], model) == (ip_network("10.8.1.0/32"),)


# ---- jails


def seen(jail, *lines):
    log = LogFile(path="/var/log/auth.log", exists=True, error="", size=9, age=1.0)
    trial = Trial(error="", logs=(log,), lines=lines, samples=(), slow=None)
    return JailFacts(trials=Trials(jails={jail: trial, "ollama-api": trial}, version="1.0.2"))


def shut(sample, jails=None, **changes):
    """Return the host with tables that let nothing through: what becomes of its jails does not hang on them."""
    return subject(sample, jails, iptables_save=CLOSED, ip6tables_save=CLOSED, nft=NO_NFT, **changes)


TAKEN = Line(text="Nov 26 01:00:00 h sshd[1]: Failed password for x from 10.9.9.9 port 9", regex=1, who="10.9.9.9")
STATUS = "Status for the jail: sshd\n|- Filter\n|  |- Currently failed:\t0\n|  `- File list:\t/var/log/auth.log\n"


def test_a_jail_whose_filter_takes_failures_is_drafted_with_its_numbers(sample, known):
    about = shut(sample, seen("sshd", TAKEN), fail2ban_status_sshd=STATUS)
    _, policy = drafted(about, known)
    (bans,) = policy.bans
    assert (bans.jail, str(bans.service), bans.maxretry, bans.findtime, bans.bantime) == ("sshd", "tcp/22", 5, 600, 600)
    assert (bans.usedns, bans.increment, bans.exercise) == ("no", False, False)


@pytest.mark.parametrize(
    ("jails", "status", "why"),
    [
        (seen("sshd"), STATUS, "no line of its log tells of a failed attempt"),
        (None, STATUS, "filters were not tried"),
        (seen("sshd", TAKEN), STATUS.replace("/var/log/auth.log", ""), "it watches nothing"),
        (seen("sshd", TAKEN), None, "was not collected"),
        (HostError(HOST, "python3 is missing"), STATUS, "python3 is missing"),
    ],
)  # fmt: skip
def test_a_jail_of_which_not_all_is_known_is_asked_about(sample, known, jails, status, why):
    changes = {} if status is None else {"fail2ban_status_sshd": status}
    made, policy = drafted(shut(sample, jails, **changes), known)
    assert policy.bans == ()
    assert why in questions(policy)["ask-bans-sshd"]
    assert "# as it is: {jail: sshd, service: tcp/22, maxretry: 5," in made.policy


def test_a_jail_for_all_ports_is_given_no_service_by_guessing(sample, known):
    _, policy = drafted(shut(sample), known)
    assert "which service does it protect" in questions(policy)["ask-bans-ollama-api"]


def test_a_ban_for_good_is_asked_about(sample, known):
    dump = sample.text_of(HOST, "fail2ban-dump").replace(
        "['set', 'sshd', 'bantime', '10m']", "['set', 'sshd', 'bantime', '-1']"
    )
    assert "'-1'" in dump
    about = shut(sample, seen("sshd", TAKEN), fail2ban_status_sshd=STATUS, fail2ban_dump=dump)
    _, policy = drafted(about, known)
    assert "bans for good" in questions(policy)["ask-bans-sshd"]


# ---- vantages


def test_where_nobody_can_send_from_is_asked_about(sample, known):
    made, policy = drafted(subject(sample))
    asked = {name for name in questions(policy) if name.startswith("vantage-")}
    assert asked == {
        "vantage-admin",
        "vantage-host-10-0-0-100",
        "vantage-internal",
        "vantage-outside",
        "vantage-far-ends",
    }
    assert "# admin-host: {addresses: [10.0.0.1, 'fd00:0:0:1::1'], vantage: true}" in made.inventory
    assert not any(host.vantage for host in inventory_of(
        parse_document(made.inventory.encode(), file="i", path=Path("i.yaml"))).hosts.values())  # fmt: skip
    _, policy = drafted(subject(sample), known)
    assert not any(name.startswith("vantage-") for name in questions(policy))


def test_the_addresses_that_are_drafted_are_those_of_the_host(sample):
    assert set(subject(sample).addresses) == set(Family)
