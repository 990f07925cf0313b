"""How long lines are shown: hung at a terminal, whole for another program, and never steering either."""

import os
import subprocess
import sys

import pytest

from fwproof.cli.saying import hung, say

LONG = "    by ip filter INPUT rule 6: -A INPUT -p tcp -m tcp --dport 8080 --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT"


def test_a_long_line_goes_on_further_in_and_loses_no_word():
    pieces = hung(LONG, 60)
    assert len(pieces) > 1
    assert all(len(piece) <= 60 for piece in pieces)
    assert pieces[0].startswith("    by ip")
    assert all(piece.startswith(" " * 8) and piece[8] != " " for piece in pieces[1:])
    assert " ".join(piece.strip() for piece in pieces) == LONG.strip()


@pytest.mark.parametrize("columns", [0, 20, len(LONG)])
def test_what_fits_and_what_nobody_could_read_stays_as_it_is(columns):
    assert hung(LONG, columns) == [LONG]


def test_words_and_columns_of_a_table_stay_whole():
    assert hung("x" * 50 + " " + "y" * 90, 60) == ["x" * 50, "    " + "y" * 90]
    assert hung("a" * 30 + "     " + "b" * 10 + " " + "c" * 30, 50)[0] == "a" * 30 + "     " + "b" * 10


@pytest.mark.parametrize(
    "line", ["$ " + "word " * 40, "    iptables " + "-m x " * 40, "then `ufw delete allow 11434/tcp` " + "word " * 40]
)
def test_commands_stay_whole_to_be_copied(line):
    assert hung(line, 60) == [line]


def test_another_program_reads_whole_lines(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    say(["word " * 20])
    assert capsys.readouterr().out == "word " * 20 + "\n"


@pytest.mark.parametrize(("whole", "lines"), [(False, 3), (True, 1)])
def test_at_a_terminal_lines_are_hung(whole, lines):
    """A real pseudo-terminal of 50 columns (tty_ioctl(4), TIOCSWINSZ)."""
    program = (
        "import fcntl, os, pty, struct, sys, termios\n"
        "ours, theirs = pty.openpty()\n"
        "fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 50, 0, 0))\n"
        "os.dup2(theirs, 1)\n"
        "from fwproof.cli.saying import say\n"
        f"say(['word ' * 20], whole={whole})\n"
        "print('the end', flush=True)\n"
        "read = b''\n"  # a terminal may hand over one line at a time
        "while b'the end' not in read: read += os.read(ours, 4096)\n"
        "os.write(2, read)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    *told, _ = done.stderr.splitlines()
    assert len(told) == lines
    assert whole or max(map(len, told)) <= 50
