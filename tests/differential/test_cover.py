"""Covers of random tables: against lint and the walk of single packets, and with real packets against the kernel.

``FWPROOF_COVER_TABLES`` and ``FWPROOF_SEED`` make a larger or another run.
"""

import os
import random
from collections import Counter
from dataclasses import replace
from ipaddress import ip_network

import pytest

from fwproof.flow import CtState, Family, Hook
from fwproof.semantics import cover_choose, cover_reach
from fwproof.semantics.cover import Limits, Source, Why, cover
from fwproof.semantics.lint_space import Space
from fwproof.semantics.model import HostModel
from fwproof.semantics.reach import Disagreement

from . import kernel as k
from .random_nat import NatTables
from .random_nft import Ruleset
from .random_tables import BEYOND, MACS, OWN, SOURCES, Tables, new_flow
from .test_nft import NftKernel, counted
from .test_nft import load as load_nft
from .test_sets import ADDRESSES
from .test_tables import NOTHING, counters, load

TABLES = int(os.environ.get("FWPROOF_COVER_TABLES", "30"))
SEED = int(os.environ.get("FWPROOF_SEED", "1"))
EVERYTHING = Limits(everything=True, states=frozenset(CtState))


def build(rng, serial, make=Tables):
    version = rng.choice([4, 6])
    outward = rng.random() < 0.3
    text = (
        Tables(rng, version, serial, outward=outward) if make is Tables else make(rng, version, outward=outward)
    ).text
    return text, version, Family.IPV4 if version == 4 else Family.IPV6


def model_of(text, version, **more):
    return HostModel.build(**{"iptables_save" if version == 4 else "ip6tables_save": text}, **more)


def alive(model, family):
    """Return the rules that lint does not call dead."""
    space = Space(model, family)
    tables = {id(t): t for ruleset in model.rulesets[family] for t in ruleset.tables.values()}
    return {tables[table].chains[chain].rules[at].ref for table, chain, at in space.met}


def walked(model, witness):
    """Return the rules that some end of the walk of a witness takes it to, and those that every end does."""
    hook = witness.hook
    leaves = [
        {step.rule for step in leaf.trace if step.matched != "no" and not step.note.startswith("not ")}
        for leaf in model.leaves(witness.flow)
        if all(holds == (hook is Hook.INPUT) for question, holds in leaf.choices if question.key == "own destination ")
    ]
    return set().union(*leaves), set.intersection(*leaves)


def differences(text, version, family):
    """Return how a cover of everything differs from what lint and the walk say, and how many packets it wastes."""
    model = model_of(text, version)
    found = cover(model, family, EVERYTHING)
    reached = set()
    for witness in found.witnesses:
        some, every = walked(model, witness)
        claimed = {ref for ref in witness.reaches if ref.rule}
        if not claimed <= every or not set(witness.depends) - {None} <= some | {
            r for r in witness.depends if not r.rule
        }:
            return [f"{witness} does not reach what it should"], 0, 0
        reached |= claimed | {ref for ref in witness.depends if ref.rule}
    marked = {m.rule for m in found.missed if m.why is Why.MARK and m.rule.rule}
    extended = {m.rule for m in found.missed if m.why is Why.ORACLE and m.example is None}
    living = alive(model, family) - extended
    wrong = [f"{ref} has nothing to do with extension headers" for ref in extended if version == 4]
    # marks may be anything to lint, also 1 and 2 at once
    impossible = {m.rule for m in found.missed if m.why is Why.UNREACHABLE} & living if "mark" in text else set()
    wrong += [f"{ref} is called unreachable, and {flow} reaches it" for flow, ref in met(model, version, impossible)]
    wrong += [f"{ref} is not reached" for ref in living - reached - marked - impossible]
    wrong += [f"{ref} is reached, and lint calls it dead" for ref in (reached | marked) - living]
    return wrong, len(found.witnesses) - found.at_least, len(impossible)


