"""Docker's published ports: told as what they are, past ufw, with the rules of DOCKER-USER that close them."""

from dataclasses import replace
from ipaddress import ip_network

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.frontends.commands import command, deletion, listed
from fwproof.frontends.wish import Opening, Way, Wish

HOST = "docker-published"
WEB = Opening(proto="tcp", port=8080, peers=(ip_network("10.0.0.1/32"),))
ASKS = "-p tcp -m conntrack --ctstate DNAT --ctorigdstport 8080 --ctdir ORIGINAL"


def wish(*by, **changes):
    given = {"wrong": "open", "way": Way.IN, "family": Family.IPV4, "by": by, "allowed": (WEB,), "wanted": WEB}
    return Wish(**(given | changes))


def test_a_published_port_is_told_with_what_closes_it_to_others(front, rule):
    found, ref = front(HOST), rule(HOST, "DOCKER -A DOCKER -d 172")
    assert found.name(ref) == "a port that Docker publishes"
    assert found.mend(wish(ref)) == (
        "Docker publishes the port past INPUT and past ufw: no rule there stops it. Publish it for this host alone"
        f" (`-p 127.0.0.1:8080:…`), or `iptables -I DOCKER-USER {ASKS} -j DROP; iptables -I DOCKER-USER -s 10.0.0.1"
        f" {ASKS} -j RETURN`"
    )
    assert "RETURN" not in found.mend(wish(ref, allowed=(replace(WEB, port=9090),)))


def test_with_other_rules_at_fault_both_mends_are_told(front, rule):
    by = (rule(HOST, "DOCKER -A DOCKER -d 172"), rule(HOST, "--dport 11434"))
    about = front(HOST).mend(wish(*by, wanted=None))
    assert about.startswith("Docker publishes the port past INPUT and past ufw")
    assert about.endswith("For the rest: `ufw delete allow from 10.0.0.0/16 to any port 11434 proto tcp`")


def native(chain, text, rule=1):
    return RuleRef(family="ip", table="docker-bridges", chain=chain, rule=rule, text=text)


PUBLISHED = native("filter-forward-in__docker0", "ip daddr 172.17.0.2 tcp dport 80 counter accept", 3)


def test_the_native_backend_has_no_docker_user_and_its_own_table_closes_a_port(front):
    about = front(HOST).mend(wish(PUBLISHED))
    assert "DOCKER-USER" not in about
    assert about.endswith(
        "or `nft 'add table ip docker-user'; nft 'add chain ip docker-user forward { type filter hook forward priority"
        " -1; policy accept; }'; nft 'add rule ip docker-user forward ip saddr != { 10.0.0.1 } meta l4proto tcp ct"
        " status dnat ct direction original ct original proto-dst 8080 counter drop'`, and keep that in"
        " /etc/nftables.conf"
    )
    nobody = front(HOST).mend(wish(PUBLISHED, allowed=()))
    assert "forward meta l4proto tcp ct status dnat" in nobody
    six = replace(WEB, peers=(ip_network("fd00::/48"), ip_network("fd01::1/128")))
    about = front(HOST).mend(wish(PUBLISHED, family=Family.IPV6, allowed=(six,), wanted=six))
    assert "add rule ip6 docker-user forward ip6 saddr != { fd00::/48, fd01::1 } meta" in about
    assert "with nftables there is no DOCKER-USER" in front(HOST).mend(wish(PUBLISHED, wanted=None))


NAMES = {
    "a port that Docker publishes": [
        PUBLISHED, native("nat-prerouting-and-output", 'iifname != "docker0" tcp dport 8080 counter dnat to x'),
    ],
    "Docker's refusal of ports that are not published": [native("filter-forward-in__docker0", "counter drop", 4)],
    "Docker's guard against reaching containers past their published ports": [
        native("raw-PREROUTING", 'ip daddr 172.17.0.2 iifname != "docker0" counter drop')
    ],
    "Docker's own forwarding": [
        native("filter-forward-in__docker0", "ct state established,related counter accept"),
        native("filter-FORWARD", "oifname vmap @filter-forward-in-jumps"),
        native("filter-forward-out__docker0", 'counter accept comment "OUTGOING"', 2),
    ],
}  # fmt: skip


def test_rules_of_the_native_backend_are_told_apart(front):
    for name, refs in NAMES.items():
        assert {front(HOST).name(ref) for ref in refs} == {f"{name} (nftables backend)"}
    assert front(HOST).name(replace(PUBLISHED, table="docker-user")) == ""


def test_rules_that_are_not_published_ports(front, rule):
    found = front(HOST)
    assert found.name(rule(HOST, "DOCKER-USER -A")) == "a rule of the administrator's in DOCKER-USER"
    assert found.name(rule(HOST, "DOCKER-ISOLATION-STAGE-2 -A")) == "Docker's own forwarding"


def test_commands_are_quoted_or_not_shown():
    assert command(["a b", "$(x)", 8080]) == "'a b' '$(x)' 8080"
    assert command(["a\x07"]) == command(["\u202e"]) == command(["x" * 500]) == command(["a\nb"]) == ""
    assert (
        deletion("iptables", '-A INPUT -m comment --comment "a; b" -j DROP')
        == "iptables -D INPUT -m comment --comment 'a; b' -j DROP"
    )
    assert deletion("iptables", "tcp dport 22 accept") == deletion("iptables", '-A INPUT -m comment --comment "a') == ""
    assert listed(["x", "", "y", "x"]) == "`x`, then `y`"


def test_a_node_port_is_told_as_kube_proxy_s(front):
    table = (
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:KUBE-FORWARD - [0:0]\n"
        "-A FORWARD -j KUBE-FORWARD\n-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT\nCOMMIT\n"
    )
    found = front(iptables_save=table)
    ref = next(ref for ref in found.refs.values() if ref.chain == "KUBE-FORWARD")
    assert found.spoken(f"by {ref}") == f"by a rule of kube-proxy's [{ref}]"
    asks = "-p tcp --dport 8080 -m addrtype --dst-type LOCAL"
    about = found.mend(wish(ref))
    assert about.startswith("Kubernetes publishes the port past INPUT")
    assert about.endswith(
        f"`iptables -t mangle -I PREROUTING {asks} -j DROP;"
        f" iptables -t mangle -I PREROUTING -s 10.0.0.1 {asks} -j RETURN`"
    )
    assert found.mend(wish(ref, wanted=None)).endswith("before nat, in mangle PREROUTING")
    assert found.mend(wish(ref, wrong="shut")) == ""
