"""What is installed elsewhere: the wheel's files, the demo's data in it, and the pins of this checkout."""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "requirements").glob("*.txt")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from this checkout without network and without a build environment, as an open archive."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(folder.glob("fwproof-*-py3-none-any.whl"))) as archive:
        yield archive


def tracked(*paths):
    """The files of this checkout below ``paths``, less what running it leaves."""
    found = (path for base in paths for path in (ROOT / base).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_package_and_the_demo_s_data_and_nothing_else(wheel):
    expected = {name.removeprefix("src/") for name in tracked("src/fwproof")}
    data = tracked("checks", "fixtures/lab") | {"fixtures/inventory.yaml", "fixtures/inventory.schema.json"}
    expected |= {f"fwproof/scaffold/{name}" for name in data}
    there = {name for name in wheel.namelist() if ".dist-info/" not in name}
    shared = {name for name in there if ".data/" in name}
    assert there - shared == expected
    assert {name.partition(".data/")[2] for name in shared} == {"data/share/man/man1/fwproof.1"}
    for name in ("probing/agent.py", "lab/guest/init.sh", "report/results.schema.json", "report/templates/report.html"):
        assert f"fwproof/{name}" in expected
    assert (
        wheel.read("fwproof/scaffold/fixtures/lab/topology.yaml") == (ROOT / "fixtures/lab/topology.yaml").read_bytes()
    )


def test_the_inventory_in_the_wheel_pins_the_agent_in_the_wheel(wheel):
    agent = hashlib.sha256(wheel.read("fwproof/probing/agent.py")).hexdigest()
    assert f"sha256: {agent}" in wheel.read("fwproof/scaffold/fixtures/inventory.yaml").decode()


def test_the_wheel_declares_the_command_the_plugin_and_the_licence(wheel):
    info = next(name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name)
    points = wheel.read(f"{info}/entry_points.txt").decode()
    assert "[console_scripts]\nfwproof = fwproof.cli.main:main" in points
    assert "[pytest11]\nfwproof = fwproof.plugin" in points
    assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


INSTALLED = """
import sys
from pathlib import Path

import fwproof
from fwproof.lab.topology import default_topology
from fwproof.lab.topology_file import load_topology
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy

package = Path(fwproof.__file__).parent
assert package.parent == Path(sys.argv[1]), package
scaffold = package / "scaffold"
assert default_topology() == scaffold / "fixtures/lab/topology.yaml", default_topology()
print(len(load_topology(default_topology()).hosts))
inventory = load_inventory(scaffold / "fixtures/inventory.yaml")
print(load_policy(scaffold / "checks/ai-server.policy.yaml", inventory).hosts)
"""


def test_the_installed_package_needs_no_checkout(wheel, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    wheel.extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def python(*words):
        done = subprocess.run(
            [sys.executable, *words], cwd=empty, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert python("-c", INSTALLED, str(site)).splitlines() == ["11", "('ai-server', 'ai-server-published')"]
    assert "json-schema.org" in python("-m", "fwproof", "schema")
    assert str(site / "fwproof/probing/agent.py") in python("-m", "fwproof", "agent", "install")
    assert python("-m", "fwproof", "--version").strip().endswith(PROJECT["project"]["version"])


def test_a_release_is_the_same_bytes_wherever_it_is_built(tmp_path, monkeypatch):
    """Folder, time zone, umask, hash seed and the times of files differ; commit and its time do not."""
    spec = importlib.util.spec_from_file_location("dist", ROOT / "tools/dist.py")
    spec.loader.exec_module(dist := importlib.util.module_from_spec(spec))
    sums = []
    for name, zone, umask, seed in (("one", "UTC", 0o022, "1"), ("another", "Asia/Tokyo", 0o077, "2")):
        monkeypatch.setenv("TZ", zone)
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        before = os.umask(umask)
        try:
            made = dist.build("HEAD", tmp_path / name)
        finally:
            os.umask(before)
        sums.append({file: hashlib.sha256(path.read_bytes()).hexdigest() for file, path in made.items()})
        time.sleep(1.1)  # the times of an archive are whole seconds
    version = PROJECT["project"]["version"]
    assert sorted(sums[0]) == [f"fwproof-{version}-py3-none-any.whl", f"fwproof-{version}.tar.gz"]
    assert sums[0] == sums[1]


def names(requirements):
    return {re.split(r"[\[<>=!~; ]", line)[0].lower().replace("_", "-") for line in requirements}


def pinned(name):
    return [line for line in PINS[name].splitlines() if not line.startswith("#")]


def test_pins_name_one_version_each_and_each_package_once():
    assert sorted(PINS) == ["bench", "build", "dev", "distributed", "docs", "run"]
    for environment in (["run", "build", "dev", "docs", "distributed"], ["bench"]):
        lines = [line for name in environment for line in pinned(name)]
        assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.+]*", line)] == []
        assert len(names(lines)) == len(lines)


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("run", PROJECT["project"]["dependencies"]),
        ("build", [*PROJECT["build-system"]["requires"], *PROJECT["dependency-groups"]["build"]]),
        ("dev", [*PROJECT["dependency-groups"]["tests"], *PROJECT["dependency-groups"]["lint"]]),
        ("docs", PROJECT["dependency-groups"]["docs"]),
        ("distributed", PROJECT["project"]["optional-dependencies"]["distributed"]),
        ("bench", PROJECT["dependency-groups"]["bench"]),
    ],
    ids=["run", "build", "dev", "docs", "distributed", "bench"],
)
def test_all_that_pyproject_asks_for_is_pinned(file, wanted):
    assert names(wanted) <= names(pinned(file))
