"""Judging listening sockets: what can be reached is named, what is named is served, and the wire agrees."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from fwproof.errors import HostError
from fwproof.evidence.sockets import parse_sockets
from fwproof.facts import Facts, FlowFacts, SocketFacts
from fwproof.flow import Family
from fwproof.flows import request
from fwproof.inventory import Host, Inventory, SshAddress
from fwproof.judging import judge
from fwproof.observation import Observation, PortState, Probe
from fwproof.plan import Check, Kind
from fwproof.policy.model import Allow, Peers, Policy, Service
from fwproof.policy.table_model import AcceptedSocket, Listeners
from fwproof.results import Verdict
from fwproof.semantics.model import HostModel

PASS, FAIL, UNSURE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
OWN, PEER = ip_address("10.0.0.10"), ip_address("10.0.5.7")
ADDRESSES = (
    '[{"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]}, {"ifname": "eth0",'
    ' "addr_info": [{"family": "inet", "local": "10.0.0.10", "prefixlen": 16}, {"family": "inet",'
    ' "local": "10.0.0.11", "prefixlen": 16}]}]'
)
ANY = {"id": "x", "title": "x", "file": "p.yaml", "line": 3}
SSH = Allow(**{**ANY, "id": "ssh"}, service=Service("tcp", 22, "ssh"), peers=Peers("in", (ip_network("10.0.0.0/8"),)))
POLICY = Policy(name="p", path=Path("p"), sha256="", hosts=("web",), services={}, inbound=(SSH,))
WEB = Host(name="web", addresses=(OWN,), ssh=SshAddress(address="x"))
INVENTORY = Inventory(path=Path("i"), sha256="", hosts={"web": WEB}, zones={})
SSHD = 'tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=16,fd=4))'
CUPS = 'tcp LISTEN 0 128 0.0.0.0:631 0.0.0.0:* users:(("cupsd",pid=9,fd=4))'
NTP = "udp UNCONN 0 0 0.0.0.0:123 0.0.0.0:*"
RULES = ("-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",)
OPEN_CUPS = ("-A INPUT -s 10.0.5.0/24 -p tcp -m tcp --dport 631 -j ACCEPT",)
NAT = """*nat
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport {} -j {}
COMMIT
"""


def table(*rules, nat=""):
    lines = ["*filter", ":INPUT DROP [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", *rules, "COMMIT", ""]
    return nat + "\n".join(lines)


def judged(before, *rules, after=None, seen=(), policy=POLICY, nat="", **asked):
    model = HostModel.build(iptables_save=table(*rules, nat=nat), addresses=ADDRESSES)
    texts = ["\n".join(lines) for lines in (before, before if after is None else after)]
    known = SocketFacts(before=parse_sockets(texts[0]), after=parse_sockets(texts[1]), probed=tuple(seen))
    facts = Facts(inventory=INVENTORY, snapshots={}, models={"web": model}, agents={}, exercised={"c": known}, flows={})
    check = Check(
        id="c", kind=Kind.LISTENERS, policy=policy, expectation=Listeners(**ANY, **asked), host="web", expected="",
        family=Family.IPV4,
    )  # fmt: skip
    return judge(check, facts)


def wire(state, port=22, proto="tcp", src=PEER, receiver="web"):
    flow = request(Service(proto, port, "x"), src, OWN)
    probe = Probe(ref="r", sender="v", receiver=receiver, flow=flow)
    observation = Observation(probe=probe, state=state, sent=1, arrived=True, confirmed=None)
    return FlowFacts(flow=flow, ruling=HostModel.build(iptables_save=table()).evaluate(flow), observation=observation)


def told(outcome, verdict, words):
    assert outcome.verdict is verdict, outcome
    assert words in f"{outcome.reason} | {outcome.cause} | {outcome.evidence}"
    assert bool(outcome.fix) == (verdict is FAIL)


def accept(socket, process="", finding=""):
    return AcceptedSocket(socket=socket, process=process, finding=finding, reason="why")


def test_what_can_be_reached_is_named():
    told(
        judged([SSHD], *RULES, seen=[wire(PortState.OPEN)]), PASS, "is named by an expectation (1), and the wire agrees"
    )
    told(judged([SSHD], *RULES), PASS, "which no probe could show on the wire")


@pytest.mark.parametrize(
    ("line", "rules", "verdict", "words"),
    [
        (CUPS, OPEN_CUPS, FAIL, "tcp/631 on every address (cupsd) can be reached, and no expectation names it: tcp"),
        (CUPS, OPEN_CUPS, FAIL, "tcp 631 from 10.0.5.0/24, let in by ip filter INPUT rule 2"),
        (CUPS, (), PASS, "the rules keep everybody out: tcp/631"),
        (CUPS.replace("0.0.0.0:631", "127.0.0.1:631"), OPEN_CUPS, PASS, "is named by an expectation (1)"),
        (CUPS.replace("0.0.0.0:631", "10.0.0.10:631"), OPEN_CUPS, FAIL, "tcp/631 on 10.0.0.10 (cupsd)"),
        (CUPS.replace("0.0.0.0:631", "10.0.0.11:631"), (f"{OPEN_CUPS[0]} -d 10.0.0.10",), PASS, "keep everybody out"),
        (CUPS.replace("0.0.0.0:631", "0.0.0.0%lo:631"), OPEN_CUPS, PASS, "is named by an expectation (1)"),
        (CUPS.replace("0.0.0.0:631", "0.0.0.0%eth9:631"), OPEN_CUPS, FAIL, "%eth9"),
        (CUPS.replace("0.0.0.0:631", "[::]:631"), OPEN_CUPS, PASS, "is named by an expectation (1)"),
        (CUPS.replace("0.0.0.0:631", "*:631"), OPEN_CUPS, FAIL, "tcp/631"),
        (NTP, ("-A INPUT -p udp -j ACCEPT",), FAIL, "udp/123 on every address (process not told)"),
        (NTP, ("-A INPUT -p tcp -m tcp --dport 123 -j ACCEPT",), PASS, "the rules keep everybody out: udp/123"),
        (NTP, ("-A INPUT -p udp -m limit --limit 1/min -j ACCEPT",), FAIL, "(depends: limit"),
        (NTP, ("-A INPUT -p udp -j NFQUEUE",), UNSURE, "udp/123"),
    ],
)  # fmt: skip
def test_a_socket_that_no_expectation_names(line, rules, verdict, words):
    told(judged([SSHD, line], *RULES, *rules), verdict, words)


def test_a_finding_that_is_accepted_is_told_and_does_not_fail():
    for accepted in (accept("tcp/631", "", ""), accept("", "cupsd", "undeclared")):
        told(
            judged([SSHD, CUPS], *RULES, *OPEN_CUPS, accepted=(accepted,)), PASS, "accepted (why): undeclared: tcp/631"
        )
    for other in (accept("tcp/632", "", ""), accept("tcp/631", "sshd", ""),
                  accept("tcp/631", "", "idle")):  # fmt: skip
        told(judged([SSHD, CUPS], *RULES, *OPEN_CUPS, accepted=(other,)), FAIL, "tcp/631")
    told(judged([SSHD, CUPS], *RULES, *OPEN_CUPS, fail=("idle",)), PASS, "only told: undeclared: tcp/631")


def test_a_process_that_shares_a_port_with_an_accepted_one_is_not_accepted():
    both = CUPS.replace("))", '),("sneaky",pid=10,fd=4))')
    accepted = (accept("tcp/631", "cupsd", ""),)
    told(judged([SSHD, both], *RULES, *OPEN_CUPS, accepted=accepted), FAIL, "cupsd, sneaky")


def test_a_socket_that_was_there_for_a_part_of_the_run_is_no_finding():
    for before, after in (([SSHD, CUPS], [SSHD]), ([SSHD], [SSHD, CUPS])):
        told(judged(before, *RULES, *OPEN_CUPS, after=after), PASS, "for a part of the run only: tcp/631")


def test_a_service_that_nobody_serves_is_told_and_fails_where_the_policy_says_so():
    told(judged([], *RULES), PASS, "only told: idle: ssh lets in tcp/22, and nobody listens there")
    told(judged([], *RULES, fail=("idle",)), FAIL, "a service is let in that nobody serves")
    told(judged([SSHD.replace("tcp LISTEN", "udp UNCONN")], *RULES, fail=("idle",)), FAIL, "nobody listens")


@pytest.mark.parametrize(
    ("seen", "verdict", "words"),
    [
        (wire(PortState.OPEN, 80), FAIL, "a port answers where no socket listens"),
        (wire(PortState.OPEN, 80, receiver="other"), PASS, "no probe could show"),
        (wire(PortState.OPEN, 22, "udp"), FAIL, "no socket of the host listens at 10.0.0.10 udp/22"),
        (wire(PortState.CLOSED, 80), PASS, "the wire agrees"),
        (wire(PortState.CLOSED), FAIL, "a socket that is let in does not answer"),
        (wire(PortState.SILENT), FAIL, "but on the wire it is silent"),
        (wire(PortState.ACCEPTED_SILENT), FAIL, "unanswered: tcp/22"),
        (wire(PortState.REPLY_LOST), PASS, "no probe could show"),
        (wire(PortState.NEVER_ARRIVED), PASS, "no probe could show"),
        (wire(PortState.CLOSED, 123, "udp"), FAIL, "udp/123"),
        (wire(PortState.ACCEPTED_SILENT, 123, "udp"), PASS, "no probe could show"),
    ],
)
def test_what_the_wire_shows_is_what_listens(seen, verdict, words):
    rules = (*RULES, "-A INPUT -p udp -m udp --dport 123 -j ACCEPT")
    named = replace(SSH, id="ntp", service=Service("udp", 123, "ntp"))
    policy = replace(POLICY, inbound=(SSH, named))
    told(judged([SSHD, NTP], *rules, seen=[seen], policy=policy), verdict, words)


def test_the_sums_say_what_was_compared():
    local = CUPS.replace("0.0.0.0:631", "127.0.0.1:22")
    found = judged([SSHD, local, NTP], *RULES, seen=[wire(PortState.OPEN), wire(PortState.SILENT, 123, "udp")])
    assert "1 socket named by expectations, 0 sockets that can be reached and are not, 1 socket that" in found.proved
    assert "1 socket on loopback only left out" in found.proved
    assert found.observed == "probes that showed the state of a port: 1"
    assert found.attributed == "tcp/22: sshd"


def test_a_socket_behind_a_limit_may_be_silent():
    rules = ("-A INPUT -p tcp -m tcp --dport 22 -m limit --limit 1/min -j ACCEPT",)
    told(judged([SSHD], *rules, seen=[wire(PortState.SILENT)]), PASS, "is named")


def test_a_socket_that_the_tables_keep_from_a_vantage_may_be_silent():
    rules = ("-A INPUT -s 10.0.0.1 -p tcp -m tcp --dport 22 -j ACCEPT",)
    told(judged([SSHD], *rules, seen=[wire(PortState.SILENT)]), PASS, "is named")


def test_nat_sends_packets_to_a_socket_that_no_expectation_names():
    rules = (*RULES, "-A INPUT -m conntrack --ctstate DNAT -j ACCEPT")
    found = judged([SSHD, CUPS], *rules, nat=NAT.format(8000, "REDIRECT --to-ports 631"))
    told(found, FAIL, "tcp/631 on every address (cupsd) can be reached")
    assert "tcp 8000" in found.reason
    told(judged([SSHD], *rules, nat=NAT.format(2222, "REDIRECT --to-ports 22")), FAIL, "tcp 2222 from anywhere")
    printing = replace(SSH, id="print", service=Service("tcp", 8000, "print"))
    policy = replace(POLICY, inbound=(SSH, printing))
    named = judged([SSHD, CUPS], *rules, nat=NAT.format(8000, "REDIRECT --to-ports 631"), policy=policy)
    told(named, PASS, "is named by an expectation (2)")
    away = judged([SSHD, CUPS], *rules, nat=NAT.format(631, "REDIRECT --to-ports 632"))
    told(away, PASS, "the rules keep everybody out: tcp/631")
    elsewhere = judged([SSHD, CUPS], *rules, nat=NAT.format(8000, "REDIRECT --to-ports 632"))
    told(elsewhere, PASS, "the rules keep everybody out: tcp/631")


def test_nat_of_many_ports_reaches_each_of_them():
    rules = (*RULES, "-A INPUT -m conntrack --ctstate DNAT -j ACCEPT")
    found = judged([SSHD, CUPS], *rules, nat=NAT.format("600:700", "REDIRECT"))
    told(found, FAIL, "tcp/631 on every address (cupsd) can be reached")
    picked = judged([SSHD, CUPS], *rules, nat=NAT.format(8000, "REDIRECT --to-ports 600-700"))
    told(picked, UNSURE, "where nat sends packets could not be told: tcp 8000 from anywhere")


def test_a_port_that_nat_hands_on_needs_no_socket_but_an_expectation():
    nat = NAT.format(80, "DNAT --to-destination 10.0.7.7:8080")
    told(judged([SSHD], *RULES, nat=nat, seen=[wire(PortState.OPEN, 80)]), FAIL, "nat sends it on to 10.0.7.7 tcp/8080")
    web = replace(SSH, id="web", service=Service("tcp", 80, "web"))
    policy = replace(POLICY, inbound=(SSH, web))
    found = judged([SSHD], *RULES, nat=nat, seen=[wire(PortState.OPEN, 80)], policy=policy, fail=("idle", "undeclared"))
    told(found, PASS, "tcp/80 is open on the wire: nat sends it on to 10.0.7.7 tcp/8080")


def test_what_is_not_understood_is_no_pass_and_hides_no_failure():
    told(judged([SSHD, "tcp LISTEN 0 12"], *RULES), UNSURE, "a line of ss was not understood: 'tcp LISTEN 0 12'")
    told(judged([SSHD], *RULES, after=[SSHD, "?"]), UNSURE, "a line of ss was not understood: '?'")
    told(judged([SSHD, CUPS, "?"], *RULES, *OPEN_CUPS), FAIL, "tcp/631")


def test_what_could_not_be_looked_at_is_an_error():
    check = Check(id="c", kind=Kind.LISTENERS, policy=POLICY, expectation=Listeners(**ANY), host="web", expected="",
                  family=Family.IPV4)  # fmt: skip
    facts = Facts(inventory=INVENTORY, snapshots={}, models={}, agents={}, exercised={"c": HostError("web", "no ss")})
    with pytest.raises(HostError, match="no ss"):
        judge(check, facts)
