"""Configurations that run as they are, each with the bundle and the input that it needs.

The texts are `image.toml`, `sensor.toml` and `control.toml`, with `head.toml` and `tail.toml` around them.
Words in them are behind `# `; what could stand there in place of something is behind `#` alone, a table at a
time. The bundles are built by `examples/agent/build_bundles.py`.
"""
