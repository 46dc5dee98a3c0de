"""outrider_bundle."""
