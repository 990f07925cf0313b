import os
from collections import Counter
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from fwproof.errors import UsageError
from fwproof.flow import Family
from fwproof.forms import Group
from fwproof.inventory import Access, Host, Inventory, SshAddress, Zone, ZoneLimits
from fwproof.plan import Kind
from fwproof.planning.limits import burst_size
from fwproof.planning.plan import plan
from fwproof.policy.document import parse_document
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy, policy_of
from fwproof.policy.model import Rate

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "plan-ai-server.txt"


def hosts(**named):
    """Return an inventory of hosts: addresses in words, and whether they are vantages."""
    made = {
        name.replace("_", "-"): Host(
            name=name.replace("_", "-"),
            addresses=tuple(ip_address(a) for a in addresses.split()),
            ssh=SshAddress(address="x"),
            access=Access.ROOT,
            vantage=vantage,
        )
        for name, (addresses, vantage) in named.items()
    }
    return Inventory(path=Path("i"), sha256="", hosts=made, zones={}, auditor="admin")


FIELD = hosts(
    web=("10.0.0.10 fd00::10", False),
    old=("10.0.0.20", False),
    admin=("10.0.0.1 fd00::1", True),
    near=("10.0.0.2 fd00::2", True),
    far=("10.0.9.2 fd00:0:0:9::2", True),
    db=("10.0.2.10 fd00:0:0:2::10", True),
    quiet=("10.0.2.12", False),
    outside=("203.0.113.66 2001:db8:bad::66", True),
)


def planned(text, inventory=FIELD):
    document = parse_document(b"policy: p\n" + text.encode(), file="f", path=Path("f"))
    return plan(policy_of(document, inventory), inventory)


def rows(checks, *kinds):
    return [(check.id, check.expected) for check in checks if check.kind in kinds]


@pytest.fixture(scope="module")
def shipped():
    inventory = load_inventory(ROOT / "fixtures" / "inventory.yaml")
    return plan(load_policy(ROOT / "checks" / "ai-server.policy.yaml", inventory), inventory)


def test_the_shipped_plan_is_the_one_that_was_agreed(shipped):
    lines = "".join(f"{check.id}  {check.expected}\n" for check in shipped)
    if os.environ.get("FWPROOF_UPDATE_GOLDEN"):
        GOLDEN.write_text(lines, encoding="utf-8")
    assert lines == GOLDEN.read_text(encoding="utf-8")


def test_ids_are_unique_and_usable_with_k(shipped):
    assert max(Counter(check.id for check in shipped).values()) == 1
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-:[]")
    assert [check.id for check in shipped if set(check.id) - allowed] == []


def test_every_check_says_where_its_packets_come_from(shipped):
    inventory = load_inventory(ROOT / "fixtures" / "inventory.yaml")
    for check in shipped:
        assert (check.vantage is None) == (check.peer is None)
        if check.vantage is not None:
            assert check.vantage != check.host
            assert check.peer in inventory.hosts[check.vantage].addresses
            assert Family.of(check.peer) is check.family
        if check.kind in {Kind.INBOUND, Kind.OUTBOUND, Kind.RATE, Kind.BAN_EXERCISE, Kind.DROP_LOG}:
            assert check.service is not None


def test_both_servers_are_asked_the_same(shipped):
    asked = {
        host: [c.id.replace(host, "H", 1) for c in shipped if c.host == host]
        for host in ("ai-server", "ai-server-published")
    }
    assert asked["ai-server"] == asked["ai-server-published"]


def test_inbound_is_asked_of_every_vantage_in_both_families():
    checks = planned(
        "hosts: web\ninbound:\n  default: deny\n  allow: [{id: a, service: tcp/22, from: [admin, 10.0.2.10]}]\n"
    )
    assert rows(checks, Kind.INBOUND) == [
        ("a[web-admin-ipv4]", "allow"), ("a[web-near-ipv4]", "deny"), ("a[web-far-ipv4]", "deny"),
        ("a[web-db-ipv4]", "allow"), ("a[web-outside-ipv4]", "deny"),
        ("a[web-admin-ipv6]", "allow"), ("a[web-near-ipv6]", "deny"), ("a[web-far-ipv6]", "deny"),
        ("a[web-db-ipv6]", "deny"), ("a[web-outside-ipv6]", "deny"),
    ]  # fmt: skip


