"""Kubernetes: node ports pass the host by FORWARD, as Docker's published ports do; rules about INPUT never see them."""

from __future__ import annotations

from fwproof.flow import Family
from fwproof.frontends.commands import command
from fwproof.frontends.wish import Wish, address

_PAST = (
    "Kubernetes publishes the port past INPUT: no rule there stops it. Keep it off this address (kube-proxy"
    " `--nodeport-addresses`), make the service a ClusterIP, or refuse the port before nat"
)


def mend(wish: Wish) -> str:
    """Return how a node port is closed to all but its peers, in words and commands of iptables.

    kube-proxy rewrites its own chains and leaves mangle alone, whose rules come before its nat.
    """
    wanted = wish.wanted
    if wanted is None or wanted.port is None:
        return f"{_PAST}, in mangle PREROUTING"
    tool = "ip6tables" if wish.family is Family.IPV6 else "iptables"
    asks = ["-p", wanted.proto, "--dport", wanted.port, "-m", "addrtype", "--dst-type", "LOCAL"]
    rule = [tool, "-t", "mangle", "-I", "PREROUTING"]
    same = [each for each in wish.allowed if (each.proto, each.port) == (wanted.proto, wanted.port)]
    peers = [address(network) for each in same for network in each.of(wish.family)]
    lines = [
        command([*rule, *asks, "-j", "DROP"]),
        *(command([*rule, "-s", peer, *asks, "-j", "RETURN"]) for peer in peers),
    ]
    return f"{_PAST}: `{'; '.join(lines)}`"
