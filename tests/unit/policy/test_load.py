from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from fwproof.flow import Family
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy
from fwproof.policy.model import Peers, Rate, Service, Standing
from fwproof.policy.relations import expectations
from fwproof.policy.table_model import FINDINGS, LISTENER_FINDINGS, Accepted, AcceptedSocket
from fwproof.semantics.lint_finding import Kind

ROOT = Path(__file__).parents[3]
HEAD = "policy: p\nhosts: web\n"
ALLOW = (
    HEAD + "services: {{ssh: tcp/22}}\ninbound:\n  default: deny\n  allow:\n    - {{id: a, service: ssh, from: {}}}\n"
)


@pytest.mark.parametrize(
    ("words", "name", "networks"),
    [
        ("internal", "internal", ["10.0.0.0/16", "fd00::/48"]),
        ("admin", "admin", ["10.0.0.1/32", "fd00::1/128"]),
        ("10.9.0.1", "10.9.0.1", ["10.9.0.1/32"]),
        ("10.9.0.0/24", "10.9.0.0/24", ["10.9.0.0/24"]),
        ('"fd00::"', "fd00::", ["fd00::/128"]),
        ("any", "any", ["0.0.0.0/0", "::/0"]),
        ("[admin, 10.9.0.1, admin]", "admin, 10.9.0.1, admin", ["10.0.0.1/32", "fd00::1/128", "10.9.0.1/32"]),
    ],
)
def test_peers(words, name, networks, load):
    (allow,) = load(ALLOW.format(words)).inbound
    assert allow.peers == Peers(name, tuple(ip_network(n) for n in networks))


def test_a_service_keeps_its_name(load):
    policy = load(ALLOW.format("admin"))
    assert policy.inbound[0].service == policy.services["ssh"] == Service("tcp", 22, "ssh")
    assert str(policy.inbound[0].service) == "tcp/22"
    policy = load(HEAD + "inbound: {default: deny, samples: [udp/53, icmp/echo-request]}\n")
    assert [s.service for s in policy.inbound_default.samples] == [
        Service("udp", 53, "udp/53"),
        Service("icmp", None, "icmp/echo-request", "echo-request"),
    ]


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60.0), ("5m", 300.0), ("1h", 3600.0)])
def test_rate(text, seconds, load):
    policy = load(ALLOW.format("admin, rate: {limit: 20, per: " + text + ", by: total}"))
    assert policy.inbound[0].rate == Rate(20, seconds, "total")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("true", "burst window isolation"), ("false", ""), ("[]", ""), ("window", "burst window"),
        ("[full, burst, full]", "burst full"), ("[eviction, packets]", "burst eviction packets"),
    ],
)  # fmt: skip
def test_what_is_measured_of_a_rate(text, parts, load):
    policy = load(ALLOW.format("admin, rate: {limit: 20, per: 60s, measure: " + text + "}"))
    assert " ".join(policy.inbound[0].rate.measure) == parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20", Standing(20)), ("{limit: 7, by: total}", Standing(7, "total"))],
)
def test_how_many_connections_may_stand(text, expected, load):
    assert load(ALLOW.format("admin, connections: " + text)).inbound[0].standing == expected


@pytest.mark.parametrize(
    ("hosts", "names"),
    [
        ("web", ("web",)),
        ("[web-b, web]", ("web", "web-b")),
        ("servers", ("web", "web-b")),
        ("[servers, web]", ("web", "web-b")),
    ],
)
def test_hosts_are_resolved_in_the_order_of_the_inventory(hosts, names, load):
    assert load(f"policy: p\nhosts: {hosts}\npersistence: true\n").hosts == names


def test_what_is_not_written_has_a_name_and_a_title(load):
    policy = load(
        HEAD + "inbound: {default: deny}\noutbound: {default: deny}\nforward: {default: deny}\n"
        "essential: [loopback, established, icmpv6-nd]\nbans: {jail: sshd, service: tcp/22, maxretry: 5, findtime: 1, "
        "bantime: 1}\ndrop_log: {outbound: true}\npersistence: true\n"
    )
    assert [one.id for one in expectations(policy)] == [
        "inbound-default", "outbound-default", "forward-default", "loopback", "established", "icmpv6-nd", "bans-sshd",
        "drop-log", "persistence",
    ]  # fmt: skip
    assert all(one.title and one.severity == "high" and one.controls == {} for one in expectations(policy))
    assert [one.line for one in expectations(policy)] == [3, 4, 5, 6, 6, 6, 7, 8, 9]
    assert policy.drop_log.directions == ("outbound",)


