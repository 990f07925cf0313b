"""The image that every lab host boots from: Debian packages unpacked once, read-only from then on.

Built by mmdebstrap(1) inside the lab's kind of user namespace, so that no package script can touch this machine,
and kept under a name made from everything that went into it. A second ``up`` finds it there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fwproof.errors import LabError
from fwproof.lab.sources import Distribution, acquire_options, distribution, own_sources, read_source_files
from fwproof.lab.state import cache_base
from fwproof.lab.userns import command_inside, id_map

Progress = Callable[[str], None]

_BASE = ("openssh-server", "openssh-client", "sudo", "iproute2", "procps", "python3", "iputils-ping")
_PERSISTENT = ("netfilter-persistent", "iptables-persistent")
_REST = ("nftables", "ipset", "conntrack", "fail2ban", "ulogd2")
PLAIN = "plain"
IMAGES: Mapping[str, tuple[str, ...]] = {
    PLAIN: (*_BASE, "iptables", *_PERSISTENT, *_REST),
    # Debian's ufw breaks iptables-persistent, so that no image can have both
    "front-ends": (*_BASE, "iptables", *_REST, "ufw", "firewalld", "dbus"),
}
"""The packages of each kind of image; a topology names the kind that its hosts boot from."""
_RECIPE = 3  # raise it whenever anything below changes what is in the image

_APT = ['APT::Install-Recommends "false"']
_DPKG = [f"path-exclude=/usr/share/{folder}/*" for folder in ("man", "doc", "locale", "info", "lintian")]
# iptables-persistent would save the rules of whatever network it is installed from
_BEFORE = (
    "printf 'iptables-persistent iptables-persistent/autosave_v%s boolean false\\n' 4 6"
    ' | chroot "$1" debconf-set-selections'
)
# No service is enabled until the topology says so; Debian 13 reads sshd's log from a journal that no lab host has.
_AFTER = """
set -e
rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/systemd/system/multi-user.target.wants/*
rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*
printf '[sshd]\\nenabled = true\\n' > "$1"/etc/fail2ban/jail.d/defaults-debian.conf
ln -s "$(cd "$1" && echo usr/lib/*/ulogd | sed 's|^usr/lib/||')" "$1"/usr/lib/ulogd
test -e "$1"/usr/lib/ulogd/ulogd_inppkt_NFLOG.so
"""
_STEP_SECONDS = 3.0


def image_key(release: Distribution, kind: str = PLAIN) -> str:
    """Return the name of an image: its kind, and a hash of the release, the packages and the recipe."""
    parts = json.dumps([release.kind, release.codename, IMAGES[kind], _RECIPE, _APT, _DPKG, _BEFORE, _AFTER])
    return f"{_prefix(kind)}{release.codename}-{hashlib.sha256(parts.encode()).hexdigest()[:16]}"


def _prefix(kind: str) -> str:
    return "" if kind == PLAIN else f"{kind}_"


def image_folder(kind: str = PLAIN) -> Path:
    """Return the folder of the current image of a kind, built or not."""
    return cache_base() / image_key(_this_release(), kind)


def ensure_image(progress: Progress, tar: Path | None = None, kind: str = PLAIN) -> Path:
    """Return the root folder of an image, building it first where there is none.

    ``kind`` is one of :data:`IMAGES`. ``tar`` is such an image's ``image.tar`` made by another user or machine of the
    same release: it is unpacked instead.
    Raises LabError when a program is missing or a step fails.
    """
    folder = image_folder(kind)
    root = folder / "root"
    if root.is_dir():
        return root
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _building(folder, progress):
        if not root.is_dir():
            _build(folder, tar, progress, kind)
            try:
                for name in _remove_unused(keep=folder.name, prefix=_prefix(kind)):
                    progress(f"image: removed {name}, which no lab uses any more")
            except (LabError, OSError) as error:  # a nuisance, and no reason to do without the new one
                progress(f"image: an older one stays: {error}")
    return root


def hold_image(root: Path) -> None:
    """Keep the image from being removed for as long as this process, or a fork of it, lives.

    Raises LabError when it is gone already.
    """
    with suppress(FileNotFoundError):
        fcntl.flock(_lock_file(root.parent), fcntl.LOCK_SH)
    if not root.is_dir():
        raise LabError(f"the image {root.parent} has just been removed: run the same command again")


def remove_images() -> list[str]:
    """Remove every image of this user and return their names; raises LabError for one that a lab runs on."""
    if not cache_base().is_dir():
        return []
    with _building(image_folder(), lambda _line: None):
        removed = _remove_unused()
    left = [folder.name for folder in _folders()]
    if left:
        raise LabError(f"the image {left[0]} is in use: take the lab down first (`fwproof lab down`)")
    return removed


def _folders() -> list[Path]:
    return sorted(path for path in cache_base().glob("*") if path.is_dir())


def _remove_unused(keep: str = "", prefix: str | None = None) -> list[str]:
    """Remove the images that no lab runs on, and what a killed build or removal left. Needs the build lock.

    ``keep`` is one to keep, ``prefix`` the kind whose images go: the current one of another kind is still wanted.
    """
    removed = []
    for found in _folders():
        others = prefix is not None and found.name[:1] != "." and found.name.rpartition("_")[0] != prefix.rstrip("_")
        if found.name == keep or others:
            continue
        folder = found
        lock = _lock_file(folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not folder.name.startswith("."):
                removed.append(folder.name)
                folder = folder.rename(folder.with_name(f".{folder.name}.old"))  # gone at once for whoever looks now
            _remove(folder)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
    return removed


def _lock_file(folder: Path) -> int:
    """Open the file that labs lock while they run on an image (flock(2): the lock ends with its last holder)."""
    return os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _this_release() -> Distribution:
    return distribution(Path("/etc/os-release").read_text(encoding="utf-8"))


@contextmanager
def _building(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the build lock: two labs that start at once build one image."""
    descriptor = os.open(folder.parent / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("image: waiting for another build")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _build(folder: Path, tar: Path | None, progress: Progress, kind: str) -> None:
    _require(["mmdebstrap", "tar"] if tar is None else ["tar"])
    aside = folder.with_name(f".{folder.name}.new")
    _remove(aside)
    aside.mkdir()
    archive, root, scratch = aside / "image.tar", aside / "root", aside / "tmp"
    for inner in (root, scratch):
        inner.mkdir(mode=0o755)
        if os.geteuid() == 0:
            os.chown(inner, id_map().owner, id_map().owner)
    if tar is None:
        _bootstrap(archive, scratch, progress, IMAGES[kind])
    else:
        progress(f"image: copying {tar}")
        shutil.copyfile(tar, archive)
    unpack = ["tar", "-C", str(root), "--exclude=./dev/*", "--numeric-owner", "-xpf", "-"]
    with archive.open("rb") as stream:
        _run_step("image: unpacking", command_inside(unpack), progress, stdin=stream.fileno())
    scratch.rmdir()
    aside.rename(folder)
    progress(f"image: kept in {folder}")


def _bootstrap(archive: Path, scratch: Path, progress: Progress, packages: Sequence[str]) -> None:
    release = _this_release()
    sources = own_sources(release, read_source_files())
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout  # noqa: S607
    # a build that is killed leaves its files here, where the next one removes them
    command = ["env", f"TMPDIR={scratch}", "mmdebstrap"]
    command += ["--mode=root", "--variant=essential", "--format=tar", f"--include={','.join(packages)}"]
    command += [f"--aptopt={option}" for option in (*_APT, *acquire_options(dump))]
    command += [f"--dpkgopt={option}" for option in _DPKG]
    command += [f"--essential-hook={_BEFORE}", f"--customize-hook={_AFTER}", release.codename, "-", "-"]
    with tempfile.TemporaryFile("w+") as text, archive.open("wb") as output:
        text.write("".join(f"{line}\n" for line in sources))
        text.seek(0)
        what = f"image: installing {len(packages)} packages of {release.kind} {release.codename}"
        _run_step(what, command_inside(command), progress, stdin=text.fileno(), stdout=output.fileno())


def _run_step(
    what: str, command: list[str], progress: Progress, *, stdin: int, stdout: int = subprocess.DEVNULL
) -> None:
    """Run one long step, with a line every few seconds; raises LabError with the end of its output."""
    begun = time.monotonic()
    environment = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=errors, env=environment, cwd="/")
        try:
            while True:
                try:
                    status = process.wait(_STEP_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    progress(f"{what} ({time.monotonic() - begun:.0f} s): {_last_line(errors.fileno())}")
        except BaseException:
            process.kill()
            process.wait()
            raise
        if status:
            errors.seek(0)
            tail = "\n".join(errors.read().splitlines()[-15:])
            raise LabError(f"{what} failed (exit status {status}):\n{tail}")
    progress(f"{what}: done in {time.monotonic() - begun:.0f} s")


def _last_line(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    lines = os.pread(descriptor, 2000, max(0, size - 2000)).decode(errors="replace").splitlines()
    return next((line.removeprefix("I: ")[:90] for line in reversed(lines) if line.startswith("I: ")), "starting")


def _remove(folder: Path) -> None:
    if not folder.exists():
        return
    theirs = [str(folder / inner) for inner in ("root", "tmp")]
    done = subprocess.run(command_inside(["rm", "-rf", *theirs]), capture_output=True, text=True, check=False)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise LabError(f"{folder} could not be removed: {done.stderr.strip() or error}") from None


def _require(programs: list[str]) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise LabError(f"the image cannot be built without {', '.join(missing)}: `sudo apt-get install mmdebstrap tar`")
