"""The catalogue of controls: what ships, what a policy's folder adds, and what a policy may name of it."""

import re
from pathlib import Path

import pytest

from fwproof.errors import InputError
from fwproof.policy.catalogue import METHODS, catalogue_of, joined, shipped
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy
from fwproof.policy.shapes import ESSENTIALS, InboundShape, PolicyShape

ROOT = Path(__file__).parents[3]
FRAMEWORKS = (
    "cis-controls-8.1", "cis-debian-11-1.0.0", "cis-debian-12-1.1.0", "cis-ubuntu-20.04-1.0.0",
    "cis-ubuntu-22.04-2.0.0", "cis-ubuntu-24.04-1.0.0", "iso-27001-2022", "nist-800-53r5", "pci-dss-4.0.1",
    "stig-rhel-9", "stig-ubuntu-22.04", "stig-ubuntu-24.04",
)  # fmt: skip
SHAPES = {
    "cis-controls": r"\d{1,2}\.\d{1,2}", "cis": r"\d(\.\d{1,2}){2,4}", "iso": r"A\.8\.\d{1,2}",
    "nist": r"[A-Z]{2}-\d{1,2}(\(\d{1,2}\))?", "pci": r"\d{1,2}\.\d\.\d{1,2}",
    "stig-rhel-9": r"RHEL-09-\d{6}", "stig-ubuntu-22.04": r"UBTU-22-\d{6}", "stig-ubuntu-24.04": r"UBTU-24-\d{6}",
}  # fmt: skip
OWN = """
frameworks:
  house-rules-3:
    title: House rules, third edition
    source: Ourselves
    controls:
      HR-1: {is: Nothing is open that need not be, shows: The packet space, by: [inbound]}
  pci-dss-4.0.1:
    controls:
      "12.5.2": {is: The scope is confirmed every year, review: 12 months}
"""
POLICY = """policy: p
hosts: [ai-server]
persistence:
  controls: &these
    pci-dss-4.0.1: ["1.2.8"{}]
rules:
  controls: *these
{}"""


@pytest.fixture(scope="module")
def inventory():
    return load_inventory(ROOT / "fixtures" / "inventory.yaml")


