"""The first hour on the command line: init, explain in words, lint of policies, help, completion, the manual page."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fwproof.cli import man
from fwproof.cli.completion import SHELLS, script
from fwproof.cli.main import cli

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "reports" / "sample"
ENTRIES = ["checks", "conftest.py", "fixtures", "pyproject.toml", "reports"]


def run(*words, status=0):
    done = CliRunner().invoke(cli, list(map(str, words)))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert done.exit_code == status, done.output
    return done.output


def refused(*words):
    done = CliRunner().invoke(cli, list(map(str, words)))
    return str(done.exception) if not isinstance(done.exception, SystemExit) else done.output


def process(*words, cwd):
    environment = {**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("options", [(), ("--example",)], ids=["skeleton", "example"])
def test_a_new_project_has_five_entries_and_is_ready(tmp_path, options):
    run("init", tmp_path / "new", *options)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ENTRIES
    collected = process("-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", cwd=tmp_path / "new")
    assert collected.returncode == 0, collected.stdout + collected.stderr
    planned = process("-m", "fwproof", "plan", cwd=tmp_path / "new")
    assert planned.returncode == 0, planned.stderr
    if options:
        assert planned.stdout.startswith("392 checks")
        assert (tmp_path / "new/fixtures/lab/topology.yaml").read_bytes() == (
            ROOT / "fixtures/lab/topology.yaml"
        ).read_bytes()
    else:
        assert "draft[server1]" in collected.stdout


def test_what_is_there_is_not_replaced(tmp_path):
    (tmp_path / "conftest.py").write_text("mine = 1\n")
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "policy.schema.json").symlink_to(tmp_path / "nowhere")
    out = run("init", tmp_path)
    assert "kept  conftest.py" in out
    assert "kept  checks/policy.schema.json" in out
    assert (tmp_path / "conftest.py").read_text() == "mine = 1\n"
    assert not (tmp_path / "nowhere").exists()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "wrote" not in run("init", tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "has an inventory or policies" in refused("init", tmp_path, "--example")


def test_the_project_says_that_fwproof_is_missing(tmp_path):
    run("init", tmp_path)
    done = process("-m", "pytest", "-p", "no:fwproof", "-p", "no:cacheprovider", cwd=tmp_path)
    assert done.returncode == 4
    assert "fwproof is not installed" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--example", "--snapshot", "x"), "give one of --example and --snapshot"),
        (("--inventory", "x"), "--inventory is where the host"),
        (("--identity", "x"), "--identity is for --from-host"),
        (("--snapshot", "nowhere"), "expected a folder that fwproof collect wrote"),
        (("--from-host", "a b"), "expected [USER@]ADDRESS[:PORT]"),
        (("--from-host", "10.0.0.1:99999"), "expected [USER@]ADDRESS[:PORT]"),
    ],
)
def test_what_init_cannot_do_is_said_and_nothing_is_written(tmp_path, words, message):
    assert message in refused("init", tmp_path / "new", *words)
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def stored(tmp_path_factory, sample):
    """Snapshots of both servers, as ``fwproof collect`` stores them."""
    from fwproof.hosts import replay

    folder = tmp_path_factory.mktemp("snapshots")
    for host in (sample.GOOD, sample.BAD):
        replay.save(sample.sampled(host), folder / host)
    return folder


def test_a_draft_from_a_snapshot_is_a_project_that_plans(tmp_path, stored):
    out = run("init", tmp_path, "--snapshot", stored / "ai-server-published")
    assert "open questions in the draft" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ENTRIES
    planned = process("-m", "fwproof", "plan", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    again = refused("init", tmp_path, "--snapshot", stored / "ai-server-published")
    assert "is there already, and is not replaced" in again
    other = refused("init", tmp_path, "--snapshot", stored / "ai-server")
    assert "there is no host 'ai-server'; did you mean 'ai-server-published'?" in other


def test_why_names_the_path_the_rule_and_the_change(stored):
    out = run(
        "explain", "--why", "203.0.113.66 -> ai-server-published:tcp/8080", "--snapshot", stored / "ai-server-published"
    )
    assert "203.0.113.66 can half reach tcp/8080 at 10.0.0.11" in out
    assert "because no rule decides, and that is the default for what comes in: ip filter INPUT policy: ACCEPT" in out
    assert "are dropped by ip filter OUTPUT rule 5" in out
    assert "    iptables -A INPUT -s 203.0.113.66 -p tcp -m tcp --dport 8080 -j DROP\n" in out
    assert "    Over all packets nothing else changes." in out
    assert "tcp/8080 on every address (python3)" in out


def test_why_of_a_check_asks_the_tables_of_its_run():
    out = run("explain", "webui-proxy[ai-server-outside-ipv4]", "--run", SAMPLE)
    assert out.startswith("webui-proxy[ai-server-outside-ipv4]: pass:")
    assert "203.0.113.66 cannot reach tcp/8080 at 10.0.0.10: the packet is dropped." in out
    assert "no path to follow" in run("explain", "rules[ai-server-ipv4]", "--run", SAMPLE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--why", "nonsense"), "expected 'SENDER -> TARGET:tcp/8080'"),
        (("--why", "10.0.0.1 -> 10.0.0.2:tcp/0"), "expected a protocol and port"),
        (("--why", "ai-servr -> 10.0.0.1:tcp/1"), "is no address and no host"),
        (("--why", "fd00::1 -> 10.0.0.1:tcp/1", "--iptables-save", "x"), "no address of the same family"),
        (
            ("webui-prox[ai-server-outside-ipv4]", "--run", SAMPLE),
            "did you mean 'webui-proxy[ai-server-outside-ipv4]'?",
        ),
        (("webui-proxy", "--run", SAMPLE), "several checks are called so"),
        (("x", "--why", "y"), "is a question of its own"),
        (("--run", "x"), "--run is where a CHECK-ID is looked up"),
        ((), "nothing to explain"),
    ],
)
def test_what_cannot_be_explained_is_said(words, message):
    assert message in refused("explain", *words)


INVENTORY = """\
zones: {inside: [10.0.0.0/24], other: [10.9.0.0/24], world: [10.8.0.0/24]}
hosts:
  web: {addresses: [10.0.0.10]}
  jump: {addresses: [10.0.0.1], vantage: true, access: root}
  idle: {addresses: [10.0.0.99]}
