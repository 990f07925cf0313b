"""Changes of tables in words and on the model: each closes or opens what was asked, and says what else it changes."""

import pytest

from fwproof.explaining.changes import Asked, closing, opening, way_of
from fwproof.explaining.edits import Edit, Place, applied, chain_at, rule_of
from fwproof.explaining.sentences import answer
from fwproof.flow import Family
from fwproof.flows import request
from fwproof.frontends.front_end import FrontEnd, front_end_of
from fwproof.policy.model import Service
from fwproof.semantics.conversation import converse
from fwproof.semantics.model import HostModel

HEAD = "*filter\n:INPUT {0} [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT {1} [0:0]\n"
ADDRESSES = """[{"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.10", "prefixlen": 24},
    {"family": "inet6", "local": "fd00::10", "prefixlen": 64}]}]"""
SENDER, HOST = "203.0.113.66", "10.0.0.10"


def tables(rules, policy="DROP", out="ACCEPT"):
    text = HEAD.format(policy, out) + "".join(f"-A {rule}\n" for rule in rules) + "COMMIT\n"
    return HostModel.build(iptables_save=text, addresses=ADDRESSES)


def asked(model, port=8080, src=SENDER, dst=HOST, front=None):
    from ipaddress import ip_address

    flow = request(Service("tcp", port, ""), ip_address(src), ip_address(dst))
    return Asked(
        model=model, front=front or FrontEnd(), flow=flow, found=converse(model, flow), way=way_of(model, flow)
    )


WIDE = [
    "INPUT -i lo -j ACCEPT",
    "INPUT -p tcp -m tcp --dport 8080 -j ACCEPT",
    "INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
]


def test_the_rule_for_one_sender_goes_before_the_one_that_lets_him_in_and_changes_nothing_else():
    narrow, gone = closing(asked(tables(WIDE)))
    assert [edit.command for edit in narrow.edits] == [
        f"iptables -I INPUT 2 -s {SENDER} -p tcp -m tcp --dport 8080 -j DROP"
    ]
    assert narrow.after.request.ruling.refused
    assert narrow.after.request.ruling.by.rule == 2
    assert narrow.own
    assert narrow.others == ()
    assert [edit.command for edit in gone.edits] == ["iptables -D INPUT 2"]
    assert {str(room) for change in gone.others for room in change.rooms} == {f"tcp 8080 from anywhere except {SENDER}"}


def test_a_rule_that_does_not_close_is_not_named():
    # taking one of two out leaves the other
    found = closing(asked(tables([*WIDE, "INPUT -p tcp -j ACCEPT"])))
    assert [edit.command for each in found for edit in each.edits] == [
        f"iptables -I INPUT 2 -s {SENDER} -p tcp -m tcp --dport 8080 -j DROP"
    ]


def test_what_a_policy_lets_in_is_closed_at_the_end_of_the_chain():
    (only,) = closing(asked(tables(["INPUT -i lo -j ACCEPT"], policy="ACCEPT")))
    assert only.edits[0].command == f"iptables -A INPUT -s {SENDER} -p tcp -m tcp --dport 8080 -j DROP"
    assert only.others == ()


