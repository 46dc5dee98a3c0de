"""ONNX Runtime as peers get it: one thread, nothing spins, otherwise its defaults."""

from typing import Any

import onnxruntime as ort

CPU = ["CPUExecutionProvider"]


def settings() -> Any:  # noqa: ANN401 - untyped library
    """Return session options for one thread."""
    chosen = ort.SessionOptions()
    chosen.intra_op_num_threads = chosen.inter_op_num_threads = 1
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return chosen


def session(model: str) -> Any:  # noqa: ANN401 - untyped library
    """Return a session of the file `model`."""
    return ort.InferenceSession(model, settings(), providers=CPU)


class OneThread(ort.InferenceSession):
    """Stands in for the class in a library that asks for all cores, and keeps what was made of it."""

    made: list["OneThread"]

    def __init__(self, model: str, options: object = None, **more: Any) -> None:  # noqa: ANN401 - passed on
        """Load `model` with our options in place of `options`."""
        del options
        super().__init__(model, settings(), **more)
        OneThread.made.append(self)


OneThread.made = []
