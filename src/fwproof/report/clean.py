r"""Text from elsewhere (rule comments, banners, host output, names) made safe to show, in one place.

A character that a terminal would obey, an XML parser would refuse or a reader could not see is replaced by its
escape (``\x1b``), so that it stays visible instead of acting or vanishing. Escaping for XML and HTML is the
business of their serialisers; file names, shell words and Markdown have their own functions here.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import unicodedata
from pathlib import Path, PurePosixPath

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode general categories that are shown as escapes: controls, formats (bidi overrides, zero widths, tags),
surrogates, line and paragraph separators."""

# GitHub Flavored Markdown 0.29, section 6.1: ASCII punctuation that can open a construct. "@" would notify people.
_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+.!|~@&:$-])")
_MARKDOWN_LIMIT = 400
_UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9._+=@-]+")
_NAME_LIMIT = 100


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # an undecodable byte, kept by the surrogateescape handler (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class _Table(dict[int, str]):
    """A :meth:`str.translate` table that works out each character once."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF  # Unicode 16, section 23.7
        hidden = noncharacter or unicodedata.category(character) in _HIDDEN
        self[code] = _escape(code) if hidden else character
        return self[code]


_TABLE = _Table({ord("\n"): "\n", ord("\t"): "\t"})
_SURROGATE = re.compile("[\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return the text with every character that acts or hides written as ``\x1b``, ``\u202e`` or ``\U000e0041``.

    Newlines and tabs stay; all that is left is legal in XML 1.0 and inert on a terminal.
    """
    return text if text.isprintable() else text.translate(_TABLE)


def encodable(text: str) -> str:
    r"""Return the text with lone surrogates as escapes, so that it can be written as UTF-8; the rest stays."""
    return _SURROGATE.sub(lambda found: _escape(ord(found[0])), text)


def clip(text: str, limit: int) -> str:
    """Return the text, made visible, cut to ``limit`` characters with a note of how many are left out."""
    text = visible(text)
    if len(text) <= limit:
        return text
    return f"{text[:limit].rstrip()} … ({len(text) - limit:,} more characters in results.json)"


def one_line(text: str, limit: int = 500) -> str:
    """Return the text, made visible, on one line of at most ``limit`` characters."""
    text = " ".join(visible(text).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


# GitHub's runner obeys "::name::" at the start of a line, after blanks, and "##[name]" anywhere in it; Azure's agent
# "##vso[" and "##[". Text from hosts lands in such logs, wrapped as the terminal wraps it.
_LEADING = re.compile(r"^((?:\s|\x1b\[[\d;]*m)*)::", re.MULTILINE)
_ANYWHERE = re.compile(r"##(?=(?:vso)?\[)", re.IGNORECASE)


def no_command(text: str) -> str:
    r"""Return text for a log of continuous integration, with what its agent would obey broken up: ``:\x3avar::``."""
    return _ANYWHERE.sub(r"#\\x23", _LEADING.sub(r"\1:\\x3a", text))


def markdown_text(text: str) -> str:
    """Return the text as plain words of Markdown, made visible, on one line, whatever it holds."""
    return _SPECIAL.sub(r"\\\1", one_line(text, _MARKDOWN_LIMIT))


def markdown_code(text: str) -> str:
    """Return text for a code span of Markdown; a backtick would end it, a pipe would end a table cell."""
    return one_line(text, _MARKDOWN_LIMIT).replace("`", "'").replace("|", "¦")


def safe_name(text: str) -> str:
    """Return a file name that stands for the text: plain ASCII, never hidden, never ``..``, at most 100 characters.

    A name that had to be changed gets a piece of its SHA-256, so that two different texts do not meet.
    """
    name = _UNSAFE_IN_NAMES.sub("_", text).lstrip(".-") or "_"
    if name == text and len(name) <= _NAME_LIMIT:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    stem, dot, suffix = name.rpartition(".")
    if not dot or not 0 < len(suffix) <= 8:
        stem, dot, suffix = name, "", ""
    return f"{stem[: _NAME_LIMIT - 20]}-{digest}{dot}{suffix}"


def safe_path(text: str, root: str) -> str:
    """Return a relative path under the folder ``root`` that stands for the text; each part is a :func:`safe_name`."""
    parts = [part for part in text.split("/") if part not in {"", "."}]
    if parts[:1] == [root]:
        parts = parts[1:]
    return str(PurePosixPath(root, *(safe_name(part) for part in parts or ["_"])))


def shell_word(text: str) -> str:
    """Return the text as one word of a POSIX shell command line, made visible first."""
    return shlex.quote(one_line(text))


def shown(path: Path, root: Path) -> str:
    """Return a path as a report shows it: relative to ``root``, where the audit runs, when it lies there."""
    resolved = path.resolve()
    return str(resolved.relative_to(root)) if resolved.is_relative_to(root) else str(path)
