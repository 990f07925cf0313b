"""Fixtures of hosts that a front end manages."""

import pytest

from .captured import model_of as _model_of
from .captured import read as _read


@pytest.fixture(scope="session")
def read():
    """Return the function that reads a captured host (:func:`captured.read`)."""
    return _read


@pytest.fixture(scope="session")
def model_of():
    """Return the function that makes a model of what was read."""
    return _model_of
