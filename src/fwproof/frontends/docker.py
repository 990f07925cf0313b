"""Docker: the ports that it publishes pass the host by FORWARD; rules about INPUT, ufw's among them, never see them.

Chains and tables are those of Docker Engine (docs.docker.com, "Packet filtering and firewalls"): ``DOCKER-USER`` is
asked before Docker's own rules and is the place for an administrator's; the nftables backend (tables
``docker-bridges``) has no such chain.
"""

from __future__ import annotations

from collections.abc import Iterable

from fwproof.decision import RuleRef
from fwproof.flow import Family
from fwproof.frontends.commands import command
from fwproof.frontends.wish import Opening, Wish, address

_PUBLISHED = "a port that Docker publishes"


def name(ref: RuleRef) -> str:
    """Return what a rule of Docker's is about, in words; empty for rules that are not Docker's."""
    if ref.table == "docker-bridges" or ref.table.endswith(" docker-bridges"):
        return f"{_PUBLISHED} (nftables backend)"
    if ref.chain == "DOCKER-USER":
        return "a rule of the administrator's in DOCKER-USER"
    if ref.chain == "DOCKER" and ref.table == "filter":
        return _PUBLISHED
    return "Docker's own forwarding" if ref.chain.startswith("DOCKER") else ""


def publishes(ref: RuleRef) -> bool:
    """Whether a rule lets packets through on their way to a published port."""
    return name(ref).startswith(_PUBLISHED)


def mend(wish: Wish, front: str = "") -> str:
    """Return how a published port is closed, in words; ``front`` is the manager whose rules do not see it."""
    past = f"Docker publishes the port past INPUT{f' and past {front}' if front else ''}: no rule there stops it. "
    native = any("docker-bridges" in ref.table for ref in wish.by)
    if wish.wanted is None or wish.wanted.port is None:
        return past + "Publish on one address only (`-p 127.0.0.1:PORT:PORT`), or refuse it in DOCKER-USER"
    port = wish.wanted.port
    bind = f"publish it for this host alone (`-p 127.0.0.1:{port}:…`)"
    if native:
        return f"{past}{bind[0].upper()}{bind[1:]}, or refuse it in a forward chain of your own with a lower priority"
    lines = "; ".join(_refusing(wish.wanted, wish.allowed, wish.family))
    return f"{past}{bind[0].upper()}{bind[1:]}, or `{lines}`"


def _refusing(wanted: Opening, allowed: Iterable[Opening], family: Family) -> list[str]:
    """Return the rules that refuse a published port to all but its peers; each goes before the one before."""
    tool = "ip6tables" if family is Family.IPV6 else "iptables"
    conntrack = ["-m", "conntrack", "--ctstate", "DNAT", "--ctorigdstport", wanted.port, "--ctdir", "ORIGINAL"]
    asks = ["-p", wanted.proto, *conntrack]
    lines = [command([tool, "-I", "DOCKER-USER", *asks, "-j", "DROP"])]
    for each in allowed:
        if (each.proto, each.port) == (wanted.proto, wanted.port):
            lines += [command([tool, "-I", "DOCKER-USER", "-s", address(network), *asks, "-j", "RETURN"])
                      for network in each.of(family)]  # fmt: skip
    return lines
