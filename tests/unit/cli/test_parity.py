"""``fwproof parity``, as it is called."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli
from fwproof.errors import FwproofError

ROOT = Path(__file__).parents[3]
RULES = ROOT / "fixtures" / "lab" / "ai-server" / "etc" / "iptables"
WEB = "-A INPUT -s 10.0.0.0/16 -p tcp -m tcp --dport 8080 -j ACCEPT"
TABLE = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n{}\nCOMMIT\n"
PACKETS = ("tcp 10.0.0.8:40000 -> 10.200.0.7:8080", "tcp [fd00::8]:40000 -> [fd00:200::7]:8080")
ZONE = ("--zone", "internal=10.0.0.0/16,fd00::/48")


@pytest.fixture
def tables(tmp_path):
    """Return a function that writes the two families' tables and gives the options that name them."""

    def write(v4, v6):
        (tmp_path / "v4").write_text(TABLE.format(v4))
        (tmp_path / "v6").write_text(TABLE.format(v6))
        return "--iptables-save", tmp_path / "v4", "--ip6tables-save", tmp_path / "v6"

    return write


def run(*words, status=0):
    result = CliRunner().invoke(cli, ["parity", *map(str, words)])
    if isinstance(result.exception, FwproofError):
        return str(result.exception)
    assert result.exit_code == status, result.output
    return result.stdout


def test_in_words(tables):
    assert run(*tables(WEB, ""), *ZONE, status=1).splitlines() == [
        "input: tcp/8080 from internal",
        f"    IPv4: open, let through by ip filter INPUT rule 1: {WEB}; for example {PACKETS[0]} on other0",
        f"    IPv6: closed, dropped by ip6 filter INPUT policy: DROP; for example {PACKETS[1]} on other0",
    ]


def test_in_json(tables):
    said = json.loads(run(*tables(WEB, ""), *ZONE, "--format", "json", status=1))
    assert (said["schema"], said["same"], said["not_answered"]) == ("fwproof-parity-1", False, [])
    (one,) = said["differences"]
    assert (one["hook"], one["boxes"]) == (
        "input", [{"services": ["tcp/8080"], "from": ["internal"], "to": None, "interfaces": [None]}])  # fmt: skip
    assert [(one[f]["status"], one[f]["decision"], one[f]["by"]["rule"], one[f]["witness"]["dport"])
            for f in ("ipv4", "ipv6")] == [("open", "accept", 1, 8080), ("closed", "drop", None, 8080)]  # fmt: skip


def test_a_witness_is_what_explain_says_it_is(tables, tmp_path):
    files = tables(WEB, "")
    said = json.loads(run(*files, *ZONE, "--format", "json", status=1))
    for family in ("ipv4", "ipv6"):
        side = said["differences"][0][family]
        (tmp_path / "packets").write_text(json.dumps({**side["witness"], "hook": "input"}))
        words = ["explain", *map(str, files), "--packets", str(tmp_path / "packets"), "--format", "json"]
        answer = json.loads(CliRunner().invoke(cli, words).stdout)
        assert (answer["decision"], answer["by"]) == (side["decision"], side["by"])


def test_same_and_the_shipped_server(tables):
    same = "same: IPv4 and IPv6 let the same through at input, output and forward, zone by zone\n"
    assert run(*tables(WEB, WEB.replace("10.0.0.0/16", "fd00::/48")), *ZONE) == same
    files = ("--iptables-save", RULES / "rules.v4", "--ip6tables-save", RULES / "rules.v6")
    assert run(*files, "--inventory", ROOT / "fixtures" / "inventory.yaml") == same
    assert "open to a part of a zone in both families: input: tcp/22,8080 from internal" in run(*files, *ZONE)


def test_unknown_is_exit_status_6_unless_something_differs(tables):
    program = "-A INPUT -p udp -j NFQUEUE"
    assert "not known: input: udp from anywhere" in run(*tables(program, ""), *ZONE, status=6)
    assert "not known: " in run(*tables(f"{WEB}\n{program}", ""), *ZONE, status=1)


def test_hostile_comments_do_not_steer_a_terminal(tables):
    assert "\x1b" not in run(*tables(WEB.replace("-j", '-m comment --comment "\x1b[2J" -j'), ""), *ZONE, status=1)


@pytest.mark.parametrize(("words", "said"), [
    (["--zone", "internal"], "--zone internal: expected a name and networks"),
    (["--zone", "a=10.0.0.300"], "--zone a=10.0.0.300: expected a name and networks"),
    (["--zone", "a=10.0.0.1/16"], "has host bits set"),
    (["--zone", "elsewhere=10.0.0.0/8"], "expected a name and networks"),
    (["--zone", "a=10.0.0.0/8", "--zone", "a=fd00::/8"], "the name is given twice"),
    ([*ZONE, "--inventory", "x"], "either --inventory or --zone"),
    (["--inventory", "/nowhere.yaml"], "/nowhere.yaml"),
])  # fmt: skip
def test_what_cannot_be_asked(tables, words, said):
    assert said in run(*tables(WEB, ""), *words)


def test_one_family_is_not_enough(tables):
    assert "both families are needed" in run(*tables(WEB, "")[:2])
    assert "no rule tables" in run()
