"""Policies and inventories: from YAML files to frozen values, every fault with its file, line and column."""
