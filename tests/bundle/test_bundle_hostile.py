"""Reading what is broken or hostile: refused with BundleError, nothing written, no memory for it."""

import os
import socket
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider_bundle.container import MAGIC, MAX_MANIFEST_BYTES, Bundle, decode_manifest, encode_manifest
from outrider_bundle.errors import BundleError
from tests.fakes.bundles import BLOBS, assemble, changed, described_manifest, header_bytes

SOUND = assemble(encode_manifest(described_manifest()))
HEADER = len(header_bytes())
PAYLOAD = -(-HEADER // 64) * 64
SLACK = 4 << 20
"""Far below anything a header can declare, far above what reading one takes."""

quick = settings(deadline=None, max_examples=150)


@contextmanager
def bounded() -> Iterator[None]:
    """Fail if Python allocates more than the largest header explains."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < SLACK
    finally:
        tracemalloc.stop()


def refuse(raw: bytes) -> str:
    """Open `raw` as a bundle, expect its refusal and an untouched folder; return the message."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.orb"
        path.write_bytes(raw)
        with pytest.raises(BundleError) as caught, bounded(), Bundle.open(path) as bundle:
            bundle.verify()
        assert [one.name for one in Path(folder).iterdir()] == ["x.orb"]
        assert path.read_bytes() == raw
        return str(caught.value)


@given(st.integers(0, len(SOUND) - 1))
@quick
def test_a_truncated_file_is_refused(length: int) -> None:
    refuse(SOUND[:length])


@given(st.binary(min_size=1, max_size=200))
@quick
def test_bytes_behind_the_last_blob_are_refused(more: bytes) -> None:
    refuse(SOUND + more)


@given(st.integers(0, HEADER * 8 - 1))
@quick
def test_a_flipped_bit_in_the_header_is_refused_or_changes_what_is_signed(bit: int) -> None:
    raw = bytearray(SOUND)
    raw[bit // 8] ^= 1 << bit % 8
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.orb"
        path.write_bytes(raw)
        try:
            with Bundle.open(path) as bundle:
                bundle.verify()
                # A header of other but sound content, say another letter in a name: a signature refuses it.
                assert bundle.header != header_bytes()
                assert bundle.manifest != described_manifest()
        except BundleError:
            pass


@given(st.integers(HEADER * 8, len(SOUND) * 8 - 1))
@quick
def test_a_flipped_bit_behind_the_header_is_refused(bit: int) -> None:
    raw = bytearray(SOUND)
    raw[bit // 8] ^= 1 << bit % 8
    refuse(bytes(raw))


def test_every_byte_of_padding_is_checked_on_opening() -> None:
    holes = set(range(HEADER, PAYLOAD))
    end = PAYLOAD
    for blob in described_manifest().blobs:
        holes |= set(range(end, PAYLOAD + blob.offset))
        end = PAYLOAD + blob.offset + blob.length
    assert len(holes) > 100
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.orb"
        for hole in holes:
            raw = bytearray(SOUND)
            raw[hole] = 1
            path.write_bytes(raw)
            with pytest.raises(BundleError, match="padding"):
                Bundle.open(path)


@given(st.binary(max_size=400))
@quick
def test_noise_is_refused(noise: bytes) -> None:
    refuse(noise)
    refuse(MAGIC + noise)


@given(
    st.integers(0, len(BLOBS) - 1),
    st.sampled_from(["offset", "length"]),
    st.one_of(st.integers(-70_000, 200_000), st.integers(0, 1 << 40), st.integers(1 << 40, 1 << 70)),
)
@quick
def test_any_other_offset_or_length_is_refused(index: int, field: str, value: int) -> None:
    if value == msgspec.to_builtins(described_manifest())["blobs"][index][field]:
        return
    refuse(changed(lambda data: data["blobs"][index].update({field: value})))


@given(st.permutations(range(len(BLOBS))))
@quick
def test_blobs_in_another_order_are_refused(order: list[int]) -> None:
    if order == sorted(order):
        return
    refuse(changed(lambda data: data.update(blobs=[data["blobs"][n] for n in order])))


def test_overlapping_blobs_are_refused() -> None:
    message = refuse(changed(lambda data: data["blobs"][2].update(offset=data["blobs"][1]["offset"])))
    assert "begins at" in message


@pytest.mark.parametrize("length", [0, 1, MAX_MANIFEST_BYTES + 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_declared_header_length_is_not_believed(length: int) -> None:
    refuse(MAGIC + length.to_bytes(4, "little") + SOUND[12:])


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["blobs"][-1].update(length=1 << 40),
        lambda d: d["blobs"][-1].update(length=1 << 39, blocks=""),
        lambda d: d["golden"].update(shape=[1 << 20] * 8),
        lambda d: d["variants"][0]["inputs"][0].update(shape=[1 << 20] * 8),
        lambda d: d["inputs"][0].update(shape=[1, 1 << 20, 1 << 20]),
        lambda d: d["outputs"][0].update(shape=[1 << 20, 3]),
    ],
    ids=["length", "no-list", "golden", "tensor", "input", "output"],
)
def test_a_declared_size_allocates_nothing(change: object) -> None:
    refuse(changed(change))  # type: ignore[arg-type]


def test_a_long_header_is_not_read_though_the_file_has_it(tmp_path: Path) -> None:
    path = tmp_path / "x.orb"
    path.write_bytes(MAGIC + (1 << 28).to_bytes(4, "little"))
    os.truncate(path, 1 << 29)
    with pytest.raises(BundleError, match="declares a manifest of 268435456 bytes"), bounded():
        Bundle.open(path)


def test_a_file_cut_inside_its_header_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.orb"
    path.write_bytes(SOUND[: HEADER - 1])
    with pytest.raises(BundleError, match=f"ends inside its header, after {HEADER - 1} bytes"):
        Bundle.open(path)


def loosen(text: str) -> str:
    """Return other base64 for the same bytes: a digest of 32 leaves two bits of the last letter unused."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:-2] + letters[letters.index(text[-2]) + 1] + "="


LISTS: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "short": lambda text: text[4:],
    "long": lambda text: "AAAA" + text,
    "no padding": lambda text: text.rstrip("="),
    "space": lambda text: text + "\n",
    "letters": lambda text: "-_" + text[2:],
    "unicode": lambda text: "\u00e4" + text[1:],
    "loose": loosen,
}


@pytest.mark.parametrize("name", LISTS)
def test_a_block_list_of_another_form_is_refused_on_opening(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.orb"
    path.write_bytes(
        changed(lambda data: data["blobs"][0].update(blocks=LISTS[name](data["blobs"][0]["blocks"])))
    )
    with pytest.raises(BundleError, match="The block list of blob 'golden'"):
        Bundle.open(path)


@pytest.mark.parametrize("field", ["sha256", "blocks"])
def test_both_digests_of_a_blob_are_compared(field: str) -> None:
    other = {"sha256": "0" * 64, "blocks": "A" * 43 + "="}
    assert "Blob 'golden' is" in refuse(changed(lambda data: data["blobs"][0].update({field: other[field]})))


def test_a_huge_sparse_file_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.orb"
    path.write_bytes(SOUND)
    os.truncate(path, 1 << 36)
    with pytest.raises(BundleError, match="followed by something else"), bounded():
        Bundle.open(path)


def test_a_refusal_needs_no_address_space(tmp_path: Path) -> None:
    """A file of 64 GiB that declares as much is refused by a process that may not have 64 GiB."""
    blob = described_manifest().blobs[-1]
    length = (1 << 36) - blob.offset
    path = tmp_path / "x.orb"
    path.write_bytes(changed(lambda data: data["blobs"][-1].update(length=length)))
    os.truncate(path, PAYLOAD + (1 << 36))
    program = (
        "import resource, sys\n"
        "from outrider_bundle.container import Bundle\n"
        "from outrider_bundle.errors import BundleError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))\n"
        "try:\n    Bundle.open(sys.argv[1])\n"
        "except BundleError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert f"has {length} bytes and not 24" in done.stdout


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "not one of schema 1"),
        (b'{"a":' * 40_000 + b"1" + b"}" * 40_000, "not one of schema 1"),
        (b'{"name":"\xff\xfe"}', "not one of schema 1"),
        (b'{"schema":1e999}', "not one of schema 1"),
        (b'{"schema":' + b"9" * 5000 + b"}", "not one of schema 1"),
        (b"", "not one of schema 1"),
        (b"null", "not one of schema 1"),
        (b" " * (MAX_MANIFEST_BYTES + 1), "too long"),
    ],
    ids=["deep-list", "deep-table", "utf8", "float", "int", "empty", "null", "long"],
)
def test_hostile_json_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(BundleError, match=says):
        decode_manifest(raw)


def test_a_manifest_must_be_canonical() -> None:
    raw = encode_manifest(described_manifest())
    twice = raw.replace(b'"app":"sorting"', b'"app":"evil","app":"sorting"')
    spaced = raw.replace(b'"app":', b'"app": ')
    unsorted = msgspec.json.encode(described_manifest())
    escaped = raw.replace(b'"sorting"', b'"s\\u006frting"')
    for other in (twice, spaced, unsorted, escaped, raw + b"\n"):
        assert other != raw
        with pytest.raises(BundleError, match="canonical"):
            decode_manifest(other)


@given(st.data())
@quick
def test_a_manifest_of_any_shape_is_a_manifest_or_an_error(data: st.DataObject) -> None:
    """Replace one node of the manifest by anything: the answer is a Manifest or a BundleError."""
    tree = msgspec.json.decode(encode_manifest(described_manifest()))
    node, key = tree, data.draw(st.sampled_from(sorted(tree)))
    while isinstance(node[key], dict | list) and node[key] and data.draw(st.booleans()):
        node = node[key]
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    node[key] = data.draw(
        st.recursive(
            scalars, lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=3), c, max_size=3)
        )
    )
    raw = msgspec.json.encode(tree, order="sorted")
    try:
        manifest = decode_manifest(raw)
    except BundleError:
        return
    assert encode_manifest(manifest) == raw


def test_what_is_not_a_readable_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name in ("fifo", "empty", "loop", "socket", ".", "missing", "empty/below", "a\0b"):
            with pytest.raises(BundleError):
                Bundle.open(tmp_path / name)
    with pytest.raises(BundleError, match="not a file"):
        Bundle.open("/dev/zero")


def test_an_unreadable_file_is_refused() -> None:
    program = (
        "import os, sys\n"
        "from outrider_bundle.container import Bundle\n"
        "from outrider_bundle.errors import BundleError\n"
        "os.geteuid() or os.seteuid(65534)\n"
        "try:\n    Bundle.open(sys.argv[1])\n"
        "except BundleError as error:\n    print(error)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "x.orb"
        path.write_bytes(SOUND)
        path.chmod(0)
        argv = [sys.executable, "-c", program, str(path)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert "cannot be opened: Permission denied" in done.stdout
