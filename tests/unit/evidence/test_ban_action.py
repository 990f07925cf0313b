"""What actions do with a banned address, read from dumps of fail2ban 1.0.2 as Debian 12 ships it."""

from pathlib import Path

import pytest

from fwproof.evidence.ban_action import Kind, ban_of
from fwproof.evidence.fail2ban_config import Action, parse_config, seconds
from fwproof.flow import Family

CAPTURES = Path(__file__).parents[3] / "fixtures" / "bans" / "captures"
JAILS = parse_config((CAPTURES / "actions.dump.txt").read_text(encoding="utf-8")).jails
PORTS = "TCP to port http,11430:11439"
# in the order of the jails of the dump: place in IPv4, place in IPv6, what is refused
ACTIONS = [
    ("iptables-multiport", "chain iptables f2b-j0", "chain ip6tables f2b-j0", PORTS),
    ("iptables-allports", "chain iptables f2b-j1", "chain ip6tables f2b-j1", "every protocol to all ports"),
    ("iptables-allports", "chain iptables f2b-j2", "chain ip6tables f2b-j2", "TCP to all ports"),
    ("iptables-new", "chain iptables f2b-j3", "chain ip6tables f2b-j3", PORTS),
    ("iptables-ipset", "ipset f2b-j4", "ipset f2b-j46", PORTS),
    ("iptables-ipset", "ipset f2b-j5", "ipset f2b-j56", "every protocol to all ports"),
    ("nftables-multiport", "nft set inet f2b-table addr-set-j6", "nft set inet f2b-table addr6-set-j6", PORTS),
    ("nftables-allports", "nft set inet f2b-table addr-set-j7", "nft set inet f2b-table addr6-set-j7",
     "TCP to all ports"),
    ("firewallcmd-rich-rules", "a rich rule of firewalld", "a rich rule of firewalld", PORTS),
    ("firewallcmd-ipset", "ipset f2b-j9", "ipset f2b-j96", PORTS),
    ("firewallcmd-new", "rules of its own", "rules of its own", PORTS),
    ("ufw", "a rule of ufw", "a rule of ufw", "every protocol to all ports"),
    ("route", "a route that leads nowhere", "a route that leads nowhere", "every protocol to all ports"),
    ("iptables-xt_recent-echo", "a list of xt_recent", "a list of xt_recent", "every protocol to all ports"),
    ("shorewall", "shorewall", "shorewall", "every protocol to all ports"),
    ("hostsdeny", "", "", ""),
    ("sendmail", "", "", ""),
    ("iptables-multiport-log", "chain iptables f2b-j17", "chain ip6tables f2b-j17", PORTS),
]  # fmt: skip


@pytest.mark.parametrize(("number", "row"), [*enumerate(ACTIONS)])
def test_the_actions_that_ship_with_fail2ban(number, row):
    name, four, six, refused = row
    (action,) = JAILS[f"j{number}"].actions
    assert action.name == name
    for family, place in ((Family.IPV4, four), (Family.IPV6, six)):
        ban = ban_of(action, family)
        assert ("" if ban is None else str(ban.place), "" if ban is None else str(ban)) == (place, refused)
        assert ban is None or ban.fault == ""
        assert ban is None or ban.place.own is (ban.place.kind is not Kind.OTHER)


@pytest.mark.parametrize(
    ("port", "proto", "covered"),
    [(80, "tcp", True), (11430, "tcp", True), (11434, "tcp", True), (11440, "tcp", False), (80, "udp", False)],
)
def test_ports_are_numbers_names_and_ranges(port, proto, covered):
    (action,) = JAILS["j0"].actions
    ban = ban_of(action, Family.IPV4)
    assert ban is not None
    assert ban.covers(proto, port) is covered


def own(ban, start="", **more):
    return Action(name="own", settings={"actionban": ban, "actionstart": start, **more})


def test_a_name_of_a_port_that_is_not_known_is_not_guessed():
    ban = ban_of(own("iptables -I f2b-x -s <ip>", "iptables -N f2b-x\n--dports <port>", port="gopher-x"), Family.IPV4)
    assert ban is not None
    assert ban.covers("tcp", 70) is None


@pytest.mark.parametrize(
    ("action", "family", "fault"),
    [
        (own("iptables -I INPUT -s <ip> -j DROP"), Family.IPV6, "it runs iptables, which takes no IPv6 address"),
        (own("ip6tables -I INPUT -s <ip> -j DROP"), Family.IPV4, "it runs ip6tables, which takes no IPv4 address"),
        (own("nft add element inet t s \\{ <ip> \\}", "nft add set inet t s \\{ type ipv4_addr\\; \\}"), Family.IPV6,
         "its set is of type ipv4_addr"),
        (own("ipset add s <ip>", "ipset create s hash:ip"), Family.IPV6, "its set is of the other family"),
        (own("firewall-cmd --add-rich-rule=\"rule family='ipv4' source address='<ip>' drop\""), Family.IPV6,
         "its rich rule is of ipv4"),
        (own("iptables -I INPUT -s <ip> -j DROP"), Family.IPV4, ""),
    ],
)  # fmt: skip
def test_an_action_of_one_family_is_told(action, family, fault):
    ban = ban_of(action, family)
    assert ban is not None
    assert ban.fault == fault
    assert fault == "" or ban.covers("tcp", 1) is False


def test_a_chain_that_others_use_too_is_not_fail2bans_own():
    ban = ban_of(own("iptables -I INPUT -s <ip> -j DROP"), Family.IPV4)
    assert ban is not None
    assert not ban.place.own


def test_tags_that_name_each_other_end():
    assert ban_of(own("<a>", a="<b>", b="<a><a><a>"), Family.IPV4) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [("600", 600), ("-1", -1), ("10m", 600), ("1h", 3600), ("1d 12h", 129600), ("1h30m", 5400), ("1.5 hours", 5400),
     ("2 weeks", 1209600), ("1mo", 2629800), ("1y", 31557600), ("90sec", 90), (None, None), ("", None), ("soon", None),
     ("5 apples", None), ("9" * 5000, None), ("9" * 400 + "y", None)],
)  # fmt: skip
def test_times_are_read_as_fail2ban_reads_them(text, number):
    assert seconds(text) == number


def test_the_settings_of_a_careless_jail_are_read():
    known = parse_config((CAPTURES / "careless.dump.txt").read_text(encoding="utf-8"))
    jail = known.jails["api"]
    assert (jail.usedns, jail.increment, jail.ignore_self, jail.bantime) == ("yes", True, False, 172800)
    assert jail.ignored == ("127.0.0.1/8", "::1", "10.0.0.0/8")
    assert (known.forgets, known.purge_age) == (True, 86400)
