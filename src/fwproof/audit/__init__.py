"""Gathering: everything that an audit needs to know, read and observed once, before anything is judged."""
