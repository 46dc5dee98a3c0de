"""The loops that are compared; each module has `start(task) -> Side`."""
