"""The file of `--preprocess`: how frames become a model's input, told by the user and never guessed."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from outrider_bundle import settings
from outrider_bundle.errors import UsageError
from outrider_bundle.manifest import ArrayPreprocess, Dimension, ImagePreprocess, Positive
from outrider_converter.modelfile import ModelFile, Port
from outrider_converter.recipe import Options

Numbers = Annotated[tuple[float, ...], Meta(min_length=1, max_length=4096)]
Divisors = Annotated[tuple[Positive, ...], Meta(min_length=1, max_length=4096)]
Shape = Annotated[tuple[Dimension, ...], Meta(min_length=2, max_length=4)]

IMAGE, SERIES = 4, 3
"""Dimensions of an input of images and of one of windows."""


class ImageFile(Options, frozen=True, kw_only=True, tag="image", tag_field="kind"):
    """Pixels: value = (pixel * scale - mean) / std. `layout` and `shape` are those of the model's file."""

    color: Literal["gray", "rgb", "bgr"]
    resize: Literal["stretch", "letterbox"]
    scale: Positive
    mean: Annotated[tuple[float, ...], Meta(min_length=1, max_length=4)]
    std: Annotated[tuple[Positive, ...], Meta(min_length=1, max_length=4)]
    interpolation: Literal["linear", "nearest", "area"] = "linear"
    layout: Literal["NCHW", "NHWC"] | None = None
    shape: Shape | None = None


class ArrayFile(Options, frozen=True, kw_only=True, tag="array", tag_field="kind"):
    """Numbers: value = (x - mean) / std, one entry a feature or one for all."""

    mean: Numbers
    std: Divisors
    layout: Literal["NC", "NCT", "NTC"] | None = None
    shape: Shape | None = None


class Told(Options, frozen=True, kw_only=True):
    """What is known of the input now.

    Args:
        file_shape: as the file takes it, batch 1.
        shape: the same with the channels before the rest.
        layout: of `shape`.
        file_layout: whether the file has the channels first or last, where that can be told apart.
        preprocess: as a manifest has it.
    """

    file_shape: tuple[int, ...]
    shape: tuple[int, ...]
    layout: Literal["NCHW", "NC", "NCT"]
    file_layout: Literal["NCHW", "NHWC"] | None
    preprocess: ImagePreprocess | ArrayPreprocess


def read(path: Path, model: ModelFile) -> Told:
    """Read the file at `path` for `model`.

    Raises:
        UsageError: it is missing, wrong, leaves something open, or does not fit the model.
    """
    table = settings.table(path, UsageError)
    kinds: dict[object, type[ImageFile | ArrayFile]] = {"image": ImageFile, "array": ArrayFile}
    kind = kinds.get(table.get("kind"))
    if kind is None:
        raise UsageError(f"{path}: kind is {table.get('kind')!r}", 'Write kind = "image" or kind = "array"')
    found, faults = settings.convert(table, kind, "")
    if found is None:
        raise UsageError(settings.summary(str(path), faults), settings.CURE)
    shape = _shape(found.shape, model.inputs[0], path)
    return _image(found, shape, path) if isinstance(found, ImageFile) else _array(found, shape, path)


def _shape(given: tuple[int, ...] | None, port: Port, path: Path) -> tuple[int, ...]:
    """Return the input's shape with batch 1: the file's, with open dimensions as they were told."""
    if given is None:
        rest = tuple(size for size in port.shape[1:] if size is not None)
        if len(rest) != len(port.shape) - 1:
            raise UsageError(
                f"The input {port} leaves dimensions open",
                f"Say in {path} what they are, for example: shape = {_example(port)}",
            )
        given = (1, *rest)
    fixed = zip(given[1:], port.shape[1:], strict=False)
    if len(given) != len(port.shape) or any(want not in (None, have) for have, want in fixed):
        raise UsageError(
            f"{path}: shape {list(given)} does not fit the input {port}", "Correct or remove shape"
        )
    if given[0] != 1 or port.shape[0] not in (None, 1):
        raise UsageError(f"The input {port} is not run one by one", "Export the model with a batch of 1")
    return given


def _example(port: Port) -> list[int]:
    """Return the shape with 224 for everything that is open."""
    return [1, *(224 if size is None else size for size in port.shape[1:])]


