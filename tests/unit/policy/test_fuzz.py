"""Whatever the bytes are, the answer is a value or an InputError with faults that have a place."""

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fwproof.errors import InputError
from fwproof.policy.document import parse_document
from fwproof.policy.inventory_file import inventory_of
from fwproof.policy.load import policy_of

ROOT = Path(__file__).parents[3]
SHIPPED = {name: (ROOT / name).read_bytes() for name in ("checks/ai-server.policy.yaml", "fixtures/inventory.yaml")}
VOCABULARY = (
    "policy hosts services inbound outbound forward ipv6 essential bans drop_log persistence default allow samples id "
    "title controls severity service from to rate limit per by decision what jail provoke web internal tcp/22 deny any "
    "addresses ssh access agent groups vantage zones lab auditor defaults port 10.0.0.0/8 fd00::/48 60s same"
)
WORDS = st.sampled_from(VOCABULARY.split())
SCALARS = st.one_of(WORDS, st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.none())
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=6)
)
RELAXED = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def answers(data, inventory):
    for read in (lambda document: policy_of(document, inventory), inventory_of):
        faults = faults_of(read, data)
        assert faults is None or faults
        for fault in faults or ():
            assert fault.file == "f"
            assert "pydantic" not in fault.message
            assert str(fault).isprintable()


def faults_of(read, data):
    try:
        read(parse_document(data, file="f", path=Path("f")))
    except InputError as error:
        return error.faults
    return None


@given(st.binary(max_size=200))
@RELAXED
def test_any_bytes(inventory, data):
    answers(data, inventory)


@given(st.text(alphabet=st.sampled_from("ab:-?[]{},&*!|>'\"%@`#\n\t \\x0.~<=/"), max_size=60))
@RELAXED
def test_any_punctuation(inventory, text):
    answers(text.encode(), inventory)


@given(VALUES)
@RELAXED
def test_any_structure(inventory, value):
    answers(yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"), inventory)


@given(st.data(), st.sampled_from(sorted(SHIPPED)))
@RELAXED
def test_any_damage_to_a_shipped_file(inventory, data, name):
    text = bytearray(SHIPPED[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=6) | WORDS.map(str.encode))
    answers(bytes(text), inventory)


def strings(value):
    if isinstance(value, dict):
        return [path for key, child in value.items() for path in [(key,), *((key, *p) for p in strings(child))]]
    if isinstance(value, list):
        return [path for i, child in enumerate(value) for path in [(i,), *((i, *p) for p in strings(child))]]
    return []


@pytest.mark.parametrize("name", sorted(SHIPPED))
@given(st.data(), VALUES)
@RELAXED
def test_any_value_in_any_place(inventory, name, data, value):
    whole = yaml.safe_load(SHIPPED[name])
    *way, last = data.draw(st.sampled_from(strings(whole)))
    node = whole
    for key in way:
        node = node[key]
    node[last] = value
    answers(yaml.safe_dump(whole, allow_unicode=True).encode("utf-8", "surrogatepass"), inventory)
