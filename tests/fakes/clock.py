"""A clock that only moves when it is told to."""


class Clock:
    """Nanoseconds when called, as `time.monotonic_ns` gives them."""

    def __init__(self, start_s: float = 1000.0) -> None:
        """Begin at `start_s`."""
        self.ns = int(start_s * 1e9)

    def __call__(self) -> int:
        """Return the time."""
        return self.ns

    @property
    def s(self) -> float:
        """The time in seconds."""
        return self.ns / 1e9

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.ns += int(seconds * 1e9)
