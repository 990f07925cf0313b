"""The words that nft prints in place of numbers (``nft(8)``, *Data types*)."""

from __future__ import annotations

from fwproof.ruleset.numbers import PROTOCOL_NAMES

PROTOCOL = {**PROTOCOL_NAMES, "hopopt": 0, "ip": 0}
ICMP_TYPE = {
    "echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8,
    "router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12,
    "timestamp-request": 13, "timestamp-reply": 14, "info-request": 15, "info-reply": 16,
    "address-mask-request": 17, "address-mask-reply": 18,
}  # fmt: skip
ICMP_CODE = {
    "net-unreachable": 0, "host-unreachable": 1, "prot-unreachable": 2, "port-unreachable": 3, "frag-needed": 4,
    "net-prohibited": 9, "host-prohibited": 10, "admin-prohibited": 13,
}  # fmt: skip
ICMPV6_TYPE = {
    "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4,
    "echo-request": 128, "echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131,
    "mld-listener-done": 132, "mld-listener-reduction": 132, "nd-router-solicit": 133, "nd-router-advert": 134,
    "nd-neighbor-solicit": 135, "nd-neighbor-advert": 136, "nd-redirect": 137, "router-renumbering": 138,
    "ind-neighbor-solicit": 141, "ind-neighbor-advert": 142, "mld2-listener-report": 143,
}  # fmt: skip
ICMPV6_CODE = {
    "no-route": 0, "admin-prohibited": 1, "addr-unreachable": 3, "port-unreachable": 4, "policy-fail": 5,
    "reject-route": 6,
}  # fmt: skip
DSCP = {"ef": 46, "be": 0, "df": 0, "va": 44, "le": 1} | {f"cs{n}": 8 * n for n in range(8)} | {
    f"af{a}{b}": 8 * a + 2 * b for a in range(1, 5) for b in range(1, 4)
}  # fmt: skip
ECN = {"not-ect": 0, "ect1": 1, "ect0": 2, "ce": 3}
FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "ece": 64, "cwr": 128}
PKTTYPE: dict[str | int, str] = {
    "host": "host", "unicast": "host", "broadcast": "broadcast", "multicast": "multicast", "other": "other",
    "loopback": "loopback", 0: "host", 1: "broadcast", 2: "multicast", 3: "other",
}  # fmt: skip
REJECT = {
    "icmp": {
        "net-unreachable": "icmp-net-unreachable", "host-unreachable": "icmp-host-unreachable",
        "prot-unreachable": "icmp-proto-unreachable", "port-unreachable": "icmp-port-unreachable",
        "net-prohibited": "icmp-net-prohibited", "host-prohibited": "icmp-host-prohibited",
        "admin-prohibited": "icmp-admin-prohibited",
    },
    "icmpv6": {
        "no-route": "icmp6-no-route", "admin-prohibited": "icmp6-adm-prohibited",
        "addr-unreachable": "icmp6-addr-unreachable", "port-unreachable": "icmp6-port-unreachable",
        "policy-fail": "icmp6-policy-fail", "reject-route": "icmp6-reject-route",
    },
}  # fmt: skip
"""What REJECT of iptables calls the same answers; ``icmpx`` is one of them by family (nf_tables_core, nft_reject.c)."""
ICMPX = {
    "port-unreachable": ("port-unreachable", "port-unreachable"),
    "admin-prohibited": ("admin-prohibited", "admin-prohibited"),
    "no-route": ("net-unreachable", "no-route"), "host-unreachable": ("host-unreachable", "addr-unreachable"),
}  # fmt: skip
