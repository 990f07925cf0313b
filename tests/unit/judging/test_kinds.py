"""Judging what is not a single flow: limits, bans, drop logs, persistence and essentials, as tables of rows."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import pytest

from fwproof.decision import RuleRef
from fwproof.errors import AgentRefused, CommandRefused, HostError, NotThere
from fwproof.evidence.droplog import parse_line
from fwproof.facts import BurstFacts, Connected, FlowFacts, LogFacts, NeighbourFacts, Untried
from fwproof.flow import Family
from fwproof.flows import request
from fwproof.judging import judge
from fwproof.observation import Observation, PortState, Probe
from fwproof.plan import Check, Kind
from fwproof.policy.model import Allow, Bans, Essential, Peers, Policy, Rate, Service
from fwproof.policy.table_model import DropLog, Persistence
from fwproof.results import Verdict
from fwproof.ruleset.asks import Limit
from fwproof.semantics.limits import LogAct
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Capture, Snapshot

PASS, FAIL, UNSURE, NA = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE
HTTP = Service("tcp", 80, "http")
ANY = {"id": "x", "title": "x", "file": "p.yaml", "line": 3}
ALLOW = Allow(service=HTTP, peers=Peers("near", ()), rate=Rate(20, 60.0), **ANY)
BANS = Bans(jail="web", service=HTTP, maxretry=5, findtime=600, bantime=3600, exercise=True, **ANY)
RULE = RuleRef(family="ip", table="filter", chain="INPUT", rule=4, text="-A INPUT -j DROP")


def check_of(kind, expectation, expected="", family=Family.IPV4, **more):
    policy = Policy(name="p", path=None, sha256="", hosts=("h",), services={})
    return Check(
        id="c", kind=kind, policy=policy, expectation=expectation, host="h", expected=expected, family=family, **more
    )  # fmt: skip


def facts(exercised=None, *, texts=None, faults=None, model=None):
    captures = {
        name: Capture(name=name, argv=(), status=0, stdout=text, stderr="", at="", seconds=0.0)
        for name, text in (texts or {}).items()
    }
    shot = Snapshot(host="h", captures=captures, faults=faults or {})
    own = SimpleNamespace(address=lambda family: ip_address("10.0.0.10" if family == "ipv4" else "fd00:0:0:1::10"))
    return SimpleNamespace(
        exercised={} if exercised is None else {"c": exercised}, flows={}, snapshot=lambda _: shot,
        snapshots={"h": shot}, model=lambda _: model, inventory=SimpleNamespace(hosts={"h": own}, zones={}),
        front_ends={},
    )  # fmt: skip


def told(outcome, verdict, words):
    assert outcome.verdict is verdict, outcome
    assert words in f"{outcome.reason} | {outcome.cause}"
    if verdict is FAIL:
        assert outcome.cause
        assert outcome.fix


# ---- limits


def burst(predicted, admitted, *, arrived=25, answered=None, **more):
    return BurstFacts(
        sent=25, arrived=arrived, admitted=admitted, answered=admitted if answered is None else answered,
        first_refused=None, predicted=tuple(n < predicted for n in range(25)), **more,
    )  # fmt: skip


STOOD_IN = Observation(
    probe=Probe(ref="p", sender="v", receiver="h", flow=request(HTTP, *map(ip_address, ("10.0.0.1", "10.0.0.10")))),
    state=PortState.NEVER_ARRIVED,
    sent=1,
    arrived=False,
    confirmed=None,
    answer="SYN/ACK",
)
INSIDE = "20 of 25 in 60 s"
OUTSIDE = "limited or denied"
LIMITS = [
    (INSIDE, burst(20, 20), PASS, "exactly 20 of 25"),
    (INSIDE, burst(19, 19), FAIL, "the limiter admits 19, not 20"),
    (INSIDE, burst(21, 21), FAIL, "the limiter admits 21, not 20"),
    (INSIDE, burst(25, 25), FAIL, "no limiter applies to this source"),
    (INSIDE, burst(0, 0), FAIL, "the tables let in none"),
    (INSIDE, burst(20, 19), FAIL, "should admit 20, but 19 were let in"),
    (INSIDE, burst(20, 25), FAIL, "model and wire disagree"),
    (INSIDE, burst(20, 20, answered=3), FAIL, "only 3 were answered"),
    (INSIDE, burst(20, 0, arrived=0), UNSURE, "no packet of the burst arrived"),
    (INSIDE, burst(20, 15, arrived=20), UNSURE, "5 packets of the burst were lost"),
    (INSIDE, burst(20, 20, watched=False), PASS, "exactly 20 of 25"),
    (INSIDE, burst(20, 0, watched=False), UNSURE, "nobody watched"),
    (INSIDE, burst(20, 0, arrived=0, untried=Untried.OFF), NA, "exercises are switched off"),
    (INSIDE, burst(20, 0, arrived=0, untried=Untried.NO_VANTAGE), UNSURE, "no vantage"),
    (INSIDE, burst(19, 0, arrived=0, untried=Untried.OFF), FAIL, "the limiter admits 19, not 20"),
    (OUTSIDE, burst(0, 0), PASS, "limited: 0 of 25"),
    (OUTSIDE, burst(20, 20), PASS, "limited: 20 of 25"),
    (OUTSIDE, burst(25, 25), FAIL, "not limited at all"),
    (OUTSIDE, burst(0, 25), FAIL, "let in 25 times of 25"),
    (OUTSIDE, burst(0, 5), FAIL, "the tables let none in, but 5 of 25 were let in"),
    (OUTSIDE, burst(0, 0, arrived=0, seen=(STOOD_IN,)), UNSURE, "1 packets of the burst were answered, and not seen"),
    (OUTSIDE, burst(25, 0, arrived=0), FAIL, "not limited at all"),
    (OUTSIDE, burst(0, 0, arrived=0), PASS, "no packet of the burst arrived"),
    (OUTSIDE, burst(0, 0, arrived=0, untried=Untried.OFF), NA, "exercises are switched off"),
]


@pytest.mark.parametrize(("expected", "seen", "verdict", "words"), LIMITS)
def test_limits(expected, seen, verdict, words):
    outcome = judge(check_of(Kind.RATE, ALLOW, expected, service=HTTP), facts(seen))
    told(outcome, verdict, words)
    assert (outcome.wrong == "open") is (verdict is FAIL and sum(seen.predicted) > 20)


# ---- bans

STATUS = """Status for the jail: web
|- Filter
|  |- Currently failed:\t0
|  |- Total failed:\t3
|  `- File list:\t{files}
`- Actions
   |- Currently banned:\t0
   |- Total banned:\t1
   `- Banned IP list:\t
"""
DUMP = """['add', 'web', 'auto']
['set', 'web', 'addfailregex', '{regex}']
['set', 'web', 'maxretry', {retry}]
['set', 'web', 'findtime', '10m']
['set', 'web', 'bantime', 3600]
['set', 'web', 'addlogpath', '/var/log/web.log', 'head']
"""


def jail(listed="web", files="/var/log/web.log", regex="bad key from <HOST>", retry=5):
    return {
        "fail2ban-status": f"Status\n|- Number of jail:\t1\n`- Jail list:\t{listed}\n",
        "fail2ban-status-web": STATUS.format(files=files), "fail2ban-dump": DUMP.format(regex=regex, retry=retry),
    }  # fmt: skip


