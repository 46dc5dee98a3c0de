"""What waits for the broker, on the disk: ADR 17."""
