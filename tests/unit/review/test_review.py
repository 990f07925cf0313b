from pathlib import Path

import pytest

from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy
from fwproof.policy.model import Rate
from fwproof.review.expected import Expected, windows
from fwproof.review.findings import Known
from fwproof.review.loggers import Loggers, says_let_in
from fwproof.review.page import headline
from fwproof.review.places import Places
from fwproof.semantics.model import HostModel

from .logs import line, review_of

ROOT = Path(__file__).parents[3]
INVENTORY = load_inventory(ROOT / "fixtures" / "inventory.yaml")
POLICY = load_policy(ROOT / "checks" / "ai-server.policy.yaml", INVENTORY)
RULES = (ROOT / "fixtures" / "lab" / "ai-server" / "etc" / "iptables" / "rules.v4").read_text()
PREFIX = "fw drop in:"


def known(rules=None, host=None):
    loggers = None if rules is None else Loggers(HostModel.build(iptables_save=rules))
    return Known(places=Places(INVENTORY), expected=Expected([POLICY], INVENTORY, host), loggers=loggers)


def kinds(found):
    return [each.kind for each in found.acts]


# ---- drops of what the policy allows


def proxy(**how):
    return line(20, 3, src="10.0.0.100", dport=8080, prefix=PREFIX, **how)


def test_a_drop_of_what_the_policy_allows_is_a_finding():
    found = review_of([proxy(), line(20, 4)], known())
    (finding,) = found.acts
    assert finding.kind == "allowed-dropped"
    assert finding.data["expectation"] == "webui-proxy"
    assert finding.data["count"] == 1
    assert "SRC=10.0.0.100" in finding.example


def test_what_is_allowed_and_keeps_being_dropped_is_one_finding():
    lines = [line(20, hour, src="10.0.0.100", dport=8080) for hour in range(5)]
    assert kinds(review_of(lines, known())) == ["allowed-dropped"]


@pytest.mark.parametrize(
    "text",
    [
        line(20, src="10.0.0.101", dport=8080),  # not among its peers
        line(20, src="10.0.0.100", dport=8081),
        proxy(flags="ACK FIN"),  # late, not a new connection
        proxy(flags="FIN"),
        line(20, src="10.0.0.100", dport=8080, proto="UDP"),
        line(20, src="10.0.0.100", dport=8080, dst="10.0.2.10"),  # at another host
        line(20, src="10.0.0.100", dport=8080, oif="eth1"),  # passed on
        line(20, src="10.0.0.100", dport=8080, iif="", oif="eth0"),
    ],
)
def test_other_drops_are_none(text):
    assert review_of([text], known()).acts == []


def test_outbound_and_the_other_family():
    out = line(20, src="10.0.0.10", dst="10.0.2.10", dport=5432, iif="", oif="eth0")
    (finding,) = review_of([out], known()).acts
    assert finding.data["expectation"] == "postgres"
    six = line(20, src="fd00:0:0:1::100", dst="fd00:0:0:1::10", dport=8080)
    assert review_of([six], known()).acts[0].data["expectation"] == "webui-proxy"


def test_the_tables_tell_why():
    broken = RULES.replace("-s 10.0.0.100/32", "-s 10.0.0.102/32")
    (finding,) = review_of([proxy()], known(broken)).acts
    assert finding.data["tables"] == ["the tables drop it: ip filter DROP_IN rule 2: -A DROP_IN -j DROP"]
    (finding,) = review_of([proxy()], known(RULES)).acts
    assert finding.data["tables"][0].startswith("the tables given accept it")


def ollama(*seconds):
    return [line(20, 3, 0, each, src="10.0.5.7", dport=11434, prefix=PREFIX) for each in seconds]


def test_a_limit_explains_drops_only_where_the_tables_have_nothing_else():
    found = review_of(ollama(1, 2, 3), known(RULES))
    assert found.acts == []
    (note,) = found.findings
    assert note.data["rate"] == {"limit": 20, "per": 60, "windows": 1, "windows_over": 0, "most": 3, "explains": True}
    assert review_of(ollama(1), known()).acts[0].data["rate"]["explains"] is False
    closed = RULES.replace("-A INPUT -s 10.0.0.0/16 -p tcp", "-A INPUT -s 10.9.0.0/16 -p tcp")
    assert kinds(review_of(ollama(1), known(closed))) == ["allowed-dropped"]
    half = RULES.replace("-A OLLAMA -m recent --set", "-A OLLAMA -m set ! --match-set bad src -m recent --set")
    assert kinds(review_of(ollama(1), known(half))) == ["allowed-dropped"]


def test_windows_of_a_rate():
    rate = Rate(2, 60.0)
    found = windows(rate, [[0, 1, 2, 61], [3]])
    assert (found.windows, found.over, found.most) == (3, 1, 3)
    assert windows(Rate(3, 60.0), [[0, 1, 2]]).over == 0  # as many as the limit are not over it
    assert windows(Rate(3, 60.0, by="total"), [[0, 1, 2, 61], [3]]).over == 1


