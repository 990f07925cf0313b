"""``fwproof explain`` on one table of corners; the expected answers are written by FWPROOF_GOLDEN=write, then read."""

import os
from pathlib import Path

from click.testing import CliRunner

from fwproof.cli.explain import explain

HERE = Path(__file__).parent / "explain"


def test_answers_are_the_golden_ones():
    files = {"--packets": "packets.jsonl", "--iptables-save": "rules.v4", "--addresses": "addresses.json"}
    arguments = [word for option, name in files.items() for word in (option, str(HERE / name))]
    done = CliRunner().invoke(explain, [*arguments, "--format", "json"])
    assert done.exit_code == 0, done.output
    golden = HERE / "answers.jsonl"
    if os.environ.get("FWPROOF_GOLDEN") == "write":
        golden.write_text(done.stdout)
    assert done.stdout == golden.read_text()
