"""What a rule looks for, as its judge sees it."""

from typing import Any, Protocol, TypeVar

from outrider_runtime.perception import Perception


class Found(Protocol):
    """Something that fits a rule."""

    @property
    def label(self) -> str:
        """What it is called."""
        ...


F = TypeVar("F", bound=Found)


class Finder(Protocol[F]):
    """Finds what one rule looks for.

    Args:
        name: what the rule is called.
        until: how a release is described, for example `below 0.4`.
    """

    name: str
    until: str

    def find(self, perception: Perception, counted: str) -> F | None:
        """Return what fits the rule: what is called `counted`, if anything, before all else."""
        ...

    def holds(self, perception: Perception, label: str) -> bool:
        """Return whether what was found as `label` is not released yet."""
        ...

    def tell(self, found: F, perception: Perception) -> dict[str, Any]:
        """Return what a decision says of `found`."""
        ...

    def end(self, perception: Perception, label: str) -> dict[str, Any]:
        """Return what a decision says when `label` is released."""
        ...

    def show(self, found: F) -> str:
        """Return `found` in a word for a reader."""
        ...

    def lack(self, perception: Perception) -> str:
        """Return why nothing was found."""
        ...
