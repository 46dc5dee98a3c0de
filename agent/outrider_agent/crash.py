"""The error for what nobody foresaw."""

from outrider_bundle.errors import OutriderError


class CrashError(OutriderError):
    """The agent itself failed; its log has the traceback."""
