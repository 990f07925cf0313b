"""``fwproof cover``, as it is called."""

import json

import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli
from fwproof.errors import FwproofError

TABLE = """*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -s 10.0.0.0/16 -p tcp -m tcp --dport 11434 -j ACCEPT
-A INPUT -p icmp -m icmp --icmp-type 8 -m limit --limit 5/sec -j ACCEPT
-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -j DROP
-A INPUT -s 10.0.0.1/32 -p tcp -m tcp --dport 11434 -j DROP
COMMIT
"""
ADDRESSES = (
    '[{"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},'
    ' {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.10", "prefixlen": 16}]}]'
)
CONNTRACK = "-A OUTPUT -m conntrack --ctstate NEW\nCOMMIT"
"""Makes the kernel track connections, so that there are invalid packets."""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "rules").write_text(TABLE)
    (tmp_path / "addr").write_text(ADDRESSES)
    return tmp_path


def run(files, *words, status=0, verb="cover"):
    given = ["--iptables-save", files / "rules", "--addresses", files / "addr"]
    result = CliRunner().invoke(cli, [verb, *map(str, [*given, *words])])
    if isinstance(result.exception, FwproofError):
        return result.exception
    assert result.exit_code == status, result.output
    return result.stdout


def test_in_words(files):
    said = run(files, "--from", "lan=10.0.0.0/16@eth0", "--to", "10.0.0.10").splitlines()
    assert said[:4] == [
        "ipv4: 4 packets reach 3 of 4 rules and defaults that can be reached (75%); no fewer will do",
        "    the others: 1 oracle, 1 unreachable",
        "ipv4-1: input from lan: tcp 10.0.0.12:32768 -> 10.0.0.10:11434 in eth0",
        "    reaches ip filter INPUT rule 1: -A INPUT -s 10.0.0.0/16 -p tcp -m tcp --dport 11434 -j ACCEPT",
    ]
    assert any(line.startswith("    reaches, if limit 5/sec burst 5: yes: ip filter INPUT rule 2") for line in said)
    assert said[-2].startswith("    every packet that fits it was decided before")
    assert said[-1].startswith("    by ip filter INPUT rule 1")


def test_packets_are_what_explain_says_they_are(files, tmp_path):
    (files / "rules").write_text(TABLE.replace("COMMIT", CONNTRACK))
    said = json.loads(run(files, "--replies", "--packets-out", tmp_path / "packets", "--format", "json"))
    assert said["schema"] == "fwproof-cover-1"
    (found,) = said["covers"]
    assert (found["packets"], found["at_least"], found["minimal"]) == (4, 4, True)
    assert found["counts"] | {"total": 7, "reached": 5, "oracle": 1, "unreachable": 1} == found["counts"]
    assert found["coverage"] == 5 / 6
    answers = run(files, "--packets", tmp_path / "packets", "--format", "json", verb="explain").splitlines()
    assert len(answers) == 4
    for witness, answer in zip(found["witnesses"], map(json.loads, answers), strict=True):
        assert answer["id"] == witness["id"]
        rules = [{key: step[key] for key in witness["reaches"][0]} for step in answer["trace"]
                 if step["matched"] == "yes"] if witness["reaches"] else []  # fmt: skip
        assert all(ref in rules for ref in witness["reaches"])
    bare = next(w for w in found["witnesses"] if w["reaches"] and w["reaches"][0]["rule"] == 3)
    assert (bare["packet"]["flags"], bare["packet"]["ctstate"]) == ("", "INVALID")
    (shadowed,) = (m for m in found["missed"] if m["why"] == "unreachable")
    assert (shadowed["kind"], [cause["rule"] for cause in shadowed["causes"]]) == ("contradicted", [1])


def test_what_is_not_known_is_exit_status_6(files):
    (files / "rules").write_text(TABLE.replace("-A INPUT -p icmp", "-A INPUT -p udp -j NFQUEUE\n-A INPUT -p icmp"))
    run(files)
    (files / "rules").write_text(TABLE.replace("-A INPUT -s", "-A INPUT -j NFQUEUE\n-A INPUT -s", 1))
    assert "unknown: ip filter INPUT rule 2" in run(files, status=6)
    (files / "rules").write_text(TABLE.replace("COMMIT", "-X what is this\nCOMMIT"))
    assert "not looked at: ipv4: table filter: " in run(files, status=6)


@pytest.mark.parametrize(("words", "said"), [
    (["--from", "10.0.0.300"], "--from 10.0.0.300: expected an address or a network"),
    (["--from", "10.0.0.0/8@"], "expected the name of an interface after @"),
    (["--to", "x"], "--to x: expected an address or a network"),
    (["--packets-out", "/nowhere/at/all"], "--packets-out /nowhere/at/all: cannot be written"),
])  # fmt: skip
def test_what_cannot_be_asked(files, words, said):
    assert said in str(run(files, *words))


def test_hostile_comments_do_not_steer_a_terminal(files):
    (files / "rules").write_text(TABLE.replace("--dport 11434", '--dport 11434 -m comment --comment "\x1b[2J"'))
    assert "\x1b" not in run(files)
