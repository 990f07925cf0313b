"""Judging jails, their filters and actions, and fail2ban as a whole: what it finds, and what it does not claim."""

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network
from types import SimpleNamespace

import pytest

from fwproof.errors import CommandRefused, HostError, NotThere
from fwproof.evidence.ban_lines import parse_trials
from fwproof.facts import JailFacts
from fwproof.inventory import Zone
from fwproof.judging import judge
from fwproof.plan import Check, Kind
from fwproof.policy.model import Bans, Peers, Policy, Service
from fwproof.results import Verdict
from fwproof.snapshot import Capture, Snapshot

from .test_kinds import STATUS

PASS, FAIL, UNSURE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
WANT = Bans(
    id="x", title="x", file="p.yaml", line=3, jail="web", service=Service("tcp", 80, "http"), maxretry=5, findtime=600,
    bantime=3600,
)  # fmt: skip
DUMP = """['set', 'dbfile', '{db}']
['set', 'dbpurgeage', '{purge}']
['add', 'web', '{backend}']
['set', 'web', 'addfailregex', 'bad key from <HOST>']
['set', 'web', 'maxretry', 5]
['set', 'web', 'findtime', '10m']
['set', 'web', 'bantime', 3600]
{more}
['set', 'web', 'addaction', 'own']
['multi-set', 'web', 'action', 'own', [{action}]]
"""
ACTION = "['actionban', '<t> -I f2b-web -s <ip>'], ['actionstart', '<t> -N f2b-web\\n --dports 80 -p tcp'], \
['port', '80'], ['protocol', 'tcp'], ['t', 'iptables'], ['t?family=inet6', 'ip6tables']"
LOGPATH = "['set', 'web', 'addlogpath', '/var/log/web.log', 'head']"
LINK = "/etc/systemd/system/multi-user.target.wants/fail2ban.service"
FAILED, GOOD = "bad key from 192.0.2.7, denied", "key of 192.0.2.7 accepted"


def texts(  # the words of one host
    listed="web", db="/var/lib/f.sqlite3", purge="1d", more="", action=ACTION, backend="polling", links=LINK, save=""
):
    return {
        "fail2ban-status": f"Status\n|- Number of jail:\t1\n`- Jail list:\t{listed}\n",
        "fail2ban-status-web": STATUS.format(files="/var/log/web.log"), "ban-links": links,
        "fail2ban-dump": DUMP.format(db=db, purge=purge, more=f"{LOGPATH}\n{more}", action=action, backend=backend),
        "iptables-save": save, "ip6tables-save": "", "nft": '{"nftables": []}', "ipset-save": "",
    }  # fmt: skip


def trial(lines=((FAILED, 1),), samples=(), **more):
    def told(rows):
        return [{"line": text, "regex": regex, "who": ""} for text, regex in rows]

    log = {"path": "/var/log/web.log", "exists": True, "error": "", "size": 9, "age": 5.0} | more.pop("log", {})
    found = {"logs": [log], "lines": told(lines), "samples": told(samples), "slow": None, "error": ""} | more
    return parse_trials(json.dumps({"version": "1.0.2", "error": "", "jails": {"web": found}}))


def asked(kind, want=WANT, said=None, seen=None, faults=None, again=None, stderr=""):
    captures = {
        name: Capture(name=name, argv=(), status=0, stdout=text, stderr=stderr, at="", seconds=0.0)
        for name, text in (texts() if said is None else said).items()
    }
    shot = Snapshot(host="h", captures=captures, faults=faults or {})
    second = None if again is None else Snapshot(
        host="h", faults={},
        captures={n: replace(captures["fail2ban-status"], name=n, stdout=t) for n, t in again.items()},
    )  # fmt: skip
    host = SimpleNamespace(address=lambda family: ip_address("10.0.0.10" if family == "ipv4" else "fd00::10"))
    zones = {"office": Zone(name="office", networks=(ip_network("10.1.0.0/16"),))}
    facts = SimpleNamespace(
        exercised={"c": JailFacts(trials=trial() if seen is None else seen, again=second)}, snapshot=lambda _: shot,
        inventory=SimpleNamespace(hosts={"h": host}, zones=zones), front_ends={},
    )  # fmt: skip
    policy = Policy(name="p", path=None, sha256="", hosts=("h",), services={}, bans=(want,))
    return judge(Check(id="c", kind=kind, policy=policy, expectation=want, host="h", expected=""), facts)


