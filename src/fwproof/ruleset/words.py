"""Words of a rule line, split and grouped as iptables-restore does it (iptables/xshared.c, add_param_to_argv)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from fwproof.flow import ICMP, ICMPV6, PROTOCOLS, TCP, UDP

_OPTION = re.compile(r"-[A-Za-z]|--[A-Za-z]")
_WORDS = re.compile(r"[^ \t\r\n\f\v]+")

BASE = {
    "-s": "-s", "--source": "-s", "--src": "-s", "-d": "-d", "--destination": "-d", "--dst": "-d",
    "-p": "-p", "--protocol": "-p", "--proto": "-p", "-i": "-i", "--in-interface": "-i",
    "-o": "-o", "--out-interface": "-o", "-f": "-f", "--fragment": "-f", "-4": "-4", "--ipv4": "-4", "-6": "-6",
    "--ipv6": "-6", "-c": "-c", "--set-counters": "-c",
}  # fmt: skip
"""The options that need no module, each with its short form."""
BASE_OPTIONS = frozenset(BASE.values())

_ARITY = {
    "--tcp-flags": 2, "--match-set": 2, "-f": 0, "-4": 0, "-6": 0, "-c": 2, "--syn": 0, "--limit-iface-in": 0,
    "--limit-iface-out": 0, "--set": 0, "--rcheck": 0, "--update": 0, "--remove": 0, "--rttl": 0, "--reap": 0,
    "--rsource": 0, "--rdest": 0, "--notrack": 0, "--save-mark": 0, "--restore-mark": 0, "--connlimit-saddr": 0,
    "--connlimit-daddr": 0, "--hashlimit-rate-match": 0, "--log-tcp-sequence": 0, "--log-tcp-options": 0,
    "--log-ip-options": 0, "--log-uid": 0, "--log-macdecode": 0, "--random": 0, "--random-fully": 0, "--persistent": 0,
}  # fmt: skip

_ONE_EACH = (
    "-s -d -p -i -o --sport --source-port --dport --destination-port --sports --source-ports --dports "
    "--destination-ports --ports --tcp-option --icmp-type --icmpv6-type --ctstate --ctdir --ctstatus --ctproto "
    "--ctorigsrc --ctorigdst --ctreplsrc --ctrepldst --ctorigsrcport --ctorigdstport --ctreplsrcport "
    "--ctrepldstport --ctexpire --state --mark --src-range --dst-range --pkt-type --ttl-eq --ttl-lt --ttl-gt --ttl "
    "--hl-eq --hl-lt --hl-gt --length --tos --dscp --dscp-class --mac-source --comment --src-type --dst-type "
    "--seconds --hitcount --name --mask --limit --limit-burst --hashlimit-upto --hashlimit --hashlimit-above "
    "--hashlimit-burst --hashlimit-mode --hashlimit-name --hashlimit-srcmask --hashlimit-dstmask "
    "--hashlimit-htable-size --hashlimit-htable-max --hashlimit-htable-expire --hashlimit-htable-gcinterval "
    "--connlimit-upto --connlimit-above --connlimit-mask --mode --probability --every --packet --uid-owner "
    "--gid-owner --reject-with --log-prefix --log-level --nflog-prefix --nflog-group --nflog-size "
    "--nflog-threshold --nflog-range --ulog-prefix --ulog-nlgroup --set-xmark --set-mark --and-mark --or-mark "
    "--xor-mark --nfmask --ctmask --to-source --to-destination --to-ports --to --string --hex-string --algo "
    "--set-tos --set-dscp --set-dscp-class --ttl-set --ttl-dec --ttl-inc --hl-set --hl-dec --hl-inc"
)
_ONE = frozenset(_ONE_EACH.split())

_PORTS = "--sport --source-port --dport --destination-port"
MODULES: dict[str, frozenset[str]] = {
    name: frozenset(options.split())
    for name, options in {
        "tcp": f"{_PORTS} --tcp-flags --syn --tcp-option",
        "udp": _PORTS, "udplite": _PORTS, "sctp": _PORTS, "dccp": _PORTS,
        "icmp": "--icmp-type", "icmp6": "--icmpv6-type",
        "multiport": "--sports --source-ports --dports --destination-ports --ports",
        "conntrack": "--ctstate --ctdir --ctstatus --ctproto --ctorigsrc --ctorigdst --ctreplsrc --ctrepldst "
                     "--ctorigsrcport --ctorigdstport --ctreplsrcport --ctrepldstport --ctexpire",
        "state": "--state", "mark": "--mark", "connmark": "--mark", "iprange": "--src-range --dst-range",
        "pkttype": "--pkt-type", "ttl": "--ttl-eq --ttl-lt --ttl-gt --ttl", "hl": "--hl-eq --hl-lt --hl-gt",
        "length": "--length", "tos": "--tos", "dscp": "--dscp --dscp-class", "mac": "--mac-source",
        "comment": "--comment", "addrtype": "--src-type --dst-type --limit-iface-in --limit-iface-out",
        "recent": "--set --rcheck --update --remove --seconds --hitcount --name --mask --rsource --rdest --rttl "
                  "--reap",
        "limit": "--limit --limit-burst",
        "hashlimit": "--hashlimit-upto --hashlimit --hashlimit-above --hashlimit-burst --hashlimit-mode "
                     "--hashlimit-name --hashlimit-srcmask --hashlimit-dstmask --hashlimit-htable-size "
                     "--hashlimit-htable-max --hashlimit-htable-expire --hashlimit-htable-gcinterval "
                     "--hashlimit-rate-match",
        "connlimit": "--connlimit-upto --connlimit-above --connlimit-mask --connlimit-saddr --connlimit-daddr",
        "statistic": "--mode --probability --every --packet",
        "owner": "--uid-owner --gid-owner --suppl-groups --socket-exists", "set": "--match-set",
    }.items()
}  # fmt: skip
"""The match modules that are understood, with the options that each of them knows."""

IMPLIED = {TCP: "tcp", UDP: "udp", PROTOCOLS["udplite"]: "udplite", PROTOCOLS["sctp"]: "sctp",
           PROTOCOLS["dccp"]: "dccp", ICMP: "icmp", ICMPV6: "icmp6"}  # fmt: skip
"""The module that ``-p`` makes available without ``-m``."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line; a quoted one is never an option."""

    text: str
    quoted: bool = False

    @property
    def is_option(self) -> bool:
        """Whether the word starts an option, as far as one can tell from its spelling."""
        return not self.quoted and _OPTION.match(self.text) is not None


