"""What `fwproof agent sudoers` prints is all that an auditor gets, and all that an audit needs; a stolen account gains no more."""

import os
import re

import pytest
from click.testing import CliRunner

from fwproof.cli.agent import agent
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
        on(up, HOST, f"umask 227; echo 'Defaults logfile={LOG}, loglinelen=0' > /etc/sudoers.d/zz-log; visudo -c >/dev/null")
        yield up


def documented():
    """The rules as an administrator gets them."""
    words = ["sudoers", "--user", "auditor", "--jail", "ollama-api"]
    return CliRunner().invoke(agent, words, catch_exceptions=False).stdout


def allowed():
    """The commands of the documented rules, as sudo logs them: an empty argument list is none."""
    listed = documented().partition("Cmnd_Alias FWPROOF = ")[2].partition("\nDefaults")[0]
    return {re.sub(r' ""$', "", line.strip(" \\,")) for line in listed.splitlines() if line.strip(" \\,")}


def attempt(lab, words, **environment):
    """Run words as the auditor's account on the host, with what that account puts into its environment."""
    settings = [f"{name}={value}" for name, value in environment.items()]
    return lab.run(HOST, [*AS_AUDITOR, *settings, *words])


def test_the_host_grants_the_documented_rules_and_nothing_else(lab):
    assert on(lab, HOST, "cat /etc/sudoers.d/fwproof") == documented()
    told = on(lab, HOST, "sudo -l -U auditor").partition("may run the following commands")[2].split("\n", 1)[1].strip()
    (line,) = told.splitlines()
    run_as, _, granted = line.partition(" NOPASSWD: ")
    assert run_as == "(root)"
    assert {re.sub(r' ""$', "", each) for each in granted.split(", ")} == allowed()
    # adm reads the packet log, and is what a Debian administrator would grant for it
    assert on(lab, HOST, "id -nG auditor").split() == ["auditor", "adm"]
    owned = on(lab, HOST, "find / -xdev -user auditor -not -path '/proc/*' -not -path '/home/auditor*' 2>/dev/null || true")
    assert owned == ""


def test_an_audit_with_these_rules_alone_does_all_of_its_work(lab, tmp_path):
    text = POLICY.read_text(encoding="utf-8")
    assert "hosts: [ai-servers]" in text
    (policy := tmp_path / "one.policy.yaml").write_text(text.replace("hosts: [ai-servers]", f"hosts: [{HOST}]"))
    on(lab, HOST, f"rm -f {LOG}")
    run = Run(lab, tmp_path / "reports", policy=policy)
    assert run.status == 0, run.out
    assert set(run.verdicts(HOST).values()) == {"pass"}
    log = on(lab, HOST, f"cat {LOG}").splitlines()
    assert [line for line in log if "command not allowed" in line or "a password is required" in line] == []
    used = {line.partition("COMMAND=")[2].replace("'", "") for line in log if "COMMAND=" in line and "auditor" in line}
    assert used <= allowed()
    # what no audit uses need not be granted; sudo logs nothing of a program that is not installed
    unused = {each for each in allowed() - used if lab.run(HOST, ["/usr/bin/test", "-e", each.split()[0]]).returncode == 0}
    assert unused == set()


