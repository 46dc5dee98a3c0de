"""Teachers in files, one module a format; each has `load(source)`."""
