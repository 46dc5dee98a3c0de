import tracemalloc
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import ArrayPreprocess, Dtype, ImagePreprocess, Input, Quantization, Tensor
from outrider_runtime.preprocess import BORDER, Preprocessor, preprocessor

STEPS = {
    "float32": None,
    "int8": Quantization(scale=0.03, zero_point=-5),
    "uint8": Quantization(scale=0.02, zero_point=90),
}
HEIGHT, WIDTH = 24, 32


def build(color: str, layout: str, dtype: str, resize: str = "stretch") -> tuple[Any, Tensor]:
    kind: Any
    channels = 1 if color == "gray" else 3
    shape = (1, channels, HEIGHT, WIDTH) if layout == "NCHW" else (1, HEIGHT, WIDTH, channels)
    mean, std = (0.4, 0.45, 0.5)[:channels], (0.2, 0.25, 0.3)[:channels]
    plan = ImagePreprocess(color=color, resize=resize, mean=mean, std=std)  # type: ignore[arg-type]
    given_: Any = Input(name="x", shape=shape, layout=layout, preprocess=plan)  # type: ignore[arg-type]
    kind = {"dtype": dtype, "layout": layout}
    tensor = Tensor(name="x", shape=shape, quantization=STEPS[dtype], **kind)
    return preprocessor(given_, tensor), tensor


def naive(frame: np.ndarray, color: str, tensor: Tensor) -> np.ndarray:
    """The textbook way, in float64."""
    if color == "gray":
        pixels = (cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if frame.ndim == 3 else frame)[..., None]
    else:
        pixels = frame if frame.ndim == 3 else np.stack([frame] * 3, -1)
        pixels = pixels[..., ::-1] if color == "rgb" else pixels
    channels = pixels.shape[-1]
    values = (pixels / 255.0 - np.array([0.4, 0.45, 0.5][:channels])) / np.array([0.2, 0.25, 0.3][:channels])
    if tensor.quantization:
        info = np.iinfo(tensor.dtype)
        values = np.rint(values / tensor.quantization.scale + tensor.quantization.zero_point)
        values = np.clip(values, info.min, info.max)
    return values.transpose(2, 0, 1) if tensor.layout == "NCHW" else values


@pytest.mark.parametrize("dtype", list(STEPS))
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", ["gray", "bgr", "rgb"])
@pytest.mark.parametrize("channels", [1, 3])
def test_it_computes_what_the_textbook_computes(color: str, layout: str, dtype: str, channels: int) -> None:
    writer, tensor = build(color, layout, dtype)
    out = np.full(tensor.shape, 99, tensor.dtype)
    shape = (HEIGHT, WIDTH, 3) if channels == 3 else (HEIGHT, WIDTH)
    frame = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    writer.write(frame, out)
    np.testing.assert_allclose(out[0].astype(float), naive(frame, color, tensor), atol=1e-5, rtol=0)


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90), channels=st.sampled_from([1, 3]))
def test_any_size_is_resized_as_opencv_does(height: int, width: int, channels: int) -> None:
    writer, tensor = build("bgr", "NCHW", "float32")
    shape = (height, width, 3) if channels == 3 else (height, width)
    frame = np.random.default_rng(height * 91 + width).integers(0, 256, shape, np.uint8)
    out = np.empty(tensor.shape, np.float32)
    writer.write(frame, out)
    same = frame if frame.shape[:2] == (HEIGHT, WIDTH) else cv2.resize(frame, (WIDTH, HEIGHT))
    np.testing.assert_allclose(out[0], naive(same, "bgr", tensor), atol=1e-5, rtol=0)


def test_letterbox_keeps_the_aspect_and_forgets_the_last_frame() -> None:
    writer, tensor = build("bgr", "NHWC", "float32", "letterbox")
    out = np.empty(tensor.shape, np.float32)
    random = np.random.default_rng(2)
    writer.write(random.integers(0, 256, (HEIGHT * 2, WIDTH * 2, 3), np.uint8), out)
    tall = random.integers(0, 256, (48, 24, 3), np.uint8)
    writer.write(tall, out)
    canvas = np.full((HEIGHT, WIDTH, 3), BORDER, np.uint8)
    canvas[:, 10:22] = cv2.resize(tall, (12, HEIGHT))
    np.testing.assert_allclose(out[0], naive(canvas, "bgr", tensor), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_after_the_first_frame_nothing_of_its_size_is_allocated(color: str, layout: str) -> None:
    writer, tensor = build(color, layout, "float32", "letterbox")
    out = np.empty(tensor.shape, np.float32)
    frame = np.random.default_rng(3).integers(0, 256, (480, 640, 3), np.uint8)
    writer.write(frame, out)
    tracemalloc.start()
    writer.write(frame, out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < HEIGHT * WIDTH


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((8, 8), np.float32),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros((0, 8), np.uint8),
        np.zeros(8, np.uint8),
    ],
)
def test_what_is_no_frame_is_refused(frame: np.ndarray) -> None:
    writer, tensor = build("rgb", "NCHW", "float32")
    with pytest.raises(EngineError, match="frame is"):
        writer.write(frame, np.empty(tensor.shape, np.float32))


def test_channels_that_contradict_the_tensor_are_refused() -> None:
    plan = ImagePreprocess(color="rgb")
    wrong = Input(name="x", shape=(1, 1, 8, 8), layout="NCHW", preprocess=plan)
    with pytest.raises(EngineError, match="cannot fill"):
        preprocessor(wrong, Tensor(name="x", shape=(1, 1, 8, 8), dtype="float32", layout="NCHW"))


def array_writer(dtype: Dtype = "float32", quantization: Quantization | None = None) -> Preprocessor:
    plan = ArrayPreprocess(mean=(1.0, 2.0), std=(2.0, 4.0))
    source = Input(name="x", shape=(1, 3, 2), layout="NTC", preprocess=plan)
    tensor = Tensor(name="x", shape=(1, 3, 2), dtype=dtype, layout="NTC", quantization=quantization)
    return preprocessor(source, tensor)


def test_arrays_are_normalized_by_feature() -> None:
    out = np.empty((1, 3, 2), np.float32)
    array_writer().write(np.array([[1, 2], [3, 6], [5, 10]], np.float32), out)
    np.testing.assert_allclose(out[0], [[0, 0], [1, 1], [2, 2]])


def test_arrays_are_quantized_with_clipping() -> None:
    out = np.empty((1, 3, 2), np.int8)
    array_writer("int8", Quantization(scale=0.5, zero_point=3)).write(
        np.array([[1, 2], [3, 6], [999, -999]]), out
    )
    assert out[0].tolist() == [[3, 3], [5, 5], [127, -128]]


@pytest.mark.parametrize("sample", [np.zeros((2, 2)), np.full((3, 2), np.nan), np.zeros(6)])
def test_samples_that_do_not_fit_or_are_nan_are_refused(sample: np.ndarray) -> None:
    with pytest.raises(EngineError, match="sample"):
        array_writer().write(sample, np.empty((1, 3, 2), np.float32))
