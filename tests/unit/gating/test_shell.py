"""The little shell of scripts: what is read means what a shell makes of it, and nothing else is read."""

import shlex
import subprocess

import pytest

from fwproof.gating.shell import read_shell


def words(text):
    script = read_shell(text, "s.sh")
    assert not script.faults
    return [tuple(word.text for word in command.words) for command in script.commands]


READ = {
    "comments, blanks and continued lines": "#!/bin/sh\n\nrun a \\\n   b # c\n",
    "separators": "run a; run b && run c\nrun d",
    "quotes": "run 'a  b' \"c d\" e\\ f 'it'\\''s'",
    "variables": "X=1\nY='a b'\nZ=\"$X-${X}\"\nrun $X \"$Y\" $Y ${Z}z '$X'",
    "exported variables": "export X=1\nreadonly Y=2\nrun $X $Y",
    "escapes in quotes": 'run "a\\"b" "c\\\\d" "e\\$f" "g\\h"',
    "a hash inside a word": "run a#b",
    "output thrown away": "run a 2>/dev/null\nrun b >/dev/null 2>&1\nrun c || true",
}


@pytest.mark.parametrize("text", READ.values(), ids=READ)
def test_what_is_read_is_what_a_shell_runs(text):
    """Ground truth is sh itself, which runs a function that prints its words quoted."""
    function = (
        "run() { printf 'run'; for w in \"$@\"; do printf ' %s' \"$w\" | od -An -tx1 | tr -d '\\n'; done; echo; }\n"
    )
    script = function + text.replace(">/dev/null 2>&1", "").replace("2>/dev/null", "").replace("|| true", "")
    ran = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=True).stdout
    shown = "".join(
        "run" + "".join("".join(f" {byte:02x}" for byte in f" {word}".encode()) for word in command[1:]) + "\n"
        for command in words(text)
    )
    assert shown == ran


REFUSED = {
    "for p in 22 80; do x; done": "'for' is not read", "if true; then x; fi": "'if' is not read",
    "a | b": "a pipe", "a > file": "output to a file", "a < file": "input from elsewhere", "a &": "background",
    "a `b`": "output of a command", "a $(b)": "only the plain value", "a ${b:-c}": "only the plain value",
    "a $b": "the variable b has no value", "(a)": "a subshell", "f() { a; }": "a subshell or function",
    "a *.rules": "a pattern", "X=1 a": "for one command only", "a 'b": "never closed", "a || b": "a pipe",
    "eval a": "'eval' is not read",
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=REFUSED)
def test_what_is_not_understood_is_a_fault_with_its_line(text, message):
    faults = read_shell(f"run a\n{text}\n", "s.sh").faults
    assert any(message in fault.message for fault in faults), faults
    assert faults[0].line == 2


def test_every_fault_is_told_and_the_lines_after_one_are_read_on():
    script = read_shell("a | b \\\n  c\nrun x\nd > e\nrun y", "s.sh")
    assert [fault.line for fault in script.faults] == [1, 4]
    assert [shlex.join(word.text for word in command.words) for command in script.commands] == ["run x", "run y"]


def test_a_command_that_may_fail_is_known():
    commands = read_shell("run a || true\nrun b || :\nrun c", "s.sh").commands
    assert [command.may_fail for command in commands] == [True, True, False]
