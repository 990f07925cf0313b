"""Reading an agent's rows: what they say, and what they may not be."""

import random

import pytest

from fwproof.observation import RuleEvent
from fwproof.probing.trace import event_of, handles_of


def test_a_rule_of_nft():
    event = event_of("web", [61000, 2, "filter", "INPUT", 3, 7, -3, "side", None, "0badcafe"])
    assert event == RuleEvent(
        host="web", family="ip", table="filter", chain="INPUT", kind="rule", number=7, verdict="jump", packet="0badcafe"
    )


@pytest.mark.parametrize(
    ("row", "kind", "verdict"),
    [
        ([3, 7, 0, "", None], "rule", "drop"),
        ([3, 7, 1, "", None], "rule", "accept"),
        ([3, 7, -1, "", None], "rule", "continue"),
        ([3, 7, -5, "", None], "rule", "return"),
        ([3, 7, 0x50003, "", None], "rule", "queue"),
        ([3, 7, None, "", None], "rule", "unknown"),
        ([3, None, -1, "", None], "rule", "continue"),
        ([1, None, None, "", 0], "policy", "drop"),
        ([1, None, None, "", 1], "policy", "accept"),
        ([1, None, None, "", None], "policy", "unknown"),
        ([2, None, -5, "", None], "return", "return"),
        ([99, None, None, "", None], "other", "unknown"),
    ],
)
def test_verdicts(row, kind, verdict):
    event = event_of("web", [61000, 10, "t", "c", *row, ""])
    assert (event.family, event.kind, event.verdict) == ("ip6", kind, verdict)


def test_the_trigger_begins_a_trace():
    assert event_of("web", [61000, 1, "fwproof_trace", "in", 3, 2, -1, "", None, ""]).kind == "begin"


@pytest.mark.parametrize(
    ("prefix", "table", "chain", "kind", "number"),
    [
        ("TRACE: filter:INPUT:rule:4 ", "filter", "INPUT", "rule", 4),
        ("TRACE: raw:PREROUTING:policy:1 ", "raw", "PREROUTING", "policy", 1),
        ("TRACE: nat:a:b:return:12 ", "nat", "a:b", "return", 12),
        ("TRACE: filter:rule:rule:3 ", "filter", "rule", "rule", 3),
    ],
)
def test_a_legacy_rule(prefix, table, chain, kind, number):
    event = event_of("web", [61000, 2, prefix])
    assert (event.legacy, event.table, event.chain, event.kind, event.number) == (True, table, chain, kind, number)
    assert event.verdict == ""


@pytest.mark.parametrize("prefix", ["", "TRACE: ", "TRACE: filter", "TRACE: filter:INPUT:rule:", "TRACE: f:I:rules:4",
                                    "TRACE: filter:INPUT:rule:99999999999"])  # fmt: skip
def test_what_is_no_message_of_a_trace(prefix):
    if prefix.endswith("9"):
        assert event_of("web", [1, 2, prefix]).number < 10**9  # cut, and then no rule has that number
        return
    with pytest.raises(ValueError, match="no message of a trace"):
        event_of("web", [1, 2, prefix])


def test_hostile_rows_raise_what_the_channel_expects():
    chance = random.Random(3)
    values = [None, "", "x", -1, 1 << 70, [], {}, 3.5, True, "TRACE: a:b:rule:1", float("inf")]
    for _ in range(5000):
        row = [chance.choice(values) for _ in range(chance.randrange(12))]
        try:
            event_of("web", row)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue


def test_names_are_made_harmless():
    event = event_of("web", [1, 2, "t\x1b[31m", "c" * 999, 3, 7, 1, "", None, "\n"])
    assert (event.table, len(event.chain), event.packet) == ("t\\x1b[31m", 256, "\\x0a")
    assert event_of("web", [1, 2, "TRACE: filter:\x1bc:rule:1 "]).chain == "\\x1bc"


def test_handles():
    assert handles_of({"rules": [[1, "t", "c", [4, 9]], [2, "filter", "INPUT", []]]}) == {
        ("inet", "t", "c"): (4, 9), ("ip", "filter", "INPUT"): ()
    }  # fmt: skip
