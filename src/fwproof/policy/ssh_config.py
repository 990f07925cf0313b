"""OpenSSH's client configuration, as far as fwproof goes by it (ssh_config(5)).

For each keyword the first value found counts, and for IdentityFile all of them. Keywords that change the way to a
host, or whom to trust there, and that fwproof cannot follow, are refused where they concern a host that is asked for.
Nothing is executed. fwproof checks host keys whatever StrictHostKeyChecking says.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from fwproof.errors import Fault, InputError
from fwproof.policy.document import display_name
from fwproof.policy.scalars import quoted

_REFUSED = {
    "proxycommand": "fwproof runs no command on the way to a host; write ProxyJump instead",
    "knownhostscommand": "fwproof runs no command to learn host keys; write them into UserKnownHostsFile",
    "revokedhostkeys": "revoked keys are read from known_hosts only; write them there, with @revoked",
    "bindaddress": "fwproof does not choose the address that it connects from",
    "bindinterface": "fwproof does not choose the interface that it connects from",
    "addressfamily": "fwproof does not choose among the addresses of a name; write one into HostName",
    "certificatefile": "fwproof logs in with keys, not with user certificates",
    "pkcs11provider": "load the key into the ssh-agent instead",
    "securitykeyprovider": "load the key into the ssh-agent instead",
    "identityagent": "fwproof asks the agent of SSH_AUTH_SOCK; set that instead",
}
_HARMLESS = {"none", "any", "no"}
_MOST, _DEPTH = 1 << 20, 8
_HOP = re.compile(
    r"(?:ssh://)?(?:(?P<user>[A-Za-z_][A-Za-z0-9._-]*)@)?"
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*))(?::(?P<port>\d{1,5}))?/?"
)


@dataclass(frozen=True, slots=True)
class Hop:
    """A jump host as it is written: ``[user@]host[:port]``."""

    host: str
    user: str = ""
    port: int = 0


def read_hop(text: str) -> Hop | None:
    """Return a jump host from ``[user@]host[:port]`` or an ``ssh://`` address; None for anything else."""
    found = _HOP.fullmatch(text)
    if found is None or not 0 <= int(found["port"] or 0) <= 65535:
        return None
    return Hop(found["six"] or found["host"], found["user"] or "", int(found["port"] or 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the configuration has for one host; empty, 0 or None where it has nothing. ``timeout`` is in seconds."""

    host_name: str = ""
    port: int = 0
    user: str = ""
    identity_files: tuple[str, ...] = ()
    identities_only: bool = False
    known_hosts: str = ""
    host_key_alias: str = ""
    timeout: float = 0.0
    jumps: tuple[Hop, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    file: str
    number: int
    key: str
    words: tuple[str, ...]

    def fault(self, message: str) -> InputError:
        return InputError([Fault(self.file, self.number, 1, message)])


@dataclass(slots=True)
class _Block:
    """Lines that count for hosts that meet all ``conditions``: the patterns of a Host, and of those around it."""

    conditions: tuple[tuple[str, ...], ...] = ()
    lines: list[_Line] = field(default_factory=list)

    def is_about(self, name: str) -> bool:
        return all(_match(name, patterns) for patterns in self.conditions)


def _match(name: str, patterns: tuple[str, ...]) -> bool:
    hit = [p for p in patterns if fnmatchcase(name, p.removeprefix("!").replace("[", "[[]"))]
    return bool(hit) and not any(pattern.startswith("!") for pattern in hit)


class SshConfig:
    """One client configuration with all that it includes; see :func:`load_ssh_config`."""

    def __init__(self, blocks: Iterable[_Block]) -> None:
        self._blocks = tuple(blocks)

    def of(self, name: str) -> Found:
        """Return what there is for a host as it would be typed after ``ssh``; raises InputError."""
        first: dict[str, _Line] = {}
        files: list[str] = []
        for line in (line for block in self._blocks if block.is_about(name) for line in block.lines):
            if line.key in _REFUSED and line.key not in first and line.words[0].lower() not in _HARMLESS:
                # ssh takes whichever of the two comes first (ssh_config(5), ProxyJump)
                if line.key != "proxycommand" or "proxyjump" not in first:
                    raise line.fault(f"{line.key} for {quoted(name)}: {_REFUSED[line.key]}")
            elif line.key == "identityfile" and line.words[0].lower() != "none":
                files.append(_expanded(line, line.words[0], name))
            first.setdefault(line.key, line)
        return _found(name, first, files)


def _found(name: str, first: Mapping[str, _Line], files: Iterable[str]) -> Found:
    def word(key: str) -> str:
        return first[key].words[0] if key in first else ""

    known = [w for w in first["userknownhostsfile"].words if w] if "userknownhostsfile" in first else []
    if len(known) > 1:
        raise first["userknownhostsfile"].fault("several files of known host keys; name one")
    host_name = word("hostname").replace("%h", name).replace("%%", "%")
    if not re.fullmatch(r"[A-Za-z0-9:][A-Za-z0-9.:_-]*|", host_name):
        raise first["hostname"].fault(f"expected a host name or an address, not {quoted(host_name)}")
    return Found(
        host_name=host_name,
        port=_number(first, "port", 65535),
        user=word("user"),
        identity_files=tuple(dict.fromkeys(files)),
        identities_only=_yes(first, "identitiesonly"),
        known_hosts=_expanded(first["userknownhostsfile"], known[0], name) if known else "",
        host_key_alias=word("hostkeyalias"),
        timeout=float(_number(first, "connecttimeout", 300)),
        jumps=_jumps(first.get("proxyjump")),
    )


def _number(first: Mapping[str, _Line], key: str, most: int) -> int:
    line = first.get(key)
    if line is None or (key == "connecttimeout" and line.words[0] == "none"):
        return 0
    text = line.words[0]
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= most):
        raise line.fault(f"{key}: expected a number from 1 to {most}, not {quoted(text)}")
    return int(text)


def _yes(first: Mapping[str, _Line], key: str) -> bool:
    line = first.get(key)
    if line is not None and line.words[0] not in {"yes", "no"}:
        raise line.fault(f"{key}: expected yes or no, not {quoted(line.words[0])}")
    return line is not None and line.words[0] == "yes"


def _jumps(line: _Line | None) -> tuple[Hop, ...] | None:
    if line is None:
        return None
    if line.words[0].lower() == "none":
        return ()
    hops = []
    for text in ",".join(line.words).split(","):
        hop = read_hop(text)
        if hop is None:
            raise line.fault(f"proxyjump: expected [user@]host[:port], not {quoted(text)}")
        hops.append(hop)
    return tuple(hops)


def _expanded(line: _Line, text: str, name: str) -> str:
    """Return a path without tokens; those that depend on more than the host's name are refused."""
    text = text.replace("%d", str(Path.home())).replace("%n", name).replace("%%", "\0")
    if "%" in text or "${" in text:
        raise line.fault(f"{line.key}: {quoted(text)} has a token that fwproof does not know; write the path out")
    return text.replace("\0", "%")


def load_ssh_config(path: Path) -> SshConfig:
    """Read a configuration file and what it includes; raises InputError with file and line."""
    return SshConfig(_blocks(path, (), 0))


def _blocks(path: Path, around: tuple[tuple[str, ...], ...], above: int) -> Iterator[_Block]:
    """Yield the blocks of a file; ``around`` are the conditions under which it is included, ``above`` files deep."""
    block = _Block(around)
    for line in _lines(path):
        if line.key == "match":
            raise line.fault("Match is not supported: fwproof cannot tell which hosts it is about; write Host instead")
        if line.key == "include":
            yield block
            if above >= _DEPTH:
                raise line.fault(f"Include is nested more than {_DEPTH} deep")
            for included in _included(line):
                yield from _blocks(included, block.conditions, above + 1)
            block = _Block(block.conditions)
        elif line.key == "host":
            yield block
            block = _Block((*around, line.words))
        else:
            block.lines.append(line)
    yield block


def _included(line: _Line) -> Iterator[Path]:
    for word in line.words:
        pattern = _home(word)
        base = pattern if pattern.is_absolute() else Path.home() / ".ssh" / pattern
        yield from sorted(path for path in base.parent.glob(base.name) if path.is_file())


def _home(text: str) -> Path:
    return Path.home() / text.removeprefix("~/") if text.startswith("~/") else Path(text)


def _lines(path: Path) -> Iterator[_Line]:
    file = display_name(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST + 1)
    except OSError as error:
        raise InputError([Fault(file, 0, 0, f"cannot be read: {error.strerror}")]) from None
    if len(data) > _MOST:
        raise InputError([Fault(file, 0, 0, "is larger than 1 MiB; a client configuration is a few kilobytes")])
    for number, raw in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text = raw.strip()
        if not text or text.startswith("#"):
            continue
        key, rest = re.fullmatch(r"([^\s=]*)(?:\s*=\s*|\s+|$)(.*)", text).groups()  # type: ignore[union-attr]
        try:
            words = tuple(shlex.split(rest, comments=True))
        except ValueError:
            words = ()
        if not words:
            raise InputError([Fault(file, number, 1, f"{quoted(key)} has no value, or a quote that is not closed")])
        yield _Line(file, number, key.lower(), words)