def test_who_is_let_in_by_another_allow_of_the_service_is_not_expected_to_be_refused():
    checks = planned(
        "hosts: web\ninbound:\n  default: deny\n  allow:\n"
        "    - {id: a, service: tcp/22, from: admin}\n    - {id: b, service: tcp/22, from: db}\n"
    )
    ids = [id_ for id_, _ in rows(checks, Kind.INBOUND)]
    assert "b[web-admin-ipv4]" not in ids
    assert "a[web-db-ipv4]" not in ids
    assert {"a[web-admin-ipv4]", "b[web-db-ipv4]", "a[web-near-ipv4]", "b[web-near-ipv4]"} <= set(ids)


def test_a_family_that_a_host_lacks_is_not_planned():
    checks = planned(
        "hosts: [web, old]\ninbound: {default: deny, samples: [tcp/9]}\nforward: {default: deny}\n"
        "essential: [loopback, established, icmpv6-nd]\ndrop_log: {inbound: true}\npersistence: true\n"
    )
    absent = [check for check in checks if check.kind is Kind.ABSENT]
    assert [(check.id, check.expectation.id, check.family) for check in absent] == [
        ("inbound-default:no-ipv6[old]", "inbound-default", Family.IPV6)
    ], "that it does not apply is said once"
    assert {check.family for check in checks if check.host == "old" and check not in absent} == {Family.IPV4, None}
    assert {check.family for check in checks if check.host == "web"} == {Family.IPV4, Family.IPV6, None}


@pytest.mark.parametrize("section", ["inbound", "outbound"])
def test_a_service_whose_peers_lack_a_family_is_open_to_nobody_there(section):
    allow = f"{'from' if section == 'inbound' else 'to'}: 10.0.2.10"
    text = f"hosts: web\n{section}:\n  default: WORD\n  allow: [{{id: a, service: tcp/22, {allow}}}]\n"
    assert rows(planned(text.replace("WORD", "unchecked")), Kind.CLAIM) == [
        ("a[web-ipv4]", "open to 10.0.2.10 only"), ("a[web-ipv6]", "open to nobody in IPv6"),
    ]  # fmt: skip
    assert rows(planned(text.replace("WORD", "deny")), Kind.CLAIM) == [("a[web-ipv4]", "open to 10.0.2.10 only")]


def test_a_default_speaks_of_both_families():
    """A policy that names addresses of one family alone says of the other that nothing passes."""
    checks = planned("hosts: old\ninbound: {default: deny, allow: [{id: a, service: tcp/22, from: 10.0.2.10}]}\n")
    absent = [(check.id, check.expectation.id) for check in checks if check.kind is Kind.ABSENT]
    assert absent == [("inbound-default:no-ipv6[old]", "inbound-default")]


def test_tables_are_asked_about_as_a_whole():
    checks = planned(
        "hosts: [web, old]\nipv6: same\nrules: true\nmanagers: ufw\ncoverage: true\nbaseline: '../baseline/{host}'\n"
    )
    assert rows(checks, Kind.MANAGERS) == [("managers[web]", "managed by ufw"), ("managers[old]", "managed by ufw")]
    assert rows(checks, Kind.PARITY) == [("ipv6:parity[web]", "the same in IPv4 and IPv6")]
    assert [id_ for id_, _ in rows(checks, Kind.RULES)] == ["rules[web-ipv4]", "rules[web-ipv6]", "rules[old-ipv4]"]
    names = ["coverage[web-ipv4]", "coverage[web-ipv6]", "coverage[old-ipv4]"]
    assert [id_ for id_, _ in rows(checks, Kind.COVERAGE)] == names
    assert [id_ for id_, _ in rows(checks, Kind.DRIFT)] == ["drift[web-ipv4]", "drift[web-ipv6]", "drift[old-ipv4]"]
    assert {(check.vantage, check.service, check.direction) for check in checks} == {(None, None, None)}
    assert {check.family for check in checks if check.kind is Kind.PARITY} == {None}


