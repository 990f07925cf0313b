"""A run that looks like the real one: two servers, all vantages and services, both families."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fwproof.results import Results


def _load(name: str):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def sample():
    """The module that makes sample runs."""
    return _load("sample_run")


@pytest.fixture(scope="session")
def run(sample) -> Results:
    """The sample run as a judge would hand it over."""
    return sample.results()


@pytest.fixture(scope="session")
def evidence(sample) -> dict[str, bytes]:
    """The raw evidence of the sample run, by path."""
    return sample.evidence()


@pytest.fixture(scope="session")
def schemas() -> Path:
    """The folder of the vendored XML schemas."""
    return Path(__file__).with_name("schemas")


@pytest.fixture(scope="session")
def page():
    """The strict reader of HTML."""
    return _load("page").Page
