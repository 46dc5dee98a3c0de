"""What every runtime does alike. A third party's runtime is picked up by its entry point; how it can be
tried it tells by a static method `example(folder) -> (files, options)`. `examples/plugin/` is one."""

import gc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from outrider_bundle import plugins
from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import Scalar
from outrider_runtime.loading import GROUP, runtime
from outrider_runtime.session import Array, Placement, Runtime, Session, empty
from tests.fakes.models import null_files, onnx_files, openvino_files, tflite_files

Sample = tuple[Mapping[str, Path], Mapping[str, Scalar]]
OURS: dict[str, Callable[[Path], Sample]] = {
    "null": null_files,
    "onnx": onnx_files,
    "openvino": openvino_files,
    "tflite": tflite_files,
}


def sample(name: str, folder: Path) -> Sample:
    make = OURS.get(name) or getattr(runtime(name), "example", None)
    assert make is not None, f"the runtime {name} has no static method example(folder)"
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
        floating = array.dtype.kind == "f"
        array[...] = random.random(tensor.shape) if floating else random.integers(0, 100, tensor.shape)
        made.append(array)
    return made


def outputs(session: Session) -> list[Array]:
    return [empty(tensor) for tensor in session.outputs]


def test_it_is_a_runtime_that_makes_sessions(name: str, session: Session) -> None:
    assert isinstance(runtime(name), Runtime)
    assert isinstance(runtime(name).exclusive, bool)
    assert isinstance(session, Session)
    assert session.inputs
    assert session.outputs


def test_fresh_outputs_have_shape_and_dtype_and_belong_to_the_caller(session: Session) -> None:
    first = session.run(arrays(session, 1))
    kept = [array.copy() for array in first]
    second = session.run(arrays(session, 2))
    for tensor, array, copy, other in zip(session.outputs, first, kept, second, strict=True):
        assert (array.shape, array.dtype.name) == (tensor.shape, tensor.dtype)
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert not np.shares_memory(array, other)
        np.testing.assert_array_equal(array, copy)


