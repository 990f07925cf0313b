"""Front ends: who manages a host's tables, and what a rule of the kernel is called by whoever wrote it.

Everything here is pure text and values: commands are suggestions, never run.
"""
