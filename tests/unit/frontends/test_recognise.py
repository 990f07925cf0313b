"""Who manages a host: told from real tables of each kind, and from what is loaded at boot."""

import pytest

from fwproof.frontends.recognise import Manager, direct_rules, setting

UFW_LINK = "/etc/systemd/system/multi-user.target.wants/ufw.service\n"
TABLE = "*filter\n:INPUT {} [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n{}COMMIT\n"


def rulers(found):
    return [each.manager.value for each in found.rulers]


def there(found):
    return [each.manager.value for each in found.managers if each.places]


@pytest.mark.parametrize(
    ("host", "ruling", "present"),
    [
        ("ufw-published", ["ufw"], ["ufw"]),
        ("ufw-no-ipv6", ["ufw"], ["ufw"]),
        ("firewalld-published", ["firewalld"], ["firewalld"]),
        ("docker-published", ["ufw"], ["ufw", "Docker"]),
        ("two-managers", ["ufw", "firewalld"], ["ufw", "firewalld"]),
        ("nftables", ["nftables"], ["nftables"]),
        ("legacy-and-nft", ["iptables"], ["iptables"]),
        ("", [], []),
    ],
)
def test_who_rules_and_who_is_there(front, host, ruling, present):
    found = front(host)
    assert (rulers(found), there(found)) == (ruling, present)


def test_both_variants_of_iptables_are_seen(front):
    assert front("legacy-and-nft").managers[0].views == {"nft", "legacy"}


@pytest.mark.parametrize(
    ("default", "rules", "ruling", "present"),
    [
        ("ACCEPT", "", [], []),
        ("DROP", "", ["iptables"], ["iptables"]),
        ("ACCEPT", "-A INPUT -p tcp --dport 22 -j ACCEPT\n", ["iptables"], ["iptables"]),
        ("ACCEPT", ":f2b-sshd - [0:0]\n-A INPUT -p tcp -j f2b-sshd\n", [], ["fail2ban"]),
        ("DROP", ":f2b-sshd - [0:0]\n-A INPUT -p tcp -j f2b-sshd\n", ["iptables"], ["iptables", "fail2ban"]),
        ("ACCEPT", ":KUBE-FORWARD - [0:0]\n-A FORWARD -j KUBE-FORWARD\n", [], ["kube-proxy"]),
        ("ACCEPT", "-A FORWARD -i docker0 -o docker0 -j ACCEPT\n", [], ["Docker"]),
        ("ACCEPT", "-A FORWARD -o br-0123456789ab -j ACCEPT\n", [], ["Docker"]),
        ("ACCEPT", "-A FORWARD -i br-lan -j ACCEPT\n", ["iptables"], ["iptables"]),
        # a user's own chain is nobody else's, and alone it decides nothing
        ("ACCEPT", ":OLLAMA - [0:0]\n-A OLLAMA -j DROP\n", [], []),
        ("ACCEPT", ":OLLAMA - [0:0]\n-A INPUT -j OLLAMA\n-A OLLAMA -j DROP\n", ["iptables"], ["iptables"]),
    ],
)
def test_rules_of_iptables_belong_to_whoever_made_them(front, default, rules, ruling, present):
    found = front(iptables_save=TABLE.format(default, rules))
    assert (rulers(found), there(found)) == (ruling, present)


def test_a_rule_by_hand_beside_ufw_makes_two(front, read):
    text = read("ufw-published").captures["iptables-save"].stdout
    by_hand = text.replace("-A INPUT -j ufw-before", "-A INPUT -p tcp --dport 9 -j ACCEPT\n-A INPUT -j ufw-before", 1)
    assert by_hand != text
    assert rulers(front("ufw-published", iptables_save=by_hand)) == ["ufw", "iptables"]


def test_rules_of_the_direct_interface_are_firewalld_s_and_more_are_not(front, read):
    assert direct_rules(read("firewalld-published")) == {"ip filter INPUT": 1}
    assert rulers(front("firewalld-published", firewalld_direct="")) == ["firewalld", "iptables"]


def test_closed_by_ipv6_no_is_ufw_s_and_other_closed_tables_are_not(front):
    assert rulers(front("ufw-no-ipv6", ufw_defaults="IPV6=yes\n")) == ["ufw", "iptables"]


@pytest.mark.parametrize(
    ("changes", "boots"),
    [
        ({"boot_links": UFW_LINK, "ufw.conf": "ENABLED=yes\n"}, [Manager.UFW]),
        ({"boot_links": UFW_LINK, "ufw.conf": "ENABLED=no\n"}, []),
        ({"boot_links": UFW_LINK}, []),
        ({"boot_links": UFW_LINK.replace("ufw.", "nftables.")}, [Manager.NFTABLES]),
        ({"boot_links": UFW_LINK.replace("ufw.", "netfilter-persistent.")}, []),
        ({"boot_links": UFW_LINK.replace("ufw.", "netfilter-persistent."), "rules.v6": "x"}, [Manager.IPTABLES]),
    ],
)
def test_what_is_loaded_at_boot(front, changes, boots):
    found = front(**changes)
    assert [each.manager for each in found.managers if each.boots] == boots


def test_a_setting_is_read_as_a_shell_would():
    assert setting('A=1\n#IPV6=no\nIPV6="yes"\nIPV6=no\n', "IPV6") == "no"
    assert setting("XIPV6=no\n", "IPV6") == ""
