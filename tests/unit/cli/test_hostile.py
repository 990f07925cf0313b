"""The verbs on hostile tables: a clear message or a weakened answer, never a traceback and never a wrong "nothing"."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli, main
from fwproof.errors import FwproofError

HOSTILE = Path(__file__).parents[3] / "fixtures" / "hostile" / "rules"
OPTIONS = {".v4": "--iptables-save", ".v6": "--ip6tables-save", ".nft.json": "--nft-json", ".ipset": "--ipset-save",
           ".addr.json": "--addresses", ".route.json": "--routes", ".sysctl": "--sysctls"}  # fmt: skip
SURE = {
    "carriage-returns.v4": "accept", "empty.v4": "accept", "only-comments.v4": "accept", "comments.v4": "drop",
    "escapes.nft.json": "accept", "lone-surrogate.nft.json": "accept",
}  # fmt: skip
"""What is whole though it looks odd, with the decision on the first packet (no tables are printed as nothing)."""
GOOD = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m set --match-set banned src -j DROP
COMMIT
"""
PACKETS = "".join(
    json.dumps(
        {"id": at, "proto": "tcp", "sport": 40000, "dport": 22, "iif": "eth0", "hook": "input", "src": src, "dst": dst}
    )
    + "\n"
    for at, (src, dst) in enumerate([("10.0.0.1", "10.0.0.10"), ("fd00::7", "fd00:0:0:1::10")])
)
NAMES = sorted(path.name for path in HOSTILE.iterdir())


def option(name):
    return next(each for suffix, each in OPTIONS.items() if name.endswith(suffix))


def command(verb, path, good, packets):
    given = option(path.name)
    files = [given, path] if given in {"--iptables-save", "--ip6tables-save", "--nft-json"} else [
        "--iptables-save", good, given, path]  # fmt: skip
    if verb == "diff":
        return [verb, path, good, "--family", "ipv6" if path.suffix == ".v6" else "ipv4"]
    return [verb, *files, *(("--packets", packets, "--format", "json") if verb == "explain" else ())]


@pytest.mark.parametrize("verb", ["explain", "query", "lint", "diff"])
@pytest.mark.parametrize("name", NAMES)
def test_a_verb_says_what_is_wrong(name, verb, tmp_path):
    if verb == "explain" and option(name) == "--sysctls":
        return  # it takes none
    (good := tmp_path / "good.v4").write_text(GOOD)
    (packets := tmp_path / "packets").write_text(PACKETS)
    done = CliRunner().invoke(cli, [str(word) for word in command(verb, HOSTILE / name, good, packets)])
    said = done.output
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        assert isinstance(done.exception, FwproofError), repr(done.exception)
        assert done.exception.exit_code == 4
        said = str(done.exception)
    assert "Traceback" not in said
    assert all(letter.isprintable() or letter == "\n" for letter in said)
    if isinstance(done.exception, FwproofError) or done.exit_code == 4:
        assert name in said
    elif verb == "explain" and name not in SURE:
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        family = "" if name.endswith(".nft.json") else ":" if name.endswith(".v6") else "."
        asked = [a for a, p in zip(answers, PACKETS.splitlines(), strict=True) if family in json.loads(p)["src"]]
        assert any(each["decision"] in {"unknown", "depends"} for each in asked), asked
    elif verb == "query" and name not in SURE:
        assert done.exit_code != 0 or "depends" in said or "unread" in said, said


def test_a_message_steers_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["fwproof", "query", "--iptables-save", "no\x1b[2Jsuch.v4"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 4
    said = capsys.readouterr().err
    assert "cannot be read" in said
    assert "\x1b" not in said


def test_what_is_whole_is_understood(tmp_path):
    (packets := tmp_path / "packets").write_text(PACKETS.splitlines()[0] + "\n")
    for name in sorted(SURE):
        done = CliRunner().invoke(
            cli, ["explain", option(name), str(HOSTILE / name), "--packets", str(packets), "--format", "json"]
        )
        assert json.loads(done.stdout)["decision"] == SURE[name], name