def told(outcome, verdict, words):
    assert outcome.verdict is verdict, outcome
    assert words in outcome.reason
    assert (verdict is FAIL) == bool(outcome.cause)
    assert verdict is PASS or outcome.fix or verdict is UNSURE


# ---- numbers and choices


@pytest.mark.parametrize(
    ("more", "want", "verdict", "words"),
    [
        ("", {}, PASS, "watches its log"),
        ("['set', 'web', 'bantime', -1]", {}, FAIL, "bantime is -1, for good, expected 3600"),
        ("['set', 'web', 'addignoreip', '127.0.0.1/8', '::1', '10.9.9.9']", {}, PASS, ""),
        ("['set', 'web', 'addignoreip', '0.0.0.0/0']", {}, FAIL, "lets off everybody: 0.0.0.0/0"),
        ("['set', 'web', 'addignoreip', '10.0.0.0/8']", {}, FAIL, "the whole of 10.0.0.0/8, all of office among them"),
        ("['set', 'web', 'addignoreip', '10.9.9.0/24']", {}, FAIL, "the whole of 10.9.9.0/24; say under 'ignore'"),
        ("['set', 'web', 'addignoreip', '10.9.9.9']", {"ignore": Peers("office", (ip_network("10.1.0.0/16"),))}, FAIL,
         "lets off 10.9.9.9, and the policy no more than office"),
        ("['set', 'web', 'addignoreip', '10.1.2.0/24']", {"ignore": Peers("office", (ip_network("10.1.0.0/16"),))},
         PASS, ""),
        ("['set', 'web', 'addignoreip', 'a.example']", {"ignore": Peers("office", ())}, FAIL, "names a.example"),
        ("['set', 'web', 'ignorecommand', '/bin/x']", {"ignore": Peers("office", ())}, FAIL, "may let off others"),
        ("['set', 'web', 'usedns', 'warn']", {"usedns": "no"}, FAIL, "usedns is warn, expected no"),
        ("", {"increment": True}, FAIL, "bantime.increment is false, expected true"),
        ("['set', 'web', 'bantime.increment', True]", {"increment": True}, PASS, ""),
        ("['set', 'web', 'ignoreself', False]", {"ignore_self": True}, FAIL, "ignoreself is false, expected true"),
    ],
)  # fmt: skip
def test_the_settings_of_a_jail(more, want, verdict, words):
    told(asked(Kind.BANS, replace(WANT, **want), texts(more=more)), verdict, words)


def test_increments_without_a_database_are_none():
    said = texts(more="['set', 'web', 'bantime.increment', True]", db="None")
    told(asked(Kind.BANS, said=said), FAIL, "bantime.increment does nothing")


def test_a_jail_that_is_not_there_is_told_with_the_nearest():
    told(asked(Kind.BANS, said=texts(listed="sshd, my-web")), FAIL, "no jail named web runs; the nearest is my-web")
    for kind in (Kind.BAN_FILTER, Kind.BAN_ACTION):
        told(asked(kind, replace(WANT, jail="webb")), FAIL, "no jail named webb is enabled; the nearest is web")


# ---- hosts without fail2ban

ABSENT = {"fail2ban-status": NotThere("h", "not installed"), "fail2ban-dump": NotThere("h", "not installed")}


@pytest.mark.parametrize("kind", [Kind.BANS, Kind.BAN_FILTER, Kind.BAN_ACTION, Kind.BAN_SERVER])
@pytest.mark.parametrize(
    ("processes", "words"),
    [("sshd\n", "fail2ban is not installed, so nobody is ever banned"),
     ("sshguard\nsshg-blocker\n", "sshguard bans on this host, which knows no jail web"),
     ("crowdsec\ncrowdsec-firewa\n", "CrowdSec bans on this host")],
)  # fmt: skip
def test_who_bans_instead_is_said(kind, processes, words):
    told(asked(kind, said={"processes": processes}, faults=ABSENT), FAIL, words)


def test_a_host_that_may_not_be_asked_is_no_host_without():
    with pytest.raises(HostError):
        asked(Kind.BAN_SERVER, said={}, faults={"fail2ban-status": CommandRefused("h", "sudo does not allow")})


# ---- filters

