"""What stands on a lab host's disk besides the image: accounts, keys, SSH and sudo configuration, the topology's files.

Everything is read and composed outside the lab, as plain values: inside, the user's files may be unreadable.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fwproof.errors import LabError
from fwproof.hosts.access import AGENT_PATH, SUDOERS_PATH, sudoers
from fwproof.inventory import Access
from fwproof.lab.keys import KeyPair, known_hosts_line
from fwproof.lab.topology import LabHost, Topology

AUDITOR = "auditor"
AUDITOR_ID = 1500
CALLER = "callhome"
CALLER_ID = 1501
_WANTS = "/etc/systemd/system/multi-user.target.wants"

_SSHD = """\
Port 22
AddressFamily any
HostKey /etc/ssh/ssh_host_ed25519_key
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin no
StrictModes yes
UseDNS no
MaxStartups 100
MaxSessions 100
PrintMotd no
Subsystem sftp internal-sftp
# A caller whose machine was switched off must not keep its port for long.
Match User callhome
    ClientAliveInterval 2
    ClientAliveCountMax 2
"""

_CALL_HOME = """\
#!/bin/sh
# Keeps this host's SSH server reachable at 127.0.0.1:{port} of {to}, whatever its own rules do to connections
# from outside: out to {address}:22, and over the IPv6 loopback in.
while :; do
    ssh -N -T -i /etc/lab/call-home.key -R '127.0.0.1:{port}:[::1]:22' \\
        -o BatchMode=yes -o IdentitiesOnly=yes -o ExitOnForwardFailure=yes \\
        -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/etc/lab/call-home.known_hosts \\
        -o GlobalKnownHostsFile=/dev/null -o ConnectTimeout=2 \\
        -o ServerAliveInterval=2 -o ServerAliveCountMax=2 callhome@{address}
    sleep 0.2
done
"""


@dataclass(frozen=True, slots=True)
class DiskFile:
    """One file of a host; ``link`` makes it a symbolic link to that target instead."""

    path: str
    data: bytes = b""
    mode: int = 0o644
    owner: int = 0
    link: str | None = None


@dataclass(frozen=True, slots=True)
class LabKeys:
    """Every key of one lab: the auditor's, each host's, and each caller's by the name of the calling host."""

    auditor: KeyPair
    hosts: Mapping[str, KeyPair]
    callers: Mapping[str, KeyPair]


@dataclass(frozen=True, slots=True)
class Accounts:
    """The image's /etc/passwd, /etc/group and /etc/shadow, to which the lab's accounts are added."""

    passwd: str
    group: str
    shadow: str

    def files(self, *, caller: bool) -> Iterator[DiskFile]:
        """Yield the three files with the auditor's account, and the callers' where wanted."""
        # sshd wants a shell that is there; nologin is in a package of its own since Debian 13
        people = [(AUDITOR, AUDITOR_ID, "/bin/sh")] + ([(CALLER, CALLER_ID, "/usr/bin/false")] if caller else [])
        passwd, group, shadow = self.passwd, self.group, self.shadow
        for name, number, shell in people:
            passwd += f"{name}:x:{number}:{number}:{name}:/home/{name}:{shell}\n"
            group += f"{name}:x:{number}:\n"
            # `*` and not `!`: without PAM sshd refuses a locked account, key or no key
            shadow += f"{name}:*:20000:0:99999:7:::\n"
        lines = [line + AUDITOR if line.startswith("adm:") else line for line in group.splitlines()]
        yield DiskFile("/etc/passwd", passwd.encode())
        yield DiskFile("/etc/group", ("\n".join(lines) + "\n").encode())
        yield DiskFile("/etc/shadow", shadow.encode(), 0o640)


def compose_disk(
    topology: Topology, host: LabHost, keys: LabKeys, accounts: Accounts, hosts_text: str
) -> tuple[DiskFile, ...]:
    """Return every file that a host's disk has on top of the image; later ones replace earlier ones."""
    callers = [other for other in topology.hosts.values() if other.call_home and other.call_home.to == host.name]
    return (
        *accounts.files(caller=bool(callers)),
        *_identity(host, keys, hosts_text),
        *_authorized(keys, callers),
        *_access(host),
        *_boot(topology, host),
        *(_calling(topology, host, keys) if host.call_home else ()),
        *_laid_over(host),
    )


