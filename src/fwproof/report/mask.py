"""A copy of a run with other addresses, for readers who may know what was found and not where (PCI DSS 1.4.5).

Addresses are replaced by pseudonyms that keep their prefixes: two that share their first n bits share as many
afterwards, so that networks stay networks and a report stays readable (Xu and others, "Prefix-preserving IP address
anonymization", 2002; here each bit is turned by HMAC-SHA256 of the bits before it). The key is drawn for each copy; who
has it can tell which address is which, so it is written beside the copy and never into it. Loopback, link-local,
multicast and unspecified addresses mean the same everywhere and stay. MAC addresses are replaced as a whole.

Captured packets are left out, with the bytes of each stored observation: their addresses are in checksums as well.
Names of hosts, zones and interfaces stay.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path, PurePosixPath
from typing import Any

from fwproof.errors import FwproofError, InputError, UsageError
from fwproof.report.clean import one_line
from fwproof.report.document import in_words, read_results
from fwproof.report.formats import EXTRAS, REPORTS
from fwproof.report.manifest import MANIFEST, POLICY, SUMS, digest
from fwproof.report.sign import SIGNATURE, sign
from fwproof.report.write import run_files

KEY_BYTES = 32
_V4 = r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)"
_V6 = r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{0,4})(?!\w)"
_MAC = r"(?<![\w:])(?:(?:[0-9A-Fa-f]{2}:){13}|(?:[0-9A-Fa-f]{2}:){5})[0-9A-Fa-f]{2}(?!\w|:\w)"
_ANY = re.compile(rf"(?P<mac>{_MAC})|(?P<v6>{_V6})|(?P<v4>{_V4})")
_LENGTH = re.compile(r"/(\d{1,3})(?!\d)")
_SAME_EVERYWHERE = frozenset({"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"})
_LEFT_OUT = {".pcap"}


class Mask:
    """Replaces addresses in text by pseudonyms that ``key`` decides."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.address: Callable[[IPv4Address | IPv6Address], IPv4Address | IPv6Address] = cache(self._address)

    def _address(self, address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
        if _means_the_same_everywhere(address):
            return address
        bits, kept = address.max_prefixlen, _kept(address)
        number, found = int(address), int(address) >> (bits - kept)
        for at in range(kept, bits):
            before = number >> (bits - at)
            told = hmac.digest(self._key, f"{address.version} {at} {before}".encode(), "sha256")
            found = found << 1 | (number >> (bits - at - 1) & 1) ^ (told[0] & 1)
        made = type(address)(found)
        # a pseudonym must not mean something of its own: such a one is turned once more
        return self._address(made) if _means_the_same_everywhere(made) else made

    def text(self, text: str) -> str:
        """Return a text with every address replaced."""
        parts, at = [], 0
        for found in _ANY.finditer(text):
            if found.start() >= at:
                new, end = self._instead(text, found)
                parts += [text[at : found.start()], new]
                at = end
        return "".join([*parts, text[at:]])

    def _instead(self, text: str, found: re.Match[str]) -> tuple[str, int]:
        """Return what takes an address's place, and where the text goes on."""
        if found["mac"]:
            return self._mac(found[0]), found.end()
        address, end = _read(found)
        if address is None:
            return found[0], end
        length = _LENGTH.match(text, end)
        made = self.address(address)
        if length is not None and int(length[1]) <= address.max_prefixlen:
            host_bits = (1 << (address.max_prefixlen - int(length[1]))) - 1
            if not int(address) & host_bits:  # a network stays one
                made = type(made)(int(made) & ~host_bits)
        return str(made), end

    def _mac(self, mac: str) -> str:
        def one(part: str) -> str:
            if part.lower() in _SAME_EVERYWHERE:
                return part
            told = bytearray(hmac.digest(self._key, f"mac {part.lower()}".encode(), "sha256")[:6])
            told[0] = told[0] & 0xFC | 0x02  # locally administered, one station (IEEE 802)
            return ":".join(f"{each:02x}" for each in told)

        octets = mac.split(":")
        # a packet log has both ends and the type of the frame in one: six, six and two
        return ":".join(
            one(":".join(octets[n : n + 6])) if len(octets[n : n + 6]) == 6 else ":".join(octets[n : n + 6])
            for n in range(0, len(octets), 6)
        )


def _read(found: re.Match[str]) -> tuple[IPv4Address | IPv6Address | None, int]:
    """Return the address in a match and where it ends: a colon after it may be the sentence's."""
    for text in (found[0], found[0].removesuffix(":")):
        with suppress(ValueError):
            return ip_address(text), found.start() + len(text)
    return None, found.end()


def _kept(address: IPv4Address | IPv6Address) -> int:
    """Return how many bits in front say what kind of address it is: what is routed stays routed, what is private so."""
    if address.version == 6:
        return 8 if int(address) >> 120 == 0xFD else 3
    number = int(address)
    for network, length in ((0x0A, 8), (0xAC1, 12), (0xC0A8, 16)):
        if number >> (32 - length) == network:
            return length
    return 0


def _means_the_same_everywhere(address: IPv4Address | IPv6Address) -> bool:
    whole = address.version == 4 and int(address) == 0xFFFFFFFF
    return whole or address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified


def masked_copy(run: Path, output: Path, key: bytes | None = None, sign_key: Path | None = None) -> Path:
    """Write a copy of a run with other addresses to ``output``; return the file beside it that holds the key.

    ``key`` decides the pseudonyms, drawn where none is given; ``sign_key`` is what the copy is signed with.

    The hash of the original's SHA256SUMS is in its manifest. Raises UsageError where the run is none, is a masked copy
    itself, or something is at ``output`` already, and FwproofError when the disk refuses.
    """
    key_file = output.with_name(f"{output.name}.key")
    for place in (output, key_file):
        if place.exists() or place.is_symlink():
            raise UsageError(f"{one_line(str(place))} is already there; evidence is never overwritten")
    mask = Mask(secrets.token_bytes(KEY_BYTES) if key is None else key)
    try:
        files = _masked_files(run, mask)
        if sign_key is not None:
            files[SIGNATURE] = sign(files[SUMS], sign_key)
        aside = output.with_name(f".{output.name}.{secrets.token_hex(4)}.partial")
        try:
            for name, content in files.items():
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                (aside / name).write_bytes(content)
            key_file.touch(mode=0o600, exist_ok=False)
            key_file.write_text(f"{mask._key.hex()}\n", encoding="ascii")  # noqa: SLF001 - nobody else may have it
            aside.rename(output)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise FwproofError(f"cannot write the copy {one_line(str(output))}: {error.strerror}") from error
    return key_file


def _masked_files(run: Path, mask: Mask) -> dict[str, bytes]:
    try:
        sums, results = (run / SUMS).read_bytes(), read_results(run)
    except (OSError, InputError) as error:
        raise UsageError(f"{one_line(str(run))} is no run that can be copied: {one_line(str(error))}") from error
    if json.loads((run / MANIFEST).read_bytes()).get("masked"):
        raise UsageError(f"{one_line(str(run))} is a masked copy itself: copy the original")
    evidence: dict[str, bytes] = {}
    inputs: dict[str, bytes] = {}
    left_out: list[str] = []
    for path in sorted(each for each in run.rglob("*") if each.is_file() and not each.is_symlink()):
        name = path.relative_to(run).as_posix()
        if PurePosixPath(name).suffix in _LEFT_OUT:
            left_out.append(name)
        elif name.startswith("evidence/"):
            evidence[name] = _masked_file(name, path.read_bytes(), mask)
        elif name.startswith(f"{POLICY}/"):
            inputs[name.removeprefix(f"{POLICY}/")] = _masked_file(name, path.read_bytes(), mask)
        elif name not in {*REPORTS, *EXTRAS.values(), SUMS, SIGNATURE, MANIFEST, "results.schema.json"}:
            left_out.append(name)
    _index_again(evidence)
    told = {"run": results.run.id, "sha256sums": digest(sums)}
    return run_files(in_words(results, mask.text), evidence, inputs, masked=told, left_out=left_out)


def _masked_file(name: str, content: bytes, mask: Mask) -> bytes:
    if name.endswith(".jsonl"):
        return b"".join(_json_line(json.loads(line), mask) for line in content.splitlines() if line.strip())
    return mask.text(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _json_line(data: Any, mask: Mask) -> bytes:
    return (json.dumps(_without_packets(data, mask), separators=(",", ":")) + "\n").encode("ascii")


def _without_packets(data: Any, mask: Mask) -> Any:
    """Return stored facts with other addresses, and without the bytes of packets."""
    if isinstance(data, str):
        return mask.text(data)
    if isinstance(data, list):
        return [_without_packets(each, mask) for each in data]
    if isinstance(data, dict):
        seen = data.get("is") == "Seen"
        return {
            mask.text(key): "" if seen and key == "raw" else _without_packets(each, mask) for key, each in data.items()
        }
    return data


def _index_again(evidence: dict[str, bytes], index: str = "evidence/snapshots.json") -> None:
    """Give the list of readings the hashes of the texts as they are now."""
    if index not in evidence:
        return
    document = json.loads(evidence[index])
    for snapshot in document["snapshots"].values():
        for capture in snapshot.get("captures", ()):
            capture["sha256"] = hashlib.sha256(evidence[capture["file"]]).hexdigest()
    evidence[index] = (json.dumps(document, indent=1) + "\n").encode("ascii")
