"""Docker: the ports that it publishes pass the host by FORWARD; rules about INPUT, ufw's among them, never see them.

Chains and tables are those of Docker Engine (docs.docker.com, "Docker with iptables" and "Docker with nftables"; moby,
daemon/libnetwork/drivers/bridge/internal/nftabler). With iptables, ``DOCKER-USER`` is asked before Docker's own rules
and is the place for an administrator's. The nftables backend (Engine 29) has tables ``docker-bridges`` and no such
chain: an administrator's rules stand in a table of their own, in a chain at the same hook. What that refuses is
refused; what it accepts, Docker's chains are asked about all the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.frontends.commands import command
from fwproof.frontends.wish import Opening, Wish, address

_PUBLISHED = "a port that Docker publishes"
_TABLE = "docker-bridges"
_OWN_TABLE = "docker-user"
"""What the table is called that takes the place of DOCKER-USER; any name would do that is not Docker's."""


def name(ref: RuleRef) -> str:
    """Return what a rule of Docker's is about, in words; empty for rules that are not Docker's."""
    if ref.table == _TABLE:
        return f"{_native(ref)} (nftables backend)"
    if ref.chain == "DOCKER-USER":
        return "a rule of the administrator's in DOCKER-USER"
    if ref.chain == "DOCKER" and ref.table == "filter":
        return _PUBLISHED
    return "Docker's own forwarding" if ref.chain.startswith("DOCKER") else ""


def _native(ref: RuleRef) -> str:
    """Return what a rule of Docker's tables is about; a network's chains are named after its bridge."""
    refuses = " drop" in ref.text
    if ref.chain == "nat-prerouting-and-output" or (
        ref.chain.startswith("filter-forward-in__") and " dport " in ref.text
    ):
        return _PUBLISHED
    if ref.chain == "raw-PREROUTING" and refuses:
        return "Docker's guard against reaching containers past their published ports"
    if ref.chain.startswith("filter-forward-in__") and refuses:
        return "Docker's refusal of ports that are not published"
    return "Docker's own forwarding"


def publishes(ref: RuleRef) -> bool:
    """Whether a rule lets packets through on their way to a published port."""
    return name(ref).startswith(_PUBLISHED)


def mend(wish: Wish, front: str = "") -> str:
    """Return how a published port is closed, in words; ``front`` is the manager whose rules do not see it."""
    past = f"Docker publishes the port past INPUT{f' and past {front}' if front else ''}: no rule there stops it. "
    native = any(ref.table == _TABLE for ref in wish.by)
    if wish.wanted is None or wish.wanted.port is None:
        place = (
            "a chain of your own at the hook forward (with nftables there is no DOCKER-USER)"
            if native
            else "DOCKER-USER"
        )
        return past + f"Publish on one address only (`-p 127.0.0.1:PORT:PORT`), or refuse it in {place}"
    port = wish.wanted.port
    bind = f"publish it for this host alone (`-p 127.0.0.1:{port}:…`)"
    lines = (_refusing_natively if native else _refusing)(wish.wanted, wish.allowed, wish.family)
    keep = ", and keep that in /etc/nftables.conf" if native else ""
    return f"{past}{bind[0].upper()}{bind[1:]}, or `{'; '.join(lines)}`{keep}"


def _peers(wanted: Opening, allowed: Iterable[Opening], family: Family) -> list[str]:
    """Return who may reach a service, as people write it."""
    same = [each for each in allowed if (each.proto, each.port) == (wanted.proto, wanted.port)]
    return [address(network) for each in same for network in each.of(family)]


def _refusing(wanted: Opening, allowed: Iterable[Opening], family: Family) -> list[str]:
    """Return the rules that refuse a published port to all but its peers; each goes before the one before."""
    tool = "ip6tables" if family is Family.IPV6 else "iptables"
    conntrack = ["-m", "conntrack", "--ctstate", "DNAT", "--ctorigdstport", wanted.port, "--ctdir", "ORIGINAL"]
    asks = ["-p", wanted.proto, *conntrack]
    lines = [command([tool, "-I", "DOCKER-USER", *asks, "-j", "DROP"])]
    return lines + [command([tool, "-I", "DOCKER-USER", "-s", peer, *asks, "-j", "RETURN"])
                    for peer in _peers(wanted, allowed, family)]  # fmt: skip


def _refusing_natively(wanted: Opening, allowed: Iterable[Opening], family: Family) -> list[str]:
    """Return the commands of nft that do the same in a table of their own, which Docker leaves alone."""
    table = f"{family.table_family} {_OWN_TABLE}"
    peers = _peers(wanted, allowed, family)
    but = f"{family.table_family} saddr != {{ {', '.join(peers)} }} " if peers else ""
    asks = f"meta l4proto {wanted.proto} ct status dnat ct direction original ct original proto-dst {wanted.port}"
    return [
        command(["nft", f"add table {table}"]),
        command(["nft", f"add chain {table} forward {{ type filter hook forward priority -1; policy accept; }}"]),
        command(["nft", f"add rule {table} forward {but}{asks} counter drop"]),
    ]
