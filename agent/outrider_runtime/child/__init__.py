"""A model in a process of its own: what runs there, and what is said to it."""
