"""Host certificates are believed only where every part of them holds; tests/lab has real servers with real ones."""

import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fwproof.hosts.certificates import why_not
from fwproof.hosts.known_hosts import HostKey, load


def text(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack(">I", len(data)) + data


def raw(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


CA, OTHER, HOST = (Ed25519PrivateKey.from_private_bytes(letter * 32) for letter in (b"c", b"o", b"h"))
BLOB = text("ssh-ed25519") + text(raw(CA))
AUTHORITY = HostKey("ssh-ed25519", BLOB)


def certificate(
    *, kind=2, names=("web1", "*.lan"), after=100, before=200, options=b"", signer=CA, scheme="ssh-ed25519"
):
    body = text("ssh-ed25519-cert-v01@openssh.com") + text(b"nonce") + text(raw(HOST)) + struct.pack(">QI", 7, kind)
    body += text("id") + text(b"".join(map(text, names))) + struct.pack(">QQ", after, before)
    body += text(options) + text(b"") + text(b"") + text(BLOB)
    return body + text(text(scheme) + text(signer.sign(body)))


@pytest.mark.parametrize("name", ["web1", "WEB1", "a.lan"])
def test_a_good_one_is_believed(name):
    assert why_not(certificate(), name, [AUTHORITY], 150) == ""


@pytest.mark.parametrize(
    ("made", "name", "now", "said"),
    [
        ({"signer": OTHER}, "web1", 150, "signature does not hold"),
        ({"scheme": "ssh-rsa"}, "web1", 150, "signature does not hold"),
        ({"kind": 1}, "web1", 150, "is a certificate for a user"),
        ({"names": ()}, "web1", 150, "it is for nobody, not for web1"),
        ({}, "web2", 150, "it is for web1, *.lan, not for web2"),
        ({}, "web1", 99, "its time has not come yet"),
        ({}, "web1", 200, "its time is over"),
        ({"options": text("new") + text("x")}, "web1", 150, "an option that is not understood"),
    ],
)
def test_one_that_lacks_something_is_not(made, name, now, said):
    assert said in why_not(certificate(**made), name, [AUTHORITY], now)


def test_no_byte_can_be_changed_of_what_is_signed_or_of_the_signature():
    good = certificate()
    signed = len(good) - len(text(text("ssh-ed25519") + text(bytes(64))))
    for place in (*range(signed), *range(len(good) - 64, len(good))):
        changed = bytes([*good[:place], good[place] ^ 1, *good[place + 1 :]])
        assert why_not(changed, "web1", [AUTHORITY], 150), place


def test_other_authorities_and_rubbish_are_not_believed():
    assert "is no authority" in why_not(certificate(), "web1", [], 150)
    for data in (b"", b"\xff" * 40, certificate()[:-30]):
        assert why_not(data, "web1", [AUTHORITY], 150)


def test_authorities_are_no_host_keys_and_the_other_way_round(tmp_path):
    import base64

    path = tmp_path / "known"
    blob = base64.b64encode(BLOB).decode()
    path.write_text(f"@cert-authority *.lan ssh-ed25519 {blob}\nhost ssh-ed25519 {blob}\n")
    known = load(path)
    assert (known.keys("a.lan"), known.authorities("a.lan")) == ((), (AUTHORITY,))
    assert (known.keys("host"), known.authorities("host")) == ((AUTHORITY,), ())
