"""Front ends of captured hosts, and the places of their rules."""

import pytest

from fwproof.flow import Family
from fwproof.frontends.front_end import front_end_of


@pytest.fixture
def front(read, model_of):
    """Return a function that returns the front ends of a host, read as ``read`` reads it."""

    def front(host="", **changes):
        snapshot = read(host, **changes)
        return front_end_of(snapshot, model_of(snapshot).rulesets)

    return front


@pytest.fixture
def rule(read, model_of):
    """Return a function that returns the place of the rule of a host whose chain and text hold some words."""

    def rule(host, words, family=Family.IPV4, **changes):
        rules = model_of(read(host, **changes)).rules(family)
        return next(each.ref for each in rules if words in f"{each.ref.chain} {each.ref.text}")

    return rule
