"""A bundle with one tflite variant that asks for the test delegate."""

from pathlib import Path

import numpy as np
from msgspec.structs import replace

from outrider_agent.config import Config
from outrider_bundle.manifest import Expected, File, Variant
from outrider_bundle.writer import write_bundle
from outrider_runtime.loading import runtime
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import expected_outputs, tolerance
from tests.fakes import delegates, provable


def write(path: Path, library: Path, **settings: object) -> None:
    """Write the bundle; `settings` are the delegate's own, its golden answers are the CPU's."""
    model = delegates.mixed(path.parent)
    session = runtime("tflite").load({"model": model}, {})
    variant = Variant(
        id="tflite-delegate",
        runtime="tflite",
        precision="float32",
        rank=0,
        files=(File(role="model", blob="model"),),
        inputs=tuple(replace(tensor, layout="NHWC") for tensor in session.inputs),
        outputs=session.outputs,
    )
    session.close()
    plain = Model.open(provable.DRAFT, variant, {"model": model})
    answers = expected_outputs(plain, provable.SAMPLES)
    plain.close()
    asking = replace(variant, options=delegates.options(library, **settings))
    limit = tolerance(variant, answers)
    expected = Expected(variant=variant.id, blob="expected", tolerance=limit)
    golden = replace(provable.DRAFT.golden, expected=(expected,))
    manifest = replace(provable.DRAFT, variants=(asking,), golden=golden)
    blobs: dict[str, bytes | Path] = {
        "golden": np.ascontiguousarray(provable.SAMPLES).tobytes(),
        "expected": answers,
        "model": model,
    }
    write_bundle(path, manifest, blobs)


def for_sorter(written: Config) -> Config:
    """Return the configuration for a device of the app that `provable` and this bundle are for."""
    return replace(written, device=replace(written.device, app="sorter"))
