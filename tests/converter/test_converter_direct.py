"""From a model file to its recipe: what it says of itself is taken, what it does not is asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from outrider_bundle.errors import DataError, UsageError
from outrider_bundle.manifest import ArrayPreprocess, ImagePreprocess
from outrider_converter.direct import Request, direct
from outrider_converter.recipe import read_recipe
from tests.fakes.unlearned import (
    LABELS,
    PREPROCESS,
    bands,
    write_classifier,
    write_images,
    write_raw,
)

FIXTURES = Path(__file__).parents[1] / "fixtures"


def request(folder: Path, **changes: Any) -> Request:  # noqa: ANN401 - fields of a request
    """Return a complete request for the classifier and 9 flat images, but for `changes`."""
    if not (folder / "flat").exists():
        write_images(folder / "flat", 9)
    (folder / "names.txt").write_text("\n".join(LABELS) + "\n\n")
    if not (folder / "pre.toml").exists():
        (folder / "pre.toml").write_text(PREPROCESS)
    options = {
        "model": write_classifier(folder / "bands.onnx"),
        "calibration": folder / "flat",
        "targets": ("rpi5",),
        "labels": str(folder / "names.txt"),
        "preprocess": folder / "pre.toml",
    }
    return Request(**{**options, **changes})


def test_the_recipe_reads_back_from_its_text_and_moves_with_its_files(tmp_path: Path) -> None:
    made = direct(request(tmp_path))
    (tmp_path / "recipe.toml").write_text(made.text)
    assert read_recipe(tmp_path / "recipe.toml") == made.recipe
    assert made.folder == tmp_path
    assert str(tmp_path) not in made.text
    recipe = made.recipe
    assert (recipe.teacher.file, recipe.data.folder, recipe.data.classes) == ("bands.onnx", "flat", LABELS)
    assert (recipe.name, recipe.app, recipe.version, recipe.hardware) == (
        "bands",
        "bands",
        "0.1.0",
        ("rpi5",),
    )
    assert (recipe.student.family, recipe.steps) == ("as-is", ("export_onnx", "quantize"))
    assert recipe.input.shape == (1, 1, 12, 12)
    assert isinstance(recipe.input.preprocess, ImagePreprocess)


def test_all_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        direct(Request(model=write_classifier(tmp_path / "bands.onnx")))
    said = str(caught.value)
    for text in (
        "--target NAME with one of:",
        "rpi5",
        "--calibration DIR",
        "the output 'scores' float32 (1, 3) are. Add --labels FILE with 3 class names",
        "--labels none",
        "the input 'image' float32 (1, 1, 12, 12)",
        '\nkind = "image"\ncolor = "gray"\nresize = "?"',
        'layout = "NCHW"',
    ):
        assert text in said, text


def test_the_file_that_is_shown_is_refused_until_it_is_filled_in(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        direct(request(tmp_path, preprocess=None))
    template = str(caught.value).partition("\n# input")[2].partition("\n")[2]
    (tmp_path / "pre.toml").write_text(template)
    with pytest.raises(UsageError, match="4 faults") as caught:
        direct(request(tmp_path))
    assert all(key in str(caught.value) for key in ("resize", "scale", "mean", "std"))
    filled = template.replace('"?"', '"letterbox"').replace("scale = 0.0", "scale = 1.0")
    (tmp_path / "pre.toml").write_text(
        filled.replace("mean = []", "mean = [1.0]").replace("std = []", "std = [2.0]")
    )
    preprocess = direct(request(tmp_path)).recipe.input.preprocess
    assert preprocess == ImagePreprocess(color="gray", resize="letterbox", scale=1.0, mean=(1.0,), std=(2.0,))


def test_the_budget_depends_on_whether_there_are_labels(tmp_path: Path) -> None:
    flat = direct(request(tmp_path)).recipe.budget
    assert (flat.drop, flat.cosine) == (100.0, 0.99)
    sorted_in = write_images(tmp_path / "sorted", 9, by_class=True)
    known = direct(request(tmp_path, calibration=sorted_in)).recipe.budget
    assert (known.drop, known.cosine) == (2.0, 0.99)
    told = direct(request(tmp_path, drop=5.0, cosine=0.9, samples=7)).recipe
    assert (told.budget.drop, told.budget.cosine, told.quantize.samples) == (5.0, 0.9, 7)


def test_arrays_are_calibrated_on_as_well(tmp_path: Path) -> None:
    frames, labels = bands(9)
    np.savez(tmp_path / "some.npz", x=frames, y=labels)
    recipe = direct(request(tmp_path, calibration=tmp_path / "some.npz")).recipe
    assert (recipe.data.npz, recipe.data.folder, recipe.budget.drop) == ("some.npz", None, 2.0)
    with pytest.raises(DataError, match="holds classes"):
        direct(request(tmp_path, calibration=tmp_path / "some.npz", labels="none"))


def test_a_softmax_at_the_end_is_seen(tmp_path: Path) -> None:
    assert direct(request(tmp_path)).recipe.teacher.output == "logits"
    model = write_classifier(tmp_path / "soft.onnx", softmax=True)
    assert direct(request(tmp_path, model=model)).recipe.teacher.output == "probabilities"


def test_outputs_that_are_no_scores_are_raw_without_a_question(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw.onnx")
    recipe = direct(request(tmp_path, model=raw, labels=None)).recipe
    assert (recipe.data.classes, recipe.budget.drop, recipe.teacher.output) == ((), 100.0, "logits")
    with pytest.raises(DataError, match=r"are not one score a class. Add --labels none"):
        direct(request(tmp_path, model=raw))


def test_classes_of_the_data_need_names(tmp_path: Path) -> None:
    sorted_in = write_images(tmp_path / "sorted", 9, by_class=True)
    with pytest.raises(DataError, match=r"holds classes \(left, middle, right\).*Add --labels FILE"):
        direct(request(tmp_path, calibration=sorted_in, labels="none"))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("a\nb\n", "has 2 class names, the output 'scores' .* has 3 numbers"),
        ("a\nb\na\n", "line 3 is the same as line 1: 'a'"),
        ("a\n\nb\n", "line 2 is empty"),
    ],
)
def test_class_names_must_fit(tmp_path: Path, names: str, said: str) -> None:
    (tmp_path / "wrong.txt").write_text(names)
    with pytest.raises(DataError, match=said):
        direct(request(tmp_path, labels=str(tmp_path / "wrong.txt")))


def test_a_file_of_names_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("Käse".encode("latin-1"))
    for name in ("nowhere.txt", "latin.txt"):
        with pytest.raises(UsageError, match=f"{name} cannot be read"):
            direct(request(tmp_path, labels=str(tmp_path / name)))


def test_open_dimensions_are_asked_for_but_the_batch(tmp_path: Path) -> None:
    loose = write_classifier(tmp_path / "loose.onnx", batch="n")
    assert direct(request(tmp_path, model=loose)).recipe.input.shape == (1, 1, 12, 12)
    open_sides = write_classifier(tmp_path / "open.onnx", batch="n", side="s")
    with pytest.raises(UsageError, match=r"leaves dimensions open.*shape = \[1, 1, 224, 224\]"):
        direct(request(tmp_path, model=open_sides))
    (tmp_path / "pre.toml").write_text(PREPROCESS + "shape = [1, 1, 12, 12]\n")
    assert direct(request(tmp_path, model=open_sides)).recipe.input.shape == (1, 1, 12, 12)
    (tmp_path / "pre.toml").write_text(PREPROCESS + "shape = [1, 1, 9, 9]\n")
    with pytest.raises(DataError, match=r"does not take an input of \(1, 1, 9, 9\)"):
        direct(request(tmp_path, model=open_sides))
    with pytest.raises(UsageError, match="does not fit the input"):
        direct(request(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "image"', 'kind = "sound"', "kind is 'sound'"),
        ('kind = "image"', "", "kind is None"),
        ('color = "gray"', 'color = "rgb"', "rgb has 3 channels, the NCHW input .* has 1"),
        ('color = "gray"', 'colour = "gray"', "did you mean 'color'"),
        ("mean = [0.4]", "mean = [0.4, 0.5]", "mean need 1 or 1 numbers"),
        ("std = [0.25]", "std = [0.0]", "std"),
        ("scale = 0.00392156862745098", "", "scale: is missing"),
        ('kind = "image"', 'kind = "image"\nlayout = "NHWC"', "gray has 1 channels, the NHWC input"),
    ],
)
def test_a_wrong_preprocess_file_is_one_message(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in PREPROCESS
    (tmp_path / "pre.toml").write_text(PREPROCESS.replace(old, new))
    with pytest.raises(UsageError, match=said):
        direct(request(tmp_path))


def save_relu(path: Path, shape: list[int], kind: int = TensorProto.FLOAT, inputs: int = 1) -> Path:
    """Write a graph that adds nothing to its inputs of `shape`."""
    names = [f"in.{at}" for at in range(inputs)]
    nodes = [helper.make_node("Identity", [names[-1]], ["out"])]
    graph = helper.make_graph(
        nodes,
        "plain",
        [helper.make_tensor_value_info(name, kind, shape) for name in names],
        [helper.make_tensor_value_info("out", kind, shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_features_and_windows_are_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", x=np.zeros((9, 5), np.float32))
    (tmp_path / "pre.toml").write_text('kind = "array"\nmean = [0.0]\nstd = [1.0]\n')
    given = {"calibration": tmp_path / "some.npz", "labels": "none"}
    made = direct(request(tmp_path, model=save_relu(tmp_path / "a.onnx", [1, 5]), **given)).recipe
    assert (made.input.layout, made.input.name, made.teacher.layout) == ("NC", "in_0", None)
    assert isinstance(made.input.preprocess, ArrayPreprocess)
    windows = save_relu(tmp_path / "w.onnx", [1, 20, 5])
    with pytest.raises(UsageError, match="NCT or NTC"):
        direct(request(tmp_path, model=windows, **given))
    (tmp_path / "pre.toml").write_text('kind = "array"\nmean = [0.0]\nstd = [1.0]\nlayout = "NTC"\n')
    made = direct(request(tmp_path, model=windows, **given)).recipe
    assert (made.input.shape, made.input.layout, made.teacher.layout) == ((1, 5, 20), "NCT", "NHWC")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda p: p.write_bytes(b"no model"), "cannot be read as onnx"),
        (lambda p: save_relu(p, [1, 4], inputs=2), r"2 inputs \(in.0, in.1\)"),
        (lambda p: save_relu(p, [1, 4], TensorProto.UINT8), "is not float32"),
        (lambda p: save_relu(p, [1, 1, 1, 4, 4]), "has 5 dimensions"),
    ],
)
def test_a_model_that_cannot_be_run_is_refused(tmp_path: Path, write: Any, said: str) -> None:  # noqa: ANN401 - a writer
    write(tmp_path / "odd.onnx")
    with pytest.raises(DataError, match=said):
        direct(request(tmp_path, model=tmp_path / "odd.onnx"))
    with pytest.raises(DataError, match="There is no file"):
        direct(request(tmp_path, model=tmp_path / "none.onnx"))


def test_a_sigmoid_is_not_one_class_of_many(tmp_path: Path) -> None:
    path = tmp_path / "s.onnx"
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Sigmoid", ["f"], ["y"])]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 1, 1, 3]), ("y", [1, 3]))
    ]
    graph = helper.make_graph(nodes, "s", ports[:1], ports[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    (tmp_path / "pre.toml").write_text(PREPROCESS + 'layout = "NCHW"\n')
    with pytest.raises(DataError, match=r"sigmoid.*--labels none"):
        direct(request(tmp_path, model=path))


def test_a_target_must_run_the_file(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"coral-edgetpu runs tflite, and bands.onnx can become onnx, openvino"
    ):
        direct(request(tmp_path, targets=("coral-edgetpu",)))
    with pytest.raises(UsageError, match=r"no target 'rpi55'.*rpi5"):
        direct(request(tmp_path, targets=("rpi55",)))
    several = direct(request(tmp_path, targets=("x86-openvino", "rpi5"))).recipe
    assert several.export.formats == ("openvino", "onnx")
    assert several.hardware == ("any", "rpi5")


def test_a_target_of_ones_own_is_found_from_the_models_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.toml").write_text(
        'name = "mine"\ntitle = "My board"\nhardware = "board"\nruntimes = ["onnx"]\n'
    )
    monkeypatch.chdir(tmp_path / "here")
    recipe = direct(request(tmp_path, targets=("mine.toml",))).recipe
    assert (recipe.targets, recipe.hardware) == (("here/mine.toml",), ("board",))


def test_a_tflite_file_is_taken_with_its_own_runtime(tmp_path: Path) -> None:
    (tmp_path / "tiny.tflite").write_bytes((FIXTURES / "tiny-float32.tflite").read_bytes())
    made = direct(request(tmp_path, model=tmp_path / "tiny.tflite", targets=("coral-edgetpu",))).recipe
    assert made.export.formats == ("tflite",)
    assert (made.input.shape, made.teacher.layout) == ((1, 1, 8, 8), "NHWC")
    (tmp_path / "tiny.tflite").write_bytes((FIXTURES / "tiny-int8.tflite").read_bytes())
    with pytest.raises(DataError, match=r"is not float32.*Give the float model"):
        direct(request(tmp_path, model=tmp_path / "tiny.tflite", targets=("coral-edgetpu",)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"calibration": "nowhere"}, "nowhere is not there"),
        ({"calibration": "names.txt"}, "neither a folder nor an .npz"),
        ({"cosine": 1.5}, "budget.cosine"),
        ({"drop": -1.0}, "budget.drop"),
        ({"samples": 0}, "quantize.samples"),
        ({"version": "one"}, "version"),
        ({"name": "a b"}, "name"),
    ],
)
def test_values_that_no_recipe_takes_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    if "calibration" in changes:
        changes = {"calibration": tmp_path / changes["calibration"]}
    with pytest.raises(UsageError, match=said):
        direct(request(tmp_path, **changes))
