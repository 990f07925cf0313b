"""What rule tables mean: one packet, a burst of them, and the whole packet space."""