def refused(words):
    return {"fail2ban-status": CommandRefused("h", words)}


JAILS = [
    (jail(), {}, PASS, "watches its log"),
    (jail(files=""), {}, FAIL, "its file list is empty"),
    (jail(regex="bad key", files=""), {}, FAIL, "failregex 1 has no <HOST>"),
    (jail(retry=6), {}, FAIL, "maxretry is 6, expected 5"),
    (jail(listed="sshd"), {}, FAIL, "no jail named web runs"),
    ({}, {"fail2ban-status": NotThere("h", "not installed")}, FAIL, "fail2ban is not installed"),
    ({}, refused("ended with status 255: Failed to access socket path. Is fail2ban running?"), FAIL, "not running"),
]


@pytest.mark.parametrize(("texts", "faults", "verdict", "words"), JAILS)
def test_jails(texts, faults, verdict, words):
    told(judge(check_of(Kind.BANS, BANS, family=None), facts(texts=texts, faults=faults)), verdict, words)


@pytest.mark.parametrize(
    ("texts", "faults"),
    [({}, refused("sudo does not allow: fail2ban-client")), ({**jail(), "fail2ban-status-web": "rubbish"}, {}),
     ({**jail(), "fail2ban-dump": "rubbish"}, {})],
)  # fmt: skip
def test_jails_that_cannot_be_looked_at(texts, faults):
    with pytest.raises(HostError):
        judge(check_of(Kind.BANS, BANS, family=None), facts(texts=texts, faults=faults))


