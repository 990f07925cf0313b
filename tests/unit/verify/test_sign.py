"""Signatures: made by a key or an agent, checked by ssh-keygen alone and by fwproof; a failure never costs the run."""

import os
import shutil
import subprocess

import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli
from fwproof.errors import FwproofError
from fwproof.verify.verify import verify

from .stored_run import Offline, edit

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


def keygen(place, *words):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place), *words], check=True)
    return place


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A key, and the file of those who may sign with it."""
    folder = tmp_path_factory.mktemp("keys")
    public = keygen(folder / "key").with_suffix(".pub").read_text()
    (folder / "signers").write_text(f'audits@example.org namespaces="fwproof" {public}')
    (folder / "others").write_text(f"else@example.org {keygen(folder / 'other').with_suffix('.pub').read_text()}")
    return folder


@pytest.fixture
def signed(keys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Offline(tmp_path, sign=keys / "key").write()


def test_a_signed_run_is_checked_by_ssh_keygen_alone(signed, keys):
    words = ["ssh-keygen", "-Y", "verify", "-f", keys / "signers", "-I", "audits@example.org", "-n", "fwproof"]
    done = subprocess.run(
        [*words, "-s", signed / "SHA256SUMS.sig"], input=(signed / "SHA256SUMS").read_bytes(), check=False
    )
    assert done.returncode == 0


def test_who_signed_is_told(signed, keys):
    found = verify(signed, keys / "signers")
    assert (found.status, found.signature) == (0, "signed by audits@example.org")
    assert "whether that key may sign is not known" in verify(signed).signature


def test_the_key_may_be_named_in_the_environment_and_the_inventory(keys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FWPROOF_SIGN_KEY", str(keys / "key"))
    assert verify(Offline(tmp_path).write(), keys / "signers").status == 0
    monkeypatch.delenv("FWPROOF_SIGN_KEY")
    from .stored_run import INVENTORY

    run = Offline(tmp_path, inventory=f"signing_key: {keys / 'key'}\n{INVENTORY}").write()
    assert verify(run, keys / "signers").status == 0


def test_somebody_else_may_not_sign(signed, keys):
    found = verify(signed, keys / "others")
    assert found.status == 1
    assert "nobody in" in found.signature


def test_a_run_that_was_forged_after_it_was_signed_is_caught(signed, keys):
    edit(signed, lambda document: document["run"].update(operator="else"))
    for signers in (keys / "signers", None):
        assert [problem.kind for problem in verify(signed, signers).problems] == ["signature"]


def test_a_signature_for_something_else_is_none(signed, keys):
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", keys / "key", signed / "SHA256SUMS"],
        check=True,
        stderr=subprocess.DEVNULL,
        input=b"y\n",
    )
    assert verify(signed, keys / "signers").status == 1


def test_rubbish_for_a_signature_is_told(signed, keys):
    (signed / "SHA256SUMS.sig").write_text("x")
    assert [problem.kind for problem in verify(signed, keys / "signers").problems] == ["signature"]


def test_where_a_signature_is_asked_for_there_must_be_one(pristine, keys):
    assert "signature: SHA256SUMS.sig: there is none" in str(verify(pristine, keys / "signers").problems[0])
    done = CliRunner().invoke(cli, ["verify", str(pristine), "--signers", str(keys / "signers")])
    assert done.exit_code == 1
    with pytest.raises(FwproofError, match="there is no file of allowed signers"):
        verify_with_nobody(pristine, keys)


def verify_with_nobody(pristine, keys):
    from fwproof.report.sign import check

    check(b"", pristine / "SHA256SUMS.sig", keys / "nobody")


def test_a_key_that_cannot_sign_costs_the_signature_and_not_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Offline(tmp_path, sign=tmp_path / "none")
    with pytest.raises(FwproofError, match="but it is not signed: ssh-keygen does not sign with"):
        run.write()
    found = verify(tmp_path / "reports" / "latest")
    assert (found.status, found.signature) == (0, "not signed")


def test_a_passphrase_is_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(tmp_path / "locked")], check=True)
    monkeypatch.setenv("SSH_AUTH_SOCK", "")
    with pytest.raises(FwproofError, match="has to be in the agent"):
        Offline(tmp_path, sign=tmp_path / "locked").write()


@pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="needs ssh-agent")
def test_an_agent_signs_for_a_public_key(keys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    socket = tmp_path / "agent"
    agent = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            if socket.exists():
                break
            subprocess.run(["sleep", "0.05"], check=True)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", str(keys / "key")], check=True, env=os.environ)
        shutil.copy(keys / "key.pub", tmp_path / "only.pub")
        run = Offline(tmp_path, sign=tmp_path / "only.pub").write()
    finally:
        agent.terminate()
        agent.wait()
    assert verify(run, keys / "signers").signature == "signed by audits@example.org"
