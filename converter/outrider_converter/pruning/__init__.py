"""Channels taken out of a network, which of them, and proof that it pays."""
