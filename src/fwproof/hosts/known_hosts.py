"""OpenSSH's known_hosts (sshd(8)): which keys a host is known by, who may certify it, and what is revoked.

paramiko's own reader compares every line with every other, ignores ``@revoked`` and knows no patterns; an audit
of many hosts reads the file once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public host key: its type (``ssh-ed25519`` …) and the bytes that SSH exchanges."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """The fingerprint as ``ssh-keygen -l`` prints it: ``SHA256:`` and base64 without padding."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")
        return f"SHA256:{digest}"


@dataclass(frozen=True, slots=True)
class _Line:
    marker: str
    names: tuple[str, ...]
    key: HostKey

    def names_host(self, name: str) -> bool:
        """Whether this line is about ``name``; a negated pattern that matches excludes the line."""
        if any(fnmatchcase(name, pattern[1:]) for pattern in self.names if pattern.startswith("!")):
            return False
        return any(_matches(pattern, name) for pattern in self.names if not pattern.startswith("!"))


class _Names:
    """Keys by the names that lines have for them."""

    def __init__(self, lines: Iterable[_Line]) -> None:
        self._exact: dict[str, list[HostKey]] = {}
        self._rest: list[_Line] = []
        for line in lines:
            if any(name[:1] in "|!" or "*" in name or "?" in name for name in line.names):
                self._rest.append(line)
            else:
                for name in line.names:
                    self._exact.setdefault(name, []).append(line.key)

    def of(self, name: str) -> tuple[HostKey, ...]:
        name = name.lower()
        return (*self._exact.get(name, ()), *(line.key for line in self._rest if line.names_host(name)))


class KnownHosts:
    """One known_hosts file, read once; see :func:`load`."""

    def __init__(self, lines: tuple[_Line, ...]) -> None:
        self._revoked = frozenset(line.key for line in lines if line.marker == "@revoked")
        self._keys = _Names(line for line in lines if not line.marker)
        self._authorities = _Names(line for line in lines if line.marker == "@cert-authority")

    def keys(self, name: str) -> tuple[HostKey, ...]:
        """Return the keys that ``name`` (``host``, ``[host]:2222`` or an alias) is known by, in file order."""
        return self._keys.of(name)

    def authorities(self, name: str) -> tuple[HostKey, ...]:
        """Return the keys that may certify a host of that name."""
        return self._authorities.of(name)

    def is_revoked(self, key: HostKey) -> bool:
        """Whether a line marks the key as revoked, for whatever host: it is never to be trusted."""
        return key in self._revoked


def name_of(address: str, port: int) -> str:
    """Return the name that known_hosts has for an address: the port is part of it unless it is 22."""
    return address if port == 22 else f"[{address}]:{port}"


def load(path: Path) -> KnownHosts:
    """Return a file's keys, read once for each version of the file; OSError when it cannot be read."""
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _load(path: Path, mtime_ns: int) -> KnownHosts:
    del mtime_ns  # part of the cache key only
    return KnownHosts(tuple(_lines(path.read_text(encoding="utf-8", errors="surrogateescape"))))


def _lines(text: str) -> Iterator[_Line]:
    """Yield the lines that name a key; a line that cannot be read trusts nobody, so it is passed over."""
    for line in text.splitlines():
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        if len(fields) < 3:
            continue
        try:
            blob = base64.b64decode(fields[2], validate=True)
        except binascii.Error:
            continue
        names = tuple(n if n.startswith("|") else n.lower() for n in fields[0].split(",") if n)
        yield _Line(marker, names, HostKey(fields[1], blob))


def _matches(pattern: str, name: str) -> bool:
    if not pattern.startswith("|1|"):
        return pattern == name or (
            ("*" in pattern or "?" in pattern) and fnmatchcase(name, pattern.replace("[", "[[]"))
        )
    try:
        _, _, salt, digest = pattern.split("|")
        wanted = base64.b64decode(digest, validate=True)
        # HMAC-SHA1 is the format's choice (HashKnownHosts); it hides names, it protects no secret
        return hmac.compare_digest(hmac.digest(base64.b64decode(salt, validate=True), name.encode(), "sha1"), wanted)
    except (ValueError, binascii.Error):
        return False
