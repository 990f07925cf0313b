"""What hosts and files write where a number stands: nothing of it is a crash."""

import pytest

from fwproof.digits import digits
from fwproof.evidence.ban_action import ports_of
from fwproof.evidence.fail2ban import parse_status
from fwproof.frontends.restored import Restored
from fwproof.gating.script import read_script

ODD = ["\N{SUPERSCRIPT TWO}", "\N{CIRCLED DIGIT ONE}", "9" * 5000]


SAID = [("0", 0), ("007", 7), ("999999999", 999999999), ("\N{ARABIC-INDIC DIGIT THREE}", None), ("", None),
        ("-1", None), ("1\n", None)]  # fmt: skip


@pytest.mark.parametrize(("text", "number"), [*SAID, *((each, None) for each in ODD)])
def test_only_digits_are_a_number(text, number):
    assert digits(text) == number


@pytest.mark.parametrize("odd", ODD, ids=["superscript", "circled", "long"])
def test_what_is_no_number_is_none_wherever_a_host_says_it(odd):
    assert ports_of(f"22,{odd},http") == (22, 80)
    assert parse_status("j", f"Currently failed: {odd}\nFile list: /var/log/x").failed == 0
    tables = Restored()
    tables.load(f"*filter\n-A INPUT -j DROP\n-I INPUT {odd} -j ACCEPT\n-I INPUT 2 -j LOG\nCOMMIT\n", "x")
    rules = [line for line in tables.text().splitlines() if line.startswith("-A")]
    assert rules == [f"-A INPUT {rule}" for rule in (f"{odd} -j ACCEPT", "-j LOG", "-j DROP")]
    (command,) = read_script(f"iptables -I INPUT {odd}\n", "s.sh")
    assert (command.position, command.rules) == (None, (odd,))
