"""What is stored of facts comes back as it was, whatever the kinds of values; what does not fit is refused by place."""

import json
import math
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwproof.codec import Codec, Misfit
from fwproof.errors import HostError, NotGranted, Stopped
from fwproof.flow import Address, Network
from fwproof.observation import PortState


@dataclass(frozen=True, slots=True)
class Leaf:
    name: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Other:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    address: Address | None = None
    network: Network | None = None
    state: PortState = PortState.OPEN
    raw: bytes = b""
    seconds: float = 0.0
    flags: frozenset[str] = frozenset()
    leaves: tuple[Leaf | Other, ...] = ()
    pair: tuple[int | None, str] = (None, "")
    by_leaf: dict[Leaf, int] = field(default_factory=dict)
    by_name: dict[str, Leaf] = field(default_factory=dict)
    fault: Leaf | HostError | None = None
    place: Path = Path()
    known: bool | None = None
    day: date | None = None
    moment: datetime | None = None


def round_trip(value, hint=Tree):
    return Codec().decode(json.loads(json.dumps(Codec().encode(value))), hint, "it")


TREES = st.builds(
    Tree,
    address=st.none() | st.ip_addresses(),
    state=st.sampled_from(PortState),
    raw=st.binary(max_size=9),
    network=st.none() | st.sampled_from([ip_network("10.0.0.0/8"), ip_network("fd00::/8")]),
    seconds=st.floats(allow_nan=False),
    flags=st.frozensets(st.text(max_size=3), max_size=3),
    known=st.none() | st.booleans(),
    moment=st.none() | st.datetimes(timezones=st.just(UTC)),
    day=st.none() | st.dates(),
    leaves=st.lists(st.builds(Leaf, st.text(), st.integers()) | st.builds(Other, st.text()), max_size=3).map(tuple),
    pair=st.tuples(st.none() | st.integers(), st.text(max_size=3)),
    by_leaf=st.dictionaries(st.builds(Leaf, st.text(max_size=2)), st.integers(), max_size=3),
    by_name=st.dictionaries(st.text(max_size=3), st.builds(Leaf, st.text(max_size=2)), max_size=3),
)


@given(TREES)
def test_values_come_back_as_they_were(tree):
    assert round_trip(tree) == tree
    assert list(round_trip(tree).by_leaf) == list(tree.by_leaf)


def test_a_reason_comes_back_as_its_own_class():
    for fault in (NotGranted("web", "no", "ask"), Stopped("web", "over")):
        back = round_trip(Tree(fault=fault)).fault
        assert (type(back), back.host, back.message, back.advice) == (
            type(fault),
            fault.host,
            fault.message,
            fault.advice,
        )


def test_bytes_of_a_host_that_are_no_text_come_back():
    assert round_trip(Leaf(b"\xff\xfe".decode("utf-8", "surrogateescape")), Leaf).name == "\udcff\udcfe"
    assert round_trip(Tree(seconds=math.inf)).seconds == math.inf


def test_families_are_told_apart():
    assert type(round_trip(Tree(address=ip_address("10.0.0.1"))).address) is IPv4Address
    assert type(round_trip(Tree(address=ip_address("::1"))).address) is IPv6Address


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"is": "Leaf"}, "it: no Tree"),
        ([], "it: no Tree"),
        ({"is": "Tree", "more": 1}, "it: Tree has no more"),
        ({"is": "Tree", "state": "ajar"}, "it.state: 'ajar' is not a valid PortState"),
        ({"is": "Tree", "known": 1}, "it.known: no bool: 1"),
        ({"is": "Tree", "leaves": {}}, "it.leaves: no list"),
        ({"is": "Tree", "leaves": [{"is": "Leaf"}]}, "it.leaves[0]: Leaf lacks a value"),
        ({"is": "Tree", "pair": [1]}, "it.pair: 1 values where there are 2"),
        ({"is": "Tree", "raw": "*"}, "it.raw: "),
        ({"is": "Tree", "fault": {"fault": "SystemExit"}}, "it.fault: no known reason"),
        ({"is": "Tree", "by_leaf": [1]}, "it.by_leaf: no pair"),
        ({"is": "Tree", "address": "x"}, "it.address: none of IPv4Address, IPv6Address"),
        ({"is": "Tree", "seconds": True}, "it.seconds: no float"),
        ({"is": "Tree", "state": None}, "it.state: no PortState"),
    ],
)
def test_what_does_not_fit_is_refused_by_place(data, message):
    with pytest.raises(Misfit) as told:
        Codec().decode(data, Tree, "it")
    assert message in str(told.value)


def test_what_has_no_form_is_never_written():
    with pytest.raises(TypeError, match="object has no stored form"):
        Codec().encode(object())