@pytest.fixture
def load(tmp_path, inventory, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def load(more_ids="", more="", own=None):
        (tmp_path / "p.policy.yaml").write_text(POLICY.format(more_ids, more), encoding="utf-8")
        if own is not None:
            (tmp_path / "own.controls.yaml").write_text(own, encoding="utf-8")
        return load_policy(Path("p.policy.yaml"), inventory)

    return load


def refused(load, *words, **given):
    with pytest.raises(InputError) as caught:
        load(*words, **given)
    return str(caught.value).splitlines()


def test_what_ships():
    assert tuple(shipped()) == FRAMEWORKS
    for name, framework in shipped().items():
        shape = next(shape for start, shape in SHAPES.items() if name.startswith(start))
        ids = [control.id for control in framework.controls]
        assert len(set(ids)) == len(ids) >= 4
        assert [each for each in ids if not re.fullmatch(shape, each)] == []
        assert framework.title
        assert framework.source


def test_every_control_says_what_a_check_can_show_and_how():
    for framework in shipped().values():
        for control in framework.controls:
            assert control.text
            assert bool(control.shows) or not control.by, control.id
            assert control.shows or control.lacks, control.id
            assert set(control.methods) == {method for word in control.by for method in METHODS[word]}, control.id


def test_words_are_one_s_own_and_not_the_publishers():
    for framework in shipped().values():
        for control in framework.controls:
            assert not re.search(r"\bEnsure\b|\bmust\b|\bNSCs?\b", control.text), control.text


def test_periods_that_the_frameworks_set():
    pci = shipped()["pci-dss-4.0.1"]
    assert {c.id: c.review for c in pci.controls if c.review} == {
        "1.2.7": "6 months", "11.4.5": "12 months", "11.4.6": "6 months"
    }  # fmt: skip


def test_a_policy_keeps_the_frameworks_that_it_names(load):
    (framework,) = load().frameworks
    assert (framework.id, framework.control("1.2.7").review) == ("pci-dss-4.0.1", "6 months")
    assert load("", "managers: one\n").frameworks == (framework,)


def test_an_unknown_id_is_told_once_with_the_nearest(load):
    (line,) = refused(load, ', "1.2.88"')
    assert line.startswith("p.policy.yaml:5:30: the catalogue has no control '1.2.88' of pci-dss-4.0.1; did you mean")
    assert "*.controls.yaml beside the policy" in line


def test_an_unknown_framework_is_told_with_the_nearest(load):
    (line,) = refused(load, "", "managers: {who: one, controls: {pci-dss-4.0: [x]}}\n")
    assert line.startswith(
        "p.policy.yaml:8:33: the catalogue has no framework 'pci-dss-4.0'; did you mean 'pci-dss-4.0.1'?"
    )


def test_other_faults_come_in_the_same_go_and_none_twice(load):
    lines = refused(load, ', 7, "1.2.88"', "essential: [loopbak]\n")
    assert len(lines) == 3
    assert [line.split(" ")[0] for line in lines] == [
        "p.policy.yaml:5:30:",
        "p.policy.yaml:5:33:",
        "p.policy.yaml:8:13:",
    ]


def test_an_id_that_is_no_id_is_told_once(load):
    (line,) = refused(load, ', "1.2.8 b"')
    assert "expected a control's id" in line


def test_items_of_a_list_are_looked_at_as_well(load):
    (line,) = refused(load, "", "essential:\n  - {what: loopback, controls: {pci-dss-4.0.1: [x]}}\n")
    assert line.startswith("p.policy.yaml:9:49: the catalogue has no control 'x'")


def test_one_s_own_frameworks_and_controls(load):
    policy = load(', "12.5.2"', "managers: {who: one, controls: {house-rules-3: [HR-1]}}\n", own=OWN)
    house, pci = policy.frameworks
    assert (house.title, house.controls[0].methods) == ("House rules, third edition", ("examine", "test"))
    assert pci.control("12.5.2").review == "12 months"
    assert pci.control("1.2.8") == shipped()["pci-dss-4.0.1"].control("1.2.8")
    assert shipped()["pci-dss-4.0.1"].control("12.5.2") is None


def test_policies_of_two_folders_join_what_they_know(load):
    with_more = load(', "12.5.2"', own=OWN)
    without = load("", own="frameworks: {x: {title: X, source: us, controls: {a: {is: A}}}}\n")
    for order in ([with_more, without], [without, with_more]):
        (framework,) = joined(order)
        assert [control.id for control in framework.controls].count("1.2.8") == 1
        assert framework.control("12.5.2")


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("frameworks: {x: {controls: {a: {is: A}}}}", "own.controls.yaml:1:14: 'x' is not in fwproof's catalogue"),
        ("frameworks: {x: {title: X, source: us, controls: {a: b}}}", "1:54: there is no text 'b'"),
        ("frameworks: {x: {title: X, source: us, controls: {}}}", "the list is empty"),
        ("frameworks: {x: {title: X, source: us, controls: {a: {shows: A}}}}", "key 'is' is missing"),
        ("frameworks: {x: {title: X, source: us, controls: {a: {is: A, by: [inbund]}}}}", "not 'inbund'"),
        (
            'frameworks: {pci-dss-4.0.1: {controls: {"1.2.8": {is: A}}}}',
            "pci-dss-4.0.1 1.2.8 is in fwproof's catalogue",
        ),
        ("frameworks: {x: {title: X, source: us, controls: {a: 3}}}", "expected a control, or the name of one"),
        ("frameworks: {}", "the list is empty"),
        ("", "the file is empty"),
    ],
)
def test_a_file_with_faults_is_refused_with_its_place(load, own, said):
    (line,) = refused(load, own=own)
    assert said in line
    assert line.startswith("own.controls.yaml:")


def test_faults_of_all_files_come_at_once(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.controls.yaml").write_text("frameworks: [x]\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        catalogue_of(tmp_path)
    assert len(str(caught.value).splitlines()) == 2


# ---- what is written about it


DOC = (ROOT / "docs" / "controls.md").read_text(encoding="utf-8")


def test_the_examples_of_the_document_hold(load):
    used, own = re.findall(r"^```yaml\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL)
    policy = load(', "12.5.2"', "managers: {who: one, controls: {house-rules-3: [HR-7]}}\n", own=own)
    assert [framework.id for framework in policy.frameworks] == ["house-rules-3", "pci-dss-4.0.1"]
    Path("p.policy.yaml").write_text(f"policy: p\nhosts: [ai-server]\n{used}", encoding="utf-8")
    assert len(load_policy(Path("p.policy.yaml"), load_inventory(ROOT / "fixtures" / "inventory.yaml")).frameworks) == 2


def test_the_document_names_every_framework_and_every_word():
    assert [name for name in (*shipped(), *METHODS) if f"`{name}`" not in DOC] == []


def test_words_are_those_of_a_policy():
    parts = {"management", "rate", "spoofing"}
    words = {*PolicyShape.model_fields, *InboundShape.model_fields, *ESSENTIALS}
    assert set(METHODS) - parts <= words
