"""Slots: whole or not there, whatever happens."""

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from outrider_bundle.container import Bundle
from outrider_bundle.errors import BundleError, OutriderError
from outrider_bundle.slot import HEADER, Slot, unpack
from tests.fakes.bundles import BLOBS, header_bytes, write_tiny

INT8 = {"golden", "int8-expected", "int8-graph", "int8-weights"}
FLOAT = {"golden", "float-expected", "float-model"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.orb"
    write_tiny(path)
    return path


@pytest.fixture
def slots(tmp_path: Path) -> Path:
    return tmp_path / "state" / "slots"


def put(path: Path, slots: Path, *variants: str) -> Path:
    with Bundle.open(path) as bundle:
        return unpack(bundle, variants, slots)


def names(slot: Path) -> set[str]:
    return {one.name for one in slot.iterdir()}


def test_a_slot_holds_one_file_for_each_blob_of_its_variants(path: Path, slots: Path) -> None:
    place = put(path, slots, "null-int8")
    with Bundle.open(path) as bundle:
        assert place == slots / bundle.digest
    assert names(place) == INT8 | {HEADER}
    assert (place / HEADER).read_bytes() == header_bytes()
    slot = Slot.open(place)
    assert {role: file.read_bytes() for role, file in slot.files("null-int8").items()} == {
        "graph": BLOBS["int8-graph"],
        "weights": BLOBS["int8-weights"],
    }
    assert slot.read("golden") == BLOBS["golden"]
    assert [variant.id for variant in slot.variants] == ["null-int8"]
    with pytest.raises(BundleError, match="lacks float-model of 'null-float32'"):
        slot.files("null-float32")
    with pytest.raises(BundleError, match="lacks the blob 'float-model'"):
        slot.read("float-model")
    with pytest.raises(BundleError, match=r"no variant 'null-int4'.*null-int8"):
        slot.files("null-int4")


def test_unpacking_again_changes_nothing(path: Path, slots: Path) -> None:
    place = put(path, slots, "null-int8")
    before = {one: (place / one).stat().st_ino for one in names(place)}
    assert put(path, slots, "null-int8") == place
    assert {one: (place / one).stat().st_ino for one in names(place)} == before


def test_another_variant_is_added(path: Path, slots: Path) -> None:
    put(path, slots, "null-int8")
    place = put(path, slots, "null-float32")
    assert names(place) == INT8 | FLOAT | {HEADER}
    assert [variant.id for variant in Slot.open(place).variants] == ["null-int8", "null-float32"]


def test_an_unknown_variant_leaves_nothing(path: Path, slots: Path) -> None:
    with pytest.raises(BundleError, match="no variant 'x'"):
        put(path, slots, "null-int8", "x")
    assert not slots.exists()


def damage_first_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": damage_first_byte,
    "short": lambda file: os.truncate(file, file.stat().st_size - 1),
    "long": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "empty": lambda file: os.truncate(file, 0),
    "linked": lambda file: (file.rename(file.with_name(".away")), file.symlink_to(file.with_name(".away"))),
    "fifo": lambda file: (file.unlink(), os.mkfifo(file)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["int8-weights", "float-model", "golden", HEADER])
def test_damage_is_noticed_on_opening_and_repaired_by_unpacking(
    path: Path, slots: Path, name: str, damage: str
) -> None:
    place = put(path, slots, "null-int8", "null-float32")
    DAMAGES[damage](place / name)
    with pytest.raises(BundleError):
        Slot.open(place)
    put(path, slots, "null-int8", "null-float32")
    assert Slot.open(place).read("golden") == BLOBS["golden"]
    assert (place / name).read_bytes() == (BLOBS | {HEADER: header_bytes()})[name]


def test_a_damaged_blob_of_another_variant_is_removed(path: Path, slots: Path) -> None:
    place = put(path, slots, "null-int8", "null-float32")
    damage_first_byte(place / "float-model")
    put(path, slots, "null-int8")
    assert [variant.id for variant in Slot.open(place).variants] == ["null-int8"]


def test_damage_after_opening_is_noticed_on_reading(path: Path, slots: Path) -> None:
    slot = Slot.open(put(path, slots, "null-int8"))
    damage_first_byte(slot.path / "golden")
    with pytest.raises(BundleError, match="damaged"):
        slot.read("golden")


def test_a_slot_under_another_name_is_refused_and_a_link_to_one_is_not(path: Path, slots: Path) -> None:
    place = put(path, slots, "null-int8")
    (slots / "current").symlink_to(place)
    assert Slot.open(slots / "current").digest == place.name
    other = slots / ("0" * 64)
    place.rename(other)
    with pytest.raises(BundleError, match="not that of its name"):
        Slot.open(other)
    with pytest.raises(BundleError, match="cannot be read"):
        Slot.open(place)


def test_a_damaged_bundle_leaves_no_slot(path: Path, slots: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(BundleError, match="damaged"):
        put(path, slots, "null-float32")
    assert names(slots) == {".lock"}
    put(path, slots, "null-int8")


def test_a_full_disk_leaves_no_slot(path: Path, slots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutriderError, match="No space left"):
        put(path, slots, "null-int8")
    assert names(slots) == {".lock"}


def test_a_place_that_cannot_be_written_to_is_one_error(path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutriderError, match="cannot be written"):
        put(path, tmp_path / "file" / "slots", "null-int8")


def test_contents_are_on_the_disk_before_names(
    path: Path, slots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that survived real power cuts: files, their folder, the rename, the folder above."""
    slots.mkdir(parents=True)
    done: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        done.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    place = put(path, slots, "null-int8")
    files, rest = done[:5], done[5:]
    assert set(files) == INT8 | {HEADER}
    assert rest == [f".{place.name}.part", "rename", "slots"]


def kill_at(step: int, act: Callable[[], object]) -> bool:
    """Run `act` in a child that dies at its file operation number `step`; tell if it came so far."""
    child = os.fork()
    if child == 0:
        left = step

        def audit(event: str, _args: object) -> None:
            nonlocal left
            if event in {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}:
                left -= 1
                if left < 0:
                    os._exit(9)

        sys.addaudithook(audit)
        with contextlib.suppress(BaseException):
            act()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("start", ["nothing", "other variant", "damaged"])
def test_a_kill_at_any_step_leaves_the_old_slot_or_the_new(path: Path, tmp_path: Path, start: str) -> None:
    step = 0
    while True:
        slots = tmp_path / f"slots{step}"
        before = prepare(path, slots, start)
        died = kill_at(step, lambda at=slots: put(path, at, "null-int8"))  # type: ignore[misc]
        for place in slots.glob("[0-9a-f]*"):
            try:
                slot = Slot.open(place)
            except BundleError:
                assert start == "damaged"
            else:
                assert "null-int8" in {v.id for v in slot.variants} or slot.present >= before
        place = put(path, slots, "null-int8")
        assert Slot.open(place).files("null-int8")
        assert names(slots) == {".lock", place.name}
        assert names(place) <= INT8 | FLOAT | {HEADER}
        if not died:
            break
        step += 1
    assert step > 5


def prepare(path: Path, slots: Path, start: str) -> set[str]:
    if start == "nothing":
        return set()
    place = put(path, slots, "null-float32" if start == "other variant" else "null-int8")
    if start == "damaged":
        damage_first_byte(place / "int8-weights")
    return set(Slot.open(place).present) if start == "other variant" else set()


def test_two_at_once_do_not_disturb_one_another(path: Path, slots: Path) -> None:
    failures: list[BaseException] = []

    def work(variant: str) -> None:
        try:
            put(path, slots, variant)
        except BaseException as error:  # noqa: BLE001 - reported by the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(v,)) for v in ("null-int8", "null-float32") * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    (place,) = slots.glob("[0-9a-f]*")
    assert Slot.open(place).present == set(BLOBS)