REFUSED = {
    "another word": [["/usr/sbin/iptables-save"], ["/usr/sbin/iptables-save", "-c", "-t", "nat"]],
    "a file to write": [["/usr/sbin/iptables-save", "-c", "-f", "/etc/pwned"], ["/usr/sbin/ipset", "save", "-f", "/etc/pwned"]],
    "another option": [["/usr/sbin/iptables-save", "--modprobe=/tmp/evil"], ["/usr/sbin/iptables-save", "-c", "-M", "/tmp/evil"]],
    "a change": [["/usr/sbin/nft", "flush", "ruleset"], ["/usr/sbin/nft", "-j", "flush", "ruleset"]],
    "another file": [["/usr/bin/cat", "/etc/shadow"], ["/usr/bin/cat", "/etc/iptables/rules.v4", "/etc/shadow"]],
    "a path that leads elsewhere": [["/usr/bin/cat", "/etc/iptables/../shadow"], ["/usr/bin/cat", "/etc/iptables/rules.v?"]],
    "another length": [["/usr/bin/tail", "-n", "9999", "/var/log/fail2ban.log"], ["/usr/bin/tail", "-n", "2000", "/etc/shadow"]],
    "a change of fail2ban": [["/usr/bin/fail2ban-client", "unban", "--all"], ["/usr/bin/fail2ban-client", "get", "ollama-api", "logpath"]],
    "an option of fail2ban": [["/usr/bin/fail2ban-client", "-c", "/tmp/evil", "status"], ["/usr/bin/fail2ban-client", "-d", "-c", "/tmp"]],
    "another jail": [["/usr/bin/fail2ban-client", "status", "sshd"]],
    "shell metacharacters": [
        ["/usr/bin/cat", "/etc/iptables/rules.v4; touch /etc/pwned"],
        ["/usr/bin/cat", "/etc/iptables/rules.v4", ";", "touch", "/etc/pwned"],
        ["/usr/sbin/iptables-save", "-c\ntouch /etc/pwned"],
        ["/usr/sbin/iptables-save", "-c", "$(touch /etc/pwned)"],
        ["/usr/bin/unshare", "--net", "/bin/sh", "-c", "touch /etc/pwned"],
        ["/usr/bin/unshare", "/bin/sh", "-c", "cd / && /usr/sbin/nft -f /etc/nftables.conf && /usr/sbin/nft -j list ruleset"],
        ["/usr/bin/unshare", "--net", "/bin/sh", "-c",
         "cd / && /usr/sbin/nft -f /etc/nftables.conf && /usr/sbin/nft -j list ruleset; touch /etc/pwned"],
    ],
    "words for the agent": [["/usr/local/sbin/fwproof-agent", "x"], ["/usr/local/sbin/fwproof-agent", "--trace"],
                            ["/usr/bin/python3", "/usr/local/sbin/fwproof-agent"]],
    "another program": [["/usr/bin/id"], ["/bin/sh"], ["/usr/bin/python3", "-c", "0"]],
    "a program of that name": [["/tmp/evil/iptables-save", "-c"], ["/tmp/evil/cat", "/etc/iptables/rules.v4"]],
    "an option of sudo": [
        ["-s"], ["-i"], ["-e", "/etc/iptables/rules.v4"], ["-g", "root", "/usr/sbin/iptables-save", "-c"],
        ["-u", "fwproof", "/usr/sbin/iptables-save", "-c"], ["-D", "/tmp", "/usr/sbin/iptables-save", "-c"],
        ["-R", "/tmp", "/usr/sbin/iptables-save", "-c"], ["-E", "/usr/sbin/iptables-save", "-c"],
        ["-C", "9", "/usr/sbin/iptables-save", "-c"],
    ],
    "a variable for sudo": [
        ["XTABLES_LIBDIR=/tmp/evil", "/usr/sbin/iptables-save", "-c"], ["LD_PRELOAD=/tmp/evil/lib.so", "/usr/sbin/iptables-save", "-c"],
        ["PYTHONPATH=/tmp/evil", "/usr/bin/fail2ban-client", "status"],
        ["--preserve-env=PYTHONPATH", "/usr/bin/fail2ban-client", "status"],
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def planted(lab):
    """What a thief of the account would bring along: programs and modules of the right names, each of which leaves a file."""
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
    """)
    return "/tmp/evil"


def untouched(lab):
    assert lab.run(HOST, ["/usr/bin/test", "-e", "/etc/pwned"]).returncode == 1
    on(lab, HOST, "cmp /etc/iptables/rules.v4 /root/before")


@pytest.mark.parametrize("what", REFUSED)
def test_an_escape_is_refused_by_sudo(lab, planted, what):
    on(lab, HOST, f": > {LOG}")
    for words in REFUSED[what]:
        done = attempt(lab, ["/usr/bin/sudo", "-n", *words], PYTHONPATH=planted)
        assert done.returncode == 1, (words, done.stdout)
        assert "sudo:" in done.stderr or "usage: sudo" in done.stderr, (words, done.stderr)
        assert "root:" not in done.stdout
    assert "COMMAND=" not in "".join(
        line for line in on(lab, HOST, f"cat {LOG}").splitlines(keepends=True) if "not allowed" not in line
        and "password is required" not in line
    )
    untouched(lab)


@pytest.mark.parametrize(
    "environment",
    [
        {"PATH": "/tmp/evil:/usr/sbin:/usr/bin"}, {"LD_PRELOAD": "/tmp/evil/lib.so"}, {"LD_LIBRARY_PATH": "/tmp/evil"},
        {"PYTHONPATH": "/tmp/evil"}, {"PYTHONUSERBASE": "/home/auditor/.local"}, {"PYTHONHOME": "/tmp/evil"},
        {"PYTHONSTARTUP": "/tmp/evil/json.py"}, {"XTABLES_LIBDIR": "/tmp/evil"}, {"IPTABLES_LIB_DIR": "/tmp/evil"},
        {"ENV": "/tmp/evil/sh"}, {"BASH_ENV": "/tmp/evil/sh"}, {"BASH_FUNC_cd%%": "() { touch /etc/pwned; }"},
        {"IFS": "/"}, {"SUDO_EDITOR": "/tmp/evil/sh"}, {"SUDO_ASKPASS": "/tmp/evil/sh"}, {"TMPDIR": "/tmp/evil"},
    ],
    ids=lambda environment: next(iter(environment)),
)  # fmt: skip
def test_the_auditor_s_environment_decides_nothing(lab, planted, environment):
    """Each allowed program still runs as it would for root alone, from a folder of the auditor's choice."""
    for words in (
        ["/usr/sbin/iptables-save", "-c"],
        ["/usr/bin/fail2ban-client", "status"],
        ["/usr/bin/unshare", "--net", "/bin/sh", "-c",
         "cd / && /usr/sbin/nft -f /etc/nftables.conf && /usr/sbin/nft -j list ruleset"],
    ):  # fmt: skip
        done = attempt(lab, ["/bin/sh", "-c", 'cd /tmp/evil && exec /usr/bin/sudo -n "$@"', "sh", *words], **environment)
        assert "sudo:" not in done.stderr, done.stderr
    assert "# Completed" in attempt(lab, ["/usr/bin/sudo", "-n", "/usr/sbin/iptables-save", "-c"], **environment).stdout
    untouched(lab)


def test_words_that_are_cut_otherwise_do_no_more(lab, planted):
    """sudoers(5) compares arguments as one line, so that sudo cannot tell `sh -c 'cd /'` from `sh -c cd /`."""
    rules = on(lab, HOST, "iptables-save; ip6tables-save; nft list ruleset")
    script = "cd / && /usr/sbin/nft -f /etc/nftables.conf && /usr/sbin/nft -j list ruleset".split()
    ran = 0
    for cut in range(1, len(script) + 1):
        words = ["/usr/bin/unshare", "--net", "/bin/sh", "-c", " ".join(script[:cut]), *script[cut:]]
        done = attempt(lab, ["/usr/bin/sudo", "-n", *words])
        ran += "a password is required" not in done.stderr
    assert ran == len(script), "sudo compares words one by one after all: this test can go"
    lines = on(lab, HOST, "iptables-save; ip6tables-save; nft list ruleset")
    assert re.sub(r"^#.*\n", "", lines, flags=re.M) == re.sub(r"^#.*\n", "", rules, flags=re.M)
    untouched(lab)
