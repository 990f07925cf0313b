"""Damaged rule tables: real dumps that are cut, spliced, flipped, doubled, thinned and shuffled.

What has to hold of any text: no exception; no line lost; where a table has a line that is not understood, no answer
through it is certain. Of a real dump besides: where it is cut inside a table, or one byte of a line or a whole line is
damaged so that it is not understood, every answer still allows for the one that the whole text gives. What makes
another text that is whole in itself (a rule less, a port more) cannot be seen, and nothing is claimed of it.
"""

import re
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwproof.decision import Decision
from fwproof.errors import InputError
from fwproof.flow import CtState, Family, Flow
from fwproof.ruleset import ipset
from fwproof.ruleset.asks import Sort
from fwproof.ruleset.iptables import BUILT_IN, parse
from fwproof.semantics.model import HostModel
from fwproof.semantics.routing import parse_sysctls

ROOT = Path(__file__).parents[3]
EVIDENCE = ROOT / "reports" / "sample" / "evidence"


def dumps(*patterns):
    found = [path.read_text(encoding="utf-8") for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    return [text for text in found if text.strip()]


SAVES = {
    Family.IPV4: dumps("fixtures/lab/*/etc/iptables/rules.v4", "reports/sample/evidence/*/iptables-save.txt",
                       "tests/golden/explain/rules.v4"),
    Family.IPV6: dumps("fixtures/lab/*/etc/iptables/rules.v6", "reports/sample/evidence/*/ip6tables-save.txt"),
}  # fmt: skip
SETS = [
    *dumps("reports/sample/evidence/*/ipset-save.txt"),
    """create banned hash:ip family inet hashsize 1024 maxelem 65536 timeout 600 bucketsize 12 initval 0x5
add banned 10.0.5.7 timeout 300
add banned 192.0.2.9 timeout 0
create nets hash:net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x1
add nets 10.0.0.0/16
add nets 10.0.5.0/24 nomatch
create all list:set size 8
add all banned
add all nets
""",
]
ASKING = """*filter
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 22 -m set --match-set banned src -j DROP
-A INPUT -p tcp -m tcp --dport 8080 -m set --match-set nets src -j DROP
-A INPUT -p tcp -m tcp --dport 11434 -m set ! --match-set all src -j DROP
COMMIT
"""
SYSCTLS = dumps("reports/sample/evidence/*/sysctl.txt")
RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOISE = [*'\0\ufeff\udcff\u0661\u2028ä"!*:#\r', "\x1b[2J", "-A", "-j", "COMMIT"]


def flows(family):
    six = family is Family.IPV6
    own = ip_address("fd00:0:0:1::10" if six else "10.0.0.10")
    peers = ["fd00:0:0:1::1", "fd00:0:0:5::7", "2001:db8::9"] if six else ["10.0.0.1", "10.0.5.7", "192.0.2.9"]
    for peer in map(ip_address, peers):
        for port in (22, 8080, 11434):
            yield Flow(src=peer, dst=own, proto=6, sport=40000, dport=port, flags=frozenset({"SYN"}), iif="eth0")
        yield Flow(src=peer, dst=own, proto=17, sport=53, dport=4000, ctstate=CtState.ESTABLISHED, iif="eth0")
        yield Flow(src=own, dst=peer, proto=6, sport=40000, dport=5432, flags=frozenset({"SYN"}), oif="eth0")


FLOWS = {family: tuple(flows(family)) for family in Family}


def model_of(text, family, **more):
    return HostModel.build(**{"iptables_save" if family is Family.IPV4 else "ip6tables_save": text}, **more)


def answers(text, family, **more):
    """Return every decision that a text leaves possible, for each of the fixed packets; unknown means any."""
    model = model_of(text, family, **more)
    found = [model.evaluate(flow).may for flow in FLOWS[family]]
    return [frozenset(Decision) if Decision.UNKNOWN in may else may for may in found]


known = cache(answers)


def sound(text, family):
    """Assert what has to hold of any text."""
    ruleset = parse(text, family)
    lines = text.split("\n")
    kept = {u.line for u in ruleset.unparsed} | {r.line for r in ruleset.rules()}
    for number, line in enumerate(lines, 1):
        plain = line.rstrip("\r")
        assert number in kept or re.match(r"\s*$|[#*:]|\s*(COMMIT|-N|-P|--new-chain|--policy)", plain), line
    odd = {each.table for each in ruleset.unparsed}
    model = model_of(text, family)
    for flow in FLOWS[family]:
        ruling = model.evaluate(flow)
        hooks = {"OUTPUT", "POSTROUTING"} if flow.iif is None else {"PREROUTING", "INPUT"}
        asked = odd - {"nat"} if flow.ctstate is CtState.ESTABLISHED else odd
        met = {table for table in asked if table not in ruleset.tables or hooks & set(BUILT_IN.get(table, hooks))}
        if ruling.decision is Decision.ACCEPT:
            assert not met, (met, ruling)
        elif met and ruling.decision is not Decision.UNKNOWN:
            assert ruling.by.table not in met, (met, ruling)
    return ruleset


def marked(ruleset, number):
    """Whether a line is known not to be understood."""
    return number in {u.line for u in ruleset.unparsed} or any(
        rule.line == number and rule.sort is Sort.OPAQUE for rule in ruleset.rules())  # fmt: skip


def a_dump(data):
    family = data.draw(st.sampled_from(list(Family)))
    return data.draw(st.sampled_from(SAVES[family])), family


@given(st.data())
@RELAXED
def test_a_dump_that_is_cut(data):
    text, family = a_dump(data)
    cut = text[: data.draw(st.integers(0, len(text)))]
    ruleset = sound(cut, family)
    begun = [line for line in cut.split("\n") if line.startswith("*")]
    if len(begun) > len(re.findall(r"^COMMIT$", cut, re.MULTILINE)):
        assert ruleset.unparsed
        for may, whole in zip(answers(cut, family), known(text, family), strict=True):
            assert may >= whole


@given(st.data())
@RELAXED
def test_two_dumps_in_one(data):
    (one, family), (two, _) = a_dump(data), a_dump(data)
    sound(one[: data.draw(st.integers(0, len(one)))] + two[data.draw(st.integers(0, len(two))) :], family)


@given(st.data())
@RELAXED
def test_lines_of_two_dumps_in_turn(data):
    (one, family), (two, _) = a_dump(data), a_dump(data)
    rest = [one.split("\n"), two.split("\n")]
    first = data.draw(st.sets(st.integers(0, sum(map(len, rest)) - 1)))
    mixed = [rest[at in first].pop(0) for at in range(sum(map(len, rest))) if rest[at in first]]
    sound("\n".join(mixed), family)


@given(st.data())
@RELAXED
def test_one_byte_of_a_dump(data):
    text, family = a_dump(data)
    at = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.sampled_from(NOISE) | st.characters())
    damaged = text[:at] + new + text[at + data.draw(st.integers(0, 1)) :]
    ruleset = sound(damaged, family)
    first = damaged.count("\n", 0, at) + 1
    if "\n" not in text[at] + new and marked(ruleset, first):
        for may, whole in zip(answers(damaged, family), known(text, family), strict=True):
            assert may >= whole, damaged.split("\n")[first - 1]


