"""From ``-j`` and ``-g`` with their options to what the target does (``iptables-extensions(8)``)."""

from __future__ import annotations

from collections.abc import Collection

from fwproof.flow import Family
from fwproof.ruleset import numbers
from fwproof.ruleset.matches import DSCP, TOS
from fwproof.ruleset.model import NO_TARGET, TEMPLATE, ZONE, Act, Target
from fwproof.ruleset.options import TARGETS
from fwproof.ruleset.translation import translation_of
from fwproof.ruleset.words import Instance, Option

_PLAIN = {
    "ACCEPT": Act.ACCEPT, "DROP": Act.DROP, "RETURN": Act.RETURN, "NOTRACK": Act.NOTRACK,
}  # fmt: skip
_NAT = {
    "SNAT": Act.SOURCE_NAT, "MASQUERADE": Act.SOURCE_NAT, "DNAT": Act.DESTINATION_NAT,
    "REDIRECT": Act.DESTINATION_NAT, "NETMAP": Act.DESTINATION_NAT,
}  # fmt: skip
_CHANGES = {
    "HMARK": ("mark",), "TCPMSS": ("length",), "TCPOPTSTRIP": ("options",), "CLASSIFY": (), "TRACE": (), "AUDIT": (),
    "SECMARK": (), "CONNSECMARK": (), "RATEEST": (), "LED": (), "CHECKSUM": (), "IDLETIMER": (), "TEE": (),
}  # fmt: skip
"""Targets that let the packet go on, and what they change of it."""
_ELSEWHERE = {
    "DNPT": "rewrites the destination", "SNPT": "rewrites the source",
    "NFQUEUE": "asks a program on the host", "QUEUE": "asks a program on the host",
    "TPROXY": "hands the packet to a local proxy", "SYNPROXY": "answers for the server",
    "CLUSTERIP": "shares the address with other hosts", "MIRROR": "sends the packet back",
}  # fmt: skip
_REJECTS = {
    Family.IPV4: {
        "icmp-net-unreachable": "net-unreach", "icmp-host-unreachable": "host-unreach",
        "icmp-proto-unreachable": "proto-unreach", "icmp-port-unreachable": "port-unreach",
        "icmp-net-prohibited": "net-prohib", "icmp-host-prohibited": "host-prohib",
        "icmp-admin-prohibited": "admin-prohib", "tcp-reset": "tcp-rst",
    },
    Family.IPV6: {
        "icmp6-no-route": "no-route", "icmp6-adm-prohibited": "adm-prohibited",
        "icmp6-addr-unreachable": "addr-unreach", "icmp6-port-unreachable": "port-unreach",
        "icmp6-policy-fail": "policy-fail", "icmp6-reject-route": "reject-route", "tcp-reset": "tcp-rst",
    },
}  # fmt: skip
"""The answers of REJECT by the names that are printed, each with the short form that is read as well."""
_LOGS = {"LOG", "NFLOG", "ULOG"}


def target_of(instance: Instance | None, *, goto: bool, chains: Collection[str], family: Family) -> Target:
    """Return the target; one that is not understood is kept as unknown, with the reason."""
    if instance is None:
        return NO_TARGET
    name = instance.module
    text = " ".join([name, *(f"! {o.text}" if o.negated else o.text for o in instance.options)])
    if name in chains and not instance.options:
        return Target(act=Act.GOTO if goto else Act.JUMP, name=name, text=text, chain=name)
    try:
        return _extension(name, text, instance.options, family, goto=goto)
    except (ValueError, KeyError, IndexError):
        reason = f"{'-g' if goto else '-j'} {text} is neither a chain of its table nor a target that is understood"
        return Target(act=Act.UNKNOWN, name=name, text=text, reason=reason)


def _extension(  # noqa: C901, PLR0911 - one return for each kind of target
    name: str, text: str, options: list[Option], family: Family, *, goto: bool
) -> Target:
    known = TARGETS[name]
    if goto or any(option.negated or known.get(option.name) != len(option.arguments) for option in options):
        raise ValueError(text)
    found = {option.name: (option.arguments[0] if option.arguments else "") for option in options}
    if len(found) != len(options) and name != "SET":
        raise ValueError(text)
    if name in _PLAIN:
        return Target(act=_PLAIN[name], name=name, text=text)
    if name in _NAT:
        return Target(act=_NAT[name], name=name, text=text, nat=translation_of(name, found, family))
    if name == "REJECT":
        default = "icmp-port-unreachable" if family is Family.IPV4 else "icmp6-port-unreachable"
        answer = reject_with(found.get("--reject-with", default), family)
        return Target(act=Act.REJECT, name=name, text=text, reject_with=answer)
    if name in _LOGS:
        return _log(name, text, found)
    if name == "MARK":
        return Target(act=Act.MARK, name=name, text=text, mark=_mark(found))
    if name == "CONNMARK":
        return Target(act=Act.CONNMARK, name=name, text=text, mark=_connmark(found))
    if name in _REWRITING:
        return _rewriting(name, text, found)
    if name in _CHANGES:
        return Target(act=Act.CHANGE, name=name, text=text, changes=_CHANGES[name])
    if name == "CT":
        return _ct(text, found)
    if name == "SET":
        return _set(text, options)
    return Target(act=Act.ELSEWHERE, name=name, text=text, reason=f"{name} {_ELSEWHERE[name]}")


