"""Audits that measure a limit, on the lab: from the policy's `measure` to the numbers in the report."""

import os

import pytest
import yaml

from fwproof.lab import Lab

from .auditing import INVENTORY, Run, on

pytestmark = pytest.mark.lab
HOST = "store-postgres"
POLICY = """\
policy: one
hosts: [store-postgres]
services: {{thing: tcp/5432}}
inbound:
  default: deny
  allow:
    - {{id: thing, service: thing, from: internal, rate: {{limit: 5, per: {per}, by: {by}, measure: {measure}}}}}
"""
HELD = """\
policy: one
hosts: [store-postgres]
services: {{thing: tcp/5432}}
inbound:
  default: deny
  allow:
    - {{id: thing, service: thing, from: internal, connections: {limit}}}
"""
TABLES = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -s 10.0.0.1 -p tcp -m tcp --dport 22 -j ACCEPT
{limiter}
-A INPUT -s 10.0.0.0/16 -p tcp -m tcp --dport 5432 -j ACCEPT
COMMIT
"""
NEW = "-A INPUT -p tcp -m tcp --dport 5432 -m conntrack --ctstate NEW -m recent"
SET = f"{NEW} --set --name {{name}} --rsource"
CHECK = f"{NEW} --{{how}} --seconds 3 --hitcount 5 --name {{name}} --rsource -j DROP"


@pytest.fixture(scope="module")
def lab():
    with Lab(f"measures{os.getpid()}") as lab:
        yield lab


@pytest.fixture
def measured(lab, tmp_path):
    def measured(limiter, *words, spares=(), text=POLICY, kind="measure", **asked):
        inventory = yaml.safe_load(INVENTORY.read_text(encoding="utf-8"))
        inventory["lab"] = str(INVENTORY.parent / inventory["lab"])
        inventory["hosts"][HOST]["addresses"] = ["10.0.2.10"]
        inventory["hosts"]["workstation"]["addresses"] += spares
        (tmp_path / "inventory.yaml").write_text(yaml.safe_dump(inventory, sort_keys=False), encoding="utf-8")
        policy = tmp_path / "one.policy.yaml"
        asked = {"per": "3s", "by": "source", "measure": "true"} | asked
        policy.write_text(text.format(**asked), encoding="utf-8")
        lab.run(HOST, ["/usr/sbin/iptables-restore"], input=TABLES.format(limiter=limiter))
        for spare in spares:
            on(lab, "workstation", f"ip address add {spare}/32 dev eth0")
        try:
            run = Run(
                lab, tmp_path / "reports", *(words or ("-m", kind)), inventory=tmp_path / "inventory.yaml",
                policy=policy,
            )  # fmt: skip
        finally:
            on(lab, HOST, "iptables -P INPUT ACCEPT; iptables -F")
            for spare in spares:
                on(lab, "workstation", f"ip address del {spare}/32 dev eth0")
            (lab.state / "bursts.json").unlink(missing_ok=True)  # these tables, and their lists, are gone
        (check,) = run.of(HOST, kind)
        return check

    return measured


def window(*orders, name):
    rules = {"set": SET.format(name=name)} | {how: CHECK.format(how=how, name=name) for how in ("rcheck", "update")}
    return "\n".join(rules[order] for order in orders)


def test_a_window_is_measured_from_the_spare_addresses_of_two_vantages(measured):
    check = measured(window("rcheck", "set", name="right"))
    assert check["verdict"] == "pass", check
    assert check["id"] == f"thing:measure[{HOST}-proxy-ipv4]"
    assert check["expected"] == "5 in 3 s for each source, measured in about 4 s"
    assert check["observed"].startswith("5 new connections, then refused; window "), check["observed"]
    assert check["observed"].endswith("; per source; refused attempts do not count")
    assert check["proved"].startswith("the tables: 5 new connections, then refused; window 3.0")
    assert any("10.0.0.101 of proxy, 10.0.5.8 of workstation" in line for line in check["evidence"]), check["evidence"]


def test_the_seeds_off_by_one_is_named(measured):
    check = measured(window("set", "update", name="less"))
    assert (check["verdict"], check["cause"]) == ("fail", "tcp/5432: the limiter admits 4, not 5"), check
    assert check["observed"].startswith("4 new connections, then refused; window "), check["observed"]
    assert check["observed"].endswith("refused attempts prolong the refusal")
    assert "-j DROP first" in check["fix"]


def test_a_window_that_is_not_the_policys_fails(measured):
    check = measured(window("rcheck", "set", name="other"), per="4s")
    assert (check["verdict"], check["cause"]) == ("fail", "tcp/5432: the limit's window is not 4 s"), check


def test_a_shared_bucket_is_not_a_limit_for_each_source(measured):
    limiter = (
        "-A INPUT -p tcp -m tcp --dport 5432 -m conntrack --ctstate NEW -m limit --limit 100/min --limit-burst 5"
        " -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 5432 -m conntrack --ctstate NEW -j DROP"
    )
    check = measured(limiter)
    assert (check["verdict"], check["cause"]) == ("fail", "tcp/5432: the limit is for all sources together"), check
    check = measured(limiter, by="total")
    assert check["verdict"] == "pass", check
    assert "5 new connections, then refused; then one every 0." in check["observed"]


def test_connections_are_kept_open_where_the_policy_wants_it(measured):
    check = measured(
        window("rcheck", "set", name="kept"),
        measure="[isolation, packets, full]",
        spares=["10.0.5.18", "10.0.5.19", "10.0.5.20"],
    )
    assert check["verdict"] == "pass", check
    assert "standing connections go on; 5 of 6 ordinary connections stand at once" in check["observed"]


def test_what_could_not_be_measured_is_not_a_pass(measured):
    check = measured(window("rcheck", "set", name="few"), measure="[burst, packets]")
    assert check["verdict"] == "inconclusive", check
    assert "not measured: packets" in check["reason"]


def test_without_exercises_the_tables_answer(measured):
    check = measured(window("rcheck", "set", name="quiet"), "-m", "measure", "--no-exercise")
    assert (check["verdict"], check["observed"]) == (
        "not-applicable", "nothing was measured: exercises are switched off"
    ), check  # fmt: skip
    assert check["proved"].startswith("the tables: 5 new connections")


ABOVE = "-A INPUT -p tcp -m tcp --dport 5432 --syn -m connlimit --connlimit-above 6 --connlimit-mask {bits} -j DROP"


@pytest.mark.parametrize(
    ("limit", "bits", "verdict", "cause"),
    [
        ("6", 32, "pass", ""),
        ("{limit: 6, by: total}", 0, "pass", ""),
        ("6", 0, "fail", "tcp/5432: the limit is for all sources, not for each source"),
        ("5", 32, "fail", "tcp/5432: more than 5 connections stand at once, not 5"),
        ("7", 32, "fail", "tcp/5432: 6 connections stand at once, not 7"),
    ],
)
def test_open_connections_are_counted_for_each_source_or_over_all(measured, limit, bits, verdict, cause):
    check = measured(
        ABOVE.format(bits=bits), text=HELD, kind="connections", limit=limit, spares=["10.0.5.18", "10.0.5.19"]
    )
    assert (check["verdict"], check["cause"]) == (verdict, cause), check
    assert check["id"].startswith(f"thing:connections[{HOST}-")
    tried = int(limit) + 1 if limit.isdigit() else 7
    assert check["observed"].startswith(f"{min(6, tried)} of {tried} connections stood at once"), check


def test_without_a_limit_one_more_connection_stands(measured):
    check = measured("", text=HELD, kind="connections", limit="3")
    assert (check["verdict"], check["cause"]) == ("fail", "tcp/5432: more than 3 connections stand at once, not 3")
    assert check["proved"].startswith("the tables: 4 stand")
