"""Rule tables as values: what a host's tables say, line by line, before anybody asks what it means."""
