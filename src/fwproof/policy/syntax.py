"""PyYAML's complaints about a file's syntax, in the words of somebody who edits the file."""

from __future__ import annotations

import re

import yaml

_WORDS: tuple[tuple[str, str], ...] = (
    (r"mapping values are not allowed", "a ':' is not allowed here; put the value in quotes, or check the indentation"),
    (r"could not find expected ':'", "expected a key followed by ': '"),
    (r"expected <block end>, but found '[\]}]'", "a closing bracket without its opening one"),
    (r"expected <block end>", "the indentation does not match the lines above"),
    (r"found unexpected end of stream", "the file ends inside a quoted text; a closing quote is missing"),
    (r"expected ',' or '\]'", "expected ',' or ']' in the list that starts in [ ]"),
    (r"expected ',' or '\}'", "expected ',' or '}' in the mapping that starts in { }"),
    (r"found character .* that cannot start any token", "a value cannot start with this character; put it in quotes"),
    (r"found undefined tag handle|expected '!'|could not find expected '!'", "tags are not used in these files"),
    (r"found duplicate anchor", "this anchor is given twice"),
    (r"expected <document start>", "the file goes on after its end; check the indentation"),
    (r"sequence entries are not allowed", "a '-' is not allowed here; start the list on a line of its own"),
    (r"found unknown escape character", "unknown escape in a double-quoted text; use single quotes"),
)


def syntax_message(error: yaml.MarkedYAMLError, text: str) -> str:
    """Return one clear sentence for a syntax error of PyYAML in ``text``."""
    mark = error.problem_mark
    lines = text.splitlines()
    if mark is not None and mark.line < len(lines) and re.match(r"[ ]*-?[ ]*\t", lines[mark.line]):
        return "a tab in the indentation; use spaces"
    problem = error.problem or error.context or "the structure is not clear"
    for pattern, words in _WORDS:
        if re.search(pattern, problem):
            return words
    return f"not valid YAML: {problem}"
