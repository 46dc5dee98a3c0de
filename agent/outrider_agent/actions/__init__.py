"""What is done with a decision."""
