"""Logging in to a host: TCP, SSH handshake, the host's key checked before anything else, then the auditor's key.

Every step has its own time limit and its own error. Passwords are never asked for and never sent.
"""

from __future__ import annotations

import base64
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import paramiko

from fwproof.errors import HostKeyRefused, HostUnreachable, LoginRefused
from fwproof.hosts import certificates, known_hosts
from fwproof.hosts.carried import Carried, lost
from fwproof.hosts.known_hosts import HostKey
from fwproof.hosts.ordered import Transport
from fwproof.inventory import Host

KEEPALIVE = 15
"""Seconds between keepalives, so that no stateful firewall on the way forgets the connection."""
_USER_TIMEOUT_MS = 30_000
"""After so long without an acknowledgement the kernel gives the connection up (tcp(7), TCP_USER_TIMEOUT)."""

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # its threads print tracebacks otherwise


Way = Callable[[], socket.socket | paramiko.Channel | Carried | None]


def log_in(host: Host, patience: float | None = None, *, way: Way = lambda: None) -> paramiko.Transport:
    """Return an authenticated connection, over the stream that ``way`` opens, or over one of our own.

    Connecting, the handshake and each key tried may take ``host.ssh.timeout`` seconds each; where ``patience`` is
    given, all but connecting may take so long, which the load of either end draws out. Raises HostUnreachable,
    HostKeyRefused or LoginRefused, each with what to do about it.
    """
    known = _known(host)
    sock = way() or connect(host)
    host = host if patience is None else replace(host, ssh=replace(host.ssh, timeout=patience))
    transport = _handshake(host, sock, known)
    try:
        _check_host_key(host, transport, known)
        _authenticate(host, transport)
    except BaseException:
        end(transport)
        raise
    transport.set_keepalive(KEEPALIVE)
    return transport


def end(transport: paramiko.Transport) -> None:
    """Close a connection and its socket, whatever state it is in."""
    transport.close()
    transport.sock.close()  # paramiko leaves it open when the connection had failed before


def _place(host: Host) -> str:
    return f"{host.ssh.address} port {host.ssh.port}"


def connect(host: Host) -> socket.socket:
    """Return a TCP connection to a host's SSH server; raises HostUnreachable."""
    ssh = host.ssh
    try:
        sock = socket.create_connection((ssh.address, ssh.port), ssh.timeout)
    except TimeoutError as error:
        raise HostUnreachable(
            host.name, f"no connection to {_place(host)} within {ssh.timeout:g} s",
            "see that the host is up and that the way to its SSH port is open",
        ) from error  # fmt: skip
    except socket.gaierror as error:
        raise HostUnreachable(
            host.name, f"{ssh.address} is no address and no known name", "correct ssh.address"
        ) from error
    except OSError as error:
        advice = "see that sshd runs there" if isinstance(error, ConnectionRefusedError) else "see that the host is up"
        raise HostUnreachable(host.name, f"no connection to {_place(host)}: {error.strerror}", advice) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
    return sock


@dataclass(frozen=True, slots=True)
class _Known:
    """What known_hosts has for a host: its keys and those that may certify it, save revoked ones."""

    keys: tuple[HostKey, ...]
    authorities: tuple[HostKey, ...]


def _known(host: Host) -> _Known:
    path = _known_hosts_path(host)
    try:
        file = known_hosts.load(path)
    except OSError as error:
        raise HostKeyRefused(host.name, f"{path} cannot be read: {error.strerror}", _add_advice(host, path)) from error
    name = _known_name(host)
    keys, authorities = (
        tuple(key for key in found if not file.is_revoked(key)) for found in (file.keys(name), file.authorities(name))
    )
    return _Known(keys, authorities)


def _known_hosts_path(host: Host) -> Path:
    return host.ssh.known_hosts or Path("~/.ssh/known_hosts").expanduser()


def _known_name(host: Host) -> str:
    return host.ssh.host_key_alias or known_hosts.name_of(host.ssh.address, host.ssh.port)


def _add_advice(host: Host, path: Path) -> str:
    port = f"-p {host.ssh.port} " if host.ssh.port != 22 else ""
    return (
        f"compare the fingerprint with the host's own, then add a line for {_known_name(host)} to {path};"
        f" `ssh-keyscan {port}{host.ssh.address}` prints its keys, `ssh-keygen -lf` the fingerprint of each"
    )


def _handshake(host: Host, sock: socket.socket | paramiko.Channel | Carried, known: _Known) -> paramiko.Transport:
    limit = host.ssh.timeout
    transport = Transport(sock)  # type: ignore[arg-type]  # it asks no more of one than a Carried has
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = limit
    transport.daemon = True
    _prefer(transport, known)
    done = threading.Event()
    deadline = time.monotonic() + limit
    transport.start_client(event=done)
    while not done.wait(0.05) and transport.is_active() and time.monotonic() < deadline:
        pass
    if done.is_set() and transport.is_active():
        return transport
    late = transport.is_active()
    error = transport.get_exception()
    end(transport)
    if getattr(sock, "lost", ""):
        raise lost(host.name, transport) from error
    if late or "banner" in str(error):
        said = f"{_place(host)} did not finish the SSH handshake within {limit:g} s"
        raise HostUnreachable(host.name, said, "see that it is an SSH server and not overloaded") from error
    reason = str(error) if error is not None and str(error) else "the host closed the connection"
    raise HostUnreachable(
        host.name, f"no SSH handshake with {_place(host)}: {reason}",
        "see that it is an SSH server with current algorithms (OpenSSH 7.2 or newer)",
    ) from error  # fmt: skip


