"""The limits of a service as a policy says them, where all that is known of its rules comes to one number.

A limit is simulated before it is written down: that many new connections of one source get in at once, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fwproof.decision import Decision
from fwproof.drafting.found import Access
from fwproof.drafting.writing import dumped
from fwproof.flow import Address, Family, Flow, Network
from fwproof.flows import request
from fwproof.measured import MOST_STANDING
from fwproof.planning.limits import burst_size
from fwproof.policy.model import Rate, Service
from fwproof.semantics.limits import Limiter, NotSettled
from fwproof.semantics.model import HostModel
from fwproof.semantics.walk import TooLarge

_MOST = 10_000
_SOURCE = {Family.IPV4: (32,), Family.IPV6: (64, 128)}
"""How long the prefixes are by which one source is counted; in IPv6 it is a /64 as well."""

Words = dict[str, dict[str, object]]


@dataclass(frozen=True, slots=True)
class Limits:
    """``words`` are ``rate`` and ``connections`` as a policy has them; ``why`` says what could not be put like that.

    ``names`` are the rates themselves, as the model calls them.
    """

    words: Words = field(default_factory=dict)
    names: tuple[str, ...] = ()
    why: str = ""


class _NoWords(Exception):
    """A limit is none that a policy can say; the message says why."""


def limits_of(model: HostModel, own: Mapping[Family, Address], access: Access) -> Limits:
    """Return the limits of a service that comes in, which have to be the same in both address families."""
    proto, port = access.key
    if port is None:
        return Limits()
    found: dict[Family, Words] = {}
    names: dict[str, None] = {}
    try:
        for family, address in own.items():
            peers = [network for network in access.peers if Family.of(network) is family]
            if not peers:
                continue
            flow = request(Service(proto, port, access.service), _one_of(peers[0], own.values()), address)
            limiters = model.limiters(flow)
            names |= dict.fromkeys(limiter.name for limiter in limiters)
            found[family] = _words(model, flow, limiters)
    except (_NoWords, NotSettled) as limit:
        return Limits(names=tuple(names), why=str(limit))
    if len({str(words) for words in found.values()}) > 1:
        told = "; ".join(f"{family}: {_said(words)}" for family, words in found.items())
        return Limits(names=tuple(names), why=f"the limits differ: {told}")
    return Limits(next(iter(found.values()), {}), tuple(names))


def _said(words: Words) -> str:
    return dumped(words) if words else "none"


def _one_of(network: Network, own: Iterable[Address]) -> Address:
    """Return an address of a network, not one of the host's own where it has others."""
    taken = set(own)
    some = (network.network_address + n for n in range(1, min(network.num_addresses, len(taken) + 2)))
    return next((address for address in some if address not in taken), network.network_address)


def _words(model: HostModel, flow: Flow, limiters: Iterable[Limiter]) -> Words:
    found: Words = {}
    for limiter in limiters:
        key, value = ("connections", _standing(limiter)) if limiter.kind == "connlimit" else ("rate", _rate(limiter))
        if key in found:
            raise _NoWords(f"several limits at once: {', '.join(each.name for each in limiters)}")
        found[key] = value
    rate = found.get("rate")
    if rate is not None and not _holds(model, flow, int(str(rate["limit"]))):
        raise _NoWords("what one source gets in at once is not what the limit says, by simulation")
    return found


def _rate(limiter: Limiter) -> dict[str, object]:
    """Return a rate; for a bucket, the period is the one in which it fills again."""
    admits, seconds = limiter.admits, limiter.seconds
    if admits is None or not 1 <= admits <= _MOST:
        raise _NoWords(f"how many {limiter.name} lets in at once cannot be told")
    if seconds is None:
        raise _NoWords(f"{limiter.name} has no period")
    if limiter.kind != "recent":
        whole, rest = divmod(admits * seconds, limiter.limit)
        if rest or not whole:
            raise _NoWords(f"{limiter.name} fills again in {admits * seconds / limiter.limit:.3g} s, no whole seconds")
        seconds = whole
    return {"limit": admits, "per": f"{seconds}s", "by": _by(limiter)}


def _standing(limiter: Limiter) -> dict[str, object]:
    if not 1 <= limiter.limit <= MOST_STANDING:
        raise _NoWords(f"{limiter.name}: more than {MOST_STANDING} connections are not tried")
    return {"limit": limiter.limit, "by": _by(limiter)}


def _by(limiter: Limiter) -> str:
    length = None if limiter.mask is None else limiter.mask.bit_count()
    if limiter.by == "total" or length == 0:
        return "total"
    family = Family.IPV6 if limiter.rule.family in {"ip6", "inet6"} or (length or 0) > 32 else Family.IPV4
    if limiter.by == "source" and length in _SOURCE[family]:
        return "source"
    raise _NoWords(f"{limiter.name} counts neither single sources nor all together")


def _holds(model: HostModel, flow: Flow, limit: int) -> bool:
    count = burst_size(Rate(limit, 1.0))
    try:
        return sum(one is Decision.ACCEPT for one in model.simulate_burst(flow, count)) == limit
    except TooLarge:
        return False