def met(model, version, rules):
    """Yield packets that reach rules which nothing should reach: drawn ones, with marks and states of all kinds."""
    rng = random.Random(7)
    for _ in range(150 if rules else 0):
        flow = new_flow(rng, version, rng.choice(["input", "forward", "output"]), rng.choice([53, 1024, 40000]))
        flow = replace(flow, mark=rng.randrange(16), connmark=rng.choice([0, 1, 3]), ctstate=rng.choice(list(CtState)))
        for leaf in model.leaves(flow):
            yield from ((flow, s.rule) for s in leaf.trace if s.rule in rules and s.matched == "yes")


def test_what_is_not_dead_is_reached():
    rng = random.Random(SEED)
    wasted, impossible = Counter(), 0
    for serial in range(TABLES):
        text, version, family = build(rng, serial)
        wrong, more, never = differences(text, version, family)
        assert not wrong, "\n".join([*wrong[:3], text])
        assert more >= 0
        wasted[more > 0] += 1
        impossible += never
    assert impossible < TABLES / 2
    assert wasted[False] > TABLES * 3 / 4, "few covers are proved to be the smallest"


@pytest.mark.parametrize("what", ["an element is forgotten", "packets are taken from elsewhere"])
def test_the_comparison_can_fail(monkeypatch, what):
    of = cover_reach.Reach.of

    def forgetful(reach, start, wanted=None):
        found = of(reach, start, wanted)
        return {number: region for number, region in found.items() if number % 2}

    def wide(reach, start, wanted=None):
        return {n: replace(r, some=reach.host.sets.all) for n, r in of(reach, start, wanted).items()}

    monkeypatch.setattr(cover_reach.Reach, "of", forgetful if what.startswith("an element") else wide)
    rng, failed = random.Random(SEED), 0
    for serial in range(20):
        text, version, family = build(rng, serial)
        try:
            failed += bool(differences(text, version, family)[0])
        except Disagreement:
            failed += 1
    assert failed


def test_a_bound_that_is_no_bound_is_noticed(monkeypatch):
    monkeypatch.setattr(cover_choose.Chooser, "apart", lambda self: sorted(self.options))
    rng = random.Random(SEED)
    tables = [build(rng, serial) for serial in range(20)]
    with pytest.raises(Disagreement, match="none reaches two"):
        [cover(model_of(text, version), family) for text, version, family in tables]


def test_nat_and_routing_are_followed():
    """Every packet is confirmed by the walk of it alone, or the cover is refused; few rules stay unknown."""
    rng, whys, unknown = random.Random(SEED), Counter(), 0
    for serial in range(TABLES):
        text, version, family = build(rng, serial, NatTables)
        model = model_of(text, version, addresses=ADDRESSES if rng.random() < 0.7 else None)
        found = cover(model, family, EVERYTHING if serial % 2 else None)
        assert len(found.witnesses) >= found.at_least
        whys += Counter(m.why for m in found.missed)
        # what NETMAP makes of a packet is not known to sets, nor which address an IPv6 REDIRECT takes
        unknown += 0 if "NETMAP" in text or version == 6 else sum(m.why is Why.UNKNOWN for m in found.missed)
    assert whys[Why.UNREACHABLE] > whys[Why.UNKNOWN]
    assert unknown <= TABLES / 20


def sendable(flow):
    """Whether the packet builder of these tests can make a packet, and a plain interface takes it."""
    six = flow.dst.version == 6
    least = (40 if six else 20) + {6: 20, 17: 8, 58 if six else 1: 8}.get(flow.proto, 99999)
    return least <= flow.length <= 1500 and flow.pkttype == "host" and not flow.fragment


def bytes_of(flow, number):
    """Return what to send for a packet: its kind, its bytes, and where to."""
    head = (40 if flow.dst.version == 6 else 20) + {6: 20, 17: 8}.get(flow.proto, 4)
    payload = number.to_bytes(2, "big") if flow.icmp_type is not None else b""
    payload += bytes(flow.length - head - len(payload))
    if flow.iif is None:
        return "ip4" if flow.dst.version == 4 else "ip6", k.ip_packet(flow, payload).hex(), str(flow.dst)
    return "frame", k.frame(replace(flow, mac_src=flow.mac_src or MACS[0]), payload).hex(), ""


