"""What a sequence of iptables-restore(8) runs leaves in the kernel, as one text of iptables-save.

ufw loads its rules in that way, piece by piece (ufw-init-functions of ufw 0.36).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fwproof.digits import digits
from fwproof.flow import Family

_COUNTERS = re.compile(r"^\[[0-9]+:[0-9]+\] *")
_WAYS = ("input", "output", "forward")
_BUILT_IN = ("INPUT", "FORWARD", "OUTPUT")
POLICIES = ("ACCEPT", "DROP", "REJECT")


class NotUnderstood(Exception):
    """A saved text has a line that is not followed here; the message names it."""


@dataclass(slots=True)
class _Table:
    policies: dict[str, str] = field(default_factory=dict)
    chains: dict[str, list[str]] = field(default_factory=dict)


class Restored:
    """Tables as iptables-restore fills them; :meth:`load` is one run with ``--noflush``."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = {}

    def load(self, text: str, name: str) -> None:
        """Load a text named ``name`` on top of what is there; raises NotUnderstood."""
        table: _Table | None = None
        for number, raw in enumerate(text.splitlines(), 1):
            line = _COUNTERS.sub("", raw.strip())
            if not line or line.startswith("#"):
                continue
            if line.startswith("*"):
                table = self._tables.setdefault(line[1:].strip(), _Table())
            elif line == "COMMIT":
                table = None
            elif table is None or not _apply(table, line):
                raise NotUnderstood(f"{name}:{number}: {line[:80]}")

    def text(self) -> str:
        """Return what iptables-save would print, in the spelling of the sources."""
        lines: list[str] = []
        for name, table in self._tables.items():
            lines.append(f"*{name}")
            lines += [f":{chain} {table.policies.get(chain, '-')} [0:0]" for chain in table.chains]
            lines += [f"-A {chain} {rule}" for chain, rules in table.chains.items() for rule in rules]
            lines.append("COMMIT")
        return "".join(f"{line}\n" for line in lines)


def _apply(table: _Table, line: str) -> bool:
    """Carry out one line; False for one that is not followed."""
    words = line.split(None, 2)
    rest = words[2] if len(words) > 2 else ""
    if line.startswith(":"):
        chain, policy = line[1:].split()[:2]
        if policy == "-":
            table.chains[chain] = []  # a chain that was there is emptied
        else:
            table.policies[chain] = policy
            table.chains.setdefault(chain, [])
    elif words[0] in {"-A", "--append"} and rest:
        table.chains.setdefault(words[1], []).append(rest)
    elif words[0] in {"-I", "--insert"} and rest:
        place, _, spec = rest.partition(" ")
        number = digits(place)
        table.chains.setdefault(words[1], []).insert((number or 1) - 1, rest if number is None else spec)
    elif words[0] in {"-F", "--flush"} and len(words) == 2:
        table.chains[words[1]] = []
    elif words[0] in {"-N", "--new-chain"} and len(words) == 2:
        table.chains.setdefault(words[1], [])
    elif words[0] in {"-P", "--policy"} and rest in {"ACCEPT", "DROP"}:
        table.policies[words[1]] = rest
        table.chains.setdefault(words[1], [])
    else:
        return False
    return True


def ufw_boots(family: Family, policies: Mapping[str, str], before: str, after: str, user: str) -> str:
    """Return the tables of a family that ufw makes at boot of its three files; raises NotUnderstood.

    ``policies`` are the defaults for ``input``, ``output`` and ``forward``, each one of :data:`POLICIES`.
    """
    v6 = "6" if family is Family.IPV6 else ""
    made = Restored()
    made.load("\n".join(_frame(f"ufw{v6}", policies)), "ufw")
    for name, text in (("before", before), ("after", after)):
        made.load(text, f"/etc/ufw/{name}{v6}.rules")
    chains = ("input", "output", "forward", "logging-input", "logging-output", "logging-forward", "limit",
              "limit-accept")  # fmt: skip
    made.load("\n".join(["*filter", *(f":ufw{v6}-user-{chain} - [0:0]" for chain in chains), "COMMIT"]), "ufw")
    made.load(user, f"/etc/ufw/user{v6}.rules")
    made.load("\n".join(_hooks(f"ufw{v6}", policies)), "ufw")
    return made.text()


def ufw_shut() -> str:
    """Return the IPv6 tables that ufw makes with IPV6=no."""
    chains = "".join(f":{chain} DROP [0:0]\n" for chain in _BUILT_IN)
    return f"*filter\n{chains}-A INPUT -i lo -j ACCEPT\n-A OUTPUT -o lo -j ACCEPT\nCOMMIT\n"


def _frame(ufw: str, policies: Mapping[str, str]) -> Iterable[str]:
    """Yield what ufw-init loads before the files: chains, the calls to them, and what its defaults mean."""
    parts = ("before-logging", "before", "after", "after-logging", "reject", "track")
    yield "*filter"
    yield from (f":{chain} ACCEPT [0:0]" for chain in _BUILT_IN)
    yield from (f":{ufw}-{part}-{way} - [0:0]" for part in parts for way in _WAYS)
    yield from (f":{ufw}-skip-to-policy-{way} - [0:0]" for way in _WAYS)
    yield from (f":{ufw}-logging-{what} - [0:0]" for what in ("deny", "allow"))
    for way in _WAYS:
        yield from (f"-A {way.upper()} -j {ufw}-{part}-{way}" for part in parts)
        yield f"-A {ufw}-skip-to-policy-{way} -j {policies[way]}"
        if policies[way] == "REJECT":
            yield f"-A {ufw}-reject-{way} -j REJECT"
        if policies[way] == "ACCEPT":
            yield from (f"-A {ufw}-track-{way} -p {proto} -m conntrack --ctstate NEW -j ACCEPT"
                        for proto in ("tcp", "udp"))  # fmt: skip
    yield "COMMIT"


def _hooks(ufw: str, policies: Mapping[str, str]) -> Iterable[str]:
    yield "*filter"
    yield from (f"-A {ufw}-before-{way} -j {ufw}-user-{way}" for way in _WAYS)
    yield from (f":{way.upper()} {'ACCEPT' if policies[way] == 'ACCEPT' else 'DROP'} [0:0]" for way in _WAYS)
    yield "COMMIT"
