import base64
import os

import pytest
from paramiko import ECDSAKey, Ed25519Key, HostKeys

from fwproof.hosts.known_hosts import HostKey, load, name_of

A, B = (HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0 " + letter * 32) for letter in (b"a", b"b"))


def text(key):
    return f"{key.kind} {base64.b64encode(key.blob).decode()}"


def known(tmp_path, *lines):
    path = tmp_path / "known_hosts"
    path.write_text("\n".join(lines) + "\n")
    return load(path)


@pytest.mark.parametrize(
    ("names", "asked", "is_known"),
    [
        ("h", "h", True),
        ("H", "h", True),
        ("h", "H", True),
        ("h,10.0.0.1", "10.0.0.1", True),
        ("h", "hh", False),
        ("[h]:2222", "[h]:2222", True),
        ("[h]:2222", "h", False),
        ("h", "[h]:2222", False),
        ("*.example.org", "a.example.org", True),
        ("*.example.org", "example.org", False),
        ("10.0.0.?", "10.0.0.7", True),
        ("[10.0.0.*]:2222", "[10.0.0.7]:2222", True),
        ("[ab]*", "a", False),
        ("*.example.org,!bad.example.org", "bad.example.org", False),
        ("!bad.example.org,*.example.org", "good.example.org", True),
        pytest.param(HostKeys.hash_host("secret.example.org"), "secret.example.org", True, id="hashed"),
        pytest.param(HostKeys.hash_host("secret.example.org"), "other.example.org", False, id="hashed-other"),
        ("|1|rubbish", "h", False),
        ("|1|a|b", "h", False),
    ],
)
def test_names(tmp_path, names, asked, is_known):
    assert known(tmp_path, f"{names} {text(A)} a comment").keys(asked) == ((A,) if is_known else ())


def test_several_keys_in_file_order(tmp_path):
    assert known(tmp_path, f"h {text(B)}", f"other {text(A)}", f"h {text(A)}").keys("h") == (B, A)


@pytest.mark.parametrize(
    "line", ["# h comment", "", "h", "h ssh-ed25519", "h ssh-ed25519 not!base64", "@cert-authority h ssh-ed25519 AAAA"]
)
def test_a_line_that_cannot_be_read_trusts_nobody(tmp_path, line):
    assert known(tmp_path, line).keys("h") == ()


def test_revoked_keys_are_known_as_such_and_name_nobody(tmp_path):
    found = known(tmp_path, f"@revoked * {text(A)}", f"h {text(B)}")
    assert (found.is_revoked(A), found.is_revoked(B), found.keys("h")) == (True, False, (B,))


def test_a_changed_file_is_read_again(tmp_path):
    assert known(tmp_path, f"h {text(A)}").keys("h") == (A,)
    path = tmp_path / "known_hosts"
    path.write_text(f"h {text(B)}\n")
    os.utime(path, ns=(1, 1))
    assert load(path).keys("h") == (B,)


def test_a_port_is_part_of_the_name():
    assert (name_of("h", 22), name_of("h", 2222), name_of("fd00::1", 23)) == ("h", "[h]:2222", "[fd00::1]:23")


def test_fingerprints_are_those_of_openssh():
    key = ECDSAKey.generate()
    assert HostKey(key.get_name(), key.asbytes()).fingerprint == key.fingerprint
    assert Ed25519Key  # the kind that the samples claim to be
