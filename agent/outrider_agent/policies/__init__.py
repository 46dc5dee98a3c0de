"""What is decided on a perception."""
