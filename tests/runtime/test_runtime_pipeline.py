from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Manifest, Tensor, Variant
from outrider_runtime.loading import load_variant
from outrider_runtime.perception import Anomaly
from outrider_runtime.pipeline import Model, Ports
from outrider_runtime.session import Array, Placement, empty
from tests.fakes.models import onnx_files
from tests.fakes.provable import DRAFT, SAMPLES, describe
from tests.fakes.tasks import write_task

KINDS = ["onnx", "tflite", "null"]


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Model, Variant]]:
    variant, files = describe("tiny", request.param, "float32", 0, tmp_path)
    model = Model.open(DRAFT, variant, files)
    yield model, variant
    model.close()


def test_a_frame_goes_all_the_way(tmp_path: Path) -> None:
    variant, files = describe("tiny", "onnx", "float32", 0, tmp_path)
    model = Model.open(DRAFT, variant, files)
    weights = np.frombuffer(onnx_files(tmp_path)[0]["weights"].read_bytes(), np.float32).reshape(64, 3)
    for frame in SAMPLES:
        logits = (frame.reshape(-1) / 255.0) @ weights
        powers = np.exp(logits - logits.max())
        seen = model.perceive(frame)
        assert seen.index == logits.argmax()
        assert seen.label == "abc"[seen.index]
        assert seen.score == pytest.approx(powers.max() / powers.sum(), abs=1e-5)
        np.testing.assert_allclose(model.outputs(frame)[0][0], logits, rtol=1e-4, atol=1e-4)
    model.close()


def test_parts_used_by_hand_say_the_same(opened: tuple[Model, Variant]) -> None:
    """As an engine does it: the frame is written into memory of its own, the session runs elsewhere."""
    model, variant = opened
    ports = Ports(DRAFT, variant)
    inputs = [empty(tensor) for tensor in variant.inputs]
    out = [empty(tensor) for tensor in variant.outputs]
    for frame in SAMPLES:
        ports.write(frame, inputs)
        assert model.run(inputs, out) is out
        assert ports.decode(out) == model.perceive(frame)


def test_tensors_are_allocated_once(opened: tuple[Model, Variant]) -> None:
    model, _ = opened
    first = model.outputs(SAMPLES[0])[0]
    assert model.outputs(SAMPLES[1])[0] is first


def test_a_closed_model_refuses(opened: tuple[Model, Variant]) -> None:
    model, _ = opened
    model.close()
    model.close()
    with pytest.raises(EngineError, match="closed"):
        model.perceive(SAMPLES[0])


def doubled(manifest: Manifest) -> list[Manifest]:
    more_in, more_out = manifest.inputs[0], manifest.outputs[0]
    return [replace(manifest, inputs=(more_in,) * 2), replace(manifest, outputs=(more_out,) * 2)]


def test_one_frame_fills_one_input_and_makes_one_output(tmp_path: Path) -> None:
    variant, files = describe("tiny", "onnx", "float32", 0, tmp_path)
    for manifest in doubled(DRAFT):
        with pytest.raises(EngineError, match="manifest has 2"):
            Model.open(manifest, variant, files)
    with pytest.raises(EngineError, match="'tiny' 2"):
        Model.open(DRAFT, replace(variant, inputs=variant.inputs * 2), files)


def test_the_output_is_a_batch_of_one(tmp_path: Path) -> None:
    variant, _ = describe("tiny", "onnx", "float32", 0, tmp_path)
    with pytest.raises(EngineError, match="batch of 1"):
        Ports(DRAFT, replace(variant, outputs=(Tensor(name="y", shape=(3, 1), dtype="float32"),)))


class Rude:
    """A third party's session."""

    def __init__(self, variant: Variant, *, answer: float) -> None:
        self.inputs, self.outputs, self.answer = variant.inputs, variant.outputs, answer

    def run(self, inputs: Sequence[Array], out: Sequence[Array] | None = None) -> Sequence[Array]:
        del inputs
        out = out or [empty(tensor) for tensor in self.outputs]
        if self.answer == 0:
            raise ZeroDivisionError("its own affair")
        out[0].fill(self.answer)
        return out

    def placement(self) -> Placement:
        return Placement(device="x", backend="x")

    def close(self) -> None:
        pass


def test_what_a_third_party_raises_or_answers_becomes_one_error(tmp_path: Path) -> None:
    variant, _ = describe("tiny", "onnx", "float32", 0, tmp_path)
    ports = Ports(DRAFT, variant)
    with pytest.raises(EngineError, match="its own affair"):
        Model(ports, Rude(variant, answer=0)).perceive(SAMPLES[0])
    with pytest.raises(EngineError, match="NaN"):
        Model(ports, Rude(variant, answer=np.nan)).perceive(SAMPLES[0])
    assert Model(ports, Rude(variant, answer=1)).perceive(SAMPLES[0]).index == 0


def test_options_of_the_device_override_those_of_the_variant(tmp_path: Path) -> None:
    variant, files = describe("tiny", "onnx", "float32", 0, tmp_path)
    variant = replace(variant, options={"threads": 2})
    for given, threads in ({}, 2), ({"threads": 1}, 1):
        session = load_variant(variant, files, given)
        assert session.placement().threads == threads
        session.close()


def test_a_detector_may_have_several_outputs_and_a_classifier_one(tmp_path: Path) -> None:
    manifest = write_task(tmp_path / "ssd.orb", "ssd")
    variant = manifest.variants[0]
    Ports(manifest, variant)
    with pytest.raises(EngineError, match="manifest has 4 outputs, and variant 'onnx' 3"):
        Ports(manifest, replace(variant, outputs=variant.outputs[:3]))
    with pytest.raises(EngineError, match="first of 3 outputs, and its decoder reads 4"):
        Ports(replace(manifest, outputs=manifest.outputs[:3]), replace(variant, outputs=variant.outputs[:3]))


def test_an_output_is_compared_with_the_frame_written_last(tmp_path: Path) -> None:
    manifest = write_task(tmp_path / "again.orb", "reconstruction")
    ports = Ports(manifest, manifest.variants[0])
    first, second = empty(manifest.variants[0].inputs[0]), empty(manifest.variants[0].inputs[0])
    with pytest.raises(EngineError, match="no input"):
        ports.decode([first])
    for inputs in (first, second, first):
        ports.write(SAMPLES[0], [inputs])
        seen = ports.decode([inputs + np.float32(0.5)])
        assert isinstance(seen, Anomaly)
        assert seen.score == pytest.approx(0.25)