def test_a_vantage_with_four_addresses_of_a_family_asks_from_the_second_as_well():
    inventory = hosts(
        web=("10.0.0.10 fd00::10", False), admin=("10.0.0.1 fd00::1", True),
        near=("10.0.0.2 10.9.0.2 10.0.0.3 10.0.0.4 fd00::2 fd00::3 fd00::4", True),
    )  # fmt: skip
    checks = planned(
        "hosts: web\ninbound: {default: deny, allow: [{id: a, service: tcp/22, from: 10.0.0.0/16}]}\n", inventory
    )
    found = {check.id: (str(check.peer), check.expected) for check in checks if check.kind is Kind.INBOUND}
    assert found == {
        "a[web-admin-ipv4]": ("10.0.0.1", "allow"), "a[web-near-ipv4]": ("10.0.0.2", "allow"),
        "a[web-near-ipv4-10.9.0.2]": ("10.9.0.2", "deny"),
        "a[web-admin-ipv6]": ("fd00::1", "deny"), "a[web-near-ipv6]": ("fd00::2", "deny"),
    }  # fmt: skip


def test_listening_sockets_are_asked_about_by_host_and_family():
    checks = planned("hosts: [web, old]\ninbound: {default: unchecked}\nlisteners: declared\n")
    ids = [f"listeners[{place}]" for place in ("web-ipv4", "web-ipv6", "old-ipv4")]
    assert rows(checks, Kind.LISTENERS) == [(id_, "every socket is declared") for id_ in ids]


def test_ways_to_be_dropped_and_settings_are_asked_about_by_host_and_family():
    checks = planned("hosts: [web, old]\ndrop_log: {inbound: true, paths: {forward: true}}\nkernel: hardened\n")
    ids = [id_ for id_, _ in rows(checks, Kind.DROP_PATHS)]
    assert ids == [
        "drop-log:paths[web-inbound-ipv4]", "drop-log:paths[web-inbound-ipv6]",
        "drop-log:paths[web-forward-ipv4]", "drop-log:paths[web-forward-ipv6]",
        "drop-log:paths[old-inbound-ipv4]", "drop-log:paths[old-forward-ipv4]",
    ]  # fmt: skip
    assert {check.direction for check in checks if check.kind is Kind.DROP_PATHS} == {"inbound", None}
    assert [id_ for id_, _ in rows(checks, Kind.KERNEL)] == ["kernel[web-ipv4]", "kernel[web-ipv6]", "kernel[old-ipv4]"]


def test_the_whole_space_is_asked_before_the_samples_of_a_default():
    checks = planned(
        "hosts: web\ninbound:\n  default: deny\n  samples: [tcp/22, icmp/echo-request]\n"
        "  allow: [{id: a, service: tcp/22, from: [admin, near, far, db]}]\n"
        "outbound:\n  default: deny\n  samples: [{to: outside, service: tcp/443}, {to: quiet, service: ssh}]\n"
        "services: {ssh: tcp/22}\n"
    )
    inbound = [id_ for id_, _ in rows(checks, Kind.INBOUND_DEFAULT)]
    assert inbound[:3] == [
        "inbound-default[web-ipv4]",
        "inbound-default[web-ipv6]",
        "inbound-default[web-outside-ipv4-tcp-22]",
    ]
    assert len(inbound) == 2 + 2 * (1 + 5)
    assert rows(checks, Kind.OUTBOUND_DEFAULT) == [
        ("outbound-default[web-ipv4]", "deny"), ("outbound-default[web-ipv6]", "deny"),
        ("outbound-default[web-outside-ipv4-tcp-443]", "deny"), ("outbound-default[web-quiet-ipv4-tcp-22]", "deny"),
        ("outbound-default[web-outside-ipv6-tcp-443]", "deny"),
    ]  # fmt: skip
    assert checks[0].direction == "inbound"


def test_outbound_is_asked_of_the_host_that_has_the_address_vantage_or_not():
    checks = planned("hosts: web\noutbound:\n  default: deny\n  allow: [{id: a, service: tcp/1, to: [quiet, db]}]\n")
    assert rows(checks, Kind.OUTBOUND) == [
        ("a[web-db-ipv4]", "allow"), ("a[web-quiet-ipv4]", "allow"), ("a[web-db-ipv6]", "allow"),
    ]  # fmt: skip


@pytest.mark.parametrize("peers", ["192.0.2.7", "192.0.2.0/24", "'2001:db8::/64'", "any"])
@pytest.mark.parametrize(("section", "word"), [("inbound", "from"), ("outbound", "to")])
def test_every_allow_is_claimed_over_the_whole_space_once_a_family(section, word, peers):
    checks = planned(
        f"hosts: web\n{section}:\n  default: deny\n  allow: [{{id: a, service: tcp/1, {word}: {peers}}}]\n"
    )
    claims = [check for check in checks if check.kind is Kind.CLAIM]
    families = [Family.IPV4, Family.IPV6] if peers == "any" else [Family.IPV6 if ":" in peers else Family.IPV4]
    assert [claim.id for claim in claims] == [f"a[web-{family}]" for family in families]
    assert {(c.vantage, c.expected.split()[0], c.direction) for c in claims} == {(None, "open", section)}


