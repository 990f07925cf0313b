"""Secrets are planted wherever an audit reads text: none of them is in the run that is stored, which verifies."""

from types import SimpleNamespace

import pytest

from fwproof.audit import counting, dropping
from fwproof.errors import CommandRefused
from fwproof.hosts.collect import collect
from fwproof.hosts.replay import ReplayTransport
from fwproof.inventory import Access, Host, SshAddress
from fwproof.redact import MARK
from fwproof.snapshot import Capture, Snapshot
from fwproof.verify.verify import verify

from .stored_run import ADDRESSES, AT, LINE, POLICY, TEXTS, Offline, files, snapshot

SECRET = "s3cr3t"
HOST = Host(name="web", addresses=(), ssh=SshAddress(address="x"), access=Access.ROOT, drop_log="/var/log/drop.log")


def planted():
    """A host that prints a secret in everything it prints, and in what it complains of."""
    known = snapshot(ip_addr=ADDRESSES.replace('"ifname": "eth0"', f'"ifname": "eth0", "password": "{SECRET}-ip-addr"'))
    texts = {name: capture.stdout for name, capture in known.captures.items()}
    for name in (*known.faults, *texts, "drop-log"):
        if name not in {"ip-addr", "ip-route"} and "legacy" not in name:
            texts[name] = texts.get(name, "") + f"# password={SECRET}-{name}\n"
    for name in ("ip6tables-save", "nft", "ipset-save", "ip6-route", "ip-rule", "ip6-rule", "ip-neigh", "sysctl",
                 "traffic-control", "ip_tables_names", "ip6_tables_names"):  # fmt: skip
        texts.pop(name, None)
    texts["iptables-save"] = texts["iptables-save"].replace(
        "-A INPUT -i lo", f'-A INPUT -m comment --comment "api_key={SECRET}-rule" -i lo'
    )
    texts["fail2ban-dump"] += f"['set', 'web', 'action', 'cloudflare', 'cftoken', '{SECRET}-action']\n"
    texts["nftables.conf"] += f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}-pem\n-----END RSA PRIVATE KEY-----\n"
    captures = {
        name: Capture(
            name=name, argv=(name,), status=0, stdout=text, stderr=f"token: {SECRET}-stderr", at=AT, seconds=0.1
        )
        for name, text in texts.items()
    }
    faults = {name: fault for name, fault in known.faults.items() if name not in texts}
    faults["ipset-save"] = CommandRefused("web", f"sudo: password={SECRET}-fault")
    return Snapshot(host="web", captures=captures, faults=faults)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    policy = POLICY.replace("path: /login", f"path: '/login?token={SECRET}-query'").replace(
        "X-Door: open-sesame-1", f"{{X-Door: {SECRET}-door, Authorization: 'Bearer {SECRET}-bearer'}}".strip("{}")
    )
    policy = f"# password: {SECRET}-comment\n{policy}"
    run = Offline(tmp_path, policy=policy, read=collect(ReplayTransport(HOST, planted()), ["web"]))
    run.command = f"pytest checks --token {SECRET}-command https://me:{SECRET}-url@ci/"
    return run.write()


def test_no_secret_is_stored(stored):
    for path, content in files(stored).items():
        assert SECRET.encode() not in content, (path, content[content.find(SECRET.encode()) - 90 :][:160])


def test_what_was_taken_out_is_marked(stored):
    for path in ("evidence/web/fail2ban-dump.txt", "policy/web.policy.yaml", "results.json", "evidence/snapshots.json"):
        assert MARK.encode() in (stored / path).read_bytes(), path
    assert (stored / "policy/web.policy.yaml").read_text().count(MARK) == 4


def test_every_verdict_is_worked_out_again_all_the_same(stored):
    found = verify(stored)
    assert found.problems == []
    assert found.recomputed.impossible == {}
    assert len(found.recomputed.same) == found.checks > 15


def test_a_log_and_counters_are_read_without_secrets():
    said = Capture(name="x", argv=(), status=0, stdout=f"{LINE}\npassword={SECRET}\n", stderr="", at=AT, seconds=0)
    field = SimpleNamespace(transports={"web": SimpleNamespace(run=lambda *_, **__: said)}, agents={})
    assert SECRET not in dropping.read_log(field, "web", "/var/log/x")
    rule = TEXTS["iptables-save"].replace(
        "-A INPUT -i lo", f'[1:2] -A INPUT -m comment --comment "token={SECRET}" -i lo'
    )
    said = Capture(name="x", argv=(), status=0, stdout=rule, stderr="", at=AT, seconds=0)
    field.transports["web"].run = lambda *_, **__: said
    from fwproof.flow import Family

    found = counting.read_counters(field, "web", [Family.IPV4])
    assert any(MARK in ref.text for ref in found)
    assert not any(SECRET in ref.text for ref in found)
