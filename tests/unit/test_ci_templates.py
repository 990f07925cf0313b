"""The templates of docs/ci: each is read, and its commands are run on a project whose host cannot be reached.

What they install is put there by a stand-in for ``python3 -m venv``; everything else is the real thing.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CI = ROOT / "docs/ci"
INVENTORY = f"""\
zones: {{near: [192.0.2.0/24]}}
hosts:
  web:
    addresses: [198.51.100.{os.getpid() % 250 + 1}]  # the lock of an audit is of its addresses
    ssh: {{address: 127.0.0.1, port: 1, identity_file: key, known_hosts: known}}
    access: root
"""
POLICY = "policy: small\nhosts: [web]\nservices: {http: tcp/80}\ninbound: {default: deny}\n"
RULES = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\n-A INPUT -j ACCEPT\nCOMMIT\n"
PROGRAM = f'exec {shlex.quote(sys.executable)} -c "from fwproof.cli.main import main; main()" "$@"'
VENV = """\
if [ "$1" = -m ] && [ "$2" = venv ]; then
  mkdir -p "$3/bin"
  printf '#!/bin/sh\\n[ "$2" = pip ] && echo "$@" >> "$HOME/installed"\\n' > "$3/bin/python"
  cp "$HOME/bin/fwproof" "$3/bin/fwproof"
  chmod +x "$3/bin/python"
else
  exit 97