def layout_of(shape: tuple[int | None, ...]) -> Literal["NCHW", "NHWC"] | None:
    """Return the order of an image input's dimensions if only one is possible."""
    channels = (1, 3)
    first, last = shape[1] in channels, shape[3] in channels
    if first == last:
        return None
    return "NCHW" if first else "NHWC"


def _image(found: ImageFile, shape: tuple[int, ...], path: Path) -> Told:
    if len(shape) != IMAGE:
        raise UsageError(f"{path}: an input of {shape} is not one of images", 'Write kind = "array"')
    layout = found.layout or layout_of(shape)
    if layout is None:
        raise UsageError(
            f"An input of {shape} may be NCHW or NHWC", f'Write layout = "NCHW" or "NHWC" into {path}'
        )
    plain = shape if layout == "NCHW" else (shape[0], shape[3], shape[1], shape[2])
    channels = 1 if found.color == "gray" else 3
    if plain[1] != channels:
        raise UsageError(
            f"{path}: color {found.color} has {channels} channels, the {layout} input {shape} has {plain[1]}",
            "Correct color or layout",
        )
    wrong = [name for name in ("mean", "std") if len(getattr(found, name)) not in (1, channels)]
    if wrong:
        raise UsageError(f"{path}: {' and '.join(wrong)} need 1 or {channels} numbers", "Give one a channel")
    preprocess = ImagePreprocess(
        color=found.color,
        resize=found.resize,
        interpolation=found.interpolation,
        scale=found.scale,
        mean=found.mean,
        std=found.std,
    )
    return Told(file_shape=shape, shape=plain, layout="NCHW", file_layout=layout, preprocess=preprocess)


def _array(found: ArrayFile, shape: tuple[int, ...], path: Path) -> Told:
    if len(shape) == IMAGE:
        raise UsageError(f"{path}: an input of {shape} is one of images", 'Write kind = "image"')
    choices = ("NCT", "NTC") if len(shape) == SERIES else ("NC",)
    if found.layout not in choices and (found.layout or len(choices) > 1):
        raise UsageError(f"{path}: an input of {shape} is {' or '.join(choices)}", "Correct or add layout")
    last = found.layout == "NTC"
    plain = (shape[0], shape[2], shape[1]) if last else shape
    wrong = [name for name in ("mean", "std") if len(getattr(found, name)) not in (1, plain[1])]
    if wrong:
        raise UsageError(f"{path}: {' and '.join(wrong)} need 1 or {plain[1]} numbers", "Give one a feature")
    return Told(
        file_shape=shape,
        shape=plain,
        layout="NC" if len(choices) == 1 else "NCT",
        file_layout=None if len(choices) == 1 else "NHWC" if last else "NCHW",
        preprocess=ArrayPreprocess(mean=found.mean, std=found.std),
    )


def template(port: Port) -> str:
    """Return a file for the input `port` in which what nobody knows is left to fill in."""
    shape = [1, *("?" if size is None else size for size in port.shape[1:])]
    lines = [f"# input '{port.name}', {port.dtype}, {shape}"]
    lines += _image_lines(port) if len(port.shape) == IMAGE else _array_lines(port)
    if None in port.shape[1:]:
        lines.append(f"shape = {_example(port)}   # the file leaves some open: write what you want")
    return "\n".join(lines)


def _image_lines(port: Port) -> list[str]:
    layout = layout_of(port.shape)
    channels = None if layout is None else port.shape[1 if layout == "NCHW" else 3]
    color = 'color = "gray"' if channels == 1 else 'color = "?"      # rgb or bgr, as it was trained'
    return [
        "# value = (pixel * scale - mean) / std, pixels are 0 to 255",
        'kind = "image"',
        color,
        'resize = "?"     # stretch, or letterbox to keep the aspect',
        "scale = 0.0      # often 0.00392156862745098, which is 1/255, or 1.0",
        "mean = []        # one number, or one a channel in the order of color: [0.485, 0.456, 0.406]",
        "std = []         # the same: [0.229, 0.224, 0.225]",
        f'layout = "{layout or "?"}"   # NCHW or NHWC, of the file',
    ]


def _array_lines(port: Port) -> list[str]:
    if len(port.shape) == SERIES:
        layout = 'layout = "?"     # NCT or NTC: channels before time, or after it'
    else:
        layout = 'layout = "NC"'
    return [
        "# value = (x - mean) / std",
        'kind = "array"',
        "mean = []        # one number, or one a feature; [0.0] leaves values as they are",
        "std = []         # the same; [1.0]",
        layout,
    ]
