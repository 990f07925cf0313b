"""What became of findings from one run to the next, and over many runs."""
