"""The package sources of this machine's own distribution, as mmdebstrap wants them.

Read from /etc/apt (sources.list(5), both layouts). Only what the distribution itself publishes for its own release
is kept: a third party's repository has no business in the lab's image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fwproof.errors import LabError

_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)")
_COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "universe")}
_KEYRINGS = {
    "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}


@dataclass(frozen=True, slots=True)
class Distribution:
    """What /etc/os-release says: ``debian`` or ``ubuntu``, and the release's code name."""

    kind: str
    codename: str


@dataclass(frozen=True, slots=True)
class Source:
    """One place to fetch packages from."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""

    def line(self, keyring: str) -> str:
        """Return the source in the one-line layout, signed by its own keyring or the distribution's."""
        return f"deb [signed-by={self.signed_by or keyring}] {self.uri} {self.suite} {' '.join(self.components)}"


def distribution(text: str) -> Distribution:
    """Read os-release(5) text; raises LabError for a distribution that no image can be made of."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        values[key.strip()] = value.strip().strip("\"'")
    kind = values.get("ID", "")
    codename = values.get("VERSION_CODENAME", "")
    if kind not in _COMPONENTS or not re.fullmatch(r"[a-z]+", codename):
        raise LabError(
            f"the lab's image is made of Debian or Ubuntu packages; this is {values.get('PRETTY_NAME') or 'neither'}: "
            "run the lab on Debian 12 or later, or Ubuntu 24.04 or later"
        )
    return Distribution(kind, codename)


def own_sources(release: Distribution, files: Mapping[str, str]) -> tuple[str, ...]:
    """Return one-line sources of the distribution's own packages; ``files`` has the text of each file by name.

    Raises LabError when there are none.
    """
    found: dict[Source, None] = {}
    for name, text in files.items():
        for source in _deb822(text) if name.endswith(".sources") else _one_line(text):
            kept = _own(release, source)
            if kept:
                found[kept] = None
    # where one source is at the distribution's usual path, another of the same suite is somebody else's
    usual = re.compile(rf"/{release.kind}(-[a-z]+)?(/[0-9]{{8}}T[0-9]{{6}}Z)?/?$")
    official = [source for source in found if usual.search(source.uri)]
    lines = tuple(source.line(_KEYRINGS[release.kind]) for source in official or found)
    if not any(f" {release.codename} " in line for line in lines):
        raise LabError(
            f"no package source for {release.kind} {release.codename} in /etc/apt/sources.list or sources.list.d: "
            "add the distribution's own, then run `apt-get update`"
        )
    return lines


def _own(release: Distribution, source: Source) -> Source | None:
    suites = {release.codename, *(f"{release.codename}-{pocket}" for pocket in ("updates", "security"))}
    components = tuple(c for c in _COMPONENTS[release.kind] if c in source.components)
    if (
        source.suite.rstrip("/") not in suites
        or not components
        or not source.uri.startswith(("http", "file:", "mirror"))
    ):
        return None
    if source.signed_by and not source.signed_by.startswith("/usr/share/keyrings/" + release.kind):
        return None
    return Source(source.uri, source.suite.rstrip("/"), components, source.signed_by)


def _one_line(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match:
            options = dict(word.partition("=")[::2] for word in (match["options"] or "").split())
            yield Source(match["uri"], match["suite"], tuple(match["components"].split()), options.get("signed-by", ""))


def _deb822(text: str) -> Iterator[Source]:
    for stanza in re.split(r"\n\s*\n", text):
        fields = _fields(stanza.splitlines())
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri, suite, tuple(fields.get("components", "").split()), fields.get("signed-by", ""))


def _fields(lines: Iterable[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    key = ""
    for line in lines:
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            fields[key] = f"{fields.get(key, '')} {line.strip()}".strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            key = name.strip().lower()
            fields[key] = value.strip()
    return fields


def read_source_files(root: Path = Path("/etc/apt")) -> dict[str, str]:
    """Return the text of this machine's source files by name."""
    folder = root / "sources.list.d"
    paths = [root / "sources.list", *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]
    return {str(path): path.read_text(encoding="utf-8", errors="replace") for path in paths if path.is_file()}


def acquire_options(dump: str) -> tuple[str, ...]:
    """Return the settings of ``apt-config dump`` without which packages might not be fetched here.

    Those are proxies, time-outs, retries and the checks of dates, the machine's own word in each case.
    """
    pattern = re.compile(
        r'Acquire::((?i:https?|ftp)::.*|Retries|ForceIPv[46]|Check-Valid-Until|Check-Date|Queue-Mode) ".+";'
    )
    return tuple(line for line in dump.splitlines() if pattern.fullmatch(line.strip()))