FORMS = "hosts: web\ninbound:\n  default: deny\n  evasion: {}\n"


def test_forms_are_asked_by_group_vantage_and_family():
    checks = planned(FORMS.format("{forms: [flags, extension-headers], from: [near, outside]}"))
    assert rows(checks, Kind.EVASION) == [
        (f"evasion:{name}", "denied in every form") for name in (
            "flags[web-near-ipv4]", "flags[web-outside-ipv4]", "flags[web-near-ipv6]", "flags[web-outside-ipv6]",
            "extension-headers[web-near-ipv6]", "extension-headers[web-outside-ipv6]",
        )
    ]  # fmt: skip
    assert {check.group for check in checks if check.kind is Kind.EVASION} == {Group.FLAGS, Group.EXTENSION_HEADERS}
    everywhere = planned(FORMS.format("[flags]"))
    assert len(rows(everywhere, Kind.EVASION)) == 2 * len(FIELD.vantages)


def test_only_root_may_pretend_to_be_somebody_and_nobody_is_no_silence():
    hosts_ = {name: replace(host, access=Access.OBSERVE) for name, host in FIELD.hosts.items()}
    hosts_["outside"] = FIELD.hosts["outside"]
    text = FORMS.format("[spoofing]")
    found = rows(planned(text, replace(FIELD, hosts=hosts_)), Kind.EVASION)
    assert [id_ for id_, _ in found] == ["evasion:spoofing[web-outside-ipv4]", "evasion:spoofing[web-outside-ipv6]"]
    hosts_["outside"] = replace(FIELD.hosts["outside"], access=Access.OBSERVE)
    found = rows(planned(text, replace(FIELD, hosts=hosts_)), Kind.EVASION)
    assert [id_ for id_, _ in found] == ["evasion:spoofing[web-ipv4]", "evasion:spoofing[web-ipv6]"]


RATED = (
    "hosts: web\ninbound:\n  default: deny\n"
    "  allow: [{{id: a, service: tcp/80, from: {}, rate: {{limit: 20, per: 1m}}}}]\n"
)


