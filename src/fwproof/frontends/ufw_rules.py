"""ufw's own rules, read from user.rules and user6.rules, and the words in which ufw takes them back.

ufw keeps each rule as a comment, ``### tuple ### ACTION PROTO DPORT DST SPORT SRC [DAPP SAPP] WAY [comment=HEX]``, and
below it the lines for iptables-restore (ufw 0.36, backend_iptables.py, ``_read_rules`` and ``_write_rules``). The
words are those of ufw's ``UFWCommandRule.get_command`` (parser.py), the numbers those of ``ufw status numbered``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from fwproof.frontends.commands import command

_TUPLE = "### tuple ###"
_ANYWHERE = ("0.0.0.0/0", "::/0")
_WORDS = re.compile(r"(?:route:)?(?:allow|deny|reject|limit)(?:_log(?:-all)?)?")
_INTERFACE = re.compile(r"[!-~]{1,15}")
_END = "### END RULES ###"


@dataclass(frozen=True, slots=True, kw_only=True)
class UfwRule:
    """One rule as ufw knows it. ``number`` is that of ``ufw status numbered``; ``lines`` are its rules for iptables.

    ``action`` is allow, deny, reject or limit; ``dport`` and ``sport`` may be ``any``, one port, a list or a range;
    ``dapp`` and ``sapp`` are application profiles, which then stand for the ports. ``routed``: about packets that pass
    through the host. ``direction`` is ``in`` or ``out``.
    """

    number: int
    action: str
    proto: str
    dport: str
    dst: str
    sport: str
    src: str
    direction: str = "in"
    routed: bool = False
    log: str = ""
    iif: str = ""
    oif: str = ""
    dapp: str = ""
    sapp: str = ""
    comment: str = ""
    v6: bool = False
    lines: tuple[str, ...] = ()

    @property
    def spec(self) -> tuple[str, ...]:
        """The words after ``ufw`` that make this rule, or after ``ufw delete`` that take it back."""
        words = [*(["route"] if self.routed else []), self.action]
        return tuple(words + (self._short() if self._is_short else self._full()))

    @property
    def _is_short(self) -> bool:
        anywhere = self.dst in _ANYWHERE and self.src in _ANYWHERE
        return anywhere and self.sport == "any" and self.dport != "any" and not (self.sapp or self.iif or self.oif)

    def _short(self) -> list[str]:
        port = self.dapp or (self.dport if self.proto == "any" else f"{self.dport}/{self.proto}")
        return [*(["out"] if self.direction == "out" else []), *filter(None, [self.log]), port]

    def _full(self) -> list[str]:
        words = ["in", "on", self.iif] if self.iif else []
        words += ["out", "on", self.oif] if self.oif else ["out"] if self.direction == "out" else []
        words += filter(None, [self.log])
        ends = (("from", self.src, self.sport, self.sapp), ("to", self.dst, self.dport, self.dapp))
        for word, address, port, app in ends:
            if address in _ANYWHERE and port == "any" and not app:
                continue
            words += [word, "any" if address in _ANYWHERE else address]
            words += ["app", app] if app else ["port", port] if port != "any" else []
        if not {"from", "to", "on"} & set(words):
            words += ["to", "any"]
        return words + (["proto", self.proto] if self.proto != "any" and not (self.dapp or self.sapp) else [])

    @property
    def deletion(self) -> str:
        """The command that takes the rule back; empty where its words cannot be shown safely."""
        words = self.spec
        return command(["ufw", *(["route", "delete", *words[1:]] if self.routed else ["delete", *words])])

    def __str__(self) -> str:
        shown = command(self.spec) or "(with words that are not shown)"
        about = f" ({self.comment})" if self.comment else ""
        return f"ufw rule {self.number}: {shown}{about}"


def read_rules(text: str, *, v6: bool = False, first: int = 1) -> tuple[UfwRule, ...]:
    """Return the rules of user.rules or, with ``v6``, user6.rules; ``first`` is the number of the first one.

    A tuple that ufw would pass over as malformed is passed over here; the lines below it then belong to none.
    """
    found: list[UfwRule] = []
    numbers: dict[tuple[str, ...], int] = {}
    for head, lines in _groups(text):
        rule = _rule(head, lines, v6=v6)
        if rule is None:
            continue
        # rules of one profile with several protocols are one rule to `ufw status`
        key = (rule.dapp, rule.dst, rule.sapp or rule.sport, rule.src, rule.iif, rule.oif, rule.direction)
        same = numbers.get(key) if rule.dapp or rule.sapp else None
        number = first + len(numbers) if same is None else same
        numbers.setdefault(key if rule.dapp or rule.sapp else (*key, str(len(found))), number)
        found.append(replace(rule, number=number))
    return tuple(found)


def _groups(text: str) -> list[tuple[str, tuple[str, ...]]]:
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith(_TUPLE):
            found.append((line.removeprefix(_TUPLE).strip(), []))
        elif line.startswith(_END):
            break
        elif line.startswith("-A ") and found:
            found[-1][1].append(line)
    return [(head, tuple(lines)) for head, lines in found]


def _rule(head: str, lines: tuple[str, ...], *, v6: bool) -> UfwRule | None:
    head, _, comment = head.partition(" comment=")
    words = head.split()
    if not 6 <= len(words) <= 9 or not _WORDS.fullmatch(words[0]):
        return None
    way = words[-1] if len(words) in {7, 9} else "in"
    ends = _interfaces(way)
    if ends is None:
        return None
    action, _, log = words[0].removeprefix("route:").partition("_")
    apps = [("" if name == "-" else name.replace("%20", " ")) for name in words[6:8]] if len(words) >= 8 else ["", ""]
    return UfwRule(
        number=0, action=action, proto=words[1], dport=words[2], dst=words[3], sport=words[4], src=words[5],
        direction=way.partition("_")[0], routed=words[0].startswith("route:"), log=log, iif=ends[0], oif=ends[1],
        dapp=apps[0], sapp=apps[1], comment=_comment(comment.strip()), v6=v6, lines=lines,
    )  # fmt: skip


def _interfaces(way: str) -> tuple[str, str] | None:
    """Return the interfaces of ``in``, ``in_eth0``, ``out_eth1`` or ``in_eth0!out_eth1``; None where it is none."""
    found = {"in": "", "out": ""}
    for part in way.split("!"):
        direction, _, name = part.partition("_")
        if direction not in found or (name and not _INTERFACE.fullmatch(name)):
            return None
        found[direction] = name
    return found["in"], found["out"]


def _comment(text: str) -> str:
    try:
        decoded = bytes.fromhex(text).decode("utf-8")
    except ValueError:
        return ""
    return decoded if decoded.isprintable() else ""