def test_opening_goes_before_the_chain_that_logs_and_drops():
    rules = ["INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "INPUT -j OUT", "OUT -j LOG", "OUT -j DROP"]
    model = HostModel.build(
        iptables_save=HEAD.format("DROP", "ACCEPT")
        + ":OUT - [0:0]\n"
        + "".join(f"-A {r}\n" for r in rules)
        + "COMMIT\n",
        addresses=ADDRESSES,
    )
    (only,) = opening(asked(model))
    words = f"-s {SENDER} -p tcp -m tcp --dport 8080 -m conntrack --ctstate NEW -j ACCEPT"
    assert [edit.command for edit in only.edits] == [f"iptables -I INPUT 2 {words}"]
    assert only.after.works
    assert only.others == ()


def test_opening_lets_the_answers_out_as_well():
    (only,) = opening(asked(tables([], out="DROP")))
    assert [edit.place.chain for edit in only.edits] == ["INPUT", "OUTPUT"]
    assert only.edits[1].command == (
        f"iptables -A OUTPUT -s {HOST} -d {SENDER} -p tcp -m tcp --sport 8080"
        " -m conntrack --ctstate ESTABLISHED -j ACCEPT"
    )
    assert only.after.works
    assert only.others == ()


def test_without_rules_there_is_nothing_to_change():
    model = HostModel.build(iptables_save="# empty\n", addresses=ADDRESSES)
    assert closing(asked(model)) == []
    text = "\n".join(answer(asked(model)))
    assert "there is no firewall to change" in text
    assert f"{SENDER} can reach tcp/8080 at {HOST}" in text


def test_what_depends_is_closed_at_the_rule_that_may_let_it_in():
    about = asked(tables(["INPUT -m strange --thing -j ACCEPT"]))
    text = "\n".join(answer(about))
    assert "can reach tcp/8080 at 10.0.0.10, depending on unread match -m strange --thing" in text
    assert "Where it is let through, it is by ip filter INPUT rule 1" in text
    narrow, gone = closing(about)
    assert narrow.edits[0].at == 1
    assert gone.edits[0].command == "iptables -D INPUT 1"


def test_what_cannot_be_read_is_not_changed():
    text = "\n".join(answer(asked(tables(["INPUT -j STRANGE --thing"]))))
    assert "may or may not" in text
    assert "No change is proposed" in text


def test_an_edit_moves_the_numbers_behind_it():
    model = tables(WIDE)
    place = Place(family="ip", table="filter", chain="INPUT")
    edit = Edit(family=Family.IPV4, place=place, at=2, rule=rule_of("-p udp -j DROP", Family.IPV4), command="")
    chain = chain_at(applied(model, [edit]), Family.IPV4, place)
    assert [rule.ref.rule for rule in chain.rules] == [1, 2, 3, 4]
    assert chain.rules[1].ref.text == "-A INPUT -p udp -j DROP"
    gone = Edit(family=Family.IPV4, place=place, at=1, rule=None, command="")
    chain = chain_at(applied(model, [gone]), Family.IPV4, place)
    assert [rule.ref.rule for rule in chain.rules] == [1, 2]
    assert chain_at(model, Family.IPV4, place).rules[0].ref.text == "-A INPUT -i lo -j ACCEPT"


LOCAL = """[{"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.10", "prefixlen": 24},
    {"family": "inet6", "local": "fd00::10", "prefixlen": 64}]},
    {"ifname": "docker0", "addr_info": [{"family": "inet", "local": "172.17.0.1", "prefixlen": 16}]}]"""
ROUTES = '[{"dst": "default", "dev": "eth0"}, {"dst": "172.17.0.0/16", "dev": "docker0"}]'


def captured(read, host, **changes):
    snapshot = read(host, **changes)
    keys = {"iptables-save": "iptables_save", "ip6tables-save": "ip6tables_save", "nft": "nft_json"}
    texts = {keys[name]: capture.stdout for name, capture in snapshot.captures.items() if name in keys}
    model = HostModel.build(**texts, addresses=LOCAL, routes=ROUTES, sysctls="/proc/sys/net/ipv4/ip_forward:1\n")
    return model, front_end_of(snapshot, model.rulesets)


@pytest.mark.parametrize(
    ("host", "commands"),
    [
        ("ufw-published", [f"ufw prepend deny from {SENDER} to any port 8080 proto tcp", "ufw delete allow 'Web UI'"]),
        ("firewalld-published", [
            ("firewall-cmd --permanent --zone=public '--add-rich-rule=rule family=\"ipv4\" source"
            f' address="{SENDER}" port port="8080" protocol="tcp" drop\' && firewall-cmd --reload'),
            "firewall-cmd --zone=public --remove-port=8080/tcp",
        ]),
        ("docker-published", [
            (f"iptables -I DOCKER-USER -s {SENDER} -p tcp -m conntrack --ctstate DNAT --ctorigdstport 8080"
            " --ctdir ORIGINAL -j DROP"),
        ]),
    ],
)  # fmt: skip
def test_a_front_end_is_told_in_its_own_words(read, host, commands):
    model, front = captured(read, host)
    found = closing(asked(model, front=front))
    assert [list(dict.fromkeys(edit.command for edit in each.edits)) for each in found] == [[line] for line in commands]
    assert all(each.after.request.ruling.refused for each in found)


def test_what_ufw_deletes_goes_in_both_families(read):
    model, front = captured(read, "ufw-published")
    gone = closing(asked(model, front=front))[1]
    assert {edit.family for edit in gone.edits} == set(Family)
    assert {change.family for change in gone.others} == set(Family)


def test_nftables_are_told_by_place(read):
    model, front = captured(read, "nftables")
    (only,) = opening(asked(model, front=front))
    assert (
        only.edits[0].command == f"nft add rule inet filter input ip saddr {SENDER} tcp dport 8080 ct state new accept"
    )
    assert only.others == ()
