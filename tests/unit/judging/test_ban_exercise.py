"""Judging one provoked ban: each part of its life, and what it changes in the tables over the whole packet space."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import pytest

from fwproof.errors import HostError
from fwproof.facts import BanFacts
from fwproof.flow import Family
from fwproof.flows import request
from fwproof.judging import judge
from fwproof.plan import Check, Kind
from fwproof.policy.model import Bans, Policy, Service
from fwproof.results import Verdict
from fwproof.semantics.model import HostModel

PASS, FAIL, UNSURE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
HTTP = Service("tcp", 80, "http")
BANS = Bans(jail="web", service=HTTP, maxretry=5, findtime=600, bantime=3600, exercise=True, id="x", title="x",
            file="p.yaml", line=3)  # fmt: skip
ALLOW = ("-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT", "-A INPUT -p udp -m udp --dport 53 -j ACCEPT")
ADDRESSES = (
    '[{"ifname": "lo", "addr_info": []}, {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.10",'
    ' "prefixlen": 16}]}]'
)
EMPTY = ("-A f2b -j RETURN",)
JUMP = ("-A INPUT -p tcp -j f2b",)


def model(*rules):
    chain = [":f2b - [0:0]"] if any("f2b" in rule for rule in rules) else []
    head = [":INPUT DROP [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]", *chain]
    return HostModel.build(iptables_save="\n".join(["*filter", *head, *rules, "COMMIT", ""]), addresses=ADDRESSES)


def banned(source="10.0.0.7", jump=JUMP, first=True):
    rule = (f"-A f2b -s {source} -j DROP", *EMPTY)
    return model(*jump, *ALLOW, *rule) if first else model(*ALLOW, *jump, *rule)


BEFORE, AFTER = model(*ALLOW), model(*JUMP, *ALLOW, *EMPTY)
FLOW = request(HTTP, ip_address("10.0.0.7"), ip_address("10.0.0.10"))
WHOLE = BanFacts(
    attempts=5, banned=True, refused=True, others_unharmed=True, unbanned=True, open_again=True, steps=("a", "b"),
    flow=FLOW, before=BEFORE, during=banned(), after=AFTER, held=("iptables-save",),
)  # fmt: skip


def judged(seen, bans=BANS):
    policy = Policy(name="p", path=Path("p"), sha256="", hosts=("h",), services={})
    check = Check(
        id="c", kind=Kind.BAN_EXERCISE, policy=policy, expectation=bans, host="h", expected="", family=Family.IPV4
    )

    def snapshot(_):
        raise HostError("h", "not asked")

    return judge(check, SimpleNamespace(exercised={"c": seen}, snapshot=snapshot))


@pytest.mark.parametrize("name", ["before", "during", "after"])
def test_tables_that_were_not_all_read_show_no_ban_that_is_whole(name):
    known = getattr(WHOLE, name)
    half = replace(known, blind={Family.IPV4: ("iptables-save says that there are legacy tables as well",)})
    found = judged(replace(WHOLE, **{name: half}))
    assert found.verdict is UNSURE
    assert found.reason.count("not read: iptables-save says that there are legacy tables as well") == 1
    assert not found.proved


def told(outcome, verdict, words):
    assert outcome.verdict is verdict, outcome
    assert words in outcome.reason
    assert bool(outcome.cause) == (verdict is not PASS)
    assert bool(outcome.fix) == (verdict is FAIL)


def test_a_whole_life():
    found = judged(WHOLE)
    told(found, PASS, "seen from provocation to unban")
    assert "10.0.0.7/32 -j DROP" in found.attributed.replace("10.0.0.7 ", "10.0.0.7/32 ")
    assert "the ban keeps out the banned source only" in found.proved
    assert "they mean what they meant before" in found.proved


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({"banned": False, "during": None}, FAIL, "no ban came within the wait after 5 bad attempts"),
        ({"refused": False}, FAIL, "still gets through"),
        ({"others_unharmed": False}, FAIL, "another source was refused"),
        ({"others_unharmed": None}, PASS, "seen from provocation"),
        ({"unbanned": False, "after": None}, FAIL, "could not be taken back"),
        ({"open_again": False}, FAIL, "stays refused after the unban"),
        ({"left": ("nft",)}, FAIL, "after the unban the address is still in nft"),
        ({"attempts": 0, "banned": False, "during": None, "steps": ("no file",)}, FAIL, "no file"),
        ({"during": None}, UNSURE, "the tables were not read while it stood"),
        # where the ban stands
        ({"during": BEFORE, "held": ()}, FAIL, "no rule or set of the kernel holds the address, and packets"),
        ({"during": banned(first=False)}, FAIL, "the ban is in iptables-save, and packets of the banned"),
        ({"during": banned(jump=("-A FORWARD -j f2b",))}, FAIL, "are let in by ip filter INPUT rule 1"),
        ({"during": model("-A INPUT -m recent --rcheck --name f2b -j DROP", *ALLOW)}, FAIL, "keeps out others as well"),
        # whom it keeps out
        ({"during": banned("10.0.0.0/28")}, FAIL, "it keeps out others as well: "),
        ({"during": model(*ALLOW[1:])}, FAIL, "it keeps out others as well: tcp 80 from anywhere"),
        ({"during": model(*JUMP, *ALLOW, "-A f2b -s 10.0.0.9 -j DROP", "-A f2b -s 10.0.0.7 -j DROP", *EMPTY),
          "banned_too": ("10.0.0.9",)}, PASS, "seen from provocation"),
        ({"during": model("-A INPUT -j NFQUEUE", *JUMP, *ALLOW, "-A f2b -s 10.0.0.7 -j DROP")}, UNSURE, "is not known"),
        ({"during": model("-A OUTPUT -d 10.0.0.7 -j DROP", *JUMP, *ALLOW, "-A f2b -s 10.0.0.7 -j DROP")}, PASS, "seen"),
        ({"during": model("-A OUTPUT -p udp -j DROP", *JUMP, *ALLOW, "-A f2b -s 10.0.0.7 -j DROP")}, FAIL, "others"),
        # what is left of it
        ({"after": banned()}, FAIL, "the tables are not what they were: stopped-being-reachable at input: tcp"),
        ({"after": model("-A INPUT -s 10.0.0.7 -j ACCEPT", *ALLOW)}, FAIL, "became-reachable at input"),
    ],
)  # fmt: skip
def test_what_may_be_wrong_with_a_ban(changes, verdict, words):
    told(judged(replace(WHOLE, **changes)), verdict, words)


def test_what_a_banned_source_still_reaches_is_told_or_a_failure():
    seen = replace(WHOLE, also=(("udp/53", True), ("icmp/echo-request", False), ("tcp/22", None)))
    told(judged(seen), PASS, "the banned source still gets in elsewhere: udp 53 from 10.0.0.7")
    strict = judged(seen, replace(BANS, blocks="everything"))
    told(strict, FAIL, "the banned source still gets in: udp 53 from 10.0.0.7")
    assert "the banned source still reaches udp/53" in strict.reason
    assert "tcp/22" not in strict.reason
    all_of_it = replace(seen, during=banned(jump=("-A INPUT -j f2b",)), also=(("udp/53", False),))
    told(judged(all_of_it, replace(BANS, blocks="everything")), PASS, "seen from provocation")
