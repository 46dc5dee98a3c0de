"""A recording as a bad network delivers it, and a bundle that answers with the very window it was given."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
from msgspec import Struct
from onnx import TensorProto, helper

from outrider_bundle.manifest import (
    ArrayPreprocess,
    Expected,
    File,
    Golden,
    Input,
    Manifest,
    Output,
    RegressionDecoder,
    RelativeTolerance,
    Tensor,
    Variant,
)
from outrider_bundle.writer import write_bundle
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import expected_outputs
from outrider_runtime.session import Array
from proofs.loop.agents import APP

WINDOW, HOP, LATE, GAP = 24, 2, 8, 4
FIELDS = ("x", "y", "z")
SHAPE = (1, WINDOW, len(FIELDS))
NAMES = tuple(f"{field}{at}" for at in range(WINDOW) for field in FIELDS)
OPSET, IR = 20, 10
VARIANT = "onnx-f32"

MISSING, LONGEST = 0.05, 8
"""Share of the samples that never come; runs are of 1 to `LONGEST`, so some are too long to be filled."""

TWICE, LATER = 0.05, 40
"""Share that comes a second time, up to so many places later."""

TAIL = 2 * LATE + GAP
"""So many at the end are all there, so that no window waits for ever."""


class Recording(Struct, frozen=True, kw_only=True):
    """What a sensor measured.

    Args:
        samples: by number, without those that are lost.
        sent: numbers in the order in which they come, some twice.
        behind: how many come behind a newer one.
    """

    samples: dict[int, Array]
    sent: tuple[int, ...]
    behind: int


def record(count: int, seed: int) -> Recording:
    """Return a recording of `count` samples, of which some are lost, out of order or doubled."""
    random = np.random.default_rng(seed)
    lost: set[int] = set()
    while len(lost) < MISSING * count:
        start, length = int(random.integers(1, count - TAIL)), int(random.integers(1, LONGEST + 1))
        lost |= set(range(start, min(start + length, count - TAIL)))
    kept = np.array([place for place in range(count) if place not in lost])
    doubled = kept[random.random(len(kept)) < TWICE]
    moments = np.concatenate([
        kept + random.uniform(0, LATE, len(kept)),
        doubled + LATE + random.uniform(0, LATER, len(doubled)),
    ])  # fmt: skip
    sent = np.concatenate([kept, doubled])[np.argsort(moments)]
    newest = np.maximum.accumulate(sent)
    values = random.normal(0.0, 1.0, (count, len(FIELDS)))
    return Recording(
        samples={int(place): values[place] for place in kept},
        sent=tuple(sent.tolist()),
        behind=int(np.count_nonzero(sent < newest)),
    )


def messages(recording: Recording, most: int, seed: int) -> list[list[dict[str, float]]]:
    """Return what the sensor sends: in each message 1 to `most` samples, numbered as `n`."""
    random, samples = np.random.default_rng(seed), iter(recording.sent)
    found = []
    while several := list(islice(samples, int(random.integers(1, most + 1)))):
        found.append([_fields(place, recording.samples[place]) for place in several])
    return found


def bundle(path: Path) -> Path:
    """Write the bundle and return its path: a graph that lays a window out as one row of numbers."""
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["window"], ["row"], axis=1)],
        "windows",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("row", TensorProto.FLOAT, (1, len(NAMES)))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    file = path.with_suffix(".onnx")
    onnx.save(model, file)
    samples = np.random.default_rng(0).normal(0.0, 1.0, (4, *SHAPE[1:])).astype(np.float32)
    manifest = _manifest(samples.shape)
    opened = Model.open(manifest, manifest.variants[0], {"graph": file})
    answers = expected_outputs(opened, samples)
    opened.close()
    write_bundle(path, manifest, {"graph": file, "golden": samples.tobytes(), "answers": answers})
    return path


def _fields(place: int, values: Array) -> dict[str, float]:
    return {"n": place, **dict(zip(FIELDS, values.tolist(), strict=True))}


def _manifest(golden: Sequence[int]) -> Manifest:
    variant = Variant(
        id=VARIANT,
        runtime="onnx",
        precision="float32",
        rank=0,
        files=(File(role="graph", blob="graph"),),
        inputs=(Tensor(name="window", shape=SHAPE, dtype="float32", layout="NTC"),),
        outputs=(Tensor(name="row", shape=(1, len(NAMES)), dtype="float32"),),
    )
    answers = Expected(
        variant=VARIANT, blob="answers", tolerance=RelativeTolerance(relative=0.0), agreement=0.0
    )
    return Manifest(
        name="windows",
        version="1.0.0",
        app=APP,
        hardware=("any",),
        task="regression",
        inputs=(Input(name="window", shape=SHAPE, layout="NTC", preprocess=ArrayPreprocess()),),
        outputs=(Output(name="row", shape=(1, len(NAMES)), decoder=RegressionDecoder(names=NAMES)),),
        variants=(variant,),
        golden=Golden(blob="golden", shape=tuple(golden), dtype="float32", expected=(answers,)),
        blobs=(),
    )
