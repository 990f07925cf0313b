"""The little shell of scripts: what is read means what a shell makes of it, and nothing else is read."""

import shlex
import subprocess
from pathlib import Path

import pytest

from fwproof.gating.script import read_script
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
    ran = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=False).stdout
    shown = "".join(
        "run" + "".join("".join(f" {byte:02x}" for byte in f" {word}".encode()) for word in command[1:]) + "\n"
        for command in words(text)
    )
    assert shown == ran


MORE = {
    "loops": "X=' a b '\nfor p in 22 '80 81' $X; do run $p; done\nfor p in; do run none; done\ni=0\n"
             "while [ $i -lt 3 ]; do i=$((i + 1)); [ $i -eq 2 ] && continue; run $i; done",
    "functions": 'f() { local a="$1"; shift; for w; do run "$a" $w; done; return 1; }\n'
                 "f 'x y' 'a b' c || run no\nset -- 1 2\nf \"$@\"\nrun $# \"$*\"",
    "conditions": 'X=a\nif [ "$X" = b ]; then run b; elif [ -n "$X" ]; then run a; else run c; fi\n'
                  'case $X in [0-9]*|b) run b ;; (a) run a ;; esac\n! [ -z "$X" ] && run yes\nfalse || run no',
    "defaults": 'run ${A:-iptables} "${A:-a b}" ${A:-a b} ${A+set}\nA=\nrun "${A-x}" ${A:+y}${A:=z} $A',
    "parts of values": "A=tcp:22:x\nrun ${A%%:*} ${A#*:} ${#A} \"${A%:*}\" \"${A##*'*'}\"",
    "sums": 'i=7\nrun $((i / 2 * -3)) "$(( (i + 1) % 3 ))" $((i<8)) $((- 7 / 2))',
    "continued words": "run a\\\nb 'a\\\nb' \"a\\\nb\"",
    "set -e": "set -e\nfalse || run a\nif false; then run b; fi\n[ -n '' ] && run c\nf() { false; run d; }\n"
              "f || :\n! false\n! true\nrun n\nf\nrun e",
    "statuses": "true && false\nrun $?\nfalse && true\nrun $?\ntrue && ! false && run $?\n! true\nrun $?",
    "the end": "run a\nexit\nrun b",
}  # fmt: skip


@pytest.mark.parametrize("text", MORE.values(), ids=MORE)
def test_what_is_followed_is_what_a_shell_runs(text):
    test_what_is_read_is_what_a_shell_runs(text)


REFUSED = {
    "a | b": "a pipe", "a > file": "output to a file", "a < file": "input from elsewhere", "a &": "background",
    "a `b`": "output of a command", "a $(b)": "output of a command", "a $b": "the variable b has no value",
    "(a)": "a subshell", "a *.rules": "a pattern", "X=1 a": "for one command only", "a 'b": "never closed",
    "a || b": "where a command fails", "eval a": "'eval' is not read", ". ./file": "'.' is not read",
    "if a; then b; fi": "whether a command works", "while read x; do a; done < file": "for several commands",
    "if [ -f /etc/x ]; then a; fi": "machine's files", "if iptables -C INPUT; then a; fi": "depends on the tables",
    "case $1 in start) a;; esac": "arguments of the script", "shift": "arguments of the script",
    "if [ x ]; then a": "never closed", "for x in 1; do a": "never closed", "case x in y) a": "never closed",
    "fi": "expected a command", "a; }": "expected a command", "x=(1 2)": "expected a command",
    "function f { a; }": "'function' is not read", "if [[ a ]]; then b; fi": "'[[' is not read",
    "a &> /dev/null": "not the same in every sh", "set -o pipefail": "of the options", "a {1,2}": "braces",
    "a ~/x": "~ is not read", "IFS=:": "the shell's own", "a $RANDOM": "has no value", "a ${HOME:-x}": "on the machine",
    "[ a == b ]": "not the same in every sh", "[ a -a b ]": "not the same", "[ x -lt 3 ]": "no plain decimal",
    "a $((1 / 0))": "divides by zero", "i=1; a $((i++))": "the sum", "a $((010))": "no plain decimal",
    "f() { local x; a $x; }; x=1; f": "local x=", "local x=1": "outside of a function", "break": "outside of a loop",
    "export x=$y": "has no value", "y='a b'; export x=$y": "put it in quotes", "readonly x=1; x=2": "readonly",
    "f() { f; }; f": "call one another", "while true; do :; done": "has run", "a <<E\nx\n": "never ends",
    "set -u; unset x; a $x": "set -u", "a ${x:?no}": "ends here", "a $'x'": "$ before a quote", "trap a EXIT": "'trap'",
    "iptables -A x || iptables -F x": "where a command fails", "a ${x//y/z}": "forms of POSIX",
    "if modprobe x; then a; fi": "whether a command works", "cat x && a": "depends on the machine",
    "logger $y && a": "depends on the machine", "modprobe x; a $?": "whether the command before it works",
    "set -u; unset x; echo $x": "the script ends here", "echo ${x?no}": "the script ends here",
    "echo $1 ${x:=y}": "arguments of the script", "echo $((i=5))": "the sum", "echo ${x//y/z}": "forms of POSIX",
    "a || for x in 1; do b; done": "where a command fails", "exit() { a; }": "a function of the name exit",
    "set - a": "write set -- WORDS", "a || exit 1; a $?": "whether the command before it works",
    "echo $y ${z-$(a)}": "the variable y has no value", "cd /proc/sys/net/ipv4; echo 1 > ip_forward": "its whole path",
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=REFUSED)
def test_what_is_not_understood_is_a_fault_with_its_line(text, message):
    faults = read_shell(f"run a\n{text}\n", "s.sh").faults
    assert any(message in fault.message for fault in faults), faults
    assert {fault.line for fault in faults} <= {2, 3, 4}


