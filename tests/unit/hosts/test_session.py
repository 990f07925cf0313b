import time

import pytest

from fwproof.errors import CommandRefused, CommandTimeout, Garbled, HostUnreachable, NotThere
from fwproof.hosts import session
from fwproof.hosts.access import Command

from .conftest import LocalChannel


def shell(name, script, **more):
    return Command(name=name, words=("/bin/sh", "-c", script), **more)


@pytest.mark.parametrize(
    ("script", "stdout", "stderr", "status"),
    [
        ("printf 'a\\nb\\n'", "a\nb\n", "", 0),
        ("printf 'no line end'", "no line end", "", 0),
        ("true", "", "", 0),
        ("printf '\\n'", "\n", "", 0),
        ("echo out; echo err >&2; exit 7", "out\n", "err\n", 7),
        ("kill -9 $$", "", "", 137),
        ("printf '\\377\\000x'", "\udcff\0x", "", 0),
        ("cat", "", "", 0),
    ],
)
def test_one_output(local, script, stdout, stderr, status):
    capture = local().run_many([shell("one", script)])["one"]
    assert (capture.stdout, capture.stderr.removesuffix("Killed\n"), capture.status) == (stdout, stderr, status)


def test_outputs_are_told_apart(local):
    commands = [shell(f"n{n}", f"echo out{n}; echo err{n} >&2; exit {n}") for n in range(30)]
    transport = local()
    answers = transport.run_many(commands)
    assert transport.shells == 1
    assert [(a.name, a.stdout, a.stderr, a.status) for a in answers.values()] == [
        (f"n{n}", f"out{n}\n", f"err{n}\n", n) for n in range(30)
    ]


def test_a_command_cannot_forge_the_end_of_another(local):
    forged = 'for t in t \'\' $t deadbeef; do echo "$t end 0 0"; echo "$t begin 1"; done; env'
    answers = local().run_many([shell("evil", forged), shell("good", "echo good")])
    assert answers["good"].stdout == "good\n"
    assert "end 0 0" in answers["evil"].stdout


def test_words_are_quoted(local, tmp_path):
    hostile = "$(touch pwned) `touch pwned` '; touch pwned; \" \n touch pwned"
    answers = local().run_many([Command(name="echo", words=("/bin/echo", hostile))])
    assert answers["echo"].stdout == hostile + "\n"
    assert not (tmp_path / "pwned").exists()


def test_a_missing_program_is_not_there_and_nothing_else_suffers(local):
    commands = [Command(name="no", words=("/no/such/program",)), shell("yes", "echo yes")]
    answers = local().run_many(commands)
    assert isinstance(answers["no"], NotThere)
    assert answers["no"].message == "/no/such/program: not installed"
    assert answers["yes"].stdout == "yes\n"


def test_a_missing_sudo_is_a_refusal(local, monkeypatch):
    monkeypatch.setattr(session, "SUDO", ("/no/sudo", "-n"))
    monkeypatch.setattr("fwproof.hosts.access.SUDO", ("/no/sudo", "-n"))
    transport = local()
    object.__setattr__(transport.host.ssh, "user", "auditor")
    answer = transport.run_many([shell("id", "id", root=True)])["id"]
    assert type(answer) is CommandRefused
    assert "/no/sudo is not installed" in answer.message


def test_a_hanging_command_costs_its_own_time_only(local, monkeypatch):
    monkeypatch.setattr(session, "_EACH", 0.5)
    transport, begun = local(), time.monotonic()
    answers = transport.run_many([shell("a", "echo a"), shell("slow", "echo x; exec sleep 60"), shell("b", "echo b")])
    assert time.monotonic() - begun < 5
    assert isinstance(answers["slow"], CommandTimeout)
    assert (answers["a"].stdout, answers["b"].stdout, transport.shells) == ("a\n", "b\n", 2)


def test_the_time_limit_of_all_holds(local):
    begun = time.monotonic()
    answers = local().run_many([shell(n, "exec sleep 60") for n in "abc"], timeout=0.6)
    assert time.monotonic() - begun < 5
    assert [type(a) for a in answers.values()] == [CommandTimeout] * 3


def test_a_shell_that_ends_is_garbled_for_every_command(local):
    answers = local(shell=("/bin/sh", "-c", "echo rubbish; echo go away >&2")).run_many(
        [shell(n, "true") for n in "ab"]
    )
    assert [type(a) for a in answers.values()] == [Garbled] * 2
    assert "go away" in answers["a"].message


def test_a_shell_that_ends_before_it_has_read_is_garbled_as_well(local, monkeypatch):
    def gone(_channel, _data):
        raise HostUnreachable("web", "the command ended before it had read its input")

    monkeypatch.setattr(LocalChannel, "send", gone)
    answers = local(shell=("/bin/echo", "no")).run_many([shell("a", "true")])
    assert "the shell ended before a was read" in answers["a"].message


def test_a_shell_that_prints_without_end_is_garbled(local):
    answer = local(shell=("/bin/sh", "-c", "exec yes rubbish")).run_many([shell("a", "true")])["a"]
    assert isinstance(answer, Garbled)
    assert "without end" in answer.message


def test_what_a_login_shell_prints_first_is_passed_over(local):
    noisy = ("/bin/sh", "-c", "echo Welcome; echo; exec /bin/sh -s")
    assert local(shell=noisy).run_many([shell("a", "echo a")])["a"].stdout == "a\n"


def test_too_much_output_is_garbled(local, monkeypatch):
    monkeypatch.setattr(session, "OUTPUT_LIMIT", 4096)
    answers = local().run_many([shell("a", "yes | head -c 9000"), shell("b", "echo b")])
    assert isinstance(answers["a"], Garbled)
    assert answers["b"].stdout == "b\n"


@pytest.mark.parametrize("number", ["\N{SUPERSCRIPT TWO}", "7" * 5000, "x"])
def test_a_host_that_says_something_else_for_a_number_is_no_crash(local, monkeypatch, number):
    """It may run what it likes in place of a shell, and is told the token."""
    monkeypatch.setattr(session, "_PROLOGUE", session._PROLOGUE.replace("s=$?", f"s={number}"))
    with_status = local().run_many([shell("one", "true")])["one"]
    assert isinstance(with_status, Garbled)
    assert "in place of the exit status of one" in with_status.message
    monkeypatch.undo()
    monkeypatch.setattr(session, "_PROLOGUE", session._PROLOGUE.replace('"$n" >&2', f"{number} >&2"))
    heard = local().run_many([shell("one", "echo err >&2")])["one"]
    assert (heard.status, heard.stderr) == (0, "")