"""
POLICY = """\
policy: web
hosts: [web]
services: {ssh: tcp/22, never: tcp/1}
inbound:
  default: deny
  samples: [tcp/23, ssh]
  allow:
    - {id: ssh, service: ssh, from: inside, owner: Ada}
    - {id: page, service: tcp/80, from: any}
    - {id: far, service: tcp/81, from: other}
"""
SECOND = """\
policy: second
hosts: [web]
inbound:
  default: {decision: deny, id: second-default}
  allow: [{id: more, service: tcp/90, from: inside}]
"""


def test_lint_of_policies_says_where_and_what(tmp_path):
    for name, text in (("i.yaml", INVENTORY), ("a.policy.yaml", POLICY), ("b.policy.yaml", SECOND)):
        (tmp_path / name).write_text(text)
    out = run("lint", tmp_path, "--inventory", tmp_path / "i.yaml", status=1)
    found = {tuple(line.removeprefix(f"{tmp_path}/").split(": ")[:2]) for line in out.splitlines() if ".yaml:" in line}
    assert found >= {
        ("a.policy.yaml:3:25", "unused-service"), ("a.policy.yaml:6:21", "sample-not-asked"),
        ("a.policy.yaml:8:7", "one-sided"), ("a.policy.yaml:9:7", "open-to-any"), ("a.policy.yaml:10:7", "one-sided"),
        ("a.policy.yaml:9:7", "no-owner"), ("a.policy.yaml:1:1", "no-controls"), ("b.policy.yaml:4:3", "two-defaults"),
        ("b.policy.yaml:4:3", "no-samples"), ("i.yaml:1:54", "unused-zone"), ("i.yaml:5:3", "unused-host"),
        ("a.policy.yaml:1:1", "unchecked"),
    }, out  # fmt: skip
    assert ("a.policy.yaml:8:7", "no-owner") not in found
    run("lint", tmp_path, "--inventory", tmp_path / "i.yaml", "--only", "no-owner")
    assert "no-vantage" in run("lint", tmp_path / "a.policy.yaml", "--inventory", _without_vantage(tmp_path), status=1)


@pytest.mark.parametrize(("ipv6", "unused"), [("deny", True), ("same", False)])
def test_a_zone_that_parity_asks_about_is_used(tmp_path, ipv6, unused):
    (tmp_path / "i.yaml").write_text(INVENTORY.replace("10.0.0.10]", '10.0.0.10, "fd00::10"]'))
    (tmp_path / "a.policy.yaml").write_text(f"policy: web\nhosts: [web]\nipv6: {ipv6}\ninbound: {{default: deny}}\n")
    words = ("lint", tmp_path / "a.policy.yaml", "--inventory", tmp_path / "i.yaml", "--only", "unused-zone")
    assert ("'other'" in run(*words, status=int(unused))) is unused


def test_lint_has_no_warning_about_the_example(tmp_path):
    run("init", "--example", tmp_path / "new")
    out = run("lint", tmp_path / "new" / "checks", "--inventory", tmp_path / "new" / "fixtures" / "inventory.yaml")
    assert out.endswith("\n2 notes: 1 no-samples, 1 no-owner\n"), out


def _without_vantage(folder):
    (folder / "j.yaml").write_text(INVENTORY.replace(", vantage: true, access: root", ""))
    return folder / "j.yaml"


def test_lint_takes_policies_or_tables():
    assert "PATHS are policies" in refused("lint", "checks", "--iptables-save", "x")
    assert "of policies there are unused-service" in refused("lint", "checks", "--only", "shadowed")
    assert "of rule tables there are" in refused("lint", "--iptables-save", "x", "--only", "no-owner")


VERBS = [(path, command) for path, command in man.commands(cli) if not isinstance(command, click.Group)]


@pytest.mark.parametrize(("path", "command"), VERBS, ids=[" ".join(path) for path, _ in VERBS])
def test_each_verb_s_help_has_examples_that_parse_and_its_exit_status(path, command):
    text = command.help or ""
    assert re.search("[Ee]xit status", text), text
    lines = re.split(r"\n\s*\n", text.partition("Examples:")[2])[0].replace("\\\n", " ").splitlines()
    calls = [part.strip() for line in lines for part in re.split(r"[;|](?![^']*'(?:[^']*'[^']*')*[^']*$)", line)]
    mine = [words for words in map(_words, calls) if words[: len(path)] == list(path)]
    assert mine, f"no example of fwproof {' '.join(path)}: {lines}"
    for words in mine:
        command.make_context(path[-1], words[len(path) :])


def _words(call):
    """Return the words of an example after ``fwproof``, without what follows: output files, remarks."""
    plain = re.split(r" {2,}(?![^']*'(?:[^']*'[^']*')*[^']*$)| 2?>>? ?[\w/.~]", call.strip())[0]
    found = shlex.split(plain)
    return found[1:] if found[:1] == ["fwproof"] else []


def test_the_manual_page_is_that_of_the_command_line():
    page, kept = man.page(), ROOT / "docs" / "fwproof.1"
    if os.environ.get("FWPROOF_GOLDEN") == "write":
        kept.write_text(page, encoding="utf-8")
    assert kept.read_text(encoding="utf-8") == page, "FWPROOF_GOLDEN=write, then look"
    for path, _ in VERBS:
        assert f".SS {' '.join(path)}".replace("-", "\\-") in page
    assert not [line for line in page.splitlines() if line.startswith("'")]


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script(shell):
    assert "_FWPROOF_COMPLETE" in script(shell)
    assert "fwproof" in run("completion", shell)


@pytest.mark.parametrize(
    ("words", "number", "expected"),
    [("fwproof exp", 1, "explain"), ("fwproof query --host ai-server-p", 3, "ai-server-published"),
     ("fwproof collect ai-servers", 2, "ai-servers"), ("fwproof lab reb", 2, "reboot")],
)  # fmt: skip
def test_a_shell_is_told_what_fits(words, number, expected):
    environment = {"COMP_WORDS": words, "COMP_CWORD": str(number), "_FWPROOF_COMPLETE": "bash_complete"}
    done = CliRunner().invoke(cli, [], env=environment, prog_name="fwproof")
    assert f"plain,{expected}" in done.output.splitlines()


@pytest.mark.parametrize(
    ("words", "near"),
    [(("plann",), "plan"), (("lab", "stauts"), "status"), (("query", "--hots", "x"), "--host"),
     (("schema", "polcy"), "policy"), (("collect", "ai-servr", "-o", "x"), "ai-server"),
     (("query", "--host", "ai-servr"), "ai-server"), (("lint", "--only", "shadowd"), "shadowed")],
)  # fmt: skip
def test_a_wrong_word_gets_the_nearest_right_one(words, near):
    assert re.search(rf"[Dd]id you mean.*{re.escape(near)}", refused(*words))


def test_a_wrong_check_gets_the_nearest_right_one():
    name = "checks/ai-server.policy.yaml::ssh-admn[ai-server-ipv4]"
    done = process("-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", name, cwd=ROOT)
    assert done.returncode == 4
    assert "did you mean 'ssh-admin[ai-server-ipv4]'?" in done.stderr + done.stdout
