"""A network of a file as one of torch: the recipe's order of dimensions, and batches of any size."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from outrider_converter.measure import Cost
from outrider_converter.teachers.entry import Entry

Answer = Tensor | tuple[Tensor, ...]


class Framed(nn.Module):
    """Takes the recipe's input `(n, ...)` and gives what the file gives, a tensor or a tuple of tensors.

    Attributes:
        files: of a black box, its own float files with a batch of 1, by runtime; networks that torch
            computes have no such attribute, nor `cost`.
        file_digest: SHA-256 of the file.
        fewest: samples that are computed at once even if fewer are given.
    """

    files: dict[str, Path]
    cost: Callable[[], Cost]

    def __init__(
        self,
        inner: nn.Module,
        entry: Entry,
        digest: str,
        without_softmax: Callable[[], bool] | None = None,
    ) -> None:
        """Put the frame around `inner`.

        Args:
            inner: takes the file's own input.
            entry: how to make it.
            digest: of the file.
            without_softmax: takes a softmax off the end of `inner`; tells whether there was one.
        """
        super().__init__()
        self.inner, self._entry, self._without_softmax = inner, entry, without_softmax
        self.file_digest, self.fewest = digest, entry.low
        if hasattr(inner, "files"):
            self.files, self.cost = inner.files, inner.cost  # type: ignore[assignment]

    def train(self, mode: bool = True) -> "Framed":  # noqa: FBT001, FBT002 - torch's own signature
        """Change nothing below: a file is as it was exported, and some refuse to be asked."""
        self.training = mode
        return self

    def drop_softmax(self) -> bool:
        """Take a softmax off the end, so that logits are answered; tell whether that was possible."""
        return self._without_softmax is not None and self._without_softmax()

    def forward(self, x: Tensor) -> Answer:
        """Return the answers to `(n, ...)`."""
        low, high = self._entry.low, self._entry.high
        if self._entry.order is not None:
            x = x.permute(self._entry.order)
        x = x.contiguous()
        if low <= len(x) <= (high or len(x)):
            return _plain(self.inner(x))
        return _joined([self._padded(chunk) for chunk in torch.split(x, high or len(x))])

    def _padded(self, x: Tensor) -> Answer:
        """Repeat the last sample until there are enough, and forget its answers."""
        missing = self._entry.low - len(x)
        if missing <= 0:
            return _plain(self.inner(x))
        answer = _plain(self.inner(torch.cat([x, x[-1:].expand(missing, *x.shape[1:])])))
        return answer[: len(x)] if isinstance(answer, Tensor) else tuple(part[: len(x)] for part in answer)


def _plain(answer: object) -> Answer:
    """Return a network's answer without the container that its tool puts around it."""
    if isinstance(answer, Mapping):
        answer = tuple(answer.values())
    if isinstance(answer, Sequence) and len(answer) == 1:
        answer = answer[0]
    return tuple(answer) if isinstance(answer, list) else answer  # type: ignore[return-value]


def _joined(parts: list[Answer]) -> Answer:
    if isinstance(parts[0], Tensor):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    return tuple(torch.cat(rows) for rows in zip(*parts, strict=True))
