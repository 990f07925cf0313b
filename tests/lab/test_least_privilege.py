"""What `fwproof agent sudoers` prints is all that an auditor gets, and all that an audit needs.

Whoever has stolen the account gains no more than that, whatever words, files and variables he brings along.
"""

import os
import re
import shlex

import pytest
from click.testing import CliRunner

from fwproof.cli.agent import agent
from fwproof.hosts.access import AGENT_PATH
from fwproof.lab import Lab

from .auditing import POLICY, Run, on

pytestmark = pytest.mark.lab

HOST = "ai-server"
LOG = "/root/sudo.log"
AS_AUDITOR = ("setpriv", "--reuid", "auditor", "--regid", "auditor", "--init-groups", "env", "HOME=/home/auditor")


@pytest.fixture(scope="module")
def lab():
    with Lab(f"privilege-{os.getpid()}") as up:
        # sudo's own log of what it ran and refused, which grants nothing
        on(up, HOST, f"umask 227; echo 'Defaults logfile={LOG}, loglinelen=0' > /etc/sudoers.d/zz-log; visudo -cq")
        yield up


def documented(*words):
    """The rules as an administrator gets them."""
    words = ["sudoers", "--user", "auditor", *(words or ("--jail", "ollama-api"))]
    return CliRunner().invoke(agent, words, catch_exceptions=False).stdout


def allowed(rules=None):
    """The commands of the documented rules, as sudo logs them: an empty argument list is none."""
    listed = (rules or documented()).partition("Cmnd_Alias FWPROOF = ")[2].partition("\nDefaults")[0]
    return {re.sub(r' ""$', "", line.strip(" \\,")) for line in listed.splitlines() if line.strip(" \\,")}


def attempt(lab, words, **environment):
    """Run words as the auditor's account on the host, with what that account puts into its environment."""
    settings = [f"{name}={value}" for name, value in environment.items()]
    return lab.run(HOST, [*AS_AUDITOR, *settings, *words])


@pytest.mark.parametrize(
    ("host", "rules"),
    [
        (HOST, documented()),
        ("proxy", documented("--access", "observe")),
        ("store-elastic", documented("--access", "read")),
    ],
    ids=["observe and a jail", "observe", "read"],
)
def test_a_host_grants_the_documented_rules_and_nothing_else(lab, host, rules):
    assert on(lab, host, "cat /etc/sudoers.d/fwproof") == rules
    told = on(lab, host, "sudo -l -U auditor").partition("may run the following commands")[2].split("\n", 1)[1].strip()
    (line,) = told.splitlines()
    run_as, _, granted = line.partition(" NOPASSWD: ")
    assert run_as == "(root)"
    assert {re.sub(r' ""$', "", each) for each in granted.split(", ")} == allowed(rules)
    # adm reads the packet log, and is what a Debian administrator would grant for it
    assert on(lab, host, "id -nG auditor").split() == ["auditor", "adm"]
    assert on(lab, host, "find / -xdev -user auditor -not -path '/home/auditor*'") == ""


def test_an_audit_with_these_rules_alone_does_all_of_its_work(lab, tmp_path):
    text = POLICY.read_text(encoding="utf-8")
    assert "hosts: [ai-servers]" in text
    (policy := tmp_path / "one.policy.yaml").write_text(text.replace("hosts: [ai-servers]", f"hosts: [{HOST}]"))
    on(lab, HOST, f"rm -f {LOG}")
    run = Run(lab, tmp_path / "reports", policy=policy, fresh=True)
    assert run.status == 0, run.out
    assert set(run.verdicts(HOST).values()) == {"pass"}
    log = on(lab, HOST, f"cat {LOG}").splitlines()
    assert [line for line in log if "command not allowed" in line or "a password is required" in line] == []
    used = {line.partition("COMMAND=")[2].replace("'", "") for line in log if "COMMAND=" in line and "auditor" in line}
    assert used <= allowed()
    # what no audit uses need not be granted; sudo logs nothing of a program that is not installed
    unused = [each.split()[0] for each in allowed() - used]
    assert [program for program in unused if lab.run(HOST, ["/usr/bin/test", "-e", program]).returncode == 0] == []


