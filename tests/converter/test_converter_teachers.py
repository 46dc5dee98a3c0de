"""Teachers in files answer what the network they were made of answers, in the recipe's layout."""

import re
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from outrider_bundle.errors import DataError
from outrider_converter import measure
from outrider_converter.recipe import Recipe, read_recipe
from outrider_converter.reference import load_teacher
from outrider_converter.students import build_student
from outrider_converter.teachers.entry import Source, entry
from tests.fakes.toy import write_toy

BATCH = torch.rand((5, 3, 8, 12), generator=torch.Generator().manual_seed(0))
FIXTURES = Path(__file__).parents[1] / "fixtures"
MACS = 8 * 12 * 4 * 27 + 4 * 5
PARAMS = 4 * 27 + 4 + 4 * 5 + 5


class Small(nn.Module):
    """Five classes of 8x12 images, channels first or last, logits or probabilities."""

    def __init__(self, *, last: bool = False, softmax: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)
        self.last, self.softmax = last, softmax

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2) if self.last else x
        scores: Tensor = self.head(torch.relu(self.conv(x)).mean((2, 3)))
        return torch.softmax(scores, 1) if self.softmax else scores


def recipe_for(folder: Path, file: str, *more: str, shape: str = "[1, 3, 8, 12]") -> Recipe:
    return read_recipe(
        write_toy(
            folder,
            ('callable = "models:teacher"', "\n".join([f'file = "{file}"', *more])),
            ("shape = [1, 1, 12, 12]", f"shape = {shape}"),
            ('color = "gray"', 'color = "rgb"'),
        )
    )


def write_pt2(path: Path, net: nn.Module, batch: int, *, dynamic: bool, most: int | None = None) -> None:
    example = BATCH[:batch].permute(0, 2, 3, 1) if getattr(net, "last", False) else BATCH[:batch]
    sizes = {"x": {0: torch.export.Dim("n", max=most)}} if dynamic else None
    torch.export.save(torch.export.export(net.eval(), (example,), dynamic_shapes=sizes), path)


