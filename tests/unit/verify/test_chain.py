"""The chain of runs: one that was removed, altered or put elsewhere is found by those after it."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli
from fwproof.errors import UsageError
from fwproof.report.document import read_results
from fwproof.report.manifest import digest
from fwproof.report.write import write_run
from fwproof.verify.chain import chain
from fwproof.verify.verify import verify

from .stored_run import Offline, edit


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    root = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return [Offline(root).write() for _ in range(3)]


@pytest.fixture
def runs(three, tmp_path):
    """Copies of three runs, in the order in which they were written."""
    shutil.copytree(three[0].parent, tmp_path / "reports", symlinks=True)
    return [tmp_path / "reports" / folder.name for folder in three]


def told(folder):
    return [str(problem) for problem in chain(folder)[1]]


def test_each_run_names_the_one_before(runs):
    before = [json.loads((run / "results.json").read_bytes())["run"]["previous"] for run in runs]
    assert before[0] is None
    assert before[1] == {"run": runs[0].name, "sha256sums": digest((runs[0] / "SHA256SUMS").read_bytes())}
    assert before[2]["run"] == runs[1].name
    assert told(runs[0].parent) == []
    assert verify(runs[2]).previous == f"after {runs[1].name}, which is as it was"


def test_the_command_follows_the_chain(runs):
    done = CliRunner().invoke(cli, ["verify", "--chain", str(runs[0].parent)])
    assert done.exit_code == 0, done.output
    assert "chain of 3 runs: unbroken" in done.output
    assert done.output.count(": verified") == 3


def test_a_removed_run_is_found(runs):
    shutil.rmtree(runs[1])
    assert told(runs[0].parent) == [f"chain: {runs[1].name}: was removed: {runs[2].name} was written after it"]
    done = CliRunner().invoke(cli, ["verify", "--chain", "--format", "json", str(runs[0].parent)])
    assert (done.exit_code, json.loads(done.stdout)["status"]) == (1, 1)


def test_a_run_that_was_altered_and_summed_again_is_found(runs):
    edit(runs[1], lambda document: document["run"].update(operator="somebody else"))
    assert told(runs[0].parent) == [f"chain: {runs[1].name}: was altered after {runs[2].name} was written"]
    assert [str(p) for p in verify(runs[2]).problems] == [
        f"chain: {runs[1].name}: is not the run that was written before this one: it was altered"
    ]


def test_a_run_under_another_name_is_found(runs):
    runs[1].rename(runs[1].with_name("20200101T000000Z-00000000"))
    assert any("is the folder of run" in each for each in told(runs[0].parent))


def test_two_runs_after_one_are_found(runs):
    first = json.loads((runs[1] / "results.json").read_bytes())["run"]["previous"]
    edit(runs[2], lambda document: document["run"].update(previous=first))
    assert told(runs[0].parent) == [f"chain: {runs[0].name}: 2 runs name it as the one before"]


def test_a_second_beginning_is_found(runs):
    edit(runs[2], lambda document: document["run"].update(previous=None))
    later = max(runs[0].name, runs[2].name)
    assert told(runs[0].parent) == [f"chain: {later}: names no run before it, and is not the first"]


def test_a_run_that_is_dated_back_is_found(runs):
    edit(runs[2], lambda document: document["run"].update(started="2020-01-01T00:00:00Z"))
    assert told(runs[0].parent) == [f"chain: {runs[2].name}: began before {runs[1].name}, which it names as earlier"]


def test_a_name_that_leads_elsewhere_is_not_followed(runs):
    edit(runs[2], lambda document: document["run"]["previous"].update(run="../../etc"))
    assert "which is not here" in verify(runs[2]).previous


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(UsageError, match="has no runs"):
        chain(tmp_path)


def test_runs_that_are_written_at_the_same_time_make_one_chain(runs, tmp_path):
    results = read_results(runs[0])

    def write(number):
        return write_run(replace(results, run=replace(results.run, id=f"run-{number}")), {}, tmp_path / "many")

    with ThreadPoolExecutor(6) as pool:
        folders = list(pool.map(write, range(12)))
    before = [read_results(folder).run.previous for folder in folders]
    assert len({each.run for each in before if each}) == len(folders) - 1
    assert told(tmp_path / "many") == []
