"""The source ports of sweeps, which no other sweep may have used while conntrack remembers it."""

import random

from fwproof.probing.agent import SWEEP_HIGH, SWEEP_LOW
from fwproof.probing.sweep import turn

REMEMBERED = 120.0
"""Seconds for which conntrack keeps an entry of UDP that was answered, or of a SYN that was not."""


def test_no_port_comes_again_while_conntrack_remembers_it():
    draw = random.Random(7)
    used, now = {}, 1.8e9
    for _ in range(400):  # sweeps of one process after another's, with a second and more for each pass
        last = 0
        for _ in range(draw.randint(1, 7)):
            last = turn(last, now)
            port = last % (SWEEP_HIGH - SWEEP_LOW + 1)
            assert now - used.get(port, 0) > REMEMBERED
            used[port] = now
            now += draw.uniform(0.4, 3)


def test_quick_passes_of_one_sweep_have_ports_of_their_own():
    turns = [turn(0, 1.8e9)]
    for _ in range(6):
        turns.append(turn(turns[-1], 1.8e9 + 0.01))
    assert len(set(turns)) == 7
