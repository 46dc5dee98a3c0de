"""External delegates: what they took is told, and what is wrong with one is a sentence."""

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from outrider_bundle.errors import EngineError
from outrider_bundle.manifest import File, Scalar, Variant
from outrider_runtime import delegates as seam
from outrider_runtime import partitions
from outrider_runtime.placing import PlacementError, load_placed, shortfall
from outrider_runtime.runtimes.tflite import TfliteRuntime, TfliteSession
from tests.fakes import delegates
from tests.fakes.models import FIXTURES

INT8 = FIXTURES / "tiny-int8.tflite"
IMAGES = np.random.default_rng(3).random((20, 1, 8, 8, 1), np.float32)
Load = Callable[..., TfliteSession]


@pytest.fixture(scope="module")
def library() -> Path:
    return delegates.build()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return delegates.mixed(tmp_path)


@pytest.fixture
def load(library: Path, model: Path) -> Iterator[Load]:
    """Load the mixed model into the test delegate with settings; all is given back at the end."""
    sessions: list[TfliteSession] = []

    def loaded(path: Path = model, *, xnnpack: bool = True, **settings: object) -> TfliteSession:
        options = {**delegates.options(library, **settings), "xnnpack": xnnpack}
        sessions.append(TfliteRuntime().load({"model": path}, options))
        return sessions[-1]

    yield loaded
    for session in sessions:
        session.close()
    gc.collect()
    assert delegates.opened(library).test_delegate_alive() == 0


@pytest.mark.parametrize(("xnnpack", "rest"), [(True, "XNNPACK"), (False, "CPU")])
def test_placement_counts_the_nodes_of_the_file(load: Load, *, xnnpack: bool, rest: str) -> None:
    placement = load(xnnpack=xnnpack).placement()
    assert placement.nodes == {delegates.NAME: delegates.TAKEN, rest: delegates.NODES - delegates.TAKEN}
    assert (placement.asked, placement.backend) == (delegates.NAME, delegates.NAME)
    assert placement.share == 0.5


def test_where_most_runs_is_the_backend(load: Load) -> None:
    """It takes one of the five nodes of the int8 file."""
    placement = load(INT8).placement()
    assert placement.nodes[delegates.NAME] == 1
    assert sum(placement.nodes.values()) == 5
    assert (placement.device, placement.backend, placement.share) == ("cpu", "XNNPACK", 0.2)


def test_the_device_that_was_asked_for_is_named(load: Load) -> None:
    assert load().placement().device == delegates.NAME
    assert load(device="present").placement().device == f"{delegates.NAME}:present"


def test_without_a_delegate_nothing_is_asked(model: Path) -> None:
    for xnnpack, backend in ((True, "XNNPACK"), (False, "CPU")):
        session = TfliteRuntime().load({"model": model}, {"xnnpack": xnnpack})
        placement = session.placement()
        assert (placement.asked, placement.nodes) == ("", {backend: delegates.NODES})
        session.close()


def test_it_computes_what_the_cpu_computes(load: Load, library: Path, model: Path) -> None:
    session, plain = load(), TfliteRuntime().load({"model": model}, {"xnnpack": False})
    before = delegates.opened(library).test_delegate_runs()
    for image in IMAGES:
        np.testing.assert_allclose(session.run([image])[0], plain.run([image])[0], atol=1e-6)
    assert delegates.opened(library).test_delegate_runs() == before + len(IMAGES)
    plain.close()


def test_it_computes_int8_to_one_step(load: Load) -> None:
    session, plain = load(INT8), TfliteRuntime().load({"model": INT8}, {"xnnpack": False})
    for image in (IMAGES * 255 - 128).astype(np.int8):
        assert np.abs(session.run([image])[0].astype(int) - plain.run([image])[0]).max() <= 1
    plain.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "absent"}, "test_delegate finds no device. Plug it in"),
        ({"device": "broken"}, "does not start: test delegate: the device does not answer"),
        ({"colour": "red"}, "unknown option"),
        ({"fault": "error", "at": "create"}, "does not start: test delegate: the device reported an error"),
        ({"fault": "error", "at": "prepare"}, "with the delegate test_delegate: .* refused the graph. Use a"),
    ],
)
def test_a_delegate_that_does_not_come_up(load: Load, settings: dict[str, str], message: str) -> None:
    with pytest.raises(EngineError, match=message) as raised:
        load(**settings)
    assert "\n" not in str(raised.value)


