"""Literals of Python that a host printed: their value, nothing for what is none, and from many threads at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from fwproof.evidence.literal import literal


@pytest.mark.parametrize("text", ["", "open('x')", "[1", "[" * 5000, "\x00", "lambda: 1"])
def test_what_is_no_literal_has_no_value(text):
    assert literal(text) is None


def test_many_threads_read_literals_at_once():
    lines = [repr(["set", "jail", "addfailregex", "^ " + "x" * n, [[[n]]]]) for n in range(4000)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(literal, lines)) == [
            ["set", "jail", "addfailregex", "^ " + "x" * n, [[[n]]]] for n in range(4000)
        ]
