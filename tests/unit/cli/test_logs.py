"""``fwproof logs``, as it is called."""

import gzip
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import validate

from fwproof.cli.main import cli
from fwproof.errors import FwproofError

ROOT = Path(__file__).parents[3]
LOG = ROOT / "fixtures" / "logs" / "ai-server.log"
INVENTORY = ("--inventory", ROOT / "fixtures" / "inventory.yaml")
POLICY = (*INVENTORY, "--policy", ROOT / "checks" / "ai-server.policy.yaml")
TABLES = ("--iptables-save", ROOT / "fixtures" / "lab" / "ai-server" / "etc" / "iptables" / "rules.v4")
PACKET = "IN=eth0 OUT= MAC= SRC=203.0.113.66 DST=10.0.0.10 LEN=60 PROTO=TCP SPT=4 DPT=22 WINDOW=1 RES=0x00 SYN URGP=0 "
STAMP = "2024-11-20T10:00:00Z h kernel: "


def run(*words, status=0, stdin=None):
    result = CliRunner().invoke(cli, ["logs", *map(str, words)], input=stdin)
    if isinstance(result.exception, FwproofError):
        return result.exception
    assert result.exit_code == status, result.output
    return result.stdout


def test_the_page_of_a_week():
    said = run(LOG, *POLICY, *TABLES, status=1)
    first, period, read = said.splitlines()[:3]
    assert first == (
        "3 findings: 1 expectation whose traffic was dropped, 1 rule whose hits stopped, 1 internal host keeps knocking"
    )
    assert period == "period: 2024-11-17 23:00 to 2024-11-24 23:00 UTC (7 days), compared with the 6 days before"
    assert read.endswith("185 of packets, 2 other")
    assert len(said.splitlines()) < 80


def test_files_in_any_order_compressed_or_not_and_standard_input_say_the_same(tmp_path):
    lines = LOG.read_bytes().splitlines(keepends=True)
    (tmp_path / "new").write_bytes(b"".join(lines[100:]))
    (tmp_path / "old.gz").write_bytes(gzip.compress(b"".join(lines[:100])))
    whole = json.loads(run(LOG, *POLICY, *TABLES, "--format", "json", status=1))
    for order in (["new", "old.gz"], ["old.gz", "new"]):
        parts = json.loads(
            run(*(tmp_path / name for name in order), *POLICY, *TABLES, "--format", "json", status=1)
        )  # fmt: skip
        del parts["read"]["from"]
        assert parts == whole | {"read": parts["read"]}
    piped = json.loads(run("-", *POLICY, *TABLES, "--format", "json", status=1, stdin=LOG.read_bytes()))
    assert piped["findings"] == whole["findings"]


NUMBER, TIME = {"type": "integer"}, {"type": ["string", "null"]}
SUM = {"count": NUMBER, "before": NUMBER, "hours": NUMBER, "days": NUMBER, "first": TIME, "last": TIME}
NAMED = {"type": "array", "items": {"type": "object", "required": ["name", *SUM], "properties": SUM}}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["schema", "period", "read", "headline", "findings", "not_known", "dropped", "let_in", "totals"],
    "properties": {
        "schema": {"const": "fwproof-logs-1"},
        "period": {"required": ["since", "until", "hours_before"]},
        "read": {"required": ["from", "lines", "packet", "not_ip", "not_understood", "not_believed", "other"]},
        "headline": {"type": "string"},
        "findings": {"items": {"required": ["kind", "title", "explained", "details", "example", *SUM]}},
        "not_known": {"items": {"type": "string"}}, "dropped": {"required": [*SUM]}, "let_in": {"type": "integer"},
        "totals": {"required": ["family", "direction", "kind", "zone", "rule", "service"],
                   "additionalProperties": NAMED},
        "sources": {"items": {"required": ["address", "zone", "looks_like", "tried", "services", *SUM]}},
        "sources_in_all": {"type": "integer"}, "sweeps": {"items": {"required": ["service", "sources", *SUM]}},
        "outbound": {"items": {"required": ["to", "service", *SUM]}},
        "log_limits": {"items": {"required": ["rule", "limit", "minutes"]}}, "unknown_prefixes": NAMED,
        "silent_rules": {"items": {"required": ["family", "table", "chain", "rule", "text", "counted"]}},
        "notes": {"items": {"type": "string"}},
    },
}  # fmt: skip


def test_json_is_as_documented():
    found = json.loads(run(LOG, *POLICY, *TABLES, "--format", "json", status=1))
    validate(found, SCHEMA)
    assert [each["kind"] for each in found["findings"]] == ["allowed-dropped", "hits-stopped", "knocking"]
    assert found["read"]["packet"] == 185
    assert sum(each["count"] for each in found["totals"]["service"]) == found["dropped"]["count"] == 102
    assert found["sources"][0]["looks_like"] == "scan of 38 ports"
    assert [each["chain"] for each in found["silent_rules"]] == ["DROP_FWD"]


