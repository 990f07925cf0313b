"""Logging in to a host: TCP, SSH handshake, the host's key checked before anything else, then the auditor's key.

Every step has its own time limit and its own error. Passwords are never asked for and never sent.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko

from fwproof.errors import HostKeyRefused, HostUnreachable, LoginRefused
from fwproof.hosts import known_hosts
from fwproof.hosts.known_hosts import HostKey
from fwproof.inventory import Host

KEEPALIVE = 15
"""Seconds between keepalives, so that no stateful firewall on the way forgets the connection."""
_USER_TIMEOUT_MS = 30_000
"""After so long without an acknowledgement the kernel gives the connection up (tcp(7), TCP_USER_TIMEOUT)."""

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # its threads print tracebacks otherwise


def log_in(host: Host, patience: float | None = None) -> paramiko.Transport:
    """Return an authenticated connection.

    Connecting, the handshake and each key tried may take ``host.ssh.timeout`` seconds each; where ``patience`` is
    given, all but connecting may take so long, which the load of either end draws out. Raises HostUnreachable,
    HostKeyRefused or LoginRefused, each with what to do about it.
    """
    keys = tuple(_known(host))
    sock = _connect(host)
    host = host if patience is None else replace(host, ssh=replace(host.ssh, timeout=patience))
    transport = _handshake(host, sock, keys)
    try:
        _check_host_key(host, transport, keys)
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


def _connect(host: Host) -> socket.socket:
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


def _known(host: Host) -> Iterator[HostKey]:
    """Yield the keys that known_hosts has for the host, save those that it marks as revoked."""
    path = _known_hosts_path(host)
    try:
        file = known_hosts.load(path)
    except OSError as error:
        raise HostKeyRefused(host.name, f"{path} cannot be read: {error.strerror}", _add_advice(host, path)) from error
    yield from (key for key in file.keys(_known_name(host)) if not file.is_revoked(key))


def _known_hosts_path(host: Host) -> Path:
    return host.ssh.known_hosts or Path("~/.ssh/known_hosts").expanduser()


def _known_name(host: Host) -> str:
    return host.ssh.host_key_alias or known_hosts.name_of(host.ssh.address, host.ssh.port)


def _add_advice(host: Host, path: Path) -> str:
    return f"compare the fingerprint with the host's own, then add a line for {_known_name(host)} to {path}"


def _handshake(host: Host, sock: socket.socket, keys: tuple[HostKey, ...]) -> paramiko.Transport:
    limit = host.ssh.timeout
    transport = paramiko.Transport(sock)
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = limit
    transport.daemon = True
    _prefer(transport, keys)
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
    if late or "banner" in str(error):
        said = f"{_place(host)} did not finish the SSH handshake within {limit:g} s"
        raise HostUnreachable(host.name, said, "see that it is an SSH server and not overloaded") from error
    reason = str(error) if error is not None and str(error) else "the host closed the connection"
    raise HostUnreachable(
        host.name, f"no SSH handshake with {_place(host)}: {reason}",
        "see that it is an SSH server with current algorithms (OpenSSH 7.2 or newer)",
    ) from error  # fmt: skip


def _prefer(transport: paramiko.Transport, keys: tuple[HostKey, ...]) -> None:
    """Ask for the key types that are known first, as ssh(1) does, so that a host with several keys shows that one."""
    kinds = [k for key in keys for k in (("rsa-sha2-512", "rsa-sha2-256") if key.kind == "ssh-rsa" else (key.kind,))]
    options = transport.get_security_options()
    offered = options.key_types
    options.key_types = tuple(dict.fromkeys([*(k for k in kinds if k in offered), *offered]))


def _check_host_key(host: Host, transport: paramiko.Transport, keys: tuple[HostKey, ...]) -> None:
    shown = transport.get_remote_server_key()
    key = HostKey(shown.get_name(), shown.asbytes())
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
    known = ", ".join(f"{k.kind} {k.fingerprint}" for k in keys)
    raise HostKeyRefused(
        host.name, f"changed host key: {path} has {known} for {name}, but the host shows {key.kind} {key.fingerprint}",
        "somebody may be in between; if the host was reinstalled, compare the fingerprint there and replace the line",
    )  # fmt: skip


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
    what = str(host.ssh.identity_file) if host.ssh.identity_file else "the ssh-agent"
    if not tried:
        raise LoginRefused(host.name, "there is no key to log in with", "name ssh.identity_file or start an ssh-agent")
    raise LoginRefused(
        host.name, f"the host refuses the key of {user} from {what}",
        f"add its public half to ~{user}/.ssh/authorized_keys there",
    )  # fmt: skip


def _own_keys(host: Host) -> Iterator[paramiko.PKey]:
    """Yield the auditor's keys: the identity file alone where one is named, else what the ssh-agent holds."""
    path = host.ssh.identity_file
    if path is None:
        yield from paramiko.Agent().get_keys()
        return
    try:
        yield paramiko.PKey.from_path(path)
    except OSError as error:
        raise LoginRefused(host.name, f"identity file {path}: {error.strerror}", "correct ssh.identity_file") from error
    except (paramiko.PasswordRequiredException, TypeError) as error:
        advice = "load it into the ssh-agent and leave ssh.identity_file out"
        raise LoginRefused(host.name, f"identity file {path} is locked with a passphrase", advice) from error
    except (paramiko.SSHException, ValueError) as error:
        raise LoginRefused(host.name, f"identity file {path} is no private key that can be used: {error}") from error
