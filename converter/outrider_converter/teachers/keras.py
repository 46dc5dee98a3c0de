"""Keras 3 files, `.keras` and `.h5`, computed by torch: no TensorFlow."""

import os
import sys
from typing import Any

from torch import Tensor, nn

from outrider_bundle.errors import DataError, MissingExtraError
from outrider_converter.loading import describe
from outrider_converter.quiet import quiet
from outrider_converter.teachers.entry import Source, entry, only_input
from outrider_converter.teachers.files import digest
from outrider_converter.teachers.framed import Framed

BACKEND = "KERAS_BACKEND"


def load(source: Source) -> Framed:
    """Return the network in a Keras file.

    Raises:
        MissingExtraError: Keras is not installed.
        DataError: the file is broken, holds layers of the user's own, or its input does not fit.
    """
    keras = _keras()
    try:
        with quiet():
            model = keras.models.load_model(str(source.path), compile=False)
    except Exception as error:
        raise DataError(
            f"{source.path.name} cannot be read: {describe(error)}",
            "Save it again with model.save of Keras 3; layers of your own need teacher.callable",
        ) from error
    inputs = list(getattr(model, "inputs", None) or [])
    only_input([one.name for one in inputs], source.path)
    box = KerasNetwork(model)
    return Framed(
        box, entry(tuple(inputs[0].shape), source), digest(source.path), lambda: _drop_softmax(box, keras)
    )


def _keras() -> Any:  # noqa: ANN401 - untyped library
    """Import Keras on torch.

    Raises:
        MissingExtraError: it is not installed.
        DataError: it was imported on another backend before.
    """
    if "keras" not in sys.modules:
        os.environ[BACKEND] = "torch"
    try:
        with quiet():
            import keras  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise MissingExtraError("Teachers in Keras files need the package keras", "keras") from error
    if keras.backend.backend() != "torch":
        raise DataError(
            f"Keras runs on {keras.backend.backend()} in this process, torch is needed",
            f"Set the environment variable {BACKEND}=torch",
        )
    return keras


class KerasNetwork(nn.Module):
    """Calls a Keras model as for inference."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - untyped library
        """Hold a model that takes one tensor."""
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> object:
        """Return what the model gives."""
        return self.model(x, training=False)


def _drop_softmax(box: KerasNetwork, keras: Any) -> bool:  # noqa: ANN401 - untyped library
    """Let the network end before its softmax, if it ends with one."""
    outputs = box.model.outputs
    last = outputs[0]._keras_history.operation  # noqa: SLF001 - Keras has no other way to ask
    if len(outputs) == 1 and getattr(last, "activation", None) is keras.activations.softmax:
        last.activation = keras.activations.linear
        return True
    if len(outputs) == 1 and isinstance(last, keras.layers.Softmax):
        box.model = keras.Model(box.model.inputs, last.input)
        return True
    return False
