"""Real fail2ban, as it should be and as it goes wrong: the hosts of fixtures/lab/bans.yaml, audited for real."""

import json
import re
import time

import pytest

from fwproof.audit.jails import _asked
from fwproof.evidence.ban_lines import parse_trials
from fwproof.evidence.fail2ban_config import parse_config

from .auditing import ROOT, on, scenario

pytestmark = pytest.mark.lab
FOLDER = ROOT / "fixtures" / "bans"
SCRIPT = (ROOT / "src" / "fwproof" / "hosts" / "failregex.py").read_text(encoding="utf-8")
LOGS = "/usr/lib/python3/dist-packages/fail2ban/tests/files/logs"
STOCK = ("sshd", "postfix", "dovecot", "apache-auth", "nginx-http-auth", "exim", "asterisk", "named-refused")
BAD = "[auth] Invalid API key from"
lab, audit, first = scenario("jails", "bans.yaml", FOLDER)


def reason(run, id_, verdict="fail"):
    assert run.checks[id_]["verdict"] == verdict, run.checks[id_]
    return run.checks[id_]["reason"]


def attempts(lab, host, *addresses):
    """Leave five lines about each address in the log that the jails watch."""
    lines = "".join(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {BAD} {address}\n" for address in addresses for _ in "12345")
    lab.run(host, ["/bin/sh", "-c", "cat >> /var/log/ollama.log"], input=lines)


def wait_for(lab, host, *scripts):
    for script in scripts:
        on(lab, host, f"for _ in $(seq 100); do {script} && exit 0; sleep 0.1; done; exit 1")


# ---- as the lab starts them


def test_what_is_as_it_should_be_passes_with_the_rights_of_the_read_tier(first):
    verdicts = first.verdicts("guarded")
    assert len(verdicts) == 7
    assert set(verdicts.values()) == {"pass"}, first.out
    proved = first.checks["bans-api-everything:action[guarded]"]["proved"]
    assert "IPv6: iptables-allports refuses every protocol to all ports" in proved


@pytest.mark.parametrize(
    ("id_", "words"),
    [
        ("bans-api[careless]", "bantime is 172800, expected 3600"),
        ("bans-api[careless]", "usedns is yes, expected no"),
        ("bans-api[careless]", "bantime.increment is true, expected false"),
        ("bans-api[careless]", "bantime.increment does nothing, as fail2ban has no database"),
        ("bans-api[careless]", "ignoreself is false, expected true"),
        ("bans-api[careless]", "ignoreip lets off 10.0.0.0/8, and the policy no more than 10.0.0.1"),
        ("bans-api:filter[careless]", "failregex 1 takes a sample that must not count"),
        ("bans-api:action[careless]", "leaves tcp/11434 open in IPv6: iptables-multiport refuses TCP to port 8080"),
        ("bans-api-everything:action[careless]", "everything, and in IPv4 iptables-allports refuses TCP to all ports"),
        ("bans-slow:filter[careless]", "failregex 1 does not get past one line of 72 characters"),
        ("bans-slow:action[careless]", "no ban works in IPv6: own: it runs iptables, which takes no IPv6 address"),
        ("fail2ban[careless]", "bans are kept nowhere (dbfile = None)"),
        ("fail2ban[careless]", "nothing starts fail2ban at boot"),
        ("fail2ban[careless]", "quiet: none of its actions (sendmail) keeps anybody out"),
        ("fail2ban[broken]", "enabled in the configuration and not running: late"),
        ("fail2ban[broken]", "ollama-api: it watches nothing, though it is to watch /var/log/ollama.log"),
        ("fail2ban[broken]", "ollama-api: fail2ban refuses the filter: RegexException: No failure-id group"),
        ("bans-api[broken]", "no jail named api runs; the nearest is ollama-api"),
        ("bans-api[stopped]", "is not running, so nobody is ever banned: Have not found any log file for sshd jail"),
        ("bans-api[sshguard]", "fail2ban is not running; sshguard bans on this host, which knows no jail api"),
        ("bans-api[crowdsec]", "fail2ban is not running; CrowdSec bans on this host"),
    ],
)
def test_what_goes_wrong_is_said(first, id_, words):
    assert words in reason(first, id_)


def test_others_are_recognised_by_tables_processes_and_what_boots(first):
    assert first.checks["fail2ban[sshguard]"]["observed"] == "sshguard: ip sshguard blacklist, process sshg-blocker"
    seen = first.checks["fail2ban[crowdsec]"]["observed"]
    assert re.search(r"ip crowdsec crowdsec-chain, process crowdsec, started at boot by \S+/crowdsec.service", seen)


def test_a_filter_without_any_line_of_a_failure_is_not_called_good(first):
    words = reason(first, "bans-api-everything:filter[careless]", "inconclusive")
    assert "no line of its log tells of a failed attempt" in words


# ---- bans in the list and in the kernel


def test_bans_of_both_families_are_in_the_kernel_and_survive_a_restart(lab, audit, first):
    attempts(lab, "guarded", "10.0.0.77", "fd00:0:0:1::77")
    banned = ["fail2ban-client status api | grep -q 77.*77", "fail2ban-client status api-everything | grep -q 77.*77"]
    wait_for(lab, "guarded", *banned)
    on(lab, "guarded", "fail2ban-client restart")
    wait_for(lab, "guarded", *banned)
    wait_for(lab, "guarded", "ip6tables -S f2b-api-everything | grep -q 77")
    run = audit("-k", "guarded")
    assert set(run.verdicts("guarded").values()) == {"pass"}, run.out
    for jail in ("api", "api-everything"):
        assert "2 banned; 0 differences" in run.checks[f"bans-{jail}:action[guarded]"]["observed"]
        assert "10 taken" in run.checks[f"bans-{jail}:filter[guarded]"]["observed"]


def test_bans_that_only_one_side_has_are_found_both_ways(lab, audit, first):
    attempts(lab, "guarded", "10.0.0.78", "fd00:0:0:1::78")
    listed = [f"{t} -S f2b-api-everything | grep -q 78" for t in ("iptables", "ip6tables")]
    wait_for(lab, "guarded", "fail2ban-client status api | grep -q 78.*78", *listed)
    on(lab, "guarded", "nft flush set inet f2b-table addr6-set-api; iptables -D INPUT -p all -j f2b-api-everything;"
       "ip6tables -I f2b-api-everything -s 2001:db8::9 -j REJECT")  # fmt: skip
    run = audit("-k", "guarded and action")
    words = reason(run, "bans-api:action[guarded]")
    assert "lists fd00:0:0:1::78 as banned, and nft set inet f2b-table addr6-set-api does not hold it" in words
    assert "10.0.0.78" not in words
    words = reason(run, "bans-api-everything:action[guarded]")
    assert "no rule leads to chain iptables f2b-api-everything" in words
    assert "chain ip6tables f2b-api-everything holds 2001:db8::9, which fail2ban does not list" in words


# ---- lines of logs


def test_lines_of_successes_and_failures_are_told_apart(lab, audit, first):
    attempts(lab, "careless", "192.0.2.8")
    on(lab, "careless", "echo \"$(date '+%F %T') [auth] Accepted API key from 192.0.2.7\" >> /var/log/ollama.log")
    run = audit("-k", "careless and filter and not slow")
    assert "failregex 1 takes 1 lines that read like successes" in reason(run, "bans-api:filter[careless]")
    words = reason(run, "bans-api-everything:filter[careless]")
    assert "it takes none of 5 lines that read like failed attempts" in words


def test_a_log_that_is_gone_still_or_out_of_reach_is_said(lab, audit, first, tmp_path):
    text = (FOLDER / "guarded.policy.yaml").read_text(encoding="utf-8")
    (tmp_path / "p.policy.yaml").write_text(re.sub(r"\n +samples: (\*lines|&lines\n( {6,}.*\n)+)", "\n", text))

    def filters():
        run = audit("-k", "filter and not everything", policy=tmp_path / "p.policy.yaml")
        check = run.checks["bans-api:filter[guarded]"]
        return check["verdict"], check["reason"]

    attempts(lab, "guarded", "192.0.2.8")
    on(lab, "guarded", "chmod 600 /var/log/ollama.log")
    verdict, words = filters()
    assert verdict == "inconclusive"
    assert "were not tried: Permission denied; let the auditor's account read it" in words
    on(lab, "guarded", "chmod 644 /var/log/ollama.log; touch -d '9 days ago' /var/log/ollama.log")
    assert filters() == ("fail", "nobody has written to /var/log/ollama.log for 9 days")
    on(lab, "guarded", "rm /var/log/ollama.log")
    assert filters() == ("fail", "none of the logs that it is to watch is there")


def test_no_link_is_followed_with_roots_rights(lab, audit, first):
    on(lab, "careless", "mv /var/log/ollama.log /var/log/o; ln -s /etc/shadow /var/log/ollama.log")
    try:
        run = audit("-k", "everything and filter and careless")
    finally:
        on(lab, "careless", "mv /var/log/o /var/log/ollama.log")
    check = run.checks["bans-api-everything:filter[careless]"]
    assert "it is a link, and root follows none" in check["reason"]
    assert "root:" not in json.dumps(run.results)


# ---- the trial against fail2ban-regex


def test_the_trial_takes_what_fail2ban_regex_takes(lab):
    conf = "".join(
        f"[{name}]\nenabled = true\nbackend = polling\nfilter = {name}\nlogpath = /tmp/{name}\n" for name in STOCK
    )
    copy = f"cp -r /etc/fail2ban /tmp/c; rm /tmp/c/jail.d/*; cat > /tmp/c/jail.d/x.conf; for n in {' '.join(STOCK)}; do"
    # fail2ban-regex passes over lines that begin with # and looks on after a match; the server does neither
    lab.run("stopped", ["/bin/sh", "-c", f"{copy} grep -v '^#' {LOGS}/$n > /tmp/$n; done"], input=conf)
    known = parse_config(on(lab, "stopped", "fail2ban-client -c /tmp/c -d"))
    request = {"lines": 9999, "seconds": 20, "jails": {name: _asked(jail, []) for name, jail in known.jails.items()}}
    done = lab.run("stopped", ["/usr/bin/python3", "-I", "-c", SCRIPT], input=json.dumps(request))
    trials = parse_trials(done.stdout)
    assert trials is not None, done.stderr
    mine = {name: sum(line.regex is not None for line in trial.lines) for name, trial in trials.jails.items()}
    each = "fail2ban-regex -c /tmp/c --usedns raw --no-check-all /tmp/$n $n"
    theirs = on(lab, "stopped", f"for n in {' '.join(STOCK)}; do {each}; done")
    counts = [int(count) for count in re.findall(r"ignored, (\d+) matched", theirs)]
    assert mine == dict(zip(STOCK, counts, strict=True))
    assert min(counts) > 5


def test_filters_are_tried_as_nobody_where_the_auditor_is_root(lab):
    told = SCRIPT.replace("    answers = {", "    sys.stderr.write(str(os.getresuid()))\n    answers = {")
    done = lab.run("stopped", ["/usr/bin/python3", "-I", "-c", told], input='{"lines": 1, "seconds": 1, "jails": {}}')
    assert (done.returncode, done.stderr) == (0, "(65534, 65534, 65534)")


JOURNAL = r"""#!/bin/sh
echo "$*" > /tmp/asked
case $* in
  *_COMM=sshd) printf '%s\n' '{"_HOSTNAME": "h", "SYSLOG_IDENTIFIER": "sshd", "_PID": "7", "__REALTIME_TIMESTAMP": "9",
 "MESSAGE": "Failed password for root from 192.0.2.7 port 1 ssh2"}' | tr -d '\n' ;;
  *_COMM=nobody) echo '-- No entries --' ;;
  *) echo 'Hint: You are currently not seeing messages from other users and the system.' >&2 ;;
esac
"""


@pytest.mark.parametrize(
    ("match", "exists", "error", "taken"),
    [("_COMM=sshd", True, "", [1]), ("_COMM=nobody", False, "", []), ("_COMM=hidden", None, "Hint: You are", [])],
)
def test_a_journal_is_read_as_fail2ban_reads_it(lab, match, exists, error, taken):
    """The lab has no journal: a program in the place of journalctl prints what journalctl(1) would."""
    lab.run("stopped", ["/bin/sh", "-c", "cat > /usr/bin/journalctl; chmod 755 /usr/bin/journalctl"], input=JOURNAL)
    jail = {
        "failregex": [r"^h sshd\[7\]: Failed password for root from <HOST> port \d+"], "ignoreregex": [],
        "prefregex": None, "maxlines": None, "datepattern": None, "usedns": "no", "encoding": "auto", "logs": [],
        "journal": [match], "samples": [],
    }  # fmt: skip
    request = json.dumps({"lines": 9, "seconds": 5, "jails": {"sshd": jail}})
    done = lab.run("stopped", ["/usr/bin/python3", "-I", "-c", SCRIPT], input=request)
    trials = parse_trials(done.stdout)
    assert trials is not None, done.stderr
    (log,) = trials.jails["sshd"].logs
    assert (log.exists, log.error[:13]) == (exists, error)
    assert [line.regex for line in trials.jails["sshd"].lines] == taken, trials
    assert on(lab, "stopped", "cat /tmp/asked") == f"--no-pager -o json -n 9 -- {match}\n"
