"""A small audit in a folder of its own: two hosts on which nobody listens, one policy, and gathering by hand."""

import json
from types import SimpleNamespace

import pytest

from fwproof.audit.field import Field
from fwproof.audit.gather import Gathered
from fwproof.audit.run import AuditRun
from fwproof.errors import HostError
from fwproof.facts import Facts
from fwproof.results import Outcome, Verdict

from .small import INVENTORY, POLICY


class Audit:
    """Runs pytest on the folder; ``verdicts`` says by id what each check comes to, ``pass`` where it says nothing."""

    def __init__(self, pytester, monkeypatch):
        self.pytester, self.gathered, self.closed = pytester, [], []
        self.verdicts = {}
        self.fault = None
        monkeypatch.setattr(AuditRun, "gather", lambda run, progress: self.gather(run, progress))  # noqa: PLW0108
        monkeypatch.setattr("fwproof.audit.outcomes.judge", self.judge)
        monkeypatch.setenv("NO_COLOR", "1")
        for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITLAB_CI", "TF_BUILD", "JENKINS_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("COLUMNS", "100")
        self.file("fixtures/inventory.yaml", INVENTORY)
        self.file("checks/small.policy.yaml", POLICY)

    def file(self, name, text):
        path = self.pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def gather(self, run, progress):
        progress("connecting to nobody")
        self.gathered.append([check.id for check in run.selected])
        audited = tuple(dict.fromkeys(check.host for check in run.selected))
        none = {name: HostError(name, "not looked at") for name in audited}
        facts = Facts(inventory=run.inventory, snapshots=none, models=none, agents={})
        run.gathered = Gathered(facts=facts, field=Field(run.inventory), audited=audited)
        run.gathered.field.close = lambda: self.closed.append(True)
        if self.fault is not None:
            run.gathered = None
            raise self.fault

    def judge(self, check, facts):
        verdict = self.verdicts.get(check.id, self.verdicts.get("*", "pass"))
        if isinstance(verdict, Exception):
            raise verdict
        return Outcome(
            verdict=Verdict(verdict), reason=f"the reason of {check.id}", proved="dropped by rule 3",
            observed="arrived", attributed="counted", rule="ip filter INPUT rule 3: -j DROP",
            cause="" if verdict == "pass" else f"the cause of {verdict}", fix="mend it",
        )  # fmt: skip

    def run(self, *words):
        found = self.pytester.runpytest_inprocess(
            "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *(words or ("checks",))
        )
        return SimpleNamespace(
            ret=int(found.ret), out=found.stdout.str(), err=found.stderr.str(), lines=found.outlines,
            outcomes=found.parseoutcomes,
        )  # fmt: skip

    @property
    def results(self):
        return json.loads((self.pytester.path / "reports" / "latest" / "results.json").read_text(encoding="utf-8"))

    @property
    def runs(self):
        folder = self.pytester.path / "reports"
        return [path for path in folder.iterdir() if path.name != "latest"] if folder.is_dir() else []


@pytest.fixture
def audit(pytester, monkeypatch):
    return Audit(pytester, monkeypatch)
