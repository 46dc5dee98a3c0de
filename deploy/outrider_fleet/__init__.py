"""outrider_fleet."""
