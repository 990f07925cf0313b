"""Baselines: policies ready to fill in, made from what holds on any host and from the controls of frameworks.

The catalogue says which words of a policy support which control, and a baseline is nothing but that, written out:
``checks/baseline`` holds one for each framework.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources

from fwproof.controls import Framework
from fwproof.errors import UsageError
from fwproof.policy.table_model import ANY_ONE

_PLACE = re.compile(r"^( *(?:# +)?)@controls ([a-z0-9_ -]+)@\n", re.MULTILINE)
_WIDTH = 116
"""Characters of a line of ids; the rest goes on the next."""


def baseline(
    frameworks: Sequence[Framework],
    *,
    manager: str = "",
    hosts: Sequence[str] = (),
    admins: Sequence[str] = (),
    schema: str = "policy.schema.json",
) -> str:
    """Return the text of a policy that supports the controls of some frameworks.

    ``manager`` is who manages the hosts; left out, who usually does where the frameworks are about. ``hosts`` and
    ``admins`` are names of the inventory. Raises UsageError where the frameworks are about hosts of different managers.
    """
    chosen = manager or _usual(frameworks)
    words = {
        "schema": schema,
        "titles": "\n".join(f"#   {one.title}" for one in frameworks),
        "policy": "-".join(one.id for one in frameworks) if len(frameworks) == 1 else "baseline",
        "hosts": ", ".join(hosts) or "servers",
        "admins": ", ".join(admins) or "admin",
        "manager": chosen,
    }
    text = (resources.files("fwproof.policy") / "baseline.template.yaml").read_text("utf-8")
    text = _PLACE.sub(lambda place: _controls(frameworks, place[2].split(), chosen, place[1]), text)
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def _usual(frameworks: Sequence[Framework]) -> str:
    found = {one.manager for one in frameworks if one.manager}
    if len(found) > 1:
        raise UsageError(f"these frameworks are about hosts of {' and '.join(sorted(found))}: say which with --manager")
    return found.pop() if found else ANY_ONE


def _controls(frameworks: Sequence[Framework], words: Sequence[str], manager: str, indent: str) -> str:
    """Return the lines of ``controls`` for an expectation of some words, none where no framework has one for it."""
    lines = []
    for one in frameworks:
        ids = [each if each.replace("-", "").isalnum() and not each[0].isdigit() else f'"{each}"'
               for each in _ids(one, words, manager)]  # fmt: skip
        if ids:
            lines += _wrapped(f"{indent}  {one.id}: [", ids)
    return "".join([f"{indent}controls:\n", *lines]) if lines else ""


def _wrapped(start: str, ids: Sequence[str]) -> list[str]:
    lines, line = [], start
    for number, each in enumerate(ids):
        piece = each + ("]" if number == len(ids) - 1 else ",")
        if len(line) + len(piece) + 1 > _WIDTH:
            lines.append(f"{line.rstrip()}\n")
            line = ("#" if start.lstrip().startswith("#") else "").rjust(start.find("#") + 1).ljust(len(start))
        line += f"{piece} "
    return [*lines, f"{line.rstrip()}\n"]


def _ids(framework: Framework, words: Sequence[str], manager: str) -> list[str]:
    """Return the controls that an expectation of some words supports, on hosts of a manager."""
    known = (control for control in framework.controls if not set(words).isdisjoint(control.by))
    return [control.id for control in known if control.section in {"", manager}]
