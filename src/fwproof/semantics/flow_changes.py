"""What targets write into a single packet: marks, and fields of its header."""

from __future__ import annotations

from dataclasses import replace

from fwproof.flow import Flow
from fwproof.ruleset.model import Act, Target
from fwproof.ruleset.numbers import FLAGS
from fwproof.semantics.context import Context, changes_of
from fwproof.semantics.rewriting import Written

_BITS = {name: bit for name, bit in FLAGS.items() if name not in {"ALL", "NONE"}}


def flag_bits(flow: Flow) -> int:
    """Return the TCP flags as a number."""
    return sum(FLAGS[name] for name in flow.flags)


def rewritten(
    flow: Flow, unknown: frozenset[str], target: Target, context: Context, *, notrack: bool
) -> tuple[Flow, frozenset[str]]:
    """Return the packet as a target leaves it that changes fields, and what is not known of it then."""
    known = {field: Written(field, mask, value) for field, mask, value in target.rewrites}
    unknown |= {field for field in changes_of(target, context, notrack=notrack) if field not in known}
    for field, change in known.items():
        if field in unknown and change.mask != 0xFF:
            continue
        unknown -= {field}
        if field == "flags":
            bits = change.of(flag_bits(flow))
            flow = replace(flow, flags=frozenset(name for name, bit in _BITS.items() if bits & bit))
        elif field == "tos":
            flow = replace(flow, tos=change.of(flow.tos))
        else:
            assert field == "ttl"
            # a flow has the hops with which it came in
            flow = replace(flow, ttl=change.of(flow.ttl) + context.hops_lost)
    return flow, unknown


def marked(flow: Flow, unknown: frozenset[str], target: Target) -> tuple[Flow, frozenset[str]]:
    """Return the packet as MARK or CONNMARK leaves it, and what is not known of it (xt_mark.c, xt_connmark.c)."""
    assert target.mark is not None
    operation, mask, value, other = target.mark
    into, cleared, copied = ("mark" if target.act is Act.MARK else "connmark"), mask, 0
    if operation == "save":
        into, cleared, copied, source = "connmark", other, mask, "mark"
        flow = replace(flow, connmark=(flow.connmark & ~cleared) ^ (flow.mark & copied))
    elif operation == "restore":
        into, cleared, copied, source = "mark", mask, other, "connmark"
        flow = replace(flow, mark=(flow.mark & ~cleared) ^ (flow.connmark & copied))
    else:
        source = into
        old = flow.mark if into == "mark" else flow.connmark
        flow = replace(flow, **{into: (old & ~cleared) ^ value})  # type: ignore[arg-type]
    lost = (into in unknown and cleared != 0xFFFFFFFF) or (source in unknown and copied != 0)
    return flow, unknown | {into} if lost else unknown - {into}