def test_a_policy_of_another_host_is_refused():
    with pytest.raises(Exception, match="no policy given is about proxy"):
        known(host="proxy")


# ---- who keeps knocking


def again(hours, **how):
    return [line(20, hour, src="10.0.5.7", dport=23, **how) for hour in range(hours)]


def test_a_host_of_ours_that_comes_back_is_a_finding():
    assert kinds(review_of(again(3))) == ["knocking"]
    assert kinds(review_of(again(2))) == []
    assert kinds(review_of(again(1) * 500)) == []
    assert kinds(review_of([line(20, hour, dport=23) for hour in range(9)])) == []  # from outside
    assert kinds(review_of(again(3, flags="ACK"))) == []
    assert kinds(review_of(again(3, dst="224.0.0.1"))) == []


def test_the_smallest_zone_names_a_source():
    places = Places(INVENTORY)
    assert [places.zone(each) for each in ("10.0.0.100", "10.0.9.9", "198.51.100.1", "192.0.2.1")] == [
        "proxies", "internal", "internet", "",
    ]  # fmt: skip
    assert places.name("10.0.9.9") == "10.0.9.9 (internal)"


def test_zones_say_who_is_ours():
    outside = [line(20, hour, dport=23) for hour in range(5)]
    assert kinds(review_of(outside, known())) == []
    vantage = again(3)
    assert "probes are sent from here" in review_of(vantage, known()).acts[0].details[1]
    assert len(review_of(vantage).acts[0].details) == 1
    ours = Known(places=Places(INVENTORY, {"internet"}))
    assert kinds(review_of(outside, ours)) == ["knocking"]


def test_a_scan_by_a_host_of_ours_is_a_finding_at_once():
    scan = [line(20, 3, src="10.0.5.7", dport=port) for port in range(1, 11)]
    (finding,) = review_of(scan).acts
    assert finding.title.startswith("10.0.5.7 (private) scans 10 ports")
    assert review_of(scan[1:]).acts == []


def test_the_host_itself_is_one_of_ours():
    tries = [line(20, hour, src="10.0.0.10", dst="198.51.100.9", dport=443, iif="", oif="eth0") for hour in range(3)]
    found = review_of(tries)
    assert kinds(found) == ["knocking-out"]
    assert [(to, what, total.count) for to, what, total in found.outbound] == [("198.51.100.9", "tcp/443", 3)]
    assert found.sources == []


# ---- from outside


def test_scans_sweeps_and_persistence():
    scan = [line(20, 3, dport=port) for port in range(1, 11)]
    sweep = [line(20, 4, src=f"198.51.100.{n}", dport=23) for n in range(10)]
    back = [line(20, hour, src="192.0.2.7", dport=25) for hour in range(6)]
    busy = [line(20, 3, src="192.0.2.1", dport=99, sport=n) for n in range(50)]
    found = review_of([*scan, *sweep, *back, *busy])
    looks = {each.address: each.what for each in found.sources}
    assert looks["203.0.113.66"] == "scan of 10 ports"
    assert looks["192.0.2.7"] == "persistent: 6 hours on 1 days"
    assert looks["198.51.100.3"] == ""
    assert [(each.service, each.sources) for each in found.sweeps] == [("tcp/23", 10)]
    assert [each.address for each in found.sources[:3]] == ["203.0.113.66", "192.0.2.7", "192.0.2.1"]
    assert found.acts == []


def test_answers_of_servers_are_no_scan():
    late = [line(20, 3, dport=40000 + port, sport=53, proto="UDP") for port in range(50)]
    late += [line(20, 3, dport=40000 + port, sport=443, flags="ACK FIN") for port in range(50)]
    assert review_of(late).sources == []


# ---- hits that stopped


