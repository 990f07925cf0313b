"""Loading tables into the kernel of a twin, as a host would; what the kernel refuses is a fault with its line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface

from fwproof.errors import Fault, InputError, LabError
from fwproof.gating.candidate import Candidate
from fwproof.gating.command import Command
from fwproof.gating.states import plain
from fwproof.lab.twin import Done, Port, Shape, Twin

_FILE = "/tmp/fwproof-rules"  # noqa: S108 - the twin's own: nft opens what it reads, and a pipe of ours is not its to open
_RESTORE = {
    "ipset_save": ("ipset", "restore"), "iptables_save": ("iptables-restore",),
    "ip6tables_save": ("ip6tables-restore",), "iptables_legacy_save": ("iptables-legacy-restore",),
    "ip6tables_legacy_save": ("ip6tables-legacy-restore",), "nft_json": ("nft", "-j", "-f", _FILE),
}  # fmt: skip
"""What loads a text, in the order in which they have to come: rules name sets."""
_NFT = ("nft", "-f", _FILE)
_LINE = re.compile(r"(?:\bline:? |/tmp/fwproof-rules:|internal:)(\d+)")
_END = "fwproof-end-of-table"
_ABSENT = 127
_SECONDS = 60.0
_LISTED = {
    "iptables_save": ("iptables-save",), "ip6tables_save": ("ip6tables-save",),
    "nft_json": ("nft", "-j", "list", "ruleset"),
}  # fmt: skip


def load(twin: Twin, candidate: Candidate) -> tuple[Fault, ...]:
    """Load a candidate into the twin's own host; return what the kernel, or the program that speaks to it, refuses.

    Raises LabError where this machine has not the program that it takes.
    """
    beside = [each for sets in (candidate.before.rulesets.values() if candidate.before else ()) for each in sets]
    if candidate.commands and not all(map(plain, beside)):
        raise LabError("the kernel twin: what runs has tables beside those of iptables, and it would be without them")
    found = list(_texts(twin, candidate.under, {}))
    found += _texts(twin, {} if candidate.nft else candidate.texts, candidate.sources)
    for name, text in candidate.nft:
        found += _faults(_fed(twin, _NFT, text), name, text, "nft")
    if candidate.commands:
        found += _commands(twin, candidate.commands)
    return tuple(found)


def _texts(twin: Twin, texts: Mapping[str, str], sources: Mapping[str, str]) -> Iterator[Fault]:
    for key, words in _RESTORE.items():
        text = texts.get(key, "")
        if text.strip():
            done = _fed(twin, words, text)
            yield from _faults(done, sources.get(key, key), text, words[0])


def _fed(twin: Twin, words: Sequence[str], text: str) -> Done:
    """Run a program on the twin's own host that reads a text, from its standard input or from a file there."""
    if _FILE in words:
        twin.run(twin.shape.name, "sh", "-c", f"cat > {_FILE}", stdin=_bytes(text))
    return twin.run(twin.shape.name, *words, stdin=_bytes(text), timeout=_SECONDS)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _faults(done: Done, source: str, text: str, program: str) -> Iterator[Fault]:
    if done.status == 0:
        return
    if done.status == _ABSENT:
        raise LabError(f"the kernel twin: this machine has no {program}")
    line = next((int(number) for number in _LINE.findall(done.err)), 0)
    written = text.split("\n")[line - 1].strip()[:200] if 0 < line <= text.count("\n") + 1 else ""
    said = " ".join(done.err.split())[:400] or f"{program} ended with {done.status}"
    yield Fault(
        source, line, 1 if line else 0, f"the kernel does not take it: {said}" + (f" ({written})" if written else "")
    )


def _commands(twin: Twin, commands: Sequence[Command]) -> Iterator[Fault]:
    """Run commands one after the other, no shell reading a word of them, up to the first that fails."""
    lines = []
    for number, command in enumerate(commands):
        stop = f"{{ echo fwproof-{number} >&2; exit 1; }}"
        way = "&&" if command.status else "||"  # what the script does next depends on a status that is known
        otherwise = "true" if command.may_fail and command.status is None else stop
        here = f" <<'{_END}'" if command.feed else ""
        lines.append(f"{shlex.join(command.words)}{here} {way} {otherwise}")
        lines += [f"{command.feed}{_END}"] if command.feed else []
    done = twin.run(twin.shape.name, "sh", "-s", stdin=_bytes("\n".join([*lines, ""])), timeout=_SECONDS)
    if done.status == 0:
        return
    stopped = re.findall(r"^fwproof-(\d+)$", done.err, re.MULTILINE)
    if not stopped:
        raise LabError(f"the kernel twin: the commands could not be run: {done.err.strip()[:300]}")
    command = commands[int(stopped[-1])]
    said = " ".join(line for line in done.err.splitlines() if not line.startswith("fwproof-"))[-400:]
    why = f"the kernel does not take it: {said}" if not command.status else (
        f"it works, where the script was read as if it ended with {command.status} here")  # fmt: skip
    yield Fault(command.source, command.line, 1, f"{why} ({command.text})")


def listed(twin: Twin) -> dict[str, str]:
    """Return the tables of the twin's own host as the kernel has them now; raises LabError."""
    found = {}
    for key, words in _LISTED.items():
        done = twin.run(twin.shape.name, *words)
        if done.status != 0:
            raise LabError(f"the kernel twin: {words[0]} failed: {done.err.strip()[:300]}")
        found[key] = done.out
    return found


def through_kernel(
    scripts: Sequence[tuple[str, str]], under: Mapping[str, str] | None = None, *, by_sh: bool = False
) -> list[dict[str, str]]:
    """Return the tables after each of some scripts for ``nft -f``, or of any commands (``by_sh``), in a kernel alone.

    ``under`` is loaded before the first.

    Such commands are run by sh, in a network that leads nowhere and with every file of this machine read-only.
    Each script has its name before it. Raises InputError where one fails, LabError where no such kernel can be had.
    """
    words = ("sh", "-s") if by_sh else _NFT
    tables = []
    with Twin(
        Shape(name="host", ports=(Port(name="eth0", addresses=(ip_interface("192.0.2.1/24"),)),), others={})
    ) as twin:
        beneath = list(_texts(twin, under or {}, dict.fromkeys(under or {}, "what runs")))
        if beneath:
            raise InputError(beneath)
        for name, text in scripts:
            found = list(_faults(_fed(twin, words, text), name, text, words[0]))
            if found:
                raise InputError(found)
            tables.append(listed(twin))
    return tables
