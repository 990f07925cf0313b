"""What an action of fail2ban does with a banned address: where it puts it, and what that keeps out.

Read from the commands that fail2ban runs, after its tags are filled in for one address family (jail.conf(5), "ACTION
FILES"; ``server/action.py``: ``name?family=inet6`` stands in for ``name`` where the address is of IPv6), so that an
action with a name of its own is understood as well as those that ship with fail2ban.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fwproof.digits import digits
from fwproof.evidence.fail2ban_config import Action
from fwproof.flow import Family

_TAG = re.compile(r"<([A-Za-z0-9_./?=-]+)>")
_DEPTH = 12
"""How deep tags may be nested, as in fail2ban (``server/action.py``, ``MAX_TAG_REPLACE_COUNT``, is 25)."""
_LIMIT = 20_000
_CHAIN = re.compile(r"\b(ip6?tables)\b[^\n|;&]*?\s-[IA]\s+(\S+)[^\n]*?<(?:ip|F-ID|fid)>")
_NFT = re.compile(r"\bnft\b[^\n]*?\badd element (\S+) (\S+) (\S+)")
_IPSET = re.compile(r"\bipset\b[^\n]*?\badd (\S+) <ip>")
UNREAD = "a list of xt_recent"
"""What no command that is collected shows."""
_OTHER = (
    (re.compile(r"\bfirewall-cmd\b[^\n]*rich-rule"), "a rich rule of firewalld"),
    (re.compile(r"\bfirewall-cmd\b[^\n]*--ipset="), "a set of firewalld"),
    (re.compile(r"\bufw\s"), "a rule of ufw"),
    (re.compile(r"\bip route add (?:unreachable|blackhole|prohibit)\b"), "a route that leads nowhere"),
    (re.compile(r"/proc/net/xt_recent/"), UNREAD),
    (re.compile(r"\bshorewall6?\b"), "shorewall"),
    (re.compile(r"\b(?:ip6?tables|nft|firewall-cmd|ipset)\b"), "rules of its own"),
)
_NAMED = {
    "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "http": 80, "pop3": 110, "imap": 143, "imap2": 143,
    "imap3": 220, "https": 443, "smtps": 465, "ssmtp": 465, "submissions": 465, "submission": 587, "ldap": 389,
    "ldaps": 636, "ftps": 990, "ftp-data": 20, "ftps-data": 989, "imaps": 993, "pop3s": 995, "sieve": 4190,
    "mysql": 3306, "postgresql": 5432, "sip": 5060, "sip-tls": 5061, "http-alt": 8080, "webmin": 10000,
}  # fmt: skip
"""The ports that fail2ban's own jails name, by services(5)."""


class Kind(StrEnum):
    """In what an action keeps whom it bans."""

    CHAIN = "chain"
    NFT_SET = "nft set"
    IPSET = "ipset"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where banned addresses of a family are: a chain of iptables, a set of nft (``table`` is its family and name).

    ``own``: the action makes it, so that nobody else has addresses there.
    """

    kind: Kind
    name: str
    table: str = ""
    own: bool = False

    def __str__(self) -> str:
        """Return it as a report names it."""
        return self.name if self.kind is Kind.OTHER else " ".join(filter(None, (self.kind, self.table, self.name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ban:
    """What an action does in one family; ``ports`` None and ``protocols`` empty are all of them.

    ``fault`` says why it does nothing in this family, empty where it works.
    """

    action: str
    place: Place
    ports: str | None
    protocols: tuple[str, ...]
    fault: str = ""

    def covers(self, proto: str, port: int | None) -> bool | None:
        """Whether a packet to a port is refused; None where a port's name is not known."""
        if self.fault or (self.protocols and proto not in self.protocols):
            return False
        return True if self.ports is None or port is None else _within(port, self.ports)

    @property
    def everything(self) -> bool:
        """Whether nothing of a banned address gets through."""
        return not self.fault and self.ports is None and not self.protocols

    def __str__(self) -> str:
        """Return what is kept out, in words."""
        protocols = " and ".join(each.upper() for each in self.protocols) or "every protocol"
        return f"{protocols} to {'all ports' if self.ports is None else f'port {self.ports}'}"


