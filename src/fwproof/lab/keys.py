"""Keys and SSH client files of one lab: made at ``lab up``, forgotten at ``lab down``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fwproof.lab.topology import LabHost, Topology


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An ed25519 key: the private half in OpenSSH's PEM, the public half as one ``authorized_keys`` line."""

    private: str
    public: str


def make_key(comment: str) -> KeyPair:
    """Make a new ed25519 key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    return KeyPair(
        private=key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(),
        public=f"{key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()} {comment}\n",
    )


def known_hosts_line(names: Iterable[str], key: KeyPair) -> str:
    """Return the known_hosts line of one host (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    kind, blob = key.public.split()[:2]
    return f"{','.join(names)} {kind} {blob}\n"


def names_of(host: LabHost) -> list[str]:
    """Return the name and every address of a host, as known_hosts and ``hosts`` list them."""
    return [host.name, *(str(interface.ip) for link in host.links for interface in link.addresses)]


def hosts_file(topology: Topology) -> str:
    """Return the text of /etc/hosts with every host of the lab."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    for host in topology.hosts.values():
        lines += [f"{address} {host.name}" for address in names_of(host)[1:]]
    return "\n".join(lines) + "\n"


def ssh_config(topology: Topology, state: Path) -> str:
    """Compose what ``ssh -F`` reads (ssh_config(5)): with it, a program on the auditor's network logs in everywhere."""
    text = ""
    for host in topology.hosts.values():
        if host.call_home:
            text += f"Host {host.name}\n  HostName 127.0.0.1\n  Port {host.call_home.port}\n"
            text += f"  HostKeyAlias {host.name}\n"
    return text + (
        "Host *\n  User auditor\n"
        f"  IdentityFile {state}/id_ed25519\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {state}/known_hosts\n  GlobalKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking yes\n  BatchMode yes\n  ConnectTimeout 5\n"
    )
