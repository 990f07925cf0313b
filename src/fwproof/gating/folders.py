"""What ufw or firewalld make of a configuration folder: they themselves, on a host of the embedded lab, loading it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fwproof.errors import HostError, LabError, NotThere, UsageError
from fwproof.hosts.access import PLAIN_COMMANDS, ROOT_COMMANDS
from fwproof.lab import Lab
from fwproof.snapshot import Capture, Snapshot

_HOST = "candidate"
_TOPOLOGY = f"""\
image: front-ends
service_program: nothing.py
networks: [link]
hosts:
  {_HOST}:
    links:
      - {{network: link, addresses: [192.0.2.2/24, "2001:db8::2/64"]}}
    files: [host]
    units: [%s]
"""
_MARKS = {"ufw": ("user.rules", "ufw.conf"), "firewalld": ("firewalld.conf", "zones")}
"""What a folder of each has, either of them."""
_COMMANDS = {
    "iptables_save": ("iptables-save",), "ip6tables_save": ("ip6tables-save",), "ipset_save": ("ipset", "save"),
    "nft_json": ("nft", "-j", "list", "ruleset"),
}  # fmt: skip
_MASK = re.compile(r" --mask (?:255\.255\.255\.255|ffff(?::ffff){7})(?= )")
_TOLD = ("ufw", "firewalld", "boot-links")
"""How the commands are called whose output says what a front end has been told."""
_WANTED = {"ufw": ("iptables_save", "ip6tables_save"), "firewalld": ("iptables_save", "ip6tables_save", "nft_json")}


@dataclass(frozen=True, slots=True)
class OfFolder:
    """The tables that a front end has loaded, and what it and its files say of themselves, as a snapshot has it."""

    texts: dict[str, str]
    told: Snapshot


def tables_of_folder(front: str, folder: Path, progress: Callable[[str], None]) -> OfFolder:
    """Return the tables that ``front`` (``ufw``, ``firewalld``) loads from a copy of its folder in /etc.

    What a folder makes it run is run on the lab's host, which has no way out. Raises UsageError for a folder that is
    none, LabError where the lab cannot be had or nothing was loaded.
    """
    if not any((folder / mark).exists() for mark in _MARKS[front]):
        raise UsageError(
            f"--{front} {folder}: expected a copy of /etc/{front}, with {' or '.join(_MARKS[front])} in it"
        )
    if front == "ufw":
        _enabled(folder)
    progress(f"loading {folder} with {front} on a host of the lab")
    with tempfile.TemporaryDirectory(prefix="fwproof-gate-") as scratch:
        place = Path(scratch)
        place.chmod(0o755)
        _copied(front, folder, place / "host" / "etc")
        (place / "nothing.py").touch()  # no service of this host is asked for
        topology = place / "topology.yaml"
        topology.write_text(_TOPOLOGY % front, encoding="utf-8")
        with Lab(f"gate-{os.getpid()}", topology) as lab:
            texts = {key: _plain(_printed(lab, _COMMANDS[key], front)) for key in _WANTED[front]}
            return OfFolder(texts, _told(lab))


def _told(lab: Lab) -> Snapshot:
    """Ask the host what an audit asks one of its front end."""
    captures: dict[str, Capture] = {}
    faults: dict[str, HostError] = {}
    for each in (*ROOT_COMMANDS, *PLAIN_COMMANDS):
        if not each.name.startswith(_TOLD):
            continue
        begun, done = time.monotonic(), lab.run(_HOST, list(each.words))
        if done.returncode != 0:
            faults[each.name] = NotThere(_HOST, f"{each.words[0]} says: {done.stderr.strip()[:200]}")
            continue
        captures[each.name] = Capture(
            name=each.name, argv=each.words, status=0, stdout=str(done.stdout), stderr="", at="",
            seconds=time.monotonic() - begun,
        )  # fmt: skip
    return Snapshot(host=_HOST, captures=captures, faults=faults)


def _plain(text: str) -> str:
    """Leave out the mask that ``recent`` has where none is written, which iptables-save prints all the same.

    Loaded again, that of IPv4 would also mask the sources of IPv6 where a list has one name in both: a list has the
    mask of the rule that made it (xt_recent.c, recent_mt_check), and four bytes of it are all that the option sets.
    """
    lines = text.split("\n")
    return "\n".join(_MASK.sub("", line) if "-m recent" in line else line for line in lines)


def _enabled(folder: Path) -> None:
    conf = folder / "ufw.conf"
    text = conf.read_text(encoding="utf-8", errors="replace") if conf.exists() else ""
    if re.search(r"^\s*ENABLED\s*=\s*[\"']?no\b", text, re.IGNORECASE | re.MULTILINE):
        raise UsageError(f"{conf}: ENABLED=no, so ufw would load nothing: deploy it with ENABLED=yes")


def _copied(front: str, folder: Path, etc: Path) -> None:
    """Copy a folder, and what lies beside it in /etc and belongs to it; links lead nowhere in the copy."""
    try:
        shutil.copytree(folder, etc / front, symlinks=True)
        beside = folder.parent / "default" / front
        if beside.is_file():
            (etc / "default").mkdir()
            shutil.copy(beside, etc / "default" / front)
    except (OSError, shutil.Error) as error:
        raise UsageError(f"--{front} {folder}: cannot be copied: {error}") from error


def _printed(lab: Lab, words: tuple[str, ...], front: str) -> str:
    done = lab.run(_HOST, list(words))
    if done.returncode != 0:
        raise LabError(f"{front} on the lab's host: {words[0]} failed: {done.stderr.strip()[:300]}")
    return str(done.stdout)
