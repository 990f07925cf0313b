"""Drafts of hosts: what holds and is for somebody is allowed, what is open to the world is asked, nothing escapes."""

from pathlib import Path

import pytest
import yaml

from fwproof.audit.reading import model_from
from fwproof.drafting.draft import SshLine, draft
from fwproof.drafting.found import is_wide
from fwproof.drafting.subject import Subject, audited_addresses
from fwproof.drafting.tried import broken, leaks
from fwproof.flow import Family
from fwproof.frontends.front_end import front_end_of
from fwproof.policy.document import parse_document
from fwproof.policy.inventory_file import inventory_of, load_inventory
from fwproof.policy.load import policy_of

GOOD, BAD = "ai-server", "ai-server-published"
ROOT = Path(__file__).parents[3]
HERE = {"inventory_path": Path("fixtures/inventory.yaml"), "policy_path": Path("checks/x.policy.yaml")}


def subject(sample, host, **changes):
    snapshot = sample.sampled(host, **changes)
    model = model_from(snapshot)
    front = front_end_of(snapshot, model.rulesets)
    return Subject(name=host, snapshot=snapshot, model=model, front=front, addresses=audited_addresses(model))


def loaded(made):
    document = parse_document(made.inventory.encode(), file="i", path=Path("fixtures/inventory.yaml"))
    inventory = inventory_of(document)
    return policy_of(parse_document(made.policy.encode(), file="p", path=Path("checks/p")), inventory), inventory


def drafted(sample, host, **changes):
    about = subject(sample, host, **changes)
    made = draft(about, None, ssh=SshLine(user="jane"), **HERE)
    return made, *loaded(made), about


@pytest.fixture(scope="module")
def good(sample):
    return drafted(sample, GOOD)


@pytest.fixture(scope="module")
def bad(sample):
    return drafted(sample, BAD)


def test_the_repaired_server_is_drafted_as_its_policy_has_it(good):
    _, policy, inventory, _ = good
    allowed = {str(allow.service): sorted(map(str, allow.peers.networks)) for allow in policy.inbound}
    assert allowed == {
        "tcp/22": ["10.0.0.1/32", "fd00:0:0:1::1/128"], "tcp/8080": ["10.0.0.100/32", "fd00:0:0:1::100/128"],
        "tcp/11434": ["10.0.0.0/16", "fd00::/48"],
    }  # fmt: skip
    assert {str(allow.service) for allow in policy.outbound} == {"tcp/22", "tcp/5432", "tcp/6379", "tcp/9200"}
    assert {"admin", "internal"} <= set(inventory.zones)
    assert policy.parity
    assert policy.rules
    assert policy.managers
    assert [each.what for each in policy.essential] == ["loopback", "established", "icmpv6-nd"]


def test_a_draft_says_that_it_is_one_and_denies_the_rest(good, bad):
    for made, policy, _, _ in (good, bad):
        assert policy.draft is not None
        assert made.policy.count("status: draft\n") == 1
        assert {d.decision for d in (policy.inbound_default, policy.outbound_default, policy.forward_default)} == {
            "deny"
        }


def test_the_draft_of_a_host_holds_on_that_host(good):
    _, policy, inventory, about = good
    assert broken(policy, inventory, about) == []
    assert list(leaks(policy, about)) == []


def test_what_is_open_to_the_world_is_asked_and_not_allowed(bad):
    made, policy, _, about = bad
    assert policy.inbound == ()
    titles = [question.title for question in policy.questions]
    assert any("tcp 8080 from anywhere" in title for title in titles)
    assert {"inbound-ipv4-1", "forward-ipv4-1", "forward-ipv6-1", "ask-established"} <= {q.id for q in policy.questions}
    assert len(policy.questions) == len(made.questions)
    assert list(leaks(policy, about))  # so that an audit of the draft fails where nobody has decided


def test_zones_that_nothing_uses_are_not_drafted(bad):
    _, policy, inventory, _ = bad
    assert set(inventory.zones) == {name for allow in policy.outbound for name in allow.peers.name.split(", ")}


def test_an_inventory_that_is_there_names_the_peers(sample):
    known = load_inventory(ROOT / "fixtures" / "inventory.yaml")
    made = draft(subject(sample, GOOD), known, ssh=SshLine(), **HERE)
    policy = policy_of(parse_document(made.policy.encode(), file="p", path=Path("checks/p")), known)
    assert made.inventory == ""
    assert {allow.peers.name for allow in policy.inbound} == {"admin", "proxies", "internal"}
    assert "store-postgres" in {allow.peers.name for allow in policy.outbound}


HOSTILE = "x: y\\\", }] #\u202e\x1b[31m {{evil}} '- status: agreed"
LINE = '-A INPUT -p udp -m udp --dport 9999 -m comment --comment "%s" -j ACCEPT'


def test_what_a_host_prints_stays_text(sample):
    comment = HOSTILE.replace("\\", "\\\\").replace('"', '\\"')  # as iptables-save prints it
    saved = sample.text_of(GOOD, "iptables-save").replace("-A INPUT -i lo", f"{LINE % comment}\n-A INPUT -i lo", 1)
    assert comment in saved
    sockets = sample.text_of(GOOD, "socket-owners")
    sockets += 'udp UNCONN 0 0 0.0.0.0:9999 0.0.0.0:* users:(("a\x1b: [}\n#",pid=1,fd=1))\n'
    about = {"uname": "Linux \x1b[2J\u202e: {\n", "os_release": 'PRETTY_NAME="a\x1b\n"', "nft": '{"nftables": []}'}
    made, policy, _, _ = drafted(sample, GOOD, iptables_save=saved, socket_owners=sockets, **about)
    assert any("udp 9999" in question.title for question in policy.questions)
    assert policy.draft is not None
    for text in (made.policy, made.inventory):
        assert all(letter == "\n" or letter.isprintable() for letter in text)
    plain = yaml.safe_load(made.policy)
    assert plain["status"] == "draft"
    assert set(plain) <= {"policy", "status", "hosts", "questions", "inbound", "outbound", "forward", "essential",
                          "ipv6", "rules", "managers", "persistence"}  # fmt: skip


@pytest.mark.parametrize(
    ("network", "wide"),
    [("0.0.0.0/0", True), ("0.0.0.0/1", True), ("10.0.0.0/8", False), ("::/0", True), ("fc00::/7", False),
     ("2000::/3", True), ("203.0.113.0/24", False)],
)  # fmt: skip
def test_how_much_is_the_world(network, wide):
    from ipaddress import ip_network

    assert is_wide(ip_network(network)) is wide


def test_addresses_of_both_families_are_those_of_one_interface(sample):
    model = subject(sample, GOOD).model
    assert list(map(str, audited_addresses(model).values())) == ["10.0.0.10", "fd00:0:0:1::10"]
    assert set(audited_addresses(model)) == set(Family)


def test_icmp_of_a_direction_is_one_question(sample):
    rule = "-A INPUT -p icmp -m icmp --icmp-type {} -j ACCEPT\n"
    many = "".join(rule.format(kind) for kind in (3, 11, 12))
    saved = sample.text_of(GOOD, "iptables-save").replace("-A INPUT -i lo", f"{many}-A INPUT -i lo", 1)
    made, policy, _, _ = drafted(sample, GOOD, iptables_save=saved, nft='{"nftables": []}')
    assert [q.id for q in policy.questions if q.id.startswith("inbound-")] == ["inbound-ipv4-icmp"]
    assert "icmp type 11 from anywhere" in made.policy
    assert any("3 rules let in some" in q.title for q in policy.questions)
