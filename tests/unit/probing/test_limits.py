"""Measuring a limit without a wire: the schedule that is sent, and what is read from who was let in."""

from dataclasses import replace
from ipaddress import ip_address
from math import inf

import pytest

from fwproof.decision import Decision
from fwproof.flow import TCP, Flow
from fwproof.measured import Interval, Manner, Part
from fwproof.probing.limit_reading import Answer, read
from fwproof.probing.limit_schedule import STEP, Claim, Role, Schedule, Source, schedule, shared_bits
from fwproof.semantics.model import HostModel

ALL = tuple(Part)
FOUR = [Source("v", ip_address(f"10.1.0.{n}")) for n in (1, 2, 3)]
SIX = [Source("v", ip_address(a)) for a in ("fd00:0:0:1::1", "fd00:0:0:1::2", "fd00:0:0:2::1", "fd00:0:0:3::1")]
NEW = "-A INPUT -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW"
ONE = "--name L --mask {mask} --rsource"


def tables(*rules, mask="255.255.255.255"):
    lines = "\n".join(rule.format(mask=mask) for rule in rules)
    return f"*filter\n:INPUT ACCEPT [0:0]\n{lines}\nCOMMIT\n"


def recent(*orders, seconds=4, hits=5):
    """Return rules of -m recent in an order such as ("rcheck", "set")."""
    words = {
        "set": f"{NEW} -m recent --set {ONE}",
        "set, accept": f"{NEW} -m recent --set {ONE} -j ACCEPT",
        "rcheck": f"{NEW} -m recent --rcheck --seconds {seconds} --hitcount {hits} {ONE} -j DROP",
        "update": f"{NEW} -m recent --update --seconds {seconds} --hitcount {hits} {ONE} -j DROP",
    }
    return [words[order] for order in orders]


HASH = f"{NEW} -m hashlimit --hashlimit-upto {{}} --hashlimit-burst {{}} --hashlimit-mode srcip --hashlimit-name h"


def answers(model, plan, host="10.9.0.1"):
    """Return what a simulated host answers to a schedule."""
    shots = plan.shots()
    flow = Flow(src=FOUR[0].address, dst=ip_address(host), proto=TCP, sport=50000, dport=80, flags=frozenset({"SYN"}))
    decisions = model.simulate(
        [(at, replace(flow, src=salvo.source.address)) for at, salvo in shots], "input", held=False
    )
    return [
        Answer(role=salvo.role, source=salvo.source, at=at, let_in=decision is Decision.ACCEPT)
        for (at, salvo), decision in zip(shots, decisions, strict=True)
    ]


def measured(text, claim, sources=FOUR, parts=ALL, crowd=()):
    six = sources[0].address.version == 6
    model = HostModel.build(**{"ip6tables_save" if six else "iptables_save": text})
    plan = schedule(claim, sources, parts, crowd)
    return read(answers(model, plan, "fd00::10" if six else "10.9.0.1"), plan.gaps)


WINDOWS = {
    "check, then set": (recent("rcheck", "set"), 5, False),
    "update, then set": (recent("update", "set, accept"), 5, True),
    "set, then update": (recent("set", "update"), 4, True),
    "set, then check": (recent("set", "rcheck"), 4, True),
}


@pytest.mark.parametrize("case", WINDOWS)
@pytest.mark.parametrize("sources", [FOUR, FOUR[:2]])
def test_a_window(case, sources):
    rules, size, extends = WINDOWS[case]
    seen = measured(tables(*rules), Claim(burst=size, window=4.0), sources)
    assert (seen.burst, seen.manner, seen.extends) == (size, Manner.WINDOW, extends)
    assert 4 - 0.1 < seen.window.low <= 4 <= seen.window.high < 4 + 0.1
    assert (seen.apart, seen.together) == (30, None)


@pytest.mark.parametrize(("actual", "low", "high"), [(2, 1.3, 2.12), (3, 2.67, 3.93), (6, 4.08, inf)])
def test_a_window_that_is_not_the_claimed_one_is_bounded(actual, low, high):
    sources = [Source("v", ip_address(f"10.1.0.{n}")) for n in range(1, 6)]
    seen = measured(tables(*recent("rcheck", "set", seconds=actual)), Claim(burst=5, window=4.0), sources)
    assert seen.window == Interval(pytest.approx(low, abs=0.1), pytest.approx(high, abs=0.1))
    assert seen.window.low < actual <= seen.window.high
    assert not seen.window.may_be(4.0)


BUCKETS = [("20/min", 20, 1 / 3), ("10/sec", 5, 10.0), ("100/sec", 20, 100.0), ("2/min", 7, 1 / 30)]


@pytest.mark.parametrize(("rate", "size", "each"), BUCKETS)
@pytest.mark.parametrize("kind", ["hashlimit", "limit"])
def test_a_bucket(rate, size, each, kind):
    rule = (
        f"{HASH.format(rate, size)} -j ACCEPT"
        if kind == "hashlimit"
        else f"{NEW} -m limit --limit {rate} --limit-burst {size} -j ACCEPT"
    )
    seen = measured(tables(rule, f"{NEW} -j DROP"), Claim(burst=size, rate=each, shared=kind == "limit"))
    assert (seen.burst, seen.manner) == (size, Manner.BUCKET)
    assert seen.rate.low <= each <= seen.rate.high
    assert abs(seen.rate.middle / each - 1) < 0.01
    assert seen.shared is (kind == "limit")


