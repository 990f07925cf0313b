"""Looking at hosts: what the auditor may run there, over which connection, and what came back.

The only package that speaks SSH. Nothing here changes a host; everything that could not be read is a
:class:`~fwproof.errors.HostError`, never an empty answer.
"""
