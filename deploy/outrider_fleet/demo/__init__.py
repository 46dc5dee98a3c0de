"""The main job end to end, every part a process of its own."""
