"""What the policy `rules` is made of: pure functions of perceptions, memories and times."""