def test_a_ban_that_was_not_provoked():
    told(judge(check_of(Kind.BAN_EXERCISE, BANS), facts(None, texts=jail())), NA, "exercises are switched off")


# ---- drop log

LINE = parse_line(
    "Nov 23 21:36:30 h fw drop in:  IN=eth0 OUT= MAC= SRC=10.0.0.100 DST=10.0.0.10 LEN=60 PROTO=TCP SPT=63296 DPT=9"
)
ACT = LogAct(kind="NFLOG", prefix="fw drop in: ", group=5, certain=True, limit="", rule=RULE)
LOGGED = LogFacts(
    refused=True, decided=str(RULE), rules=(ACT,), observed="dropped", line=LINE, log_file="/var/log/drops",
    lines_read=7,
)  # fmt: skip
ELSE = replace(ACT, prefix="other: ")
SLOW = replace(ACT, limit="limit 10/s burst 20", buckets=(Limit(10, 1, 20),))
TINY = replace(ACT, limit="limit 3/h burst 5", buckets=(Limit(3, 3600, 5),))
GONE = replace(LOGGED, line=None)
HELD = replace(GONE, rules=(SLOW,), sent=13, seconds=9.0)
COUNTED = replace(ACT, limit="connlimit above 3")
UNTRIED = replace(LOGGED, line=None, untried=Untried.POLICY)
LOGS = [
    (None, LOGGED, PASS, "left its line in the log"),
    ("fw drop", LOGGED, PASS, "left its line in the log"),
    ("other", LOGGED, FAIL, "expected “other”"),
    (None, replace(LOGGED, refused=False), FAIL, "not dropped at all"),
    (None, replace(LOGGED, rules=()), FAIL, "no rule logs before"),
    (None, GONE, FAIL, "a rule logs it, but the dropped probe left no line in the log"),
    (None, replace(LOGGED, rules=(ELSE,)), FAIL, "which is that of none of the rules"),
    (None, replace(LOGGED, rules=(SLOW,), sent=5), PASS, "the first of 5 that the rule's limit let through"),
    (None, replace(LOGGED, rules=(TINY,)), PASS, "little of a scan is logged: 5 of 1,000 packets in 10 s (limit 3/h"),
    (None, replace(GONE, met=False), UNSURE, "never came to the host's tables"),
    (None, replace(GONE, rules=(replace(ACT, certain=False),)), UNSURE, "do not settle whether it is logged"),
    (None, HELD, FAIL, "none of 13 dropped probes left a line in 9 s, in which the limit of the rule"),
    (None, replace(HELD, seconds=0.05), UNSURE, "was used up by earlier packets"),
    (None, replace(HELD, sent=1), UNSURE, "was used up by earlier packets"),
    (None, replace(HELD, others=4), UNSURE, "was used up by 4 packets of others that left their lines"),
    (None, replace(HELD, others=4, counted=(4, 90)), UNSURE, "was used up by 4 packets of others"),
    (None, replace(HELD, sent=1, counted=(3, 3)), FAIL, "a rule counted 3 packets that it logged, and none left"),
    (None, replace(HELD, sent=1, counted=(0, 3)), UNSURE, "was used up by earlier packets"),
    (None, replace(GONE, rules=(TINY,), seconds=2.6), UNSURE, "little of a scan is logged: 5 of 1,000 packets"),
    (None, replace(GONE, rules=(COUNTED,), sent=9, seconds=99), UNSURE, "was used up by earlier packets"),
    (None, replace(HELD, rules=(SLOW, COUNTED)), UNSURE, "was used up by earlier packets"),
    (None, replace(HELD, rules=(SLOW, TINY)), UNSURE, "was used up by earlier packets"),
    (None, replace(GONE, rules=(TINY, ACT)), FAIL, "a rule logs it, but the dropped probe left no line"),
    (None, UNTRIED, PASS, "no packet was sent: the policy asks for no exercise"),
    ("fw drop", UNTRIED, PASS, "no packet was sent"),
    ("fw drop", replace(UNTRIED, rules=(ELSE,)), FAIL, "expected “fw drop”"),
    (None, replace(UNTRIED, rules=(replace(ACT, certain=False),)), UNSURE, "do not settle whether"),
    (None, replace(UNTRIED, rules=()), FAIL, "no rule logs before"),
    (None, replace(UNTRIED, refused=False), FAIL, "not dropped at all"),
    (None, replace(UNTRIED, untried=Untried.OFF), NA, "exercises are switched off"),
    (None, replace(UNTRIED, untried=Untried.OFF, rules=()), FAIL, "no rule logs before"),
    (None, replace(UNTRIED, untried=Untried.TIER), UNSURE, "access is read"),
    (None, replace(UNTRIED, untried=Untried.NO_VANTAGE), UNSURE, "no vantage"),
]


