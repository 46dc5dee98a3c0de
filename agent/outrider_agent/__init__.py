"""outrider_agent."""
