"""The review of a packet log: what was blocked, who keeps knocking, what should have passed, what fell silent."""