def _prefer(transport: paramiko.Transport, known: _Known) -> None:
    """Ask for the key types that are known first, as ssh(1) does, so that a host with several keys shows that one.

    Certificates come first where an authority is known, and are not asked for where none is.
    """
    kinds = [
        k for key in known.keys for k in (("rsa-sha2-512", "rsa-sha2-256") if key.kind == "ssh-rsa" else (key.kind,))
    ]
    options = transport.get_security_options()
    offered = options.key_types
    certified = [f"{kind}{certificates.SUFFIX}" for kind in offered] if known.authorities else []
    options.key_types = tuple(dict.fromkeys([*certified, *(k for k in kinds if k in offered), *offered]))


def _check_host_key(host: Host, transport: paramiko.Transport, known: _Known) -> None:
    shown = transport.get_remote_server_key()
    key, keys = HostKey(shown.get_name(), shown.asbytes()), known.keys
    if shown.public_blob is not None:
        _check_certificate(host, key, shown.public_blob.key_blob, known)
        return
    path = _known_hosts_path(host)
    if key in keys:
        return
    name = _known_name(host)
    if known_hosts.load(path).is_revoked(key):
        raise HostKeyRefused(host.name, f"its {key.kind} key {key.fingerprint} is marked as revoked in {path}")
    if not keys:
        raise HostKeyRefused(
            host.name, f"unknown host key: {path} has no key for {name}; the host shows {key.kind} {key.fingerprint}",
            _add_advice(host, path),
        )  # fmt: skip
    listed = ", ".join(f"{k.kind} {k.fingerprint}" for k in keys)
    raise HostKeyRefused(
        host.name, f"changed host key: {path} has {listed} for {name}, but the host shows {key.kind} {key.fingerprint}",
        "somebody may be in between; if the host was reinstalled, compare the fingerprint there and replace the line",
    )  # fmt: skip


def _check_certificate(host: Host, key: HostKey, blob: bytes, known: _Known) -> None:
    path = _known_hosts_path(host)
    if known_hosts.load(path).is_revoked(key):
        raise HostKeyRefused(host.name, f"its {key.kind} key {key.fingerprint} is marked as revoked in {path}")
    name = host.ssh.host_key_alias or host.ssh.address  # a certificate names the host without its port
    why = certificates.why_not(blob, name, known.authorities, time.time())
    if why and key not in known.keys:
        advice = f"let the authority sign the host's key for {name}, or add a line for the key itself to {path}"
        raise HostKeyRefused(host.name, f"the host's certificate is refused: {why}", advice)


def _authenticate(host: Host, transport: paramiko.Transport) -> None:
    user, tried = host.ssh.user, False
    for key in _own_keys(host):
        tried = True
        try:
            further = transport.auth_publickey(user, key)
        except paramiko.BadAuthenticationType as error:
            raise LoginRefused(
                host.name, f"the host offers no public key login for {user}", "allow it in sshd"
            ) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if not transport.is_active():
                raise LoginRefused(host.name, f"the host closed the connection while {user} logged in") from error
            continue
        if not further:
            return
        raise LoginRefused(
            host.name, f"the key is right, but the host wants {' and '.join(further)} from {user} as well"
        )
    files = _identities(host)
    what = " or ".join(map(str, files)) + (" or " if files and host.ssh.use_agent else "")
    what += "the ssh-agent" if host.ssh.use_agent or not files else ""
    if not tried:
        raise LoginRefused(host.name, "there is no key to log in with", _no_key_advice())
    raise LoginRefused(
        host.name, f"the host refuses the key of {user} from {what}",
        f"add its public half to ~{user}/.ssh/authorized_keys there",
    )  # fmt: skip


def _identities(host: Host) -> tuple[Path, ...]:
    return (*filter(None, (host.ssh.identity_file,)), *host.ssh.other_identities)


def _own_keys(host: Host) -> Iterator[paramiko.PKey]:
    """Yield the auditor's keys: what the ssh-agent holds where it may be asked, then the identity files.

    A file that is locked with a passphrase stands for the agent's key of that name, where its public half lies beside.
    """
    files = _identities(host)
    held = paramiko.Agent().get_keys() if host.ssh.use_agent or not files else ()
    yield from held
    for path in files:
        key = _key_of(host, path)
        if key not in held:
            yield key


def _no_key_advice() -> str:
    agent = "load one into the ssh-agent (ssh-add)" if os.environ.get("SSH_AUTH_SOCK") else "start an ssh-agent"
    return f"name ssh.identity_file, or {agent}"


def _key_of(host: Host, path: Path) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path)
    except OSError as error:
        raise LoginRefused(host.name, f"identity file {path}: {error.strerror}", "correct ssh.identity_file") from error
    except (paramiko.PasswordRequiredException, TypeError) as error:
        unlocked = _unlocked(path)
        if unlocked is not None:
            return unlocked
        advice = "load it into the ssh-agent, and keep its public half beside it or leave ssh.identity_file out"
        raise LoginRefused(host.name, f"identity file {path} is locked with a passphrase", advice) from error
    except (paramiko.SSHException, ValueError) as error:
        advice = "give the private half, as ssh-keygen writes it, and not the .pub"
        raise LoginRefused(host.name, f"identity file {path} is no private key that can be used", advice) from error


def _unlocked(path: Path) -> paramiko.PKey | None:
    """Return the ssh-agent's key whose public half is ``path``.pub."""
    try:
        words = Path(f"{path}.pub").read_text(encoding="utf-8").split()
        blob = base64.b64decode(words[1], validate=True)
    except (OSError, ValueError, IndexError):
        return None
    return next((key for key in paramiko.Agent().get_keys() if key.asbytes() == blob), None)
