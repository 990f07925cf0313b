import json
from ipaddress import ip_address

import pytest

from fwproof.flow import Family
from fwproof.flows import request
from fwproof.gating.ways import ManagementPath
from fwproof.policy.model import Service
from fwproof.semantics.model import HostModel

ADDRESSES = json.dumps([
    {"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
    {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.10", "prefixlen": 24}]},
])  # fmt: skip
ROUTES = json.dumps([{"dst": "default", "dev": "eth0"}])


@pytest.fixture
def build():
    """A model of IPv4 tables on one host."""

    def made(text=""):
        return HostModel.build(iptables_save=text, ip6tables_save="", addresses=ADDRESSES, routes=ROUTES)

    return made


@pytest.fixture
def ssh():
    flow = request(Service("tcp", 22, "ssh"), ip_address("10.0.0.1"), ip_address("10.0.0.10"))
    return ManagementPath("ssh", flow)


@pytest.fixture
def names():
    return dict.fromkeys(Family, "rules")
