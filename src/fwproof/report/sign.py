"""Signatures by ssh-keygen, whose keys auditors and administrators have anyway: ``SHA256SUMS.sig`` beside SHA256SUMS.

A signature is of the namespace ``fwproof``, so that it stands for nothing else. Anybody checks it without fwproof::

    ssh-keygen -Y verify -f allowed_signers -I audits@example.org -n fwproof -s SHA256SUMS.sig < SHA256SUMS

``allowed_signers`` (ssh-keygen(1)) has a line for each who may sign: ``audits@example.org namespaces="fwproof"
ssh-ed25519 AAAA…``. A key that only an agent holds is named by its public half.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fwproof.errors import FwproofError
from fwproof.report.clean import one_line

SIGN_KEY = "FWPROOF_SIGN_KEY"
"""The environment variable that names the key."""
NAMESPACE = "fwproof"
SIGNATURE = "SHA256SUMS.sig"
_PATIENCE = 30.0
"""Seconds: an agent may ask its owner to touch a token."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What is known of a signature: ``good`` None where there is none, or nobody says who may sign."""

    good: bool | None
    words: str


def sign(content: bytes, key: Path) -> bytes:
    """Return the signature of a content by a private key, or by the agent's where ``key`` is a public one.

    Raises FwproofError with what ssh-keygen says; a passphrase is never asked for.
    """
    done = _run(["-Y", "sign", "-n", NAMESPACE, "-f", str(key.expanduser())], content)
    if done.returncode or not done.stdout:
        raise FwproofError(
            f"ssh-keygen does not sign with {one_line(str(key))}: {_said(done)}; a key with a passphrase has to be in"
            " the agent (ssh-add), and is then named by its public half"
        )
    return done.stdout


def check(content: bytes, signature: Path, signers: Path | None) -> Signed:
    """Return whether a signature is one of a content, by somebody in the allowed signers' file where one is given."""
    if signers is None:
        done = _run(["-Y", "check-novalidate", "-n", NAMESPACE, "-s", str(signature)], content)
        if done.returncode:
            return Signed(good=False, words=f"the signature is not of this SHA256SUMS: {_said(done)}")
        return Signed(good=None, words=f"{_said(done)}; whether that key may sign is not known without --signers")
    if not signers.is_file():
        raise FwproofError(f"there is no file of allowed signers {one_line(str(signers))}")
    done = _run(["-Y", "find-principals", "-f", str(signers), "-s", str(signature)], b"")
    who = done.stdout.decode("utf-8", "replace").split("\n")[0].strip()
    if done.returncode or not who:
        return Signed(good=False, words=f"nobody in {one_line(str(signers))} has the key of the signature")
    words = ["-Y", "verify", "-f", str(signers), "-I", who, "-n", NAMESPACE, "-s", str(signature)]
    done = _run(words, content)
    if done.returncode:
        return Signed(
            good=False, words=f"the signature is not of this SHA256SUMS, or {who} may not sign: {_said(done)}"
        )
    return Signed(good=True, words=f"signed by {one_line(who)}")


def _run(words: Sequence[str], content: bytes) -> subprocess.CompletedProcess[bytes]:
    quiet = {**os.environ, "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"}
    try:
        return subprocess.run(
            ["ssh-keygen", *words],  # noqa: S607 - wherever it is
            input=content, capture_output=True, timeout=_PATIENCE, check=False, env=quiet,
            start_new_session=True,  # without a terminal it cannot ask
        )  # fmt: skip
    except FileNotFoundError:
        raise FwproofError("there is no ssh-keygen here (Debian: openssh-client), which signs and checks") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FwproofError(f"ssh-keygen could not be asked: {one_line(str(error))}") from error


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    text = (done.stderr + b" " + done.stdout) if done.returncode else (done.stdout or done.stderr)
    return one_line(text.decode("utf-8", "replace"), 300) or f"status {done.returncode}"
