"""Which packets are sent to reach rules, what they meet, and how every counter is read."""

import json
from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from fwproof.audit.counting import Reader
from fwproof.audit.coverage_probes import Meeting, ends_of, instead, probes_of, shapes
from fwproof.errors import Garbled, HostError
from fwproof.flow import CtState, Family, Hook
from fwproof.semantics.cover import Limits, Source, cover
from fwproof.semantics.model import HostModel

TABLES = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [3:9]
:SSH - [0:0]
[0:0] -A INPUT -i lo -j ACCEPT
[5:9] -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[0:0] -A INPUT -p tcp -m tcp --dport 22 -j SSH
[0:0] -A INPUT -p udp -m udp --sport 53 -j ACCEPT
[0:0] -A INPUT -s 192.0.2.0/24 -j ACCEPT
[0:0] -A INPUT -p udp -m udp --dport 7 -m ttl --ttl-eq 255 -j ACCEPT
[0:0] -A OUTPUT -p icmp -j ACCEPT
[0:0] -A SSH -m recent --update --seconds 60 --hitcount 4 --name SSH --rsource -j DROP
[0:0] -A SSH -m recent --set --name SSH --rsource -j ACCEPT
COMMIT
"""
ADDRESSES = json.dumps([
    {"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
    {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.10", "prefixlen": 24}]},
])  # fmt: skip
ROUTES = '[{"dst": "default", "gateway": "10.0.0.1", "dev": "eth0"}]'
MODEL = HostModel.build(iptables_save=TABLES, addresses=ADDRESSES, routes=ROUTES)
FOUR = Family.IPV4
LIMITS = Limits(
    sources=(
        Source(name="v", networks=(ip_network("10.0.0.7/32"),), interface="eth0",
               destinations=(ip_network("10.0.0.10/32"),)),
        Source(name="web", itself=True, destinations=(ip_network("10.0.0.7/32"), ip_network("10.0.0.10/32"))),
    ),
    states=frozenset({CtState.NEW, CtState.INVALID}), shapes=shapes(MODEL, FOUR),
)  # fmt: skip
ORIGINS = SimpleNamespace(receiver=lambda flow, hook: "web", model=MODEL)


def rule(found, text):
    return next(ref for ref in found if text in ref.text)


@pytest.fixture(scope="module")
def found():
    return cover(MODEL, FOUR, LIMITS)


def test_probes_are_packets_that_a_prober_can_send(found):
    probes = probes_of(found.witnesses, ORIGINS)
    assert [probe.name for probe in probes] == [f"p{number}" for number in range(1, len(probes) + 1)]
    for probe in probes:
        assert probe.flow.sport is None or 61000 <= probe.flow.sport <= 64999
        assert (probe.flow.ttl, probe.flow.length) == (64, 60)
        assert str(probe.flow.dst) in {"10.0.0.7", "10.0.0.10"}
    reached = {ref for witness in found.witnesses for ref in (*witness.reaches, *witness.depends)}
    missed = {each.rule.text: each for each in found.missed}
    assert not any("--sport 53" in ref.text or "--ttl-eq 255" in ref.text for ref in reached)
    elsewhere = cover(MODEL, FOUR, Limits(shapes=LIMITS.shapes, states=LIMITS.states))
    by = {ref: witness for witness in elsewhere.witnesses for ref in witness.reaches}
    words = {text: instead(each, by) for text, each in missed.items()}
    far = next(text for text in words if "192.0.2.0/24" in text)
    assert words[far].startswith("a vantage at 192.0.2.")
    assert not any(words[text] for text in words if "--sport 53" in text or "--ttl-eq" in text), "no vantage would do"


def test_what_a_limit_counts_is_sent_once_and_only_once(found):
    probes = probes_of(found.witnesses, ORIGINS)
    assert [probe.flow.dport for probe in probes if probe.limited] == [22]
    assert len({(p.hook, p.flow.dst, p.flow.proto, p.flow.dport, p.flow.flags) for p in probes}) == len(probes)


def test_a_packet_meets_rules_and_so_does_its_answer(found):
    probes = probes_of(found.witnesses, ORIGINS)
    meeting = Meeting(MODEL, FOUR)
    ssh = next(probe for probe in probes if probe.flow.dport == 22 and probe.hook is Hook.INPUT)
    met = meeting.met(ssh.flow, ssh.hook)
    assert rule(met.certain, "--dport 22 -j SSH")
    assert {ref.text for ref in met.answer} == {"ACCEPT"}, "the default of OUTPUT"
    assert rule(met.after, "ESTABLISHED"), "a reset may follow"
    assert {ref.chain for ref in met.maybe} == {"SSH"}


def test_every_packet_of_a_hook_ends_at_one_of_its_ends():
    (ends,) = (ends for ends in ends_of(MODEL, FOUR) if any(ref.chain == "INPUT" for ref in ends))
    assert {ref.chain for ref in ends} == {"INPUT", "SSH"}
    assert not any("-j SSH" in ref.text for ref in ends), "a jump ends nothing"
    assert any(ref.rule is None for ref in ends)


# ---- counters


class Field:
    """A host that prints what it is told to."""

    agents: dict = {}  # noqa: RUF012 - none

    def __init__(self, **printed):
        def run(argv, name):
            if name.replace("-", "_") not in printed:
                raise HostError("web", f"there is no {name}")
            return SimpleNamespace(status=0, stdout=printed[name.replace("-", "_")], stderr="", argv=argv)

        self.transports = {"web": SimpleNamespace(run=run)}


def reader(model=MODEL, **printed):
    return Reader(Field(**printed), "web", model, FOUR)


def test_policies_count_where_they_have_a_counter():
    read = reader(iptables_save=TABLES).read()
    assert {ref.text: count for ref, count in read.items() if count} == {
        "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT": 5, "ACCEPT": 3
    }  # fmt: skip
    assert reader().silent(read) == {}, "DROP was set, so its 0 is a count, and ACCEPT has counted"
    fresh = {ref: 0 if ref.text == "ACCEPT" else count for ref, count in read.items()}
    assert {ref.chain for ref in reader().silent(fresh)} == {"OUTPUT"}


def test_changed_tables_make_counts_mean_nothing():
    read = reader(iptables_save=TABLES).read()
    ref = rule(read, "ESTABLISHED")
    assert reader().moved(read, {**read, ref: 7})[ref] == 2
    assert reader().moved(read, {**read, ref: 4}) is None
    assert reader().moved(read, {other: count for other, count in read.items() if other != ref}) is None


def nft(*rules):
    table = [{"table": {"family": "inet", "name": "t"}},
             {"chain": {"family": "inet", "table": "t", "name": "i", "type": "filter", "hook": "input", "prio": 0,
                        "policy": "drop"}}]  # fmt: skip
    body = [{"rule": {"family": "inet", "table": "t", "chain": "i", "handle": n, "expr": list(expr)}}
            for n, expr in enumerate(rules, 2)]  # fmt: skip
    return json.dumps({"nftables": [{"metainfo": {"json_schema_version": 1}}, *table, *body]})


COUNT = {"counter": {"packets": 4, "bytes": 9}}
PORT = {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}}


def test_a_counter_of_nft_counts_only_after_the_last_condition():
    text = nft([PORT, COUNT, {"accept": None}], [COUNT, PORT, {"accept": None}], [PORT, {"drop": None}])
    model = HostModel.build(nft_json=text)
    known = reader(model, nft=text)
    read = known.read()
    assert {ref.rule: count for ref, count in read.items()} == {1: 4}
    assert {ref.rule: why for ref, why in known.silent(read).items()} == {
        2: "it has no counter, or one before a condition", 3: "it has no counter, or one before a condition",
        None: "its policy has no counter, or has never counted",
    }  # fmt: skip


SHOWN = """\
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
[0:0] -A INPUT -p tcp -m tcp --dport 80 -j ACCEPT
[0:0] -A INPUT -p tcp -m tcp --dport 81 -j ACCEPT
COMMIT
"""


@pytest.mark.parametrize(("made", "silent"), [("nft", {2, None}), ("iptables", {2})])
def test_counters_that_iptables_shows_of_nfts_own_rules_are_none(made, silent):
    own = {"xt": {"type": "match", "name": "comment"}} if made == "iptables" else PORT
    listed = nft([PORT, own, COUNT, {"accept": None}], [PORT, {"accept": None}])
    listed = listed.replace('"inet"', '"ip"').replace('"t"', '"filter"').replace('"i"', '"INPUT"')
    model = HostModel.build(iptables_save=SHOWN)
    known = reader(model, iptables_save=SHOWN, nft=listed)
    assert {ref.rule for ref in known.silent(known.read()) if ref.chain == "INPUT"} == silent


@pytest.mark.parametrize("text", ["", "[]", '{"nftables": [{"rule": {}}]}', '{"nftables": 3}', "{"])
def test_rubbish_of_nft_is_told(text):
    model = HostModel.build(nft_json=nft([PORT, COUNT, {"accept": None}]))
    with pytest.raises(Garbled, match="nft printed what is no list of rules"):
        reader(model, nft=text).read()
