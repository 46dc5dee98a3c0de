"""Messages between device and fleet, one family to a file; `codec` reads and writes them."""