OLD = {"age": 9 * 86400.0}
FILTERS = [
    (trial(), {}, PASS, "takes failed attempts"),
    (trial(lines=()), {}, UNSURE, "no line of its log tells of a failed attempt"),
    (trial(lines=(("all is well", None),)), {}, UNSURE, "no line of its log tells"),
    (trial(lines=((FAILED, None), (FAILED, None))), {}, FAIL, "it takes none of 2 lines that read like failed"),
    (trial(lines=((FAILED, 1), (GOOD, 1))), {}, FAIL, "failregex 1 takes 1 lines that read like successes"),
    (trial(lines=((FAILED, 1), (GOOD, None))), {}, PASS, ""),
    (trial(error="RegexException: no"), {}, FAIL, "fail2ban refuses the filter: RegexException: no"),
    (trial(slow={"line": "aa!", "length": 3, "regexes": [1]}), {}, FAIL, "failregex 1 does not get past one line"),
    (trial(log={"exists": False}), {}, FAIL, "its log /var/log/web.log does not exist"),
    (trial(log=OLD), {}, FAIL, "nobody has written to /var/log/web.log for 9 days"),
    (trial(lines=(), log={"size": 0, "age": 2 * 86400.0}), {}, FAIL, "web.log is empty and nobody has written to it"),
    (trial(lines=(), log={"error": "Permission denied"}), {}, UNSURE, "were not tried: Permission denied"),
    (trial(lines=(), samples=((FAILED, 1),), log={"error": "Permission denied"}), {"banned": (FAILED,)}, PASS,
     "were not tried: Permission denied"),
    (trial(samples=((FAILED, None),)), {"banned": (FAILED,)}, FAIL, "no failregex takes the sample of a failed"),
    (trial(samples=((GOOD, 1),)), {"passed": (GOOD,)}, FAIL, "failregex 1 takes a sample that must not count"),
    (trial(lines=(), samples=((GOOD, None),)), {"passed": (GOOD,)}, UNSURE, "no line of its log tells"),
    (trial(lines=(), samples=()), {"banned": (FAILED,)}, UNSURE, "1 samples were not tried"),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "want", "verdict", "words"), FILTERS)
def test_filters(seen, want, verdict, words):
    told(asked(Kind.BAN_FILTER, replace(WANT, **want), seen=seen), verdict, words)


def test_a_journal_match_that_takes_nothing_is_found():
    seen = trial(lines=(), log={"path": "journal: _COMM=sshd", "exists": False})
    told(asked(Kind.BAN_FILTER, seen=seen), FAIL, "its journal match takes no entry: _COMM=sshd")


@pytest.mark.parametrize(
    "seen", [HostError("h", "timed out"), parse_trials('{"version": null, "error": "no", "jails": {}}')]
)
def test_filters_that_could_not_be_tried_are_an_error(seen):
    with pytest.raises(HostError):
        asked(Kind.BAN_FILTER, seen=seen)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"jails": 1}', '{"version": 1, "error": "", "jails": {"a": {}}}']
)
def test_a_hostile_answer_is_none(text):
    assert parse_trials(text) is None


# ---- actions

BANNED = STATUS.replace("Banned IP list:\t", "Banned IP list:\t192.0.2.7").format(files="/var/log/web.log")
HOLDS = ":f2b-web - [0:0]\n-A INPUT -j f2b-web\n-A f2b-web -s 192.0.2.7/32 -j REJECT\n"


@pytest.mark.parametrize(
    ("action", "want", "verdict", "words"),
    [
        (ACTION, {}, PASS, "a ban works in every family"),
        (ACTION.replace("'80'", "'8080'"), {}, FAIL, "leaves tcp/80 open in IPv4: own refuses TCP to port 8080"),
        (ACTION.replace("'80'", "'gopher'"), {}, UNSURE, "depends on the name of a port"),
        (ACTION, {"blocks": "everything"}, FAIL, "everything, and in IPv6 own refuses TCP to port 80 only"),
        (ACTION.replace(" --dports 80", ""), {"blocks": "everything"}, FAIL, "own refuses TCP to all ports only"),
        (ACTION.replace(" --dports 80", ""), {}, PASS, "own bans TCP to all ports only: other protocols"),
        (ACTION.replace(" --dports 80 -p tcp", ""), {"blocks": "everything"}, PASS, ""),
        (ACTION.replace("'t?family=inet6', 'ip6tables'", "'u', ''"), {}, FAIL, "no ban works in IPv6: own: it runs"),
        ("['actionban', 'mail root']", {}, FAIL, "none of its actions (own) keeps anybody out"),
        ("['actionban', 'echo +<ip> > /proc/net/xt_recent/x']", {}, UNSURE, "whom a list of xt_recent holds"),
    ],
)  # fmt: skip
def test_actions(action, want, verdict, words):
    told(asked(Kind.BAN_ACTION, replace(WANT, **want), texts(action=action)), verdict, words)


