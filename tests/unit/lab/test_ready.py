"""Ports are read from the kernel's own tables."""

import pytest

from fwproof.lab.ready import ports

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:2CAA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:08A3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 0A00000A:0016 0100000A:9C40 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
"""


@pytest.mark.parametrize(("state", "expected"), [("0A", {11434, 2211}), ("01", {22}), ("07", set())])
def test_ports_in_a_state(state, expected):
    assert ports(TABLE, state) == expected


@pytest.mark.parametrize("table", ["", "sl\n", "sl\nrubbish\n"])
def test_no_table_is_no_port(table):
    assert ports(table, "0A") == set()