def test_a_quiet_log_is_nothing_to_act_on(tmp_path):
    (tmp_path / "log").write_text(f"{STAMP}drop: {PACKET}\n")
    assert run(tmp_path / "log").startswith("nothing to act on\n")
    (tmp_path / "log").write_text(f"{STAMP}drop: {PACKET}\n{STAMP}drop: {PACKET[:-60]}\n")
    assert "not understood, for example" in run(tmp_path / "log", status=6)
    assert "no line of the log tells of a packet" in run("-", status=6, stdin="hello\n")


def test_a_file_that_is_cut_is_read_as_far_as_it_goes(tmp_path):
    (tmp_path / "cut.gz").write_bytes(gzip.compress(LOG.read_bytes() * 3)[:-9000])
    said = run(tmp_path / "cut.gz", *INVENTORY, status=1)
    assert "and not all is known" in said
    assert "cannot be read to its end" in said


def test_a_stamp_without_year_is_of_the_file_s_time(tmp_path):
    (tmp_path / "log").write_text(f"Dec 31 10:00:00 h kernel: drop: {PACKET}\n")
    os.utime(tmp_path / "log", (1704250000, 1704250000))  # 2024-01-03
    assert "2023-12-31 11:00 UTC" in run(tmp_path / "log")
    assert "2023-12-31 05:00 UTC" in run(tmp_path / "log", "--timezone", "+06:00")


def test_since_and_until_choose_the_period():
    said = run(LOG, *INVENTORY, "--since", "2024-11-12", "--until", "2024-11-13T12:00", status=1)
    assert "period: 2024-11-12 00:00 to 2024-11-13 12:00 UTC (36 hours), compared with the 23 hours before" in said
    said = run(LOG, *INVENTORY, "--since", "2d", "--until", "2024-11-14", "--timezone", "Europe/Berlin", status=1)
    assert "period: 2024-11-11 23:00 to 2024-11-13 23:00 UTC (2 days)" in said
    assert "no dropped packet" in run(LOG, "--since", "2024-11-28", "--until", "2024-11-29", status=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no log: give FILE"),
        (["nothing.log"], "nothing.log: cannot be read"),
        ([ROOT], "Is a directory"),
        ([LOG, LOG], "given twice"),
        ([LOG, "--since", "last week"], "--since last week: expected a length"),
        ([LOG, "--since", "1960-01-01"], "--since 1960-01-01: expected"),
        ([LOG, "--since", "0d"], "expected a length"),
        ([LOG, "--until", "2024-11-18", "--since", "2024-11-19"], "--since is not before --until"),
        ([LOG, "--timezone", "Mars/Olympus"], "--timezone Mars/Olympus: expected a zone"),
        ([LOG, "--timezone", "../../etc/passwd"], "expected a zone"),
        ([LOG, "--timezone", "+99:00"], "expected a zone"),
        ([LOG, "--boot", "yesterday"], "--boot yesterday: expected a time"),
        ([LOG, "--boot", "2999-01-01"], "in the future"),
        ([LOG, *INVENTORY, "--outside", "moon"], "no such zone; it has internal"),
        ([LOG, *INVENTORY, "--host", "web1", "--snapshot", "x"], "give one of --host, --snapshot and files"),
        ([LOG, "--policy", ROOT / "nothing.yaml"], "nothing.yaml"),
    ],
)
def test_what_cannot_be_carried_out_is_one_message(words, message):
    said = run(*words)
    assert isinstance(said, FwproofError)
    assert message in str(said)
    assert said.exit_code == 4


@pytest.mark.parametrize(
    ("magic", "way"),
    [(b"\xfd7zXZ\0", "xz -dc"), (b"\x28\xb5\x2f\xfd", "zstd -dc"), (b"BZh9", "bzip2 -dc"), (b"LPKSHHRH", "journalctl")],
)
def test_files_of_other_makes_are_told_the_way(tmp_path, magic, way):
    (tmp_path / "log").write_bytes(magic + b"rest")
    assert way in str(run(tmp_path / "log"))


def test_many_findings_stay_one_page_and_none_is_hidden(tmp_path):
    packet = PACKET.replace("203.0.113.66", "10.0.{}.{}")
    lines = [f"2024-11-20T{hour:02}:00:00Z h kernel: x {packet.format(n // 50, n % 50)}"
             for n in range(100) for hour in range(3)]  # fmt: skip
    (tmp_path / "log").write_text("\n".join(lines) + "\n")
    said = run(tmp_path / "log", status=1)
    assert "and 80 more: a greater --top or --format json shows them" in said
    assert len(said.splitlines()) < 110
    assert len(json.loads(run(tmp_path / "log", "--format", "json", status=1))["findings"]) == 100


