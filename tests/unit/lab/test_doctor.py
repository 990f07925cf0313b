"""The doctor says what to do, and its questions can be answered with no."""

import socket

import pytest

from fwproof.lab import netfilter_try
from fwproof.lab.doctor import Finding
from fwproof.lab.userns import user_namespace_advice


@pytest.mark.parametrize(
    ("key", "value", "command"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        ("user/max_user_namespaces", "96365", "run the lab as root"),
    ],
)
def test_advice_is_the_one_command(tmp_path, key, value, command):
    (tmp_path / key).parent.mkdir()
    (tmp_path / key).write_text(f"{value}\n")
    assert command in user_namespace_advice(tmp_path)


def test_a_finding_reads_as_one_line():
    assert str(Finding("veth", ok=True, advice="x")).split() == ["veth", "OK"]
    assert str(Finding("veth", ok=False, detail="no", advice="do")).endswith("MISSING: no: do")
    assert Finding("veth", ok=False).stops
    assert not Finding("veth", ok=False, optional=True).stops


@pytest.mark.lab
def test_an_unknown_extension_is_missing():
    with pytest.raises(OSError, match="No such file"):
        netfilter_try.extension("fwproof-none", socket.AF_INET, target=False)
