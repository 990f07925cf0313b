"""Verifying a run that was stored: its hashes, its signature, its schema, its place in the chain, and every verdict."""
