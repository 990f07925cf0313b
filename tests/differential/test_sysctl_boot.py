"""What boots, against the programs that do it: systemd-sysctl and sysctl --system over random files, in namespaces."""

import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fwproof.evidence.sysctl_boot import Kernel, booted
from fwproof.evidence.sysctl_files import Loader, read_saved
from fwproof.hosts.access import SYSCTL_FILES

pytestmark = [pytest.mark.lab]
ROUNDS = int(os.environ.get("FWPROOF_SYSCTL_ROUNDS", "10"))
SYSTEMD = "/lib/systemd/systemd-sysctl"
FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")
NAMES = ("a0", "a0.7", "b-1")
GUEST = textwrap.dedent(
    """
    import json, os, subprocess, sys
    given = json.load(sys.stdin)
    def run(*argv, **more):
        return subprocess.run(argv, check=True, capture_output=True, text=True, **more).stdout
    run("mount", "-t", "tmpfs", "none", "/tmp")
    for number, place in enumerate(("/etc", "/usr/local/lib", "/usr/lib")):
        for part in ("u", "w"):
            os.makedirs(f"/tmp/{number}{part}")
        run("mount", "-t", "overlay", "overlay", "-o",
            f"lowerdir={place},upperdir=/tmp/{number}u,workdir=/tmp/{number}w,userxattr", place)
    run("mount", "-t", "tmpfs", "none", "/run")
    for folder in given["folders"]:
        os.makedirs(folder, exist_ok=True)
        for name in os.listdir(folder):
            os.unlink(f"{folder}/{name}")
    for path, text in given["files"].items():
        if os.path.lexists(path):
            os.unlink(path)
        if text.startswith("->"):
            os.symlink(text[2:], path)
        else:
            open(path, "w").write(text)
    for name in given["names"]:
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "p" + name[-4:])
    done = subprocess.run(given["argv"], capture_output=True, text=True)
    values = {}
    for path in given["paths"]:
        try:
            values[path] = open("/proc/sys/net/" + path).read().strip()
        except OSError:
            pass
    print(json.dumps({"values": values, "script": run("/bin/sh", "-c", given["script"]), "err": done.stderr}))
    """
)


def write_of(rng):
    key = rng.choice(["rp_filter", "rp_filter", "accept_redirects", "forwarding", "send_redirects", "log_martians"])
    family = "ipv4"
    if rng.random() < 0.4:
        family, key = (
            "ipv6",
            rng.choice(["forwarding", "accept_ra", "accept_redirects", "disable_ipv6", "accept_source_route"]),
        )
    where = rng.choice(["all", "default", "default", "*", "*", "a0", "a0.7", "b-1", "a*", "nosuch"])
    value = rng.choice(["0", "1", "1", "2", "0x1", "word"])
    if rng.random() < 0.15:
        return f"net.ipv4.ip_forward = {rng.choice('01')}"
    minus = rng.choice(["", "", "", "-"])
    if rng.random() < 0.5:
        text = f"{minus}net/{family}/conf/{where}/{key}"
    else:
        text = f"{minus}net.{family}.conf.{where.replace('.', '/')}.{key}"
    if minus and rng.random() < 0.5:
        return text
    return f"{text}{rng.choice(['=', ' = ', '  =  '])}{value}"


def files_of(rng):
    files = {}
    for _ in range(rng.randrange(1, 6)):
        path = f"{rng.choice(FOLDERS)}/{rng.choice(['10-a', '50-b', '99-c', 'x'])}.conf"
        lines = [write_of(rng) for _ in range(rng.randrange(5))]
        lines += rng.choice([[], ["# net.ipv4.ip_forward=1"], ["; no"], [""]])
        rng.shuffle(lines)
        files[path] = "\n".join(lines) + rng.choice(["", "\n"])
        if rng.random() < 0.15:
            files[path] = "->/dev/null"
    if rng.random() < 0.5:
        files["/etc/sysctl.conf"] = write_of(rng) + "\n"
    if rng.random() < 0.4 and "/etc/sysctl.conf" in files:
        files["/etc/sysctl.d/99-sysctl.conf"] = "->../sysctl.conf"
    return files


def really(files, argv):
    """Run a loader in namespaces of its own over these files; return the settings, and what the collector printed."""
    paths = list(Kernel(NAMES).values)
    given = {"files": files, "folders": FOLDERS, "names": NAMES, "argv": argv, "paths": paths, "script": SYSCTL_FILES}
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "--mount", sys.executable, "-IS", "-c", GUEST],
        input=json.dumps(given), text=True, capture_output=True, check=False,
        env=os.environ | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LOADERS = {
    Loader.PROCPS: [shutil.which("sysctl", path="/usr/sbin:/sbin:/usr/bin") or "sysctl", "--system"],
    Loader.SYSTEMD: [SYSTEMD],
}


def differing(rng, loader, tamper=None):
    files = files_of(rng)
    found = really(files, LOADERS[loader])
    saved = read_saved(found["script"])
    saved = type(saved)(loader, saved.files, saved.unreadable)
    writes = saved.writes()
    said = booted(tamper(writes) if tamper else writes, NAMES, late=False)[0]
    return [
        f"{path}: really {value}, said {said[path]}\n{json.dumps(files, indent=1)}\n{found['err']}"
        for path, value in found["values"].items()
        if not path.startswith(("netfilter", "bridge")) and said[path] != value
    ]


@pytest.mark.parametrize("loader", list(LOADERS))
def test_what_boots_is_what_the_loader_writes(loader):
    if not Path(LOADERS[loader][0]).exists():
        pytest.skip(f"{LOADERS[loader][0]} is not on this machine")
    rng = random.Random(int(os.environ.get("FWPROOF_SEED", "3")))
    for _ in range(ROUNDS):
        found = differing(rng, loader)
        assert not found, found[0]


@pytest.mark.parametrize("loader", list(LOADERS))
def test_the_comparison_can_fail(loader):
    if not Path(LOADERS[loader][0]).exists():
        pytest.skip(f"{LOADERS[loader][0]} is not on this machine")
    rng = random.Random(3)
    assert any(differing(rng, loader, lambda writes: writes[::-1]) for _ in range(ROUNDS))
