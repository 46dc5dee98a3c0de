"""What a manifest says of detections, and what it cannot say."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from outrider_bundle.checks import check_content
from outrider_bundle.container import decode_manifest, encode_manifest
from outrider_bundle.errors import BundleError
from outrider_bundle.manifest import DetectionDecoder, Manifest
from tests.fakes.bundles import described_manifest

Data = dict[str, Any]
SHAPE = [1, 6, 10]


def described(change: Callable[[Data], object] = lambda _: None) -> Data:
    """Return the manifest of a detector of two labels and ten candidates, as JSON, changed."""
    data: Data = msgspec.to_builtins(described_manifest())
    lengths = {"float32": 240, "int8": 60}
    data["task"] = "detection"
    data["outputs"] = [
        {"name": "boxes", "shape": SHAPE, "decoder": {"kind": "yolo", "labels": ["cat", "dog"]}},
    ]
    samples = data["golden"]["shape"][0]
    for variant, expected in zip(data["variants"], data["golden"]["expected"], strict=True):
        for tensor in variant["outputs"]:
            tensor["shape"] = SHAPE
        blob = next(one for one in data["blobs"] if one["name"] == expected["blob"])
        blob["length"] = samples * lengths[variant["outputs"][0]["dtype"]]
    change(data)
    return data


def test_a_detector_is_described_and_read_again() -> None:
    manifest = msgspec.convert(described(), Manifest)
    check_content(manifest)
    assert manifest.outputs[0].decoder == DetectionDecoder(labels=("cat", "dog"))
    assert msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest) == manifest


def test_what_was_written_before_there_were_detections_is_read_as_it_was() -> None:
    header = encode_manifest(described_manifest())
    assert encode_manifest(decode_manifest(header)) == header
    assert b"yolo" not in header


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda d: d["outputs"][0]["decoder"]["labels"].pop(), r"1 labels for a shape of \(1, 6, 10\)"),
        (lambda d: d["outputs"][0].update(shape=[1, 10, 7]), r"2 labels.*\(1, 6, n\) or \(1, n, 6\)"),
        (lambda d: d["outputs"][0].update(shape=[1, 6, 5, 2]), "2 labels"),
        (lambda d: d["outputs"][0].update(shape=[1, 60]), "2 labels"),
        (lambda d: d.update(task="classification"), "not of the task classification"),
        (lambda d: d["outputs"][0].update(decoder={"kind": "raw"}), "not of the task detection"),
        (
            lambda d: d["outputs"][0].update(decoder={"kind": "classification", "labels": ["cat"]}),
            "not of the task detection",
        ),
        (lambda d: d["inputs"][0].update(preprocess={"kind": "array"}), "no image"),
    ],
)
def test_a_detector_that_contradicts_itself_is_refused(change: Callable[[Data], object], fault: str) -> None:
    manifest = msgspec.convert(described(change), Manifest)
    with pytest.raises(BundleError, match=fault):
        check_content(manifest)


@pytest.mark.parametrize(
    "change",
    [{"layout": "yxyx"}, {"min_score": 1.5}, {"iou": -0.1}, {"max_objects": 0}, {"labels": []}, {"nms": 1}],
)
def test_a_decoder_of_no_sense_is_refused(change: Data) -> None:
    with pytest.raises(msgspec.ValidationError, match=next(iter(change))):
        msgspec.convert(described(lambda d: d["outputs"][0]["decoder"].update(change)), Manifest)
