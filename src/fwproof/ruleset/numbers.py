"""Numbers of rule lines: addresses and masks, ports, ICMP types, rates. A ValueError means "not understood"."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from fwproof.flow import PROTOCOLS, Family
from fwproof.ruleset.asks import Bits, Ranges, Test, Within

SERVICES = {
    "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "bootps": 67, "bootpc": 68, "tftp": 69, "http": 80,
    "kerberos": 88, "pop3": 110, "sunrpc": 111, "ntp": 123, "netbios-ns": 137, "netbios-dgm": 138,
    "netbios-ssn": 139, "imap2": 143, "snmp": 161, "ldap": 389, "https": 443, "microsoft-ds": 445, "syslog": 514,
    "submission": 587, "ldaps": 636, "imaps": 993, "pop3s": 995, "mysql": 3306, "postgresql": 5432, "mdns": 5353,
}  # fmt: skip
"""Service names that a hand-written rules file may use (IANA); iptables-save prints numbers."""

PROTOCOL_NAMES = {
    **PROTOCOLS, "ggp": 3, "ipv4": 4, "st": 5, "igp": 9, "pup": 12, "hmp": 20, "xns-idp": 22, "rdp": 27, "iso-tp4": 29,
    "xtp": 36, "ddp": 37, "idpr-cmtp": 38, "idrp": 45, "skip": 57, "rspf": 73, "vmtp": 81, "eigrp": 88, "ax.25": 93,
    "ipip": 94, "etherip": 97, "encap": 98, "comp": 108, "isis": 124, "fc": 133, "ipv6-mh": 135, "mpls-in-ip": 137,
    "manet": 138, "hip": 139, "shim6": 140, "wesp": 141, "rohc": 142, "ethernet": 143,
}  # fmt: skip
"""Names of /etc/protocols, which iptables-save and nft print in place of numbers; ``ipip`` is 94 there."""
EXTENSION_HEADERS = (0, 43, 44, 51, 60)
"""What stands before the transport header of IPv6 and so is never taken for it (ipv6_ext_hdr(), ipv6_find_hdr())."""

_ICMP = {
    "any": "any", "echo-reply": "0", "pong": "0", "destination-unreachable": "3", "network-unreachable": "3/0",
    "host-unreachable": "3/1", "protocol-unreachable": "3/2", "port-unreachable": "3/3", "fragmentation-needed": "3/4",
    "source-route-failed": "3/5", "network-unknown": "3/6", "host-unknown": "3/7", "network-prohibited": "3/9",
    "host-prohibited": "3/10", "TOS-network-unreachable": "3/11", "TOS-host-unreachable": "3/12",
    "communication-prohibited": "3/13", "host-precedence-violation": "3/14", "precedence-cutoff": "3/15",
    "source-quench": "4", "redirect": "5", "network-redirect": "5/0", "host-redirect": "5/1",
    "TOS-network-redirect": "5/2", "TOS-host-redirect": "5/3", "echo-request": "8", "ping": "8",
    "router-advertisement": "9", "router-solicitation": "10", "time-exceeded": "11", "ttl-exceeded": "11",
    "ttl-zero-during-transit": "11/0", "ttl-zero-during-reassembly": "11/1", "parameter-problem": "12",
    "ip-header-bad": "12/0", "required-option-missing": "12/1", "timestamp-request": "13", "timestamp-reply": "14",
    "address-mask-request": "17", "address-mask-reply": "18",
}  # fmt: skip
_ICMP6 = {
    "destination-unreachable": "1", "no-route": "1/0", "communication-prohibited": "1/1", "beyond-scope": "1/2",
    "address-unreachable": "1/3", "port-unreachable": "1/4", "failed-policy": "1/5", "reject-route": "1/6",
    "packet-too-big": "2", "time-exceeded": "3", "ttl-exceeded": "3", "ttl-zero-during-transit": "3/0",
    "ttl-zero-during-reassembly": "3/1", "parameter-problem": "4", "bad-header": "4/0", "unknown-header-type": "4/1",
    "unknown-option": "4/2", "echo-request": "128", "ping": "128", "echo-reply": "129", "pong": "129",
    "router-solicitation": "133", "router-advertisement": "134", "neighbour-solicitation": "135",
    "neighbor-solicitation": "135", "neighbour-advertisement": "136", "neighbor-advertisement": "136",
    "redirect": "137",
}  # fmt: skip

UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86400,
         "day": 86400}  # fmt: skip

FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ECE": 64, "CWR": 128, "ALL": 63, "NONE": 0}
"""TCP flag names to their bits (RFC 9293); ALL is iptables' word for the six old ones."""


def bits(family: Family) -> int:
    """Return the number of bits of an address."""
    return 32 if family is Family.IPV4 else 128