LOAD = "cd / && /usr/sbin/nft -f /etc/nftables.conf && /usr/sbin/nft -j list ruleset"
SAVE, BANS = "/usr/sbin/iptables-save", "/usr/bin/fail2ban-client"
RULES = "/etc/iptables/rules.v4"
REFUSED = {
    "another word": [SAVE, f"{SAVE} -c -t nat"],
    "a file to write": [f"{SAVE} -c -f /etc/pwned", "/usr/sbin/ipset save -f /etc/pwned"],
    "another option": [f"{SAVE} --modprobe=/tmp/evil", f"{SAVE} -c -M /tmp/evil"],
    "a change": ["/usr/sbin/nft flush ruleset", "/usr/sbin/nft -j flush ruleset"],
    "another file": ["/usr/bin/cat /etc/shadow", f"/usr/bin/cat {RULES} /etc/shadow"],
    "a path that leads elsewhere": ["/usr/bin/cat /etc/iptables/../shadow", "/usr/bin/cat /etc/iptables/rules.v?"],
    "another length": ["/usr/bin/tail -n 9999 /var/log/fail2ban.log", "/usr/bin/tail -n 2000 /etc/shadow"],
    "a change of fail2ban": [f"{BANS} unban --all", f"{BANS} stop", f"{BANS} get ollama-api logpath"],
    "an option of fail2ban": [f"{BANS} -c /tmp/evil status", f"{BANS} -d -c /tmp"],
    "another jail": [f"{BANS} status sshd"],
    "shell metacharacters": [
        f"/usr/bin/cat '{RULES}; touch /etc/pwned'",
        f"/usr/bin/cat {RULES} ';' touch /etc/pwned",
        f"{SAVE} '-c\ntouch /etc/pwned'",
        f"{SAVE} -c '$(touch /etc/pwned)'",
    ],
    "another script for the shell that is allowed": [
        "/usr/bin/unshare --net /bin/sh -c 'touch /etc/pwned'",
        f"/usr/bin/unshare --net /bin/sh -c '{LOAD}; touch /etc/pwned'",
        f"/usr/bin/unshare /bin/sh -c '{LOAD}'",
        f"/bin/sh -c '{LOAD}'",
    ],
    "words for the agent": [f"{AGENT_PATH} x", f"{AGENT_PATH} --trace", f"/usr/bin/python3 {AGENT_PATH}"],
    "another program": ["/usr/bin/id", "/bin/sh", "/usr/bin/python3 -c 0"],
    "a program of that name": ["/tmp/evil/iptables-save -c", f"/tmp/evil/cat {RULES}"],
    "an option of sudo": [
        "-s", "-i", f"-e {RULES}", f"-g root {SAVE} -c", f"-u daemon {SAVE} -c", f"-D /tmp {SAVE} -c",
        f"-R /tmp {SAVE} -c", f"-E {SAVE} -c", f"-C 9 {SAVE} -c",
    ],
    "a variable for sudo": [
        f"XTABLES_LIBDIR=/tmp/evil {SAVE} -c", f"LD_PRELOAD=/tmp/evil/lib.so {SAVE} -c",
        f"PYTHONPATH=/tmp/evil {BANS} status", f"--preserve-env=PYTHONPATH {BANS} status",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def planted(lab):
    """What a thief of the account would bring along: programs and modules of the right names that leave a file."""
    on(lab, HOST, r"""
        mkdir -p /tmp/evil/fail2ban /home/auditor/.local/lib
        for name in iptables-save cat nft sh; do
          printf '#!/bin/sh\ntouch /etc/pwned\n' > /tmp/evil/$name; chmod 755 /tmp/evil/$name
        done
        for name in sitecustomize usercustomize json fail2ban/__init__; do
          printf 'open("/etc/pwned", "w")\n' > /tmp/evil/$name.py
        done
        for folder in /usr/lib/python3.*; do
          site=/home/auditor/.local/lib/${folder##*/}/site-packages
          mkdir -p $site; cp /tmp/evil/usercustomize.py $site
        done
        chown -R auditor:auditor /tmp/evil /home/auditor/.local
        cp /etc/iptables/rules.v4 /root/before
    """)  # fmt: skip
    return "/tmp/evil"


def untouched(lab):
    on(lab, HOST, "cmp /etc/iptables/rules.v4 /root/before")
    assert lab.run(HOST, ["/bin/rm", "/etc/pwned"]).returncode == 1, "something ran as root"


@pytest.mark.parametrize("what", REFUSED)
def test_an_escape_is_refused_by_sudo(lab, planted, what):
    on(lab, HOST, f": > {LOG}")
    for line in REFUSED[what]:
        done = attempt(lab, ["/usr/bin/sudo", "-n", *shlex.split(line)], PYTHONPATH=planted)
        assert done.returncode == 1, (line, done.stdout)
        assert "sudo:" in done.stderr or "usage: sudo" in done.stderr, (line, done.stderr)
        assert done.stdout == ""
    ran = [line for line in on(lab, HOST, f"cat {LOG}").splitlines() if not re.search("not allowed|is required", line)]
    assert "COMMAND=" not in "".join(ran)
    untouched(lab)


@pytest.mark.parametrize(
    "environment",
    [
        {"PATH": "/tmp/evil:/usr/sbin:/usr/bin"}, {"FAIL2BAN_CONFIG": "/tmp/evil"},
        {"PYTHONPATH": "/tmp/evil"}, {"PYTHONUSERBASE": "/home/auditor/.local"}, {"PYTHONHOME": "/tmp/evil"},
        {"PYTHONSTARTUP": "/tmp/evil/json.py"}, {"XTABLES_LIBDIR": "/tmp/evil"}, {"IPTABLES_LIB_DIR": "/tmp/evil"},
        {"ENV": "/tmp/evil/sh"}, {"BASH_ENV": "/tmp/evil/sh"}, {"BASH_FUNC_cd%%": "() { touch /etc/pwned; }"},
        {"IFS": "/"}, {"SUDO_EDITOR": "/tmp/evil/sh"}, {"SUDO_ASKPASS": "/tmp/evil/sh"}, {"TMPDIR": "/tmp/evil"},
    ],
    ids=lambda environment: next(iter(environment)),
)  # fmt: skip
def test_the_auditor_s_environment_decides_nothing(lab, planted, environment):
    """Each allowed program runs as it would for root alone, from a folder of the auditor's choice as well."""
    for words in (
        [SAVE, "-c"], [BANS, "status"], ["/usr/bin/unshare", "--net", "/bin/sh", "-c", LOAD], [AGENT_PATH],
    ):  # fmt: skip
        where = ["/bin/sh", "-c", f'cd {planted} && exec /usr/bin/sudo -n "$@" </dev/null', "sh"]
        done = attempt(lab, [*where, *words], **environment)
        assert "sudo:" not in done.stderr, done.stderr
    assert "--dport 11434" in attempt(lab, ["/usr/bin/sudo", "-n", SAVE, "-c"], **environment).stdout
    untouched(lab)


def test_words_that_are_cut_otherwise_do_no_more(lab, planted):
    """sudoers(5) compares arguments as one line, so that sudo cannot tell `sh -c 'cd /'` from `sh -c cd /`."""
    rules = on(lab, HOST, "iptables-save; ip6tables-save; nft list ruleset")
    script = LOAD.split()
    ran = 0
    for cut in range(1, len(script) + 1):
        words = ["/usr/bin/unshare", "--net", "/bin/sh", "-c", " ".join(script[:cut]), *script[cut:]]
        done = attempt(lab, ["/usr/bin/sudo", "-n", *words])
        ran += "a password is required" not in done.stderr
    assert ran == len(script), "sudo compares words one by one after all: this test can go"
    lines = on(lab, HOST, "iptables-save; ip6tables-save; nft list ruleset")
    assert re.sub(r"^#.*\n", "", lines, flags=re.MULTILINE) == re.sub(r"^#.*\n", "", rules, flags=re.MULTILINE)
    untouched(lab)
