"""Where in a front end's folder a rule of the kernel is written: the file and line that somebody edits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.frontends.firewalld import Firewalld, Item
from fwproof.frontends.front_end import FrontEnd
from fwproof.ruleset.iptables import parse
from fwproof.semantics.compare import meaning
from fwproof.semantics.model import HostModel

_UFW = {Family.IPV4: ("user.rules", "before.rules", "after.rules"),
        Family.IPV6: ("user6.rules", "before6.rules", "after6.rules")}  # fmt: skip
_VALUES = re.compile(r'="([^"]*)"')


def places(folder: Path, model: HostModel, front: FrontEnd) -> dict[RuleRef, str]:
    """Return FILE:LINE of every rule of a model that is written in a file of the folder."""
    found: dict[RuleRef, str] = {}
    if front.ufw is not None:
        found |= dict(_of_ufw(folder, model))
    if front.firewalld is not None:
        found |= dict(_of_firewalld(folder, front.firewalld))
    return found


def _of_ufw(folder: Path, model: HostModel) -> Iterator[tuple[RuleRef, str]]:
    """Yield rules by what they mean: the kernel spells a line of the file its own way."""
    for family, names in _UFW.items():
        written: dict[object, str] = {}
        for name in names:
            for ruleset in (parse(text, family) for text in _text(folder / name)):
                for rule in ruleset.rules():
                    written.setdefault((rule.ref.chain, meaning(rule)), f"{folder / name}:{rule.line}")
        for rule in model.rules(family):
            place = written.get((rule.ref.chain, meaning(rule)))
            if place is not None:
                yield rule.ref, place


def _of_firewalld(folder: Path, firewalld: Firewalld) -> Iterator[tuple[RuleRef, str]]:
    for ref, item in firewalld.known.items():
        file = folder / ("direct.xml" if item.option == "direct" else f"zones/{item.zone}.xml")
        for text in _text(file):
            line = next(_lines(text, item), 0)
            if line:
                yield ref, f"{file}:{line}"


def _lines(text: str, item: Item) -> Iterator[int]:
    """Yield the lines at which elements of a file of firewalld (firewalld.zone(5)) say what an item does."""
    number, _, protocol = item.value.partition("/")
    pieces = {
        "port": (r"<port\b[^>]*>", {number, protocol}), "service": (r"<service\b[^>]*>", {item.value}),
        "protocol": (r"<protocol\b[^>]*>", {item.value}),
        "rich-rule": (r"<rule\b.*?</rule>", set(_VALUES.findall(item.value))),
    }  # fmt: skip
    if item.option not in pieces or not item.sure:
        return
    pattern, values = pieces[item.option]
    inside = re.sub(r"<rule\b.*?</rule>", lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.DOTALL)
    for found in re.finditer(pattern, text if item.option == "rich-rule" else inside, re.DOTALL):
        if values <= set(_VALUES.findall(found[0])):
            yield text.count("\n", 0, found.start()) + 1


def _text(path: Path) -> Iterator[str]:
    """Yield what a file says, nothing where the copy has none."""
    if path.is_file():
        yield path.read_text(encoding="utf-8", errors="replace")
