"""What a running agent sees, for people: pictures and films of its frames and of what it decided on them."""
