"""The explain contract, over the command."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from fwproof.cli.explain import explain
from fwproof.errors import FwproofError

from .tables import ADDRESSES, REPAIRED

WHOLE = {
    "id": "p1", "hook": "input", "iif": "eth0", "oif": None, "src": "10.0.5.7", "dst": "10.0.0.10", "proto": "tcp",
    "sport": 40000, "dport": 11434, "flags": "SYN", "icmp_type": None, "icmp_code": None, "ctstate": "NEW",
    "ctdir": "original", "mark": 0, "connmark": 0, "length": 60, "ttl": 64, "tos": 0, "mac_src": None,
    "pkttype": "host", "fragment": False,
}  # fmt: skip


def run(tmp_path, packets, *more, form="json"):
    (tmp_path / "packets").write_text(packets)
    (tmp_path / "rules").write_text(REPAIRED)
    (tmp_path / "addresses").write_text(ADDRESSES)
    files = ["--packets", str(tmp_path / "packets"), "--iptables-save", str(tmp_path / "rules")]
    return ran(*files, "--addresses", str(tmp_path / "addresses"), "--format", form, *more)


def ran(*words):
    """Run the verb, and say its failures as ``fwproof`` does."""
    done = CliRunner().invoke(explain, words)
    if isinstance(done.exception, FwproofError):
        error = done.exception
        return SimpleNamespace(exit_code=error.exit_code, stdout=done.stdout, stderr=str(error), output=str(error))
    return done


def test_one_answer_line_a_packet(tmp_path):
    least = {"src": "192.0.2.1", "dst": "10.0.0.10", "proto": 17}
    done = run(tmp_path, json.dumps(WHOLE) + "\n" + json.dumps(least) + "\n")
    assert done.exit_code == 0, done.output
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["id"], first["decision"], first["depends_on"]) == ("p1", "depends", ["recent OLLAMA hitcount 20/60s"])
    assert first["by"] == {
        "family": "ip",
        "table": "filter",
        "chain": "DROP_IN",
        "rule": 2,
        "text": "-A DROP_IN -j DROP",
    }
    assert (second["decision"], second["by"]["chain"]) == ("drop", "DROP_IN")
    assert {"family", "table", "chain", "rule", "text", "matched", "action", "note"} == set(first["trace"][0])


def test_text_for_people(tmp_path):
    done = run(tmp_path, json.dumps(WHOLE), form="text")
    assert done.stdout.startswith("p1: tcp 10.0.5.7:40000 -> 10.0.0.10:11434: depends by ip filter DROP_IN rule 2")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"colour": "red"}, "unknown key colour"),
        ({"src": "10.0.0.256"}, "src: expected an IPv4 or IPv6 address"),
        ({"src": None}, "src missing"),
        ({"dport": 70000}, "dport: expected a whole number from 0 to 65535"),
        ({"ctstate": "OLD"}, "ctstate: expected one of NEW"),
        ({"flags": "SYN,WIN"}, "flags: expected TCP flag names"),
        ({"src": "fd00::1"}, "expected two addresses of one family"),
        ({"hook": "ingress"}, "hook: expected one of prerouting"),
        ({"proto": "quic"}, "proto: expected a protocol name"),
    ],
)
def test_a_bad_packet_is_named_by_file_and_line(tmp_path, change, says):
    done = run(tmp_path, "\n" + json.dumps(WHOLE | change))
    assert done.exit_code == 4
    assert f"{tmp_path / 'packets'}:2:1: " in done.stderr
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"src": "10.0.0.1", "src": "10.0.0.2"}', "[" * 100_000])
def test_a_bad_file_is_one_message(tmp_path, text):
    done = run(tmp_path, text)
    assert done.exit_code == 4
    assert "expected" in done.stderr or "twice" in done.stderr
    assert "Traceback" not in done.output


def test_a_missing_file_is_one_message(tmp_path):
    done = run(tmp_path, json.dumps(WHOLE), "--routes", str(Path(tmp_path) / "none"))
    assert done.exit_code == 4
    assert "none: cannot be read: No such file or directory" in done.stderr


def test_no_tables_is_a_usage_error(tmp_path):
    (tmp_path / "packets").write_text(json.dumps(WHOLE))
    done = ran("--packets", str(tmp_path / "packets"))
    assert done.exit_code == 4
    assert "--iptables-save" in done.stderr


def test_packets_as_words(tmp_path):
    done = run(tmp_path, json.dumps(WHOLE), "--packet", "id=mine src=10.0.5.7 dst=10.0.0.10 proto=tcp dport=11434",
               "--packet", "src=192.0.2.1 dst=10.0.0.10 proto=17 mark=0x10 fragment=false hook=input")  # fmt: skip
    assert done.exit_code == 0, done.output
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["id"], each["decision"]) for each in answers] == [("p1", "depends"), ("mine", "depends"), (3, "drop")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("src=10.0.0.1", "dst, proto missing"),
        ("src=10.0.0.1 src=10.0.0.2", "a key is there twice"),
        ("src", "expected key=value, not 'src'"),
        ("src=10.0.0.1 dst=10.0.0.2 proto=tcp dport=ssh", "dport: expected a whole number from 0 to 65535"),
        ("src=10.0.0.1 dst=10.0.0.2 proto=tcp dport=99999", "dport: expected a whole number from 0 to 65535"),
        ("src=10.0.0.1 dst=10.0.0.2 proto=tcp fragment=yes", "fragment: expected true or false"),
        ("src=10.0.0.1 dst=10.0.0.2 proto=tcp colour=red", "unknown key colour"),
        ("", "src, dst, proto missing"),
    ],
)
def test_a_bad_word_is_one_message(tmp_path, words, says):
    done = run(tmp_path, json.dumps(WHOLE), "--packet", words)
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr.startswith("--packet ")
    assert says in done.stderr


def test_no_packets_is_a_usage_error(tmp_path):
    (tmp_path / "rules").write_text(REPAIRED)
    done = ran("--iptables-save", str(tmp_path / "rules"))
    assert (done.exit_code, "--packet 'src=" in done.stderr) == (4, True)


def test_a_connection_is_followed(tmp_path):
    state = "-m conntrack --ctstate ESTABLISHED -j ACCEPT"
    (tmp_path / "rules").write_text(
        f"*filter\n:INPUT DROP [0:0]\n:OUTPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n"
        f"-A INPUT {state}\n-A OUTPUT {state}\nCOMMIT\n"
    )
    (tmp_path / "addresses").write_text(ADDRESSES)
    words = ["--iptables-save", str(tmp_path / "rules"), "--addresses", str(tmp_path / "addresses"), "--connection"]
    packet = "id=ssh src=10.0.5.7 dst=10.0.0.10 proto=tcp sport=40000 dport=22"
    result = CliRunner().invoke(explain, [*words, "--packet", packet, "--format", "json"])
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["id"], each["decision"], each["by"]["chain"]) for each in answers] == [
        ("ssh", "accept", "INPUT"), ("ssh/later", "accept", "INPUT"), ("ssh/reply", "accept", "OUTPUT"),
        ("ssh/error", "drop", "OUTPUT"),
    ]  # fmt: skip
    late = CliRunner().invoke(explain, [*words, "--packet", f"{packet} ctstate=ESTABLISHED"])
    assert "--connection follows a packet of ctstate NEW" in str(late.exception)
