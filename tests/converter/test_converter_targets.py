"""Targets: the built-in files, a user's own, and what follows from them."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider_bundle.errors import UsageError
from outrider_bundle.manifest import Requirements
from outrider_converter.recipe import ExportOptions, PruneOptions, QuantizeOptions, Recipe, read_recipe
from outrider_converter.targets import (
    Scheme,
    Target,
    built_in,
    channel_multiple,
    formats,
    load_targets,
    plans,
    unavailable,
)
from tests.fakes.toy import write_toy

OWN = """
name = "mine"
title = "My board"
hardware = "mine"
isa = ["asimddp"]
runtimes = ["tflite", "onnx"]
channel_multiple = 32

[schemes.onnx]
weights = "full"
"""


def named(*names: str) -> tuple[Target, ...]:
    return load_targets(names, Path())


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    toy = read_recipe(write_toy(tmp_path_factory.mktemp("recipe")))
    return replace(toy, export=ExportOptions(), prune=None, quantize=QuantizeOptions())


def test_the_promised_targets_are_there_and_are_called_like_their_files() -> None:
    promised = {"cpu-x86-avx2", "cpu-x86-vnni", "rpi4", "rpi5", "jetson-orin", "coral-edgetpu", "pynq-z2"}
    promised |= {"kria-kv260", "any-vulkan", "x86-openvino", "generic"}
    names = [target.name for target in built_in()]
    assert promised <= set(names)
    assert names == sorted(names)
    for name in names:
        assert load_targets((name,), Path())[0].name == name


def test_only_what_was_measured_says_so() -> None:
    measured = {target.name for target in built_in() if target.figures == "measured"}
    assert measured == {"cpu-x86-avx2", "cpu-x86-vnni", "generic", "x86-openvino"}
    assert all(target.note for target in built_in())


@pytest.mark.parametrize("target", built_in(), ids=lambda target: target.name)
def test_an_8_bit_file_that_can_saturate_asks_for_an_isa(recipe: Recipe, target: Target) -> None:
    for runtime in ("onnx", "openvino"):
        for plan in plans(recipe, (target,), runtime):
            assert plan.isa or plan.scheme.weights != "full"
            Requirements(isa=plan.isa)


def test_a_users_own_target_is_one_file_beside_the_recipe(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(OWN)
    (mine, other) = load_targets(("./mine.toml", "rpi5"), tmp_path)
    assert (mine.name, other.name) == ("mine", "rpi5")
    assert formats(recipe, (mine,)) == ("tflite", "onnx")
    assert channel_multiple(recipe, (mine, other)) == 32
    assert [plan.id for plan in plans(recipe, (mine,), "onnx")] == ["onnx-int8-asimddp"]


def test_an_unknown_target_names_its_neighbour() -> None:
    with pytest.raises(UsageError, match=r"no target 'rpi6'; did you mean 'rpi[45]'"):
        named("rpi6")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no file .*gone.toml"):
        load_targets(("gone.toml",), tmp_path)


def test_two_targets_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="Two targets are called 'rpi4'"):
        named("rpi4", "rpi5", "rpi4")


def test_a_wrong_file_lists_all_its_faults(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(
        'name = "bad name"\ntitle = "x"\nruntime = ["onnx"]\nmemory_mb = -1\nfigures = "guessed"\n'
    )
    with pytest.raises(UsageError) as raised:
        load_targets(("bad.toml",), tmp_path)
    text = str(raised.value)
    for fault in ("name:", "hardware: is missing", "did you mean 'runtimes'?", "memory_mb:", "figures:"):
        assert fault in text


def test_a_file_that_contradicts_itself_lists_all_contradictions(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(
        'name = "bad"\ntitle = "x"\nhardware = "x"\nruntimes = ["openvino", "openvino"]\n'
        '[schemes.openvino]\nweights = "pair-safe"\n[schemes.onnx]\n[operators]\nallowed = ["ADD"]\n'
    )
    with pytest.raises(UsageError) as raised:
        load_targets(("bad.toml",), tmp_path)
    text = str(raised.value)
    assert "4 faults" in text
    for fault in ("'openvino' is there 2 times", "full or reduced only", "'onnx' is not among", "operators:"):
        assert fault in text


def test_formats_follow_the_targets_in_order_unless_the_recipe_tells(recipe: Recipe) -> None:
    assert formats(recipe, ()) == ("onnx", "tflite")
    assert formats(recipe, named("coral-edgetpu", "x86-openvino")) == ("tflite", "openvino", "onnx")
    own = replace(recipe, export=ExportOptions(formats=("openvino",)))
    assert formats(own, named("rpi5")) == ("openvino",)


def test_what_has_no_exporter_is_left_out_with_its_reason_not_dropped(recipe: Recipe) -> None:
    targets = named("any-vulkan", "pynq-z2", "kria-kv260", "rpi5")
    left = {one.id: one.reason for one in unavailable(targets)}
    assert set(left) == {"ncnn", "fpga"}
    assert left["ncnn"] == "no exporter for it in this version (wanted by any-vulkan)"
    assert left["fpga"].endswith("(wanted by pynq-z2, kria-kv260)")
    assert formats(recipe, targets) == ("onnx", "tflite")
    assert unavailable(named("rpi5")) == ()


def test_targets_without_any_exporter_are_refused(recipe: Recipe) -> None:
    alien = Target(name="alien", title="x", hardware="x", runtimes=("warp",))
    with pytest.raises(UsageError, match=r"no exporter for warp .* there are: onnx"):
        formats(recipe, (alien,))


def test_the_channel_multiple_is_the_recipes_or_the_largest_asked_for(recipe: Recipe) -> None:
    assert channel_multiple(recipe, ()) == 8
    assert channel_multiple(recipe, named("rpi5", "cpu-x86-vnni")) == 16
    own = replace(recipe, prune=PruneOptions(macs=0.5, round_to=4))
    assert channel_multiple(own, named("cpu-x86-vnni")) == 4
    assert channel_multiple(replace(recipe, prune=PruneOptions(macs=0.5)), named("cpu-x86-vnni")) == 16


def test_without_targets_one_file_runs_everywhere(recipe: Recipe) -> None:
    (plan,) = plans(recipe, (), "onnx")
    assert (plan.id, plan.isa, plan.scheme) == ("onnx-int8", (), Scheme())
    (plan,) = plans(recipe, (), "tflite")
    assert (plan.id, plan.scheme.activation, plan.scheme.weights) == ("tflite-int8", "int8", "full")
    (plan,) = plans(recipe, (), "openvino")
    assert (plan.id, plan.scheme.weights) == ("openvino-int8", "reduced")


def test_equal_wishes_are_one_file_and_different_ones_several(recipe: Recipe) -> None:
    targets = named("cpu-x86-avx2", "cpu-x86-vnni", "rpi4", "rpi5", "generic")
    made = {plan.id: (plan.scheme.weights, plan.isa) for plan in plans(recipe, targets, "onnx")}
    assert made == {
        "onnx-int8": ("pair-safe", ()),
        "onnx-int8-avx512_vnni": ("full", ("avx512_vnni",)),
        "onnx-int8-asimd": ("full", ("asimd",)),
    }
    assert [plan.id for plan in plans(recipe, targets, "tflite")] == ["tflite-int8"]


def test_one_id_is_never_two_schemes(recipe: Recipe) -> None:
    odd = replace(named("generic")[0], name="odd", schemes={"onnx": Scheme(per_channel=False)})
    made = plans(recipe, (*named("generic"), odd), "onnx")
    assert [plan.id for plan in made] == ["onnx-int8", "onnx-int8-odd"]
    assert [plan.scheme.per_channel for plan in made] == [True, False]


def test_a_format_that_no_target_names_gets_its_default(recipe: Recipe) -> None:
    (plan,) = plans(recipe, named("coral-edgetpu"), "onnx")
    assert (plan.id, plan.scheme) == ("onnx-int8", Scheme())


@pytest.mark.parametrize(
    ("reduce", "weights", "ids"),
    [
        (True, "reduced", ["onnx-int8"]),
        (False, "full", ["onnx-int8-avx512_vnni", "onnx-int8-asimd"]),
    ],
)
def test_the_recipe_overrides_the_weights(
    recipe: Recipe, *, reduce: bool, weights: str, ids: list[str]
) -> None:
    own = replace(recipe, quantize=QuantizeOptions(reduce_range=reduce))
    made = plans(own, named("cpu-x86-vnni", "rpi5"), "onnx")
    assert [plan.id for plan in made] == ids
    assert {plan.scheme.weights for plan in made} == {weights}
    assert plans(own, (), "tflite")[0].scheme.weights == "full"
    assert plans(own, (), "openvino")[0].scheme.weights == weights