def test_a_rate_is_asked_from_two_subnets_and_from_outside():
    assert rows(planned(RATED.format("[10.0.0.0/16, 'fd00::/48']")), Kind.RATE) == [
        ("a:rate[web-admin-ipv4]", "20 of 25 in 60 s"), ("a:rate[web-far-ipv4]", "20 of 25 in 60 s"),
        ("a:rate[web-outside-ipv4]", "limited or denied"),
        ("a:rate[web-admin-ipv6]", "20 of 25 in 60 s"), ("a:rate[web-far-ipv6]", "20 of 25 in 60 s"),
        ("a:rate[web-outside-ipv6]", "limited or denied"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("peers", "vantages"),
    [
        ("[admin, near]", ["admin", "near", "far"]),
        ("admin", ["admin", "near"]),
        ("any", ["admin", "far"]),
        ("192.0.2.1", [None, "admin"]),
    ],
)
def test_a_rate_makes_do_with_the_vantages_there_are(peers, vantages):
    checks = [c for c in planned(RATED.format(peers)) if c.kind is Kind.RATE and c.family is Family.IPV4]
    assert [check.vantage for check in checks] == vantages


def test_a_limit_that_is_measured_is_asked_once_in_each_family_and_from_outside():
    text = RATED.format("[10.0.0.0/16, 'fd00::/48']").replace("per: 1m", "per: 1m, measure: {}")
    checks = planned(text.replace("{}", "true"))
    told = "20 in 60 s for each source, measured in about"
    assert rows(checks, Kind.MEASURE) == [
        ("a:measure[web-admin-ipv4]", f"{told} 62 s"), ("a:measure[web-admin-ipv6]", f"{told} 62 s")
    ]  # fmt: skip
    assert {expected for _, expected in rows(checks, Kind.RATE)} == {"limited or denied"}
    assert rows(planned(text.replace("{}", "isolation")), Kind.MEASURE)[0][1] == f"{told} 2 s"
    assert rows(planned(text.replace("{}", "false")), Kind.MEASURE) == []
    nobody = text.replace("{}", "true").replace("[10.0.0.0/16, 'fd00::/48']", "192.0.2.1")
    assert rows(planned(nobody), Kind.MEASURE) == [("a:measure[web-ipv4]", f"{told} 62 s")]


def test_open_connections_are_tried_once_in_each_family():
    text = RATED.format("[10.0.0.0/16, 'fd00::/48']").replace("rate: {limit: 20, per: 1m}", "connections: 20")
    told = "20 connections stand at once for each source"
    assert rows(planned(text), Kind.CONNECTIONS) == [
        ("a:connections[web-admin-ipv4]", told), ("a:connections[web-admin-ipv6]", told)
    ]  # fmt: skip
    nobody = text.replace("[10.0.0.0/16, 'fd00::/48']", "192.0.2.1")
    assert rows(planned(nobody), Kind.CONNECTIONS) == [("a:connections[web-ipv4]", told)]


def test_a_burst_comes_from_a_spare_address_that_the_allow_names_too():
    field = hosts(web=("10.0.0.10", False), near=("10.0.0.2 10.0.0.3", True), far=("10.0.9.2 10.9.0.1", True))
    inside = "hosts: web\ninbound:\n  default: deny\n  allow:\n    - {id: a, service: tcp/80, from: 10.0.0.0/16, "
    checks = [c for c in planned(inside + "rate: {limit: 20, per: 1m}}\n", field) if c.kind is Kind.RATE]
    assert [(c.vantage, str(c.peer)) for c in checks] == [("near", "10.0.0.3"), ("far", "10.0.9.2")]


@pytest.mark.parametrize(("limit", "size"), [(1, 6), (20, 25), (100, 125), (21, 27)])
def test_burst_size(limit, size):
    assert burst_size(Rate(limit, 60.0)) == size


def test_a_neighbour_is_on_the_link_and_rather_not_the_auditor():
    (check,) = planned("hosts: web\nessential: [icmpv6-nd]\n")
    assert (check.id, check.kind, check.family) == ("icmpv6-nd[web-near-ipv6]", Kind.NEIGHBOUR, Family.IPV6)
    only = hosts(web=("fd00::10", False), admin=("fd00::1", True), far=("fd00:0:0:9::2", True))
    assert planned("hosts: web\nessential: [icmpv6-nd]\n", only)[0].vantage == "admin"
    none = hosts(web=("fd00::10", False), far=("fd00:0:0:9::2", True))
    assert planned("hosts: web\nessential: [icmpv6-nd]\n", none)[0].id == "icmpv6-nd[web-ipv6]"


BANS = (
    "bans: {jail: j, service: tcp/80, maxretry: 5, findtime: 600, bantime: 3600, exercise: true, provoke: {path: /}}\n"
    "outbound:\n  default: deny\n  allow: [{id: o, service: tcp/5432, to: db}]\n"
)


@pytest.mark.parametrize(
    ("peers", "rate", "offender"),
    [
        ("[admin, near, far, db]", "", "near"),
        ("[admin, near, far, db]", ", rate: {limit: 20, per: 60s}", "near"),
        ("[near, far, db]", ", rate: {limit: 20, per: 60s}", "db"),
        ("[db, far]", "", "far"),
        ("[db]", "", "db"),
        ("[admin]", "", None),
    ],
)
def test_who_is_banned_is_whom_it_harms_least(peers, rate, offender):
    text = f"hosts: web\ninbound:\n  default: deny\n  allow: [{{id: a, service: tcp/80, from: {peers}{rate}}}]\n"
    checks = planned(text + BANS)
    assert rows(checks, Kind.BANS) == [("bans-j[web]", "5 failures in 600 s ban for 3600 s")]
    exercises = [check for check in checks if check.kind is Kind.BAN_EXERCISE]
    assert [check.vantage for check in exercises] == [offender] * 2
    middle = f"-{offender}" if offender else ""
    assert exercises[0].id == f"bans-j:exercise[web{middle}-ipv4]"


def test_a_ban_is_exercised_only_where_the_policy_says_so():
    checks = planned("hosts: web\nbans: {jail: j, service: tcp/80, maxretry: 5, findtime: 600, bantime: 3600}\n")
    assert [check.kind for check in checks] == [Kind.BANS, Kind.BAN_FILTER, Kind.BAN_ACTION, Kind.BAN_SERVER]
    assert [check.id for check in checks][1:] == ["bans-j:filter[web]", "bans-j:action[web]", "fail2ban[web]"]


def test_a_host_has_one_fail2ban_however_many_jails():
    jails = [f"{{jail: {name}, service: tcp/80, maxretry: 5, findtime: 600, bantime: 3600}}" for name in "jk"]
    checks = planned(f"hosts: web\nbans: [{', '.join(jails)}]\n")
    assert [check.id for check in checks if check.kind is Kind.BAN_SERVER] == ["fail2ban[web]"]


def test_a_drop_log_is_exercised_with_a_sample_of_the_default():
    text = (
        "hosts: web\ninbound: {default: deny, samples: [udp/53]}\n"
        "outbound: {default: deny, samples: [{to: outside, service: tcp/443}]}\n"
    )
    checks = [
        c
        for c in planned(text + "drop_log: {inbound: true, outbound: true, exercise: true}\n")
        if c.kind is Kind.DROP_LOG
    ]
    assert [(c.id, c.vantage, str(c.service)) for c in checks] == [
        ("drop-log[web-inbound-ipv4]", "near", "udp/53"), ("drop-log[web-inbound-ipv6]", "near", "udp/53"),
        ("drop-log[web-outbound-ipv4]", "outside", "tcp/443"), ("drop-log[web-outbound-ipv6]", "outside", "tcp/443"),
    ]  # fmt: skip


def test_a_drop_log_without_samples_is_exercised_with_the_discard_port():
    inbound, _ = planned("hosts: web\ndrop_log: {inbound: true, exercise: true}\n")
    assert (inbound.vantage, str(inbound.service)) == ("near", "tcp/9")
    quiet, _ = planned("hosts: web\ndrop_log: {inbound: true}\n")
    assert (quiet.vantage, quiet.service, quiet.peer) == (None, None, None)


def test_names_that_read_the_same_are_refused():
    field = hosts(a=("10.0.0.1", False), a_b=("10.0.0.2", True), b_c=("10.0.0.3", True), c=("10.0.0.4", True))
    with pytest.raises(UsageError, match=r"two checks would both be called x\[a-b-c-ipv4\]"):
        planned("hosts: [a, a-b]\ninbound:\n  default: deny\n  allow: [{id: x, service: tcp/1, from: any}]\n", field)


GATE = hosts(
    apart=("10.9.0.7", True), gate=("203.0.113.1 10.0.0.254", False), inner=("10.0.0.5", True),
    other=("10.0.0.6", True), far=("203.0.113.66", True), near=("203.0.113.9", False),
)  # fmt: skip
BEHIND = {"inner": "gate", "apart": "gate-b"}
GATE = replace(
    GATE,
    hosts={name: replace(host, gateway=BEHIND.get(name)) for name, host in GATE.hosts.items()}
    | {"gate-b": replace(GATE.hosts["gate"], name="gate-b", addresses=(ip_address("203.0.113.2"),))},
)
THROUGH = (
    "hosts: gate\nforward:\n  default: deny\n  samples: [{to: 203.0.113.0/24, service: tcp/25}]\n  allow:\n"
    "    - {id: out, service: tcp/443, from: 10.0.0.5, to: 203.0.113.0/24}\n"
    "    - {id: page, service: tcp/80, from: 203.0.113.0/24, to: 10.0.0.0/24, published: tcp/8080}\n"
)


def test_packets_go_through_the_gateway_that_they_are_behind_and_no_other():
    checks = planned(THROUGH, GATE)
    assert rows(checks, Kind.FORWARD) == [
        ("out[gate-inner-ipv4-far]", "allow"), ("out[gate-inner-ipv4-near]", "allow"),
        ("out[gate-other-ipv4-far]", "deny"), ("out[gate-other-ipv4-near]", "deny"),
        ("page[gate-inner-ipv4]", "deny"), ("page[gate-other-ipv4]", "deny"), ("page[gate-far-ipv4]", "allow"),
    ], "who is behind another gateway is not asked, nor is the other gateway a far end"  # fmt: skip
    samples = [id_ for id_, _ in rows(checks, Kind.FORWARD_DEFAULT) if "tcp" in id_]
    assert samples[0] == "forward-default[gate-inner-ipv4-far-tcp-25]"
    ends = {(check.to, str(check.far)) for check in checks if check.id == "out[gate-inner-ipv4-far]"}
    assert ends == {("far", "203.0.113.66")}
    assert rows(checks, Kind.CLAIM)[1] == ("page[gate-ipv4]", "10.0.0.0/24 open to 203.0.113.0/24 only")
    assert {check.direction for check in checks if check.kind is Kind.FORWARD} == {"forward"}


def test_a_passage_is_for_nobody_in_a_family_of_which_its_peers_have_no_address():
    both = hosts(gate=("203.0.113.1 2001:db8::1", False))
    text = (
        "hosts: gate\nforward:\n  default: DEFAULT\n  allow:\n"
        '    - {id: out, service: tcp/443, from: 10.0.0.5, to: [203.0.113.0/24, "2001:db8:1::/64"]}\n'
        "    - {id: page, service: tcp/80, from: 203.0.113.0/24, to: 10.0.0.0/24, published: tcp/8080}\n"
        "    - {id: four, service: tcp/25, from: 10.0.0.5, to: 203.0.113.0/24}\n"
    )
    found = dict(rows(planned(text.replace("DEFAULT", "unchecked"), both), Kind.CLAIM))
    assert list(found) == ["out[gate-ipv4]", "out[gate-ipv6]", "page[gate-ipv4]", "page[gate-ipv6]", "four[gate-ipv4]"]
    assert found["out[gate-ipv6]"] == "203.0.113.0/24, 2001:db8:1::/64 open to nobody in IPv6"
    claims = [id_ for id_, _ in rows(planned(text.replace("DEFAULT", "deny"), both), Kind.CLAIM)]
    assert [id_ for id_ in claims if "ipv6" in id_] == [], "the default asks that already"


def test_hosts_behind_another_gateway_are_no_far_ends():
    text = THROUGH.replace("{to: 203.0.113.0/24, service: tcp/25}", "{to: 10.0.0.0/8, service: tcp/22}")
    ids = [id_ for id_, _ in rows(planned(text, GATE), Kind.FORWARD_DEFAULT) if "far" in id_]
    assert ids == ["forward-default[gate-far-ipv4-inner-tcp-22]", "forward-default[gate-far-ipv4-other-tcp-22]"]


def test_a_sample_of_what_is_allowed_for_a_pair_is_that_allows_check():
    text = THROUGH.replace("tcp/25", "tcp/443")
    ids = [id_ for id_, _ in rows(planned(text, GATE), Kind.FORWARD_DEFAULT)]
    assert "forward-default[gate-inner-ipv4-far-tcp-443]" not in ids
    assert "forward-default[gate-other-ipv4-far-tcp-443]" in ids


def test_a_router_is_not_asked_from_behind_another_one():
    checks = planned("hosts: gate\ninbound: {default: deny, samples: [tcp/9]}\n", GATE)
    asked = {check.vantage for check in checks if check.vantage}
    assert asked == {"inner", "other", "far"}


def vantages_of(limits, count=40):
    """Return the vantages that each of many hosts is asked by, of ten in the zone of the inside and two outside."""
    named = {f"h{n}": (f"10.1.0.{n + 1}", False) for n in range(count)}
    named |= {f"v{n}": (f"10.2.0.{n + 1}", True) for n in range(10)} | {
        f"o{n}": (f"10.3.0.{n + 1}", True) for n in range(2)
    }
    zones = {"inside": Zone(name="inside", networks=(ip_network("10.2.0.0/16"),))}
    inventory = replace(hosts(**named), zones=zones, limits=limits)
    text = f"hosts: [{', '.join(n for n in named if n[0] == 'h')}]\ninbound: {{default: deny, samples: [tcp/9]}}\n"
    found: dict[str, list[str]] = {}
    for check in planned(text, inventory):
        if check.vantage:
            found.setdefault(check.host, []).append(check.vantage)
    return found


def test_as_many_vantages_of_a_zone_ask_a_host_as_may():
    assert {len(asked) for asked in vantages_of({}).values()} == {12}
    found = vantages_of({"inside": ZoneLimits(vantages=2)})
    for asked in found.values():
        assert [name for name in asked if name[0] == "o"] == ["o0", "o1"]
        assert len([name for name in asked if name[0] == "v"]) == 2
    # all of them have their share, and what one host is asked by does not depend on how many others there are
    assert {name for asked in found.values() for name in asked} == {f"v{n}" for n in range(10)} | {"o0", "o1"}
    fewer = vantages_of({"inside": ZoneLimits(vantages=2)}, 10)
    assert fewer == {name: found[name] for name in fewer}
