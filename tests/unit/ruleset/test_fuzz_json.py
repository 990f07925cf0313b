"""Damaged JSON of nft and ip: real lists that are cut, spliced, flipped, thinned, doubled and given other values.

Of any text: a value or an InputError with its file and what was expected, and of nft's list every object kept. Of a
real list in which one value is replaced by what nft never prints there, or a word added, every answer still allows for
the one of the whole list. A list that is whole in itself with an object less, or with another port, cannot be told from
a real one.
"""

import json
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwproof.decision import Decision
from fwproof.errors import InputError
from fwproof.flow import CtState, Family, Flow
from fwproof.ruleset import nft
from fwproof.semantics.addresses import parse_addresses, parse_routes, special_rules
from fwproof.semantics.model import HostModel

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "corners"
EVERYTHING = (ROOT / "fixtures" / "rules" / "everything.nft.json").read_text(encoding="utf-8")
LISTS = tuple(path.read_text(encoding="utf-8") for path in sorted((GOLDEN / "listed").glob("*.json")))
READERS = {
    "addresses": (GOLDEN / "host" / "addresses.json", lambda text: parse_addresses(text, "f")),
    "routes": (GOLDEN / "host" / "routes.json", lambda text: parse_routes(text, "f")),
    "routes6": (GOLDEN / "host" / "routes6.json", lambda text: parse_routes(text, "f", Family.IPV6)),
    "rules": (ROOT / "reports/sample/evidence/ai-server/ip-rule.txt", lambda text: special_rules(text, "f")),
    "addresses of a host": (ROOT / "reports/sample/evidence/ai-server/ip-addr.txt", lambda t: parse_addresses(t, "f")),
    "routes of a host": (ROOT / "reports/sample/evidence/ai-server/ip-route.txt", lambda t: parse_routes(t, "f")),
}
RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
RUBBISH = [{"rubbish": 1}, "\0rubbish", -1.5, {"range": [{"a": 1}]}, [[["rubbish"]]]]
"""What nft prints nowhere."""
WORDS = st.sampled_from([
    "set", "map", "elem", "val", "range", "prefix", "addr", "len", "concat", "payload", "meta", "ct", "key", "match",
    "left", "right", "op", "vmap", "data",
])  # fmt: skip
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from([
        "accept", "ip", "inet", "t", "i", "==", "!=", "in", "@s", "saddr", "dport", "tcp", 1 << 70, "10.0.0.0/8"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=6)  # fmt: skip
"""JSON in nft's words."""


def flows():
    own, peer = ip_address("10.0.0.10"), ip_address("10.0.0.1")
    six = {"src": ip_address("fd00:0:0:1::1"), "dst": ip_address("fd00:0:0:1::10")}
    for ends in ({"src": peer, "dst": own}, {"src": peer, "dst": ip_address("10.9.0.7")}, six):
        for port in (22, 80, 81, 8080):
            yield Flow(proto=6, sport=40000, dport=port, flags=frozenset({"SYN"}), iif="eth0", **ends)
            yield Flow(proto=17, sport=40000, dport=port, iif="eth0", **ends)
        yield Flow(proto=17, sport=53, dport=4000, ctstate=CtState.ESTABLISHED, iif="eth0", **ends)


FLOWS = tuple(flows())
ADDRESSES = (GOLDEN / "host" / "addresses.json").read_text(encoding="utf-8")


def asked(text):
    """Return every decision that a list leaves possible for each of the fixed packets; unknown means any."""
    model = HostModel.build(nft_json=text, addresses=ADDRESSES)
    found = [model.evaluate(flow).may for flow in FLOWS]
    return [frozenset(Decision) if Decision.UNKNOWN in may else may for may in found]


known = cache(asked)


def sound(text):
    """Read any text; return whether it was a list."""
    try:
        document = nft.parse(text, "f")
    except InputError as error:
        for fault in error.faults:
            assert fault.file == "f"
            assert "nft -j list ruleset" in fault.message
        return False
    assert document.kept == document.objects
    asked(text)
    return True


def damaged(data, text):
    """Return a text that is cut, spliced with another, or has another character."""
    at, more = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))
    new = data.draw(st.sampled_from(["", *'"{}[],:0\0\udcff', "null", "\\ud800", "NaN"]))
    return text[:at] + new + data.draw(st.sampled_from(["", text[at + 1 :], text[more:]]))