def test_only_a_difference_that_stays_is_a_finding():
    listed = texts() | {"fail2ban-status-web": BANNED}
    healed = texts(save=HOLDS) | {"fail2ban-status-web": BANNED}
    words = "fail2ban lists 192.0.2.7 as banned, and chain iptables f2b-web does not hold it"
    told(asked(Kind.BAN_ACTION, said=listed, again=listed), FAIL, words)
    told(asked(Kind.BAN_ACTION, said=listed, again=healed), PASS, "")
    told(asked(Kind.BAN_ACTION, said=healed), PASS, "")
    with pytest.raises(HostError):
        asked(Kind.BAN_ACTION, said=listed)


def test_a_ban_that_fail2ban_forgot_is_a_finding():
    stale = texts(save=HOLDS)
    told(asked(Kind.BAN_ACTION, said=stale, again=stale), FAIL, "holds 192.0.2.7, which fail2ban does not list")


def test_whom_it_bans_must_have_been_asked():
    said = {name: text for name, text in texts().items() if name != "fail2ban-status-web"}
    told(asked(Kind.BAN_ACTION, said=said), UNSURE, "whom it bans at the moment could not be asked")


# ---- the server

LATE = "['add', 'late', 'polling']\n['set', 'late', 'addlogpath', '/var/log/late.log', 'head']"


@pytest.mark.parametrize(
    ("said", "verdict", "words"),
    [
        (texts(), PASS, "1 jails run, bans are kept, and it starts at boot"),
        (texts(db="None"), FAIL, "bans are kept nowhere (dbfile = None)"),
        (texts(db=":memory:"), FAIL, "bans are kept nowhere"),
        (texts(purge="10m"), FAIL, "bans of web last 3600 s, and the database forgets after 600 s (dbpurgeage)"),
        (texts(links=""), FAIL, "nothing starts fail2ban at boot"),
        (texts(links="/etc/rc2.d/S01fail2ban"), PASS, ""),
        (texts(listed="web, ghost"), FAIL, "so that a restart ends it: ghost"),
        (texts(listed=""), FAIL, "fail2ban runs without any jail; enabled in the configuration and not running: web"),
        (texts(more=LATE), FAIL, "not running: late"),
        (texts(more=LATE, listed="web, late") | {"fail2ban-log": "Starting Fail2ban\nCreating new jail 'late'\n"}, FAIL,
         "late: it watches nothing, though it is to watch /var/log/late.log; late: none of its actions"),
    ],
)  # fmt: skip
def test_the_server(said, verdict, words):
    told(asked(Kind.BAN_SERVER, said=said), verdict, words)


def test_what_would_keep_it_from_starting_again_is_found():
    warned = "2026-11-26 01:30:00,1 fail2ban.jailreader [9]: WARNING Have not found any log file for web jail\n"
    words = "would not start again with its present configuration: Have not found any log file for web jail"
    told(asked(Kind.BAN_SERVER, stderr=warned), FAIL, words)


def test_a_jail_that_nobody_may_ask_about_is_told():
    outcome = asked(Kind.BAN_SERVER, said=texts(more=LATE, listed="web, late"))
    assert "late: what it watches was not told; `--jail late` lets the auditor ask" in outcome.attributed


WHOLE = f"""{LATE}
['set', 'late', 'addfailregex', 'bad key from <HOST>']
['set', 'late', 'bantime', 3600]
['set', 'late', 'addaction', 'own']
['multi-set', 'late', 'action', 'own', [{ACTION}]]"""


@pytest.mark.parametrize(
    ("log", "jails", "verdict", "words"),
    [
        ({}, ("web", "late"), PASS, "2 jails run"),
        ({"size": 0}, ("web", "late"), PASS, "2 jails run"),
        ({"error": "Permission denied"}, ("web", "late"), UNSURE, "late: the lines of /var/log/web.log were not tried"),
        ({}, ("web",), UNSURE, "late: its filter was not tried: no answer for it"),
    ],
)
def test_a_jail_that_could_not_be_tried_is_no_pass(log, jails, verdict, words):
    shown = trial(log=log)
    seen = replace(shown, jails={name: replace(shown.jails["web"]) for name in jails})
    watches = {"fail2ban-status-late": texts()["fail2ban-status-web"].replace("web", "late")}
    said = texts(more=WHOLE, listed="web, late") | watches
    told(asked(Kind.BAN_SERVER, said=said, seen=seen), verdict, words)
