"""After crashes in a row: the link and the control socket, and no loop."""
