"""Files of waivers: what is read from one, and every way in which one is refused."""

from datetime import date
from pathlib import Path

import pytest

from fwproof.errors import InputError
from fwproof.policy.document import parse_document
from fwproof.policy.inventory_file import inventory_of
from fwproof.policy.waiver_file import waivers_of
from fwproof.policy.waivers import State

ONE = {
    "id": "W-1", "policy": "small", "checks": "[site, 'inbound-default[*-ipv6]']", "owner": "Ada, network team",
    "approver": "Grace, risk", "reason": "Moved next month", "created": "2026-11-01", "expires": "2026-12-31",
}  # fmt: skip


def text(head="", **changed):
    pairs = {**ONE, **changed}
    body = "\n    ".join(f"{key}: {value}" for key, value in pairs.items() if value is not None)
    return f"{head}waivers:\n  - {body}\n"


INVENTORY = """\
hosts:
  web: {addresses: [192.0.2.1], groups: [webs]}
  db: {addresses: [192.0.2.2], groups: [webs]}
"""


def inventory():
    return inventory_of(parse_document(INVENTORY.encode(), file="inventory.yaml", path=Path("inventory.yaml")))


def read(source, policies=("small",)):
    return waivers_of(
        parse_document(source.encode(), file="waivers.yaml", path=Path("waivers.yaml")), inventory(), policies
    )


def refused(source, policies=("small",)):
    with pytest.raises(InputError) as caught:
        read(source, policies)
    return [str(fault) for fault in caught.value.faults]


def test_what_a_file_says_is_what_is_known():
    (one,) = read(
        text(hosts="webs", ticket="RISK-7", compensating_control="watched hourly", cause="'* is open'")
    ).waivers
    assert (one.id, one.line, one.policy, one.hosts) == ("W-1", 2, "small", ("web", "db"))
    assert [each.text for each in one.checks] == ["site", "inbound-default[*-ipv6]"]
    assert (one.owner, one.approver, one.ticket) == ("Ada, network team", "Grace, risk", "RISK-7")
    assert (one.reason, one.compensating, one.cause) == ("Moved next month", "watched hourly", "* is open")
    assert (one.created, one.expires) == (date(2026, 11, 1), date(2026, 12, 31))


@pytest.mark.parametrize(("names", "covered"), [
    (("site[web-ipv4]", "site"), True),
    (("site-2[web-ipv4]", "site-2"), False),
    (("inbound-default[web-ipv6]", "inbound-default"), True),
    (("inbound-default[web-ipv4]", "inbound-default"), False),
])  # fmt: skip
def test_a_waiver_is_about_the_checks_that_it_names(names, covered):
    (one,) = read(text()).waivers
    assert one.covers("small", "web", *names) is covered
    assert not one.covers("large", "web", *names)
    (there,) = read(text(hosts="db")).waivers
    assert not there.covers("small", "web", *names)
    assert there.covers("small", "db", *names) is covered


@pytest.mark.parametrize(("day", "state", "left"), [
    ("2026-10-31", State.NOT_YET, 61), ("2026-11-01", State.IN_FORCE, 60), ("2026-12-31", State.IN_FORCE, 0),
    ("2027-01-01", State.EXPIRED, -1),
])  # fmt: skip
def test_the_last_day_counts(day, state, left):
    (one,) = read(text()).waivers
    today = date.fromisoformat(day)
    assert (one.state(today), one.days_left(today)) == (state, left)


@pytest.mark.parametrize(("head", "expires", "state"), [
    ("", "2027-04-30", State.IN_FORCE), ("", "2027-05-01", State.TOO_LONG),
    ("max_days: 30\n", "2026-12-01", State.IN_FORCE), ("max_days: 30\n", "2026-12-02", State.TOO_LONG),
])  # fmt: skip
def test_a_waiver_lasts_no_longer_than_the_file_allows(head, expires, state):
    (one,) = read(text(head, expires=expires)).waivers
    assert one.state(date(2026, 11, 2)) is state


@pytest.mark.parametrize(("changed", "said"), [
    ({"expires": None}, "expires"),
    ({"owner": None}, "owner"),
    ({"expires": "31.12.2026"}, "expected a day such as 2026-03-01"),
    ({"expires": "2026-12"}, "expected a day such as 2026-03-01"),
    ({"expires": "20261231"}, "not the number"),
    ({"expires": "'20261231'"}, "write 2026-12-31"),
    ({"expires": "2026-10-01"}, "it ends on 2026-10-01, before it was agreed on 2026-11-01"),
    ({"approver": "ada, network team "}, "the approver is the owner"),
    ({"policy": "smal"}, "there is no policy 'smal' here; did you mean 'small'?"),
    ({"hosts": "wep"}, "there is no host or group 'wep'; did you mean 'web'?"),
    ({"checks": "'*'"}, "would waive everything"),
    ({"checks": "'si te'"}, "expected a check's id"),
    ({"checks": "[]"}, "the list is empty"),
    ({"expiry": "2026-12-31"}, "expiry"),
])  # fmt: skip
def test_what_cannot_be_a_waiver_is_refused_at_its_place(changed, said):
    faults = refused(text(**changed))
    assert len(faults) == 1, faults
    assert said in faults[0]
    assert faults[0].startswith("waivers.yaml:")


def test_two_waivers_of_one_name_are_refused():
    twice = text() + text().removeprefix("waivers:\n")
    assert refused(twice) == ["waivers.yaml:10:9: waiver 'W-1' is in line 2 already; give each a name of its own"]
