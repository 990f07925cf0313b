"""Forms: how a probe is dressed, beyond what the header of its flow says.

A firewall that denies a packet has to deny it in every form. Those here are what the field knows to slip through:
flags that a stateless rule takes for an answer, source ports that a rule trusts, headers and fragments that hide the
ports from a rule, protocols and ICMP types that nobody thought of, and sources that the link cannot have.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from fwproof.flow import ICMP, ICMPV6, TCP, UDP, Address, CtState, Family, Flow

IGMP, GRE, ESP, SCTP = 2, 47, 50, 132
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
HEADER_NAMES = {
    HOP_BY_HOP: "hop-by-hop options", ROUTING: "routing type 0", FRAGMENT: "an atomic fragment header",
    DESTINATION: "destination options",
}  # fmt: skip
BLOCK_PORT = 64000
"""A port of the probes' block: it stands for whichever port a probe from a low source port goes to."""


class Group(StrEnum):
    """Forms that are asked about together, in a policy's words."""

    FLAGS = "flags"
    SOURCE_PORTS = "source-ports"
    PROTOCOLS = "protocols"
    ICMP_TYPES = "icmp-types"
    EXTENSION_HEADERS = "extension-headers"
    FRAGMENTS = "fragments"
    SPOOFING = "spoofing"


GROUPS = tuple(group.value for group in Group)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a probe is dressed; the flow says everything else.

    ``low_port`` is the source port, where that is the trick: the probe's identity is then its destination port.
    ``headers`` are IPv6 extension headers by number, in order, all blank. ``cut`` is how many bytes of the transport
    a fragment carries, 0 for a whole packet; ``order`` is "" for ascending, ``reversed`` or ``overlapping``.
    ``shows`` tells whether a host that lets it in answers it, or has conntrack tell of it; where neither is so,
    silence at the host proves nothing. ``reaches`` is False where the kernel may discard it before the rules.
    """

    name: str = ""
    low_port: int | None = None
    headers: tuple[int, ...] = ()
    cut: int = 0
    order: str = ""
    shows: bool = True
    reaches: bool = True
    spoofed: bool = False


PLAIN = Form()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Whom forms are sent between, and to what.

    ``closed`` is a TCP port that is denied to ``src`` and that nobody serves, ``served`` those of services that are
    denied to it. ``posed`` are sources to pretend, each with the TCP port to send to. ``echo``: echo requests are
    denied to it as well.
    """

    src: Address
    dst: Address
    closed: int
    served: tuple[int, ...] = ()
    posed: tuple[tuple[Address, int], ...] = field(default=())
    echo: bool = False

    @property
    def family(self) -> Family:
        """The family of both."""
        return Family.of(self.dst)

    def tcp(self, port: int, *flags: str) -> Flow:
        """Return a TCP packet without payload; a SYN where no flags are named."""
        chosen = frozenset(flags or ("SYN",))
        return Flow(src=self.src, dst=self.dst, proto=TCP, dport=port, flags=chosen, ctstate=tcp_state(chosen))


Dressed = tuple[Form, Flow]
NULL = "no flags"
_FLAGS = {
    "ACK": ("ACK",), "FIN": ("FIN",), "NULL": (NULL,), "Xmas": ("FIN", "PSH", "URG"), "SYN/ACK": ("SYN", "ACK"),
    "SYN/FIN": ("SYN", "FIN"),
}  # fmt: skip
_HALVES = (
    Form(name="in fragments of 32 bytes", cut=32),
    Form(name="in fragments of 32 bytes, last first", cut=32, order="reversed"),
)
"""What UDP and ICMP are cut into: the first piece has the probe's identity, which stands in the payload."""
_LOW_PORTS = ((TCP, 20), (TCP, 53), (TCP, 80), (TCP, 443), (UDP, 53), (UDP, 67), (UDP, 123))