def test_a_log_says_how_much_of_a_scan_it_tells():
    both = replace(ACT, buckets=(Limit(10, 1, 20), Limit(60, 60, 5)))
    assert [act.refill for act in (ACT, SLOW, TINY, both)] == [0.0, 0.1, 1200.0, 1.0]
    assert [act.lines(1000, 10) for act in (ACT, SLOW, TINY, both)] == [1000, 120, 5, 15]


@pytest.mark.parametrize(("prefix", "seen", "verdict", "words"), LOGS)
def test_drop_logs(prefix, seen, verdict, words):
    expectation = DropLog(directions=("inbound",), prefix=prefix, exercise=True, **ANY)
    told(judge(check_of(Kind.DROP_LOG, expectation, direction="inbound"), facts(seen)), verdict, words)


# ---- persistence

TABLE = "*filter\n:INPUT DROP [1:2]\n-A INPUT -s 10.0.0.1/32 -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n"
SAME = "# by hand\n*filter\n:INPUT DROP [0:0]\n[9:9] -A INPUT -s 10.0.0.1 -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n"
LINK = "/etc/systemd/system/multi-user.target.wants/netfilter-persistent.service\n"
OTHER = "/etc/systemd/system/sysinit.target.wants/nftables.service\n"
GONE = {"rules.v4": NotThere("h", "/etc/iptables/rules.v4: No such file or directory")}
CUSTOM = "by fw.service /opt/fw:3:iptables-restore </etc/iptables.rules\n"
BOOTS = [
    (LINK, SAME, {}, PASS, "netfilter-persistent loads /etc/iptables/rules.v4 (/etc/systemd"),
    (LINK, TABLE.replace("22", "23"), {}, FAIL, "saved and running rules differ"),
    (LINK, TABLE.replace("INPUT DROP", "INPUT ACCEPT"), {}, FAIL,
     "would be reachable after a boot at input (most states): every service"),
    (LINK, TABLE.replace("-A", "-A INPUT -s 10.0.0.1 -p tcp --dport 22 -j ACCEPT\n-A"), {}, PASS,
     "1 differences in how rules are written decide no packet otherwise"),
    ("", SAME, {}, FAIL, "no service that loads rules is enabled"),
    (LINK, None, GONE, FAIL, "/etc/iptables/rules.v4 does not exist"),
    ("", None, GONE, FAIL, "nothing survives a reboot"),
    (LINK, "\n", {}, FAIL, "/etc/iptables/rules.v4 does not exist"),
    (OTHER, SAME, {}, FAIL, "nftables is what is loaded at boot"),
]  # fmt: skip