def test_fresh_outputs_outlive_the_session(session: Session) -> None:
    fresh = session.run(arrays(session, 1))
    kept = [array.copy() for array in fresh]
    session.close()
    gc.collect()
    for array, copy in zip(fresh, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_out_is_written_and_returned(session: Session) -> None:
    inputs, out = arrays(session, 1), outputs(session)
    for array in out:
        array.fill(77)
    returned = session.run(inputs, out)
    expected = session.run(inputs)
    for mine, theirs, ideal in zip(out, returned, expected, strict=True):
        assert mine is theirs
        np.testing.assert_array_equal(mine, ideal)


def test_inputs_are_left_alone_and_may_be_read_only(session: Session) -> None:
    inputs = arrays(session, 1)
    kept = [array.copy() for array in inputs]
    wanted = session.run(inputs)[0].copy()
    for array in inputs:
        array.flags.writeable = False
    out = outputs(session)
    session.run(inputs, out)
    np.testing.assert_array_equal(out[0], wanted)
    for array, copy in zip(inputs, kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_the_same_arrays_with_new_contents_give_new_answers(session: Session) -> None:
    inputs, out = arrays(session, 1), outputs(session)
    answers = []
    for seed in range(8):
        for array, values in zip(inputs, arrays(session, seed), strict=True):
            np.copyto(array, values)
        session.run(inputs, out)
        np.testing.assert_array_equal(out[0], session.run(arrays(session, seed))[0])
        answers.append(out[0].tobytes())
    assert len(set(answers)) > 1


def test_many_different_arrays_are_never_confused(session: Session) -> None:
    """Arrays that die leave their address and their id to others: what was kept of them must not count."""
    wanted = [session.run(arrays(session, seed))[0].copy() for seed in range(4)]
    kept = [(arrays(session, seed), outputs(session)) for seed in range(4)]
    for turn in range(60):
        seed = turn % 4
        inputs, out = kept[seed] if turn % 3 else (arrays(session, seed), outputs(session))
        out[0].fill(0)
        session.run(inputs, out)
        np.testing.assert_array_equal(out[0], wanted[seed])


@pytest.mark.parametrize("fault", ["shape", "dtype", "strides", "number", "none"])
def test_an_array_that_does_not_fit_is_refused(session: Session, fault: str) -> None:
    right = arrays(session, 1)
    wide = np.zeros((*right[0].shape[:-1], right[0].shape[-1] * 2), right[0].dtype)
    wrong = {
        "shape": [wide],
        "dtype": [right[0].astype(np.complex64)],
        "strides": [wide[..., ::2]],
        "number": [*right, right[0]],
        "none": [],
    }[fault]
    with pytest.raises(EngineError):
        session.run([*wrong, *right[1:]] if wrong else [])
    session.run(right)


@pytest.mark.parametrize("fault", ["shape", "dtype", "number", "none", "read-only"])
def test_an_output_that_does_not_fit_is_refused(session: Session, fault: str) -> None:
    inputs, right = arrays(session, 1), outputs(session)
    fixed = np.zeros_like(right[0])
    fixed.flags.writeable = False
    wrong = {
        "shape": np.zeros((1, 999), right[0].dtype),
        "dtype": right[0].astype(np.complex64),
        "read-only": fixed,
    }
    out = {"number": [*right, right[0]], "none": []}.get(fault)
    with pytest.raises(EngineError):
        session.run(inputs, [wrong[fault], *right[1:]] if out is None else out)
    session.run(inputs, right)


def test_inputs_cannot_pass_as_outputs(session: Session) -> None:
    inputs, out = arrays(session, 1), outputs(session)
    session.run(inputs, out)
    with pytest.raises(EngineError):
        session.run([*inputs, *out], [])
    with pytest.raises(EngineError):
        session.run([], [*inputs, *out])


def test_close_is_final_and_idempotent(session: Session) -> None:
    inputs, out = arrays(session, 1), outputs(session)
    session.run(inputs, out)
    session.close()
    session.close()
    with pytest.raises(EngineError, match="closed"):
        session.run(inputs, out)
    with pytest.raises(EngineError, match="closed"):
        session.run(inputs)


def test_placement_names_a_device(session: Session) -> None:
    placement = session.placement()
    assert isinstance(placement, Placement)
    assert placement.device
    assert placement.backend
    assert placement.threads >= 1
    assert all(count > 0 for count in placement.nodes.values())
    assert not placement.nodes or placement.backend in placement.nodes


def test_two_loads_agree(name: str, tmp_path: Path) -> None:
    files, options = sample(name, tmp_path)
    one, other = runtime(name).load(files, options), runtime(name).load(files, options)
    try:
        assert (one.inputs, one.outputs) == (other.inputs, other.outputs)
        for seed in range(3):
            np.testing.assert_array_equal(one.run(arrays(one, seed))[0], other.run(arrays(other, seed))[0])
    finally:
        one.close()
        other.close()


def test_an_unknown_option_is_refused_with_its_neighbour(name: str, tmp_path: Path) -> None:
    files, options = sample(name, tmp_path)
    with pytest.raises(EngineError, match="'threads'"):
        runtime(name).load(files, {**options, "thread": 2})


@pytest.mark.parametrize("value", ["two", True, 1.5, 0, -1])
def test_an_option_of_the_wrong_type_or_range_is_refused(name: str, tmp_path: Path, value: Scalar) -> None:
    files, options = sample(name, tmp_path)
    with pytest.raises(EngineError, match="threads"):
        runtime(name).load(files, {**options, "threads": value})


def test_a_missing_file_is_one_error(name: str, tmp_path: Path) -> None:
    files, options = sample(name, tmp_path)
    for role in files:
        missing = {**files, role: tmp_path / "nowhere"}
        if name == "onnx" and role == "weights":
            files["weights"].unlink()  # the graph names it, so its own folder is what counts
        with pytest.raises(EngineError):
            runtime(name).load(missing, options)


def broken(content: bytes) -> list[bytes]:
    half = len(content) // 2
    return [b"", content[:4], content[:100], content[:half], b"garbage " * 200, bytes(len(content))]


@pytest.mark.parametrize("kind", range(6))
def test_a_broken_file_is_one_error(name: str, tmp_path: Path, kind: int) -> None:
    if name == "null":
        pytest.skip("the null runtime reads no file")
    (tmp_path / "sound").mkdir()
    files, options = sample(name, tmp_path / "sound")
    main = next(iter(files))
    for role, path in files.items():
        bad = broken(path.read_bytes())[kind] if role == main else path.read_bytes()
        (tmp_path / path.name).write_bytes(bad)
    with pytest.raises(EngineError) as raised:
        runtime(name).load({role: tmp_path / path.name for role, path in files.items()}, options)
    assert "\n" not in str(raised.value)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_twenty_loads_leave_no_descriptor_open(name: str, tmp_path: Path) -> None:
    files, options = sample(name, tmp_path)
    runtime(name).load(files, options).close()
    before = descriptors()
    for _ in range(20):
        session = runtime(name).load(files, options)
        session.run(arrays(session, 1), outputs(session))
        session.close()
    assert descriptors() <= before
