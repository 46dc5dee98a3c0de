"""The device side: source, engine, policy, actions, and a link that reports what they do."""
