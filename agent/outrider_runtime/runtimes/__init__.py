"""One module per runtime; each is found by its entry point, none is imported for its name."""
