"""The step: methods, mixed precision, saturation, training for int8 and kept ranges, each with its reason."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from msgspec.structs import replace
from onnx import numpy_helper
from torch import Tensor, nn

from outrider_bundle.errors import DataError
from outrider_converter.artifact import Artifact, Context
from outrider_converter.dataset import load_dataset
from outrider_converter.exports import Export
from outrider_converter.precision.makers import OnnxMaker
from outrider_converter.precision.sensitivity import short
from outrider_converter.precision.variant import choose_method
from outrider_converter.progress import NullReporter
from outrider_converter.quantization import kept
from outrider_converter.recipe import QatOptions, QuantizeOptions, read_recipe
from outrider_converter.steps.quantize import quantize
from outrider_converter.targets import Plan, Scheme
from outrider_converter.views import Views
from tests.fakes.graphs import images, small_net, uneven_net
from tests.fakes.toy import write_toy


class Bands(nn.Module):
    """What `uneven_net` computes."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 12, 3, 4).sum((1, 3)) / 8


@pytest.fixture
def bench(tmp_path: Path) -> tuple[Artifact, Context]:
    path = write_toy(tmp_path / "recipe", ("drop = 10.0", "drop = 2.0"))
    recipe = read_recipe(path)
    data = load_dataset(recipe, path.parent)
    folder = tmp_path / "work"
    folder.mkdir()
    teacher = Bands().eval()
    views = Views(recipe, data, teacher, NullReporter())
    answers = teacher(views.normalize(data.validation.prepared)).argmax(1).numpy()
    context = Context(
        recipe=recipe,
        data=data,
        teacher=teacher,
        reference=SimpleNamespace(validation=answers, files={}, outputs={}, scale=None),  # type: ignore[arg-type]  # all that judging asks for
        targets=(),
        views=views,
        checkpoints=None,  # type: ignore[arg-type]  # of no use to this step
        folder=folder,
        reporter=NullReporter(),
    )
    source = uneven_net(folder / "onnx-float32.onnx")
    export = Export(id="onnx-float32", runtime="onnx", precision="float32", path=source)
    return Artifact(model=teacher, exports=(export,)), context


def texts(artifact: Artifact) -> str:
    return "\n".join(d.text for d in artifact.decisions)


def test_layers_that_int8_spoils_go_back_to_float_together(bench: tuple[Artifact, Context]) -> None:
    made = quantize(bench[0], QuantizeOptions(samples=32), bench[1])
    export = made.exports[-1]
    assert (export.id, export.precision) == ("onnx-int8", "mixed")
    assert set(export.float_layers) == {"spread", "pick"}
    assert "most sensitive layers" in texts(made)
    assert "spread and pick back to float" in texts(made) or "pick and spread back to float" in texts(made)
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(export.path).graph.initializer}
    assert weights["spread"].dtype == np.float32
    assert weights["bands_quantized"].dtype == np.int8


def test_without_reverts_the_spoiled_file_is_left_for_the_verdict(bench: tuple[Artifact, Context]) -> None:
    made = quantize(bench[0], QuantizeOptions(samples=32, max_reverts=0), bench[1])
    assert made.exports[-1].precision == "int8"
    assert made.exports[-1].float_layers == ()


def test_too_few_reverts_do_not_help_and_that_is_said(bench: tuple[Artifact, Context]) -> None:
    made = quantize(bench[0], QuantizeOptions(samples=32, max_reverts=1), bench[1])
    assert made.exports[-1].precision == "int8"
    assert "no layer's return to float lowers the error" in texts(made)


def test_a_float_file_over_the_budget_costs_no_scan(bench: tuple[Artifact, Context]) -> None:
    artifact, context = bench
    model = onnx.load(artifact.exports[0].path)
    bands = next(t for t in model.graph.initializer if t.name == "bands")
    bands.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(bands), "bands"))
    onnx.save(model, artifact.exports[0].path)
    made = quantize(artifact, QuantizeOptions(samples=32), context)
    assert "the float file is over the budget as well" in texts(made)


def test_auto_tries_all_methods_and_says_what_each_cost(bench: tuple[Artifact, Context]) -> None:
    made = quantize(bench[0], QuantizeOptions(samples=32, method="auto", max_reverts=0), bench[1])
    assert "ranges by" in texts(made)
    assert all(method in texts(made) for method in ("minmax", "percentile", "entropy"))


def test_a_method_that_a_format_lacks_is_replaced_and_that_is_said() -> None:
    tflite: Any = SimpleNamespace(
        options=QuantizeOptions(method="entropy"),
        maker=SimpleNamespace(methods=("minmax",)),
        export=SimpleNamespace(runtime="tflite"),
    )
    method, notes = choose_method(tflite, Plan(id="tflite-int8", scheme=Scheme()))
    assert method == "minmax"
    assert notes == ("tflite-int8: tflite has no ranges by entropy, minmax taken",)
    tflite.options = QuantizeOptions(method="auto")
    assert choose_method(tflite, Plan(id="tflite-int8", scheme=Scheme())) == ("minmax", ())


def test_a_target_that_takes_integers_only_gets_no_float_layer(bench: tuple[Artifact, Context]) -> None:
    coral: Any = SimpleNamespace(runtimes=("onnx",), operators=object(), scheme=lambda _: Scheme(), isa=())
    context = replace(bench[1], targets=(coral,))
    made = quantize(bench[0], QuantizeOptions(samples=32), context)
    assert made.exports[-1].precision == "int8"
    assert "no layer may be float on this target" in texts(made)


