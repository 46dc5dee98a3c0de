"""Manifests that contradict themselves."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from outrider_bundle.container import decode_manifest, encode_manifest
from outrider_bundle.errors import BundleError
from outrider_bundle.manifest import Evidence, VariantEvidence
from tests.fakes.bundles import described_manifest

Data = dict[str, Any]

CONTRADICTIONS: dict[str, tuple[Callable[[Data], object], str]] = {
    "two variants of a name": (lambda d: d["variants"][1].update(id="null-int8"), "two of the variant"),
    "two files of a role": (
        lambda d: d["variants"][0]["files"][1].update(role="graph"),
        "two of the role in variant 'null-int8' 'graph'",
    ),
    "a file without its blob": (
        lambda d: d["variants"][0]["files"][0].update(blob="gone"),
        "Variant 'null-int8' refers to the blob 'gone'",
    ),
    "golden without its blob": (lambda d: d["golden"].update(blob="gone"), "golden samples refers"),
    "answers without their blob": (
        lambda d: d["golden"]["expected"][0].update(blob="gone"),
        "refers to the blob 'gone'",
    ),
    "answers of no variant": (
        lambda d: d["golden"]["expected"][0].update(variant="other"),
        "there is no such variant",
    ),
    "two answers of a variant": (
        lambda d: d["golden"]["expected"][1].update(variant="null-int8"),
        "two of the golden variant",
    ),
    "a variant that cannot be proved": (lambda d: d["golden"]["expected"].pop(), "'null-float32' is ready"),
    "golden of another size": (lambda d: d["golden"].update(shape=[3, 4, 4]), "has 32 bytes and not 48"),
    "golden of another type": (lambda d: d["golden"].update(shape=[2, 2, 4], dtype="int16"), "are int16"),
    "golden of no frames": (lambda d: d["golden"].update(shape=[32]), "frames are preprocessed"),
    "golden without dimension": (lambda d: d["golden"].update(shape=[]), "no dimension"),
    "answers of another size": (
        lambda d: d["golden"]["expected"][0].update(blob="float-expected"),
        "has 24 bytes and not 6",
    ),
    "an input too many": (
        lambda d: d["variants"][0]["inputs"].append(d["variants"][0]["inputs"][0]),
        "There are 2 inputs of variant 'null-int8', but 1",
    ),
    "an input of another size": (
        lambda d: d["variants"][0]["inputs"][0].update(shape=[1, 1, 4, 5]),
        "do not fit 'image'",
    ),
    "an output of another size": (
        lambda d: d["variants"][1]["outputs"][0].update(shape=[1, 4]),
        "do not fit 'scores'",
    ),
    "raw outputs of a classifier": (
        lambda d: d["outputs"][0].update(decoder={"kind": "raw"}),
        "of the task class",
    ),
    "labels of raw outputs": (lambda d: d.update(task="raw"), "not of the task raw"),
    "a tolerance too many": (
        lambda d: d["golden"]["expected"][0].update(more=[{"kind": "relative", "relative": 0.1}]),
        "has 2 tolerances for 1 outputs",
    ),
    "a label too few": (lambda d: d["outputs"][0]["decoder"]["labels"].pop(), "has 2 labels"),
    "a tensor without dimension": (
        lambda d: d["variants"][0]["inputs"][0].update(shape=[]),
        "has no dimension",
    ),
    "a tensor too large": (
        lambda d: d["inputs"][0].update(shape=[1, 1, 1 << 20, 1 << 20]),
        "too large",
    ),
    "a name with a newline": (lambda d: d.update(name="tiny\n"), "matching regex"),
    "a path for a name": (lambda d: d["blobs"][0].update(name="../golden"), "matching regex"),
    "an unknown field": (lambda d: d.update(extra=1), "unknown field"),
    "another schema": (lambda d: d.update(schema=2), "schema"),
    "an option without limit": (
        lambda d: d["variants"][0].update(options={"threads": 10**30}),
        "not one of schema 1",
    ),
    "a scale of nothing": (
        lambda d: d["variants"][0]["inputs"][0].update(quantization={"scale": 0.0, "zero_point": 0}),
        "not one of schema 1",
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_refused(name: str) -> None:
    change, says = CONTRADICTIONS[name]
    data = msgspec.json.decode(encode_manifest(described_manifest()))
    change(data)
    with pytest.raises(BundleError) as caught:
        decode_manifest(msgspec.json.encode(data, order="sorted"))
    assert says in str(caught.value)


def test_evidence_is_short_and_its_report_is_there() -> None:
    one = VariantEvidence(
        variant="null-int8", accuracy=0.9, low=0.89, high=0.91, agreement=0.95, bytes=10, speedup=4.0
    )
    evidence = Evidence(
        data="d", samples=10, metric="accuracy", reference=0.93, budget=4.0, variants=(one,), report="golden"
    )
    good = msgspec.structs.replace(described_manifest(), evidence=evidence)
    assert decode_manifest(encode_manifest(good)).evidence == evidence
    lost = msgspec.structs.replace(good, evidence=msgspec.structs.replace(evidence, report="gone"))
    with pytest.raises(BundleError, match="evidence refers to the blob 'gone'"):
        encode_manifest(lost)
    long = msgspec.structs.replace(good, evidence=msgspec.structs.replace(evidence, data="d" * 4000))
    with pytest.raises(BundleError, match="At most 4096"):
        encode_manifest(long)


def test_a_number_that_is_none_cannot_be_written() -> None:
    manifest = described_manifest()
    tensor = msgspec.structs.replace(manifest.outputs[0], dtype="float128")  # type: ignore[arg-type]
    with pytest.raises(BundleError):
        encode_manifest(msgspec.structs.replace(manifest, outputs=(tensor,)))
    golden = msgspec.structs.replace(
        manifest.golden,
        expected=tuple(
            msgspec.structs.replace(one, agreement=float("nan")) for one in manifest.golden.expected
        ),
    )
    with pytest.raises(BundleError):
        encode_manifest(msgspec.structs.replace(manifest, golden=golden))
