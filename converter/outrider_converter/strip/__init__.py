"""Removing from files what no runtime needs; at this size it is half of them."""