def tcp_state(flags: frozenset[str]) -> CtState:
    """Return conntrack's state of a packet that begins a flow (nf_conntrack_proto_tcp.c: tcp_valid_flags, tcp_new).

    A bare ACK is NEW while ``nf_conntrack_tcp_loose`` is on, which is the kernel's default.
    """
    return CtState.NEW if flags in ({"SYN"}, {"ACK"}) else CtState.INVALID


def dressed(group: Group, ends: Ends) -> tuple[Dressed, ...]:
    """Return the forms of a group, each with its flow; the first are the plain packets they are compared with."""
    make = {
        Group.FLAGS: _flags, Group.SOURCE_PORTS: _source_ports, Group.PROTOCOLS: _protocols,
        Group.ICMP_TYPES: _icmp_types, Group.EXTENSION_HEADERS: _extension_headers, Group.FRAGMENTS: _fragments,
        Group.SPOOFING: _spoofing,
    }  # fmt: skip
    return tuple((form, replace(flow, length=wire_length(form, flow))) for form, flow in make[group](ends))


def wire_length(form: Form, flow: Flow) -> int:
    """Return how long the whole packet is, in bytes, once the datagram is put together."""
    start = 20 if flow.family is Family.IPV4 else 40
    if flow.proto == SCTP:
        return start + 32
    if flow.proto in BODY_AT or flow.proto in {ICMP, ICMPV6}:
        offset = BODY_AT.get(flow.proto) or ICMP_BODY_AT.get((flow.proto, flow.icmp_type or 0))
        return flow.length if offset is None else start + offset + 20
    least = start + 28 if flow.proto == UDP else start + 20
    return max(flow.length, least) + 8 * len(form.headers)


BODY_AT = {GRE: 4, ESP: 8, IGMP: 8}
"""Where the marker stands in the transport of protocols without ports, in bytes."""
ICMP_BODY_AT = {
    (ICMP, 5): 8, (ICMP, 9): 8, (ICMP, 10): 8, (ICMP, 13): 20, (ICMP, 15): 8, (ICMP, 17): 12,
    (ICMPV6, 133): 8, (ICMPV6, 134): 16, (ICMPV6, 137): 40,
}  # fmt: skip
"""Where it stands in ICMP messages other than echo, by type."""


def _plain(ends: Ends) -> list[Dressed]:
    ports = (ends.closed, *ends.served[:2])
    return [(PLAIN, ends.tcp(port)) for port in ports]


def _flags(ends: Ends) -> list[Dressed]:
    found = _plain(ends)
    for name, words in _FLAGS.items():
        flags = frozenset(words) - {NULL}
        flow = replace(ends.tcp(ends.closed), flags=flags, ctstate=tcp_state(flags))
        found.append((Form(name=name), flow))
        if "ACK" in flags:  # what a listening socket answers as well
            found += [(Form(name=name), replace(flow, dport=port)) for port in ends.served[:2]]
    return found


def _source_ports(ends: Ends) -> list[Dressed]:
    tcp = ends.tcp(BLOCK_PORT)
    flows = {TCP: tcp, UDP: replace(tcp, proto=UDP, flags=frozenset())}
    found = [(PLAIN, flow) for flow in flows.values()]
    for proto, port in _LOW_PORTS:
        form = Form(name=f"from {'tcp' if proto == TCP else 'udp'}/{port}", low_port=port)
        found.append((form, replace(flows[proto], sport=port)))
    return found


def _protocols(ends: Ends) -> list[Dressed]:
    bare = replace(ends.tcp(ends.closed), flags=frozenset(), dport=None)
    numbers = (GRE, ESP, IGMP) if ends.family is Family.IPV4 else (GRE, ESP)
    names = {GRE: "GRE", ESP: "ESP", IGMP: "IGMP"}
    found: list[Dressed] = [(Form(name="SCTP INIT"), replace(bare, proto=SCTP, dport=ends.closed))]
    # the kernel takes in IGMP without a word
    return found + [(Form(name=names[n], shows=n != IGMP), replace(bare, proto=n)) for n in numbers]


