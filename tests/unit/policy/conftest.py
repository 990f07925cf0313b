from pathlib import Path

import pytest

from fwproof.errors import InputError
from fwproof.inventory import Inventory
from fwproof.policy.document import parse_document
from fwproof.policy.inventory_file import inventory_of
from fwproof.policy.load import policy_of

SMALL = """\
defaults: {access: root}
zones:
  internal: [10.0.0.0/16, "fd00::/48"]
  stores: [10.0.2.0/24, "fd00:0:0:2::/64"]
hosts:
  web: {addresses: [10.0.0.10, "fd00::10"], groups: [servers]}
  web-b: {addresses: [10.0.0.11, "fd00::11"], groups: [servers]}
  old: {addresses: 10.0.0.20}
  admin: {addresses: [10.0.0.1, "fd00::1"], vantage: true}
  db: {addresses: [10.0.2.10, "fd00:0:0:2::10"], vantage: true}
  outside: {addresses: [203.0.113.66, "2001:db8:bad::66"], vantage: true}
"""


def read(text):
    return parse_document(text if isinstance(text, bytes) else text.encode(), file="f", path=Path("f"))


@pytest.fixture(scope="session")
def inventory() -> Inventory:
    return inventory_of(read(SMALL))


@pytest.fixture(scope="session")
def load(inventory):
    """Return a function from the text of a policy to its value."""
    return lambda text: policy_of(read(text), inventory)


@pytest.fixture(scope="session")
def load_inventory_text():
    return lambda text: inventory_of(read(text))


@pytest.fixture(scope="session")
def refusal():
    """Return a function that calls another and gives the lines of the InputError that it must raise."""

    def lines(function, *args):
        with pytest.raises(InputError) as caught:
            function(*args)
        return str(caught.value).splitlines()

    return lines
