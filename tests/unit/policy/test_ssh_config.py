import shutil
import subprocess

import pytest

from fwproof.errors import InputError
from fwproof.policy.ssh_config import Hop, load_ssh_config, read_hop

CONFIG = """\
# first value found counts
Host web* !web9
    HostName %h.example.org
    Port=2222
    User "auditor"
    IdentityFile ~/.ssh/web
Host web1
    Port 22
    ProxyJump first@bastion:2200,second
    IdentitiesOnly yes
Host *.lan
    UserKnownHostsFile /k/known # and a comment
    HostKeyAlias lan
    ConnectTimeout 7
Include more
Host *
    User nobody
    IdentityFile /k/all
    ForwardAgent no
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()

    def load(text):
        path = tmp_path / ".ssh" / "config"
        path.write_text(text)
        return load_ssh_config(path)

    return load


@pytest.mark.parametrize("name", ["web1", "web2", "web9", "a.lan", "other", "db1"])
def test_it_says_what_ssh_says(config, tmp_path, name):
    if shutil.which("ssh") is None:
        pytest.skip("the OpenSSH client is not installed here")
    (tmp_path / ".ssh" / "more").write_text("User included\nHost db*\n  HostName 10.0.0.3\n")
    found = config(CONFIG).of(name)
    command = ["ssh", "-G", "-F", str(tmp_path / ".ssh" / "config"), name]
    said: dict[str, list[str]] = {}
    # ssh(1) takes relative includes from the passwd entry's home, so the whole path stands there for it
    text = CONFIG.replace("Include more", f"Include {tmp_path}/.ssh/more")
    (tmp_path / ".ssh" / "config").write_text(text)
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        key, _, value = line.partition(" ")
        said.setdefault(key, []).append(value)
    assert [found.host_name or name] == said["hostname"]
    assert [str(found.port or 22)] == said["port"]
    assert [found.user] == said["user"]
    assert list(found.identity_files) == said["identityfile"]
    assert ["yes" if found.identities_only else "no"] == said["identitiesonly"]
    assert [found.host_key_alias] == said.get("hostkeyalias", [""])
    assert (found.known_hosts or "default") == ("/k/known" if name == "a.lan" else "default")
    hops = ",".join(
        f"{hop.user}@" * bool(hop.user) + hop.host + f":{hop.port}" * bool(hop.port) for hop in found.jumps or ()
    )
    assert [hops] == said.get("proxyjump", [""])


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("Match user me\n", "a", "1:1: Match is not supported"),
        ("Host a\n ProxyCommand nc %h %p\n", "a", "2:1: proxycommand for 'a': fwproof runs no command"),
        ("Host a\n ProxyCommand nc\n ProxyJump b\n", "a", "2:1: proxycommand"),
        ("Host a\n RevokedHostKeys /r\n", "a", "revoked keys are read from known_hosts only"),
        ("Host a\n Port 0\n", "a", "2:1: port: expected a number from 1 to 65535, not '0'"),
        ("Host a\n ProxyJump b:c\n", "a", "expected [user@]host[:port], not 'b:c'"),
        ("Host a\n IdentityFile %u\n", "a", "has a token that fwproof does not know"),
        ("Host a\n HostName -oProxyCommand=x\n", "a", "expected a host name or an address"),
        ("Host a\n User\n", "a", "2:1: 'User' has no value"),
        ("Include config\n", "a", "nested more than 8 deep"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_line(config, text, name, said):
    with pytest.raises(InputError) as caught:
        config(text).of(name)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["Host b\n ProxyCommand nc\n", "Host a\n ProxyJump none\n ProxyCommand nc\n", "Host a\n ProxyCommand none\n"],
)
def test_what_does_not_count_for_a_host_is_no_fault_there(config, text):
    assert not config(text).of("a").jumps


def test_jump_hosts_as_they_are_written():
    assert read_hop("me@h:22") == Hop("h", "me", 22)
    assert read_hop("ssh://me@[fd00::1]:2200") == Hop("fd00::1", "me", 2200)
    assert [read_hop(text) for text in ("", "a b", "-oX", "h:99999", "@h", "h:")] == [None] * 6
