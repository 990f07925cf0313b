"""ufw: its rules as it tells them, the rules of the kernel by ufw's names, and the commands that mend."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.frontends.ufw import covers
from fwproof.frontends.ufw_rules import read_rules
from fwproof.frontends.wish import Opening, Way, Wish

ANY = (ip_network("0.0.0.0/0"), ip_network("::/0"))
INSIDE = (ip_network("10.0.0.0/16"), ip_network("fd00::/48"))
INSIDE_V4 = "ufw allow from 10.0.0.0/16 to any port 11434 proto tcp"
INSIDE_V6 = "ufw allow from fd00::/48 to any port 11434 proto tcp"
ALLOW = "ufw rule 2: allow 11434/tcp (ollama, so that it answers)"
ROUTE = "ufw rule 4: route allow in on eth0 out on eth1 to any port 5432 proto tcp"
LIMIT = "5 new connections in 30 s per source, the 6th being refused"
FILES = ("ufw-rules", "iptables-save")
OLLAMA = Opening(proto="tcp", port=11434, peers=INSIDE)
SSH = Opening(proto="tcp", port=22, peers=(ip_network("10.0.0.1/32"),))


def tuple_(text):
    return read_rules(f"### tuple ### {text}\n-A ufw-user-input -j ACCEPT\n")


# What ufw 0.36.2 itself prints for these (`ufw show added`), read in the lab.
@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("allow tcp 22 0.0.0.0/0 any 10.0.0.1 in", "ufw allow from 10.0.0.1 to any port 22 proto tcp"),
        ("allow tcp 11434 0.0.0.0/0 any 0.0.0.0/0 in", "ufw allow 11434/tcp"),
        ("deny any 25 0.0.0.0/0 any 0.0.0.0/0 out", "ufw deny out 25"),
        ("reject tcp 1000:2000 0.0.0.0/0 any 0.0.0.0/0 in", "ufw reject 1000:2000/tcp"),
        ("limit tcp 22 0.0.0.0/0 any 0.0.0.0/0 OpenSSH - in", "ufw limit OpenSSH"),
        ("allow tcp 8080 0.0.0.0/0 any 0.0.0.0/0 Web%20UI - in", "ufw allow 'Web UI'"),
        ("allow_log tcp 22 0.0.0.0/0 any 0.0.0.0/0 in", "ufw allow log 22/tcp"),
        ("allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in_eth0", "ufw allow in on eth0 to any port 22 proto tcp"),
        ("allow any any 0.0.0.0/0 any 10.0.0.0/8 in", "ufw allow from 10.0.0.0/8"),
        ("deny any any 0.0.0.0/0 any 0.0.0.0/0 in", "ufw deny to any"),
        (
            "route:allow tcp 5432 0.0.0.0/0 any 0.0.0.0/0 in_eth0!out_eth1",
            "ufw route allow in on eth0 out on eth1 to any port 5432 proto tcp",
        ),
        (
            "allow tcp 80 10.0.0.5 1024 10.0.0.0/8 out",
            "ufw allow out from 10.0.0.0/8 port 1024 to 10.0.0.5 port 80 proto tcp",
        ),
    ],
)
def test_a_rule_is_said_as_ufw_says_it(text, spec):
    (rule,) = tuple_(text)
    assert str(rule) == f"ufw rule 1: {spec.removeprefix('ufw ')}"
    assert rule.deletion == spec.replace("route allow", "route delete allow") if "route" in spec else True
    assert rule.routed or rule.deletion == spec.replace("ufw ", "ufw delete ", 1)


@pytest.mark.parametrize(
    "text", ["", "allow tcp 22", "open tcp 22 0.0.0.0/0 any 0.0.0.0/0 in", "allow tcp 22 any any any up", "a " * 12]
)  # fmt: skip
def test_what_ufw_passes_over_as_malformed_is_no_rule(text):
    assert tuple_(text) == ()


def test_hostile_words_are_never_printed_as_a_command():
    (rule,) = tuple_("allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 x\x1b[2J - in")
    assert rule.deletion == ""
    (rule,) = tuple_("allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 $(reboot);%20x - in")
    assert rule.deletion == "ufw delete allow '$(reboot); x'"


def test_a_comment_that_is_not_text_is_left_out():
    assert tuple_("allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=1b5b324a")[0].comment == ""
    assert tuple_("allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=zz")[0].comment == ""
    assert str(tuple_("allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in comment=6869")[0]).endswith("22/tcp (hi)")


def test_rules_of_one_profile_have_one_number_as_in_ufw_status(front):
    text = "".join(f"### tuple ### allow {proto} {port} 0.0.0.0/0 any 0.0.0.0/0 Samba - in\n-A ufw-user-input\n"
                   for proto, port in (("udp", "137,138"), ("tcp", "139,445")))  # fmt: skip
    text += "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n"
    assert [rule.number for rule in read_rules(text)] == [1, 1, 2]
    # `ufw status numbered` of this host, in the lab: 1 to 4 in IPv4, 5 to 8 in IPv6
    assert [(rule.number, rule.v6) for rule in front("ufw-published").ufw.rules] == [
        (number, number > 4) for number in range(1, 9)
    ]


# ---- the kernel's rules by name


@pytest.mark.parametrize(
    ("words", "family", "name"),
    [
        ("ufw-user-input -A ufw-user-input -p tcp -m tcp --dport 11434", Family.IPV4, ALLOW),
        ("ufw6-user-input -A ufw6-user-input -p tcp -m tcp --dport 8080", Family.IPV6, "ufw rule 7: allow 'Web UI'"),
        ("ufw-user-forward -A", Family.IPV4, ROUTE),
        ("ufw-before-input -A ufw-before-input -p udp", Family.IPV4, "/etc/ufw/before.rules"),
        ("ufw6-before-input -A ufw6-before-input -m rt", Family.IPV6, "/etc/ufw/before6.rules"),
        ("ufw-not-local -j DROP".replace(" -j", " -A ufw-not-local -j"), Family.IPV4, "/etc/ufw/before.rules"),
        ("ufw-after-input -A", Family.IPV4, "/etc/ufw/after.rules"),
        ("ufw-skip-to-policy-input -A", Family.IPV4, "ufw's default for incoming packets"),
        ("ufw-track-output -A", Family.IPV4, "ufw's default for outgoing packets"),
        ("ufw-user-limit-accept -A", Family.IPV4, f"ufw's limit of {LIMIT}"),
        ("ufw-after-logging-input -A", Family.IPV4, "ufw's logging"),
        ("ufw-logging-deny -A", Family.IPV4, "ufw's logging"),
        ("INPUT -A INPUT -j ufw", Family.IPV4, ""),
    ],
)  # fmt: skip
def test_rules_of_the_kernel_have_ufw_s_names(front, rule, words, family, name):
    assert front("ufw-published").name(rule("ufw-published", words, family)) == name


def test_the_three_rules_of_a_limit_are_one_rule_of_ufw_s(front, rule):
    found = front("two-managers")
    names = {
        found.name(rule("two-managers", words))
        for words in ("--ctstate NEW -m recent --set", "hitcount 6", "j ufw-user-limit-accept")
    }
    assert names == {"ufw rule 3: limit from 10.0.0.0/16 to any port 8080 proto tcp"}


def test_a_rule_that_is_not_in_ufw_s_file_is_told_as_a_stranger(front, read, rule):
    text = read("ufw-published").captures["ufw-rules"].stdout.replace("--dport 11434", "--dport 11435")
    found, ref = front("ufw-published", ufw_rules=text), rule("ufw-published", "--dport 11434")
    assert found.name(ref).startswith("no rule that ufw knows")
    assert ref in found.ufw.strangers


def test_rules_that_could_not_be_read_are_not_told_as_strangers(front, rule):
    found = front("ufw-published", ufw_rules=None)
    assert found.name(rule("ufw-published", "--dport 11434")).startswith("a rule of ufw's that cannot be told")


def test_a_text_is_spoken_with_the_kernel_s_rule_beside(front, rule):
    found, ref = front("ufw-published"), rule("ufw-published", "--dport 11434")
    assert found.spoken(f"let in by {ref}; for example x") == (
        "let in by ufw rule 2: allow 11434/tcp (ollama, so that it answers) [ip filter ufw-user-input rule 2:"
        " -A ufw-user-input -p tcp -m tcp --dport 11434 -j ACCEPT]; for example x"
    )
    assert found.spoken("dropped by ip filter INPUT policy: DROP") == (
        "dropped by ufw's default for incoming packets [ip filter INPUT policy: DROP]"
    )
    other = str(replace(ref, text="-A something else"))  # a rule of another host, or of a minute ago
    assert found.spoken(other) == other


# ---- commands


def wish(*by, **changes):
    given = {
        "wrong": "open",
        "way": Way.IN,
        "family": Family.IPV4,
        "by": by,
        "allowed": (OLLAMA, SSH),
        "wanted": OLLAMA,
    }
    return Wish(**(given | changes))


def test_what_lets_in_too_many_is_replaced_by_the_narrower_rule_first(front, rule):
    found = front("ufw-published")
    assert found.mend(wish(rule("ufw-published", "--dport 11434"))) == (
        f"`{INSIDE_V4}; {INSIDE_V6}`, then `ufw delete allow 11434/tcp`"
    )
    assert found.mend(wish(rule("ufw-published", "--dport 8080"))) == "`ufw delete allow 'Web UI'`"


def test_a_wanted_rate_that_ufw_has_is_a_limit(front, rule):
    rated = replace(OLLAMA, peers=ANY, rate=(5, 30.0, "source"))
    ref = rule("ufw-published", "--dport 11434")
    assert (
        front("ufw-published").mend(wish(ref, allowed=(rated,)))
        == "`ufw limit 11434/tcp`, then `ufw delete allow 11434/tcp`"
    )
    assert front("ufw-published").limiting(rated) == "`ufw limit 11434/tcp`, then `ufw delete allow 11434/tcp`"
    assert "another limit goes into /etc/ufw/before.rules" in front("ufw-published").limiting(
        replace(rated, rate=(20, 60.0, "source"))
    )


def test_defaults_and_files(front, rule):
    found = front("ufw-published")
    policy = RuleRef(family="ip", table="filter", chain="INPUT", rule=None, text="ACCEPT")
    assert found.mend(wish(policy, allowed=(SSH,))) == (
        "`ufw allow from 10.0.0.1 to any port 22 proto tcp`, then `ufw default deny incoming`"
    )
    routed = replace(policy, chain="FORWARD")
    assert found.mend(wish(routed, way=Way.THROUGH, allowed=(), wanted=None)) == "`ufw default deny routed`"
    ping = rule("ufw-published", "--icmp-type 8")
    assert found.mend(wish(ping)).startswith("take the rule out of /etc/ufw/before.rules")


def test_what_is_refused_is_allowed_and_what_refuses_it_goes(front, read, rule):
    found = front("ufw-published")
    policy = RuleRef(family="ip6", table="filter", chain="INPUT", rule=None, text="DROP")
    assert (
        found.mend(wish(policy, wrong="shut", family=Family.IPV6))
        == "`ufw allow from fd00::/48 to any port 11434 proto tcp`"
    )
    ping = Opening(proto="icmp", port=None, peers=INSIDE)
    assert "accept it in /etc/ufw/before6.rules" in found.mend(
        wish(policy, wrong="shut", family=Family.IPV6, wanted=ping)
    )
    snapshot = read("ufw-published").captures
    texts = {name: snapshot[name].stdout.replace("11434 -j ACCEPT", "11434 -j DROP") for name in FILES}
    texts["ufw-rules"] = texts["ufw-rules"].replace("allow tcp 11434", "deny tcp 11434")
    denying = {name.replace("-", "_"): text for name, text in texts.items()}
    ref = rule("ufw-published", "--dport 11434", **denying)
    assert front("ufw-published", **denying).mend(wish(ref, wrong="shut")) == (
        "`ufw delete deny 11434/tcp`, then `ufw allow from 10.0.0.0/16 to any port 11434 proto tcp`"
    )


def test_outbound(front):
    policy = RuleRef(family="ip", table="filter", chain="OUTPUT", rule=None, text="ACCEPT")
    db = Opening(proto="tcp", port=5432, peers=(ip_network("10.0.2.10/32"),))
    assert front("ufw-published").mend(wish(policy, way=Way.OUT, allowed=(db,), wanted=None)) == (
        "`ufw allow out to 10.0.2.10 port 5432 proto tcp`, then `ufw default deny outgoing`"
    )


def test_ipv6_no(front):
    found = front("ufw-no-ipv6")
    policy = RuleRef(family="ip6", table="filter", chain="INPUT", rule=None, text="DROP")
    assert found.name(policy).startswith("ufw's IPV6=no")
    assert found.mend(wish(policy, wrong="shut", family=Family.IPV6)) == (
        f"set IPV6=yes in /etc/default/ufw, then `ufw reload`, then `{INSIDE_V6}`"
    )
    assert (found.closes(Family.IPV6), found.closes(Family.IPV4)) == (True, False)


def test_a_rule_by_hand_is_taken_out_by_its_own_words_or_its_place(front):
    found = front("ufw-published")
    mine = RuleRef(
        family="ip",
        table="filter",
        chain="INPUT",
        rule=1,
        text='-A INPUT -s 1.2.3.4/32 -m comment --comment "a $(b)" -j ACCEPT',
    )
    assert (
        found.mend(wish(mine, wanted=None))
        == "`iptables -D INPUT -s 1.2.3.4/32 -m comment --comment 'a $(b)' -j ACCEPT`"
    )
    odd = replace(mine, text='-A INPUT -m comment --comment "\\"x" -j ACCEPT')
    assert found.mend(wish(odd)) == "delete rule 1 of INPUT with iptables"


@pytest.mark.parametrize(
    ("rule", "port", "covered"),
    [
        ("allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 in", 443, True),
        ("allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 in", 44, False),
        (f"allow tcp {'9' * 5000} 0.0.0.0/0 any 0.0.0.0/0 in", 99999, False),
        ("allow tcp 8000:8100 0.0.0.0/0 any 0.0.0.0/0 in", 8080, True),
        ("allow any 22 0.0.0.0/0 any 0.0.0.0/0 in", 22, True),
        ("allow udp 22 0.0.0.0/0 any 0.0.0.0/0 in", 22, False),
        ("allow any any 0.0.0.0/0 any 10.0.0.0/8 in", 22, True),
    ],
)
def test_which_ports_a_rule_is_about(rule, port, covered):
    assert covers(tuple_(rule)[0], Opening(proto="tcp", port=port, peers=ANY)) is covered


def test_answers_that_a_rule_by_hand_refuses_are_mended_there(front):
    drop = RuleRef(family="ip", table="filter", chain="OUTPUT", rule=1, text="-A OUTPUT -j DROP")
    assert front("ufw-published").mend(wish(drop, wrong="shut")) == "`iptables -D OUTPUT -j DROP`"
