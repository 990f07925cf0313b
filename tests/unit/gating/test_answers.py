"""Scripts whose way depends on what iptables answers: the tables and the script are followed together."""

import pytest

from fwproof.errors import InputError
from fwproof.flow import Family
from fwproof.gating.answers import Answers
from fwproof.gating.equality import same
from fwproof.gating.script import read_whole
from fwproof.semantics.model import HostModel

BASE = """*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:OWN - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j OWN
-A INPUT -p tcp -m tcp --dport 22 -j OWN
-A OWN -s 10.0.0.0/16 -j ACCEPT
-A OWN -m ttl --ttl-eq 5 -j ACCEPT
COMMIT
"""


def ran(text, base=BASE):
    """Return the commands of a script that do something, without the program's name."""
    before = None if base is None else HostModel.build(iptables_save=base, ip6tables_save="")
    commands = read_whole(text, "s.sh", Answers(before)).commands
    return [" ".join(each.words[1:]) for each in commands if each.action not in {"-C", "-L", "-S", "-Z"}]


FOLLOWED = {
    "iptables -C INPUT -i lo -j ACCEPT 2>/dev/null || iptables -A INPUT -i lo -j ACCEPT": [],
    "iptables -C INPUT -i eth0 -j ACCEPT 2>/dev/null || iptables -A INPUT -j LOG": ["-A INPUT -j LOG"],
    "iptables -C INPUT -j OWN -p tcp --dport ssh && iptables -F OWN": ["-F OWN"],
    "iptables -N OWN 2>/dev/null || iptables -F OWN": ["-N OWN", "-F OWN"],
    "iptables -N NEW 2>/dev/null || iptables -F NEW": ["-N NEW"],
    "while iptables -D INPUT -p tcp --dport 22 -j OWN 2>/dev/null; do :; done": [
        "-D INPUT -p tcp --dport 22 -j OWN"] * 3,
    "if iptables -L OWN -n >/dev/null 2>&1; then iptables -F OWN; else iptables -N OWN; fi": ["-F OWN"],
    "if iptables -t nat -nL OWN; then iptables -F OWN; else iptables -t nat -N OWN; fi": ["-t nat -N OWN"],
    "if ! iptables -C INPUT -j DROP; then iptables -A INPUT -j DROP; fi": ["-A INPUT -j DROP"],
    "iptables -E OWN NEW && iptables -C INPUT -p tcp --dport 22 -j NEW && iptables -F NEW": ["-E OWN NEW", "-F NEW"],
    "iptables -D INPUT -j DROP 2>/dev/null\niptables -F": ["-D INPUT -j DROP", "-F"],
    "iptables -X OWN 2>/dev/null\n[ $? -eq 4 ] && iptables -F OWN": ["-X OWN", "-F OWN"],
    'f() { iptables -C INPUT -j "$1"; }\nf DROP || iptables -A INPUT -j DROP': ["-A INPUT -j DROP"],
    "LC_ALL=C iptables -L | cat\niptables-save > /tmp/x\ncommand -v iptables >/dev/null || exit 1\niptables -F": ["-F"],
    "while read -r a b; do iptables -A INPUT -p $a --dport $b -j DROP; done <<E\ntcp 22\n udp\t 53 \nE": [
        "-A INPUT -p tcp --dport 22 -j DROP", "-A INPUT -p udp --dport 53 -j DROP"],
    "while IFS=: read -r a b; do iptables -A INPUT -s $a -j $b; done <<E\n1.1.1.1:DROP\nE": [
        "-A INPUT -s 1.1.1.1 -j DROP"],
}  # fmt: skip


@pytest.mark.parametrize("text", FOLLOWED, ids=str)
def test_a_script_goes_the_way_that_the_tables_send_it(text):
    assert ran(text.replace("LC_ALL=C iptables -L | cat", "iptables -L | cat\nLC_ALL=C iptables -L")) == FOLLOWED[text]


