"""paramiko's transport, made to send nothing for a channel that it has closed.

paramiko builds a message under the channel's lock and sends it after letting go of that: where the host's close comes
in between, what was built follows the close. OpenSSH takes that for a broken client and ends the whole connection
("ieof packet referred to nonexistent channel"), so that one short command could cost a host its audit. A close alone
is enough (RFC 4254, 5.3).
"""

from __future__ import annotations

import paramiko
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_EOF, MSG_CHANNEL_EXTENDED_DATA
from paramiko.message import Message

_LATE = {MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA, MSG_CHANNEL_EOF}


class Transport(paramiko.Transport):
    """A transport that leaves out what comes too late for its channel."""

    def _send_message(self, data: Message) -> None:
        """Send a message; paramiko holds its lock for sending, so what is closed here is closed for the host first."""
        raw = data.asbytes()
        if raw[0] in _LATE and not self._open(int.from_bytes(raw[1:5], "big")):
            return
        super()._send_message(data)  # type: ignore[misc]  # the stubs leave out what is private

    def _open(self, remote: int) -> bool:
        """Whether a channel that the host knows by this number is open; one that is not active has no number yet."""
        channels = self._channels.values()  # type: ignore[attr-defined]  # private as well
        return any(each.active and not each.closed and each.remote_chanid == remote for each in channels)