def test_what_is_not_come_to_is_no_fault():
    script = read_shell("f() { a | b; }\nif [ 1 = 2 ]; then c $(d); fi\nrun a\nexit 0\nrun $(x)\n", "s.sh")
    assert not script.faults
    assert len(script.commands) == 1


def test_a_command_in_a_function_has_its_own_line_and_those_of_the_calls():
    script = read_shell("f() {\n  run $1\n}\ng() { f 2; }\nf 1\ng", "s.sh")
    assert [(each.line, each.calls) for each in script.commands] == [(2, (5,)), (2, (6, 4))]


def test_what_nobody_sets_is_taken_for_granted_where_the_script_provides_for_it_and_told():
    script = read_shell('IPT="${IPT:-iptables}"\nX=$(id -u)\nY=$(command -v iptables)\nrun $IPT $X $Y', "s.sh")
    assert script.assumed == ("nothing outside the script sets IPT",)
    assert [word.text for word in script.commands[0].words[1:]] == ["iptables", "0", "/usr/sbin/iptables"]


def test_what_a_machine_that_is_as_it_should_be_does_is_taken_for_granted_and_told():
    text = "iptables-save > x; cd /x || exit 1\nmodprobe a || true\n"
    text += "logger b\necho $1 $HOME ${X-$2}\nset -eu\ncat y\necho $0 $* ${X:-z}\n"
    script = read_shell(f"{text}iptables-save > ///proc/sys/../x\nrun a", "s.sh")
    assert not script.faults
    assert script.assumed == ("cd works, in line 1", "cat works, in line 6")
    save = "iptables-save"
    assert [(each.words[0].text, each.to) for each in script.commands] == [(save, ""), (save, "/proc/x"), ("run", "")]


def test_after_what_cannot_be_told_no_fault_is_made_up():
    script = read_shell("X=$(a)\nrun $X\n. ./settings\nrun $FROM_THERE\nrun b", "s.sh")
    assert [fault.line for fault in script.faults] == [1, 3]


def test_text_that_nests_or_grows_without_end_is_refused():
    for text in ("! " * 5000 + "a", "if " * 500, "a ${x:-" * 500, "x=aaaaaaaaaa\n" + 'x="$x$x"\n' * 40, "{ " * 500,
                 "a $((" + "(" * 500 + "1"):  # fmt: skip
        assert read_shell(text, "s.sh").faults


def test_every_fault_is_told_and_the_lines_after_one_are_read_on():
    script = read_shell("a | b \\\n  c\nrun x\nd > e\nrun y", "s.sh")
    assert [fault.line for fault in script.faults] == [1, 4]
    assert [shlex.join(word.text for word in command.words) for command in script.commands] == ["run x", "run y"]


def test_a_command_that_may_fail_is_known():
    commands = read_shell("run a || true\nrun b || :\nrun c", "s.sh").commands
    assert [command.may_fail for command in commands] == [True, True, False]
    assert words("run a || true\nrun $?") == [("run", "a"), ("run", "0")]


def test_the_script_of_the_how_to_is_followed():
    text = (Path(__file__).parents[3] / "docs" / "gate.md").read_text().split("```sh\n")[1].split("```")[0]
    commands = read_script(text, "s.sh")
    assert [each.line for each in commands] == [2, 2, 1, 1, 1, 7]
    assert commands[3].text == "iptables -A INPUT -p tcp --dport 80 -j ACCEPT"
    assert str(commands[5]) == "s.sh:7: iptables-restore --noflush (COMMIT of table nat)"
