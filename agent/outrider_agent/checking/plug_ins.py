"""What is wrong with a plug-in's options beside the model that it serves, see `checking`.

The plug-ins of this project are judged here, so that none of them carries on a device what only a person at
a desk asks for; others bring `faults` along.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from outrider_agent import arrays
from outrider_agent.checking.files import unreadable
from outrider_agent.checking.reading import Placed
from outrider_agent.parts import ACTIONS, POLICIES, SOURCES
from outrider_bundle.errors import UsageError
from outrider_bundle.manifest import ArrayPreprocess, ControlDecoder, ImagePreprocess, Manifest

Check = Callable[[Any, Manifest | None], Iterator[str]]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
"""What the source `images` takes."""


def faults(placed: Placed, manifest: Manifest | None) -> list[str]:
    """Return what is wrong with a plug-in, given the manifest of its pipeline's bundle if there is one."""
    part = placed.part
    own: Check | None = getattr(part.plugin, "faults", None)
    check = own or KNOWN.get((placed.group, part.kind))
    if check is None:
        return []
    try:
        return [f"{placed.where}.{line}" for line in check(part.options, manifest)]
    except Exception as error:  # noqa: BLE001 - a third party's check fails in any way; ours goes on
        return [f"{placed.where}.kind: the check of '{part.kind}' itself failed: {error!r}"]


def _camera(options: Any, manifest: Manifest | None) -> Iterator[str]:  # noqa: ANN401 - each has its own
    del options
    yield from _pictures("camera", manifest)


def _images(options: Any, manifest: Manifest | None) -> Iterator[str]:  # noqa: ANN401
    folder = Path(options.path)
    if not folder.is_dir():
        yield f"path: there is no folder {folder}"
    elif not any(file.suffix.lower() in SUFFIXES for file in folder.glob("*")):
        yield f"path: the folder {folder} has no png or jpg files"
    yield from _pictures("images", manifest)


def _video(options: Any, manifest: Manifest | None) -> Iterator[str]:  # noqa: ANN401
    if why := unreadable(Path(options.path)):
        yield f"path: {why}"
    yield from _pictures("video", manifest)


def _samples(options: Any, manifest: Manifest | None) -> Iterator[str]:  # noqa: ANN401
    """Judge the source `mqtt`: its windows are the model's input."""
    samples, fields = options.window, len(options.fields)
    given = (fields, samples) if options.layout == "NCT" else (samples, fields)
    if manifest is None:
        return
    if isinstance(manifest.inputs[0].preprocess, ImagePreprocess):
        yield f"kind: 'mqtt' gives windows of numbers, and {_called(manifest)} takes pictures"
        return
    wanted = tuple(manifest.inputs[0].shape[1:])
    if wanted in {given, (fields,) if samples == 1 else given}:
        return
    if wanted == given[::-1]:
        other = "NTC" if options.layout == "NCT" else "NCT"
        yield f"layout: windows are {given}, and {_called(manifest)} takes {wanted}; set layout = '{other}'"
    else:
        given_as = f"{samples} samples of {fields} fields"
        yield f"window: {given_as} are no input of {_called(manifest)}, which takes {wanted}"


def _gym(options: Any, manifest: Manifest | None) -> Iterator[str]:  # noqa: ANN401
    del options
    if manifest is not None and isinstance(manifest.inputs[0].preprocess, ImagePreprocess):
        yield f"kind: 'gym' gives numbers, and {_called(manifest)} takes pictures"


def _replay(options: Any, manifest: Manifest | None) -> Iterator[str]:  # noqa: ANN401
    try:
        frames = arrays.read(Path(options.path), options.key, options.times).frames
    except UsageError as error:
        yield f"path: {error}"
        return
    if manifest is None:
        return
    given, pictures = frames.shape[1:], isinstance(manifest.inputs[0].preprocess, ImagePreprocess)
    wanted = tuple(manifest.inputs[0].shape)
    if pictures and (frames.dtype != "uint8" or not (len(given) == 2 or given[2:] == (3,))):  # noqa: PLR2004
        yield f"path: its frames are {frames.dtype} {given}, and {_called(manifest)} takes pictures"
    if not pictures and given not in {wanted, wanted[1:]}:
        yield f"path: its frames have the shape {given}, and {_called(manifest)} takes {wanted[1:]}"


def _argmax(options: Any, manifest: Manifest | None) -> Iterator[str]:  # noqa: ANN401
    del options
    decoder = manifest.outputs[0].decoder if manifest else None
    if isinstance(decoder, ControlDecoder) and decoder.space == "continuous":
        yield "kind: 'argmax' chooses a name, and the model's actions are numbers; take 'passthrough'"


def _command(options: Any, manifest: Manifest | None) -> Iterator[str]:  # noqa: ANN401
    del manifest
    for name in ("argv", "safe"):
        argv = getattr(options, name)
        if argv and shutil.which(argv[0]) is None:
            yield f"{name}[0]: there is no program {argv[0]}"
    if not options.cwd.is_dir():
        yield f"cwd: there is no folder {options.cwd}"


def _http(options: Any, manifest: Manifest | None) -> Iterator[str]:  # noqa: ANN401
    del manifest
    for name in ("token_file", "ca"):
        path = getattr(options, name)
        if path is not None and (why := unreadable(path)):
            yield f"{name}: {why}"


def _pictures(kind: str, manifest: Manifest | None) -> Iterator[str]:
    if manifest is not None and isinstance(manifest.inputs[0].preprocess, ArrayPreprocess):
        wanted = tuple(manifest.inputs[0].shape[1:])
        yield f"kind: '{kind}' gives pictures, and {_called(manifest)} takes numbers of the shape {wanted}"


def _called(manifest: Manifest) -> str:
    return f"the model of {manifest.name} {manifest.version}"


KNOWN: Mapping[tuple[str, str], Check] = {
    (SOURCES, "camera"): _camera,
    (SOURCES, "gym"): _gym,
    (SOURCES, "images"): _images,
    (SOURCES, "mqtt"): _samples,
    (SOURCES, "replay"): _replay,
    (SOURCES, "video"): _video,
    (POLICIES, "argmax"): _argmax,
    (ACTIONS, "command"): _command,
    (ACTIONS, "http"): _http,
}
