"""Scripts of iptables commands as states of tables."""

import contextlib
import random

import pytest

from fwproof.errors import InputError
from fwproof.flow import Family
from fwproof.gating.script import read_script, read_whole
from fwproof.gating.states import states
from fwproof.gating.tables import text_of
from fwproof.ruleset.iptables import parse
from fwproof.semantics.compare import same_meaning
from fwproof.semantics.model import HostModel

BASE = """*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:OWN - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j OWN
-A OWN -s 10.0.0.0/16 -j ACCEPT
COMMIT
"""


NOTHING = "iptables -P INPUT DROP"
"""A command that changes nothing of these tables."""


def after(text, base=BASE):
    """Return the IPv4 tables that a script leaves, as iptables-restore reads them."""
    start = HostModel.build(iptables_save=base, ip6tables_save="")
    *_, last = states(start, read_script(text, "s.sh"), dict.fromkeys(Family, "rules"))
    return text_of(last.model.rulesets[Family.IPV4][0])


def rules(text, base=BASE):
    return [line for line in after(text, base).splitlines() if line.startswith(("-A", ":"))]


DONE = {
    "iptables -A INPUT -p udp --dport 53 -j ACCEPT": "-A INPUT -p udp --dport 53 -j ACCEPT",
    "iptables -I INPUT 2 -j DROP": "-A INPUT -j DROP",
    "iptables -t nat -A POSTROUTING -j MASQUERADE": "-A POSTROUTING -j MASQUERADE",
    "iptables --policy OUTPUT DROP": ":OUTPUT DROP [0:0]",
    "iptables -w 5 -N NEXT": ":NEXT - [0:0]",
    "iptables -R OWN 1 -s 10.1.0.0/16 -j ACCEPT": "-A OWN -s 10.1.0.0/16 -j ACCEPT",
    "sudo -n iptables -A INPUT -p icmp -j DROP": "-A INPUT -p icmp -j DROP",
    'sudo /sbin/iptables -A INPUT -m comment --comment "a b" -j DROP': '-A INPUT -m comment --comment "a b" -j DROP',
}


@pytest.mark.parametrize(("command", "line"), DONE.items(), ids=DONE)
def test_a_command_does_what_it_says(command, line):
    assert line in rules(command)
    assert line not in rules(NOTHING)


def test_inserting_and_deleting_count_from_one():
    assert rules("iptables -I INPUT 2 -j DROP")[4:7] == [
        "-A INPUT -i lo -j ACCEPT", "-A INPUT -j DROP", "-A INPUT -p tcp -m tcp --dport 22 -j OWN"]  # fmt: skip
    assert "-A INPUT -i lo -j ACCEPT" not in rules("iptables -D INPUT 1")


def test_a_rule_is_deleted_by_what_it_means_and_not_by_its_spelling():
    assert "-A INPUT -p tcp -m tcp --dport 22 -j OWN" not in rules(
        "iptables -D INPUT -p 6 --destination-port 22 -j OWN"
    )


def test_addresses_with_commas_are_one_rule_each():
    found = rules("iptables -A INPUT -s 10.0.0.1,10.0.0.2 -d 10.0.0.3,10.0.0.4 -j ACCEPT")
    assert sum("-d 10.0.0.3" in line for line in found) == 2
    assert sum("-s 10.0.0.2" in line for line in found) == 2


def test_several_rules_that_are_inserted_stand_in_reverse():
    """As the kernel has them: each goes in at the same place (tests/lab/test_gate.py asks it)."""
    found = rules("iptables -I INPUT 2 -s 10.0.0.1,10.0.0.2 -j ACCEPT")
    assert found[5:7] == ["-A INPUT -s 10.0.0.2 -j ACCEPT", "-A INPUT -s 10.0.0.1 -j ACCEPT"]


def test_flushing_keeps_policies_and_chains():
    found = rules("iptables -F")
    assert ":INPUT DROP [0:0]" in found
    assert ":OWN - [0:0]" in found
    assert not [line for line in found if line.startswith("-A")]


def test_a_script_that_writes_a_text_out_makes_the_same_tables():
    text = "\n".join(["iptables -N OWN", "iptables -P INPUT DROP"] + [
        f"iptables {line}" for line in BASE.splitlines() if line.startswith("-A")])  # fmt: skip
    assert not same_meaning(parse(after(text, ""), Family.IPV4), parse(BASE, Family.IPV4))