def test_names_for_people_are_short() -> None:
    assert short("a/b.Sequential_wrapped/nn.ReLU6_1;;a/b.Sequential_wrapped/nn.Conv2d_0;;") == "nn.Conv2d_0"
    assert short("/features/3/conv/Conv") == "/features/3/conv/Conv"


def test_what_cannot_be_quantized_is_left_out_with_the_reason(bench: tuple[Artifact, Context]) -> None:
    artifact, context = bench
    artifact.exports[0].path.write_bytes(b"broken")
    made = quantize(artifact, QuantizeOptions(samples=4), context)
    assert [one.id for one in made.left_out] == ["onnx-int8"]
    assert "cannot be read as ONNX" in made.left_out[0].reason
    assert len(made.exports) == 1


def test_a_file_that_saturates_elsewhere_is_made_again(bench: tuple[Artifact, Context]) -> None:
    artifact, context = bench
    uneven_net(artifact.exports[0].path, large=1.0)
    options = QuantizeOptions(samples=8, max_reverts=0, reduce_range=False)
    context = replace(context, recipe=replace(context.recipe, quantize=options))
    # Frames at the top of the range and band weights all alike: the sums of the head overflow.
    bright = replace(context.data.train, prepared=torch.full_like(context.data.train.prepared, 255))
    context = replace(context, data=replace(context.data, train=bright))
    made = quantize(artifact, options, context)
    assert {row.layer for row in made.saturation} == {"head"}
    assert made.saturation[0].share > 0.5
    assert "made again with weights that cannot overflow" in texts(made)
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(made.exports[-1].path).graph.initializer}
    assert weights["bands_quantized"].max() == 64


def test_training_for_int8_comes_last_and_only_if_it_is_asked_for(
    bench: tuple[Artifact, Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, context = bench
    module = ModuleType("outrider_converter.steps.qat")
    module.train_qat = lambda model, options, context, task: model  # type: ignore[attr-defined]  # noqa: ARG005
    monkeypatch.setitem(sys.modules, "outrider_converter.steps.qat", module)

    class Harmless(nn.Module):
        """The same answers without the large channel."""

        def __init__(self) -> None:
            super().__init__()
            bands = torch.zeros(3, 12, 12)
            for label in range(3):
                bands[label, :, 4 * label : 4 * label + 4] = 1 / 8
            self.head = nn.Linear(144, 3, bias=False)
            self.head.weight = nn.Parameter(bands.reshape(3, -1))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x.flatten(1))

    artifact = replace(artifact, model=Harmless())
    params = QuantizeOptions(samples=32, max_reverts=0, qat=QatOptions())
    made = quantize(artifact, params, context)
    assert "trained for int8" in texts(made)
    assert made.exports[-1].id == "onnx-int8"
    assert made.exports[-1].precision == "int8"
    weights = [numpy_helper.to_array(t) for t in onnx.load(made.exports[-1].path).graph.initializer]
    assert not [w for w in weights if w.shape == (2, 1, 1, 1)]


def test_ranges_are_left_for_a_later_conversion(bench: tuple[Artifact, Context]) -> None:
    artifact, context = bench
    quantize(artifact, QuantizeOptions(samples=8, max_reverts=0), context)
    found = kept.load(str(context.folder))
    assert found.runtimes["onnx"].method == "minmax"
    assert len(found.runtimes["onnx"].ranges) >= 4
    again = quantize(
        artifact, QuantizeOptions(samples=200, max_reverts=0, previous=str(context.folder)), context
    )
    assert kept.load(str(context.folder)) == found
    assert again.exports[-1].id == "onnx-int8"


def test_a_missing_or_broken_calibration_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read.*Name the folder of an earlier conversion"):
        kept.load(str(tmp_path / "nowhere"))
    (tmp_path / kept.FILE).write_text("{}x")
    with pytest.raises(DataError, match=r"is broken.*Leave quantize.previous out"):
        kept.load(str(tmp_path))


def quantized_twice(folder: Path, previous: kept.Filed | None) -> dict[str, Any]:
    """Return the initializers of an int8 file with a new head, calibrated on other frames."""
    maker = OnnxMaker(small_net(folder / "new.onnx", head=7), images(30, 9), "image", previous)
    maker.write(folder / "new-int8.onnx", Scheme(), "minmax")
    model = onnx.load(folder / "new-int8.onnx")
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def test_a_new_head_changes_the_bytes_of_the_head_only(tmp_path: Path) -> None:
    maker = OnnxMaker(small_net(tmp_path / "old.onnx"), images(16), "image")
    maker.write(tmp_path / "old-int8.onnx", Scheme(), "minmax")
    model = onnx.load(tmp_path / "old-int8.onnx")
    old = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}

    new = quantized_twice(tmp_path, maker.filed("minmax"))
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    assert changed
    assert all(name.startswith(("w3", "b3", "scores")) for name in changed), changed
    fresh = quantized_twice(tmp_path, None)
    assert not np.array_equal(old["image_scale"], fresh["image_scale"])


def test_ranges_of_two_methods_do_not_mix(tmp_path: Path) -> None:
    source, target = small_net(tmp_path / "net.onnx"), tmp_path / "int8.onnx"
    first = OnnxMaker(source, images(30), "image")
    first.write(target, Scheme(), "minmax")
    again = OnnxMaker(source, images(30, 9), "image", first.filed("minmax"))
    again.write(target, Scheme(), "percentile")
    assert (again.favoured, again.kept) == ("minmax", 0)
    again.write(target, Scheme(), "minmax")
    assert again.kept > 0
