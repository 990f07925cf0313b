"""Accepted drift: every fault of the file at its line and column, and what an entry means."""

from datetime import date

import pytest

from fwproof.errors import InputError
from fwproof.flow import Family
from fwproof.policy.accepted import Space, load_accepted

GOOD = """\
accepted:
  - change: became-reachable
    family: ipv4
    hook: input
    from: 10.0.5.0/24
    service: [tcp/8443, udp/1000-1010, icmp/8, tcp]
    owner: web team
    reason: The new front end
    date: 2026-03-01
    ticket: CHG-7
    expires: 2026-09-01
"""


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "accepted.yaml"
        path.write_text(text, encoding="utf-8")
        return load_accepted(path)

    return load


def test_an_entry_is_read(load):
    (one,) = load(GOOD)
    assert (one.line, one.family, one.date, one.expires) == (2, Family.IPV4, date(2026, 3, 1), date(2026, 9, 1))
    assert one.services == (Space("tcp", (8443, 8443)), Space("udp", (1000, 1010)), Space("icmp", (8, 8)),
                            Space("tcp", None))  # fmt: skip
    assert str(one) == "web team, 2026-03-01: The new front end [CHG-7]"


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("owner: web", "ownr: web", "7:5", "unknown key 'ownr'; did you mean 'owner'?"),
        ("    owner: web team\n", "", "2:5", "key 'owner' is missing (who answers for it)"),
        ("reason: The new front end", 'reason: ""', "8:13", "expected one line of text"),
        ("became-reachable", "became-open", "2:13", "expected became-reachable, stopped-being-reachable"),
        ("2026-03-01", "1 March", "9:11", "expected a day such as 2026-03-01, not '1 March'"),
        ("2026-03-01", "2026-02-30", "9:11", "'2026-02-30' is no day of the calendar"),
        ("expires: 2026-09-01", "expires: 2026-02-01", "11:14", "ends before the day on which it was accepted"),
        ("10.0.5.0/24", "fd00::/48", "5:11", "has a network that is not ipv4"),
        ("tcp/8443", "tcp/99999", "6:15", "numbers in order and in range"),
        ("tcp/8443", "https", "6:15", "expected a service such as tcp/443"),
        ("    from: 10.0.5.0/24\n    service: [tcp/8443, udp/1000-1010, icmp/8, tcp]\n", "", "2:5",
         "accepts everything of its kind: say which by 'rule', 'from', 'to' or 'service'"),
        ("became-reachable", "other-effect", "2:5", "is selected by its 'rule' alone"),
    ],
)  # fmt: skip
def test_a_fault_is_told_where_it_stands(load, old, new, place, words):
    assert old in GOOD
    with pytest.raises(InputError) as refusal:
        load(GOOD.replace(old, new))
    (fault,) = refusal.value.faults
    assert (f"{fault.line}:{fault.column}", words in fault.message) == (place, True), str(fault)


def test_an_empty_file_accepts_nothing_and_is_refused(load):
    for text in ("accepted: []\n", "{}\n"):
        with pytest.raises(InputError):
            load(text)
