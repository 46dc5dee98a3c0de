"""What pruning has really gained: both networks as stripped float ONNX files, timed turn and turn about."""

from contextlib import ExitStack, closing
from pathlib import Path

from torch import nn

from outrider_converter import latency, measure
from outrider_converter.exports import Candidate, Export
from outrider_converter.formats import onnx
from outrider_converter.progress import Reporter
from outrider_converter.recipe import Recipe
from outrider_converter.records import PruneProof
from outrider_converter.strip.candidate import strip
from outrider_runtime.loading import load_variant

BEFORE, AFTER = "unpruned", "pruned"


def prove(
    before: nn.Module, after: nn.Module, recipe: Recipe, folder: Path, reporter: Reporter
) -> PruneProof:
    """Export, strip and time both networks on one thread.

    Args:
        before: the network that was pruned.
        after: what was made of it.
        recipe: tells input and opset.
        folder: scratch space.
        reporter: shows progress.

    Raises:
        OutriderError: one of them cannot be exported or run.
    """
    shape, nets = recipe.input.shape, {BEFORE: before, AFTER: after}
    task = reporter.start("prune, measure", len(nets) + latency.ROUNDS)
    files: dict[str, Candidate] = {}
    for name, net in nets.items():
        path = folder / f"{name}.onnx"
        onnx.export(net, recipe, path)
        files[name] = strip(Export(id=name, runtime="onnx", precision="float32", path=path), recipe, folder)
        task.advance()
    with ExitStack() as stack:
        sessions = {
            name: stack.enter_context(closing(load_variant(file.variant(), file.files, {"threads": 1})))
            for name, file in files.items()
        }
        times = latency.measure(sessions, task)
    costs = {name: measure.cost(net, shape) for name, net in nets.items()}
    return PruneProof(
        macs_before=costs[BEFORE].macs,
        macs_after=costs[AFTER].macs,
        params_before=costs[BEFORE].params,
        params_after=costs[AFTER].params,
        bytes_before=files[BEFORE].bytes,
        bytes_after=files[AFTER].bytes,
        latency_before=times[BEFORE],
        latency_after=times[AFTER],
        faster=latency.speedup(times[BEFORE], times[AFTER]),
    )
