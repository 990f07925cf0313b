"""fwproof: proves, observes and attributes what a Linux host's firewall does."""

__version__ = "0.1.0"