def test_the_families_are_apart_and_every_state_is_told():
    start = HostModel.build(iptables_save="", ip6tables_save="")
    script = read_script("iptables -P INPUT DROP\nip6tables -A INPUT -j DROP\niptables -L\n", "s.sh")
    found = list(states(start, script, dict.fromkeys(Family, "rules")))
    assert [state.number for state in found] == [0, 1, 2]
    assert [len(state.model.rules(Family.IPV6)) for state in found] == [0, 0, 1]
    assert str(found[2].command) == "s.sh:2: ip6tables -A INPUT -j DROP"


REFUSED = {
    "iptables -A NOPE -j ACCEPT": "there is no chain NOPE",
    "iptables -A INPUT -j nope": "there is no chain nope",
    "iptables -D INPUT -p udp -j DROP": "no such rule",
    "iptables -D INPUT 9": "no rule 9",
    "iptables -I INPUT 9 -j DROP": "none can come in as 9",
    "iptables -R INPUT 9 -j DROP": "no rule 9",
    "iptables -N OWN": "already",
    "iptables -X OWN": "still has 1 rules",
    "iptables -F OWN\niptables -X OWN": "still called",
    "iptables -X INPUT": "no chain INPUT at this point that could be deleted",
    "iptables -P OWN DROP": "has no policy",
}


@pytest.mark.parametrize(("command", "message"), REFUSED.items(), ids=REFUSED)
def test_what_a_kernel_refuses_is_a_fault_unless_the_script_goes_on(command, message):
    with pytest.raises(InputError) as refused:
        after(command)
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"s.sh:{command.count(chr(10)) + 1}:")
    *before, last = command.split("\n")
    assert after("\n".join([*before, f"{last} || true"])) == after("\n".join([*before, NOTHING]))


UNREAD = {
    "iptables -t nope -A X": "is not a table", "iptables": "nothing to do", "iptables -Q": "expected one of",
    "iptables -P INPUT": "ACCEPT or DROP", "iptables -A": "name of a chain", "iptables -F INPUT x": "takes one chain",
    "iptables -R INPUT -j DROP": "number of a rule", "iptables -I INPUT 0 -j DROP": "counted from 1",
    "ufw enable": "only iptables and ip6tables", "iptables-restore rules": "not in the script",
    "iptables -A INPUT ! -s 1.1.1.1,2.2.2.2 -j DROP": "takes one address", "echo": "no iptables",
}  # fmt: skip


@pytest.mark.parametrize(("command", "message"), UNREAD.items(), ids=UNREAD)
def test_what_is_no_such_command_is_refused(command, message):
    with pytest.raises(InputError, match=message):
        read_script(command, "s.sh")


def test_a_script_ends_where_it_exits():
    assert len(read_script("iptables -F\nexit 0\nufw enable\n", "s.sh")) == 1


def test_sysctls_of_a_script_and_what_keeps_its_tables_are_no_commands():
    text = """iptables -F
echo 1 > /proc/sys/net/ipv4/ip_forward
sysctl -q -w net.ipv6.conf.all.forwarding=0
sysctl -w kernel.panic=1
sudo -n /sbin/sysctl -w net.ipv4.conf.all.rp_filter=1
iptables-save > /etc/iptables/rules.v4
netfilter-persistent save
"""
    script = read_whole(text, "s.sh")
    assert len(script.commands) == 1
    assert script.sysctls == {
        "ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "0", "ipv4/conf/all/rp_filter": "1",
    }  # fmt: skip
    assert "s.sh sets net/ipv4/ip_forward = 1, from its beginning on" in script.assumed
    path = "/proc/sys/net/ipv4/ip_forward"
    for odd in ("sysctl -p", f"echo -n 1 > {path}", f"echo > {path}", f"sudo echo 1 > {path}", "sudo sysctl -p"):
        with pytest.raises(InputError, match=r"what it sets is not read|output to a file \(>\) is not read"):
            read_whole(f"iptables -F\n{odd}\n", "s.sh")


def test_whatever_a_script_holds_is_read_or_refused_and_never_a_crash():
    pieces = [
        "iptables", "-A", "INPUT", "-I", "-D", "-t", "nat", "-N", "X", "-X", "-P", "DROP", "'", '"', "\\", ";", "&&",
        "$A", "${", "A=1", "#", "0", "99999999999", "-s", "1.1.1.1,2.2.2.2", "!", "\n", "|| true", "\udcff", "\0", ",",
    ]  # fmt: skip
    chance = random.Random(7)
    read = 0
    for _ in range(3000):
        text = " ".join(chance.choice(pieces) for _ in range(chance.randrange(1, 14)))
        with contextlib.suppress(InputError):
            after(f"iptables -F\n{text}\n")
            read += 1
    assert 50 < read < 2900
