"""From ``-j`` and ``-g`` with their options to what the target does (``iptables-extensions(8)``)."""

from __future__ import annotations

from collections.abc import Collection

from fwproof.flow import Family
from fwproof.ruleset import numbers
from fwproof.ruleset.model import NO_TARGET, Act, Target
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
    "TOS": ("tos",), "DSCP": ("tos",), "ECN": ("tos",), "TTL": ("ttl",), "HL": ("ttl",), "HMARK": ("mark",),
    "TCPMSS": ("length",), "TCPOPTSTRIP": (), "CLASSIFY": (), "TRACE": (), "AUDIT": (), "SET": (), "SECMARK": (),
    "CONNSECMARK": (), "RATEEST": (), "LED": (), "CHECKSUM": (), "IDLETIMER": (), "TEE": (),
}  # fmt: skip
_ELSEWHERE = {
    "DNPT": "rewrites the destination", "SNPT": "rewrites the source",
    "NFQUEUE": "asks a program on the host", "QUEUE": "asks a program on the host",
    "TPROXY": "hands the packet to a local proxy", "SYNPROXY": "answers for the server",
    "CLUSTERIP": "shares the address with other hosts", "MIRROR": "sends the packet back",
}  # fmt: skip
_LOGS = {"LOG", "NFLOG", "ULOG"}


def target_of(instance: Instance | None, *, goto: bool, chains: Collection[str], family: Family) -> Target:
    """Return the target; one that is not understood is kept as unknown, with the reason."""
    if instance is None:
        return NO_TARGET
    name = instance.module
    text = " ".join([name, *(f"! {o.text}" if o.negated else o.text for o in instance.options)])
    if name in chains:
        return Target(act=Act.GOTO if goto else Act.JUMP, name=name, text=text, chain=name)
    try:
        return _extension(name, text, instance.options, family, goto=goto)
    except (ValueError, KeyError, IndexError):
        reason = f"{'-g' if goto else '-j'} {text} is neither a chain of its table nor a target that is understood"
        return Target(act=Act.UNKNOWN, name=name, text=text, reason=reason)


def _extension(  # noqa: C901, PLR0911 - one return for each kind of target
    name: str, text: str, options: list[Option], family: Family, *, goto: bool
) -> Target:
    if goto or any(option.negated for option in options):
        raise ValueError(text)
    found = {option.name: (option.arguments[0] if option.arguments else "") for option in options}
    if name in _PLAIN:
        if options:
            raise ValueError(text)
        return Target(act=_PLAIN[name], name=name, text=text)
    if name in _NAT:
        if len(found) != len(options):
            raise ValueError(text)
        return Target(act=_NAT[name], name=name, text=text, nat=translation_of(name, found, family))
    if name == "REJECT":
        default = "icmp-port-unreachable" if family is Family.IPV4 else "icmp6-port-unreachable"
        return Target(act=Act.REJECT, name=name, text=text, reject_with=found.get("--reject-with", default))
    if name in _LOGS:
        return _log(name, text, found)
    if name == "MARK":
        return Target(act=Act.MARK, name=name, text=text, mark=_mark(found))
    if name == "CONNMARK":
        return Target(act=Act.CONNMARK, name=name, text=text, mark=_connmark(found))
    if name == "CT":
        return Target(act=Act.NOTRACK if "--notrack" in found else Act.NOTHING, name=name, text=text)
    if name in _CHANGES:
        return Target(act=Act.CHANGE, name=name, text=text, changes=_CHANGES[name])
    if name in _ELSEWHERE:
        return Target(act=Act.ELSEWHERE, name=name, text=text, reason=f"{name} {_ELSEWHERE[name]}")
    raise ValueError(name)


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
