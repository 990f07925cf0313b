"""Secrets are known by their shape or by the name before them, and nothing else is touched."""

import ast
import json
from pathlib import Path

import pytest
import yaml

from fwproof.redact import MARK, cleaned, marks, redacted, without

SECRET = "hunter2-Xyz"
PEM = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\nAAAA\n-----END OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize(
    "text",
    [
        f"password = {SECRET}",
        f"PASSWORD={SECRET} x",
        f"db_password: '{SECRET}'",
        f'{{"api_key": "{SECRET}"}}',
        f"['set', 'web', 'action', 'cloudflare', 'cftoken', '{SECRET}']",
        f"['multi-set', 'x', 'action', 'y', [['actionstart', ''], ['cftoken', '{SECRET}'], ['cfuser', 'u']]]",
        f"curl -H 'Authorization: Bearer {SECRET}abcdef' https://x",
        f'-H "X-Auth-Key: {SECRET}"',
        f"Authorization: Basic {SECRET}",
        f"Cookie: session={SECRET}; other=1",
        f"https://user:{SECRET}@host/",
        f"curl -u user:{SECRET} x",
        f"mysqld --password {SECRET} --port 3306",
        f"mysqld --password={SECRET}",
        f"PrivateKey = {SECRET}",
        f"PresharedKey={SECRET}",
        f"GET /login?token={SECRET}&x=1",
        PEM,
        PEM.removesuffix("-----END OPENSSH PRIVATE KEY-----"),
        f"X-Api-Key: {SECRET}",
        f'--comment "secret={SECRET}"',
        f"client_secret={SECRET}",
        f"passphrase: {SECRET}",
        f'export SECRET_KEY="{SECRET}"',
        f'a = "x\\"y"; password = "p\\"{SECRET}"',
    ],
)
def test_a_secret_is_taken_out(text):
    clean = redacted(text)
    assert SECRET not in clean
    assert MARK in clean
    assert redacted(clean) == clean
    assert marks(clean.encode()) >= 1


@pytest.mark.parametrize("secret", [
    "ghp_" + "a" * 36, "glpat-" + "b" * 20, "AKIA" + "C" * 16, "xoxb-1234567890-abc", "sk-" + "d" * 30,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-_d", "$6$rounds$abcdefghijk",
])  # fmt: skip
def test_a_token_is_known_by_its_shape(secret):
    assert redacted(f"it says {secret} here") == f"it says {MARK} here"


@pytest.mark.parametrize(
    "text",
    [
        "^Failed password for .* from <HOST>",
        "['set', 'sshd', 'addfailregex', '^Failed password for .* from <HOST>']",
        "['add', 'token-api', 'auto']",
        "['set', 'token-api', 'addlogpath', '/var/log/x', 'head']",
        "-H 'X-Auth-Key: <cftoken>'",
        "password = %(password)s",
        "password: ",
        'token = "$TOKEN"',
        '-A INPUT -m comment --comment "no password is asked" -j ACCEPT',
        "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
        "the basic rules",
        "https://example.org/a:b@c",
        f"password = {MARK}",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redacted(text) == text


def test_the_form_of_a_file_stays():
    assert yaml.safe_load(redacted(f"a: {{token: {SECRET}, b: 1}}")) == {"a": {"token": MARK, "b": 1}}
    assert json.loads(redacted(json.dumps({"password": f'a"{SECRET}', "b": [1]}))) == {"password": MARK, "b": [1]}
    assert ast.literal_eval(redacted(f"['set', 'x', 'mailpass', '{SECRET}']")) == ["set", "x", "mailpass", MARK]
    lines = f"a\npassword={SECRET}\nb\n"
    assert redacted(lines).count("\n") == lines.count("\n")


def test_a_known_secret_is_taken_out_wherever_it_is():
    assert without(f"he said {SECRET}!", [SECRET, "ab"]) == f"he said {MARK}!"
    assert without("about", ["ab"]) == "about"


def test_bytes_that_are_no_text_stay():
    assert cleaned(b"\xff\x00password=abc\xfe") == b"\xff\x00password=" + MARK.encode()
    assert cleaned(b"\xff\xfe") == b"\xff\xfe"


def test_real_captures_have_nothing_to_take_out():
    for path in (Path(__file__).parents[2] / "reports/sample/evidence").glob("*/*.txt"):
        content = path.read_bytes()
        assert cleaned(content) == content, path
