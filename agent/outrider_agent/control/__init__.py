"""How a running agent is asked and told: one Unix socket in its state directory."""