def test_an_expectation_is_where_it_was_written(load):
    policy = load(ALLOW.format("admin") + "essential:\n  - loopback\n  - what: established\n    id: e\n")
    assert policy.inbound[0].line == 7
    assert [(one.id, one.line) for one in policy.essential] == [("loopback", 9), ("e", 10)]


def test_what_is_written_is_kept(load):
    policy = load(
        HEAD + "inbound:\n  default:\n    {decision: deny, id: closed, title: Shut, severity: low, "
        "controls: {nist-800-53r5: ['SC-7(5)', CM-7]}}\n"
        "persistence: {id: boots}\n"
    )
    closed = policy.inbound_default
    assert (closed.id, closed.title, closed.severity) == ("closed", "Shut", "low")
    assert closed.controls == {"nist-800-53r5": ("SC-7(5)", "CM-7")}
    assert policy.persistence.id == "boots"


def test_unchecked_makes_no_claim(load):
    policy = load(ALLOW.replace("default: deny", "default: unchecked").format("admin") + "persistence: false\n")
    assert policy.inbound_default is None
    assert policy.persistence is None


def test_parity_is_expected_where_it_is_written(load):
    assert load(ALLOW.format("internal")).parity is None
    assert load(ALLOW.format("internal") + "ipv6: deny\n").parity is None
    assert (load(HEAD + "ipv6: same\n").parity.id, load(HEAD + "ipv6: same\n").parity.line) == ("ipv6", 3)
    policy = load(
        HEAD + "ipv6: {expect: same, id: both, title: Alike, severity: low, controls: {nist-800-53r5: [AC-4]}}\n"
    )
    assert (policy.parity.id, policy.parity.title, policy.parity.severity) == ("both", "Alike", "low")
    assert policy.parity.controls == {"nist-800-53r5": ("AC-4",)}
    assert load(ALLOW.format("internal") + "ipv6: {expect: deny}\n").inbound[0].peers.networks == (
        ip_network("10.0.0.0/16"),
    )


def test_coverage_is_a_word_a_share_or_a_mapping(load):
    assert load(HEAD + "rules: true\n").coverage is None
    assert load(HEAD + "rules: true\ncoverage: false\n").coverage is None
    assert load(HEAD + "coverage: true\n").coverage.at_least is None
    assert load(HEAD + "coverage: 80%\n").coverage.at_least == 0.8
    found = load(HEAD + "coverage: {at_least: 100%, accept: [{rule: -A B, reason: r}], severity: low}\n").coverage
    assert (found.id, found.line, found.at_least, found.severity) == ("coverage", 3, 1.0, "low")
    assert found.accepted == (Accepted(rule="-A B", finding="", reason="r"),)


def test_rules_fail_by_what_is_written_or_by_all_but_unused(load):
    assert load(HEAD + "rules: true\n").rules.fail == tuple(k.value for k in Kind if k is not Kind.UNUSED)
    assert load(HEAD + "rules: false\npersistence: true\n").rules is None
    policy = load(
        HEAD + "rules:\n  fail: [shadowed, unused]\n  accept:\n"
        "    - {rule: '-A INPUT -j DROP', finding: shadowed, reason: counts}\n    - {rule: -A B, reason: r}\n"
    )
    assert policy.rules.fail == ("shadowed", "unused")
    assert policy.rules.accepted == (
        Accepted(rule="-A INPUT -j DROP", finding="shadowed", reason="counts"),
        Accepted(rule="-A B", finding="", reason="r"),
    )


