"""Planning: which checks a policy means, and the vantages that ask them; pure."""
