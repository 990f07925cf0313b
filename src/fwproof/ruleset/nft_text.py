"""Rules of ``nft -j`` written out as ``nft list ruleset`` writes them, as far as people need it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from fwproof.ruleset.nft import Json, NftRule

_BARE = frozenset({"iif", "oif", "iifname", "oifname", "iifgroup", "oifgroup", "iiftype", "oiftype"})
_QUOTED = frozenset({"iifname", "oifname", "iif", "oif", "time", "hour", "day"})
_PLAIN = {"accept", "drop", "continue", "return", "notrack"}
_MOST = 24
"""Elements of a set that are written out."""


def rule_text(rule: NftRule) -> str:
    """Return a rule in one line; what this module cannot write is JSON."""
    text = " ".join(statement_text(statement) for statement in rule.statements)
    return f'{text} comment "{rule.comment}"'.strip() if rule.comment else text


def statement_text(statement: Json) -> str:
    """Return one statement."""
    try:
        if isinstance(statement, dict) and len(statement) == 1:
            ((kind, body),) = statement.items()
            return _statement(str(kind), body)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
        pass
    return _raw(statement)


def _raw(value: Json) -> str:
    try:
        return json.dumps(value)[:400]
    except (ValueError, RecursionError):
        return "something nested too deeply"


def _statement(kind: str, body: Json) -> str:  # noqa: C901, PLR0911, PLR0912 - one return for each kind of statement
    if kind in _PLAIN or body is None:
        return kind
    if kind in {"jump", "goto"}:
        return f"{kind} {body['target']}"
    if kind == "match":
        return _match(body)
    if kind == "vmap":
        return f"{expression(body['key'])} vmap {expression(body['data'])}"
    if kind == "counter":
        return "counter" if isinstance(body, dict) else f"counter name {body}"
    if kind in {"limit", "quota", "synproxy"} and isinstance(body, str):
        return f'{kind} name "{body}"'
    if kind in {"limit", "quota"}:
        return _rate(kind, body)
    if kind in {"ct helper", "ct timeout", "ct expectation"} and isinstance(body, str):
        return f'{kind} set "{body}"'
    if kind == "mangle":
        return f"{expression(body['key'])} set {_list(body['value'], ',')}"
    if kind == "set":
        return f"{body['op']} {body['set']} {{ {expression(body['elem'])}{_stated(body)} }}"
    if kind == "meter":
        return f"meter {body['name']} {{ {expression(body['key'])}{_stated(body)} }}"
    if kind in {"snat", "dnat", "masquerade", "redirect"}:
        return _nat(kind, body)
    if kind == "reset":
        return f"reset {expression(body)}"
    if kind == "ct count":
        return f"ct count {'over ' if body.get('inv') else ''}{body['val']}"
    if kind == "reject":
        return "reject with " + " ".join(str(body[key]) for key in ("type", "expr") if key in body)
    if isinstance(body, dict) and all(isinstance(value, str | int | list) for value in body.values()):
        return " ".join([kind, *(f"{key} {_value(value)}" for key, value in body.items())])
    return f"{kind} {body}" if isinstance(body, str | int) else _raw({kind: body})


def _value(value: Json) -> str:
    return f'"{value}"' if isinstance(value, str) else _list(value, ",") if isinstance(value, list) else str(value)


def _stated(body: Mapping[str, Json]) -> str:
    found = body.get("stmt", [])
    return "".join(f" {statement_text(each)}" for each in (found if isinstance(found, list) else [found]))


def _match(body: Mapping[str, Json]) -> str:
    left, right, operator = body["left"], body["right"], body["op"]
    quoted = isinstance(left, dict) and isinstance(left.get("meta"), dict) and left["meta"].get("key") in _QUOTED
    between = "," if operator in {"in", "!"} else "|"
    value = _quote(right) if quoted else _list(right, between) if isinstance(right, list) else expression(right)
    plain = operator == "in" or (operator == "==" and not _bitwise(left))
    return f"{expression(left)} {'' if plain else operator + ' '}{value}"


def _bitwise(left: Json) -> bool:
    """Whether a value alone would read as "any of these bits"."""
    if not isinstance(left, dict):
        return False
    kind, body = next(iter(left.items()), ("", None))
    flags = isinstance(body, dict) and (body.get("field") == "flags" or (kind == "ct" and body.get("key") == "status"))
    return kind in {"&", "|", "^"} or flags


def _quote(value: Json) -> str:
    if isinstance(value, dict) and isinstance(value.get("range"), list):
        return "-".join(_quote(each) for each in value["range"])
    if isinstance(value, dict) and isinstance(value.get("set"), list):
        return "{ " + ", ".join(_quote(each) for each in value["set"][:_MOST]) + " }"
    return f'"{value}"' if isinstance(value, str) and not value.startswith("@") else expression(value)


def _rate(kind: str, body: Mapping[str, Json]) -> str:
    over = "over " if body.get("inv") else ""
    if kind == "quota":
        return f"quota {over}{body['val']} {body.get('val_unit', 'bytes')}"
    unit = f" {body['rate_unit']}" if "rate_unit" in body else ""
    burst = f" burst {body['burst']} {body.get('burst_unit', 'packets')}" if body.get("burst") else ""
    return f"limit rate {over}{body['rate']}{unit}/{body['per']}{burst}"


def _nat(kind: str, body: Mapping[str, Json]) -> str:
    parts = [kind, *([str(body["family"])] if "family" in body else [])]
    if "addr" in body or "port" in body:
        port = f":{expression(body['port'])}" if "port" in body else ""
        address = expression(body["addr"]) if "addr" in body else ""
        parts.append("to " + (f"[{address}]{port}" if port and ":" in address else f"{address}{port}"))
    return " ".join([*parts, *([_list(body["flags"], ",")] if "flags" in body else [])])


def _list(value: Json, between: str) -> str:
    return between.join(expression(each) for each in value) if isinstance(value, list) else expression(value)


def expression(value: Json) -> str:
    """Return an expression or a value."""
    if isinstance(value, bool):
        return "exists" if value else "missing"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list):
        return _elements([value]) if len(value) == 2 else _list(value, ",")
    if not isinstance(value, dict) or len(value) != 1:
        return _raw(value)
    ((kind, body),) = value.items()
    if kind in _EXPRESSIONS:
        return _EXPRESSIONS[kind](kind, body)
    return statement_text({kind: body}) if kind in {*_PLAIN, "jump", "goto"} else _raw(value)


def _payload(_: str, body: Json) -> str:
    if "protocol" in body:
        return f"{body['protocol']} {body['field']}"
    return f"@{body['base']},{body['offset']},{body['len']}"


def _meta(_: str, body: Json) -> str:
    return str(body["key"]) if body["key"] in _BARE else f"meta {body['key']}"


def _osf(_: str, body: Json) -> str:
    return " ".join(["osf", *(("ttl", str(body["ttl"])) if "ttl" in body else ()), str(body["key"])])


def _keyed(kind: str, body: Json) -> str:
    return " ".join([kind, *(str(body[key]) for key in ("dir", "family") if key in body), str(body["key"])])


def _elem(_: str, body: Json) -> str:
    extra = f" timeout {body['timeout']}s" if "timeout" in body else ""
    return f"{expression(body['val'])}{extra}"


def _bits(kind: str, body: Json) -> str:
    return f" {kind} ".join(f"({_list(each, '|')})" if isinstance(each, list) else expression(each) for each in body)


def _numgen(_: str, body: Json) -> str:
    return f"numgen {body['mode']} mod {body['mod']}" + (f" offset {body['offset']}" if body.get("offset") else "")


def _hash(kind: str, body: Json) -> str:
    hashed = f" {expression(body['expr'])}" if "expr" in body else ""
    seed = f" seed {body['seed']:#x}" if "seed" in body else ""
    return f"{kind}{hashed} mod {body['mod']}{seed}"


def _named(*keys: str) -> Callable[[str, Json], str]:
    return lambda kind, body: " ".join([kind, *(str(body[key]) for key in keys if key in body)])


_EXPRESSIONS: dict[str, Callable[[str, Json], str]] = {
    "payload": _payload,
    "meta": _meta,
    "osf": _osf,
    "ipsec": _named("dir", "family", "key"),
    **dict.fromkeys(("ct", "rt", "socket"), _keyed),
    "fib": lambda _, body: f"fib {_list(body['flags'], ' . ')} {body['result']}",
    **dict.fromkeys(("exthdr", "tcp option", "ip option", "sctp chunk", "dccp option"), _named("name", "field")),
    "prefix": lambda _, body: f"{expression(body['addr'])}/{body['len']}",
    "range": lambda _, body: f"{expression(body[0])}-{expression(body[1])}",
    "concat": lambda _, body: _list(body, " . "),
    "set": lambda _, body: _elements(body if isinstance(body, list) else [body]),
    "map": lambda _, body: f"{expression(body['key'])} map {expression(body['data'])}",
    "elem": _elem,
    **dict.fromkeys(("&", "|", "^", "<<", ">>"), _bits),
    "numgen": _numgen,
    **dict.fromkeys(("jhash", "symhash"), _hash),
}
"""What writes each kind of expression, from its kind and what nft says of it (libnftables-json(5))."""


def _elements(elements: Sequence[Json]) -> str:
    texts = [
        f"{expression(each[0])} : {expression(each[1])}" if isinstance(each, list) and len(each) == 2
        else expression(each)
        for each in elements[:_MOST]
    ]  # fmt: skip
    more = f", and {len(elements) - _MOST} more" if len(elements) > _MOST else ""
    return "{ " + ", ".join(texts) + more + " }"