def test_listeners_fail_by_what_is_written_or_by_all_but_idle(load):
    head = HEAD + "inbound: {default: deny}\n"
    assert load(head + "listeners: declared\n").listeners.fail == tuple(set_aside("idle"))
    assert load(head + "listeners: {expect: declared}\n").listeners.accepted == ()
    policy = load(
        head + "listeners:\n  fail: [idle, undeclared]\n  accept:\n"
        "    - {socket: udp/546, process: dhclient, finding: undeclared, reason: r}\n    - {process: a b, reason: s}\n"
    )
    assert policy.listeners.fail == ("idle", "undeclared")
    assert policy.listeners.accepted == (
        AcceptedSocket(socket="udp/546", process="dhclient", finding="undeclared", reason="r"),
        AcceptedSocket(socket="", process="a b", finding="", reason="s"),
    )


def set_aside(*words):
    return (finding for finding in LISTENER_FINDINGS if finding not in words)


def test_the_words_of_findings_are_those_of_lint():
    assert set(FINDINGS) == {kind.value for kind in Kind}


@pytest.mark.parametrize(
    ("written", "folder"),
    [("../b/{host}", "../b/web"), ("b", "b"), ("/srv/b/{host}", "/srv/b/web"), ("{folder: 'x{host}'}", "xweb")],
)
def test_a_baseline_counts_from_the_policys_own_folder(written, folder, load):
    baseline = load(HEAD + f"baseline: {written}\n").baseline
    assert baseline.id == "drift"
    assert baseline.folder("web") == Path(folder)


def test_one_pattern_names_the_baselines_of_several_hosts(load):
    baseline = load("policy: p\nhosts: [web, db]\nbaseline: '../b/{host}'\n").baseline
    assert [baseline.folder(host) for host in ("web", "db")] == [Path("../b/web"), Path("../b/db")]


def test_ipv6_denied_leaves_ipv4_to_be_let_in_and_both_to_be_checked(load):
    policy = load(
        ALLOW.format("internal") + "ipv6: deny\noutbound:\n  default: deny\n  allow: [{id: b, service: ssh, to: db}]\n"
        "essential: [loopback, established]\n"
    )
    assert policy.inbound[0].peers.networks == (ip_network("10.0.0.0/16"),)
    assert policy.inbound[0].families == (Family.IPV4, Family.IPV6)
    assert policy.outbound[0].families == (Family.IPV4,)
    assert [one.families for one in policy.essential] == [(Family.IPV4, Family.IPV6), (Family.IPV4,)]


def test_bans_keep_the_request_that_provokes_them(load):
    policy = load(
        HEAD + "bans:\n  - {jail: a, service: tcp/80, maxretry: 5, findtime: 600, bantime: 3600, exercise: true, "
        "provoke: {path: /x, headers: {Authorization: Bearer bad}}}\n"
    )
    assert policy.bans[0].provoke == {"method": "GET", "path": "/x", "Authorization": "Bearer bad"}


def test_bans_keep_what_a_jail_is_to_let_off_and_the_samples(load):
    policy = load(
        HEAD + "bans:\n  jail: a\n  service: tcp/80\n  maxretry: 5\n  findtime: 600\n  bantime: 3600\n"
        "  usedns: no\n  increment: true\n  ignoreself: false\n  ignore: [10.0.0.1, 10.1.0.0/16]\n"
        "  samples: {banned: ['bad key from 10.0.0.7'], passed: ['key of 10.0.0.7']}\n"
    )
    (bans,) = policy.bans
    assert (bans.usedns, bans.increment, bans.ignore_self) == ("no", True, False)
    assert bans.ignore is not None
    assert [str(network) for network in bans.ignore.networks] == ["10.0.0.1/32", "10.1.0.0/16"]
    assert (bans.banned, bans.passed) == (("bad key from 10.0.0.7",), ("key of 10.0.0.7",))


INNOCENT = {
    "disjoint peers of one service": (
        "inbound:\n  default: deny\n  allow:\n"
        "    - {id: a, service: tcp/22, from: admin}\n    - {id: b, service: tcp/22, from: outside}\n"
    ),
    "the same peers of two services": (
        "inbound:\n  default: deny\n  allow:\n"
        "    - {id: a, service: tcp/22, from: admin}\n    - {id: b, service: udp/22, from: admin}\n"
    ),
    "a sample whose far end is allowed in part": (
        "outbound:\n  default: deny\n  samples: [{to: stores, service: tcp/22}]\n"
        "  allow:\n    - {id: a, service: tcp/22, to: db}\n"
    ),
}