def _icmp_types(ends: Ends) -> list[Dressed]:
    new, bad, no = CtState.NEW, CtState.INVALID, CtState.UNTRACKED
    if ends.family is Family.IPV4:
        proto = ICMP
        kinds = {13: ("timestamp request", new), 15: ("information request", new), 17: ("address mask request", new),
                 5: ("redirect", bad), 9: ("router advertisement", bad), 10: ("router solicitation", bad)}  # fmt: skip
    else:
        proto = ICMPV6
        kinds = {133: ("router solicitation", no), 134: ("router advertisement", no), 137: ("redirect", bad)}
    bare = replace(ends.tcp(ends.closed), flags=frozenset(), dport=None, proto=proto, icmp_code=0)
    return [
        (Form(name=f"ICMP {name}", shows=state is new), replace(bare, icmp_type=kind, ctstate=state))
        for kind, (name, state) in kinds.items()
    ]


def _extension_headers(ends: Ends) -> list[Dressed]:
    chains = [(HOP_BY_HOP,), (DESTINATION,), (ROUTING,), (FRAGMENT,), (HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT)]
    found = _plain(ends)
    for headers in chains:
        name = "behind " + (HEADER_NAMES[headers[0]] if len(headers) == 1 else "four extension headers")
        found += [(Form(name=name, headers=headers), flow) for _, flow in _plain(ends)]
    datagram = replace(ends.tcp(ends.closed), proto=UDP, flags=frozenset(), length=80)
    return [*found, (Form(name="behind hop-by-hop options", headers=(HOP_BY_HOP,)), datagram)]


def _fragments(ends: Ends) -> list[Dressed]:
    length = 60 if ends.family is Family.IPV4 else 80
    found = [(form, replace(flow, length=length)) for form, flow in _plain(ends)]
    six = ends.family is Family.IPV6
    forms = [
        # the first fragment of IPv6 has to hold all headers (RFC 7112); the kernel drops others by itself
        Form(name="in fragments of 8 bytes", cut=8, reaches=not six, shows=not six),
        Form(name="in fragments of 16 bytes, last first", cut=16, order="reversed", reaches=not six, shows=not six),
        Form(name="in fragments of 24 bytes", cut=24),
        Form(name="in overlapping fragments", cut=24, order="overlapping", reaches=False, shows=False),
    ]
    found += [(form, flow) for form in forms for plain, flow in found if plain is PLAIN]
    return found + _datagrams(ends, length)


def _datagrams(ends: Ends, length: int) -> list[Dressed]:
    """Return a datagram of UDP and, where it is denied, an echo request, whole and in fragments."""
    udp = replace(ends.tcp(ends.closed), proto=UDP, flags=frozenset(), length=length)
    found: list[Dressed] = [(PLAIN, udp), *((form, udp) for form in _HALVES)]
    if ends.echo:
        proto, kind = (ICMP, 8) if ends.family is Family.IPV4 else (ICMPV6, 128)
        echo = replace(udp, proto=proto, dport=None, icmp_type=kind, icmp_code=0)
        found += [(replace(form, name=f"an echo request {form.name}".strip()), echo) for form in (PLAIN, *_HALVES)]
    return found


def _spoofing(ends: Ends) -> list[Dressed]:
    return [
        (Form(name=f"with the source {src}", spoofed=True, shows=False), replace(ends.tcp(port), src=src))
        for src, port in ends.posed
    ]


def on_the_wire(form: Form, flow: Flow, ident: int) -> Flow:
    """Return the flow with the probe's identity in its place."""
    if form.low_port is not None:
        return replace(flow, sport=form.low_port, dport=ident)
    return replace(flow, sport=ident)


def words(form: Form, flow: Flow) -> str:
    """Return a form and what it was sent to, in words: ``ACK to tcp/22``."""
    if form.spoofed or (form.low_port is None and flow.dport is not None):
        service = f"{'udp' if flow.proto == UDP else 'sctp' if flow.proto == SCTP else 'tcp'}/{flow.dport}"
        return f"{form.name or 'a plain packet'} to {service}" if flow.proto != SCTP else f"{form.name} to {service}"
    return form.name or "a plain packet"
