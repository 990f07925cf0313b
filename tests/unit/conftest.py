"""Fixtures of hosts that a front end manages."""

import pytest

from . import sampled as _sampled
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


@pytest.fixture(scope="session")
def sample():
    """Return what reads the lab's two servers from the sample run (:mod:`sampled`)."""
    return _sampled
