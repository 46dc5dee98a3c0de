"""Proofs of the daemon: what the outbox keeps, what telemetry costs, the hardened unit, reloading."""
