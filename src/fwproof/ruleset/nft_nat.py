"""nft's NAT statements as the targets of iptables that do the same (nft_nat.c, nft_masq.c, nft_redir.c)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fwproof.flow import Family
from fwproof.ruleset.model import Act, Target
from fwproof.ruleset.nft import Json
from fwproof.ruleset.nft_keys import inner
from fwproof.ruleset.nft_text import expression
from fwproof.ruleset.targets import target_of
from fwproof.ruleset.words import Instance, Option

_FLAGS = {"random": "--random", "fully-random": "--random-fully", "persistent": "--persistent"}


def nat_target(kind: str, body: Mapping[str, Json], family: Family, text: str) -> Target:
    """Return the target of ``snat``, ``dnat``, ``masquerade`` and ``redirect``; ValueError if it is not understood.

    ``snat prefix to`` and the like keep a part of the address, and stay a named unknown.
    """
    kinds = body.get("type_flags", [])
    if kinds and (kinds if isinstance(kinds, list) else [kinds]) not in (
        ["interval"],
        ["concat"],
        ["interval", "concat"],
    ):
        return Target(act=Act.ELSEWHERE, name=kind, text=text, reason=f"{text} rewrites a part of the address")
    address, port = _ends(body)
    if not set(body) <= {"addr", "port", "family", "flags", "type_flags"} or (
        kind in {"snat", "dnat"} and not address and not port):  # fmt: skip
        raise ValueError(text)
    name = {"snat": "SNAT", "dnat": "DNAT", "masquerade": "MASQUERADE", "redirect": "REDIRECT"}[kind]
    options = []
    if kind in {"masquerade", "redirect"}:
        options += [Option("--to-ports", (port,))] if port else []
    else:
        wrapped = f"[{address}]" if ":" in address and port else address
        option = "--to-source" if kind == "snat" else "--to-destination"
        options.append(Option(option, (f"{wrapped}:{port}" if port else wrapped,)))
    flags = body.get("flags", [])
    for flag in flags if isinstance(flags, list) else [flags]:
        options.append(Option(_FLAGS[flag], ()))
    found = target_of(Instance(name, options), goto=False, chains=(), family=family)
    if found.act is Act.UNKNOWN:
        raise ValueError(text)
    return replace(found, text=text)


def _ends(body: Mapping[str, Json]) -> tuple[str, str]:
    """Return address and port as iptables writes them; a map may give both at once."""
    address, port = inner(body.get("addr", "")), inner(body.get("port", ""))
    if isinstance(address, dict) and set(address) == {"concat"}:
        address, port = address["concat"]
    return _range(address), _range(port)


def _range(value: Json) -> str:
    if isinstance(value, dict) and set(value) == {"range"}:
        low, high = value["range"]
        return f"{_range(low)}-{_range(high)}"
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError(expression(value))  # noqa: TRY004 - "not understood"
    return str(value)