def ban_of(action: Action, family: Family) -> Ban | None:
    """Return what an action does with an address of a family; None for one that touches no firewall (mail, say)."""
    settings = _of_family(action.settings, family)
    ban, start = _filled("actionban", settings), _filled("actionstart", settings)
    place = _place(ban, start)
    if place is None:
        return None
    whole = f"{start}\n{ban}"
    by_port = re.search(r"\bdports?\b|\bport port=", whole) is not None
    by_protocol = re.search(r"(?:^|\s)-p |\$proto\b|\bl4proto\b|protocol=", whole) is not None
    listed = re.split(r"[\s,]+", _filled("protocol", settings).strip().lower()) if by_protocol else []
    return Ban(
        action=action.name, place=place, ports=_filled("port", settings).strip() if by_port else None,
        protocols=() if "all" in listed else tuple(dict.fromkeys(filter(None, listed))),
        fault=_fault(place, ban, start, family),
    )  # fmt: skip


def _of_family(settings: Mapping[str, str], family: Family) -> dict[str, str]:
    found = {key: value for key, value in settings.items() if "?" not in key}
    if family is Family.IPV6:
        found |= {key.partition("?")[0]: value for key, value in settings.items() if key.endswith("?family=inet6")}
    return found


def _filled(name: str, settings: Mapping[str, str]) -> str:
    """Return a setting with the tags of other settings filled in; what only a ban fills in stays (``<ip>``)."""
    text = settings.get(name, "")
    for _ in range(_DEPTH):
        new = _TAG.sub(lambda tag: settings.get(tag[1], tag[0]), text)[:_LIMIT]
        if new == text:
            break
        text = new
    return text


def _place(ban: str, start: str) -> Place | None:
    def made(name: str, how: str) -> bool:
        return re.search(rf"(?:{how})[^\n]*?\s{re.escape(name)}(?!\S)", start) is not None

    if found := _NFT.search(ban):
        own = made(found[3], r"\badd set\b")
        return Place(kind=Kind.NFT_SET, name=found[3], table=f"{found[1]} {found[2]}", own=own)
    if found := _IPSET.search(ban):
        return Place(kind=Kind.IPSET, name=found[1], own=made(found[1], r"\bcreate\b"))
    if found := _CHAIN.search(ban):
        return Place(kind=Kind.CHAIN, name=found[2], table=found[1], own=made(found[2], r"\s-N\b"))
    return next((Place(kind=Kind.OTHER, name=words) for pattern, words in _OTHER if pattern.search(ban)), None)


def _fault(place: Place, ban: str, start: str, family: Family) -> str:
    """Return why the commands cannot take an address of a family."""
    six = family is Family.IPV6
    if place.kind is Kind.CHAIN and six != (place.table == "ip6tables"):
        return f"it runs {place.table}, which takes no {family.display} address"
    if place.kind is Kind.NFT_SET and (other := re.search(r"\btype (ipv[46])_addr", start)) is not None:
        return "" if six == (other[1] == "ipv6") else f"its set is of type {other[1]}_addr"
    if re.search(r"\bcreate |--new-ipset", start):
        return "" if six == ("family inet6" in start or "family=inet6" in start) else "its set is of the other family"
    rich = re.search(r"family='(ipv[46])'", ban)
    return "" if rich is None or six == (rich[1] == "ipv6") else f"its rich rule is of {rich[1]}"


def ports_of(ports: str) -> tuple[int, ...]:
    """Return the single ports that a jail's ``port`` names, by number or name; ranges are none."""
    words = re.split(r"[\s,]+", ports.strip().lower())
    found = (_NAMED.get(word, digits(word)) for word in words)
    return tuple(dict.fromkeys(port for port in found if port is not None and 0 < port < 65536))


def _within(port: int, ports: str) -> bool | None:
    unknown = False
    for word in filter(None, re.split(r"[\s,]+", ports.lower())):
        words = [word] if word in _NAMED else re.split(r"[:-]", word)
        ends = [_NAMED.get(end, digits(end)) for end in words]
        low, high = ends[0], ends[-1]
        if low is None or high is None:
            unknown = True
        elif low <= port <= high:
            return True
    return None if unknown else False
