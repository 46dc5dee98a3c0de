"""Data that needs no code: folders of images, arrays in a file, tables; one module a kind with `load`."""