@pytest.mark.parametrize(
    ("prefix", "apart", "together"), [(128, 126, None), (64, 62, 126), (48, None, 62), (0, None, 62)]
)
def test_how_sources_of_ipv6_are_grouped(prefix, apart, together):
    mask = str(ip_address((1 << 128) - (1 << 128 - prefix)))
    text = tables(*recent("rcheck", "set"), mask=mask)
    seen = measured(text, Claim(burst=5, window=4.0), SIX, (Part.BURST, Part.ISOLATION))
    assert (seen.apart, seen.together, seen.shared) == (apart, together, apart is None)


def test_a_bucket_that_was_taken_for_a_window_is_seen():
    seen = measured(tables(f"{HASH.format('10/min', 5)} -j ACCEPT", f"{NEW} -j DROP"), Claim(burst=5, window=30.0))
    assert (seen.manner, seen.window, seen.extends) == (Manner.BUCKET, None, False)


def test_no_limit_at_all():
    seen = measured(tables(f"{NEW} -j ACCEPT"), Claim(burst=5, window=4.0))
    assert (seen.burst, seen.manner, seen.sent) == (None, Manner.NONE, 7)


def test_nobody_is_let_in():
    seen = measured(tables(f"{NEW} -j DROP"), Claim(burst=5, window=4.0))
    assert (seen.burst, seen.shared, seen.extends) == (0, True, None)


def test_a_crowd_that_is_too_small_evicts_nobody():
    crowd = [Source("v", ip_address(f"10.7.0.{n}")) for n in range(1, 90)]
    seen = measured(tables(*recent("rcheck", "set")), Claim(burst=5, window=4.0), parts=(Part.EVICTION,), crowd=crowd)
    assert (seen.crowd.sources, seen.crowd.evicted) == (89, False)


def test_what_cannot_be_measured_is_said():
    plan = schedule(Claim(burst=5, window=4.0), SIX[2:3], ALL)
    assert {salvo.source for salvo in plan.salvos} == {SIX[2]}
    assert [gap.split(":")[0] for gap in plan.gaps] == [
        "whether sources are counted apart", "whether a /64 is counted as one",
        "whether many sources push one off the list", "the window by itself",
    ]  # fmt: skip
    assert read(answers(HostModel.build(ip6tables_save=""), plan, "fd00::10"), plan.gaps).gaps == plan.gaps
    assert schedule(Claim(burst=9000, window=4.0), FOUR, ALL) == Schedule(
        (), ("36005 packets would be needed, and a measurement sends 2500 at most",)
    )  # fmt: skip


def test_a_measurement_takes_its_window_and_little_more():
    plan = schedule(Claim(burst=20, window=60.0), FOUR, (Part.BURST, Part.WINDOW, Part.ISOLATION))
    assert 60 < plan.seconds < 61.5
    assert plan.packets == 22 + 20 + 1 + 2 * (20 + 1)
    plan = schedule(Claim(burst=20, rate=1 / 3), FOUR, (Part.BURST, Part.WINDOW, Part.ISOLATION))
    assert plan.seconds < 7.5


def test_a_lost_packet_spoils_what_it_would_have_told():
    plan = schedule(Claim(burst=5, window=4.0), FOUR, (Part.BURST, Part.WINDOW))
    whole = answers(HostModel.build(iptables_save=tables(*recent("rcheck", "set"))), plan)
    burst = [n for n, answer in enumerate(whole) if answer.role is Role.BURST]

    def losing(number):
        return read([replace(a, let_in=None) if n == number else a for n, a in enumerate(whole)])

    assert losing(burst[2]).burst is None
    assert losing(burst[2]).manner is Manner.UNSEEN
    assert losing(burst[6]).burst == 5
    assert losing(burst[6]).gaps[0].startswith("1 of ")
    fill = next(n for n, answer in enumerate(whole) if answer.role is Role.FILL)
    assert losing(fill).window.high >= 4 + STEP


@pytest.mark.parametrize(
    ("one", "other", "bits"), [("10.1.0.1", "10.1.0.1", 32), ("10.1.0.1", "10.1.0.3", 30), ("fd00::1", "fd01::1", 15)]
)
def test_shared_bits(one, other, bits):
    assert shared_bits(ip_address(one), ip_address(other)) == bits


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (Interval(59.92, 60.08), "60.00 s ± 0.08"), (Interval(60, inf), "over 60 s"),
        (Interval(0.32, 0.34), "0.33 s ± 0.01"), (Interval(59.5, 60.5), "60.0 s ± 0.5"),
        (Interval(5, 5), "5.000 s ± 0.000"),
    ],
)  # fmt: skip
def test_intervals_in_words(interval, words):
    assert interval.words("s") == words


def test_a_shared_bucket_that_refills_meanwhile_is_still_shared():
    def answer(role, source, number, let_in):
        return Answer(role=role, source=source, at=number * 0.001, let_in=let_in)

    burst = [answer(Role.BURST, FOUR[0], n, n < 5) for n in range(7)]
    one = [answer(Role.APART, FOUR[1], 7 + n, n == 2) for n in range(5)]
    most = [answer(Role.APART, FOUR[1], 7 + n, n != 2) for n in range(5)]
    assert (read(burst + one).shared, read(burst + most).shared) == (True, False)


def test_a_source_that_came_too_early_spoils_the_burst_it_may_have_shared():
    def answer(role, source, number, let_in):
        return Answer(role=role, source=source, at=number * 0.001, let_in=let_in)

    burst = [answer(Role.BURST, FOUR[0], n, n < 4) for n in range(7)]
    early = read(sorted([*burst, answer(Role.APART, FOUR[1], 2.5, True)], key=lambda a: a.at))
    assert (early.burst, early.shared) == (None, None)
    assert "too early" in early.gaps[0]
    later = [answer(Role.APART, FOUR[1], number, True) for number in (2.5, 8)]
    assert read(sorted([*burst, *later], key=lambda a: a.at)).burst == 4, "it is counted apart, as it is still let in"