def test_a_stamp_without_year_is_of_the_snapshot_s_time(tmp_path):
    stored(tmp_path, "ai-server", f"Dec 31 10:00:00 h kernel: fw drop in: {PACKET}\n", at="2023-01-02T00:00:00Z")
    assert "2022-12-31 11:00 UTC" in run("--snapshot", tmp_path / "ai-server")
    stored(tmp_path, "ai-server", "", at="yesterday")
    assert "collected at 'yesterday', which is no time" in str(run("--snapshot", tmp_path / "ai-server"))


def test_a_snapshot_brings_its_own_drop_log(tmp_path):
    stored(tmp_path, "ai-server", LOG.read_text())
    folder = tmp_path / "ai-server"
    said = run("--snapshot", folder, *POLICY, status=1)
    assert "lines of the drop log of ai-server: 185 of packets" in said
    assert "“fw drop in:” ip filter DROP_IN rule 1" in said
    stored(tmp_path / "other", "ai-server", "x\n" * 2000)
    assert "its newest 2000: there may be more" in run("--snapshot", tmp_path / "other" / "ai-server", status=6)
    stored(tmp_path / "without", "ai-server", None)
    assert "the inventory names no drop log" in str(run("--snapshot", tmp_path / "without" / "ai-server"))


def stored(root, host, log, at="2024-11-25T00:00:00Z"):
    """Write what ``fwproof collect`` would of a host."""
    from fwproof.hosts import replay
    from fwproof.snapshot import Capture, Snapshot

    rules = ROOT / "fixtures" / "lab" / "ai-server" / "etc" / "iptables"
    texts = {"iptables-save": (rules / "rules.v4").read_text(), "ip6tables-save": (rules / "rules.v6").read_text(),
             **dict.fromkeys(("iptables-legacy-save", "ip6tables-legacy-save", "ipset-save", "sysctl"), ""),
             **dict.fromkeys(("ip-addr", "ip-route", "ip6-route", "ip-rule", "ip6-rule"), "[]"),
             "nft": '{"nftables": []}',
             **({} if log is None else {"drop-log": log})}  # fmt: skip
    captures = {
        name: Capture(name=name, argv=("x",), status=0, stdout=text, stderr="", at=at, seconds=0.0)
        for name, text in texts.items()
    }
    replay.save(Snapshot(host=host, captures=captures, faults={}), root / host)


HOSTILE = [
    f"{STAMP}\x1b[2J\x1b]0;owned\x07 {PACKET}".encode(),
    f"{STAMP}| <script>alert(1)</script> [x](http://evil) @all ``` {PACKET}".encode(),
    f"{STAMP}\u202e\u200b {PACKET}".encode(),
    STAMP.encode() + b"\xff\xfe " + PACKET.encode(),
    f"2024-11-20T10:00:00Z \x1b[31mhost kernel: p {PACKET}".encode(),
    f"{STAMP}x {PACKET}".replace("eth0", "\x1b[2J").encode(),
    f"{STAMP}x {PACKET}".replace("203.0.113.66", "\x1b[2J").encode(),
    b'{"MESSAGE": "\\u001b[2J\\ud800 ' + PACKET.encode() + b'", "_TRANSPORT": "kernel", "_HOSTNAME": "\\u0007"}',
]


def strings(value):
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(each)


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
@pytest.mark.parametrize("known", [(), (*POLICY, *TABLES)])
def test_nothing_of_a_hostile_log_acts(form, known):
    words = ["logs", "-", "--format", form, *map(str, known)]
    result = CliRunner().invoke(cli, words, input=b"\n".join(HOSTILE))
    assert result.exit_code in {0, 6}, result.output
    assert all(letter == "\n" or letter.isprintable() for letter in result.stdout)
    if form == "json":
        assert all(text.isprintable() for text in strings(json.loads(result.stdout)))
    if form == "markdown":
        assert "<script>" not in result.stdout
        assert "](http" not in result.stdout
        assert "\\@all" in result.stdout
        rows = [line for line in result.stdout.splitlines() if line.startswith("| ") and "script" in line]
        assert rows
        assert all(row.count("|") - row.count("\\|") == 5 for row in rows)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([*HOSTILE, f"x {PACKET}".encode(), b"__CURSOR=", b"{", b"\0"]) | st.binary(max_size=40))
)
def test_no_log_ends_in_a_traceback(lines):
    for form in ("text", "markdown", "json"):
        result = CliRunner().invoke(cli, ["logs", "-", "--format", form], input=b"\n".join(lines))
        assert result.exit_code in {0, 1, 6}, result.exception


def test_the_markdown_page_is_one_page():
    said = run(LOG, *POLICY, *TABLES, "--format", "markdown", status=1)
    assert said.startswith("## Drop logs: 3 findings")
    assert "| source | packets | looks like | wanted |" in said
    assert len(said) < 20_000
