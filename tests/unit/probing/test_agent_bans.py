"""Bans that the agent lifts: those it is told to, and at its end those that an audit has left."""

import signal
from contextlib import suppress
from types import SimpleNamespace

import pytest

from fwproof.probing import agent


class Fail2ban:
    """Stands for fail2ban-client: one jail, and whether the address is banned when it is asked."""

    def __init__(self, *banned):
        self.banned, self.asked = list(banned), []

    def __call__(self, words):
        if words == ("fail2ban-client", "status"):
            return 0, "|- Number of jail: 1\n`- Jail list: web\n", ""
        self.asked.append(words[1:])
        return 0, f"{int(self.banned.pop(0)) if self.banned else 0}\n", ""


@pytest.fixture
def lifting(monkeypatch):
    """Return a function that has a fresh agent answer requests and end, and returns what fail2ban was asked."""

    def lifting(fail2ban, *requests, end=None):
        one = agent.Agent()
        one.capture = SimpleNamespace(sources={agent.packed("10.0.0.7")}, pump=lambda: None)
        monkeypatch.setattr(agent, "command", fail2ban)
        monkeypatch.setattr(agent.time, "sleep", lambda _: None)
        handlers = {}
        monkeypatch.setattr(agent.signal, "signal", handlers.__setitem__)

        def serve():
            for request in requests:
                one.op_unban({"jail": "web", "address": "10.0.0.7", **request})
            if end is not None:
                handlers[end](end, None)

        one.serve = serve
        with suppress(SystemExit):
            one.run()
        return fail2ban.asked

    return lifting


UNBAN = ("set", "web", "unbanip", "10.0.0.7")


def test_a_ban_that_was_lifted_is_not_lifted_again(lifting):
    assert lifting(Fail2ban(1), {"later": True}, {}) == [UNBAN]
    assert lifting(Fail2ban(), {}) == [UNBAN], "nobody asked for more"


@pytest.mark.parametrize("end", [None, signal.SIGHUP, signal.SIGTERM, signal.SIGALRM])
def test_a_ban_that_is_left_is_lifted_at_the_end_as_often_as_it_may_still_come(lifting, end):
    assert lifting(Fail2ban(), {"later": True}, end=end) == [UNBAN] * agent.LIFTS
    assert lifting(Fail2ban(0), {"later": True}, {}, end=end) == [UNBAN] * (1 + agent.LIFTS), "it was not there yet"


def test_only_who_has_probed_is_unbanned_and_only_in_a_jail_that_there_is(lifting):
    for wrong in ({"address": "10.0.0.8"}, {"jail": "ssh"}, {"jail": "-h"}):
        with pytest.raises(agent.Refused):
            lifting(Fail2ban(), {"later": True, **wrong})
