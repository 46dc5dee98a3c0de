"""Folders of images and arrays in files become data in three parts."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from outrider_bundle.errors import DataError, UsageError
from outrider_converter.dataset import Dataset, load_dataset
from outrider_converter.measure import Cost
from outrider_converter.recipe import Recipe, read_recipe
from outrider_converter.reference import Reference, answered
from tests.fakes.toy import write_toy

DATA = 'callable = "data:split"\nlabels = "data:LABELS"'
SOURCE = np.random.default_rng(0)


def recipe_for(folder: Path, data: str, *more: tuple[str, str]) -> Recipe:
    return read_recipe(write_toy(folder, (DATA, data), *more))


def write_images(folder: Path, count: int, size: tuple[int, int] = (12, 12), first: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        image = SOURCE.integers(0, 256, (*size, 3)).astype(np.uint8)
        image[0, 0] = number
        cv2.imwrite(str(folder / f"{number:03}.png"), image)


def load(folder: Path, data: str, *more: tuple[str, str]) -> Dataset:
    return load_dataset(recipe_for(folder, data, *more), folder)


def rows(data: Dataset, part: str) -> set[bytes]:
    return {bytes(frame.tobytes()) for frame in getattr(data, part).frames}


def test_a_folder_a_class_is_divided_class_by_class(tmp_path: Path) -> None:
    for name, count in (("cat", 20), ("ant", 40)):
        write_images(tmp_path / "images" / name, count)
    data = load(tmp_path, 'folder = "images"\nvalidation = 0.2\ntest = 0.1')
    assert data.labels == ("ant", "cat")
    assert data.metric == "accuracy"
    counts = {
        part: np.bincount(getattr(data, part).labels).tolist() for part in ("train", "validation", "test")
    }
    assert counts == {"train": [28, 14], "validation": [8, 4], "test": [4, 2]}
    assert not rows(data, "train") & rows(data, "validation") | rows(data, "train") & rows(data, "test")
    assert data.train.frames.shape == (42, 12, 12)
    assert data.train.frames.dtype == np.uint8


def test_the_seed_alone_decides_who_is_where(tmp_path: Path) -> None:
    write_images(tmp_path / "images" / "cat", 30)
    one, two = (load(tmp_path, 'folder = "images"') for _ in range(2))
    other = load(tmp_path, 'folder = "images"', ("seed = 3", "seed = 4"))
    assert one.test.digest() == two.test.digest()
    assert one.test.digest() != other.test.digest()


def test_parts_with_folders_in_each(tmp_path: Path) -> None:
    write_images(tmp_path / "images" / "train", 12)  # unlabelled
    for part in ("val", "test"):
        for name in ("b", "a"):
            write_images(tmp_path / "images" / part / name, 2)
    data = load(tmp_path, 'folder = "images"\nclasses = ["b", "a", "c"]')
    assert data.labels == ("b", "a", "c")
    assert data.train.labels.tolist() == [-1] * 12
    assert data.validation.labels.tolist() == [1, 1, 0, 0]
    assert data.metric == "accuracy"


def test_without_labels_the_teacher_answers(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 20)
    data = load(tmp_path, 'folder = "images"\nclasses = ["a", "b"]')
    assert data.metric == "agreement"
    reference = Reference(
        cost=Cost(params=0, macs=0),
        digest="",
        validation=np.array([1, 0]),
        test=np.array([0, 1]),
        files={},
    )
    full = answered(data, reference)
    assert full.validation.labels.tolist() == [1, 0]
    assert full.test.labels.tolist() == [0, 1]
    assert full.train.labels.tolist() == [-1] * 16
    assert full.metric == "agreement"


def test_without_class_names_the_cosine_counts(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 20)
    data = load(tmp_path, 'folder = "images"')
    assert (data.labels, data.metric) == ((), "cosine")
    assert data.train.labels.tolist() == [0] * 16


COLOR = ('color = "gray"', 'color = "rgb"'), ("shape = [1, 1, 12, 12]", "shape = [1, 3, 12, 12]")


def test_images_of_any_size_are_brought_to_the_inputs(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 6, (24, 24))
    write_images(tmp_path / "images", 6, (12, 12), first=6)
    data = load(tmp_path, 'folder = "images"', *COLOR)
    frames = np.concatenate([data.train.frames, data.validation.frames, data.test.frames])
    assert frames.shape == (12, 12, 12, 3)
    for number in range(12):
        image = cv2.imread(str(tmp_path / "images" / f"{number:03}.png"))
        assert image is not None
        wanted = cv2.resize(image, (12, 12)) if number < 6 else image
        assert any((wanted == frame).all() for frame in frames)


def test_the_recipe_tells_how_to_resize(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 3, (6, 12))
    letterbox = ('color = "rgb"', 'color = "rgb"\nresize = "letterbox"')
    data = load(tmp_path, 'folder = "images"', *COLOR, letterbox)
    frames = np.concatenate([data.train.frames, data.validation.frames, data.test.frames])
    assert (frames[:, :3] == 114).all()
    assert (frames[:, 9:] == 114).all()
    assert not (frames[:, 3:9] == 114).all()


def test_gray_frames_are_what_the_device_makes_of_colour(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 3, (12, 12))
    data = load(tmp_path, 'folder = "images"')
    frames = np.concatenate([data.train.frames, data.validation.frames, data.test.frames])
    image = cv2.imread(str(tmp_path / "images" / "000.png"))
    assert image is not None
    assert any((cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) == frame).all() for frame in frames)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + bytes(30)])
def test_an_unreadable_image_is_named(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "images" / "cat", 4)
    (tmp_path / "images" / "cat" / "bad.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"cat/bad\.jpg is not an image"):
        load(tmp_path, 'folder = "images"')
    assert capfd.readouterr() == ("", "")


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no folder .*images"):
        load(tmp_path, 'folder = "images"')
    (tmp_path / "images" / "empty").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no images"):
        load(tmp_path, 'folder = "images"')
    write_images(tmp_path / "images" / "cat", 4)
    with pytest.raises(DataError, match=r"class 'cat', which is not among the 1 class names"):
        load(tmp_path, 'folder = "images"\nclasses = ["dog"]')
    write_images(tmp_path / "images", 1)
    with pytest.raises(DataError, match=r"images such as 000\.png beside folders such as cat"):
        load(tmp_path, 'folder = "images"')


def test_an_input_that_is_no_image(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 4)
    array = ('kind = "image"\ncolor = "gray"', 'kind = "array"'), ("shape = [1, 1, 12, 12]", "shape = [1, 4]")
    rest = ('layout = "NCHW"', 'layout = "NC"'), ("shift = 1\n", ""), ('family = "res-cnn"', 'family = "mlp"')
    with pytest.raises(DataError, match=r'Set input\.preprocess\.kind = "image"'):
        load(tmp_path, 'folder = "images"', *array, *rest)


def test_too_few_to_divide(tmp_path: Path) -> None:
    write_images(tmp_path / "images" / "cat", 2)
    with pytest.raises(DataError, match="nothing is left for validation and test"):
        load(tmp_path, 'folder = "images"')


def test_only_one_of_two_parts_with_labels(tmp_path: Path) -> None:
    write_images(tmp_path / "images" / "train", 3)
    write_images(tmp_path / "images" / "validation" / "a", 3)
    write_images(tmp_path / "images" / "test", 3)
    with pytest.raises(DataError, match="The test data has no labels"):
        load(tmp_path, 'folder = "images"')


def images(count: int) -> NDArray[np.uint8]:
    return SOURCE.integers(0, 256, (count, 12, 12)).astype(np.uint8)


def test_one_array_is_divided(tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    labels[:12] = -1
    np.savez(tmp_path / "d.npz", x=images(60), y=labels)
    data = load(tmp_path, 'npz = "d.npz"\nclasses = ["a", "b", "c"]')
    assert [len(data.train), len(data.validation), len(data.test)] == [48, 6, 6]
    assert (data.train.labels == -1).sum() == 12
    assert data.validation.labels.min() == 0


def test_arrays_by_part_and_classes_by_name(tmp_path: Path) -> None:
    names = np.array(["dog", "ant", "dog", "ant", "dog", "ant"])
    np.savez(tmp_path / "d.npz", x_train=images(6), y_train=names, x_test=images(2), y_test=names[:2])
    data = load(tmp_path, 'npz = "d.npz"')
    assert data.labels == ("ant", "dog")
    assert data.test.labels.tolist() == [1, 0]
    assert len(data.train) + len(data.validation) == 6
    assert sorted(set(data.validation.labels)) == [0, 1]


def test_numbers_without_names_are_their_own(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=images(40), y=np.arange(40) % 4)
    assert load(tmp_path, 'npz = "d.npz"').labels == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"z": np.zeros(3)}, "holds z"),
        ({"x": images(4), "y": np.zeros(3, int)}, "has 4 frames in x, and y has shape (3,)"),
        ({"x": np.array([{}, {}], object)}, "plain arrays only"),
        ({"x": np.array(3)}, "is a single number"),
        ({"x": images(9), "y": np.zeros(9)}, "labels are float64"),
        ({"x": np.zeros((9, 12, 12)), "y": np.zeros(9, int)}, "frames are float64, images are uint8"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, NDArray[np.generic]], said: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError) as caught:
        load(tmp_path, 'npz = "d.npz"')
    assert said in str(caught.value)


@pytest.mark.parametrize("labels", [np.arange(40) % 2 * 2 - 1, np.arange(40) + 10**12])
def test_numbers_that_cannot_be_classes_are_refused(tmp_path: Path, labels: NDArray[np.int64]) -> None:
    np.savez(tmp_path / "d.npz", x=images(40), y=labels)
    with pytest.raises(DataError, match=r"no class has a name\. Number the classes from 0"):
        load(tmp_path, 'npz = "d.npz"')


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 half"])
def test_a_broken_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"d\.npz cannot be read"):
        load(tmp_path, 'npz = "d.npz"')
    with (tmp_path / "d.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(DataError, match=r"d\.npz cannot be read"):
        load(tmp_path, 'npz = "d.npz"')
    (tmp_path / "d.npz").unlink()
    with pytest.raises(DataError, match=r"There is no file .*d\.npz"):
        load(tmp_path, 'npz = "d.npz"')


def test_keys_of_tables_are_refused_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.group is for tables, and the data comes from data\.npz"):
        load(tmp_path, 'npz = "d.npz"\ngroup = "who"')
    with pytest.raises(UsageError, match=r"both data\.labels and data\.classes"):
        load(tmp_path, 'npz = "d.npz"\nlabels = "data:LABELS"\nclasses = ["a"]')