def whole(text: str, largest: int, base: int = 10) -> int:
    """Return a number from 0 to ``largest``; base 0 accepts ``0x``."""
    if not text.isascii() or "_" in text or text.strip() != text or text[:1] in {"+", "-"}:
        raise ValueError(text)
    number = int(text, base)
    if not 0 <= number <= largest:
        raise ValueError(text)
    return number


def address_test(field: str, text: str, family: Family) -> Test:
    """Return the test of ``-s`` and ``-d``: an address, a prefix, or an address and a mask with holes."""
    size = bits(family)
    head, slash, tail = text.partition("/")
    address = IPv4Address(head) if family is Family.IPV4 else IPv6Address(head)
    if slash and not tail.isdigit():
        mask_address = ip_address(tail)
        if Family.of(mask_address) is not family:
            raise ValueError(text)
        mask = int(mask_address)
        holes = mask | (mask - 1) if mask else (1 << size) - 1
        if holes != (1 << size) - 1:
            return Bits(field, mask, int(address) & mask)
        tail = str(mask.bit_count())
    host = size - (whole(tail, size) if slash else size)
    low = int(address) >> host << host
    return Within(field, ((low, low | ((1 << host) - 1)),))


def address_range(field: str, text: str, family: Family) -> Test:
    """Return the test of ``iprange``: ``first-last``, or one address."""
    first, _, last = text.partition("-")
    low, high = ip_address(first), ip_address(last or first)
    if {Family.of(low), Family.of(high)} != {family}:
        raise ValueError(text)
    return Within(field, ((int(low), int(high)),) if int(low) <= int(high) else ())


def protocol(text: str) -> int | None:
    """Return a protocol number, None for ``all`` and 0, which match every packet."""
    number = PROTOCOL_NAMES.get(text.lower())
    if number is None:
        number = 0 if text.lower() == "all" else whole(text, 255)
    return number or None


def transport(number: int, family: Family) -> Ranges:
    """Return the interval of a protocol's number; extension headers of IPv6 are no packet's transport protocol."""
    gone = family is Family.IPV6 and number in EXTENSION_HEADERS
    return () if gone else ((number, number),)


def _port(text: str, default: int) -> int:
    if not text:
        return default
    return SERVICES[text] if text in SERVICES else whole(text, 65535)


def ports(text: str) -> Ranges:
    """Return the intervals of ``80``, ``1024:65535`` and ``80,443,8000:8010``; a reversed one holds nothing."""
    ranges = []
    for part in text.split(","):
        if not part:
            raise ValueError(text)
        low, colon, high = part.partition(":")
        first = _port(low, 0)
        last = _port(high, 65535) if colon else first
        if first <= last:
            ranges.append((first, last))
    return tuple(ranges)


def icmp(text: str, family: Family) -> Ranges:
    """Return the intervals of type * 256 + code for ``8``, ``3/4``, ``any`` and the usual names."""
    text = (_ICMP if family is Family.IPV4 else _ICMP6).get(text, text)
    if text == "any":
        return ((0, 65535),)
    kind, slash, code = text.partition("/")
    number = whole(kind, 255)
    if number == 255 and not slash and family is Family.IPV4:
        return ((0, 65535),)  # 255 is how iptables writes "any" (ipt_icmp, icmp_type_code_match)
    if not slash:
        return ((number * 256, number * 256 + 255),)
    low, _, high = code.partition("-")
    first, last = whole(low, 255), whole(high or low, 255)
    return ((number * 256 + first, number * 256 + last),) if first <= last else ()


def span(text: str, largest: int) -> Ranges:
    """Return the interval of ``60``, ``5:``, ``:5`` and ``5:60``."""
    low, colon, high = text.partition(":")
    first = whole(low, largest) if low else 0
    last = (whole(high, largest) if high else largest) if colon else first
    return ((first, last),) if first <= last else ()


def masked(text: str, largest: int) -> tuple[int, int]:
    """Return value and mask of ``0x5/0x7``; without a mask all bits count."""
    value, slash, mask = text.partition("/")
    return whole(value, largest, 0), whole(mask, largest, 0) if slash else largest


def flag_bits(text: str) -> int:
    """Return the bits of a list of TCP flag names."""
    number = 0
    for name in text.split(","):
        number |= FLAGS[name]
    return number


def rate(text: str) -> tuple[int, int]:
    """Return (count, seconds) of ``20/min``; without a unit it is per second. Rates in bytes are not understood."""
    count, slash, unit = text.partition("/")
    number = whole(count, 1_000_000)
    if number == 0:
        raise ValueError(text)
    return number, UNITS[unit] if slash else 1


def mask(text: str | None, family: Family) -> int:
    """Return a network mask as a number: a prefix length or an address; None means every bit."""
    size = bits(family)
    if text is None:
        return (1 << size) - 1
    if text.isdigit():
        return (1 << size) - (1 << (size - whole(text, size)))
    address = ip_address(text)
    if Family.of(address) is not family:
        raise ValueError(text)
    return int(address)
