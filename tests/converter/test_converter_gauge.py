"""Of a detector, coordinates and scores count alike in how far an int8 file is from its float file."""

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from outrider_bundle.manifest import DetectionDecoder, Manifest, Output, RawDecoder, SsdDecoder
from outrider_converter.package import draft
from outrider_converter.precision.gauge import parts_of, sizes
from outrider_converter.recipe import read_recipe
from tests.fakes.toy import write_toy


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return draft(read_recipe(write_toy(tmp_path)), ("a", "b", "c"))


def reading(manifest: Manifest, *outputs: Output) -> Manifest:
    return replace(manifest, task="detection", outputs=outputs)


@pytest.mark.parametrize(
    ("shape", "decoder", "wanted"),
    [
        ((1, 6, 2), DetectionDecoder(labels=("a", "b")), [0] * 8 + [1] * 4),
        ((1, 2, 6), DetectionDecoder(labels=("a",), objectness=True), [0, 0, 0, 0, 1, 1] * 2),
        ((1, 2, 6), DetectionDecoder(labels=("a",), layout="end"), [0, 0, 0, 0, 1, 2] * 2),
    ],
)
def test_numbers_of_candidates_are_told_apart(
    manifest: Manifest, shape: tuple[int, ...], decoder: DetectionDecoder, wanted: list[int]
) -> None:
    parts = parts_of(reading(manifest, Output(name="y", shape=shape, decoder=decoder)))
    assert parts is not None
    assert parts.tolist() == wanted


def test_outputs_of_their_own_are_told_apart(manifest: Manifest) -> None:
    first = SsdDecoder(labels=("a",), outputs=("boxes", "scores"))
    boxes = Output(name="boxes", shape=(1, 2, 4), decoder=first)
    scores = Output(name="scores", shape=(1, 2, 1), decoder=RawDecoder())
    parts = parts_of(reading(manifest, boxes, scores))
    assert parts is not None
    assert parts.tolist() == [0] * 8 + [1] * 2


def test_what_has_one_kind_of_number_is_left_as_it_is(manifest: Manifest) -> None:
    assert parts_of(manifest) is None


def test_each_kind_counts_by_its_norm_but_scores_of_nothing_do_not() -> None:
    wanted = np.array([[300.0, 0.5, 0.001], [400.0, 0.5, 0.001], [0.0, 8.0, 0.0]], np.float32)
    found = sizes(wanted, np.array([0, 1, 2]))
    assert found.tolist() == pytest.approx([500.0, np.sqrt(64.5), np.sqrt(3.0)])
