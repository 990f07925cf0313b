"""Which reading of the sockets is used: that with owners, or where root is not granted that without."""

import pytest

from fwproof.audit.listening import sockets_of
from fwproof.errors import CommandRefused, HostError
from fwproof.snapshot import Capture, Snapshot

LINE = "tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:*"


def snapshot(faults=None, **texts):
    captures = {
        name.replace("_", "-"): Capture(name=name, argv=(), status=0, stdout=text, stderr="", at="", seconds=0.0)
        for name, text in texts.items()
    }
    return Snapshot(host="h", captures=captures, faults=faults or {})


def test_owners_are_known_where_root_may_ask():
    sockets, gap = sockets_of(snapshot(sockets=LINE, socket_owners=f'{LINE} users:(("sshd",pid=1,fd=3))'))
    assert (sockets.listed[0].process, gap) == ("sshd", "")


def test_without_root_sockets_are_known_and_owners_are_not():
    refused = CommandRefused("h", "sudo: a password is required")
    sockets, gap = sockets_of(snapshot({"socket-owners": refused}, sockets=LINE))
    assert (sockets.listed[0].port, sockets.listed[0].process) == (22, "")
    assert gap == "sudo: a password is required"
    assert sockets_of(snapshot(sockets=LINE))[1]


def test_without_ss_nothing_is_known():
    faults = {name: CommandRefused("h", "no ss") for name in ("sockets", "socket-owners")}
    with pytest.raises(HostError, match="no ss"):
        sockets_of(snapshot(faults))
    with pytest.raises(HostError, match="away"):
        sockets_of(HostError("h", "away"))
