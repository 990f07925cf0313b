"""Sets of ports as numbers."""

import base64
import random
import zlib
from itertools import pairwise

import pytest

from fwproof.probing import portset


def test_ranges_there_and_back():
    rng = random.Random(3)
    for _ in range(50):
        ports = {rng.randrange(65536) for _ in range(rng.randrange(200))} | set(range(500, 500 + rng.randrange(90)))
        number = portset.of_ports(ports)
        assert set(portset.members(number)) == ports
        assert portset.of_ranges(portset.ranges_of(number)) == number
        ranges = portset.ranges_of(number)
        assert all(high + 1 < low for (_, high), (low, _) in pairwise(ranges))
        assert portset.unpacked(portset.packed(number)) == number
    assert portset.ranges_of(portset.ALL) == ((1, 65535),)
    assert portset.ranges_of(0) == ()


def test_words():
    assert portset.words(portset.of_ports([22, 80, 81, 82, 65535])) == "22, 80-82, 65535"


@pytest.mark.parametrize("text", [
    "", "!!!", base64.b64encode(b"rubbish").decode(), base64.b64encode(zlib.compress(bytes(8191))).decode(),
])  # fmt: skip
def test_what_is_no_bit_map_is_refused(text):
    with pytest.raises(ValueError):
        portset.unpacked(text)
