"""What a gate takes commands of iptables to answer is what iptables answers, on the tables at that point."""

import os
import shutil
import subprocess

import pytest
from tests.differential.kernel import OWN
from tests.differential.random_commands import RULES, script, start

from fwproof.errors import InputError
from fwproof.flow import Family
from fwproof.gating.answers import Answers
from fwproof.gating.equality import same as equal
from fwproof.gating.script import read_whole
from fwproof.gating.states import states
from fwproof.semantics.model import HostModel

SCRIPTS = int(os.environ.get("FWPROOF_COMMANDS", "40"))
STUB = """#!/bin/sh
{place} "$@"
status=$?
printf '%s\\037%s\\036' "$status" "$*" >> "$RECORD"
exit $status
"""
DRIVER = """cd {folder}
for n in $(seq 0 {last}); do
  nft flush ruleset
  sh start.$n >/dev/null 2>&1
  {save} > before.$n
  RECORD=record.$n PATH={folder}:$PATH sh script.$n >/dev/null 2>&1
  echo $? > status.$n
  {save} > after.$n
done
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run every script on tables of its own with the real iptables."""
    folder, place = tmp_path_factory.mktemp("commands"), shutil.which("iptables")
    if place is None or "nf_tables" not in subprocess.check_output([place, "-V"], text=True):
        pytest.skip("no iptables of nf_tables on this machine")
    (folder / "iptables").write_text(STUB.format(place=place))
    (folder / "iptables").chmod(0o755)
    for n in range(SCRIPTS):
        (folder / f"script.{n}").write_text(script(n))
        (folder / f"start.{n}").write_text(start(n + 10**6))
        (folder / f"record.{n}").touch()
    driver = DRIVER.format(folder=folder, last=SCRIPTS - 1, save=f"{place}-save")
    done = subprocess.run([*OWN, "sh", "-s"], input=driver, text=True, capture_output=True, check=False)
    if not (folder / f"after.{SCRIPTS - 1}").exists():
        pytest.skip(f"no namespace: {done.stderr[:200]}")
    return folder


def ran(folder, n):
    entries = (folder / f"record.{n}").read_text().split("\x1e")[:-1]
    return [(int(status), words) for status, _, words in (each.partition("\x1f") for each in entries)]


def read(folder, n, *, known):
    """Return the tables after a script as it is read, and its commands; a text where it is refused."""
    text = (folder / f"before.{n}").read_text()
    before = HostModel.build(iptables_save=text, ip6tables_save="") if known else None
    empty = HostModel.build(iptables_save="", ip6tables_save="")
    try:
        commands = read_whole((folder / f"script.{n}").read_text(), "s.sh", Answers(before)).commands
        *_, last = states(before or empty, commands, dict.fromkeys(Family, "rules"))
    except InputError as error:
        return str(error)
    return last.model, commands


def test_statuses_and_tables_are_those_of_iptables(runs):
    seen, failed = 0, 0
    for n in range(SCRIPTS):
        found = read(runs, n, known=True)
        if isinstance(found, str):
            continue
        model, commands = found
        real = ran(runs, n)
        mine = [(each.status, " ".join(each.words[1:])) for each in commands]
        told = f"seed {n}\n{(runs / f'before.{n}').read_text()}\n{script(n)}"
        assert [words for _, words in mine] == [words for _, words in real], told
        assert [pair for pair in mine if pair[0] is not None] == [
            its for own, its in zip(mine, real, strict=True) if own[0] is not None
        ], told
        seen += 1
        failed += sum(status > 0 for status, _ in real)
        if all(status is not None for status, _ in mine):
            kernel = HostModel.build(iptables_save=(runs / f"after.{n}").read_text(), ip6tables_save="")
            assert same(model, kernel), told
    assert seen > SCRIPTS / 2
    assert failed > seen


def same(model, kernel):
    """Whether both have the same chains, and in each the same rules as iptables itself compares them."""
    mine, its = (chains(each.rulesets[Family.IPV4][0]) for each in (model, kernel))
    return mine.keys() == its.keys() and all(
        (mine[name].default, len(mine[name].rules)) == (its[name].default, len(its[name].rules))
        and all(alike(*pair) for pair in zip(mine[name].rules, its[name].rules, strict=True))
        for name in mine
    )


def chains(ruleset):
    found = ruleset.tables["filter"].chains if "filter" in ruleset.tables else {}
    return {name: chain for name, chain in found.items() if chain.rules or chain.default != "ACCEPT"}


def alike(one, other):
    texts = [each.ref.text.partition(f"-A {each.ref.chain}")[2].strip() for each in (one, other)]
    return equal(*texts, Family.IPV4)


def test_what_is_known_without_the_running_tables_holds_on_any(runs):
    told = 0
    for n in range(SCRIPTS):
        found = read(runs, n, known=False)
        if isinstance(found, str):
            continue
        commands = found[1]
        real = ran(runs, n)
        assert [" ".join(each.words[1:]) for each in commands] == [words for _, words in real], script(n)
        wrong = [(each, its) for each, its in zip(commands, real, strict=True) if each.status not in {None, its[0]}]
        assert not wrong, f"seed {n}\n{(runs / f'before.{n}').read_text()}\n{script(n)}"
        told += sum(each.status is not None for each in commands)
    assert told > SCRIPTS / 4


def test_which_rules_are_the_same_is_what_iptables_says():
    place = shutil.which("iptables")
    if place is None:
        pytest.skip("no iptables on this machine")
    pairs = [(one, other) for one in RULES for other in RULES if _near(one, other)]
    pairs.sort(key=lambda pair: len(set(pair[0].split()) ^ set(pair[1].split())))
    pairs = pairs if SCRIPTS > 200 else pairs[::4][:180]
    lines = ["iptables -N X", "iptables -N Y", "iptables -N ab", "iptables -N C"]
    for one, other in pairs:
        lines += ["iptables -F C", f"iptables -A C {one} && iptables -C C {other}; echo = $?"]
    done = subprocess.run(
        [*OWN, "sh", "-s"], input="\n".join(lines), text=True, capture_output=True, check=False
    )  # fmt: skip
    statuses = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("= ")]
    if len(statuses) != len(pairs):
        pytest.skip(f"no namespace: {done.stderr[:200]}")
    found = [equal(one, other, Family.IPV4) for one, other in pairs]
    wrong = [
        (pair, mine, status) for pair, mine, status in zip(pairs, found, statuses, strict=True)
        if mine is not None and status in {0, 1} and mine != (status == 0)
    ]  # fmt: skip
    assert not wrong
    assert found.count(True) > len(pairs) / 20
    assert found.count(None) < len(pairs) / 4


def _near(one, other):
    """Whether two rules have some words in common, so that one has to look at the others."""
    return (
        "," not in (one + other).split(" -j")[0].partition("-s ")[2] and len(set(one.split()) & set(other.split())) > 2
    )
