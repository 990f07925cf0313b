"""Secrets taken out of text before anybody keeps it: what a host prints, what a policy says, what a command line has.

It is done where text comes in (:mod:`fwproof.hosts.collect`), so that what is judged and what is stored are the same,
and once more where files are written. What stood there is replaced by :data:`MARK`, a plain word, so that YAML, JSON,
Python literals and shell words stay what they were. Nothing of the secret is kept, not even a hash: a short one could
be guessed from it.

A secret is known by its shape (a private key in PEM, a token of a well-known maker) or by the name before it. Whatever
has neither, such as a bare word in a rule's comment, is not seen; the documentation says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable

MARK = "REDACTED-by-fwproof"
_NAMES = (
    r"pass(?:word|wd|phrase)|mailpass|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|preshared[-_]?key"
    r"|shared[-_]?key|auth[-_]?key|credential"
)
_KEY = rf"[\w.-]*(?:{_NAMES})[\w.-]*"
_QUOTED = r"""(?P<q>["'])(?P<in>(?:\\.|(?!(?P=q))[^\\\r\n])*)(?P=q)"""
_HEADERS = r"(?:proxy-)?authorization|(?:set-)?cookie2?|x-auth[\w-]*|x-[\w-]*(?:token|key|secret)[\w-]*"
_PEM = re.compile(
    r"-----BEGIN (?P<what>[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----.*?(?:-----END (?P=what)-----|\Z)", re.DOTALL
)
_TOKENS = re.compile(
    r"(?:\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}"
    r"|sk-[\w-]{20,}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)|\$(?:1|2[abxy]|5|6|y|argon2id?)\$[^\s:'\"]{8,})"
)
_URL = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]*:)(?P<value>[^\s/@'\"]+)(?=@)", re.IGNORECASE)
_CURL = re.compile(r"(?P<head>(?:^|\s)(?:-u|--user|--proxy-user)[ =]['\"]?[^\s:'\"]+:)(?P<value>[^\s'\"]+)")
_HEADER = re.compile(
    rf"(?P<head>\b(?:{_HEADERS})[\"']?\s*[:=]\s*[\"']?)(?P<value>(?:(?:bearer|basic|digest|token)\s+)?[^\r\n\"'}}]+)",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"(?P<head>\b(?:bearer|basic)\s+)(?P<value>[A-Za-z0-9+/_.~=-]{12,})", re.IGNORECASE)
_NAMED = re.compile(
    rf"(?P<head>(?<![\w.-]){_KEY}[\"']?\s*[:=]\s*)(?:{_QUOTED}|(?P<value>[^\s\"',;&(){{}}\[\]<>|]+))", re.IGNORECASE
)
_OPTION = re.compile(rf"(?P<head>(?:^|\s)--?{_KEY}\s+)(?:{_QUOTED}|(?P<value>[^\s\"'-][^\s\"']*))", re.IGNORECASE)
# the last two of a list of Python literals, as `fail2ban-client -d` prints the settings of an action
_PAIR = re.compile(
    rf"(?P<head>(?<!'add', )(?P<k>[\"']){_KEY}(?P=k)\s*,\s*)(?:{_QUOTED})(?=\s*\])", re.IGNORECASE
)  # fmt: skip
_PLACEHOLDER = re.compile(r"<[\w/-]+>|%\(.*\)s|\$\{?\w+\}?|[^A-Za-z0-9]*|" + MARK)
"""What stands for a value, or is none: it stays."""


def _instead(found: re.Match[str]) -> str:
    groups = found.groupdict()
    head, value = groups.get("head") or "", groups.get("value") or groups.get("in") or ""
    if _PLACEHOLDER.fullmatch(value.strip()):
        return found[0]
    quote = (groups.get("q") or "") if groups.get("value") is None else ""
    tail = value[len(value.rstrip()) :]
    return f"{head}{quote}{MARK}{quote}{tail}"


def redacted(text: str) -> str:
    """Return the text without the secrets that can be told; the same text where there are none.

    Of rule tables and sets each quoted text, each word and each run of lines with # is looked at by itself: whoever
    writes a comment must not choose which rules are judged.
    """
    if not _WORTH_A_LOOK.search(text):
        return text
    if _SAVED.match(text):
        return _PIECE.sub(_in_rules, text)
    if _LISTED.match(text):
        return _STRING.sub(_in_json, text)
    return _anywhere(text)


def _anywhere(text: str) -> str:
    if not _WORTH_A_LOOK.search(text):
        return text
    text = _PEM.sub(MARK, text)
    text = _TOKENS.sub(MARK, text)
    for pattern in (_HEADER, _SCHEME, _URL, _CURL, _NAMED, _OPTION, _PAIR):
        text = pattern.sub(_instead, text)
    return text


_SAVED = re.compile(
    r"\A(?:[ \t\r]*(?:#[^\n]*)?\n)*(?:\*(?:raw|mangle|nat|filter|security)[ \t\r]*$|create \S+ [a-z]+:)", re.MULTILINE
)
"""How the output of iptables-save and of ``ipset save`` begins, and no other."""
_LISTED = re.compile(r'\A\s*\{\s*"nftables"\s*:')
"""How the output of ``nft -j list ruleset`` begins."""
_PIECE = re.compile(
    r'^[ \t]*#[^\n]*(?:\n[ \t]*#[^\n]*)*|"(?P<in>(?:\\.|[^"\\\n])*)"|[^\s"]+', re.MULTILINE
)  # fmt: skip
"""Lines with #, a quoted text of iptables-save, in which a backslash escapes (xtables_save_string()), or a word."""
_STRING = re.compile(r'"(?:\\.|[^"\\])*"', re.DOTALL)


def _in_rules(found: re.Match[str]) -> str:
    if found["in"] is None:
        return _anywhere(found[0])
    said = re.sub(r"\\(.)", r"\1", found["in"])
    clean = _anywhere(said)
    return found[0] if clean == said else '"' + re.sub(r"""([\\"'])""", r"\\\1", clean) + '"'


def _in_json(found: re.Match[str]) -> str:
    try:
        said = json.loads(found[0], strict=False)
    except ValueError:
        return _anywhere(found[0])
    clean = _anywhere(said)
    return found[0] if clean == said else json.dumps(clean)


_WORTH_A_LOOK = re.compile(
    rf"(?i:{_NAMES}|PRIVATE KEY|authorization|cookie|x-auth|bearer|basic|://[^\s/]*:[^\s/]*@|-u\s|--user|-user)"
    rf"|{_TOKENS.pattern}|x-[\w-]*key"
)
"""Most text has nothing of the kind, and one pass tells."""


HARMLESS_HEADERS = frozenset({
    "method", "path", "host", "user-agent", "accept", "accept-language", "accept-encoding", "content-type",
    "content-length", "connection", "origin", "referer",
})  # fmt: skip
"""Parts of an HTTP request that are no secret, whatever they are; of others nobody knows."""
_SHORTEST = 4
"""Characters of a secret that is looked for by itself: a shorter one is in every other word."""


def without(text: str, secrets: Iterable[str]) -> str:
    """Return the text without the secrets that can be told, and without those that are known."""
    for secret in sorted({each for each in secrets if len(each) >= _SHORTEST}, key=len, reverse=True):
        if secret != MARK:
            text = text.replace(secret, MARK)
    return redacted(text)


def cleaned(content: bytes, clean: Callable[[str], str] = redacted) -> bytes:
    """Return a text file's content without secrets; bytes that are no UTF-8 stay as they are."""
    text = content.decode("utf-8", "surrogateescape")
    return clean(text).encode("utf-8", "surrogateescape")


def marks(content: bytes) -> int:
    """Return how many places of a file were redacted."""
    return content.count(MARK.encode())
