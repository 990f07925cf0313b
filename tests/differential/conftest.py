"""Says after a run how much was compared, and how to do the same again."""

import os

import pytest

from .kernel import Kernel
from .random_tables import TAKEN


@pytest.fixture(scope="module", autouse=True)
def _peers_of_its_own():
    TAKEN.clear()


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # one of several processes: its share goes to the first
        session.config.workeroutput["done"] = dict(Kernel.done)


def pytest_testnodedown(node):
    Kernel.done.update(getattr(node, "workeroutput", {}).get("done", {}))


def pytest_terminal_summary(terminalreporter):
    if Kernel.done:
        seed, tables = (os.environ.get(name, "the default") for name in ("FWPROOF_SEED", "FWPROOF_TABLES"))
        terminalreporter.write_line(
            f"{Kernel.done['packets']} packets through {Kernel.done['tables']} loads of real tables; "
            f"FWPROOF_SEED: {seed}, FWPROOF_TABLES: {tables}"
        )
