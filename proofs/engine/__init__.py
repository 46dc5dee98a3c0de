"""The engine's bars, measured: swaps under load, and how long each fault keeps the loop from deciding."""
