"""The gpio action: on a double of a chip, and on the kernel's simulated one where it has that."""

import inspect
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gpiod
import pytest

from outrider_agent import parts
from outrider_agent.actions import gpio
from outrider_agent.actions.gpio import GpioAction
from outrider_agent.seams import Context, NullPublisher
from outrider_bundle.errors import OutriderError
from outrider_bundle.messages.event import Event
from outrider_bundle.topics import Topics
from tests.fakes.gpio_chip import FakeChip, FakeRequest

CONTEXT = Context(pipeline="belt", topics=Topics("plant", "line-1"), link=NullPublisher())
SIMULATED = Path("/sys/kernel/config/gpio-sim")


def event(**data: Any) -> Event:  # noqa: ANN401 - what a policy puts there
    return Event(run="0" * 16, seq=0, time=1.5, pipeline="belt", kind="decision", frame="f1", data=data)


def output(key: str, line: int | str, safe: int = 0, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - of the action
    return {"key": key, "line": line, "safe": safe, **more}


def act(chip: FakeChip, *outputs: dict[str, Any], **options: Any) -> GpioAction:  # noqa: ANN401 - the same
    table = {"kind": "gpio", "outputs": outputs, "chip": "/dev/gpiochip0", **options}
    part, faults = parts.find(parts.ACTIONS, table, "actions[0]")
    assert part is not None, faults
    assert isinstance(part.options, gpio.GpioOptions)
    return GpioAction(part.options, CONTEXT, request_lines=chip.request_lines)


@pytest.fixture
def chip() -> FakeChip:
    return FakeChip()


def test_the_double_takes_what_gpiod_takes() -> None:
    assert _names(FakeChip.request_lines) == _names(gpiod.request_lines)
    for method in ("set_values", "release"):
        assert _names(getattr(FakeRequest, method)) == _names(getattr(gpiod.LineRequest, method))
    assert {"direction", "active_low", "output_value"} <= set(
        inspect.signature(gpiod.LineSettings).parameters
    )


def _names(function: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - a function or a method
    parameters = inspect.signature(function).parameters.values()
    return [(one.name, one.default) for one in parameters if one.name != "self"]


def test_lines_begin_safe_and_take_the_decisions_values(chip: FakeChip) -> None:
    action = act(chip, output("gate", 4), output("lamp", "LED", safe=1, active_low=True))
    assert (chip.history, chip.consumer) == ({4: [0], "LED": [1]}, "outrider")
    assert chip.levels == {4: 0, "LED": 0}
    action.apply(event(gate=True, lamp=0, label="bag"))
    assert chip.levels == {4: 1, "LED": 1}
    action.apply(event(gate=0.0))
    action.apply(event(label="bag"))
    assert chip.history == {4: [0, 1, 0], "LED": [1, 0]}
    action.safe_state()
    assert chip.levels == {4: 0, "LED": 0}
    action.close()


def test_the_end_makes_lines_safe_and_gives_them_back(chip: FakeChip) -> None:
    action = act(chip, output("gate", 4))
    action.apply(event(gate=1))
    action.close()
    action.close()
    action.safe_state()
    assert (chip.history, chip.held) == ({4: [0, 1, 0]}, set())
    with pytest.raises(OutriderError, match="given back"):
        action.apply(event(gate=1))


def test_a_value_that_is_no_number_changes_nothing(chip: FakeChip) -> None:
    action = act(chip, output("gate", 4), output("lamp", 5))
    with pytest.raises(OutriderError, match="'left' and no number"):
        action.apply(event(gate=1, lamp="left"))
    assert chip.history == {4: [0], 5: [0]}
    action.close()


def test_a_pulse_ends_by_itself(chip: FakeChip) -> None:
    action = act(chip, output("gate", 4, pulse_ms=20), output("lamp", 5, safe=1, pulse_ms=1))
    action.apply(event(gate=1, lamp=0))
    chip.wait(4, 0)
    chip.wait(5, 1)
    assert chip.history == {4: [0, 1, 0], 5: [1, 0, 1]}
    action.apply(event(gate=1))
    chip.wait(4, 0)
    action.close()


def test_a_further_decision_prolongs_a_pulse(chip: FakeChip) -> None:
    action = act(chip, output("gate", 4, pulse_ms=60_000))
    action.apply(event(gate=1))
    first = dict(action._ends)
    action.apply(event(gate=1))
    assert action._ends[4] > first[4]
    action.close()


def test_the_safe_state_ends_pulses_at_once(chip: FakeChip) -> None:
    action = act(chip, output("gate", 4, pulse_ms=60_000))
    before = threading.active_count()
    action.apply(event(gate=1))
    action.safe_state()
    assert chip.history == {4: [0, 1, 0]}
    assert not action._ends
    action.close()
    action._minder.join(10)
    assert threading.active_count() <= before


def test_a_chip_that_is_not_there_is_a_fault_until_it_is(
    chip: FakeChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    chip.broken = True
    action = act(chip, output("gate", 4))
    for call in (action.safe_state, lambda: action.apply(event(gate=1))):
        with pytest.raises(OutriderError, match=r"/dev/gpiochip0 cannot be set: No such file.*gpioinfo"):
            call()
    assert chip.asked == 1  # not at every call
    chip.broken = False
    monkeypatch.setattr(gpio, "RETRY_S", 0.0)
    action._retry_s = 0.0
    action.apply(event(gate=1))
    assert chip.history == {4: [0, 1]}
    action.close()


def test_lines_that_another_holds_are_a_fault(chip: FakeChip) -> None:
    first = act(chip, output("gate", 4))
    second = act(chip, output("gate", 4))
    with pytest.raises(OutriderError, match="busy"):
        second.safe_state()
    second.close()
    first.close()


def test_a_chip_that_goes_away_is_asked_for_again(chip: FakeChip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpio, "RETRY_S", 0.001)
    action = act(chip, output("gate", 4, pulse_ms=60_000))
    chip.broken = True
    with pytest.raises(OutriderError, match="No such device"):
        action.apply(event(gate=1))
    assert not chip.held
    with pytest.raises(OutriderError, match="No such"):
        action.safe_state()
    chip.broken = False
    action._retry_s = 0.0
    action.apply(event(gate=1))
    assert chip.levels == {4: 1}
    chip.broken = True
    with pytest.raises(OutriderError, match="No such device"):
        action.close()
    action.close()
    assert not chip.held


def test_lines_that_could_not_be_made_safe_are_as_soon_as_they_are_there(
    chip: FakeChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpio, "RETRY_S", 0.01)
    action = act(chip, output("gate", 4))
    action.apply(event(gate=1))
    chip.broken = True
    with pytest.raises(OutriderError, match="No such device"):
        action.safe_state()
    chip.broken = False
    chip.wait(4, 0)
    action.close()
    action._minder.join(10)
    assert not chip.held


def test_gpiod_itself_tells_that_there_is_no_chip(tmp_path: Path) -> None:
    options = gpio.GpioOptions(
        chip=tmp_path / "gpiochip9", outputs=(gpio.GpioOutput(key="gate", line=4, safe=0),)
    )
    action = GpioAction(options, CONTEXT)
    with pytest.raises(OutriderError, match="No such file"):
        action.safe_state()
    action.close()


@pytest.mark.parametrize(
    "options",
    [
        {"outputs": []},
        {"outputs": [{"key": "gate", "line": 4}]},
        {"outputs": [output("gate", 4, safe=2)]},
        {"outputs": [output("gate", -1)]},
        {"outputs": [output("gate", "")]},
        {"outputs": [output("gate", 4), output("lamp", 4)]},
        {"outputs": [output("gate", 4, pulse_ms=-1)]},
        {"outputs": [output("gate", 4)], "consumer": "ä"},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(options: Mapping[str, Any]) -> None:
    part, faults = parts.find(parts.ACTIONS, {"kind": "gpio", **options}, "actions[0]")
    assert part is None
    assert len(faults) == 1


@pytest.fixture
def simulated() -> Iterator[tuple[Path, Path]]:
    """Return the device of a chip that the kernel simulates, and the folder where it tells its levels."""
    if not SIMULATED.is_dir():
        pytest.skip(f"this kernel has no gpio-sim here: {SIMULATED} is missing (modprobe gpio-sim; root)")
    device = SIMULATED / "outrider"
    bank = device / "bank0"
    bank.mkdir(parents=True)
    try:
        (bank / "num_lines").write_text("8")
        (device / "live").write_text("1")
        chip = (bank / "chip_name").read_text().strip()
        folder = Path("/sys/devices/platform") / (device / "dev_name").read_text().strip() / chip
        yield Path("/dev") / chip, folder
    finally:
        (device / "live").write_text("0")
        bank.rmdir()
        device.rmdir()


@pytest.mark.root
def test_on_the_kernels_simulated_chip(simulated: tuple[Path, Path]) -> None:
    device, folder = simulated

    def level(line: int) -> str:
        return (folder / f"sim_gpio{line}" / "value").read_text().strip()

    outputs = (
        gpio.GpioOutput(key="gate", line=4, safe=0),
        gpio.GpioOutput(key="lamp", line=5, safe=1, active_low=True),
    )
    action = GpioAction(gpio.GpioOptions(chip=device, outputs=outputs), CONTEXT)
    assert (level(4), level(5)) == ("0", "0")
    action.apply(event(gate=1, lamp=0))
    assert (level(4), level(5)) == ("1", "1")
    action.safe_state()
    assert (level(4), level(5)) == ("0", "0")
    other = GpioAction(gpio.GpioOptions(chip=device, outputs=outputs), CONTEXT)
    with pytest.raises(OutriderError, match="busy"):
        other.safe_state()
    action.close()
    other.close()
