"""Making a bundle again: what is compared, and what is said about differences."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from outrider_bundle.container import Bundle
from outrider_bundle.errors import BundleError, UsageError
from outrider_converter.pipeline import convert
from outrider_converter.progress import NullReporter
from outrider_converter.reproduce import compare, reproduce, written_recipe
from tests.fakes import null_bundle
from tests.fakes.toy import write_toy

QUICK = (("epochs = 6", "epochs = 1"), ("drop = 10.0", "drop = 100.0"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    convert(write_toy(folder, *QUICK), folder / "out", NullReporter())
    return folder


def test_a_bundle_is_made_again_bit_for_bit(made: Path, tmp_path: Path) -> None:
    found = reproduce(made / "out" / "toy.orb", made, tmp_path / "again", NullReporter())
    assert found.same
    assert found.causes == ()
    assert {one.variant for one in found.files} == {"onnx-float32", "onnx-int8"}


def test_differences_are_named(made: Path) -> None:
    with Bundle.open(made / "out" / "toy.orb") as bundle:
        old = bundle.manifest
    assert old.lineage is not None
    lineage = replace(
        old.lineage, cpu=("asimd",), teacher="0" * 64, versions={**old.lineage.versions, "torch": "1"}
    )
    variants = tuple(v for v in old.variants if v.id != "onnx-int8")
    found = compare(old, replace(old, lineage=lineage, variants=variants))
    assert not found.same
    assert {(one.variant, one.found) for one in found.files} == {("onnx-int8", False), ("onnx-float32", True)}
    said = "; ".join(found.causes)
    assert "the teacher differs" in said
    assert "torch is 1, it was" in said
    assert "the CPU has asimd" in said


def test_equal_files_with_other_labels_are_not_the_same(made: Path) -> None:
    with Bundle.open(made / "out" / "toy.orb") as bundle:
        old = bundle.manifest
    decoder = replace(old.outputs[0].decoder, labels=("right", "middle", "left"))
    found = compare(old, replace(old, outputs=(replace(old.outputs[0], decoder=decoder),)))
    assert all(one.same for one in found.files)
    assert not found.same
    assert found.causes == ("outputs or their labels differ",)


def test_the_bundle_itself_is_never_replaced(made: Path) -> None:
    with pytest.raises(UsageError, match="would replace"):
        reproduce(made / "out" / "toy.orb", made, made / "out", NullReporter())


def test_a_bundle_that_does_not_say_how_it_was_made_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "null.orb"
    null_bundle.write(path)
    with Bundle.open(path) as bundle, pytest.raises(BundleError, match="does not say how it was made"):
        written_recipe(bundle)
