"""The agent's bars: what the whole loop costs over the bare runtime, in time and in memory."""