def test_libraries_that_are_none(library: Path, model: Path) -> None:
    runtime, beside = TfliteRuntime(), model.with_name("libbeside.so")
    beside.write_bytes(library.read_bytes())
    link = model.parent / "elsewhere" / "liblink.so"
    link.parent.mkdir()
    link.symlink_to(beside)
    for name, message in (
        ("libabsent_tpu.so.1", "libabsent_tpu.so.1 cannot be loaded: .*No such file.* Install it"),
        ("/nonexistent/libtpu.so", "cannot be loaded"),
        (str(INT8), "cannot be loaded: .*ELF"),
        ("libm.so.6", "not a TFLite delegate"),
        ("./libtest_delegate.so", "relative path"),
        (str(beside), "beside the model"),
        (str(link), "beside the model"),
    ):
        with pytest.raises(EngineError, match=message) as raised:
            runtime.load({"model": model}, {"delegate": name})
        assert "\n" not in str(raised.value)
    gc.collect()  # a half-made delegate would complain now, and fail this test


@pytest.mark.parametrize("text", ["device", "=usb", "device=usb;device=pci", "device=usb;;x"])
def test_options_that_are_no_pairs(library: Path, model: Path, text: str) -> None:
    options: dict[str, Scalar] = {"delegate": str(library), "delegate_options": text}
    with pytest.raises(EngineError, match=r"'delegate_options'.*Give key=value"):
        TfliteRuntime().load({"model": model}, options)


def test_options_without_a_delegate_are_not_ignored(model: Path) -> None:
    with pytest.raises(EngineError, match="without 'delegate'"):
        TfliteRuntime().load({"model": model}, {"delegate_options": "device=usb"})


def test_parsing_and_naming() -> None:
    assert seam.parse("") == {}
    assert seam.parse(" device = usb:0 ; args=a=b;") == {"device": "usb:0", "args": "a=b"}
    names = {"libedgetpu.so.1": "edgetpu", "/usr/lib/libtest_delegate.so": "test_delegate", "armnn": "armnn"}
    assert {name: seam.name(name) for name in names} == names


def described(model: Path) -> Variant:
    session = TfliteRuntime().load({"model": model}, {})
    session.close()
    return Variant(
        id="tflite-float32",
        runtime="tflite",
        precision="float32",
        rank=0,
        files=(File(role="model", blob="model"),),
        inputs=session.inputs,
        outputs=session.outputs,
    )


def test_require_takes_no_less_than_it_asks(library: Path, model: Path) -> None:
    variant, options = described(model), delegates.options(library)
    with pytest.raises(PlacementError, match="3 of 6 nodes run on test_delegate, 3 on XNNPACK"):
        load_placed(variant, {"model": model}, options, "require")
    enough = load_placed(variant, {"model": model}, options, "require", 0.5)
    enough.session.close()
    with pytest.raises(EngineError, match="finds no device"):
        load_placed(variant, {"model": model}, delegates.options(library, device="absent"), "require")
    gc.collect()
    assert delegates.opened(library).test_delegate_alive() == 0