REFUSED = {
    "iptables -C OWN -m ttl --ttl-eq 5 -j ACCEPT || iptables -F": "is not known: write both the same way",
    "set -e\niptables -D INPUT -j DROP 2>/dev/null": "has no such rule at this point",
    "iptables -D INPUT -j DROP": "has no such rule at this point",
    "iptables -C INPUT -j DROP || exit 3": "ends here with status 3; what failed before is line 1: iptables -C INPUT",
    "while iptables -C INPUT -i lo -j ACCEPT; do :; done": "is not read on",
    "iptables -X INPUT 2>/dev/null || iptables -F": "built in",
    "iptables -A OWN -j OWN || true": "call one another",
    "iptables -L | grep -q x && iptables -F": "what a command prints",
    "echo x | iptables-restore": "a pipe",
    "while read -r x; do cat; done <<E\na\nE": "what cat does here",
    "while read x; do :; done <<E\na\\b\nE": "write read -r",
    "while IFS=: read -r x; do :; done <<E\na:b\nE": "not the same in every sh",
    "PATH=/x iptables -F": "for one command only",
}


@pytest.mark.parametrize("text", REFUSED, ids=str)
def test_what_is_not_known_is_refused_with_what_to_do(text):
    with pytest.raises(InputError, match=REFUSED[text].replace("(", "\\(")):
        ran(text)


UNTOLD = {
    "iptables -C INPUT -j DROP || iptables -A INPUT -j DROP": False,
    "iptables -F\niptables -C INPUT -j DROP || iptables -A INPUT -j DROP": True,
    "iptables -N X 2>/dev/null || iptables -F X": False,
    "iptables -F\niptables -N X 2>/dev/null || iptables -F X": False,
    "iptables -F\niptables -X\niptables -N X 2>/dev/null || iptables -F X": True,
    "iptables -N X || true\niptables -F X\niptables -C X -j DROP || iptables -A X -j DROP": True,
    "if iptables -nL X; then iptables -F X; fi": False,
    "iptables -t nat -F\nif iptables -C INPUT -j DROP; then iptables -F; fi": False,
    "iptables-restore <<E\n*filter\n:X - [0:0]\nCOMMIT\nE\niptables -C X -j DROP || iptables -A X -j DROP": True,
    "iptables-restore -n <<E\n*filter\n:X - [0:0]\nCOMMIT\nE\niptables -N Y || iptables -F Y": False,
}


@pytest.mark.parametrize("text", UNTOLD, ids=str)
def test_without_the_running_tables_only_what_the_script_itself_makes_sure_is_known(text):
    if UNTOLD[text]:
        assert ran(text, None)
        return
    with pytest.raises(InputError, match="give that with --against"):
        ran(text, None)


SAME = {
    ("-p tcp --dport 22 -j DROP", "-p tcp -m tcp --dport ssh -j DROP"): True,
    ("-s 10.0.0.1/24 -j DROP", "-s 10.0.0.0/255.255.255.0 -j DROP"): True,
    ("-m state --state NEW -p tcp --dport 1", "-p tcp --dport 1 -m state --state NEW"): False,
    ("-p icmp --icmp-type 8", "-p icmp --icmp-type 8/0"): False,
    ("-m limit --limit 60/minute", "-m limit --limit 1/s --limit-burst 5"): True,
    ("-m limit --limit 60/minute", "-m limit --limit 1/s --limit-burst 6"): False,
    ("-m limit --limit 6/minute", "-m limit --limit 10079/day"): None,
    ("-m ttl --ttl-eq 5", "-m ttl --ttl-eq 5"): None,
    ("-m ttl --ttl-eq 5 -j DROP", "-m ttl --ttl-eq 5 -j ACCEPT"): False,
    ("-j LOG --log-prefix abcdefghijklmnopqrstuvwxyz1234", "-j LOG --log-prefix abcdefghijklmnopqrstuvwxyz123"): True,
    ("-j LOG --log-prefix abcdefghijklmnopqrstuvwxyz123", "-j LOG --log-prefix abcdefghijklmnopqrstuvwxyz124"): False,
    ("-m comment --comment a", "-m comment --comment b"): False,
    ("-j REJECT", "-j REJECT --reject-with port-unreach"): True,
    ("-s name -j DROP", "-s name -j DROP"): None,
}


@pytest.mark.parametrize("pair", SAME, ids=str)
def test_rules_are_the_same_where_iptables_says_so(pair):
    assert same(*pair, Family.IPV4) is SAME[pair]
    assert same(*pair[::-1], Family.IPV4) is SAME[pair]