def boots(links, saved, faults=None, running=TABLE, **more):
    texts = {"iptables-save": running, "boot-links": links, "boot-units": "", "nft-boot": '{"nftables": []}', **more}
    texts |= {} if saved is None else {"rules.v4": saved}
    known = facts(texts=texts, faults=faults, model=HostModel.build(iptables_save=running))
    return judge(check_of(Kind.PERSISTENCE, Persistence(**ANY)), known)


@pytest.mark.parametrize(("links", "saved", "faults", "verdict", "words"), BOOTS)
def test_persistence(links, saved, faults, verdict, words):
    told(boots(links, saved, faults), verdict, words)


@pytest.mark.parametrize("name", ["rules.v4", "boot-units", "boot-links"])
def test_persistence_that_cannot_be_looked_at(name):
    with pytest.raises(CommandRefused):
        boots(LINK, SAME, {name: CommandRefused("h", "sudo does not allow: cat")})


@pytest.mark.parametrize(
    ("line", "verdict", "words"),
    [
        (CUSTOM, PASS, "fw loads /etc/iptables.rules"),
        (CUSTOM.replace("/etc/iptables.rules", "/srv/rules"), UNSURE, "loads rules from what is not read"),
        ("line /etc/rc.local:4:iptables -A INPUT -j DROP\n", UNSURE, "/etc/rc.local changes rules at boot by command"),
        ("line /etc/rc.local:4:ip6tables -A INPUT -j DROP\n", FAIL, "nothing survives a reboot"),
        ("unread /root/fw\n", UNSURE, "/root/fw is run at boot and cannot be read"),
        ("line /etc/rc.local:4:nft -f /srv/nft\n", UNSURE, "/etc/rc.local loads /srv/nft, which is not read"),
    ],
)
def test_persistence_by_hand(line, verdict, words):
    told(boots("", None, GONE, **{"boot-units": line, "iptables.rules": SAME}), verdict, words)