@pytest.mark.parametrize(
    "options",
    [{"delegate": "libabsent_tpu.so.1", "delegate_options": "device=usb"}, {"device": "absent"}],
    ids=["no library", "no device"],
)
def test_prefer_falls_back_and_says_so(library: Path, model: Path, options: dict[str, Scalar]) -> None:
    if "delegate" not in options:
        options = delegates.options(library, **options)
    placed = load_placed(described(model), {"model": model}, options, "prefer")
    assert placed.placement.nodes == {"XNNPACK": delegates.NODES}
    assert placed.placement.asked == seam.name(str(options["delegate"]))
    assert placed.placement.share == 0
    assert shortfall(placed.placement, "prefer", 1.0) == placed.placement.reason != ""
    assert placed.session.run([IMAGES[0]])[0].sum() == pytest.approx(1)
    placed.session.close()


def test_only_a_delegate_holds_its_device() -> None:
    runtime = TfliteRuntime()
    assert runtime.fallback({}) is None
    assert not runtime.holds({"threads": 2})
    assert runtime.holds({"delegate": "libedgetpu.so.1"})
    assert not runtime.holds({"delegate": "libgpu.so", "delegate_exclusive": False})
    with pytest.raises(EngineError, match="Did you mean 'delegate'"):
        runtime.holds({"delegat": "libedgetpu.so.1"})


def test_a_failed_run_is_one_error_and_the_next_one_works(load: Load, tmp_path: Path) -> None:
    trigger = tmp_path / "trigger"
    session = load(fault="error", trigger=trigger)
    wanted = session.run([IMAGES[0]])[0]
    trigger.touch()
    with pytest.raises(EngineError, match="the device reported an error"):
        session.run([IMAGES[0]])
    trigger.unlink()
    np.testing.assert_array_equal(session.run([IMAGES[0]])[0], wanted)


def test_wrong_answers_begin_when_they_are_told_to(load: Load) -> None:
    sound = load().run([IMAGES[0]])[0]
    for fault in ("nan", "wrong"):
        session = load(fault=fault, after=2)
        for _ in range(2):
            np.testing.assert_array_equal(session.run([IMAGES[0]])[0], sound)
        spoiled = session.run([IMAGES[0]])[0]
        assert np.isnan(spoiled).all() == (fault == "nan")
        assert not np.allclose(spoiled, sound)


FAULTY = """
import os, sys, threading, time
from pathlib import Path
import numpy as np
from outrider_runtime.runtimes.tflite import TfliteRuntime

model, library, settings = sys.argv[1:]
session = TfliteRuntime().load({"model": Path(model)}, {"delegate": library, "delegate_options": settings})
image = [np.zeros((1, 8, 8, 1), np.float32)]
threading.Timer(0.5, os._exit, [7]).start()  # it needs the GIL, which a run must not hold
for number in range(4):
    session.run(image)
    print(number, flush=True)
"""


@pytest.mark.parametrize(("fault", "code"), [("segfault", -11), ("abort", -6), ("hang", 7)])
def test_faults_that_end_a_process(library: Path, model: Path, fault: str, code: int) -> None:
    command = [sys.executable, "-c", FAULTY, model, library, f"fault={fault};after=2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split()) == (code, ["0", "1"]), done.stderr


def op(index: int, name: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
    return {"index": index, "op_name": name, "inputs": inputs, "outputs": outputs}


def test_partitions_are_counted_from_their_outputs_back_to_their_inputs() -> None:
    """A diamond: 1 > (2, 3) > 4, of which the first delegate takes all but its head, and another the head."""
    file = [
        op(0, "A", [0, -1], [1]),
        op(1, "B", [1, 9], [2]),
        op(2, "C", [1], [3]),
        op(3, "D", [2, 3], [4]),
        op(4, "E", [4], [5]),
    ]
    taken = [op(5, "DELEGATE", [1, 9], [4]), op(6, "DELEGATE", [0], [1])]
    assert partitions.total(file) == 0
    assert partitions.total([*file, *taken]) == 2
    assert partitions.count([*file, *taken], ["first", "second"]) == {"first": 3, "second": 1, "CPU": 1}
    assert partitions.count([*file, *taken], ["one", "one"]) == {"one": 4, "CPU": 1}
    assert partitions.count(file, []) == {"CPU": 5}
    assert partitions.count([], []) == {}