@given(st.data())
@RELAXED
def test_a_line_of_a_dump(data):
    text, family = a_dump(data)
    lines = text.split("\n")
    at = data.draw(st.integers(0, len(lines) - 1))
    words = lines[at].split(" ")
    kind = data.draw(st.sampled_from(["twice", "gone", "shuffled", "rubbish"]))
    lines[at : at + 1] = {
        "twice": [lines[at]] * 2, "gone": [], "shuffled": [" ".join(data.draw(st.permutations(words)))],
        "rubbish": [data.draw(st.text(st.characters(exclude_characters="\n"), min_size=1))],
    }[kind]  # fmt: skip
    ruleset = sound("\n".join(lines), family)
    if kind == "rubbish" and marked(ruleset, at + 1):
        for may, whole in zip(answers("\n".join(lines), family), known(text, family), strict=True):
            assert may >= whole, lines[at]


@given(st.data())
@RELAXED
def test_damaged_sets(data):
    text = data.draw(st.sampled_from(SETS))
    at = data.draw(st.integers(0, len(text)))
    new = data.draw(st.sampled_from(["", "\n", *NOISE]))
    damaged = text[:at] + new + data.draw(st.sampled_from(["", text[at:], text[at + 1 :]]))
    found = ipset.parse(damaged, "f")
    kept = {each.line for each in found.unparsed}
    for number, line in enumerate(damaged.split("\n"), 1):
        assert number in kept or re.match(r"\s*(#|$|\"?create\b|\"?add\b)", line), line
    # a cut at the end of a line is another list; a word with noise in it is not
    if text == SETS[-1] and kept:
        for may, whole in zip(answers(ASKING, Family.IPV4, ipset_save=damaged),
                              known(ASKING, Family.IPV4, ipset_save=text), strict=True):  # fmt: skip
            assert may >= whole, damaged


@given(st.data())
@RELAXED
def test_damaged_sysctls(data):
    text = data.draw(st.sampled_from(SYSCTLS))
    at = data.draw(st.integers(0, len(text)))
    damaged = text[:at] + data.draw(st.sampled_from(NOISE)) + data.draw(st.sampled_from(["", text[at + 1 :], text]))
    try:
        found = parse_sysctls(damaged, "f")
    except InputError as error:
        assert str(error).startswith("f:1:1: expected lines such as")  # noqa: PT017 - most damage is none to it
        return
    whole = parse_sysctls(text, "f")
    lines = damaged.split("\n")
    assert found or not damaged.strip()
    # a line that is as it was says what it did
    assert all(
        found.get(path) == value
        for path, value in whole.items()
        if [line for line in lines if path in line] == [line for line in text.split("\n") if path in line]
    )
