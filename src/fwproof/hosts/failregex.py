"""Runs on the audited host: tries every line on the filters of fail2ban, with that host's own fail2ban.

One standard-library file for Python 3.6 and newer, given to ``python3 -I -c``; nothing is installed and nothing is
written. It reads a request from standard input as JSON and prints an answer as JSON, :mod:`fwproof.evidence.ban_lines`
reads it. The regular expressions are those that fail2ban runs on this host all the time; here they run as ``nobody``
where the auditor is root, with little priority, each filter in a process of its own that is killed after its time.
No name is looked up: a host name in a line stands for itself.

Request: ``{"lines": most lines of a log, "seconds": time of a filter, "jails": {NAME: {"failregex": [...],
"ignoreregex": [...], "prefregex": null, "maxlines": null, "datepattern": null, "usedns": "warn", "encoding": "auto",
"logs": [PATH, ...], "journal": [WORD, ...], "samples": [LINE, ...]}}}``.
"""
# ruff: noqa: UP006, UP022, UP035, UP045, PTH116, TRY301

import errno
import json
import os
import pwd
import resource
import select
import signal
import stat
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List, Optional, TextIO, Tuple

_Line = Tuple[Any, bool]
"""A line of a log, or a sample, and whether it is of the journal, whose entries come without a date."""

_BYTES = 512 * 1024
"""How much of the end of a log is looked at."""
_LONGEST = 2000
"""Characters of a line that are told; fail2ban itself sees all of it."""
_ONE = 1.0
"""Seconds that one failregex has for the line that a filter did not get past."""


