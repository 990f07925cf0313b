"""The embedded lab: hosts made of namespaces, with real sshd, real netfilter and real services, and no way out."""

from fwproof.lab.handle import Lab
from fwproof.lab.topology import Topology, default_topology
from fwproof.lab.topology_file import load_topology

__all__ = ["Lab", "Topology", "default_topology", "load_topology"]
