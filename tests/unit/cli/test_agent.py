import hashlib
import json
import subprocess
from importlib.resources import files

import pytest
from click.testing import CliRunner

from fwproof.cli.agent import agent
from fwproof.errors import UsageError
from fwproof.hosts.access import sudoers
from fwproof.inventory import Access

SHA256 = hashlib.sha256(files("fwproof.probing").joinpath("agent.py").read_bytes()).hexdigest()


def printed(*words):
    result = CliRunner().invoke(agent, words, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_hash_is_that_of_the_file():
    assert printed("hash") == f"{SHA256}  /usr/local/sbin/fwproof-agent\n"
    assert json.loads(printed("hash", "--format", "json")) == {
        "path": "/usr/local/sbin/fwproof-agent",
        "sha256": SHA256,
    }


@pytest.mark.parametrize("tier", list(Access))
def test_the_sudoers_of_a_tier(tier):
    assert printed("sudoers", "--access", tier.value, "--user", "audit", "--jail", "a") == sudoers("audit", tier, ["a"])


def test_install_prints_commands_rules_and_pin_that_a_shell_can_read():
    text = printed("install", "--jail", "ollama-api")
    assert sudoers("auditor", Access.OBSERVE, ["ollama-api"]) in text
    assert f"agent: {{path: /usr/local/sbin/fwproof-agent, sha256: {SHA256}}}" in text
    shell = text.split("# 4.")[0]
    subprocess.run(["/bin/sh", "-n"], input=shell, text=True, check=True)


def test_tracing_is_allowed_by_a_line_of_its_own():
    plain, tracing = printed("install"), printed("install", "--trace")
    assert "--trace" not in plain
    assert sudoers("auditor", Access.OBSERVE, trace=True) in tracing
    assert "fwproof-agent --trace\n" in printed("sudoers", "--trace")
    assert printed("sudoers", "--access", "root", "--trace") == printed("sudoers", "--access", "root")
    refused = CliRunner().invoke(agent, ["sudoers", "--access", "read", "--trace"])
    assert (refused.exit_code, "no agent runs" in refused.output) == (2, True)


def test_a_bad_jail_is_one_message():
    with pytest.raises(UsageError, match="'--all' is no jail name"):
        CliRunner().invoke(agent, ["sudoers", "--jail=--all"], catch_exceptions=False)
