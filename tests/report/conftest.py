"""Runs to render: the recorded audit of reports/sample, an invented one to vary, and hostile ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from fwproof.report.document import read_results
from fwproof.results import Results


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fwproof_tests_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_SAMPLE, _HOSTILE = _load("sample_run"), _load("hostile_run")


@pytest.fixture(scope="session")
def run() -> Results:
    """An invented run: two servers, all vantages and services, both families."""
    return _SAMPLE.results()


@pytest.fixture(scope="session")
def whole() -> Results:
    """The invented run with something for every section."""
    return _SAMPLE.everything()


@pytest.fixture(scope="session")
def recorded() -> Results:
    """The real audit of the lab's two servers that reports/sample keeps."""
    return read_results(Path(__file__).parents[2] / "reports/sample")


@pytest.fixture(scope="session")
def evidence() -> dict[str, bytes]:
    """The raw evidence of the invented run, by path."""
    return _SAMPLE.evidence()


@pytest.fixture(params=sorted(_HOSTILE.TEXTS))
def hostile(request, run) -> Results:
    """A run with one hostile text in every place, for each kind of text."""
    return _HOSTILE.hostile(request.param, run)


@pytest.fixture
def hostile_of(run) -> Callable[[str], Results]:
    """Make the hostile run of one kind."""
    return lambda kind: _HOSTILE.hostile(kind, run)


@pytest.fixture(scope="session")
def page() -> type:
    """The strict reader of HTML."""
    return _load("page").Page


@pytest.fixture(scope="session")
def schemas() -> Path:
    """The folder of the XML schemas."""
    return Path(__file__).with_name("schemas")
