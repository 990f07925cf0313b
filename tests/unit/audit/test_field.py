import time

from fwproof.audit import field as fields
from fwproof.audit.field import Field
from fwproof.errors import AgentRefused
from fwproof.inventory import Host, Inventory, SshAddress
from fwproof.probing.channel import Agent


def test_agents_hear_from_us_while_other_hosts_are_still_being_read(tmp_path, monkeypatch):
    monkeypatch.setattr(fields, "GREETING", 0.02)
    heard = []

    class Listener(Agent):
        def __init__(self):
            pass

        def alive(self, _timeout):
            heard.append(time.monotonic())
            raise AgentRefused("a", "one that fails ends nothing")

        def close(self):
            pass

    hosts = {name: Host(name=name, addresses=(), ssh=SshAddress(address="x")) for name in ("a", "slow")}
    field = Field(Inventory(path=tmp_path, sha256="", hosts=hosts, zones={}))

    def opened(host, *_args, **_more):
        if host.name == "a":
            field.agents["a"] = Listener()
        else:
            time.sleep(0.3)

    monkeypatch.setattr(field, "_open", opened)
    field.open(hosts, {})
    assert len(heard) >= 3
    field.close()
    time.sleep(0.1)
    count = len(heard)
    time.sleep(0.1)
    assert len(heard) == count
