"""Which sysctls are written at boot, and in which order, from the files that hold them.

Follows systemd-sysctl (sysctl.d(5)), ``sysctl --system`` of procps (sysctl(8)), and ufw, which loads a file of its own
after either. A name that two folders have is read from the first; a file that is a link to /dev/null hides it. Keys
come with dots or slashes; a key that is written without a pattern is left out of all patterns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from functools import lru_cache

_FOLDERS = {
    "systemd": ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"),
    "procps": ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"),
}
_CONF = "/etc/sysctl.conf"
UFW = "/etc/ufw/sysctl.conf"
_GLOB = re.compile(r"[*?\[]")
_SWAPPED = str.maketrans("./", "/.")


class Loader(StrEnum):
    """Who writes the settings of sysctl.d at boot."""

    SYSTEMD = "systemd"
    PROCPS = "procps"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Write:
    """One setting to be written: its path below /proc/sys, maybe a pattern, and the file and line that say so.

    ``value`` is None where the path is only kept out of patterns.
    """

    path: str
    value: str | None
    file: str
    line: int

    @property
    def pattern(self) -> bool:
        """Whether it stands for several settings."""
        return _GLOB.search(self.path) is not None

    def fits(self, path: str) -> bool:
        """Whether a pattern stands for a path; what stands between slashes is matched by itself (glob(7))."""
        mine, other = self.path.split("/"), path.split("/")
        return len(mine) == len(other) and all(
            _part(one).match(two) is not None for one, two in zip(mine, other, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Saved:
    """The files of a host: who loads them, the text of each, and those that could not be read."""

    loader: Loader
    files: dict[str, str]
    unreadable: tuple[str, ...] = ()

    def writes(self) -> tuple[Write, ...]:
        """Return what is written at boot, in that order."""
        found = [write for name in self.order() for write in _writes(name, self.files[name])]
        if self.loader is Loader.SYSTEMD:
            found = _settled(found)
        return tuple(found)

    def of_ufw(self) -> tuple[Write, ...]:
        """Return what ufw writes when it starts, after all others (ufw-init-functions)."""
        return tuple(_writes(UFW, self.files.get(UFW, "")))

    def order(self) -> tuple[str, ...]:
        """Return the files that are loaded, in their order."""
        if self.loader is Loader.NOBODY:
            return ()
        chosen: dict[str, str] = {}
        for folder in _FOLDERS[self.loader.value]:
            for path in self.files:
                head, _, name = path.rpartition("/")
                if head == f"{folder}/sysctl.d" and name.endswith(".conf"):
                    chosen.setdefault(name, path)
        last = (_CONF,) if self.loader is Loader.PROCPS and _CONF in self.files else ()
        return (*(chosen[name] for name in sorted(chosen)), *last)

    def hidden(self, ufw: bool) -> tuple[str, ...]:  # noqa: FBT001 - the same word as above
        """Return files with settings that nobody loads."""
        loaded = {*self.order(), *((UFW,) if ufw else ())}
        same = {self.files[name] for name in loaded}
        return tuple(
            name for name, text in self.files.items()
            if name not in loaded and name != UFW and text not in same and any(_writes(name, text))
        )  # fmt: skip


def read_saved(text: str) -> Saved:
    """Return what the collecting script printed: ``loader NAME``, ``file PATH`` and its lines behind ``| ``.

    Raises ValueError for a text that does not begin as it should.
    """
    lines = text.split("\n")
    if not lines[0].startswith("loader "):
        raise ValueError("expected the loader of sysctls in the first line")
    files: dict[str, list[str]] = {}
    unreadable: list[str] = []
    name = ""
    for line in lines[1:]:
        word, _, rest = line.partition(" ")
        if word == "file":
            name = rest
            files[name] = []
        elif word == "unreadable":
            unreadable.append(rest)
        elif word == "|" and name:
            files[name].append(rest)
    loader = Loader(lines[0].removeprefix("loader ").strip())
    return Saved(loader, {name: "\n".join(found) for name, found in files.items()}, tuple(unreadable))


def _writes(name: str, text: str) -> Iterator[Write]:
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip()
        if not bare or bare[0] in "#;":
            continue
        key, equals, value = bare.partition("=")
        skipped = key.startswith("-")
        path = _path(key.lstrip("-").strip() if skipped else key.strip())
        if path and (equals or skipped):
            yield Write(path, value.strip() if equals else None, name, number)


def _path(key: str) -> str:
    """Return a key as a path: what separates first is the separator (sysctl.d(5))."""
    first = re.search(r"[./]", key)
    path = key.translate(_SWAPPED) if first is not None and first.group() == "." else key
    return path.strip("/")


def _settled(writes: Iterable[Write]) -> list[Write]:
    """Return what systemd-sysctl really writes: of a key the last value alone, where that was said first (sysctl.c)."""
    found: dict[str, Write] = {}
    for write in writes:
        known = found.get(write.path)
        if known is None or known.value != write.value:
            found.pop(write.path, None)
            found[write.path] = write
    return list(found.values())


def expanded(writes: Iterable[Write], paths: Iterable[str]) -> Iterator[Write]:
    """Yield writes with each pattern replaced by the paths of the kernel that it stands for."""
    every = list(writes)
    there = list(paths)
    named = {write.path for write in every if not write.pattern}
    for write in every:
        if write.value is None:
            continue
        if not write.pattern:
            yield write
            continue
        for path in there:
            if path not in named and write.fits(path):
                yield Write(path, write.value, write.file, write.line)


@lru_cache(maxsize=1024)
def _part(text: str) -> re.Pattern[str]:
    return re.compile(translate(text))