@dataclass(frozen=True, slots=True)
class Option:
    """An option with its arguments; ``text`` is how it reads, ``negated`` whether ``!`` stands before it."""

    name: str
    arguments: tuple[str, ...]
    negated: bool = False

    @property
    def text(self) -> str:
        """The option as one reads it, without the negation."""
        return " ".join((self.name, *self.arguments))

    @property
    def full(self) -> str:
        """The option as one reads it, with its negation."""
        return f"! {self.text}" if self.negated else self.text


@dataclass(slots=True)
class Instance:
    """One ``-m module`` (or ``-j target``) of a line with the options that belong to it."""

    module: str
    options: list[Option] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The instance as one reads it."""
        return " ".join(
            [f"-m {self.module}", *(f"! {option.text}" if option.negated else option.text for option in self.options)]
        )


def split(line: str) -> tuple[list[Word], bool]:
    """Split a line into words, and say whether every quote was closed.

    Blanks separate, double quotes keep together, a backslash inside them escapes.
    """
    if '"' not in line:
        return [Word(word) for word in _WORDS.findall(line)], True
    words: list[Word] = []
    current: list[str] = []
    quoted = inside = escaped = False
    for letter in line:
        if inside and escaped:
            current.append(letter)
            escaped = False
        elif inside and letter == "\\":
            escaped = True
        elif letter == '"':
            inside = not inside
            quoted = True
        elif not inside and letter in " \t\r\n\f\v":
            if current or quoted:
                words.append(Word("".join(current), quoted))
            current, quoted = [], False
        else:
            current.append(letter)
    if current or quoted:
        words.append(Word("".join(current), quoted))
    return words, not inside


def take(words: Sequence[Word], at: int) -> tuple[tuple[str, ...], int]:
    """Return the arguments of the option at ``at`` and the index after them.

    Options that are known take as many words as they always do, because a comment may well look like an
    option; an unknown option takes what follows up to the next word that looks like one.
    """
    name = BASE.get(words[at].text, words[at].text)
    known = _ARITY.get(name, 1 if name in _ONE else None)
    end = at + 1
    if known is not None:
        end = min(len(words), end + known)
    else:
        while end < len(words) and not words[end].is_option and (words[end].quoted or words[end].text != "!"):
            end += 1
    return tuple(word.text for word in words[at + 1 : end]), end


def owner_of(name: str, instances: Sequence[Instance], proto: int | None) -> str | None:
    """Return the module that an option belongs to: the last loaded that knows it, else what ``-p`` implies."""
    for instance in reversed(instances):
        if name in MODULES.get(instance.module, ()):
            return instance.module
    implied = IMPLIED.get(proto) if proto is not None else None
    return implied if implied is not None and name in MODULES[implied] else None
