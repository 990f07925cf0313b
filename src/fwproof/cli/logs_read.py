"""Opening the files of a packet log: plain, compressed, or standard input."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from fwproof.errors import Fault, InputError
from fwproof.evidence.log_stamps import Clock
from fwproof.evidence.packet_log import read_log
from fwproof.review.tally import Tally

_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"\xfd7zXZ": "is compressed with xz: give `xz -dc FILE | fwproof logs -`",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: give `zstd -dc FILE | fwproof logs -`",
    b"BZh": "is compressed with bzip2: give `bzip2 -dc FILE | fwproof logs -`",
    b"LPKSHHRH": "is a file of the journal: give `journalctl -k -o json --file FILE | fwproof logs -`",
}
_BUFFER = 1 << 18


def read_file(name: str, tally: Tally, clock: Clock) -> None:
    """Count every line of a file, ``-`` for standard input.

    Raises InputError where it cannot be opened, or is of a kind that is not read.
    """
    if name == "-":
        stdin = io.BufferedReader(cast("io.RawIOBase", sys.stdin.buffer), _BUFFER)
        try:
            _count(cast("BinaryIO", stdin), "-", tally, clock)
        finally:
            stdin.detach()  # it would close standard input as well
        return
    path = Path(name)
    try:
        with path.open("rb", buffering=_BUFFER) as stream:
            _count(stream, name, tally, clock.at_most(path.stat().st_mtime))
    except OSError as error:
        raise InputError([Fault(name, 0, 0, f"cannot be read: {error.strerror}")]) from error


def read_text(text: str, tally: Tally, clock: Clock) -> None:
    """Count every line of a text that was read from a host."""
    stream = io.BytesIO(text.encode("utf-8", "surrogateescape"))
    for line in read_log(stream, clock):
        tally.add(line)


def _count(stream: BinaryIO, name: str, tally: Tally, clock: Clock) -> None:
    first = cast("io.BufferedReader", stream).peek(8)
    for magic, words in _OTHERS.items():
        if first.startswith(magic):
            raise InputError([Fault(name, 0, 0, words.replace("FILE", name))])
    source = stream
    if first.startswith(_GZIP):
        source = cast("BinaryIO", gzip.GzipFile(fileobj=stream))
    try:
        for line in read_log(source, clock):
            tally.add(line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        tally.unread.append(f"{name} cannot be read to its end: {error}")