@pytest.mark.parametrize("text", INNOCENT.values(), ids=list(INNOCENT))
def test_what_looks_like_a_fault_and_is_none(text, load):
    assert load(HEAD + text)


def test_the_shipped_policy_means_what_the_chapter_says():
    inventory = load_inventory(ROOT / "fixtures" / "inventory.yaml")
    policy = load_policy(ROOT / "checks" / "ai-server.policy.yaml", inventory)
    assert policy.hosts == ("ai-server", "ai-server-published")
    assert {a.id: (str(a.service), a.peers.name) for a in policy.inbound} == {
        "ollama-internal": ("tcp/11434", "internal"),
        "webui-proxy": ("tcp/8080", "proxies"),
        "ssh-admin": ("tcp/22", "admin"),
    }
    assert {a.id: str(a.service) for a in policy.outbound} == {
        "postgres": "tcp/5432", "redis": "tcp/6379", "elasticsearch": "tcp/9200", "management-ssh": "tcp/22",
    }  # fmt: skip
    assert [
        ip_address(a) in p.peers
        for p, a in zip(policy.outbound, ("10.0.2.10", "10.0.2.11", "10.0.2.12", "10.0.0.1"), strict=True)
    ] == [True] * 4
    assert policy.inbound[0].rate == Rate(20, 60.0, "source")
    assert [one.title for one in expectations(policy) if not one.controls] == []
    assert policy.bans[0].exercise
    assert policy.drop_log.exercise


@pytest.mark.parametrize(
    ("written", "who", "id_"), [("one", "one", "managers"), ("{who: ufw, id: front, severity: low}", "ufw", "front")]
)
def test_who_manages_a_host_is_a_word_or_more(written, who, id_, load):
    managers = load(HEAD + f"managers: {written}\n").managers
    assert (managers.who, managers.id) == (who, id_)
    assert load(HEAD + "rules: true\n").managers is None


def test_the_kernel_s_settings_are_hardened_but_for_what_is_written(load):
    kernel = load(HEAD + "kernel: hardened\n").kernel
    assert (kernel.wanted["rp_filter"], kernel.wanted["forwarding"], kernel.boot) == ("strict", "off", True)
    assert not {"conntrack_loose", "secure_redirects", "bridged"} & set(kernel.wanted)
    router = load(HEAD + "kernel: {router: true, boot: false, settings: {rp_filter: loose, log_martians: unchecked}}\n")
    assert (router.kernel.wanted["rp_filter"], router.kernel.wanted["forwarding"]) == ("loose", "on")
    assert "log_martians" not in router.kernel.wanted
    assert not router.kernel.boot
    off = load(
        HEAD + "kernel: {router: true, settings: {forwarding: unchecked}, accept: [{setting: accept_ra, reason: x}]}\n"
    )
    assert "forwarding" not in off.kernel.wanted
    assert [(one.setting, one.interface) for one in off.kernel.accepted] == [("accept_ra", "")]


def test_the_ways_to_be_dropped_are_asked_about_where_it_is_written(load):
    assert load(HEAD + "drop_log: {inbound: true}\n").drop_log.paths is None
    plain = load(HEAD + "drop_log: {inbound: true, paths: true}\n").drop_log.paths
    assert (plain.forward, plain.leave_out, plain.fail) == (False, (), ("silent", "unlimited", "prefix", "unreachable"))
    text = (
        "{forward: true, except: [invalid, over-limit], fail: [silent], accept: [{rule: -A INPUT -j DROP, reason: x}]}"
    )
    more = load(HEAD + f"drop_log: {{outbound: true, paths: {text}}}\n").drop_log.paths
    assert (more.forward, more.leave_out, more.fail) == (True, ("invalid", "over-limit"), ("silent",))
    assert [(one.rule, one.finding) for one in more.accepted] == [("-A INPUT -j DROP", "")]
