"""Raw outputs: any number of them, proved one by one, never decoded."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from msgspec.structs import replace
from onnx import TensorProto, helper

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import (
    Expected,
    File,
    Golden,
    Manifest,
    Output,
    Precision,
    RawDecoder,
    RelativeTolerance,
    StepTolerance,
    Tolerance,
    Variant,
)
from outrider_runtime.loading import runtime
from outrider_runtime.pipeline import Model
from outrider_runtime.proof import STEPS, Proof, expected_outputs, prove, tolerances
from tests.fakes.provable import DRAFT, SAMPLES


def write_two(folder: Path) -> dict[str, Path]:
    """Write a graph that gives its 8x8 image doubled, and the sum of each row as a whole number."""
    nodes = [
        helper.make_node("Add", ["image", "image"], ["double"]),
        helper.make_node("ReduceSum", ["image", "axes"], ["sums"], keepdims=0),
        helper.make_node("Cast", ["sums"], ["whole"], to=TensorProto.INT32),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 3])
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [
            helper.make_tensor_value_info("double", TensorProto.FLOAT, [1, 1, 8, 8]),
            helper.make_tensor_value_info("whole", TensorProto.INT32, [1, 8]),
        ],
        [axes],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), folder / "two-graph")
    return {"graph": folder / "two-graph"}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return write_two(tmp_path)


def variant_of(files: dict[str, Path], precision: Precision = "float32") -> Variant:
    session = runtime("onnx").load(files, {})
    inputs = tuple(replace(tensor, layout="NCHW") for tensor in session.inputs)
    outputs = session.outputs
    session.close()
    return Variant(
        id="two",
        runtime="onnx",
        precision=precision,
        rank=0,
        files=(File(role="graph", blob="two-graph"),),
        inputs=inputs,
        outputs=outputs,
    )


def manifest_of(variant: Variant, limits: tuple[Tolerance, ...] = ()) -> Manifest:
    first, *more = limits or (RelativeTolerance(relative=1e-4),)
    expected = Expected(variant="two", blob="answers", tolerance=first, more=tuple(more), agreement=0.0)
    return replace(
        DRAFT,
        task="raw",
        outputs=tuple(
            Output(name=t.name, shape=t.shape, dtype=t.dtype, decoder=RawDecoder()) for t in variant.outputs
        ),
        variants=(variant,),
        golden=Golden(blob="golden", shape=SAMPLES.shape, dtype="uint8", expected=(expected,)),
    )


def proof(files: dict[str, Path], limits: tuple[Tolerance, ...] = (), **spoil: float) -> Proof:
    """Prove the graph on its own answers, to which `double` and `whole` are added."""
    variant = variant_of(files)
    manifest = manifest_of(variant, limits)
    model = Model.open(manifest, variant, files)
    rows = [[np.array(out) for out in model.outputs(sample)] for sample in SAMPLES]
    answers = b"".join(
        (np.stack([row[at][0] for row in rows]) + rows[0][at].dtype.type(spoil.get(name, 0))).tobytes()
        for at, name in enumerate(("double", "whole"))
    )
    try:
        return prove(manifest, variant, model, SAMPLES, answers)
    finally:
        model.close()


def test_all_outputs_come_out_and_none_is_decoded(files: dict[str, Path]) -> None:
    variant = variant_of(files)
    model = Model.open(manifest_of(variant), variant, files)
    double, whole = model.outputs(SAMPLES[0])
    assert np.allclose(double[0, 0], SAMPLES[0] / 255 * 2)
    assert whole.tolist() == [[int(row) for row in (SAMPLES[0] / 255).sum(1)]]
    with pytest.raises(EngineError, match=r"'double' is raw: no decoder .* Use the arrays of Model.outputs"):
        model.perceive(SAMPLES[0])
    model.close()


def test_golden_answers_of_several_outputs_reproduce(files: dict[str, Path]) -> None:
    variant = variant_of(files)
    model = Model.open(manifest_of(variant), variant, files)
    answers = expected_outputs(model, SAMPLES)
    assert len(answers) == len(SAMPLES) * (64 * 4 + 8 * 4)
    limits = tolerances(variant, answers)
    model.close()
    assert limits == (RelativeTolerance(relative=1e-4), StepTolerance(step=1.0, steps=STEPS))
    assert proof(files, limits).ok


@pytest.mark.parametrize(
    ("spoil", "ok", "unit"),
    [
        ({"double": 1e-2}, False, "relative"),
        ({"double": 1e-6}, True, "relative"),
        ({"whole": STEPS}, True, "steps"),
        ({"whole": STEPS + 1}, False, "steps"),
    ],
)
def test_each_output_has_a_tolerance_of_its_own(
    files: dict[str, Path],
    spoil: dict[str, float],
    ok: bool,  # noqa: FBT001 - a table column
    unit: str,
) -> None:
    limits = (RelativeTolerance(relative=1e-4), StepTolerance(step=1.0, steps=STEPS))
    found = proof(files, limits, **spoil)
    assert (found.ok, found.unit) == (ok, unit)


def test_a_single_tolerance_counts_for_all(files: dict[str, Path]) -> None:
    assert proof(files, (RelativeTolerance(relative=1e-4),)).ok
    assert not proof(files, (RelativeTolerance(relative=1e-4),), whole=1).ok


@pytest.mark.parametrize("change", ["classification", "fewer"])
def test_only_raw_bundles_may_have_several_outputs_and_all_of_them(
    files: dict[str, Path], change: str
) -> None:
    variant = variant_of(files)
    manifest = manifest_of(variant)
    changes: dict[str, Any] = {"task": change} if change != "fewer" else {"outputs": manifest.outputs[:1]}
    with pytest.raises(EngineError, match=r"The manifest has \d outputs?"):
        Model.open(replace(manifest, **changes), variant, files)
