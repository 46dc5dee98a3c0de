"""The configuration read anew while the agent runs: taken as a whole, or not at all."""
