"""Images: everything against the textbook's arithmetic in float64."""

import tracemalloc
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import ImagePreprocess, Input, Quantization, Tensor
from outrider_runtime import images
from outrider_runtime.images import BORDER, ImageWriter
from outrider_runtime.preprocess import Preprocessor, preprocessor

STEPS = {
    "float16": None,
    "float32": None,
    "float64": None,
    "int8": Quantization(scale=0.03, zero_point=-5),
    "uint8": Quantization(scale=0.02, zero_point=90),
    "int16": Quantization(scale=1e-4, zero_point=7),
    "int32": Quantization(scale=1e-6),
}
MEAN, STD = (0.4, 0.45, 0.5), (0.2, 0.25, 0.3)
HEIGHT, WIDTH = 48, 64
RANDOM = np.random.default_rng(1)


def shaped(layout: str, channels: int, height: int = HEIGHT, width: int = WIDTH) -> tuple[int, ...]:
    return (1, channels, height, width) if layout == "NCHW" else (1, height, width, channels)


def build(color: str, layout: str, dtype: str, **plan: object) -> tuple[Preprocessor, Tensor]:
    """Return a writer and its tensor; the logical input is NCHW, as exported models have it."""
    channels = 1 if color == "gray" else 3
    values: Any = {"color": color, "mean": MEAN[:channels], "std": STD[:channels]} | plan
    source = Input(
        name="x", shape=shaped("NCHW", channels), layout="NCHW", preprocess=ImagePreprocess(**values)
    )
    kind: Any = {"dtype": dtype, "layout": layout, "quantization": STEPS[dtype]}
    tensor = Tensor(name="x", shape=shaped(layout, channels), **kind)
    return preprocessor(source, tensor), tensor


def picture(height: int, width: int, channels: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, 3) if channels == 3 else (height, width), np.uint8)


def naive(frame: np.ndarray, color: str, tensor: Tensor) -> np.ndarray:
    """What the manifest says, on a frame of the model's size."""
    if color == "gray":
        pixels = (cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if frame.ndim == 3 else frame)[..., None]
    else:
        pixels = frame if frame.ndim == 3 else np.stack([frame] * 3, -1)
        pixels = pixels[..., ::-1] if color == "rgb" else pixels
    channels = pixels.shape[-1]
    values = (pixels / 255.0 - np.array(MEAN[:channels])) / np.array(STD[:channels])
    if tensor.quantization:
        limits = np.iinfo(tensor.dtype)
        values = np.rint(values / tensor.quantization.scale + tensor.quantization.zero_point)
        values = np.clip(values, limits.min, limits.max)
    return values.transpose(2, 0, 1) if tensor.layout == "NCHW" else values


@pytest.mark.parametrize("dtype", list(STEPS))
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", ["gray", "bgr", "rgb"])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_computes_what_the_textbook_computes(color: str, layout: str, dtype: str, channels: int) -> None:
    writer, tensor = build(color, layout, dtype)
    out = np.full(tensor.shape, 99, tensor.dtype)
    frame = picture(HEIGHT, WIDTH, channels)
    writer.write(frame, out)
    exact = 2e-3 if dtype == "float16" else 1e-5
    np.testing.assert_allclose(out[0].astype(float), naive(frame, color, tensor), atol=exact, rtol=0)