def read_log(path: str, most: int) -> Tuple[Dict[str, Any], Optional[List[bytes]]]:
    """Return what a log is, and its last lines (None where they cannot be read); a name that is no file is not read."""
    told: Dict[str, Any] = {"path": path, "exists": False, "error": "", "size": 0, "age": None}
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return told, None
    except OSError as error:
        told.update(exists=None, error=error.strerror or "not to be looked at")
        return told, None
    told.update(exists=True, size=found.st_size, age=max(0.0, time.time() - found.st_mtime))
    # as root no link is followed: whoever may write to the folder could have any file of the host told
    flags = os.O_RDONLY | os.O_NONBLOCK | (os.O_NOFOLLOW if os.geteuid() == 0 else 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as log:
            if not stat.S_ISREG(os.fstat(log.fileno()).st_mode):
                raise OSError(0, "it is no plain file")
            log.seek(max(0, found.st_size - _BYTES))
            data = log.read(_BYTES)
    except OSError as error:
        told["error"] = "it is a link, and root follows none" if error.errno == errno.ELOOP else str(error.strerror)
        return told, None
    lines = data.split(b"\n")
    if found.st_size > _BYTES:
        del lines[0]
    return told, [line for line in lines if line.strip()][-most:]


def read_journal(words: List[str], most: int) -> Tuple[Dict[str, Any], Optional[List[bytes]]]:
    """Return what the journal says of matches, and its newest entries as fail2ban's filter puts them together."""
    told: Dict[str, Any] = {"path": "journal: " + " ".join(words), "exists": None, "error": "", "size": 0, "age": None}
    command = ["/usr/bin/journalctl", "--no-pager", "-o", "json", "-n", str(most), "--", *words]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        told["error"] = f"the journal cannot be read: {error}"
        return told, None
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode or "insufficient permissions" in said or "not seeing messages from other users" in said:
        told["error"] = (said.strip().splitlines() or [f"status {done.returncode}"])[0][:200]
        return told, None
    lines = []
    for text in done.stdout.splitlines():
        try:
            entry = json.loads(text.decode("utf-8", "replace"))
        except ValueError:
            continue
        if not isinstance(entry, dict):  # such as "-- No entries --"
            continue
        lines.append(as_line(entry))
        told["age"] = max(0.0, time.time() - int(entry.get("__REALTIME_TIMESTAMP", 0)) / 1e6)
    told.update(exists=bool(lines), size=len(lines))
    return told, lines


def as_line(entry: Dict[str, Any]) -> bytes:
    """Return a journal entry as fail2ban matches it (``server/filtersystemd.py``, ``formatJournalEntry``)."""

    def word(key: str) -> str:
        value = entry.get(key)
        # what is no text is a list of bytes (journalctl(1), -o json)
        return value if isinstance(value, str) else bytes(value).decode("utf-8", "replace") if value else ""

    parts = [word("_HOSTNAME")]
    who, pid = word("SYSLOG_IDENTIFIER") or word("_COMM"), word("SYSLOG_PID") or word("_PID")
    if who:
        parts.append(f"{who}[{pid}]:" if pid else f"{who}:")
    if parts[-1] == "kernel:":
        parts.append("[%12.6f]" % (int(word("_SOURCE_MONOTONIC_TIMESTAMP") or word("__MONOTONIC_TIMESTAMP")) / 1e6))
    line = " ".join([*filter(None, parts), word("MESSAGE")])
    return line.replace("\n", "\\n").encode("utf-8", "replace")


def make_filter(jail: Dict[str, Any]) -> Any:
    """Return fail2ban's own filter of a jail's regular expressions."""
    from fail2ban.server.filter import Filter  # type: ignore[import-not-found]

    made = Filter(None)
    made.checkFindTime = False
    made.ignorePending = False  # as fail2ban-regex: a line whose address comes with a later one is told as well
    made.setUseDns("no" if str(jail["usedns"]).lower() in ("no", "false", "0") else "raw")
    if jail["maxlines"]:
        made.setMaxLines(int(jail["maxlines"]))
    if jail["datepattern"]:
        made.setDatePattern(jail["datepattern"])
    if jail["prefregex"]:
        made.prefRegex = jail["prefregex"]
    for regex in jail["ignoreregex"]:
        made.addIgnoreRegex(regex)
    for regex in jail["failregex"]:
        made.addFailRegex(regex)
    return made


def outcome(made: Any, line: str, *, journal: bool) -> Tuple[Optional[int], str]:
    """Return which failregex takes a line (None where none does), and whom it is about."""
    found = made.processLine(("", "", line), time.time()) if journal else made.processLine(line)
    for match in found:
        fail = match[3] if len(match) > 3 and isinstance(match[3], dict) else {}
        if not fail.get("nofail"):
            # without an address, it counts as soon as another line of its connection brings one
            return match[0], "" if match[1] is None else str(match[1])
    return None, ""


def work(jail: Dict[str, Any], lines: List[_Line], out: TextIO) -> None:
    """Try every line; what is found goes out line by line, so that nothing is lost with the process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    made = make_filter(jail)
    encoding = "utf-8" if jail["encoding"] in ("auto", "", None) else jail["encoding"]
    for number, (raw, journal) in enumerate(lines):
        line = raw.decode(encoding, "replace") if isinstance(raw, bytes) else raw
        out.write(f"at {number}\n")
        out.flush()
        regex, who = outcome(made, line, journal=journal)
        out.write(json.dumps({"n": number, "regex": regex, "who": who}) + "\n")
    out.write("end\n")
    out.flush()


def apart(seconds: float, do: Callable[[TextIO], None]) -> Tuple[List[str], bool]:
    """Run ``do(stream)`` in a process of its own; return its lines, and whether its time was over first."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 2, int(seconds) + 2))
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
            with os.fdopen(write, "w", encoding="utf-8", errors="replace") as out:
                try:
                    do(out)
                    status = 0
                except Exception as error:  # noqa: BLE001 - whatever fail2ban says of its own configuration
                    out.write(f"error {json.dumps(f'{type(error).__name__}: {error}'[:500])}\n")
        finally:
            os._exit(status)
    os.close(write)
    data, late, end = b"", False, time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([read], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            late = True
            os.kill(child, signal.SIGKILL)
            break
        part = os.read(read, 65536)
        if not part:
            break
        data += part
    os.close(read)
    os.waitpid(child, 0)
    return data.decode("utf-8", "replace").split("\n"), late


def slow_ones(jail: Dict[str, Any], line: _Line) -> List[int]:
    """Return the numbers, from 1, of the failregexes that do not get past a line in their time."""
    found = []
    for number, regex in enumerate(jail["failregex"], 1):
        one = dict(jail, failregex=[regex])
        _, late = apart(_ONE, lambda out, one=one: work(one, [line], out))  # type: ignore[misc]
        if late:
            found.append(number)
        if len(found) >= 3:
            break
    return found


def try_jail(jail: Dict[str, Any], request: Dict[str, Any]) -> Dict[str, Any]:
    """Return what a jail's filter does with the lines of its logs and with the samples."""
    told, lines = jail["told"], jail["lines"]
    every: List[_Line] = [(line, False) for line in jail["samples"]] + lines
    answer: Dict[str, Any] = {"logs": told, "samples": [], "lines": [], "error": "", "slow": None}
    written, late = apart(request["seconds"], lambda out: work(jail, every, out))
    at = None
    for text in written:
        if text.startswith("at "):
            at = int(text[3:])
        elif text.startswith("error "):
            answer["error"] = json.loads(text[6:])
        elif text.startswith("{"):
            one = json.loads(text)
            number = None if one["regex"] is None else one["regex"] + 1
            told_of = {"line": shown(every[one["n"]])[:_LONGEST], "regex": number, "who": one["who"]}
            answer["samples" if one["n"] < len(jail["samples"]) else "lines"].append(told_of)
    if late and at is not None:
        text = shown(every[at])
        answer["slow"] = {"line": text[:_LONGEST], "length": len(text), "regexes": slow_ones(jail, every[at])}
    elif not late and "end" not in written and not answer["error"]:
        answer["error"] = "the filter's process ended early"
    return answer


def shown(line: _Line) -> str:
    """Return a line as text."""
    return line[0].decode("utf-8", "replace") if isinstance(line[0], bytes) else str(line[0])


def become_nobody() -> None:
    """Give up root for good; what was to be read is read by now."""
    if os.geteuid() == 0:
        account = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.read())
    os.nice(10)
    for jail in request["jails"].values():
        read = [(*read_log(path, request["lines"]), False) for path in jail["logs"]]
        if jail["journal"] is not None:
            read.append((*read_journal(jail["journal"], request["lines"]), True))
        jail["told"] = [told for told, _, _ in read]
        jail["lines"] = [(line, journal) for _, lines, journal in read for line in lines or ()][-request["lines"] :]
    become_nobody()
    try:
        import logging

        from fail2ban.version import version  # type: ignore[import-not-found]

        logging.disable(logging.CRITICAL)
    except ImportError as error:
        told = {name: {"logs": jail["told"]} for name, jail in request["jails"].items()}
        sys.stdout.write(json.dumps({"version": None, "error": str(error)[:300], "jails": told}))
        return
    answers = {name: try_jail(jail, request) for name, jail in request["jails"].items()}
    sys.stdout.write(json.dumps({"version": str(version), "error": "", "jails": answers}))


if __name__ == "__main__":
    main()
