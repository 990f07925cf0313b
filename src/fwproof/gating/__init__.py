"""The gate before a deploy: a candidate against policy, running tables, lock-out and a kernel, without a host."""
