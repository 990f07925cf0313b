"""Which option of a rule line belongs to which module or target, as libxtables decides it.

Base options come first, then those of what is loaded, the newest first (libxtables, xtables_merge_options); what
nobody knows is looked for in the module that ``-p`` implies, and otherwise makes the newest part not understood.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from fwproof.ruleset import numbers
from fwproof.ruleset.options import ALIASES, IMPLIED, MODULES, TARGETS, Options
from fwproof.ruleset.words import Instance, Option, Word, base_of, inlined, take

_OF_MODULES = re.compile(r"--[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
_LOADS = {"-m": "module", "--match": "module", "-j": "target", "--jump": "target", "-g": "goto", "--goto": "goto"}


@dataclass(slots=True)
class Parts:
    """A rule's words: base options, modules in their order, target, and words that belong to nothing."""

    base: list[Option] = field(default_factory=list)
    modules: list[Instance] = field(default_factory=list)
    target: Instance | None = None
    goto: bool = False
    strays: list[str] = field(default_factory=list)
    loaded: list[tuple[Instance, Options]] = field(default_factory=list)

    def owner(self, name: str) -> tuple[Instance, int] | None:
        """Return the newest part that has an option, and the option's arity."""
        return next(((each, known[name]) for each, known in reversed(self.loaded) if name in known), None)

    def implied(self, name: str) -> tuple[Instance, int] | None:
        """Load the module that ``-p`` implies, where it has an option."""
        module = IMPLIED.get(self._proto() or 0)
        if module is None or name not in MODULES[module]:
            return None
        instance = next((each for each in self.modules if each.module == module), None)
        if instance is None:
            instance = Instance(module)
            self.modules.append(instance)
        return instance, MODULES[module][name]

    def load(self, kind: str, name: str) -> None:
        """Add a module or the target."""
        if kind == "module":
            name = ALIASES.get(name, name)
            self.modules.append(Instance(name))
            self.loaded.append((self.modules[-1], MODULES.get(name, {})))
        else:
            self.target, self.goto = Instance(name), kind == "goto"
            self.loaded.append((self.target, TARGETS.get(name, {})))

    def _proto(self) -> int | None:
        for option in self.base:
            if option.name == "-p" and option.arguments and not option.negated:
                try:
                    return numbers.protocol(option.arguments[0])
                except ValueError:
                    return None
        return None


def group(words: Sequence[Word]) -> Parts:
    """Give every word of a rule to a base option, a module, the target, or the strays."""
    parts = Parts()
    words = [part for word in words for part in (inlined(word) if "=" in word.text else (word,))]
    at, negated = 0, False
    while at < len(words):
        word = words[at]
        if word.text == "!" and not word.quoted and not negated:
            at, negated = at + 1, True
            continue
        if word.is_option and _plain(word.text):
            at = _option(parts, words, at, negated=negated)
        else:
            parts.strays.append(f"! {word.text}" if negated else word.text)
            at += 1
        negated = False
    if negated:
        parts.strays.append("!")
    return parts


def _plain(option: str) -> bool:
    """Whether an option is one of iptables itself or may be a module's, which are all long ones."""
    return base_of(option, False) is not None or option in _LOADS or _OF_MODULES.fullmatch(option) is not None


def _option(parts: Parts, words: Sequence[Word], at: int, *, negated: bool) -> int:
    """Place the option at ``at`` with its arguments; return the index after them."""
    name = words[at].text
    kind = _LOADS.get(name)
    if kind is not None:
        arguments, after = take(words, at, None)
        if arguments and not negated and (kind == "module" or parts.target is None):
            parts.load(kind, arguments[0])
            parts.strays.extend(arguments[1:])
        else:
            parts.strays += [Option(name, arguments, negated).full]
        return after
    owner = parts.owner(name)
    base = base_of(name, owner is not None)
    if base is not None:
        arguments, after = take(words, at, base[1])
        parts.base.append(Option(base[0], arguments, negated))
        return after
    owner = owner or parts.implied(name)
    arguments, after = take(words, at, owner[1] if owner else None)
    option = Option(name, arguments, negated)
    if owner is not None:
        owner[0].options.append(option)
    elif parts.loaded:
        parts.loaded[-1][0].options.append(option)
    else:
        parts.strays.append(option.full)
    return after
