"""The gate before a deploy: candidate tables against policy, running tables, lock-out and the kernel, without a host."""
