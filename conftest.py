"""Wires the engine's plugin tests; the audit plugin itself is loaded through its entry point."""

pytest_plugins = ["pytester"]
