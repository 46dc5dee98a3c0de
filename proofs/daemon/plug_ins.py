"""Plug-ins that do what no good one does, told to by files: a camera that goes dark, a policy that hangs.

    proof-camera   frames of a folder, and none while the file `dark` is there
    proof-policy   decides on every perception; takes the file `hang` away and never returns

They run in the agent's process, which finds them by an entry point in a folder on its path, see `POINTS`.
"""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from outrider_agent.seams import Context, Decision, Frame
from outrider_agent.sources.images import ImagesOptions, ImagesSource
from outrider_runtime.perception import Perception

POINTS = {
    "METADATA": "Metadata-Version: 2.1\nName: proof-daemon\nVersion: 1.0\n",
    "entry_points.txt": (
        "[outrider.sources]\nproof-camera = proofs.daemon.plug_ins:DarkCamera\n"
        "[outrider.policies]\nproof-policy = proofs.daemon.plug_ins:HangingPolicy\n"
    ),
}
"""Files of the folder `FOLDER`, which makes them known to an agent that has its parent on its path."""

FOLDER = "proof_daemon-1.0.dist-info"


class DarkOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the camera.

    Args:
        path: of the folder with images.
        fps: frames a second.
        dark: path of the file.
    """

    path: str
    fps: float
    dark: str


class DarkCamera:
    """The source `images`, which yields None for every frame while it is dark."""

    Options = DarkOptions

    def __init__(self, options: DarkOptions, context: Context) -> None:
        """List the images."""
        self._images = ImagesSource(ImagesOptions(path=options.path, fps=options.fps, loop=True), context)
        self._dark = Path(options.dark)

    def frames(self, wait_s: float) -> Iterator[Frame | None]:
        """Yield frames, or what a camera yields that gives none."""
        for frame in self._images.frames(wait_s):
            if frame is not None and self._dark.exists():
                frame.release()
                yield None
            else:
                yield frame

    def close(self) -> None:
        """End the iteration."""
        self._images.close()


class HangOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the policy.

    Args:
        key: of the decision's data.
        value: what stands there.
        hang: path of the file, in a folder that the agent may write to.
    """

    key: str
    value: int
    hang: str


class HangingPolicy:
    """Decides the same on every perception, until its thread hangs like one that waits for a lock."""

    Options = HangOptions

    def __init__(self, options: HangOptions) -> None:
        """Keep what to decide."""
        self._decision, self._hang = Decision(data={options.key: options.value}), Path(options.hang)

    def initial(self) -> None:
        """Return nothing: there is no state."""

    def decide(self, perception: Perception, state: Any, now: float) -> tuple[Sequence[Decision], Any]:  # noqa: ANN401
        """Decide, or hang; the agent that comes after finds no file and does not hang."""
        del perception, now
        if self._hang.exists():
            self._hang.unlink()
            threading.Event().wait()
        return (self._decision,), state
