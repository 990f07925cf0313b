"""Nothing is sent for a channel after its close: OpenSSH ends the connection for that."""

from types import SimpleNamespace

import pytest
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_GLOBAL_REQUEST,
)
from paramiko.message import Message

from fwproof.hosts.ordered import Transport


def channel(remote, *, active=True, closed=False):
    return SimpleNamespace(remote_chanid=remote, active=active, closed=closed)


def sent(kind, remote, *channels):
    """Return whether a message of a kind for a channel goes out, where there are these channels."""
    transport, gone = Transport.__new__(Transport), []
    transport._channels = SimpleNamespace(values=lambda: list(channels))
    transport.packetizer = SimpleNamespace(send_message=gone.append)
    message = Message()
    message.add_byte(bytes([kind]))
    message.add_int(remote)
    transport._send_message(message)
    return bool(gone)


@pytest.mark.parametrize("kind", [MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA, MSG_CHANNEL_EOF])
def test_what_comes_after_the_close_is_left_out(kind):
    assert sent(kind, 5, channel(4), channel(5))
    assert not sent(kind, 5, channel(5, closed=True))
    assert not sent(kind, 5, channel(4)), "it is gone"
    assert not sent(kind, 0, channel(0, active=False)), "the host has not numbered it yet"
    assert sent(kind, 0, channel(0, closed=True), channel(0)), "the number was given again"


@pytest.mark.parametrize("kind", [MSG_CHANNEL_CLOSE, MSG_CHANNEL_OPEN, MSG_CHANNEL_WINDOW_ADJUST, MSG_GLOBAL_REQUEST])
def test_everything_else_goes_out(kind):
    assert sent(kind, 5)
