"""What iptables-restore reads: each table of it is committed on its own (iptables-restore(8))."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fwproof.gating.command import COMMIT, Command, Refused, told
from fwproof.ruleset.iptables import BUILT_IN
from fwproof.ruleset.words import split

_SWITCHES = {
    "-n": "keeps", "--noflush": "keeps", "-c": "", "--counters": "", "-v": "", "--verbose": "", "-w": "", "--wait": "",
}  # fmt: skip
_COUNTERS = re.compile(r"\[[0-9]+:[0-9]+\] +")


def blocks(made: Command, text: str, begins: int) -> Iterator[Command]:
    """Yield a COMMIT for each table of what iptables-restore reads; ``begins`` is its first line. Raises Refused."""
    options = [word for word in made.words[1:] if not word.isdigit()]
    odd = next((word for word in options if word not in _SWITCHES), None)
    if odd is not None:
        raise Refused(f"{made.words[0]} {odd}: of its options {', '.join(_SWITCHES)} are read")
    made = replace(made, keeps=any(_SWITCHES[word] for word in options))
    table, lines, found = "", list[tuple[int, str]](), 0
    for number, line in enumerate(text.split("\n"), begins):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("*") and not table:
            table = line[1:].strip()
            if table not in BUILT_IN:
                raise Refused(f"{table!r} is not a table of iptables: expected one of {', '.join(BUILT_IN)}", number)
        elif line.strip() == COMMIT and table:
            found += 1
            if found > 1 and made.may_fail:
                raise Refused("what becomes of further tables where one fails is not read: leave out `|| true`", number)
            feed = "".join(f"{each}\n" for each in (f"*{table}", *(each for _, each in lines), COMMIT))
            inside = tuple(_lines(replace(made, table=table), lines))
            yield replace(made, line=number, table=table, feed=feed, block=inside)
            table, lines = "", []
        elif table:
            lines.append((number, line))
        else:
            raise Refused(f"expected *TABLE, found {line.strip()[:40]!r}", number)
    if table or not found:
        raise Refused(f"expected COMMIT at the end of table {table or 'filter'}")


def _lines(made: Command, lines: Sequence[tuple[int, str]]) -> Iterator[Command]:
    for number, line in lines:
        words, closed = split(_COUNTERS.sub("", line, count=1))
        own = replace(made, line=number, words=(made.words[0], *(word.text for word in words)), may_fail=False)
        if not closed:
            raise Refused("the quote that opens here is never closed", number)
        if line.startswith(":"):
            chain = words[0].text[1:] or (words.pop(1).text if len(words) > 1 else "")
            default = words[1].text if len(words) > 1 else ""
            if not chain or default not in {"ACCEPT", "DROP", "-"}:
                raise Refused("expected :CHAIN followed by ACCEPT, DROP or -", number)
            yield replace(own, action=":", chain=chain, default=default)
            continue
        try:
            command = told(own, words)
        except Refused as refusal:
            raise Refused(str(refusal), number) from None
        if command.table != made.table:
            raise Refused("-t has no place in what iptables-restore reads", number)
        yield command