def from_wire(version, *, outward):
    """Limit a cover to what the tests' kernel can be sent, or can send."""
    ends = SOURCES[version] if outward else (OWN[version], BEYOND[version])
    return Limits(
        sources=(Source(name="host", itself=True) if outward else Source(name="wire", interface="eth0"),),
        destinations=tuple(map(ip_network, ends)),
    )


def sent(kernel, model, found, read, first):
    """Send a cover's packets one by one; return the rules that should have counted and did not, and how many did."""
    silent, counts = [], 0
    for number, witness in enumerate(found.witnesses, first):
        flow = witness.flow
        if not sendable(flow) or flow.oif == "lo":
            continue
        if flow.sport is not None:  # never the same connection twice, also not across tables
            other = replace(witness, flow=replace(flow, sport=1024 + number % 60000))
            flow = other.flow if set(witness.reaches) <= walked(model, other)[1] else flow
        before, arrived = read(), kernel.watched()["arrived"]
        kernel.send([bytes_of(flow, number % 60000)])
        kernel.settle(arrived + (flow.iif is not None))
        after = read()
        for ref in witness.reaches:
            place = (ref.table, ref.chain, ref.rule)
            key = place if place in after else (ref.family, *place)
            if key in after:
                counts += 1
                silent += [] if after[key] > before[key] else [f"{ref} did not count {flow} of {witness}"]
    return silent, counts


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with k.scratch(tmp_path_factory, NftKernel) as scratch:
        yield scratch


def silent_rules(kernel, rng, serial, tamper=None):
    version, backend, outward = rng.choice([4, 6]), ("nft", "legacy")[serial % 2], rng.random() < 0.3
    printed = load(kernel, Tables(rng, version, serial, outward=outward).text, version, backend)
    model = model_of(tamper(printed) if tamper else printed, version, addresses=kernel.facts[0], routes=kernel.facts[1])
    found = cover(model, Family.IPV4 if version == 4 else Family.IPV6, from_wire(version, outward=outward))
    silent, counts = sent(
        kernel, model, found, lambda: counters(kernel, version, backend), kernel.ports(len(found.witnesses))
    )
    return [f"{each}\n{printed}" for each in silent], counts


@pytest.mark.lab
def test_every_rule_that_a_packet_reaches_counts_it_in_the_kernel(kernel):
    rng, counts = random.Random(SEED), 0
    for serial in range(TABLES):
        silent, more = silent_rules(kernel, rng, serial)
        assert not silent, silent[0]
        counts += more
    assert counts > TABLES * 5, "few rules were looked at"


@pytest.mark.lab
@pytest.mark.parametrize(("old", "new"), [("! ", ""), (" -g ", " -j "), ("0x2/0x2", "0x2/0xffffffff")])
def test_a_model_that_reads_the_tables_wrong_is_found_by_the_kernel(kernel, old, new):
    rng = random.Random(2)  # whatever run this is, these tables are the ones that show it
    for serial in range(100):
        silent, _ = silent_rules(kernel, rng, serial, lambda text: text.replace(old, new))
        if silent:
            return
    pytest.fail(f"{old!r} read as {new!r} is not noticed: the comparison proves nothing")


@pytest.mark.lab
def test_native_rules_count_as_well(kernel):
    for each in ("iptables", "ip6tables"):
        kernel.run(f"{each}-legacy-restore", stdin=NOTHING)
    rng, counts = random.Random(SEED), 0
    for serial in range(TABLES):
        version, outward = rng.choice([4, 6]), rng.random() < 0.25
        ruleset = Ruleset(rng, version, serial, outward=outward)
        # nft leaves this out of its list where another condition implies a protocol, the other one as well
        ruleset.without([at for at, line in enumerate(ruleset.text.split("\n"), 1) if "meta protocol" in line])
        printed = load_nft(kernel, ruleset)
        model = HostModel.build(nft_json=printed, addresses=kernel.facts[0], routes=kernel.facts[1])
        found = cover(model, Family.IPV4 if version == 4 else Family.IPV6, from_wire(version, outward=outward))
        silent, more = sent(kernel, model, found, lambda: counted(kernel), kernel.ports(len(found.witnesses)))
        assert not silent, f"{silent[0]}\n{kernel.run('nft', 'list', 'ruleset')}"
        counts += more
    assert counts > TABLES * 3, "few rules were looked at"
