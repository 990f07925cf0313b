"""The match modules whose answer no header holds, as named oracles (``iptables-extensions(8)``, net/netfilter/xt_*.c).

As in :mod:`fwproof.ruleset.matches`, a ValueError or KeyError means "not understood".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, CtState, Family
from fwproof.ruleset.asks import IPSEC, SENDER, TRACKED, AnyOf, Conntrack, Oracle, Test, Within
from fwproof.ruleset.rates import Asked
from fwproof.ruleset.words import Option

Builder = Callable[[Sequence[Option], Family], list[Asked]]
_BEGUN = frozenset({CtState.ESTABLISHED.value, CtState.RELATED.value})


def named(kind: str, *, module: str = "", each: bool = False, main: frozenset[str] = frozenset()) -> Builder:
    """Make a builder of one oracle for all options of a module.

    It is negated where the only option is, or the only one of ``main``; other negations are part of its name.
    """
    title = module or kind

    def build(options: Sequence[Option], _family: Family) -> list[Asked]:
        turned = [option for option in options if option.negated]
        chief = [option for option in options if option.name in main] if main else options
        negated = len(turned) == 1 and list(chief) == turned
        said = [replace(option, negated=False) if negated else option for option in options]
        plain = len(said) == 1 and not main and not said[0].negated and said[0].arguments
        words = said[0].arguments if plain else tuple(option.full for option in said)
        text = " ".join(option.full for option in options) or f"-m {title}"
        return [(Oracle(kind, " ".join([title, *words]), each), negated, text)]

    return build


def options_of(kind: str, module: str, *, each: bool = False) -> Builder:
    """Make a builder of an oracle for each option, all of which have to hold."""

    def build(options: Sequence[Option], _family: Family) -> list[Asked]:
        if not options:
            raise ValueError(module)
        return [(Oracle(kind, f"{module} {o.text}", each), o.negated, o.full) for o in options]

    return build


def behind(needed: Test, builder: Builder) -> Builder:
    """Make a builder of a module that never matches, negated or not, where something is missing."""

    def build(options: Sequence[Option], family: Family) -> list[Asked]:
        asked = builder(options, family)
        return [(needed, False, f"what {asked[0][2]} needs"), *asked]

    return build


def _owner(options: Sequence[Option], family: Family) -> list[Asked]:
    """Return the tests of ``-m owner``: without a socket, negated options hold and others do not (xt_owner.c)."""
    groups = any(option.name == "--suppl-groups" for option in options)
    real = [option for option in options if option.name != "--suppl-groups"]
    if groups:
        real = [replace(o, arguments=(*o.arguments, "--suppl-groups")) if o.name == "--gid-owner" else o for o in real]
    return options_of("owner", "owner")(real, family)


def _label(options: Sequence[Option], family: Family) -> list[Asked]:
    """Return the test of ``-m connlabel``; without a connection its negation holds (xt_connlabel.c)."""
    ((test, negated, text),) = named("conntrack", module="connlabel", each=True, main=frozenset({"--label"}))(
        options, family
    )
    return [(AnyOf((((TRACKED, False), (test, False)),), "connlabel"), negated, text)]


def _helper(options: Sequence[Option], _family: Family) -> list[Asked]:
    """Return the test of ``-m helper``: only a connection that another one announced has one (xt_helper.c)."""
    (option,) = options
    test = Conntrack(_BEGUN, states_negated=False, direction=None, rest=f"helper {option.arguments[0]}")
    return [(test, option.negated, option.full)]


def _policy(options: Sequence[Option], _family: Family) -> list[Asked]:
    """Return the tests of ``-m policy``; ``--pol none`` is that there is no IPsec at all (xt_policy.c)."""
    found = {option.name: option for option in options}
    way, kind = found["--dir"].arguments[0], found["--pol"].arguments[0]
    text = " ".join(option.full for option in options)
    elements = [option for option in options if option.name not in {"--dir", "--pol"}]
    if kind not in {"none", "ipsec"} or (kind == "none" and elements):
        raise ValueError(text)
    asked: list[Asked] = [(IPSEC[way], kind == "none", text)]
    if elements:
        asked.append((Oracle("ipsec", f"policy {text}"), False, text))
    return asked


def _socket(options: Sequence[Option], family: Family) -> list[Asked]:
    """Return the tests of ``-m socket``, which looks for those of TCP and UDP, also in ICMP errors (nf_socket_*.c)."""
    icmp = ICMP if family is Family.IPV4 else ICMPV6
    needed = Within("proto", tuple((number, number) for number in sorted((icmp, TCP, UDP))))
    return behind(needed, named("socket"))(options, family)


def _ipvs(options: Sequence[Option], family: Family) -> list[Asked]:
    """Return the tests of ``-m ipvs``: every option but ``--ipvs`` needs a packet of IPVS (xt_ipvs.c)."""
    virtual = Oracle("ipvs", "ipvs")
    if [option.name for option in options] == ["--ipvs"]:
        return [(virtual, options[0].negated, options[0].full)]
    return behind(virtual, options_of("ipvs", "ipvs"))(
        [option for option in options if option.name != "--ipvs"], family
    )


def _set(options: Sequence[Option], family: Family) -> list[Asked]:
    """Return the test of ``-m set``; conditions on an element's counters change with every packet (xt_set.c)."""
    main, *rest = options
    if main.name not in {"--match-set", "--set"} or len(main.arguments) != 2:
        raise ValueError(main.text)
    quiet = {"--update-counters", "--update-subcounters"}
    if all(option.name in quiet for option in rest):
        return named("set")([main], family)
    counted = any(option.name.startswith(("--packets", "--bytes")) for option in rest)
    return named("set", each=counted, main=frozenset({main.name}))(options, family)


BUILDERS: dict[str, Builder] = {
    "bpf": named("packet", module="bpf"),
    "cgroup": behind(SENDER, options_of("cgroup", "cgroup")),
    "cluster": behind(
        TRACKED,
        named("cluster", main=frozenset({"--cluster-local-node", "--cluster-local-nodemask"})),
    ),
    "connbytes": behind(TRACKED, named("connbytes", main=frozenset({"--connbytes"}))),
    "connlabel": _label,
    "cpu": named("cpu"),
    "devgroup": options_of("interface", "devgroup"),
    "helper": _helper,
    "ipvs": _ipvs,
    "l2tp": named("packet", module="l2tp"),
    "nfacct": named("nfacct", each=True),
    "owner": _owner,
    "policy": _policy,
    "quota": named("quota", each=True),
    "rateest": named("rateest", main=frozenset({"--rateest-lt", "--rateest-gt", "--rateest-eq"})),
    "realm": named("routing", module="realm"),
    "set": _set,
    "socket": _socket,
    "statistic": named("statistic", each=True, main=frozenset({"--probability", "--every"})),
    "string": named("packet", module="string", main=frozenset({"--string", "--hex-string"})),
    "time": named("time"),
    "u32": named("packet", module="u32"),
}
