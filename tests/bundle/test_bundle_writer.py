"""Writing: all of a bundle or nothing."""

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider_bundle.container import Bundle
from outrider_bundle.errors import BundleError, OutriderError
from outrider_bundle.writer import layout, write_bundle
from tests.fakes.bundles import BLOBS, described_manifest, tiny_manifest, write_tiny

ROOMY = {"golden", "int8-expected", "float-expected"}
"""Blobs whose length the manifest fixes; all others may have any."""


def test_writing_twice_gives_the_same_file(tmp_path: Path) -> None:
    one, two = write_tiny(tmp_path / "a.orb"), write_tiny(tmp_path / "b.orb")
    assert one == two
    assert (tmp_path / "a.orb").read_bytes() == (tmp_path / "b.orb").read_bytes()
    with Bundle.open(tmp_path / "a.orb") as bundle:
        assert bundle.digest == one


def test_blobs_may_be_files(tmp_path: Path) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(BLOBS["int8-weights"])
    digest = write_bundle(tmp_path / "a.orb", tiny_manifest(), BLOBS | {"int8-weights": weights})
    assert digest == write_tiny(tmp_path / "b.orb")


def test_the_blobs_of_the_given_manifest_do_not_matter(tmp_path: Path) -> None:
    stale = msgspec.structs.replace(described_manifest(), blobs=described_manifest().blobs[:1])
    assert write_bundle(tmp_path / "a.orb", stale, BLOBS) == write_tiny(tmp_path / "b.orb")


@given(st.fixed_dictionaries({name: st.binary(min_size=1, max_size=50_000) for name in set(BLOBS) - ROOMY}))
@settings(deadline=None, max_examples=40)
def test_any_content_comes_back(tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes]) -> None:
    path = tmp_path_factory.mktemp("any") / "x.orb"
    write_bundle(path, tiny_manifest(), BLOBS | content)
    with Bundle.open(path) as bundle:
        bundle.verify()
        for name, data in content.items():
            assert bytes(bundle.blob(name)) == data
    path.unlink()


def test_a_bundle_there_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "a.orb"
    path.write_bytes(b"old")
    bad = msgspec.structs.replace(tiny_manifest(), version="one")
    with pytest.raises(BundleError):
        write_bundle(path, bad, BLOBS)
    assert path.read_bytes() == b"old"
    write_tiny(path)
    assert [one.name for one in tmp_path.iterdir()] == ["a.orb"]
    Bundle.open(path).close()


@pytest.mark.parametrize(
    ("blobs", "says"),
    [
        (BLOBS | {"float-model": b""}, "'float-model' is empty"),
        (BLOBS | {"bad name": b"x"}, "matching regex"),
        ({name: BLOBS[name] for name in BLOBS if name != "golden"}, "refers?.* to the blob 'golden'"),
        (BLOBS | {"golden": b"x"}, "has 1 bytes and not 32"),
        (BLOBS | {"float-model": Path("/nowhere/model")}, "No such file"),
        (BLOBS | {"float-model": Path("/")}, "not a file"),
        (BLOBS | {"float-model": Path("/dev/zero")}, "not a file"),
        ({}, "length >= 1"),
    ],
    ids=["empty", "name", "missing", "size", "no-file", "folder", "device", "none"],
)
def test_what_would_be_refused_is_not_written(
    tmp_path: Path, blobs: dict[str, bytes | Path], says: str
) -> None:
    with pytest.raises(BundleError, match=says):
        write_bundle(tmp_path / "a.orb", tiny_manifest(), blobs)
    assert not list(tmp_path.iterdir())


def test_a_file_that_changes_while_it_is_packed_is_noticed(tmp_path: Path) -> None:
    class Restless(type(Path())):  # type: ignore[misc]
        """A file that holds something else each time it is opened."""

        def open(self, *_args: object, **_kwargs: object) -> object:
            Path(str(self)).write_bytes(os.urandom(100))
            return Path(str(self)).open("rb")

    restless = Restless(tmp_path / "restless")
    (tmp_path / "restless").touch()
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(BundleError, match="'float-model' is damaged"):
        write_bundle(out / "a.orb", tiny_manifest(), BLOBS | {"float-model": restless})
    assert not list(out.iterdir())


def test_too_many_blocks_say_how_much_fits(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(110_000_000)
    with pytest.raises(BundleError, match="about 90 MB"):
        write_bundle(tmp_path / "a.orb", tiny_manifest(), BLOBS | {"float-model": sparse})
    assert [one.name for one in tmp_path.iterdir()] == ["sparse"]


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OutriderError, match=r"a\.orb cannot be written: No space left.*Free some space"
    ) as caught:
        write_tiny(tmp_path / "a.orb")
    assert type(caught.value) is OutriderError
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_really_full_disk_leaves_nothing(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this container may not mount")
    try:
        with pytest.raises(OutriderError, match="No space left"):
            write_tiny(tmp_path / "a.orb")
        assert not list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_write_the_kernel_refuses_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from tests.fakes.bundles import write_tiny\n"
        "from outrider_bundle.errors import OutriderError\n"
        "try:\n    write_tiny(Path(sys.argv[1]))\n"
        "except OutriderError as error:\n    print(error)\n"
    )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.orb")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        preexec_fn=limit,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert "cannot be written: File too large" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["missing/a.orb", "file/a.orb", "."])
def test_a_place_that_cannot_be_written_to_is_one_error(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutriderError, match="cannot be written"):
        write_tiny(tmp_path / where)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_layout_keeps_the_order_and_aligns() -> None:
    entries = layout({"b": b"x" * 65, "a": b"y", "c": b"z"})
    assert [(one.name, one.offset, one.length) for one in entries] == [
        ("b", 0, 65),
        ("a", 128, 1),
        ("c", 192, 1),
    ]
