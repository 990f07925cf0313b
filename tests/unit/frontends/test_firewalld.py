"""firewalld: zones as printed, the rules of the kernel by item, what only runs, and the commands that mend."""

from ipaddress import ip_network

import pytest

from fwproof.flow import Family
from fwproof.frontends.firewalld_zones import differences, read_zones
from fwproof.frontends.wish import Opening, Way, Wish

HOST = "firewalld-published"
INSIDE = (ip_network("10.0.0.0/16"), ip_network("fd00::/48"))
OLLAMA = Opening(proto="tcp", port=11434, peers=INSIDE)
DIRECT = "ipv4 filter INPUT 0 -p tcp --dport 9000 -j ACCEPT"
ADD = (
    'firewall-cmd --permanent --zone=public \'--add-rich-rule=rule family="{}" source address="{}"'
    ' port port="11434" protocol="tcp" accept\''
)
RICH = 'rule family="ipv4" source address="203.0.113.0/24" service name="http" accept'


def wish(*by, **changes):
    given = {"wrong": "open", "way": Way.IN, "family": Family.IPV4, "by": by, "allowed": (OLLAMA,), "wanted": OLLAMA}
    return Wish(**(given | changes))


def test_zones_are_read_as_they_are_printed(read):
    zones = read_zones(read(HOST).captures["firewalld-zones"].stdout)
    assert list(zones) == ["block", "dmz", "drop", "external", "home", "internal", "public", "trusted", "work"]
    public = zones["public"]
    assert public.of("services") == ("dhcpv6-client", "ssh")
    assert public.of("ports") == ("11434/tcp", "8080/tcp")
    assert public.rich == (RICH,)
    assert zones["trusted"].words["target"] == "ACCEPT"


@pytest.mark.parametrize("text", ["", "\n\n", "  ports: 1/tcp\n", "\trule x\n", "zone\n  unknown: key\n  ports\n"])
def test_damaged_text_is_no_traceback(text):
    assert all(zone.of("ports") == () for zone in read_zones(text).values())


def test_what_runs_and_is_not_permanent_and_the_other_way_round(read):
    running, permanent = (
        read_zones(read(HOST).captures[f"firewalld-zones{side}"].stdout) for side in ("", "-permanent")
    )
    found = differences(running, permanent)
    assert list(map(str, found)) == [
        "zone public: port 8080/tcp runs, and is not permanent",
        f"zone public: rich-rule {RICH} runs, and is not permanent",
    ]
    assert [each.family for each in found] == ["", "ipv4"]
    assert str(differences(permanent, running)[0]) == "zone public: port 8080/tcp is permanent, and does not run"
    assert differences(running, running) == []


def test_a_target_and_a_zone_that_differ(read):
    zones = read_zones(read(HOST).captures["firewalld-zones"].stdout)
    other = read_zones(read(HOST).captures["firewalld-zones"].stdout.replace("target: %%REJECT%%", "target: ACCEPT"))
    assert [str(each) for each in differences(other, zones)] == [
        "zone block: target ACCEPT (permanent: %%REJECT%%) runs, and is not permanent"
    ]
    del other["dmz"]
    assert "zone dmz: service ssh is permanent, and does not run" in map(str, differences(other, zones))


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("filter_IN_public_allow tcp dport 22 ", "firewalld zone public, service ssh"),
        ("filter_IN_public_allow ip6 daddr fe80", "firewalld zone public, service dhcpv6-client"),
        ("filter_IN_public_allow tcp dport 11434", "firewalld zone public, port 11434/tcp"),
        ("filter_IN_public_allow tcp dport 8080", "firewalld zone public, port 8080/tcp, only until the next reload"),
        ("203.0.113.0/24", f"firewalld zone public, rich-rule {RICH}, only until the next reload"),
        ("filter_IN_public meta l4proto", "firewalld zone public, which lets in ICMP"),
        ("filter_IN_public reject", "firewalld zone public, target default"),
        ("filter_INPUT reject", "firewalld, which no zone lets it through"),
        ("filter_IN_policy_allow-host-ipv6_allow icmpv6", "firewalld policy allow-host-ipv6"),
        ("filter_INPUT ct state", "firewalld's own rule"),
        ("--dport 9000", f"firewalld direct rule {DIRECT}, only until the next reload"),
    ],
)  # fmt: skip
def test_rules_of_the_kernel_have_firewalld_s_names(front, rule, words, name):
    family = Family.IPV6 if "ip6" in words or "icmpv6" in words else Family.IPV4
    assert front(HOST).name(rule(HOST, words, family)) == name


