"""Drafts of an inventory and a policy, from what was read of a host. A draft says what is, never what should be."""
