"""The five top-level entries of a user's project, written without ever replacing anything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from fwproof.errors import UsageError
from fwproof.plugin import SUFFIX

INVENTORY = Path("fixtures") / "inventory.yaml"
CHECKS = Path("checks")
_PACKAGE = Path(__file__).resolve().parents[1]
_EXAMPLE = (
    Path("checks") / "ai-server.policy.yaml", INVENTORY, Path("fixtures") / "lab",
)  # fmt: skip
"""What the example needs, in a checkout or in what was installed with the package."""


@dataclass(slots=True)
class Project:
    """A folder that becomes a project; ``written`` and ``kept`` are paths below it, in order."""

    root: Path
    written: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)

    def add(self, path: Path, text: str | bytes) -> None:
        """Write a file, or keep the one that is there; raises UsageError where neither can be."""
        target = self.root / path
        data = text.encode() if isinstance(text, str) else text
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as stream:  # also refuses a link to nowhere
                stream.write(data)
        except FileExistsError:
            self.kept.append(path)
        except OSError as error:
            raise UsageError(f"{target}: cannot be written: {error.strerror}") from error
        else:
            self.written.append(path)

    @property
    def has_rules(self) -> bool:
        """Whether an inventory or a policy is there already: a new pair would not go with it."""
        policies = (self.root / CHECKS).glob(f"*{SUFFIX}") if (self.root / CHECKS).is_dir() else ()
        return (self.root / INVENTORY).exists() or any(policies)

    def frame(self) -> None:
        """Write what every project has: everything but inventory and policies."""
        self.add(Path("pyproject.toml"), _template("pyproject.toml"))
        self.add(Path("conftest.py"), _template("conftest.py"))
        for path, kind in ((CHECKS, "policy"), (CHECKS, "waivers"), (INVENTORY.parent, "inventory")):
            self.add(path / f"{kind}.schema.json", _schema(kind))
        self.add(Path("reports") / ".gitignore", _template("reports.gitignore"))

    def skeleton(self) -> None:
        """Write an inventory and a policy to fill in."""
        self.add(INVENTORY, _template("inventory.yaml"))
        self.add(CHECKS / f"servers{SUFFIX}", _template("policy.yaml"))

    def example(self) -> None:
        """Write the policy, the inventory and the lab of the demo."""
        source = example_source()
        for path in _EXAMPLE:
            for file in _files(source / path):
                self._copy(file, file.relative_to(source))

    def _copy(self, file: Path, path: Path) -> None:
        before = len(self.written)
        self.add(path, file.read_bytes())
        if len(self.written) > before:
            shutil.copymode(file, self.root / path)


def example_source() -> Path:
    """Return the folder with the demo's checks/ and fixtures/; raises UsageError where there is none."""
    for folder in (_PACKAGE / "scaffold", _PACKAGE.parents[1]):
        if all((folder / path).exists() for path in _EXAMPLE):
            return folder
    raise UsageError("the example was not installed with fwproof: install the wheel, or use a checkout")


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    yield from sorted(each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts)


def _template(name: str) -> str:
    return (resources.files("fwproof.cli") / "project" / f"{name}.txt").read_text("utf-8")


def _schema(kind: str) -> str:
    from fwproof.policy.schema import json_schema

    return json.dumps(json_schema(kind), indent=2, ensure_ascii=False) + "\n"


def summary(project: Project, say: Callable[[str], None]) -> None:
    """Say what was written and what was there already; many files of a folder in one line."""
    for word, paths in (("wrote", project.written), ("kept ", project.kept)):
        for line in _grouped(paths):
            say(f"{word} {line}")


def _grouped(paths: Iterable[Path]) -> Iterator[str]:
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault("/".join(path.parts[:2]) if len(path.parts) > 2 else str(path), []).append(path)
    for name, members in groups.items():
        yield name if members == [Path(name)] else f"{name}/ ({len(members)} file{'s' if len(members) > 1 else ''})"
