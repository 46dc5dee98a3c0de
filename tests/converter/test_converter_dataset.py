"""Data that does not fit is refused before anything is computed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from outrider_bundle.errors import DataError
from outrider_converter.dataset import load_dataset
from outrider_converter.recipe import read_recipe
from outrider_converter.tensors import Normalizer, logical_input, prepare
from tests.fakes.toy import write_toy

FEATURES = (
    ("shape = [1, 1, 12, 12]", "shape = [1, 4]"),
    ('layout = "NCHW"', 'layout = "NC"'),
    ('kind = "image"\ncolor = "gray"', 'kind = "array"'),
    ("shift = 1\n", ""),
    ('family = "res-cnn"\nwidth = 8', 'callable = "models:teacher"'),
)


def load(folder: Path, source: str, *changes: tuple[str, str]) -> None:
    path = write_toy(folder, *changes)
    if source:
        (folder / "data.py").write_text(f"import numpy as np\nLABELS = ('a', 'b')\n{source}\n")
    load_dataset(read_recipe(path), folder)


def parts(frames: str, labels: str) -> str:
    return f"def split():\n    return {{p: ({frames}, {labels}) for p in ('train', 'validation', 'test')}}"


IMAGES = "np.zeros((4, 12, 12), np.uint8)"
FLOATS = "np.ones((4, 4), np.float32)"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("LABELS = 3\n" + parts(IMAGES, "[0, 1, 0, 1]"), "not a list of class names"),
        ("LABELS = ('a', 'a')\n" + parts(IMAGES, "[0, 1, 0, 1]"), "a name twice"),
        ("def split():\n    return {'train': 1}", "does not return the parts"),
        ("def split():\n    return dict.fromkeys(('train', 'validation', 'test'), 5)", "not a pair"),
        (parts("np.zeros((0, 12, 12), np.uint8)", "[]"), "is empty"),
        (parts(IMAGES, "[0, 1]"), "4 frames and labels of shape (2,)"),
        (parts(IMAGES, "[0, 1, 2, 1]"), "from 0 to 2, there are 2 class names"),
        (parts(IMAGES, "[0, 1, -1, 1]"), "The validation labels reach from -1 to 1"),
        (parts(IMAGES, "[0, 1, -2, 1]"), "The train labels reach from -2 to 1"),
        (parts(IMAGES, "[0.0, 1.0, 0.0, 1.0]"), "labels are float64"),
        (parts("np.zeros((4, 12, 12), np.float32)", "[0, 1, 0, 1]"), "frames are float32, images are uint8"),
        (parts("np.zeros((4, 144), np.uint8)", "[0, 1, 0, 1]"), "shape (4, 144)"),
        ("def split():\n    raise FileNotFoundError('/data/train.gz')", "/data/train.gz"),
    ],
)
def test_images_that_do_not_fit(tmp_path: Path, source: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, source)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ("np.array([[1, 2, 3, np.nan]] * 4)", "4 of the train frames hold NaN"),
        ("np.array([[1, 2, 3, np.inf]] + [[0] * 4] * 3)", "1 of the train frames hold NaN or infinity"),
        ("np.ones((4, 5))", "shape (5,), the input has (4,)"),
        ("np.full((4, 4), 'x')", "frames are <U1"),
    ],
)
def test_features_that_do_not_fit(tmp_path: Path, frames: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, parts(frames, "[0, 1, 0, 1]"), *FEATURES)
    assert said in str(caught.value)


NO_NAMES = ('labels = "data:LABELS"\n', "")


def test_labels_may_be_left_out(tmp_path: Path) -> None:
    source = f"LABELS = ('a', 'b')\nimport numpy as np\n{parts(IMAGES, 'None')}"
    path = write_toy(tmp_path / "named")
    (tmp_path / "named" / "data.py").write_text(source)
    data = load_dataset(read_recipe(path), tmp_path / "named")
    assert (data.metric, data.train.labels.tolist()) == ("agreement", [-1] * 4)
    path = write_toy(tmp_path / "bare", NO_NAMES)
    (tmp_path / "bare" / "data.py").write_text(source)
    data = load_dataset(read_recipe(path), tmp_path / "bare")
    assert (data.metric, data.labels, data.test.labels.tolist()) == ("cosine", (), [0] * 4)


def test_labels_need_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there are no class names.*data\.classes"):
        load(tmp_path, parts(IMAGES, "[0, 1, 0, 1]"), NO_NAMES)


def test_some_training_samples_may_be_unlabelled(tmp_path: Path) -> None:
    source = (
        "def split():\n"
        f"    full = ({IMAGES}, [0, 1, 0, 1])\n"
        f"    return {{'train': ({IMAGES}, [0, -1, 0, -1]), 'validation': full, 'test': full}}"
    )
    path = write_toy(tmp_path)
    (tmp_path / "data.py").write_text(f"import numpy as np\nLABELS = ('a', 'b')\n{source}\n")
    data = load_dataset(read_recipe(path), tmp_path)
    assert (data.metric, data.train.labels.tolist()) == ("accuracy", [0, -1, 0, -1])


def test_the_cure_of_the_recipe_is_given(tmp_path: Path) -> None:
    cure = ('labels = "data:LABELS"', 'labels = "data:LABELS"\ncure = "sudo apt install the-data"')
    with pytest.raises(DataError, match="sudo apt install the-data"):
        load(tmp_path, "def split():\n    raise FileNotFoundError('x')", cure)


def test_digests_tell_frames_and_labels_apart(tmp_path: Path) -> None:
    data = load_dataset(read_recipe(write_toy(tmp_path)), tmp_path)
    assert len(data.train) == 768
    assert data.labels == ("left", "middle", "right")
    assert len({data.train.digest(), data.validation.digest(), data.test.digest()}) == 3
    data.test.labels[0] = 2
    changed = data.test.digest()
    data.test.labels[0] = 0
    assert changed != data.test.digest()


def test_frames_are_normalized_as_the_manifest_says(tmp_path: Path) -> None:
    entry = logical_input(read_recipe(write_toy(tmp_path)))
    frames = np.arange(2 * 144, dtype=np.uint8).reshape(2, 12, 12)
    prepared = prepare(frames, entry)
    assert prepared.shape == (2, 1, 12, 12)
    assert prepared.dtype == torch.uint8
    values = Normalizer(entry)(prepared)
    assert np.allclose(values[:, 0].numpy(), (frames / 255 - 0.4) / 0.25, atol=1e-6)
    assert values.is_contiguous(memory_format=torch.channels_last)


def test_frames_of_another_size_are_resized(tmp_path: Path) -> None:
    entry = logical_input(read_recipe(write_toy(tmp_path)))
    frames = np.zeros((2, 24, 24), np.uint8)
    frames[:, :, 12:] = 200
    prepared = prepare(frames, entry)
    assert prepared.shape == (2, 1, 12, 12)
    assert prepared[0, 0, 5, :5].tolist() == [0] * 5
    assert prepared[0, 0, 5, 7:].tolist() == [200] * 5


def test_frames_of_several_sizes_are_one_message(tmp_path: Path) -> None:
    source = parts("[np.zeros((12, 12), np.uint8), np.zeros((9, 12), np.uint8)]", "np.zeros(2, int)")
    with pytest.raises(DataError, match="not all of one shape"):
        load(tmp_path, source)