def places(value, path=()):
    """Yield the way to every value in JSON."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def removed(value, path):
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = removed(value[path[0]], path[1:])
    return copy


@given(st.data())
@RELAXED
def test_a_damaged_list_of_nft(data):
    sound(damaged(data, data.draw(st.sampled_from(LISTS))))


@given(st.data())
@RELAXED
def test_a_cut_list_of_nft_is_refused(data):
    text = data.draw(st.sampled_from((*LISTS, EVERYTHING))).rstrip()
    with pytest.raises(InputError, match=r"f:\d+"):
        nft.parse(text[: data.draw(st.integers(0, len(text) - 1))], "f")


@given(st.data())
@RELAXED
def test_any_value_anywhere_in_a_list_of_nft(data):
    document = json.loads(data.draw(st.sampled_from(LISTS)))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([p for p in places(document) if p] or [()]))
        gone = path and data.draw(st.booleans())
        document = removed(document, path) if gone else replaced(document, path, data.draw(ANY))
    sound(json.dumps(document))


@given(st.data())
@RELAXED
def test_rubbish_in_a_list_of_nft_makes_nothing_certain(data):
    text = data.draw(st.sampled_from(LISTS))
    document = json.loads(text)
    path = data.draw(st.sampled_from([p for p in places(document) if len(p) > 2]))
    weaker(replaced(document, path, data.draw(st.sampled_from(RUBBISH))), text, path)


@given(st.data())
@RELAXED
def test_a_word_that_is_not_known_makes_nothing_certain(data):
    text = data.draw(st.sampled_from(LISTS))
    document = json.loads(text)
    path = data.draw(st.sampled_from([p for p in places(document) if len(p) > 3 and isinstance(at(document, p), dict)]))
    weaker(replaced(document, path, {**at(document, path), "rubbish": 1}), text, path)


def at(value, path):
    return at(value[path[0]], path[1:]) if path else value


def weaker(document, text, path):
    """Assert that every answer allows for the one of the list that a document was made of."""
    try:
        seen = asked(json.dumps(document))
    except InputError:
        return
    for may, whole, flow in zip(seen, known(text), FLOWS, strict=True):
        assert may >= whole, (path, str(flow))


@given(st.data())
@RELAXED
@pytest.mark.parametrize("name", READERS)
def test_damaged_lists_of_ip(name, data):
    path, read = READERS[name]
    text = path.read_text(encoding="utf-8")
    spoiled = damaged(data, text)
    if data.draw(st.booleans()):
        value = json.loads(text)
        at = data.draw(st.sampled_from([p for p in places(value) if p]))
        spoiled = json.dumps(replaced(value, at, data.draw(ANY)))
    try:
        read(spoiled)
    except InputError as error:
        assert all(each.file == "f" and "ip -j" in each.message for each in error.faults)  # noqa: PT017 - may be well


@given(st.data())
@RELAXED
@pytest.mark.parametrize("name", READERS)
def test_cut_lists_of_ip_are_refused(name, data):
    path, read = READERS[name]
    text = path.read_text(encoding="utf-8").rstrip()
    with pytest.raises(InputError, match=r"f(:\d+)*: "):
        read(text[: data.draw(st.integers(0, len(text) - 1))])


@pytest.mark.parametrize("depth", [50, 100, 200, 300, 500, 900, 100_000])
def test_deep_nesting_is_no_traceback(depth):
    match = '{"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": %s}}' % (
        "[" * depth + "1" + "]" * depth
    )
    concat = '{"match": {"op": "==", "left": ' + '{"concat": [' * depth + '"x"' + "]}" * depth + ', "right": 1}}'
    place = {"family": "ip", "table": "t"}
    chain = place | {"name": "i", "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}
    rule = place | {"chain": "i", "expr": ["HERE", {"drop": None}]}
    entries = [{"table": {"family": "ip", "name": "t"}}, {"chain": chain}, {"rule": rule}]
    for statement in (match, concat):
        text = json.dumps({"nftables": entries}).replace('"HERE"', statement)
        if sound(text):
            assert all(may > {Decision.ACCEPT} for may, flow in zip(asked(text), FLOWS, strict=True)
                       if str(flow.dst) == "10.0.0.10")  # fmt: skip
