"""The thread that reads a source into mailboxes."""

import logging
import threading
from typing import Protocol

from outrider_agent.seams import Frame, Source
from outrider_bundle.errors import OutriderError

WAIT_S = 0.5
JOIN_S = 2.0

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes frames: a mailbox, or a fan-out to several."""

    def put(self, frame: Frame) -> None:
        """Take one; it does not wait for who reads."""
        ...

    def close(self) -> None:
        """No more will come."""
        ...


class Feeder:
    """Reads until the source ends, fails or is told to stop; then closes the sink.

    Args:
        source: read in this thread only.
        sink: where frames go.
        name: of the pipeline or the shared source, for the log.
    """

    def __init__(self, source: Source, sink: Sink, name: str) -> None:
        """Prepare the thread."""
        self._source, self._sink, self._name = source, sink, name
        self._thread = threading.Thread(target=self._run, name=f"source-{name}", daemon=True)
        self._stopping = False
        self.error: OutriderError | None = None
        """Why there are no more frames, if that is a fault."""

    @property
    def reads(self) -> bool:
        """Whether more frames may come."""
        return not self._stopping and (self._thread.ident is None or self._thread.is_alive())

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End the source; a thread that a driver does not let go is left behind and said."""
        self._stopping = True
        try:
            self._source.close()
        except Exception:
            log.exception("The source of '%s' does not close well", self._name)
        self._sink.close()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        if self._thread.is_alive():
            log.warning("The source of '%s' does not end; it is left behind", self._name)

    def _run(self) -> None:
        try:
            for frame in self._source.frames(WAIT_S):
                if frame is not None:
                    self._sink.put(frame)
                if self._stopping:
                    break
        except OutriderError as error:
            self.error = error
        except Exception as error:
            log.exception("The source of '%s' failed", self._name)
            self.error = OutriderError(f"The source of '{self._name}' failed: {error!r}")
        finally:
            self._sink.close()
