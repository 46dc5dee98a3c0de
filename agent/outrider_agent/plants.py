"""What a source and an action share when both stand at one plant: its inputs come from the action.

The source steps the plant in its own thread. The action only leaves what is wanted here, from the thread of
the loop. They find one another by the id of the source, whichever is built first.
"""

import threading
from typing import Any


class Plant:
    """Where the next input of a plant waits; any thread may call.

    Args:
        space: what inputs the plant takes; of whatever library it is.
        lockstep: it stands still until an input came that answers its last output.
    """

    def __init__(self, space: Any, *, lockstep: bool) -> None:  # noqa: ANN401 - a library's type
        """Start without an input."""
        self.space, self.lockstep = space, lockstep
        self._changed = threading.Condition(threading.Lock())
        self._frame = self._episode = ""
        self._wanted: Any = None
        self._safe = False
        self._ended = False
        self.late = 0
        """Inputs that were dropped because they answered an output of the past."""

    def show(self, episode: str, frame: str) -> None:
        """Note that the plant's output is now `frame`; with a new episode what was wanted is forgotten."""
        with self._changed:
            if self.lockstep or (episode != self._episode and not self._safe):
                self._wanted = None
            self._episode, self._frame = episode, frame

    def put(self, frame: str, wanted: object) -> bool:
        """Leave the input that answers `frame`; False if it is too late for it.

        In lockstep only the first answer to the last output counts. Else any of the running episode does,
        until the next one comes.
        """
        with self._changed:
            fits = frame == self._frame if self.lockstep else frame.startswith(f"{self._episode}-")
            if not fits or (self.lockstep and self._wanted is not None):
                self.late += 1
                return False
            self._wanted, self._safe = wanted, False
            self._changed.notify()
            return True

    def hold(self, safe: object) -> None:
        """Make `safe` the input until another one comes; None leaves the plant where it is.

        In lockstep the plant stands still by itself, and nothing is done.
        """
        if not self.lockstep:
            with self._changed:
                self._wanted, self._safe = safe, True

    def wanted(self, wait_s: float = 0.0) -> Any:  # noqa: ANN401 - whatever the space holds
        """Return the input, waiting up to `wait_s` for one; None if there is none."""
        with self._changed:
            if self._wanted is None and not self._ended and wait_s > 0:
                self._changed.wait(wait_s)
            return self._wanted

    def end(self) -> None:
        """Wake whoever waits, for good."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()


_plants: dict[str, Plant] = {}


def enter(name: str, plant: Plant) -> None:
    """Let actions find `plant` by the id of its source."""
    _plants[name] = plant


def find(name: str) -> Plant | None:
    """Return the plant of the source `name`; None if there is none, or it has ended."""
    return _plants.get(name)


def leave(name: str, plant: Plant) -> None:
    """Let nobody find `plant` any more; another one of that name stays."""
    plant.end()
    if _plants.get(name) is plant:
        _plants.pop(name, None)
