"""What the agent measures of itself."""
