import subprocess

import pytest

from fwproof.errors import UsageError
from fwproof.hosts import access
from fwproof.hosts.access import PLAIN_COMMANDS, ROOT_COMMANDS, commands, jail_commands, sudoers
from fwproof.inventory import Access, Host, SshAddress

AGENT = '/usr/local/sbin/fwproof-agent ""'
HOST = Host(name="h", addresses=(), ssh=SshAddress(address="192.0.2.1"), drop_log="/var/log/drops log")


def allowed(text):
    body = text.split("FWPROOF = ", 1)[1].split("\nDefaults", 1)[0]
    return [line.strip() for line in body.replace("\\\n", "").split(",")]


def test_every_root_command_is_allowed_word_for_word_and_nothing_else():
    lines = allowed(sudoers("auditor", Access.READ, ["ollama-api"]))
    assert lines == [" ".join(c.words) for c in commands(HOST, ["ollama-api"]) if c.root]


def test_observe_adds_the_agent_without_arguments():
    extra = set(allowed(sudoers("auditor", Access.OBSERVE, trace=True))) - set(
        allowed(sudoers("auditor", Access.OBSERVE))
    )
    assert extra == {f"{access.AGENT_PATH} --trace"}
    read, observe = (allowed(sudoers("auditor", tier)) for tier in (Access.READ, Access.OBSERVE))
    assert observe == [*read, AGENT]


def test_no_rule_leaves_a_word_open():
    for line in allowed(sudoers("auditor", Access.OBSERVE, ["sshd"])):
        program, *words = line.split()
        assert program.startswith("/")
        assert words, f"sudo allows {program} with any argument"
        assert not set(line) & set("*?[]!\\:=")


def test_root_is_everything():
    assert sudoers("auditor", Access.ROOT).splitlines()[-1] == "auditor ALL=(root) NOPASSWD: ALL"


@pytest.mark.parametrize(
    "user", ["", "ALL", "%admin", "a b", "a,b", "root ALL", "#0", "a\nb ALL=(ALL) ALL", "x" * 33, "-a"]
)
def test_a_user_that_is_no_account_name_is_refused(user):
    with pytest.raises(UsageError, match="account name"):
        sudoers(user, Access.READ)


@pytest.mark.parametrize("jail", ["", "-x", "--all", "a b", "a,/bin/sh", "a\n", "*", "a\\", "x" * 65])
def test_a_jail_that_could_be_something_else_is_refused(jail):
    with pytest.raises(UsageError, match="jail"):
        sudoers("auditor", Access.READ, [jail])
    with pytest.raises(UsageError, match="jail"):
        jail_commands([jail])


@pytest.mark.parametrize("path", ["fwproof-agent", "/a b", "/a,b", "/a/../b", "/a*", "/", "/-x\n"])
def test_an_agent_path_that_is_not_plain_is_refused(path):
    with pytest.raises(UsageError, match="path"):
        sudoers("auditor", Access.OBSERVE, agent_path=path)


def test_names_are_unique_and_programs_absolute():
    every = commands(HOST, ["a", "b", "a"])
    assert len({c.name for c in every}) == len(every)
    assert all(c.program.startswith("/") for c in every)


def test_sudo_is_left_out_for_root_and_for_plain_commands():
    assert ROOT_COMMANDS[0].argv("auditor")[:2] == ("/usr/bin/sudo", "-n")
    assert ROOT_COMMANDS[0].argv("root") == ROOT_COMMANDS[0].words
    assert PLAIN_COMMANDS[0].argv("auditor") == PLAIN_COMMANDS[0].words


def test_the_drop_log_is_read_where_the_inventory_names_one():
    command = next(c for c in commands(HOST) if c.name == "drop-log")
    assert command.words[-2:] == ("--", "/var/log/drops log")
    assert not command.root


def boot_links(root):
    script = next(c for c in PLAIN_COMMANDS if c.name == "boot-links").words[2]
    for folder in ("/etc/", "/lib/", "/usr/lib/"):
        script = script.replace(f" {folder}", f" {root}{folder}").replace(f'"{folder}', f'"{root}{folder}')
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert not done.stderr
    return [line.removeprefix(str(root)) for line in done.stdout.splitlines()]


WANTS = "etc/systemd/system/multi-user.target.wants"


@pytest.mark.parametrize(
    ("links", "files", "found"),
    [
        ({f"{WANTS}/nftables.service": "UNIT"}, (), [f"/{WANTS}/nftables.service"]),
        ({f"{WANTS}/nftables.service": "/nowhere"}, (), []),
        ({f"{WANTS}/cron.service": "UNIT"}, (), []),
        ({f"{WANTS}/ufw.service": "UNIT", "etc/systemd/system/ufw.service": "/dev/null"}, (), []),
        ({"etc/rcS.d/S01netfilter-persistent": "UNIT"}, (), ["/etc/rcS.d/S01netfilter-persistent"]),
        ({"etc/rcS.d/K01netfilter-persistent": "UNIT"}, (), []),
        ({"etc/rc2.d/S01nftables": "UNIT"}, ("lib/systemd/system/nftables.service",), []),
        (
            {"etc/rc2.d/S01nftables": "UNIT"},
            ("lib/systemd/system/nftables.service", "etc/inittab"),
            ["/etc/rc2.d/S01nftables"],
        ),
        ({}, (), []),
    ],
)
def test_boot_links_are_those_that_start_something(tmp_path, links, files, found):
    unit = tmp_path / "unit"
    unit.touch()
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name, target in links.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(unit if target == "UNIT" else target)
    assert boot_links(tmp_path) == found


def test_an_agent_path_has_one_meaning():
    assert access.AGENT_PATH in sudoers("auditor", Access.OBSERVE)
