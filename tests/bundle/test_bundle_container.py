"""Reading: what a sound bundle gives."""

import hashlib
import json
import struct
from pathlib import Path

import pytest

from outrider_bundle.container import MAGIC, Bundle, decode_manifest, encode_manifest, split_header
from outrider_bundle.errors import BundleError
from outrider_bundle.manifest import Manifest
from tests.fakes.bundles import BLOBS, assemble, described_manifest, header_bytes, write_tiny


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.orb"
    write_tiny(path)
    return path


def test_a_file_is_laid_out_as_documented(path: Path) -> None:
    raw = path.read_bytes()
    magic, length = struct.unpack_from("<8sI", raw)
    assert magic == b"\x89ORB\r\n\x1a\n" == MAGIC
    manifest = json.loads(raw[12 : 12 + length])
    payload = -(-(12 + length) // 64) * 64
    for blob in manifest["blobs"]:
        start = payload + blob["offset"]
        assert start % 64 == 0
        assert raw[start : start + blob["length"]] == BLOBS[blob["name"]]
    last = manifest["blobs"][-1]
    assert len(raw) == payload + last["offset"] + last["length"]


def test_the_block_list_is_one_digest_for_each_16_kib(path: Path) -> None:
    import base64  # noqa: PLC0415 - only this test looks below the format

    with Bundle.open(path) as bundle:
        entry = bundle.entry("int8-weights")
    listed = base64.b64decode(entry.blocks)
    pieces = [BLOBS["int8-weights"][at : at + 16_384] for at in range(0, 40_000, 16_384)]
    assert [len(piece) for piece in pieces] == [16_384, 16_384, 7_232]
    assert listed == b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    assert entry.sha256 == hashlib.sha256(BLOBS["int8-weights"]).hexdigest()


def test_a_bundle_gives_what_was_written(path: Path) -> None:
    with Bundle.open(path) as bundle:
        bundle.verify()
        assert bundle.path == path
        assert {blob.name: bytes(bundle.blob(blob.name)) for blob in bundle.manifest.blobs} == BLOBS
        assert bundle.manifest == described_manifest()
        assert bundle.header == header_bytes() == path.read_bytes()[: len(bundle.header)]
        assert bundle.digest == hashlib.sha256(bundle.header).hexdigest()
        assert split_header(bundle.header) == bundle.manifest


def test_a_blob_is_a_view_that_cannot_be_written(path: Path) -> None:
    with Bundle.open(path) as bundle:
        blob = bundle.blob("golden")
        assert blob.readonly
        with pytest.raises(TypeError):
            blob[0] = 1
        blob.release()


def test_a_blob_may_outlive_its_bundle(path: Path) -> None:
    bundle = Bundle.open(path)
    blob = bundle.blob("golden")
    bundle.close()
    bundle.close()
    assert bytes(blob) == BLOBS["golden"]


def test_an_unknown_blob_is_named_with_those_there_are(path: Path) -> None:
    with Bundle.open(path) as bundle, pytest.raises(BundleError, match=r"no blob 'goldn'.*golden"):
        bundle.blob("goldn")


def test_no_file_descriptor_stays_open(path: Path) -> None:
    before = sorted(p.name for p in Path("/proc/self/fd").iterdir())
    for _ in range(3):
        Bundle.open(path).close()
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(3):
        with pytest.raises(BundleError):
            Bundle.open(path)
    assert len(sorted(p.name for p in Path("/proc/self/fd").iterdir())) <= len(before)


def test_a_manifest_survives_its_encoding() -> None:
    manifest = described_manifest()
    raw = encode_manifest(manifest)
    assert decode_manifest(raw) == manifest
    assert json.dumps(json.loads(raw), sort_keys=True, separators=(",", ":")).encode() == raw
    assert isinstance(decode_manifest(raw), Manifest)


def test_an_independent_writer_makes_the_same_file(path: Path) -> None:
    assert assemble(encode_manifest(described_manifest())) == path.read_bytes()