def write_onnx(
    path: Path, *, batch: int | str = 1, last: bool = False, softmax: bool = False, sizes: bool = True
) -> None:
    """Write `Small` by hand: the exporter takes seconds."""
    net = Small()
    weights = {f"{k.replace('.', '_')}": v.numpy() for k, v in net.state_dict().items()}
    nodes = [helper.make_node("Transpose", ["x"], ["first"], perm=[0, 3, 1, 2])] if last else []
    nodes += [
        helper.make_node(
            "Conv", ["first" if last else "x", "conv_weight", "conv_bias"], ["c"], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "head_weight", "head_bias"], ["y"], transB=1),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["y"], ["z"], axis=1))
    image: list[int | str] = [8, 12] if sizes else ["h", "w"]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", 1, [batch, *image, 3] if last else [batch, 3, *image])],
        [helper.make_tensor_value_info("z" if softmax else "y", TensorProto.FLOAT, [batch, 5])],
        [onnx.numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def wanted() -> Tensor:
    with torch.inference_mode():
        answers: Tensor = Small()(BATCH)
    return answers


def own_files(model: Any) -> dict[str, Path]:  # noqa: ANN401 - torch types no attribute
    found: dict[str, Path] = model.files
    return found


def answers_of(model: nn.Module) -> Tensor:
    with torch.inference_mode():
        answers: Tensor = model(BATCH)
    return answers


@pytest.mark.parametrize(
    ("batch", "dynamic", "most"), [(1, False, None), (2, False, None), (2, True, None), (2, True, 3)]
)
@pytest.mark.parametrize("last", [False, True])
def test_an_exported_program(
    tmp_path: Path,
    batch: int,
    dynamic: bool,  # noqa: FBT001
    most: int | None,
    last: bool,  # noqa: FBT001
) -> None:
    recipe = recipe_for(tmp_path, "t.pt2")
    write_pt2(tmp_path / "t.pt2", Small(last=last), batch, dynamic=dynamic, most=most)
    model = load_teacher(recipe, 5, tmp_path)
    assert torch.allclose(answers_of(model), wanted(), atol=1e-6)
    assert not any(p.requires_grad for p in model.parameters())
    assert not hasattr(model, "files")
    assert measure.cost(model, (1, 3, 8, 12)).params == PARAMS
    assert measure.cost(model, (1, 3, 8, 12)).macs == MACS


@pytest.mark.parametrize("batch", [1, 2, "n"])
@pytest.mark.parametrize("last", [False, True])
def test_an_onnx_file(tmp_path: Path, batch: int | str, last: bool) -> None:  # noqa: FBT001
    recipe = recipe_for(tmp_path, "t.onnx")
    write_onnx(tmp_path / "t.onnx", batch=batch, last=last)
    model = load_teacher(recipe, 5, tmp_path)
    assert torch.allclose(answers_of(model), wanted(), atol=1e-5)
    assert measure.cost(model, (1, 3, 8, 12)) == measure.Cost(params=PARAMS, macs=MACS)
    files = own_files(model)
    assert set(files) == (set() if batch == 2 else {"onnx"})
    if batch == "n":
        entries = onnx.load(files["onnx"]).graph
        assert [d.dim_value for d in entries.output[0].type.tensor_type.shape.dim] == [1, 5]
        onnx.checker.check_model(onnx.load(files["onnx"]), full_check=True)


def test_a_copy_with_fixed_sizes_goes_with_its_teacher(tmp_path: Path) -> None:
    write_onnx(tmp_path / "t.onnx", batch="n")
    model = load_teacher(recipe_for(tmp_path, "t.onnx"), 5, tmp_path)
    copy = own_files(model)["onnx"]
    assert copy.is_file()
    del model
    assert not copy.parent.exists()


def test_weights_may_lie_apart(tmp_path: Path) -> None:
    write_onnx(tmp_path / "t.onnx", batch="n")
    whole = onnx.load(tmp_path / "t.onnx")
    onnx.save(whole, tmp_path / "t.onnx", save_as_external_data=True, location="w", size_threshold=0)
    recipe = recipe_for(tmp_path, "t.onnx")
    model = load_teacher(recipe, 5, tmp_path)
    assert torch.allclose(answers_of(model), wanted(), atol=1e-5)
    assert onnx.load(own_files(model)["onnx"]).graph.initializer[0].raw_data
    weights = bytearray((tmp_path / "w").read_bytes())
    weights[0] ^= 1
    (tmp_path / "w").write_bytes(weights)
    assert measure.digest(load_teacher(recipe, 5, tmp_path)) != measure.digest(model)
    (tmp_path / "w").unlink()
    with pytest.raises(DataError, match=r"t\.onnx cannot be read"):
        load_teacher(recipe, 5, tmp_path)


def test_open_sizes_are_those_of_the_recipe(tmp_path: Path) -> None:
    write_onnx(tmp_path / "t.onnx", batch="n", last=True, sizes=False)
    assert torch.allclose(
        answers_of(load_teacher(recipe_for(tmp_path, "t.onnx"), 5, tmp_path)), wanted(), atol=1e-5
    )


def test_probabilities_become_logits_and_a_black_box_stays_one(tmp_path: Path) -> None:
    write_onnx(tmp_path / "t.onnx", softmax=True)
    recipe = recipe_for(tmp_path, "t.onnx", 'output = "probabilities"')
    model = load_teacher(recipe, 5, tmp_path)
    assert torch.allclose(answers_of(model), torch.log_softmax(wanted(), 1), atol=1e-5)
    assert own_files(model) == {"onnx": tmp_path / "t.onnx"}
    assert measure.cost(model, (1, 3, 8, 12)).macs == MACS


def test_the_softmax_of_a_program_is_taken_off(tmp_path: Path) -> None:
    write_pt2(tmp_path / "t.pt2", Small(softmax=True), 2, dynamic=True)
    model = load_teacher(recipe_for(tmp_path, "t.pt2", 'output = "probabilities"'), 5, tmp_path)
    assert torch.allclose(answers_of(model), wanted(), atol=1e-6)


@pytest.mark.parametrize("softmax", [True, False])
def test_a_wrong_kind_of_answers_is_refused(tmp_path: Path, softmax: bool) -> None:  # noqa: FBT001
    write_onnx(tmp_path / "t.onnx", softmax=softmax)
    told, right = ("logits", "probabilities") if softmax else ("probabilities", "logits")
    recipe = recipe_for(tmp_path, "t.onnx", f'output = "{told}"')
    with pytest.raises(DataError, match=f'Set teacher.output = "{right}"'):
        load_teacher(recipe, 5, tmp_path)


def test_raw_answers_are_taken_as_they_are(tmp_path: Path) -> None:
    write_onnx(tmp_path / "t.onnx", softmax=True)
    model = load_teacher(recipe_for(tmp_path, "t.onnx"), None, tmp_path)
    assert torch.allclose(answers_of(model), torch.softmax(wanted(), 1), atol=1e-5)


@pytest.mark.parametrize("suffix", ["pt2", "onnx", "tflite"])
@pytest.mark.parametrize("damage", ["nonsense", "empty", "truncated"])
def test_a_broken_file_is_told_in_one_sentence(
    tmp_path: Path, suffix: str, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"t.{suffix}"
    recipe = recipe_for(tmp_path, path.name)
    if suffix == "pt2":
        write_pt2(path, Small(), 2, dynamic=True)
    elif suffix == "onnx":
        write_onnx(path)
    else:
        path.write_bytes((FIXTURES / "tiny-float32.tflite").read_bytes())
    whole = path.read_bytes()
    path.write_bytes({"nonsense": b"nonsense", "empty": b"", "truncated": whole[: len(whole) // 2]}[damage])
    with pytest.raises(DataError, match=rf"t\.{suffix} cannot be read") as caught:
        load_teacher(recipe, 5, tmp_path)
    assert caught.value.cure
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_and_a_strange_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.onnx is not there"):
        load_teacher(recipe_for(tmp_path, "t.onnx"), 5, tmp_path)
    with pytest.raises(DataError, match=r"t\.bin is of no format"):
        load_teacher(recipe_for(tmp_path, "t.bin"), 5, tmp_path)


def test_several_inputs_are_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        "two",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 12]) for name in "ab"],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 12])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        tmp_path / "t.onnx",
    )
    with pytest.raises(DataError, match=r"2 inputs \(a, b\)"):
        load_teacher(recipe_for(tmp_path, "t.onnx"), 5, tmp_path)

    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    torch.export.save(torch.export.export(Two(), (BATCH, BATCH)), tmp_path / "t.pt2")
    with pytest.raises(DataError, match=r"2 inputs \(x, y\)"):
        load_teacher(recipe_for(tmp_path, "t.pt2"), 5, tmp_path)


