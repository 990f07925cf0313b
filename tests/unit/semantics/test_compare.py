"""What is saved against what runs."""

import pytest

from fwproof.flow import Family
from fwproof.ruleset.iptables import parse
from fwproof.semantics.compare import ignored, same_meaning

from .tables import REPAIRED, filter_table


def differences(saved, running):
    return same_meaning(parse(saved, Family.IPV4), parse(running, Family.IPV4))


def test_counters_comments_and_empty_tables_do_not_count():
    running = REPAIRED.replace("-A INPUT -i lo", "[5:300] -A INPUT -i lo").replace("[0:0]\n-A", "[9:9]\n-A")
    assert differences(REPAIRED, "# x\n" + running + "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n") == []


def test_what_fail2ban_adds_is_left_out_but_listed():
    banned = REPAIRED.replace(":OLLAMA", ":f2b-api - [0:0]\n:OLLAMA").replace(
        "-A INPUT -i lo", "-A INPUT -p tcp -j f2b-api\n-A INPUT -i lo"
    ).replace("COMMIT", "-A f2b-api -s 192.0.2.9/32 -j REJECT --reject-with icmp-port-unreachable\nCOMMIT")  # fmt: skip
    assert differences(REPAIRED, banned) == []
    assert len(ignored(parse(banned, Family.IPV4))) == 2


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("--dport 22", "--dport 23", "filter INPUT: only saved"),
        (":INPUT DROP", ":INPUT ACCEPT", "the saved default is DROP, the running one is ACCEPT"),
        ("-A INPUT -i lo -j ACCEPT\n", "", "only saved: -A INPUT -i lo"),
        ("COMMIT\n", "", "the text is cut off"),
    ],
)
def test_a_difference_is_said(old, new, says):
    assert says in "\n".join(differences(REPAIRED, REPAIRED.replace(old, new)))


def test_an_order_that_matters_is_a_difference():
    one, two = "-A INPUT -p tcp -j DROP", "-A INPUT -s 10.0.0.1 -j ACCEPT"
    assert differences(filter_table(one, two), filter_table(two, one))
