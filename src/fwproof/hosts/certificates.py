"""Host certificates of OpenSSH (PROTOCOL.certkeys): whether one may be trusted for a host, by the authorities known."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from fwproof.hosts.known_hosts import HostKey

if TYPE_CHECKING:
    import paramiko

SUFFIX = "-cert-v01@openssh.com"
_HOST = 2  # SSH_CERT_TYPE_HOST
_NUMBERS = {"ssh-rsa": 2, "rsa-sha2-256": 2, "rsa-sha2-512": 2, "ssh-ed25519": 1}
"""Strings of the public key that stand between nonce and serial number; ECDSA has two, the curve and the point."""
_WEAK = "ssh-rsa"
"""Signatures with SHA-1, which OpenSSH refuses from authorities since 8.2."""


def why_not(blob: bytes, name: str, authorities: Sequence[HostKey], now: float) -> str:
    """Return why a certificate is not to be trusted for a host called ``name``, empty where it is.

    ``now`` is in seconds since 1970. The signature covers every byte before it, so that what is read here is what the
    authority signed. That the host holds the certified key is what the key exchange has shown already.
    """
    import paramiko

    try:
        return _why_not(blob, name.lower(), authorities, now)
    except (paramiko.SSHException, ValueError, IndexError, UnicodeError, TypeError) as error:
        return f"it cannot be read: {error}"


def _why_not(blob: bytes, name: str, authorities: Sequence[HostKey], now: float) -> str:
    import paramiko

    message = paramiko.Message(blob)
    kind = message.get_text().removesuffix(SUFFIX)
    for _ in range(1 + _NUMBERS.get(kind, 2)):
        message.get_string()
    message.get_int64()  # serial number
    what, label = message.get_int(), message.get_text()
    principals = _strings(message.get_string())
    after, before = message.get_int64(), message.get_int64()
    options, _extensions, _reserved = (message.get_string() for _ in range(3))
    signer, signed = message.get_string(), message.get_so_far()
    signature = message.get_string()
    if what != _HOST:
        return f"{label!r} is a certificate for a user"
    known = next((key for key in authorities if key.blob == signer), None)
    if known is None:
        return f"it is signed by {HostKey('', signer).fingerprint}, which is no authority for {name} in known_hosts"
    if paramiko.Message(signature).get_text() == _WEAK or not _signed(known, signed, signature):
        return "the authority's signature does not hold, or is one with SHA-1"
    if not any(fnmatchcase(name, principal.lower()) for principal in principals):
        return f"it is for {', '.join(principals) or 'nobody'}, not for {name}"
    if not after <= now < before:
        return "its time has not come yet" if now < after else "its time is over"
    return "it has an option that is not understood" if options else ""


def _signed(key: HostKey, data: bytes, signature: bytes) -> bool:
    import paramiko

    public: paramiko.PKey = paramiko.PKey.from_type_string(key.kind, key.blob)
    return bool(public.verify_ssh_sig(data, paramiko.Message(signature)))


def _strings(data: bytes) -> list[str]:
    import paramiko

    message, found = paramiko.Message(data), []
    while message.get_remainder():
        found.append(message.get_text())
    return found