fi
"""
NOTHING = "Not established"


class Sandbox:
    """A project, a home, and a search path on which python3 makes environments that hold this checkout."""

    def __init__(self, folder: Path) -> None:
        self.home, self.project = folder / "home", folder / "project"
        files = {
            "fixtures/inventory.yaml": INVENTORY,
            "checks/small.policy.yaml": POLICY,
            "rules/rules.v4": RULES,
            "rules/rules.v6": RULES,
        }
        for name, text in files.items():
            path = self.project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (self.home / "bin").mkdir(parents=True)
        for name, script in (("python3", VENV), ("fwproof", PROGRAM)):
            (self.home / "bin" / name).write_text(f"#!/bin/sh\n{script}")
            (self.home / "bin" / name).chmod(0o755)

    def run(self, script: str, shell: tuple[str, ...] = ("bash", "-eo", "pipefail"), **variables: str):
        """Run a script as a service does: in the project, with its variables and no others of ours."""
        environment = {
            "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}", "HOME": str(self.home), "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT / "src"), "RUNNER_TEMP": str(self.home),
            "GITHUB_PATH": str(self.home / "path"), "GITHUB_OUTPUT": str(self.home / "output"),
        } | variables  # fmt: skip
        words = [*shell, "-c", script]
        return subprocess.run(words, cwd=self.project, env=environment, capture_output=True, text=True, check=False)

    def written(self, name: str) -> str:
        return (self.project / name).read_text(encoding="utf-8")


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path)


def documents(name: str) -> list:
    return list(yaml.safe_load_all((CI / name).read_text(encoding="utf-8")))


def filled(text: str, inputs: dict, mark: str) -> str:
    """Put an action's or a component's defaults in the place of its inputs."""
    return re.sub(mark, lambda found: str(inputs[found[1]].get("default", "")), text)


def test_every_template_is_told_of_and_names_no_host():
    told = (CI / "README.md").read_text(encoding="utf-8")
    for path in CI.rglob("*"):
        if path.is_file() and path.name != "README.md":
            assert f"{path.parent.name}/{path.name}" in told or path.suffix == ".timer", path
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"https?://|index-url|\b[a-z0-9-]+\.(?:org|com|io|net)\b", text), path


def test_actions_are_pinned_to_commits_but_the_one_that_says_so():
    for name in ("github/action.yml", "github/workflow.yml"):
        for use in re.findall(r"uses: (\S+)", (CI / name).read_text(encoding="utf-8")):
            assert use.startswith("./") or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", use) or "upload-sarif" in use


def test_github_action(sandbox):
    (action,) = documents("github/action.yml")
    install, audit, keep = action["runs"]["steps"]
    mark = r"\$\{\{ inputs\.([a-z-]+) \}\}"

    def variables(step: dict) -> dict:
        return {name: filled(text, action["inputs"], mark) for name, text in step["env"].items()}

    assert "${{" not in install["run"] + audit["run"], "inputs are variables, never pieces of a script"
    assert sandbox.run(install["run"], **variables(install)).returncode == 0
    assert (sandbox.home / "installed").read_text() == "-m pip install --quiet fwproof\n"
    assert (sandbox.home / "path").read_text() == f"{sandbox.home}/fwproof/bin\n"
    summary = sandbox.home / "summary.md"
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    done = sandbox.run(audit["run"], **variables(audit), **github)
    assert done.returncode == 6, done.stdout + done.stderr
    assert (sandbox.home / "output").read_text() == "status=6\n"
    assert "\n::warning file=checks/small.policy.yaml,line=4," in done.stdout
    assert NOTHING in summary.read_text()
    for name in ("fwproof.sarif", "hdf.json"):
        json.loads(sandbox.written(f"reports/latest/{name}"))
    assert keep["with"]["path"] == "reports/"


def test_github_action_passes_its_inputs_on(sandbox):
    (action,) = documents("github/action.yml")
    (sandbox.home / "bin/fwproof").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    audit = action["runs"]["steps"][1]
    evil = "$(touch pwned); `touch pwned`"
    done = sandbox.run(
        audit["run"], POLICIES="checks more", INVENTORY=evil, FAIL_ON="high", EXIT_ZERO="true", FORMATS="hdf"
    )
    assert done.stdout.splitlines() == [
        "audit", "--inventory", evil, "--reports", "reports", "--fw-formats", "hdf", "--junit-dialect", "rich",
        "--fail-on", "high", "--exit-zero", "checks", "more",
    ]  # fmt: skip
    assert not (sandbox.project / "pwned").exists()


def test_github_workflow(sandbox):
    (workflow,) = documents("github/workflow.yml")
    (action,) = documents("github/action.yml")
    assert workflow["permissions"] == {}
    key, use = workflow["jobs"]["audit"]["steps"][1:]
    assert set(use["with"]) <= set(action["inputs"])
    assert sandbox.run(key["run"], SSH_KEY="secret\nkey").returncode == 0
    stored = sandbox.home / "ssh/auditor"
    assert (stored.read_text(), stored.stat().st_mode & 0o777) == ("secret\nkey\n", 0o600)
    lint, policies = workflow["jobs"]["rules"]["steps"][1:3]
    done = sandbox.run(lint["run"])
    assert done.returncode == 0, done.stderr
    found = json.loads(sandbox.written("lint.sarif"))["runs"][0]["results"]
    place = found[0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] in {"rules/rules.v4", "rules/rules.v6"}
    (sandbox.project / "rules/rules.v6").unlink()
    assert sandbox.run(lint["run"]).returncode == 4, "a lint that did not take place is no success"
    assert sandbox.run(policies["run"]).returncode == 0
    assert json.loads(sandbox.written("policies.sarif"))["runs"][0]["results"]


def test_gitlab_component(sandbox):
    spec, job = documents("gitlab/fwproof.yml")
    job, inputs = job["fwproof"], spec["spec"]["inputs"]
    mark = r"\$\[\[ inputs\.([a-z-]+) \]\]"
    commands = {part: "\n".join(job[part]) for part in ("before_script", "script", "after_script")}
    assert "[[" not in "".join(commands.values()), "inputs are variables, never pieces of a script"
    variables = {name: filled(text, inputs, mark) for name, text in job["variables"].items()}
    done = sandbox.run(f"{commands['before_script']}\n{commands['script']}", GITLAB_CI="true", **variables)
    assert done.returncode == 6, done.stdout + done.stderr
    assert job["allow_failure"] == {"exit_codes": [6]}
    assert sandbox.run(commands["after_script"], **variables).returncode == 0
    kept = job["artifacts"]
    assert (kept["when"], kept["paths"]) == ("always", ["reports/"])
    assert "<testsuite " in sandbox.written(kept["reports"]["junit"])
    assert len(json.loads(sandbox.written(kept["reports"]["codequality"]))) == 2


def test_azure_pipeline(sandbox):
    (pipeline,) = documents("azure/azure-pipelines.yml")
    # variables come to scripts in capitals
    variables = {name.upper(): value for name, value in pipeline["variables"].items()}
    install, audit, junit = (step["bash"] for step in pipeline["steps"] if "bash" in step)
    assert sandbox.run(install).returncode == 0
    done = sandbox.run(audit, TF_BUILD="True", **variables)
    assert done.returncode == 6, done.stdout + done.stderr
    assert "##vso[task.logissue type=warning;sourcepath=checks/small.policy.yaml;linenumber=4;" in done.stdout
    assert sandbox.run(junit).returncode == 0
    publish = next(step for step in pipeline["steps"] if step.get("task", "").startswith("PublishTestResults"))
    assert "<testsuite " in sandbox.written(publish["inputs"]["testResultsFiles"])
    for step in pipeline["steps"][3:]:
        assert step["condition"] == "succeededOrFailed()"


def test_jenkinsfile(sandbox):
    text = (CI / "jenkins/Jenkinsfile").read_text(encoding="utf-8")
    bare = re.sub(r"'''.*?'''|'[^'\n]*'|\"[^\"\n]*\"|//[^\n]*", "", text, flags=re.DOTALL)
    for opening, closing in ("{}", "()", "[]"):
        assert bare.count(opening) == bare.count(closing)
    install, audit = re.findall(r"'''(.*?)'''", text, re.DOTALL)
    (copy,) = re.findall(r"sh '([^']+)'", text)
    shell = ("sh", "-xe")  # what Jenkins runs scripts with
    assert sandbox.run(install, shell).returncode == 0
    done = sandbox.run(audit, shell, JENKINS_URL="x")
    assert done.returncode == 6, done.stdout + done.stderr
    assert "##vso[" not in done.stdout
    assert sandbox.run(copy, shell).returncode == 0
    (results,) = re.findall(r"testResults: '([^']*)'", text)
    assert 'file="checks/small.policy.yaml"' in sandbox.written(results)
    assert "keepProperties: true" in text
    assert "stdioRetention: 'ALL'" in text


def moved(text: str, sandbox: Sandbox) -> str:
    """Put the sandbox in the place of the folders that a template names."""
    text = text.replace("/opt/fwproof/bin", str(sandbox.home / "bin"))
    text = text.replace("/etc/fwproof/inventory.yaml", str(sandbox.project / "fixtures/inventory.yaml"))
    return text.replace("/etc/fwproof", str(sandbox.project)).replace("/var/lib/fwproof", str(sandbox.home))


def test_systemd_unit_runs_and_keeps_its_reports(sandbox):
    text = moved((CI / "systemd/fwproof.service").read_text(encoding="utf-8"), sandbox)
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    done = sandbox.run(command, ("sh",))
    assert done.returncode == 6, done.stdout + done.stderr
    (allowed,) = re.findall(r"^SuccessExitStatus=(.*)$", text, re.MULTILINE)
    assert allowed.split() == ["1", "6"]
    assert (sandbox.home / "reports/latest/report.html").is_file()
    assert not list(sandbox.project.rglob("__pycache__")) + list(sandbox.project.glob(".pytest_cache"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_units_are_as_systemd_wants_them(sandbox, tmp_path):
    for name in ("fwproof.service", "fwproof.timer"):
        text = moved((CI / "systemd" / name).read_text(encoding="utf-8"), sandbox)
        (tmp_path / name).write_text(text)
    units = [str(tmp_path / name) for name in ("fwproof.service", "fwproof.timer")]
    command = ["systemd-analyze", "verify", "--man=no", *units]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "fwproof.service").write_text("[Service]\nType=oneshot\nProtectSistem=strict\nExecStart=/bin/true\n")
    assert "ProtectSistem" in subprocess.run(command, capture_output=True, text=True, check=False).stderr


def test_cron_line(sandbox):
    lines = (CI / "cron/fwproof").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line[:1].isdigit()]
    assert "%" not in line, "cron would end the line there (crontab(5))"
    *when, user, command = line.split(maxsplit=6)
    assert (len(when), user) == (5, "fwproof")
    (sandbox.project / "inventory.yaml").write_text(INVENTORY)
    command = moved(command, sandbox)
    done = sandbox.run(command, ("/bin/sh",))
    assert NOTHING in done.stdout
    assert done.stdout.endswith("fwproof ended with status 6\n")
    assert (sandbox.home / "reports/latest/results.json").is_file()
    (sandbox.home / "bin/fwproof").write_text("#!/bin/sh\necho all is well\n")
    assert sandbox.run(command, ("/bin/sh",)).stdout == "", "nothing to mail where all is as expected"
