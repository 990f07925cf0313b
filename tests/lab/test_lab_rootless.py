"""The lab works for an ordinary user. Run by root, the test makes such a user and removes it afterwards."""

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import fwproof
from fwproof.lab.image import ensure_image
from fwproof.lab.userns import subordinate_range

pytestmark = pytest.mark.lab

SOURCE = Path(fwproof.__file__).resolve().parents[1]


def own_python():
    """A Python that every user may run, of this version: this very one may live in root's home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = (Path(sys.executable).resolve(), Path("/usr/bin") / version, Path("/usr/local/bin") / version)
    for path in candidates:
        if path.is_file() and all(parent.stat().st_mode & 0o001 for parent in path.parents):
            return str(path)
    return None


def link_or_copy(source, target):
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


@pytest.fixture
def ordinary():
    """A function that runs Python as an ordinary user, with nothing of root's environment."""
    if os.geteuid() != 0:
        yield lambda *words: subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        return
    python = own_python()
    if python is None:
        pytest.skip("this Python lies in root's home, where no ordinary user can run it, and there is no other like it")
    name = f"fwproof-t{os.getpid()}"
    home = Path("/var/tmp") / name
    adding = ["useradd", "--create-home", "--home-dir", str(home), "--shell", "/bin/sh", "--user-group", name]
    subprocess.run(adding, check=True, capture_output=True)
    try:
        entry = pwd.getpwnam(name)
        # this checkout may lie in root's home as well
        shutil.copytree(SOURCE / "fwproof", home / "src" / "fwproof")
        shutil.copytree(SOURCE.parent / "fixtures", home / "fixtures")
        shutil.copytree(sysconfig.get_paths()["purelib"], home / "packages", copy_function=link_or_copy)
        environment = {
            "HOME": str(home),
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": f"{home / 'src'}:{home / 'packages'}",
            "LANG": "C.UTF-8",
        }
        environment["PYTHONDONTWRITEBYTECODE"] = "1"

        def run(*words):
            return subprocess.run(
                [python, *words],
                user=entry.pw_uid,
                group=entry.pw_gid,
                extra_groups=[],
                env=environment,
                cwd=home,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )

        yield run
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)
        shutil.rmtree(home)


LIFE = """
import sys
from fwproof.lab import Lab

with Lab("rootless") as lab:
    print(lab.run("ai-server", ["sh", "-c", "iptables-save | grep -c ^-A; id -u; hostname"]).stdout.split())
    print(lab.run("ai-server-published", ["fail2ban-client", "status"]).returncode)
    print(lab.reboot("ai-server") < 20)
    assert lab.run("ai-server", ["sh", "-c", "echo 1 > /proc/sys/kernel/panic"]).returncode != 0
    state = lab.state
    lab.join_network("admin")
    import socket
    print(socket.create_connection(("127.0.0.1", 2211), 5).recv(7))
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
print(state.exists())
"""


def test_an_ordinary_user_has_a_lab_too(ordinary):
    archive = ensure_image(lambda _line: None).parent / "image.tar"
    build = ["-m", "fwproof.cli.lab", "image", "build", "--from", str(archive)]
    done = ordinary(*build)
    assert done.returncode == 0, done.stderr
    try:
        done = ordinary("-c", LIFE)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["['24', '0', 'ai-server']", "0", "True", "b'SSH-2.0'", "False"]
        done = ordinary("-c", "from fwproof.cli.lab import doctor; doctor()")
        assert done.returncode == 0, done.stdout
    finally:
        if os.geteuid() == 0:
            assert ordinary("-m", "fwproof.cli.lab", "image", "rm").returncode == 0


def test_without_subordinate_ids_the_one_command_is_named(ordinary):
    if os.geteuid() != 0:
        pytest.skip("only root can take a user's ids away")
    name = f"fwproof-t{os.getpid()}"
    for file, option in (("/etc/subuid", "--del-subuids"), ("/etc/subgid", "--del-subgids")):
        start, count = subordinate_range(Path(file).read_text(), name, 0)
        subprocess.run(["usermod", option, f"{start}-{start + count - 1}", name], check=True)
    done = ordinary("-m", "fwproof.cli.lab", "up")
    assert done.returncode == 3
    assert f"usermod --add-subuids 200000-265535 --add-subgids 200000-265535 {name}" in done.stderr
    assert "Traceback" not in done.stderr
