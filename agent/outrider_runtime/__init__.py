"""outrider_runtime."""