def reject_with(answer: str, family: Family) -> str:
    """Return the full name of an answer of REJECT."""
    known = _REJECTS[family]
    return answer if answer in known else {short: name for name, short in known.items()}[answer]


def _ct(text: str, found: dict[str, str]) -> Target:
    """Return what CT does before conntrack sees the packet; helpers, events and timeouts are of no weight to tables."""
    if "--notrack" in found:
        if len(found) > 1:
            raise ValueError(text)
        return Target(act=Act.NOTRACK, name="CT", text=text)
    zoned = any(option.startswith("--zone") for option in found)
    return Target(act=Act.CHANGE, name="CT", text=text, changes=(TEMPLATE, ZONE) if zoned else (TEMPLATE,))


def _set(text: str, options: list[Option]) -> Target:
    """Return what SET does: what sets hold is not known any more, nor a mark that is looked up in one (xt_set.c)."""
    sets = tuple(f"set {option.arguments[0]}" for option in options if option.name in {"--add-set", "--del-set"})
    mark = ("mark",) if any(option.name == "--map-mark" for option in options) else ()
    return Target(act=Act.CHANGE, name="SET", text=text, changes=(*sets, *mark))


_REWRITING = {"TOS": "tos", "DSCP": "tos", "ECN": "flags", "TTL": "ttl", "HL": "ttl"}
"""Targets that write one field of a header."""


def _rewriting(name: str, text: str, found: dict[str, str]) -> Target:
    """Return a target that writes a field, with its new value where the old one or nothing decides it."""
    rewrites: tuple[tuple[str, int, int], ...] = ()
    option, value = next(iter(found.items()), ("", ""))
    if len(found) > 1:
        raise ValueError(text)
    if not option:
        pass  # nft, which does not print the options of such a target
    elif name == "DSCP":
        number = DSCP[value.upper()] if option == "--set-dscp-class" else numbers.whole(value, 63, 0)
        rewrites = (("tos", 0xFC, number << 2),)
    elif name == "TOS":
        rewrites = (("tos", *_tos(option, value)),)
    elif name == "ECN":
        if option != "--ecn-tcp-remove":
            raise ValueError(text)
        rewrites = (("flags", numbers.FLAGS["ECE"] | numbers.FLAGS["CWR"], 0),)
    else:
        hops = numbers.whole(value, 255)
        rewrites = (("ttl", 0xFF, hops),) if option.endswith("-set") else ()
    return Target(act=Act.CHANGE, name=name, text=text, changes=(_REWRITING[name],), rewrites=rewrites)


def _tos(option: str, text: str) -> tuple[int, int]:
    """Return mask and value: the new TOS is ``tos & ~mask ^ value`` (xt_DSCP.c, tos_tg)."""
    if option == "--set-tos":
        if text in TOS:
            return 0x3F, TOS[text]
        value, mask = numbers.masked(text, 255)
        return mask, value
    value = numbers.whole(text, 255, 0)
    return {"--and-tos": (255 & ~value, 0), "--or-tos": (value, value), "--xor-tos": (0, value)}[option]


def _log(name: str, text: str, found: dict[str, str]) -> Target:
    prefix = found.get("--log-prefix", found.get("--nflog-prefix", found.get("--ulog-prefix", "")))
    group = found.get("--nflog-group", found.get("--ulog-nlgroup"))
    number = None if name == "LOG" else numbers.whole(group or "0", 65535)
    return Target(act=Act.LOG, name=name, text=text, prefix=prefix, group=number)


def _mark(found: dict[str, str]) -> tuple[str, int, int, int]:
    """Return (``set``, mask, value, 0): the new mark is ``mark & ~mask ^ value`` (xt_mark.c, mark_tg)."""
    ((option, text),) = found.items()
    full = 0xFFFFFFFF
    if option == "--set-xmark":
        value, mask = numbers.masked(text, full)
        return "set", mask, value, 0
    if option == "--set-mark":
        value, mask = numbers.masked(text, full)
        return "set", value | mask, value, 0
    value = numbers.whole(text, full, 0)
    mask, value = {"--or-mark": (value, value), "--and-mark": (full & ~value, 0), "--xor-mark": (0, value)}[option]
    return "set", mask, value, 0


def _connmark(found: dict[str, str]) -> tuple[str, int, int, int]:
    """Return ``set`` as for MARK, or (``save`` | ``restore``, nfmask, 0, ctmask) (xt_connmark.c)."""
    for operation in ("save", "restore"):
        if f"--{operation}-mark" in found:
            rest = {key: value for key, value in found.items() if key != f"--{operation}-mark"}
            if not rest.keys() <= {"--nfmask", "--ctmask", "--mask"}:
                raise ValueError(operation)
            both = rest.get("--mask", "0xffffffff")
            nfmask = numbers.whole(rest.get("--nfmask", both), 0xFFFFFFFF, 0)
            return operation, nfmask, 0, numbers.whole(rest.get("--ctmask", both), 0xFFFFFFFF, 0)
    return _mark(found)