DOCKER = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A INPUT -s 10.0.0.1/32 -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -j DOCKER
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
"""


def test_what_docker_makes_anew_is_no_difference_and_the_default_of_forward_neither():
    told(boots(LINK, SAME, running=DOCKER), PASS, "the rules of Docker were left out")
    shut = TABLE.replace(":INPUT DROP [1:2]", ":INPUT DROP [1:2]\n:FORWARD DROP [0:0]")
    told(boots(LINK, SAME, running=shut), FAIL, "would be reachable after a boot at forward")


def test_the_administrator_s_rules_for_docker_are_told_beside_other_differences():
    mine = "-A DOCKER-USER -s 192.0.2.0/24 -j DROP"
    running = DOCKER.replace("-A DOCKER-USER", f"{mine}\n-A DOCKER-USER").replace("dport 22", "dport 23")
    out = boots(LINK, SAME, running=running)
    told(out, FAIL, f"only running: ip filter DOCKER-USER rule 1: {mine}")
    told(out, FAIL, "would be reachable after a boot at input (most states): tcp 22 from 10.0.0.1")


def test_tables_that_run_and_were_not_read_are_no_match_for_what_boots():
    warning = "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n"
    told(boots(LINK, SAME, running=TABLE + warning), UNSURE, "not read: iptables-save says that there are legacy")


def test_two_that_fill_the_same_tables():
    out = boots(LINK, SAME, **{"boot-units": CUSTOM, "iptables.rules": SAME})
    told(out, FAIL, "netfilter-persistent and fw fill the same tables at boot")


# ---- essentials

OPEN = "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
SHUT = "*filter\n:INPUT DROP [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
NO_LO_OUT = "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -o lo -j DROP\nCOMMIT\n"
MAYBE = "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -i lo -m strange --what 1 -j DROP\nCOMMIT\n"
WORKS, CUT = Connected(ok=True, detail="connected"), Connected(ok=False, detail="timeout")
LOOPBACK = [
    (OPEN, WORKS, PASS, "and it works"),
    (OPEN, None, PASS, "nothing on the wire was there to try it"),
    (OPEN, CUT, FAIL, "model and wire disagree"),
    (SHUT, CUT, FAIL, "arriving from lo is dropped by ip filter INPUT policy: DROP"),
    (SHUT, WORKS, FAIL, "loopback is cut"),
    (NO_LO_OUT, None, FAIL, "leaving through lo is dropped by ip filter OUTPUT rule 1"),
    (MAYBE, None, UNSURE, "do not settle: arriving from lo"),
]


@pytest.mark.parametrize(("tables", "seen", "verdict", "words"), LOOPBACK)
def test_loopback(tables, seen, verdict, words):
    check = check_of(Kind.LOOPBACK, Essential(what="loopback", **ANY))
    told(judge(check, facts(seen, model=HostModel.build(iptables_save=tables))), verdict, words)


ND = """*filter
:INPUT DROP [0:0]
:OUTPUT DROP [0:0]
-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT
-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 136 -j ACCEPT
-A OUTPUT -p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT
-A OUTPUT -p ipv6-icmp -m icmp6 --icmpv6-type 136 -j ACCEPT
COMMIT
"""
ANSWERED, MUTE, UNTOLD = (
    NeighbourFacts(answered=answered, detail=detail)
    for answered, detail in ((True, "answered"), (False, "no advertisement left"), (None, "nobody watched"))
)
NEIGHBOURS = [
    (ND, ANSWERED, PASS, "and it works"),
    (ND, None, PASS, "nothing on the wire was there to try it"),
    (ND, MUTE, FAIL, "model and wire disagree"),
    (ND, UNTOLD, UNSURE, "the wire could not show it: nobody watched"),
    (ND.replace("-A OUTPUT -p ipv6-icmp -m icmp6 --icmpv6-type 136 -j ACCEPT\n", ""), UNTOLD, FAIL,
     "advertisement out is dropped"),
    (ND.replace("-A OUTPUT -p ipv6-icmp -m icmp6 --icmpv6-type 136 -j ACCEPT\n", ""), MUTE, FAIL,
     "advertisement out is dropped"),
    (ND.replace("-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT\n", ""), MUTE, FAIL, "IPv6 is dead"),
]  # fmt: skip


@pytest.mark.parametrize(("tables", "seen", "verdict", "words"), NEIGHBOURS)
def test_neighbours(tables, seen, verdict, words):
    check = check_of(
        Kind.NEIGHBOUR, Essential(what="icmpv6-nd", **ANY), family=Family.IPV6, peer=ip_address("fd00:0:0:1::100")
    )
    told(judge(check, facts(seen, model=HostModel.build(ip6tables_save=tables))), verdict, words)


REPLIES = """*filter
:INPUT ACCEPT [0:0]
:OUTPUT DROP [0:0]
-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A OUTPUT -p tcp -m tcp --dport 5432 -j ACCEPT
COMMIT
"""
EATEN = REPLIES.replace("-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n", "")
NONE_BACK = REPLIES.replace("INPUT ACCEPT", "INPUT DROP")
OWN = (
    '[{"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},'
    ' {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.10", "prefixlen": 16}]}]'
)
NEAR = Peers("near", (ip_network("10.0.0.0/16"),))
ESTABLISHED = [
    # tables, state of the probes that were let in, verdict, words of the answer
    (REPLIES, [PortState.OPEN], PASS, "and it works"),
    (REPLIES, [PortState.CLOSED, PortState.ACCEPTED_SILENT], PASS, "and it works"),
    (REPLIES, [], PASS, "nothing on the wire was there to try it"),
    (REPLIES, [PortState.SILENT], PASS, "nothing on the wire was there to try it"),
    (REPLIES, [PortState.ACCEPTED_SILENT], FAIL, "model and wire disagree"),
    (EATEN, [PortState.ACCEPTED_SILENT], FAIL, "the reply leaving (tcp 10.0.0.10:80 -> 10.0.0.1:50000) is dropped"),
    (NONE_BACK, [], FAIL, "the reply arriving (tcp 10.0.0.1:5432 -> 10.0.0.10:50000) is dropped"),
]


def probed(state, receiver="h", family=4):
    ends = ("10.0.0.1", "10.0.0.10") if family == 4 else ("fd00::1", "fd00::10")
    flow = request(HTTP, *map(ip_address, ends))
    probe = Probe(ref="p", sender="v", receiver=receiver, flow=flow)
    seen = Observation(probe=probe, state=state, sent=1, arrived=True, confirmed=None)
    return FlowFacts(flow=flow, ruling=None, observation=seen)


@pytest.mark.parametrize(("tables", "states", "verdict", "words"), ESTABLISHED)
def test_established(tables, states, verdict, words):
    allows = (replace(ALLOW, peers=NEAR, rate=None),)
    out = (Allow(service=Service("tcp", 5432, "db"), peers=NEAR, **ANY),)
    check = check_of(Kind.ESTABLISHED, Essential(what="established", **ANY))
    check = replace(check, policy=replace(check.policy, inbound=allows, outbound=out))
    known = facts(model=HostModel.build(iptables_save=tables, addresses=OWN))
    others = {
        "elsewhere": probed(PortState.OPEN, "other"), "other family": probed(PortState.OPEN, family=6),
        "failed": AgentRefused("v", "gone"), "unseen": replace(probed(PortState.OPEN), observation=None),
    }  # fmt: skip
    known.flows = {**others, **{str(n): probed(state) for n, state in enumerate(states)}}
    told(judge(check, known), verdict, words)


def test_nothing_established_is_no_pass():
    check = check_of(Kind.ESTABLISHED, Essential(what="established", **ANY))
    found = judge(check, facts(model=HostModel.build(iptables_save=REPLIES, addresses=OWN)))
    told(found, NA, "the policy lets nothing in or out by IPv4")


TRIED = [
    (Kind.NEIGHBOUR, Essential(what="icmpv6-nd", **ANY)),
    (Kind.RATE, ALLOW), (Kind.BAN_EXERCISE, BANS), (Kind.DROP_LOG, DropLog(directions=("inbound",), **ANY)),
    (Kind.LOOPBACK, Essential(what="loopback", **ANY)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "expectation"), TRIED)
def test_what_stood_in_the_way_is_raised_not_judged(kind, expectation):
    with pytest.raises(AgentRefused):
        judge(
            check_of(kind, expectation, family=Family.IPV6 if kind is Kind.NEIGHBOUR else Family.IPV4),
            facts(AgentRefused("h", "no agent"), model=HostModel.build(iptables_save=OPEN), texts=jail()),
        )


def test_every_kind_has_a_judge():
    from fwproof.judging.judge import JUDGES

    assert set(JUDGES) == set(Kind) - {Kind.WAIVER}
