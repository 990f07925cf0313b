"""``nft -j list ruleset`` to rule sets: every object kept, what is understood understood exactly."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwproof.errors import InputError
from fwproof.flow import Family
from fwproof.ruleset import nft
from fwproof.ruleset.asks import Sort
from fwproof.ruleset.model import Act
from fwproof.ruleset.nft_tables import ruleset_of

from .counting import counted

EVERYTHING = (Path(__file__).parents[3] / "fixtures" / "rules" / "everything.nft.json").read_text(encoding="utf-8")
"""What nft 1.0.6 lists of everything.nft beside it: nearly every statement that nft knows."""


def listed(*rules, family="inet", chains=(), sets=(), base=True, table=None):
    """Return the list of one table ``t`` with a chain ``c`` of these rules."""
    hook = {"type": "filter", "hook": "input", "prio": 0, "policy": "accept"} if base else {}
    found = [{"table": {"family": family, "name": "t", **(table or {})}}]
    found += [{kind: {"family": family, "table": "t", **body}} for kind, body in sets]
    names = ("c", *chains)
    found += [{"chain": {"family": family, "table": "t", "name": n, **(hook if n == "c" else {})}} for n in names]
    found += [{"rule": {"family": family, "table": "t", "chain": "c", "expr": list(each)}} for each in rules]
    return json.dumps({"nftables": found})


def read(text, family=Family.IPV4):
    return ruleset_of(nft.parse(text), family, "nft")


def test_every_object_is_kept():
    document = nft.parse(EVERYTHING)
    assert document.objects == document.kept == len(json.loads(EVERYTHING)["nftables"])
    assert not document.unparsed
    kinds = {kind: count for table in document.tables.values() for kind, count in table.others.items()}
    assert kinds == {"counter": 1, "limit": 1, "quota": 1, "ct helper": 1}


@pytest.mark.parametrize("family", Family)
def test_every_rule_is_there_and_understood(family):
    ruleset, document = read(EVERYTHING, family), nft.parse(EVERYTHING)
    honest = counted(ruleset)
    mine = [t for t in document.tables.values() if t.family in {"inet", "netdev", family.table_family}]
    assert honest.exact + honest.oracle + honest.opaque == sum(len(c.rules) for t in mine for c in t.chains.values())
    assert honest.opaque == honest.unparsed == 0
    assert [rule.target.reason for rule in ruleset.rules() if rule.target.act is Act.UNKNOWN] == []
    assert any("bridge b" in comment for comment in ruleset.comments)


def test_a_rule_is_named_as_nft_writes_it_and_counts_from_one():
    ruleset = read(EVERYTHING)
    texts = {rule.ref.rule: str(rule.ref) for rule in ruleset.tables["inet t"].chains["in"].rules}
    assert texts[1] == "inet t in rule 1: ct state established,related accept"
    assert texts[15] == "inet t in rule 15: tcp dport { 22, 80-90 } accept"
    assert ruleset.tables["inet t"].chains["in"].rules[-1].comment == "hi there"


ODD = {
    "no object": [1, None, "x", []],
    "two keys": [{"table": {"family": "ip", "name": "a"}, "chain": {}}],
    "no family": [{"table": {"name": "a"}}],
    "another family": [{"table": {"family": "ipx", "name": "a"}}],
    "twice": [{"table": {"family": "ip", "name": "a"}}, {"table": {"family": "ip", "name": "a"}}],
    "a chain without its table": [{"chain": {"family": "ip", "table": "b", "name": "c"}}],
    "a rule without its chain": [
        {"table": {"family": "ip", "name": "a"}},
        {"rule": {"family": "ip", "table": "a", "chain": "c", "expr": []}},
    ],
    "a chain with another policy": [
        {"table": {"family": "ip", "name": "a"}},
        {"chain": {"family": "ip", "table": "a", "name": "c", "hook": "input", "type": "filter", "policy": "maybe"}},
    ],
    "no statements": [
        {"table": {"family": "ip", "name": "a"}},
        {"chain": {"family": "ip", "table": "a", "name": "c"}},
        {"rule": {"family": "ip", "table": "a", "chain": "c", "expr": {"drop": None}}},
    ],
}


@pytest.mark.parametrize("name", ODD)
def test_what_nft_never_prints_is_kept_and_weakens(name):
    document = nft.parse(json.dumps({"nftables": ODD[name]}))
    assert document.kept == document.objects == len(ODD[name])
    assert document.unparsed
    assert read(json.dumps({"nftables": ODD[name]})).unparsed


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"nftables": 1}', '{"nftables": [', "[" * 100000, "1" * 5000])
def test_what_is_no_list_is_refused(text):
    with pytest.raises(InputError, match=r"rules\.json(:\d+:\d+)?: expected the JSON of `nft -j list ruleset`"):
        nft.parse(text, "rules.json")


@pytest.mark.parametrize("statement", [
    {"accept": None, "drop": None}, {"unheard": 1}, {"jump": {"target": "gone"}}, {"xt": None}, {"mangle": {}}, 5, None,
    {"vmap": {"key": {"meta": {"key": "mark"}}, "data": "@gone"}}, {"dnat": {"addr": {"prefix": {}}}},
    {"reject": {"type": "icmp", "expr": "unheard"}}, {"vmap": {"key": {}, "data": {"set": []}}},
    {"tproxy": {"port": 1}}, {"queue": {"num": 1}}, {"synproxy": {"mss": 1}}, {"fwd": {"dev": "x"}},
])  # fmt: skip
def test_a_statement_that_is_not_understood_decides_nothing(statement):
    (rule,) = read(listed([statement])).rules()
    assert rule.target.act in {Act.UNKNOWN, Act.ELSEWHERE}
    assert rule.target.reason


@pytest.mark.parametrize("left", [
    {"unheard": 1}, {"meta": {"key": "unheard"}}, {"payload": {"protocol": "unheard", "field": "x"}}, {"ct": {}},
    {"concat": [{"meta": {"key": "mark"}}, {"unheard": 1}]}, 7,
    {"&": [{"payload": {"protocol": "tcp", "field": "dport"}}, 1]},
])  # fmt: skip
def test_a_match_that_is_not_understood_is_opaque_and_the_rule_stays(left):
    (rule,) = read(listed([{"match": {"op": "==", "left": left, "right": 1}}, {"drop": None}])).rules()
    assert (rule.sort, rule.target.act) == (Sort.OPAQUE, Act.DROP)


def test_only_a_table_that_surely_counts_is_read():
    rule = [{"drop": None}]
    assert not read(listed(rule, table={"flags": "dormant"})).tables
    assert not read(listed(rule, table={"flags": ["owner", "dormant"]})).tables
    assert read(listed(rule, table={"flags": "owner"})).tables
    # nft 1.0.6 prints the name of another object in place of the flag
    assert "dormant" in read(listed(rule, table={"flags": "c1"})).unparsed[0].reason


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["@s", "*", "tcp", "10.0.0.1", "input", "accept", "drop", "t", "c", "ip", "inet"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from([
            "match", "op", "left", "right", "meta", "key", "payload", "protocol", "field", "set", "elem", "val", "map",
            "vmap", "data", "range", "prefix", "addr", "len", "concat", "jump", "target", "mangle", "value", "limit",
            "rate", "per", "ct", "dir", "fib", "flags", "result", "dnat", "reject", "log", "stmt", "meter", "xt", "&",
        ]) | st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(values, values, values)
def test_any_json_is_kept_and_never_raises(statement, element, whole):
    sets = (("set", {"name": "s", "type": "x", "elem": element}),)
    for text in (listed([statement], [{"match": statement}], [{"vmap": statement}, element], sets=sets),
                 json.dumps({"nftables": [whole, {"table": whole}, {"chain": whole}, {"rule": whole}]})):  # fmt: skip
        document = nft.parse(text)
        assert document.kept == document.objects
        for family in Family:
            ruleset_of(document, family, "nft").rules()


@settings(max_examples=200, deadline=None)
@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_any_text_is_a_list_or_refused(text):
    try:
        nft.parse(text)
    except InputError:
        return


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(EVERYTHING) - 1), st.integers(1, 40), st.sampled_from(["", "1", '"x"', "null", "[]", "{}"]))
def test_a_damaged_list_is_refused_or_kept(at, length, instead):
    text = EVERYTHING[:at] + instead + EVERYTHING[at + length :]
    try:
        document = nft.parse(text)
    except InputError:
        return
    assert document.kept == document.objects
    for family in Family:
        ruleset_of(document, family, "nft")