def test_another_shape_is_refused(tmp_path: Path) -> None:
    write_onnx(tmp_path / "t.onnx")
    with pytest.raises(
        DataError, match=re.escape("(1, 3, 8, 12) of t.onnx does not fit input.shape [1, 3, 9, 9]")
    ):
        load_teacher(recipe_for(tmp_path, "t.onnx", shape="[1, 3, 9, 9]"), 5, tmp_path)
    with pytest.raises(DataError, match="as NHWC does not fit"):
        load_teacher(recipe_for(tmp_path, "t.onnx", 'layout = "NHWC"'), 5, tmp_path)
    with pytest.raises(DataError, match=r"\(2, 5\) where \(2, 4\)"):
        load_teacher(recipe_for(tmp_path, "t.onnx"), 4, tmp_path)


@pytest.mark.parametrize(
    ("found", "shape", "layout", "order"),
    [
        ((1, 3, 8, 12), (1, 3, 8, 12), None, None),
        ((None, 8, 12, 3), (1, 3, 8, 12), None, (0, 2, 3, 1)),
        ((1, 1, 8, 8), (1, 1, 8, 8), None, None),
        ((1, None, None, 3), (1, 3, 8, 12), None, (0, 2, 3, 1)),
        ((1, None, None, None), (1, 3, 8, 12), "NHWC", (0, 2, 3, 1)),
        ((1, 3, 3, 3), (1, 3, 3, 3), "NCHW", None),
        ((None, 4), (1, 4), None, None),
        ((None, 4), (1, 4), "NHWC", None),
        ((1, 128, 6), (1, 6, 128), None, (0, 2, 1)),
        ((1, 6, 128), (1, 6, 128), None, None),
    ],
)
def test_the_order_of_dimensions(
    found: tuple[int | None, ...], shape: tuple[int, ...], layout: str | None, order: tuple[int, ...] | None
) -> None:
    source = Source(path=Path("t.onnx"), shape=shape, layout=layout)  # type: ignore[arg-type]
    assert entry(found, source).order == order


@pytest.mark.parametrize(
    ("found", "shape"),
    [((1, 3, 3, 3), (1, 3, 3, 3)), ((None,) * 4, (1, 3, 8, 12)), ((1, 8, 8), (1, 8, 8))],
)
def test_what_may_be_both_is_asked_for(found: tuple[int | None, ...], shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r'Set teacher\.layout = "NCHW"'):
        entry(found, Source(path=Path("t.onnx"), shape=shape))


def test_a_program_is_no_network_to_narrow(tmp_path: Path) -> None:
    write_pt2(tmp_path / "t.pt2", Small(), 2, dynamic=True)
    recipe = recipe_for(tmp_path, "t.pt2")
    model = load_teacher(recipe, 5, tmp_path)
    path = tmp_path / "recipe.toml"
    path.write_text(path.read_text().replace('family = "res-cnn"', 'family = "auto"'))
    with pytest.raises(DataError, match=r"Give teacher\.callable"):
        build_student(read_recipe(path), 5, tmp_path, model)


def test_keras_is_asked_for_if_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    (tmp_path / "t.keras").write_bytes(b"")
    from outrider_bundle.errors import MissingExtraError  # noqa: PLC0415

    with pytest.raises(MissingExtraError, match=re.escape("pip install 'outrider[keras]'")):
        load_teacher(recipe_for(tmp_path, "t.keras"), 5, tmp_path)
