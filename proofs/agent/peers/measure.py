"""Blocks of all sides in turn, so that what happens to the machine happens to all of them."""

import random
import statistics
from collections.abc import Mapping, Sequence

from msgspec import Struct

from proofs.agent.peers.process import Process, SideError
from proofs.agent.peers.seam import Task
from proofs.converter.runs import say

FRAMES = 20
"""Of a block; half of the bare ones run before the loop's and half behind, so that a drift cancels out."""

WARM = 10


class Cost(Struct, frozen=True, kw_only=True):
    """What a side costs, CPU milliseconds of a frame; a round's value each.

    Args:
        about: library and version.
        loop_ms: the whole loop.
        bare_ms: its runtime alone.
        objects: found in a frame, on average; None if it does not count them.
    """

    about: str
    loop_ms: Sequence[float]
    bare_ms: Sequence[float]
    objects: float | None

    @property
    def overhead_ms(self) -> list[float]:
        """Loop less bare, round by round."""
        return [one - other for one, other in zip(self.loop_ms, self.bare_ms, strict=True)]

    def joined(self, later: "Cost") -> "Cost":
        """Return the rounds of both."""
        return Cost(
            about=self.about,
            loop_ms=[*self.loop_ms, *later.loop_ms],
            bare_ms=[*self.bare_ms, *later.bare_ms],
            objects=later.objects,
        )


def best(peers: Mapping[str, Cost]) -> str:
    """Return the name of the peer with the smallest median overhead."""
    return min(peers, key=lambda name: statistics.median(peers[name].overhead_ms))


def ratio(ours: Sequence[float], theirs: Sequence[float], draws: int = 2000) -> tuple[float, float, float]:
    """Return the ratio of the medians and its 95 % interval, by bootstrap over rounds (Efron 1979)."""
    source = random.Random(0)  # noqa: S311 - resampling, no secret
    pairs = list(zip(ours, theirs, strict=True))
    drawn = [_of_medians(source.choices(pairs, k=len(pairs))) for _ in range(draws)]
    low, *_, high = statistics.quantiles(drawn, n=40)
    return _of_medians(pairs), low, high


def _of_medians(pairs: Sequence[tuple[float, float]]) -> float:
    ours, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
    return ours / theirs if theirs > 0.0 else float("nan")


def measure(names: Sequence[str], task: Task, rounds: int) -> tuple[dict[str, Cost], dict[str, str]]:
    """Start the sides, let them run in turn `rounds` times and end them.

    Returns:
        What each costs, by name, and why others are missing.
    """
    running, missing = _started(names, task)
    spent: dict[str, list[tuple[float, float, float | None]]] = {name: [] for name in running}
    try:
        for number in range(rounds):
            for name in _turned(list(running), number):
                try:
                    spent[name].append(_round(running[name]))
                except SideError as error:
                    missing[name] = str(error)
                    del running[name]
    finally:
        for process in running.values():
            process.close()
    costs = {name: _cost(process.about, spent[name]) for name, process in running.items()}
    return costs, missing


def _started(names: Sequence[str], task: Task) -> tuple[dict[str, Process], dict[str, str]]:
    running: dict[str, Process] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            running[name] = _warm(Process(name, task))
        except SideError as error:
            missing[name] = str(error)
            say(f"peers: left out: {error}")
    return running, missing


def _warm(process: Process) -> Process:
    for bare in (False, True):
        process.run(WARM, bare=bare)
    return process


def _turned(names: list[str], number: int) -> list[str]:
    """Return `names` beginning with another one each round: none always runs behind the same."""
    at = number % len(names) if names else 0
    return names[at:] + names[:at]


def _round(process: Process) -> tuple[float, float, float | None]:
    """Return CPU milliseconds of a frame in the loop and alone, and objects in a frame."""
    before = process.run(FRAMES // 2, bare=True)
    loop = process.run(FRAMES, bare=False)
    behind = process.run(FRAMES // 2, bare=True)
    return 1e3 * loop.frame_s, 1e3 * (before.frame_s + behind.frame_s) / 2, loop.objects


def _cost(about: str, rounds: Sequence[tuple[float, float, float | None]]) -> Cost:
    return Cost(
        about=about,
        loop_ms=[loop for loop, _, _ in rounds],
        bare_ms=[bare for _, bare, _ in rounds],
        objects=rounds[-1][2] if rounds else None,
    )