def weeks(before, after):
    first = [line(1 + n // 12, n % 12, prefix="a") for n in range(before)]
    return [*first, *[line(8, n, prefix="a") for n in range(after)], line(1), line(14, 23)]


def test_a_rule_whose_hits_stopped():
    assert kinds(review_of(weeks(60, 0))) == ["hits-stopped"]
    assert kinds(review_of(weeks(60, 1))) == []
    assert kinds(review_of(weeks(3, 0))) == []
    burst = [line(1, 3, 0, n % 60, prefix="a") for n in range(500)]  # all in one hour
    assert kinds(review_of([*burst, line(1), line(14, 23)])) == []


def test_without_anything_before_nothing_is_said_of_hits():
    found = review_of([line(14, hour) for hour in range(5)])
    assert found.acts == []
    assert any("does not reach back" in note for note in found.notes)


def test_a_stopped_rule_is_named_or_said_to_be_gone():
    lines = [each.replace("a IN=", "fw drop in: IN=") for each in weeks(60, 0)]
    lines = [each.replace("drop in: IN=", "other IN=") if "drop in: IN=" in each and "fw " not in each else each
             for each in lines]  # fmt: skip
    (finding,) = review_of(lines, known(RULES)).acts
    assert "ip filter DROP_IN rule 1" in finding.details[1]
    gone = RULES.replace("fw drop in: ", "new: ")
    (finding,) = review_of(lines, known(gone)).acts
    assert "no rule of the tables has this prefix" in finding.details[1]


# ---- rules


def test_rules_are_named_by_prefix_and_way_and_silent_ones_listed():
    found = review_of([line(20, prefix=PREFIX), line(20, prefix="stranger:")], known(RULES))
    assert [name for name, _ in found.totals["rule"]] == ["“fw drop in:” ip filter DROP_IN rule 1", "“stranger:”"]
    assert [name for name, _ in found.unknown] == ["“stranger:” (in, IPv4)"]
    assert [each.ref.chain for each in found.silent] == ["DROP_OUT", "DROP_FWD"]


TWO = """*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j LOG --log-prefix "drop "
-A INPUT -p tcp -m tcp --dport 23 -j LOG --log-prefix "drop "
-A INPUT -p tcp -m tcp --dport 443 -j LOG --log-prefix "seen "
-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT
COMMIT
"""


def test_of_rules_with_one_prefix_the_model_says_which_it_was():
    found = review_of([line(20, prefix="drop", dport=23), line(20, prefix="drop", dport=80)], known(TWO))
    assert sorted(name for name, _ in found.totals["rule"]) == [
        "“drop” ip filter INPUT rule 2", "“drop” one of 2 rules with this prefix",
    ]  # fmt: skip


def test_what_a_rule_logs_and_lets_in_is_no_drop():
    found = review_of([line(20, prefix="seen", dport=443), line(20, prefix="drop", dport=22)], known(TWO))
    assert (found.total.count, found.let_in) == (1, 1)
    without = review_of([line(20, prefix="seen", dport=443)])
    assert without.total.count == 1


def test_of_a_rule_that_logs_all_each_packet_counts_by_itself():
    rules = TWO.replace("-A INPUT -p tcp -m tcp --dport 22 -j LOG", "-A INPUT -j LOG").replace('"drop "', '"all "', 1)
    lines = [line(20, prefix="all", dport=port) for port in (443, 22, 25)]
    for each in (lines, lines[::-1]):
        found = review_of(each, known(rules))
        assert (found.total.count, found.let_in) == (2, 1)


def test_tables_that_were_mended_since_do_not_make_a_drop_one_that_was_let_in():
    mended = RULES.replace("-A INPUT -s 10.0.0.100/32", "-A INPUT -s 10.0.0.0/16")
    assert review_of([proxy()], known(mended)).total.count == 1


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("[UFW ALLOW]", True), ("[UFW AUDIT]", True), ("[UFW BLOCK]", False), ("NOT ALLOWED:", False), ("ssh", False),
     ("accepted ", True), ("[UFW LIMIT BLOCK]", False), ("passthru", False)],
)  # fmt: skip
def test_prefixes_that_say_it_was_let_in(prefix, expected):
    assert says_let_in(prefix) is expected


def test_a_limit_of_the_log_that_was_used_up_is_told():
    many = [line(20, 3, 0, 0, prefix=PREFIX, src=f"198.51.100.{n}") for n in range(19)]
    assert review_of(many, known(RULES)).limits == []  # 20 pass at once
    more = [*many, line(20, 3, 0, 0, prefix=PREFIX, src="198.51.100.99")]
    ((rule, limit, minutes),) = review_of(more, known(RULES)).limits
    assert (limit, minutes) == ("limit 10/sec burst 20", 1)
    assert rule.startswith("ip filter DROP_IN rule 1")


# ---- what is not known


def test_nothing_parsed_and_nothing_understood_are_never_green():
    assert review_of([]).weakened
    assert review_of(["hello"]).weakened
    bad = line(20).replace("203.0.113.66", "nonsense")
    assert any("not understood" in each for each in review_of([line(20), bad]).weakened)
    assert review_of([line(20)]).weakened == []
    assert headline(review_of([line(20)])) == "nothing to act on"


def test_undated_lines_count_as_of_the_period():
    found = review_of([line(None, prefix="a"), *weeks(60, 0)])
    assert kinds(found) == []  # the rule may have been hit now
    assert any("have no date" in each for each in found.notes)


def test_a_period_is_cut_at_full_hours():
    lines = [line(20, 5, 59), line(20, 6, 0), line(20, 8, 59), line(20, 9, 0)]
    start = 1732060800 + 6 * 3600  # 2024-11-20
    found = review_of(lines, since=start + 60, until=start + 2 * 3600 + 60)
    assert (found.total.count, found.total.before) == (2, 1)
