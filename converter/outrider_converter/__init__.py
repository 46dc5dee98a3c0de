"""outrider_converter."""
