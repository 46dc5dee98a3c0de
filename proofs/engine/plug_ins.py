"""A camera in memory and an action that watches: both note times on the clock of `time.monotonic`."""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from msgspec import Struct

from outrider_agent.pacing import pace
from outrider_agent.parts import Part
from outrider_agent.seams import Frame
from outrider_bundle.messages.event import Event
from outrider_runtime.session import Array


class NoOptions(Struct, frozen=True):
    """There are none."""


class Camera:
    """A source of frames that were decoded beforehand, at a steady rate, until it is closed or paused.

    A frame is called like the time when it was taken.
    """

    def __init__(self, images: Sequence[Array], fps: float) -> None:
        """Start with the first call of `frames`."""
        self._images, self._pace = images, pace(fps)
        self.paused = False

    def frames(self, wait_s: float) -> Iterator[Frame | None]:
        """Yield frames when they are due, None while it is paused."""
        for number in count():
            while not self._pace.enter(wait_s) or self.paused:
                if self._pace.ended:
                    return
                yield None
            image, now_s = self._images[number % len(self._images)], time.monotonic()
            yield Frame(id=repr(now_s), time_s=now_s, array=image, seq=number)

    def close(self) -> None:
        """End the iteration."""
        self._pace.end()


class Watch:
    """An action without a device: it notes what was decided and when outputs were made safe.

    Args:
        room: how many decisions and safe states it can remember.
    """

    def __init__(self, room: int = 100_000) -> None:
        """Take the room at once: what grows here would look like the agent's."""
        self._taken_s, self._decided_s, self._safe_s = ([0.0] * room for _ in range(3))
        self.count = self.safes = 0

    def apply(self, decision: Event) -> None:
        """Note when the frame was taken and when it was decided on."""
        self._taken_s[self.count], self._decided_s[self.count] = float(decision.frame), time.monotonic()
        self.count += 1

    def safe_state(self) -> None:
        """Note when."""
        self._safe_s[self.safes] = time.monotonic()
        self.safes += 1

    @property
    def decided_s(self) -> list[float]:
        """When it was decided, in order."""
        return self._decided_s[: self.count]

    @property
    def last_s(self) -> float:
        """When it was decided last."""
        return self._decided_s[self.count - 1]

    @property
    def last_taken_s(self) -> float:
        """When the frame was taken that was decided on last."""
        return self._taken_s[self.count - 1]

    def first_after(self, moment_s: float) -> float:
        """Return when it was decided for the first time after `moment_s`."""
        return next(at_s for at_s in self.decided_s if at_s > moment_s)

    def safe_after(self, moment_s: float) -> float | None:
        """Return when outputs were made safe for the first time after `moment_s`; None if they were not."""
        return next((at_s for at_s in self._safe_s[: self.safes] if at_s > moment_s), None)

    def close(self) -> None:
        """Do nothing."""


def part(kind: str, plugin: object) -> Part:
    """Return `plugin`, which is built already, as a configuration would name it."""
    ready: Callable[..., object] = lambda *_: plugin  # noqa: E731 - a plug-in class is any callable
    return Part(kind=kind, plugin=ready, options=NoOptions())
