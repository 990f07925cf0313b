"""Claims over the whole packet space, and words for who refuses and who lets through."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import pytest

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.judging.space import judge_claim, refusal_cause
from fwproof.plan import Check, Kind
from fwproof.policy.model import Allow, Peers, Policy, Service
from fwproof.results import Verdict
from fwproof.semantics.model import HostModel


def test_what_the_routing_drops_is_not_blamed_on_a_policy():
    ref = RuleRef(family="ip", table="routing", chain="routing", rule=None, text="martian source 10.0.0.10")
    assert refusal_cause(ref) == "the host's own routing refuses what the policy allows: martian source 10.0.0.10"
    assert "its policy is DROP" in refusal_cause(
        RuleRef(family="ip", table="filter", chain="INPUT", rule=None, text="DROP")
    )


NEAR = Peers("near", (ip_network("10.0.0.0/16"),))
ALLOW = Allow(id="http", title="x", file="p.yaml", line=3, service=Service("tcp", 80, "http"), peers=NEAR)
POLICY = Policy(name="p", path=None, sha256="", hosts=("h",), services={}, inbound=(ALLOW,))
ADDRESSES = (
    '[{"ifname": "lo", "addr_info": []}, {"ifname": "eth1", "addr_info": []}, {"ifname": "eth0", "addr_info":'
    ' [{"family": "inet", "local": "10.0.0.10", "prefixlen": 16, "broadcast": "10.0.255.255"}]}]'
)
ROUTES = '[{"dst": "10.0.0.0/16", "dev": "eth0"}, {"dst": "default", "dev": "eth1"}]'
HEAD = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT DROP [0:0]\n"
ACCEPT = "-A INPUT -s 10.0.0.0/16 -p tcp -m tcp --dport 80 -j ACCEPT\n"
ANSWER = "-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
CLAIMS = {
    "open and answered": (ACCEPT + ANSWER, Verdict.PASS, "is open to exactly near"),
    "by the way and for the address that peers use": (
        ("-A INPUT -i eth0 -d 10.0.0.10 -s 10.0.0.0/16 -p tcp -m tcp --dport 80 -j ACCEPT\n"
        "-A OUTPUT -o eth0 -s 10.0.0.10 -p tcp -m tcp --sport 80 -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"),
        Verdict.PASS, "is open to exactly near"),
    "by another way": (
        "-A INPUT -i eth1 -s 10.0.0.0/16 -p tcp -m tcp --dport 80 -j ACCEPT\n" + ANSWER, Verdict.FAIL,
        "refused, though the policy lets it pass: tcp 80 from 10.0.0.0/16 to 10.0.0.10 through eth0"),
    "for others too": (ACCEPT.replace("10.0.0.0/16", "10.0.0.0/15") + ANSWER, Verdict.FAIL,
                       "others than near pass: tcp 80 from 10.1.0.0/16"),
    "not for all": ("-A INPUT -s 10.0.9.0/24 -j REJECT\n" + ACCEPT + ANSWER, Verdict.FAIL,
                    "refused, though the policy lets it pass: tcp 80 from 10.0.9.0/24"),
    "answered to some only": (ACCEPT + "-A OUTPUT -d 10.0.9.0/24 -j DROP\n" + ANSWER, Verdict.FAIL,
                              "let in, but its answers are refused: tcp from 10.0.0.10 to 10.0.9.0/24"),
    "not understood": ("-A INPUT -j NFQUEUE\n" + ANSWER, Verdict.INCONCLUSIVE, "unknown"),
}  # fmt: skip


def judged(rules):
    model = HostModel.build(iptables_save=f"{HEAD}{rules}COMMIT\n", addresses=ADDRESSES, routes=ROUTES)
    check = Check(id="c", kind=Kind.CLAIM, policy=POLICY, expectation=ALLOW, host="h", expected="",
                  family=Family.IPV4, service=ALLOW.service, direction="inbound")  # fmt: skip
    own = SimpleNamespace(address=lambda _: ip_address("10.0.0.10"))
    return judge_claim(check, SimpleNamespace(model=lambda _: model, inventory=SimpleNamespace(hosts={"h": own})))


ADDRESSES6 = (
    ADDRESSES.replace("inet", "inet6").replace("10.0.0.10", "fd00::10").replace('"prefixlen": 16', '"prefixlen": 64')
)
ALLOW6 = replace(ALLOW, peers=Peers("near", (ip_network("fd00::/48"),)))
ROUTES6 = '[{"dst": "fd00::/48", "dev": "eth0"}, {"dst": "default", "dev": "eth1"}]'
ACCEPT6 = "-A INPUT -s fd00::/48 -p tcp -m tcp --dport 80 -j ACCEPT\n"


def judged6(rules):
    model = HostModel.build(ip6tables_save=f"{HEAD}{rules}COMMIT\n", addresses=ADDRESSES6, routes6=ROUTES6)
    policy = replace(POLICY, inbound=(ALLOW6,))
    check = Check(id="c", kind=Kind.CLAIM, policy=policy, expectation=ALLOW6, host="h", expected="",
                  family=Family.IPV6, service=ALLOW6.service, direction="inbound")  # fmt: skip
    own = SimpleNamespace(address=lambda _: ip_address("fd00::10"))
    return judge_claim(check, SimpleNamespace(model=lambda _: model, inventory=SimpleNamespace(hosts={"h": own})))


@pytest.mark.parametrize(
    ("first", "verdict"),
    [
        ("-A INPUT -m rt --rt-type 0 -j DROP\n-A OUTPUT -m rt --rt-type 0 -j DROP\n", Verdict.PASS),  # as ufw has it
        ("-A INPUT -s fd00::10/128 -j DROP\n-A INPUT -s fd00::/128 -j DROP\n", Verdict.PASS),  # nobody else's addresses
        ("-A INPUT -s fd00::11/128 -j DROP\n", Verdict.FAIL),
        ("-A INPUT -m rt ! --rt-type 0 -j ACCEPT\n-A INPUT -s fd00::11/128 -j DROP\n", Verdict.FAIL),
    ],
)
def test_what_no_connection_of_the_peers_has_is_not_refused_to_them(first, verdict):
    outcome = judged6(first + ACCEPT6 + ANSWER)
    assert outcome.verdict is verdict, outcome


def test_a_claim_names_the_rules_at_fault_and_how_they_are():
    fine, wide, shut = (judged(CLAIMS[name][0]) for name in ("open and answered", "for others too", "not for all"))
    assert (fine.wrong, wide.wrong, shut.wrong) == ("", "open", "shut")
    assert (wide.by[0].rule, shut.by[0].rule) == (1, 1)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_over_all_packets(name):
    rules, verdict, words = CLAIMS[name]
    outcome = judged(rules)
    assert outcome.verdict is verdict, outcome
    assert words in outcome.reason
    if verdict is Verdict.FAIL:
        assert outcome.cause
        assert outcome.fix
        assert outcome.evidence


NOBODY = {
    "shut": ("", Verdict.PASS, "tcp/80 is open to nobody here: near has no address of ipv6"),
    "open to all": ("-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT\n", Verdict.FAIL, "others than near pass: tcp 80"),
    "open to some": (ACCEPT6, Verdict.FAIL, "others than near pass: tcp 80 from fd00::/48"),
    "not understood": ("-A INPUT -j NFQUEUE\n", Verdict.INCONCLUSIVE, "unknown"),
}  # fmt: skip


@pytest.mark.parametrize(("rules", "verdict", "words"), NOBODY.values(), ids=NOBODY)
def test_a_service_whose_peers_have_no_address_of_a_family(rules, verdict, words):
    model = HostModel.build(ip6tables_save=f"{HEAD}{rules}COMMIT\n", addresses=ADDRESSES6, routes6=ROUTES6)
    check = Check(id="c", kind=Kind.CLAIM, policy=POLICY, expectation=ALLOW, host="h", expected="",
                  family=Family.IPV6, service=ALLOW.service, direction="inbound")  # fmt: skip
    own = SimpleNamespace(address=lambda _: ip_address("fd00::10"))
    found = judge_claim(check, SimpleNamespace(model=lambda _: model, inventory=SimpleNamespace(hosts={"h": own})))
    assert found.verdict is verdict, found
    assert words in found.reason
