"""What every runtime does alike. A third party's runtime is picked up by its entry point; it tells how
to try it with a function `(folder) -> (files, options)` of the same name in the group `outrider.samples`."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from outrider_bundle import plugins
from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Scalar
from outrider_runtime.loading import GROUP, runtime
from outrider_runtime.session import Array, Placement, Session, empty
from tests.fakes.models import null_files, onnx_files, tflite_files

Sample = tuple[Mapping[str, Path], Mapping[str, Scalar]]
OURS: dict[str, Callable[[Path], Sample]] = {"null": null_files, "onnx": onnx_files, "tflite": tflite_files}


def sample(name: str, folder: Path) -> Sample:
    make = OURS.get(name) or plugins.load("outrider.samples", name)
    assert callable(make)
    files, options = make(folder)
    return files, options


@pytest.fixture(params=plugins.names(GROUP))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def session(name: str, tmp_path: Path) -> Iterator[Session]:
    loaded = runtime(name).load(*sample(name, tmp_path))
    yield loaded
    loaded.close()


def arrays(session: Session, seed: int) -> list[Array]:
    random = np.random.default_rng(seed)
    made = []
    for tensor in session.inputs:
        array = empty(tensor)
        values = (
            random.random(tensor.shape) if array.dtype.kind == "f" else random.integers(0, 100, tensor.shape)
        )
        array[...] = values
        made.append(array)
    return made


def test_it_is_a_session(session: Session) -> None:
    assert isinstance(session, Session)
    assert session.inputs
    assert session.outputs


def test_fresh_outputs_have_shape_and_dtype_and_belong_to_the_caller(session: Session) -> None:
    first = session.run(arrays(session, 1))
    kept = [array.copy() for array in first]
    second = session.run(arrays(session, 2))
    for tensor, array, copy, other in zip(session.outputs, first, kept, second, strict=True):
        assert (array.shape, array.dtype.name) == (tensor.shape, tensor.dtype)
        assert not np.shares_memory(array, other)
        np.testing.assert_array_equal(array, copy)


def test_out_is_written_and_returned(session: Session) -> None:
    inputs, out = arrays(session, 1), [empty(tensor) for tensor in session.outputs]
    for array in out:
        array.fill(77)
    returned = session.run(inputs, out)
    expected = session.run(inputs)
    for mine, theirs, ideal in zip(out, returned, expected, strict=True):
        assert mine is theirs
        np.testing.assert_array_equal(mine, ideal)


def test_the_same_arrays_with_new_contents_give_new_answers(session: Session) -> None:
    inputs, out = arrays(session, 1), [empty(tensor) for tensor in session.outputs]
    answers = []
    for seed in range(8):
        for array, values in zip(inputs, arrays(session, seed), strict=True):
            np.copyto(array, values)
        session.run(inputs, out)
        np.testing.assert_array_equal(out[0], session.run(arrays(session, seed))[0])
        answers.append(out[0].tobytes())
    assert len(set(answers)) > 1


def test_many_different_arrays_are_never_confused(session: Session) -> None:
    wanted = [session.run(arrays(session, seed))[0] for seed in range(4)]
    for round_ in range(40):
        seed = round_ % 4
        np.testing.assert_array_equal(session.run(arrays(session, seed))[0], wanted[seed])


@pytest.mark.parametrize("fault", ["shape", "dtype", "strides", "number"])
def test_an_array_that_does_not_fit_is_refused(session: Session, fault: str) -> None:
    inputs = arrays(session, 1)
    wide = np.zeros((*inputs[0].shape[:-1], inputs[0].shape[-1] * 2), inputs[0].dtype)
    inputs = {
        "shape": [wide],
        "dtype": [inputs[0].astype(np.complex64)],
        "strides": [wide[..., ::2]],
        "number": [*inputs, inputs[0]],
    }[fault]
    with pytest.raises(EngineError):
        session.run(inputs)
    session.run(arrays(session, 1))


def test_an_output_that_does_not_fit_is_refused(session: Session) -> None:
    with pytest.raises(EngineError, match="output"):
        session.run(arrays(session, 1), [np.zeros((1, 999), np.float32) for _ in session.outputs])


def test_close_is_final_and_idempotent(session: Session) -> None:
    session.close()
    session.close()
    with pytest.raises(EngineError, match="closed"):
        session.run(arrays(session, 1))


def test_placement_names_a_device(session: Session) -> None:
    placement = session.placement()
    assert isinstance(placement, Placement)
    assert placement.device
    assert placement.backend
    assert placement.threads >= 1


def test_two_loads_agree(name: str, tmp_path: Path) -> None:
    files, options = sample(name, tmp_path)
    one, other = runtime(name).load(files, options), runtime(name).load(files, options)
    try:
        np.testing.assert_array_equal(one.run(arrays(one, 3))[0], other.run(arrays(other, 3))[0])
    finally:
        one.close()
        other.close()


def test_an_unknown_option_is_refused_with_its_neighbour(name: str, tmp_path: Path) -> None:
    files, options = sample(name, tmp_path)
    with pytest.raises(EngineError, match="thread"):
        runtime(name).load(files, {**options, "thread": 2})


def test_an_option_of_the_wrong_type_is_refused(name: str, tmp_path: Path) -> None:
    files, options = sample(name, tmp_path)
    with pytest.raises(EngineError, match="threads"):
        runtime(name).load(files, {**options, "threads": "two"})


def test_a_missing_file_is_one_error(name: str, tmp_path: Path) -> None:
    files, options = sample(name, tmp_path)
    with pytest.raises(EngineError):
        runtime(name).load(dict.fromkeys(files, tmp_path / "nowhere" / "x"), options)


@pytest.mark.parametrize("keep", [0, 4, 100])
def test_a_broken_file_is_one_error(name: str, tmp_path: Path, keep: int) -> None:
    if name == "null":
        pytest.skip("the null runtime reads no file")
    files, options = sample(name, tmp_path)
    broken = {role: tmp_path / f"broken-{role}" for role in files}
    for role, path in broken.items():
        path.write_bytes(files[role].read_bytes()[:keep])
    with pytest.raises(EngineError):
        runtime(name).load(broken, options)


def test_twenty_loads_leave_no_descriptor_open(name: str, tmp_path: Path) -> None:
    files, options = sample(name, tmp_path)
    runtime(name).load(files, options).close()
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    for _ in range(20):
        session = runtime(name).load(files, options)
        session.run(arrays(session, 1))
        session.close()
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) <= before
