"""Slow proofs, one package for each part of the product; `make prove-...` runs them."""