def _identity(host: LabHost, keys: LabKeys, hosts_text: str) -> Iterator[DiskFile]:
    yield DiskFile("/etc/hostname", f"{host.name}\n".encode())
    yield DiskFile("/etc/hosts", hosts_text.encode())
    yield DiskFile("/etc/ssh/sshd_config", _SSHD.encode())
    yield DiskFile("/etc/ssh/ssh_host_ed25519_key", keys.hosts[host.name].private.encode(), 0o600)
    yield DiskFile("/etc/ssh/ssh_host_ed25519_key.pub", keys.hosts[host.name].public.encode())


def _authorized(keys: LabKeys, callers: list[LabHost]) -> Iterator[DiskFile]:
    yield DiskFile(f"/home/{AUDITOR}/.ssh/authorized_keys", keys.auditor.public.encode(), 0o600, AUDITOR_ID)
    lines = "".join(
        f'restrict,port-forwarding,permitlisten="127.0.0.1:{caller.call_home.port}" {keys.callers[caller.name].public}'
        for caller in callers
        if caller.call_home
    )
    if lines:
        yield DiskFile(f"/home/{CALLER}/.ssh/authorized_keys", lines.encode(), 0o600, CALLER_ID)


def _access(host: LabHost) -> Iterator[DiskFile]:
    yield DiskFile(SUDOERS_PATH, sudoers(AUDITOR, host.access, host.jails).encode(), 0o440)
    if host.access is Access.OBSERVE:
        yield DiskFile(AGENT_PATH, agent_text(), 0o755)


def agent_text() -> bytes:
    """Return the agent that an administrator installs on hosts with access ``observe``."""
    path = Path(__file__).resolve().parents[1] / "probing" / "agent.py"
    try:
        return path.read_bytes()
    except OSError as error:
        raise LabError(f"the agent of this installation is missing ({error}): reinstall fwproof") from None


def _boot(topology: Topology, host: LabHost) -> Iterator[DiskFile]:
    yield DiskFile("/usr/local/sbin/lab-init", (Path(__file__).parent / "guest" / "init.sh").read_bytes(), 0o755)
    yield DiskFile("/usr/local/sbin/lab-service", topology.service_program.read_bytes(), 0o755)
    yield DiskFile("/etc/lab/network", network_batch(host).encode())
    yield DiskFile("/etc/lab/services", " ".join(f"{s.kind}:{s.port}" for s in host.services).encode())
    yield DiskFile("/etc/lab/first-boot", "".join(f"{step}\n" for step in host.first_boot).encode())
    yield DiskFile("/etc/lab/rc", "".join(f"{step}\n" for step in host.rc).encode())
    for unit in host.units:
        yield DiskFile(f"{_WANTS}/{unit}.service", link=f"/lib/systemd/system/{unit}.service")


def network_batch(host: LabHost) -> str:
    """Return the ``ip -batch`` text that gives a host its addresses and routes."""
    lines = []
    for number, link in enumerate(host.links):
        lines.append(f"link set eth{number} up")
        # without nodad an IPv6 address is not usable for its first second
        lines += [f"addr add {a} dev eth{number}" + (" nodad" if a.version == 6 else "") for a in link.addresses]
    lines += [f"route add {route}" for route in host.routes]
    return "".join(f"{line}\n" for line in lines)


def _calling(topology: Topology, host: LabHost, keys: LabKeys) -> Iterator[DiskFile]:
    assert host.call_home is not None
    called = topology.hosts[host.call_home.to]
    address = next((a for a in called.addresses if ipaddress.ip_address(a).version == 4), None)
    if address is None:
        raise LabError(f"{host.name}: call_home: {called.name} has no IPv4 address")
    script = _CALL_HOME.format(port=host.call_home.port, to=called.name, address=address)
    yield DiskFile("/usr/local/sbin/lab-call-home", script.encode(), 0o755)
    yield DiskFile("/etc/lab/call-home.key", keys.callers[host.name].private.encode(), 0o600)
    yield DiskFile("/etc/lab/call-home.known_hosts", known_hosts_line([address], keys.hosts[called.name]).encode())


def _laid_over(host: LabHost) -> Iterator[DiskFile]:
    for folder in host.files:
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                continue
            inside = "/" + path.relative_to(folder).as_posix()
            data = path.read_bytes()
            usual = 0o755 if data.startswith(b"#!") else 0o644
            yield DiskFile(inside, data, host.modes.get(inside, usual))
