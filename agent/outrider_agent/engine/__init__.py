"""Where a model runs: in this process or in one of its own, and what is done when it does not."""
