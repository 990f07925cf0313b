"""Whether a command's output looks like what that command prints; what does not is Garbled, never "no rules".

Shapes: iptables-save(8) and ipset(8) "save", libnftables-json(5), ``ip -j``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from fwproof.errors import CommandRefused, Garbled, HostError, NotThere
from fwproof.hosts.access import Command
from fwproof.hosts.filter_commands import WAYS
from fwproof.hosts.refusal import raise_if_refused, says_no_file
from fwproof.snapshot import Capture

_FIREWALL_CMD = "/usr/bin/firewall-cmd"
_NOT_RUNNING = 252
"""The exit status of firewall-cmd(1) where the daemon does not run."""
_NO_BUS = re.compile(r"^Error: DBUS_ERROR: Failed to connect to socket \S+: No such file or directory$", re.MULTILINE)
"""Without a message bus the daemon cannot run either."""
_READERS = {"/usr/bin/cat", "/usr/bin/tail"}
_NFT_FILE = re.compile(r"/nft -f (\S+) && ")
"""The file that :func:`fwproof.hosts.boot_commands.nft_boot` has nft load; one that it includes may lack as well."""


def fault_of(host: str, command: Command, capture: Capture) -> HostError | None:
    """Return why a capture cannot be relied on, None when it can.

    NotThere: the file that was to be read does not exist. CommandRefused: sudo would not, or the command
    failed. Garbled: it said that all is well, and printed something else.
    """
    if capture.status != 0:
        return _failure(host, command, capture)
    wrong = _SHAPES[command.shape](capture.stdout)
    if wrong is None:
        return None
    return Garbled(host, f"{command.name} printed {wrong}", "see the raw evidence; run the command on the host by hand")


def _failure(host: str, command: Command, capture: Capture) -> HostError:
    try:
        raise_if_refused(host, capture.argv, capture.stderr)
    except CommandRefused as refusal:
        return refusal
    path = command.words[-1]
    if command.program in _READERS and says_no_file(path, capture.stderr):
        return NotThere(host, f"{path}: No such file or directory")
    if command.shape == "traffic-control" and says_no_file("/usr/sbin/tc", capture.stderr):
        return NotThere(host, "/usr/sbin/tc: not installed")
    if (loaded := _NFT_FILE.search(path)) and f'"{loaded[1]}": No such file or directory' in capture.stderr:
        return NotThere(host, f"{loaded[1]}: No such file or directory")
    if command.program == _FIREWALL_CMD and (capture.status == _NOT_RUNNING or _NO_BUS.search(capture.stderr)):
        return NotThere(host, "firewalld is installed and does not run")
    said = (capture.stderr.strip() or capture.stdout.strip() or "no message").splitlines()[0][:300]
    ended = "was killed" if capture.status < 0 else f"ended with status {capture.status}"
    return CommandRefused(host, f"{' '.join(command.words[:4])} {ended}: {said}")


def _iptables_save(text: str) -> str | None:
    table = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("*") and table is None:
            table = line
        elif line == "COMMIT" and table is not None:
            table = None
        elif line.startswith("#") or not line:
            continue
        elif table is None or line[0] not in ":-[":
            return f"a line that iptables-save never prints (line {number}: {line[:80]!r})"
    return None if table is None else f"only a part of the table {table[1:]}: its COMMIT is missing"


def _ipset_save(text: str) -> str | None:
    for number, line in enumerate(text.splitlines(), 1):
        if line and not line.startswith(("create ", "add ")):
            return f"a line that ipset save never prints (line {number}: {line[:80]!r})"
    return None


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _nft_json(text: str) -> str | None:
    found = _json(text)
    if isinstance(found, dict) and isinstance(found.get("nftables"), list):
        return None
    return f"something other than nft's JSON: {text[:80]!r}"


def _json_list(text: str) -> str | None:
    return None if isinstance(_json(text), list) else f"something other than a JSON list: {text[:80]!r}"


def _traffic_control(text: str) -> str | None:
    for number, line in enumerate(text.splitlines(), 1):
        if len(parts := line.split(" ", 2)) < 3 or parts[1] not in WAYS:
            return f"a line that is no device with its filters (line {number}: {line[:80]!r})"
    return None


def _uname(text: str) -> str | None:
    return None if text.startswith("Linux ") else f"the name of another system: {text[:80]!r}"


def _text(text: str) -> str | None:
    del text
    return None


_SHAPES: dict[str, Callable[[str], str | None]] = {
    "iptables-save": _iptables_save, "ipset-save": _ipset_save, "nft-json": _nft_json, "json-list": _json_list,
    "uname": _uname, "traffic-control": _traffic_control, "text": _text,
}  # fmt: skip
