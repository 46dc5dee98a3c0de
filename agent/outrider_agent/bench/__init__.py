"""What the agent's loop costs over the bare runtime, on the user's own machine."""
