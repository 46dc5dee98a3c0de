"""File formats: how a torch network gets into one, and how its file becomes int8."""
