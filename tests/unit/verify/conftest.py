"""A stored run that verifies, to be changed by tests."""

import shutil

import pytest

from .stored_run import Offline


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """A run as it was written; not to be changed."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return Offline(root).write()


@pytest.fixture
def stored(pristine, tmp_path):
    """A copy of the run, to be changed."""
    return shutil.copytree(pristine, tmp_path / pristine.name)