def test_a_rich_rule_is_told_by_its_source(front, read, rule):
    other = RICH.replace("203.0.113.0/24", "198.51.100.0/24")
    zones = read(HOST).captures["firewalld-zones"].stdout.replace(RICH, f"{other}\n\t{RICH}")
    assert RICH in front(HOST, firewalld_zones=zones).name(rule(HOST, "203.0.113.0/24"))
    gone = read(HOST).captures["firewalld-zones"].stdout.replace(RICH, other).replace("8080/tcp", "80/tcp")
    # a rule for one source is neither another's rich rule nor a port that is open to all
    assert (
        front(HOST, firewalld_zones=gone).name(rule(HOST, "203.0.113.0/24")) == "firewalld zone public, target default"
    )


def test_services_that_nobody_knows_are_told_together(front, read, rule):
    zones = read(HOST).captures["firewalld-zones"].stdout.replace("services: dhcpv6-client ssh", "services: zeta eta")
    found = front(HOST, firewalld_zones=zones)
    ref = rule(HOST, "filter_IN_public_allow tcp dport 22 ")
    assert found.name(ref) == "firewalld zone public, one of the services zeta, eta, only until the next reload"
    assert found.mend(wish(ref)) == ""


def test_a_port_for_everybody_becomes_a_rule_for_those_who_may(front, rule):
    remove = "firewall-cmd --zone=public --remove-port=11434/tcp"
    steps = [
        ADD.format("ipv4", "10.0.0.0/16"),
        ADD.format("ipv6", "fd00::/48"),
        f"{remove}; {remove.replace('cmd', 'cmd --permanent')}",
        "firewall-cmd --reload",
    ]
    assert front(HOST).mend(wish(rule(HOST, "dport 11434"))) == ", then ".join(f"`{each}`" for each in steps)


def test_what_only_runs_is_taken_out_of_what_runs(front, rule):
    assert front(HOST).mend(wish(rule(HOST, "dport 8080"))) == "`firewall-cmd --zone=public --remove-port=8080/tcp`"
    direct = front(HOST).mend(wish(rule(HOST, "--dport 9000")))
    assert direct == "`firewall-cmd --direct --remove-rule ipv4 filter INPUT 0 -p tcp --dport 9000 -j ACCEPT`"
    assert f"'--remove-rich-rule={RICH}'" in front(HOST).mend(wish(rule(HOST, "203.0.113.0/24")))


def test_icmp_and_what_is_refused(front, rule):
    icmp = front(HOST).mend(wish(rule(HOST, "filter_IN_public meta l4proto")))
    assert icmp == "`firewall-cmd --permanent --zone=public --add-icmp-block-inversion`, then `firewall-cmd --reload`"
    shut = front(HOST).mend(wish(rule(HOST, "filter_IN_public reject"), wrong="shut"))
    assert shut == f"`{ADD.format('ipv4', '10.0.0.0/16')}`, then `firewall-cmd --reload`"


def test_firewalld_that_could_not_be_asked_is_still_recognised(front, rule):
    found = front(HOST, firewalld_zones=None)
    assert [each.manager.value for each in found.rulers][:1] == ["firewalld"]
    assert found.firewalld is None
    assert found.name(rule(HOST, "dport 11434")) == ""