@pytest.mark.parametrize("color", ["gray", "bgr", "rgb"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_that_the_model_takes_as_they_are_stay_so(color: str, layout: str, channels: int) -> None:
    """A uint8 model that normalizes by itself: no table at all."""
    plan = ImagePreprocess(color=color, scale=1.0)  # type: ignore[arg-type]
    shape = shaped(layout, 1 if color == "gray" else 3)
    kind: Any = {"shape": shape, "layout": layout}
    writer = preprocessor(Input(name="x", preprocess=plan, **kind), Tensor(name="x", dtype="uint8", **kind))
    frame = picture(HEIGHT, WIDTH, channels)
    out = np.empty(shape, np.uint8)
    writer.write(frame, out)
    if color == "gray":
        wanted = (cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if channels == 3 else frame)[..., None]
    else:
        wanted = frame if channels == 3 else np.stack([frame] * 3, -1)
        wanted = wanted[..., ::-1] if color == "rgb" else wanted
    np.testing.assert_array_equal(out[0], wanted.transpose(2, 0, 1) if layout == "NCHW" else wanted)


@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("channels", [1, 3])
def test_one_mean_for_all_channels(color: str, channels: int) -> None:
    frame = picture(HEIGHT, WIDTH, channels)
    for layout in ("NCHW", "NHWC"):
        one, tensor = build(color, layout, "int8", mean=(0.5,), std=(0.2,))
        three, _ = build(color, layout, "int8", mean=(0.5,) * 3, std=(0.2,) * 3)
        out, other = np.empty(tensor.shape, np.int8), np.empty(tensor.shape, np.int8)
        one.write(frame, out)
        three.write(frame, other)
        np.testing.assert_array_equal(out, other)
        pixels = frame if channels == 3 else np.stack([frame] * 3, -1)
        pixels = pixels[..., ::-1] if color == "rgb" else pixels
        wanted = np.clip(np.rint((pixels / 255.0 - 0.5) / 0.2 / 0.03 - 5), -128, 127)
        np.testing.assert_array_equal(out[0], wanted.transpose(2, 0, 1) if layout == "NCHW" else wanted)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    channels=st.sampled_from([1, 3]),
    method=st.sampled_from(["linear", "nearest", "area"]),
)
def test_any_size_is_resized_as_opencv_does(height: int, width: int, channels: int, method: str) -> None:
    writer, tensor = build("bgr", "NCHW", "float32", interpolation=method)
    frame = picture(height, width, channels)
    out = np.empty(tensor.shape, np.float32)
    writer.write(frame, out)
    code = {"linear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST, "area": cv2.INTER_AREA}[method]
    same = frame.shape[:2] == (HEIGHT, WIDTH)
    small = frame if same else cv2.resize(frame, (WIDTH, HEIGHT), interpolation=code)
    np.testing.assert_allclose(out[0], naive(small, "bgr", tensor), atol=1e-5, rtol=0)


def bilinear(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixel centres at half integers, edges repeated."""
    rows = np.clip((np.arange(height) + 0.5) * frame.shape[0] / height - 0.5, 0, frame.shape[0] - 1)
    columns = np.clip((np.arange(width) + 0.5) * frame.shape[1] / width - 0.5, 0, frame.shape[1] - 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    low, right = np.minimum(top + 1, frame.shape[0] - 1), np.minimum(left + 1, frame.shape[1] - 1)
    down, across = (rows - top)[:, None], (columns - left)[None]
    grid = frame.astype(float)
    upper = grid[top][:, left] * (1 - across) + grid[top][:, right] * across
    lower = grid[low][:, left] * (1 - across) + grid[low][:, right] * across
    return upper * (1 - down) + lower * down


@pytest.mark.parametrize(("height", "width"), [(50, 70), (10, 12), (48, 31), (23, 64), (130, 97), (1, 1)])
def test_linear_is_within_a_gray_level_of_the_formula(height: int, width: int) -> None:
    writer, tensor = build("gray", "NCHW", "float64", mean=(0.0,), std=(1.0,), scale=1.0)
    frame = picture(height, width, 1)
    out = np.empty(tensor.shape)
    writer.write(frame, out)
    assert np.abs(out[0, 0] - bilinear(frame, HEIGHT, WIDTH)).max() <= 1.0


def test_gray_weighs_the_colours_as_bt601_does() -> None:
    writer, tensor = build("gray", "NHWC", "float64", mean=(0.0,), std=(1.0,), scale=1.0)
    frame = picture(HEIGHT, WIDTH, 3)
    out = np.empty(tensor.shape)
    writer.write(frame, out)
    assert np.abs(out[0, ..., 0] - frame @ np.array([0.114, 0.587, 0.299])).max() <= 1.0


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 150), st.integers(1, 150)), min_size=1, max_size=4),
    channels=st.sampled_from([1, 3]),
)
def test_letterbox_keeps_the_aspect_and_forgets_the_last_frame(
    sizes: list[tuple[int, int]], channels: int
) -> None:
    writer, tensor = build("bgr", "NHWC", "float32", resize="letterbox")
    out = np.empty(tensor.shape, np.float32)
    for height, width in sizes:
        frame = picture(height, width, channels)
        writer.write(frame, out)
        scale = min(HEIGHT / height, WIDTH / width)
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        assert rows == HEIGHT or columns == WIDTH
        canvas = np.full((HEIGHT, WIDTH, *frame.shape[2:]), BORDER, np.uint8)
        top, left = (HEIGHT - rows) // 2, (WIDTH - columns) // 2
        same = frame.shape[:2] == (rows, columns)
        canvas[top : top + rows, left : left + columns] = (
            frame if same else cv2.resize(frame, (columns, rows))
        )
        np.testing.assert_allclose(out[0], naive(canvas, "bgr", tensor), atol=1e-5, rtol=0)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (480, 640)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("color", "channels"), [("gray", 1), ("gray", 3), ("rgb", 1), ("rgb", 3), ("bgr", 3)]
)
@pytest.mark.parametrize("dtype", ["float32", "int8", "float16"])
def test_after_the_first_frame_nothing_is_allocated(
    color: str, channels: int, layout: str, size: tuple[int, int], resize: str, dtype: str
) -> None:
    height, width = size
    writer, tensor = build(color, layout, dtype, resize=resize)
    out = np.empty(tensor.shape, dtype)
    frame = picture(height, width, channels)
    writer.write(frame, out)
    tracemalloc.start()
    for _ in range(3):
        writer.write(frame, out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The smallest plane has 3 KB; views and the list that OpenCV returns are a few hundred bytes.
    assert peak < 2000


def test_frames_may_be_read_only_crops_or_mirrored() -> None:
    writer, tensor = build("rgb", "NCHW", "float32")
    big = picture(3 * HEIGHT, 3 * WIDTH, 3)
    big.flags.writeable = False
    for frame in (big, big[5:-5, 7:-3], big[::-1], big[:, ::-1], big[::3, ::3], big[..., ::-1]):
        out, wanted = np.empty(tensor.shape, np.float32), np.empty(tensor.shape, np.float32)
        writer.write(frame, out)
        writer.write(np.ascontiguousarray(frame), wanted)
        np.testing.assert_array_equal(out, wanted)


def test_memory_that_opencv_does_not_write_into_is_filled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its functions return other memory if they could not use ours."""
    writer, tensor = build("rgb", "NHWC", "float32", resize="letterbox")
    frame = picture(30, 70, 3)
    wanted, out = np.empty(tensor.shape, np.float32), np.zeros(tensor.shape, np.float32)
    writer.write(frame, wanted)
    for name in ("resize", "LUT", "merge", "cvtColor"):
        real = getattr(cv2, name)
        fresh = lambda *given, dst, real=real, **rest: real(*given, **rest)  # noqa: E731, ARG005 - one line
        monkeypatch.setattr(images.cv2, name, fresh)
    monkeypatch.setattr(images.cv2, "split", lambda pixels, _: [pixels[..., at] for at in range(3)])
    build("rgb", "NHWC", "float32", resize="letterbox")[0].write(frame, out)
    np.testing.assert_array_equal(out, wanted)


def test_what_opencv_refuses_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, tensor = build("rgb", "NCHW", "float32")

    def refuse(*_: object, **__: object) -> None:
        raise cv2.error("too large")

    monkeypatch.setattr(images.cv2, "resize", refuse)
    with pytest.raises(EngineError, match="too large"):
        writer.write(picture(5, 5, 3), np.empty(tensor.shape, np.float32))


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((8, 8), np.float32),
        np.zeros((8, 8), np.int8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros((0, 8), np.uint8),
        np.zeros((8, 0, 3), np.uint8),
        np.zeros(8, np.uint8),
        np.uint8(3),
    ],
)
def test_what_is_no_frame_is_refused(frame: np.ndarray) -> None:
    writer, tensor = build("rgb", "NCHW", "float32")
    with pytest.raises(EngineError, match=r"frame is.*BGR order"):
        writer.write(frame, np.empty(tensor.shape, np.float32))


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_not_the_tensor_is_refused(channels: int) -> None:
    writer, tensor = build("rgb", "NCHW", "int8")
    shape = tensor.shape
    wrong = [
        np.empty(shape, np.uint8),
        np.empty(shape[1:], np.int8),
        np.empty((1, 3, WIDTH, HEIGHT), np.int8),
        np.empty((*shape[:3], 2 * WIDTH), np.int8)[..., ::2],
    ]
    for out in wrong:
        with pytest.raises(EngineError, match="input 'x'"):
            writer.write(picture(HEIGHT, WIDTH, channels), out)


@pytest.mark.parametrize(
    ("color", "shape", "layout", "dtype", "mean", "message"),
    [
        ("rgb", (1, 1, 8, 8), "NCHW", "float32", (0.0,), "not 1 channels"),
        ("gray", (1, 3, 8, 8), "NCHW", "float32", (0.0,), "cannot fill"),
        ("gray", (2, 1, 8, 8), "NCHW", "float32", (0.0,), "cannot fill"),
        ("gray", (1, 8, 8), "NCHW", "float32", (0.0,), "cannot fill"),
        ("gray", (1, 64), "NC", "float32", (0.0,), "cannot fill"),
        ("rgb", (1, 3, 8, 9), "NCHW", "float32", (0.0,), "cannot fill"),
        ("rgb", (1, 8, 8, 3), "NCHW", "float32", (0.0,), "cannot fill"),
        ("rgb", (1, 3, 8, 8), "NCHW", "int64", (0.0,), "cannot fill"),
        ("rgb", (1, 3, 8, 8), "NCHW", "float32", (0.1, 0.2), "mean and std have 2 and 1"),
    ],
)
def test_contradictions_are_refused(
    color: str, shape: tuple[int, ...], layout: str, dtype: str, mean: tuple[float, ...], message: str
) -> None:
    channels = 1 if color == "gray" or 1 in shape[1:] else 3
    values: Any = {"color": color, "mean": mean}
    kind: Any = {"shape": shape, "layout": layout, "dtype": dtype}
    source = Input(name="x", shape=(1, channels, 8, 8), layout="NCHW", preprocess=ImagePreprocess(**values))
    with pytest.raises(EngineError, match=message):
        preprocessor(source, Tensor(name="x", **kind))


def test_two_writers_do_not_share_memory() -> None:
    (one, tensor), (other, _) = build("rgb", "NCHW", "float32"), build("rgb", "NCHW", "float32")
    assert isinstance(one, ImageWriter)
    frames = [picture(9, 9, 3), picture(9, 9, 3)]
    outs = [np.empty(tensor.shape, np.float32) for _ in range(4)]
    one.write(frames[0], outs[0])
    other.write(frames[1], outs[1])
    one.write(frames[0], outs[2])
    np.testing.assert_array_equal(outs[0], outs[2])
    assert not np.array_equal(outs[0], outs[1])
