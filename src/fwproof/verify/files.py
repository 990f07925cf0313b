"""The files of a stored run, read without trusting any of them, and compared with SHA256SUMS and manifest.json."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fwproof.codec import Misfit
from fwproof.errors import UsageError
from fwproof.report.clean import one_line
from fwproof.report.manifest import MANIFEST, SCHEMA, SUMS, digest
from fwproof.report.sign import SIGNATURE

MOST_BYTES = 512 << 20
"""The largest file that is read; an audit of hundreds of hosts stays well below."""
MOST_FILES = 100_000
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it was written: ``kind`` is one word, ``where`` a file or a check."""

    kind: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.message}" if self.where else f"{self.kind}: {self.message}"


@dataclass
class Bundle:
    """A run's folder: its regular files by path, and what else lies there. Nothing outside of it is ever opened."""

    folder: Path
    sizes: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> Bundle:
        """List a folder; UsageError where it is none, or no run's."""
        folder = folder.resolve()
        if not folder.is_dir() or not (folder / SUMS).is_file() or (folder / SUMS).is_symlink():
            raise UsageError(f"{one_line(str(folder))} is no run: expected a folder with {SUMS} in it")
        bundle = cls(folder)
        bundle._walk()
        return bundle

    def _walk(self) -> None:
        for place, folders, names in os.walk(self.folder):
            for name in (*folders, *names):
                path = Path(place) / name
                shown = path.relative_to(self.folder).as_posix()
                kind = path.lstat().st_mode
                if len(self.sizes) >= MOST_FILES:
                    raise UsageError(f"{one_line(str(self.folder))} has more than {MOST_FILES} files, as no run has")
                if stat.S_ISREG(kind):
                    self.sizes[shown] = path.lstat().st_size
                elif not stat.S_ISDIR(kind):
                    what = "a symbolic link" if stat.S_ISLNK(kind) else "no regular file"
                    self.problems.append(Problem("extra", one_line(shown), f"is {what}, which no run has"))

    def read(self, path: str) -> bytes:
        """Return a file's content; raises Misfit where there is no such file in the folder, or it is too large."""
        if path not in self.sizes:
            raise Misfit(f"{one_line(path)}: there is no such file in the run")
        if self.sizes[path] > MOST_BYTES:
            raise Misfit(f"{path}: has {self.sizes[path]:,} bytes; more than {MOST_BYTES:,} are not read")
        try:
            # a link that took the file's place meanwhile is not followed
            with os.fdopen(os.open(self.folder / path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
                return stream.read(MOST_BYTES)
        except OSError as error:
            raise Misfit(f"{path}: cannot be read: {error.strerror}") from error

    def check(self) -> list[Problem]:
        """Return each file that is missing, extra or altered, by SHA256SUMS and by manifest.json."""
        found = list(self.problems)
        listed = dict(self._sums(found))
        unlisted = sorted(set(self.sizes) - set(listed) - {SUMS, SIGNATURE})
        found += [Problem("extra", one_line(path), f"is not in {SUMS}") for path in unlisted]
        for path, expected in sorted(listed.items()):
            found += self._compared(path, expected)
        return [*found, *self._manifest(listed)]

    def _sums(self, found: list[Problem]) -> Iterator[tuple[str, str]]:
        seen: set[str] = set()
        try:
            lines = self.read(SUMS).decode("utf-8", "surrogateescape").splitlines()
        except Misfit as error:
            found.append(Problem("unreadable", SUMS, str(error)))
            return
        for number, line in enumerate(lines, 1):
            match, where = _LINE.fullmatch(line), f"{SUMS}:{number}"
            if match is None:
                found.append(Problem("unreadable", where, "is no line of sha256sum: expected a hash and a file name"))
            elif not _inside(match[2]):
                found.append(
                    Problem("unreadable", where, f"names a file outside of the run: {one_line(match[2], 100)}")
                )
            elif match[2] in seen:
                found.append(Problem("unreadable", where, f"names {one_line(match[2], 100)} once more"))
            else:
                seen.add(match[2])
                yield match[2], match[1]

    def _compared(self, path: str, expected: str) -> Iterator[Problem]:
        if path not in self.sizes:
            yield Problem("missing", one_line(path), f"is in {SUMS}, and not there")
            return
        try:
            actual = digest(self.read(path))
        except Misfit as error:
            yield Problem("unreadable", path, str(error))
            return
        if actual != expected:
            yield Problem("altered", one_line(path), f"its SHA-256 is {actual}, {SUMS} says {expected}")

    def manifest(self) -> dict[str, object]:
        """Return manifest.json; raises Misfit where it is none."""
        try:
            document = json.loads(self.read(MANIFEST))
        except (ValueError, RecursionError) as error:
            raise Misfit(f"{MANIFEST}: is no JSON: {str(error)[:200]}") from error
        if (
            not isinstance(document, dict)
            or document.get("schema") != SCHEMA
            or not isinstance(document.get("files"), list)
        ):
            raise Misfit(f"{MANIFEST}: is not of the schema {SCHEMA!r}")
        return document

    def _manifest(self, listed: dict[str, str]) -> Iterator[Problem]:
        try:
            entries = self.manifest()["files"]
            assert isinstance(entries, list)
            told = {str(each["path"]): (str(each["sha256"]), int(each["bytes"])) for each in entries}
        except (Misfit, KeyError, TypeError, ValueError) as error:
            yield Problem("unreadable", MANIFEST, str(error) if isinstance(error, Misfit) else "an entry is no file's")
            return
        for path in sorted((set(listed) ^ set(told)) - {MANIFEST}):
            yield Problem("manifest", one_line(path), f"is in {SUMS if path in listed else MANIFEST} alone")
        for path in sorted(set(listed) & set(told)):
            if told[path][0] != listed[path] or told[path][1] != self.sizes.get(path, told[path][1]):
                yield Problem("manifest", one_line(path), f"{MANIFEST} has another hash or size than {SUMS}")


def _inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts and path == parts.as_posix() and "\0" not in path
