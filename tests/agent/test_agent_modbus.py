"""The modbus action against a real pymodbus server on loopback."""

import socket
import threading
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any

import pytest
from pymodbus import FramerType

from outrider_agent import parts
from outrider_agent.actions.modbus import ModbusAction
from outrider_agent.seams import Context, NullPublisher
from outrider_bundle.errors import OutriderError
from outrider_bundle.messages.event import Event
from outrider_bundle.topics import Topics
from tests.fakes.modbus_server import Cable, ModbusServer

CONTEXT = Context(pipeline="belt", topics=Topics("plant", "line-1"), link=NullPublisher())
GATE = {"key": "gate", "table": "coil", "address": 3, "safe": True}
SPEED = {"key": "speed", "table": "register", "address": 5, "safe": 7, "scale": 10}
SAFE_S = 0.1
"""Half of what the project allows from the engine's death on."""


def event(**data: Any) -> Event:  # noqa: ANN401 - what a policy puts there
    return Event(run="0" * 16, seq=0, time=1.5, pipeline="belt", kind="decision", frame="f1", data=data)


def act(url: str, *outputs: dict[str, Any], **options: Any) -> ModbusAction:  # noqa: ANN401 - of the action
    table = {"kind": "modbus", "url": url, "outputs": outputs or (GATE, SPEED), **options}
    part, faults = parts.find(parts.ACTIONS, table, "actions[0]")
    assert part is not None, faults
    action = parts.action(part, CONTEXT)
    assert isinstance(action, ModbusAction)
    return action


@pytest.fixture(params=["tcp", "rtu+tcp", "rtu"])
def any_server(request: pytest.FixtureRequest) -> Iterator[tuple[ModbusServer, dict[str, Any]]]:
    """Return a server by each framing, and what an action needs to talk to it."""
    if request.param != "rtu":
        framer = FramerType.SOCKET if request.param == "tcp" else FramerType.RTU
        with ModbusServer(framer) as server:
            yield server, {"url": server.url}
        return
    with Cable() as cable, ModbusServer(device=cable.devices[0]) as server:
        # A pseudo terminal has no parity.
        yield server, {"url": f"rtu://{cable.devices[1]}", "parity": "N", "baudrate": 115_200}


@pytest.fixture
def server() -> Iterator[ModbusServer]:
    with ModbusServer() as made:
        yield made


def fault(action: ModbusAction) -> str:
    """Return the fault as soon as the action tells one."""
    end_s = monotonic() + 10
    while monotonic() < end_s:
        try:
            action._worker.check()
        except OutriderError as error:
            return str(error)
        threading.Event().wait(0.005)
    raise AssertionError("there was no fault")


def well(action: ModbusAction) -> None:
    """Wait until the action tells no fault."""
    end_s = monotonic() + 10
    while monotonic() < end_s:
        try:
            return action._worker.check()
        except OutriderError:
            threading.Event().wait(0.005)
    raise AssertionError(fault(action))


def test_values_and_safe_values_are_read_back(any_server: tuple[ModbusServer, dict[str, Any]]) -> None:
    server, where = any_server
    action = act(**where)
    action.safe_state()
    server.wait("register", 5, 70)
    assert (server.coil(3), server.register(5)) == (True, 70)
    action.apply(event(gate=False, speed=2.54, label="bag"))
    server.wait("register", 5, 25)
    assert (server.coil(3), server.register(5)) == (False, 25)
    action.apply(event(speed=3))  # what is not told is left
    server.wait("register", 5, 30)
    assert not server.coil(3)
    begun_s = monotonic()
    action.safe_state()
    assert server.wait("register", 5, 70) - begun_s < SAFE_S
    assert server.wait("coil", 3, 1) - begun_s < SAFE_S
    action.close()
    well(action)


def test_every_decision_is_written(server: ModbusServer) -> None:
    action = act(server.url)
    for _ in range(5):
        action.apply(event(speed=1))
    action.close()
    assert [write[:3] for write in server.writes] == [("register", 5, 10)] * 5


def test_a_decision_that_tells_nothing_is_not_written(server: ModbusServer) -> None:
    action = act(server.url)
    action.apply(event(label="bag"))
    action.close()
    assert not server.writes


@pytest.mark.parametrize(
    ("more", "value", "raw"),
    [
        ({}, 65_535, 65_535),
        ({"signed": True}, -1, 65_535),
        ({"signed": True}, -32_768, 32_768),
        ({"scale": -0.5, "offset": 100}, 50, 75),
        ({"scale": 100}, True, 100),
    ],
)
def test_a_value_is_scaled(server: ModbusServer, more: dict[str, Any], value: float, raw: int) -> None:
    action = act(server.url, {"key": "x", "table": "register", "address": 9, "safe": 0, **more})
    action.apply(event(x=value))
    server.wait("register", 9, raw)
    assert server.register(9) == raw
    action.close()


@pytest.mark.parametrize(
    ("more", "value"),
    [
        ({}, -1),
        ({}, 65_536),
        ({"signed": True}, 32_768),
        ({"signed": True}, -32_769),
        ({"scale": 1e300}, 1e300),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_decision(
    server: ModbusServer, more: dict[str, Any], value: float
) -> None:
    action = act(server.url, GATE, {"key": "x", "table": "register", "address": 9, "safe": 0, **more})
    with pytest.raises(OutriderError, match=r"x = .* does not fit into register 9.*scale"):
        action.apply(event(x=value, gate=True))
    action.close()
    assert not server.writes


def test_what_the_server_refuses_keeps_nothing_else_from_being_safe(server: ModbusServer) -> None:
    beyond = {"key": "x", "table": "register", "address": 900, "safe": 1}
    action = act(server.url, beyond, GATE)
    action.safe_state()
    server.wait("coil", 3, 1)
    assert "refuses a write: register 900 answers with exception code 2" in fault(action)
    with pytest.raises(OutriderError):
        action.apply(event(gate=False))
    server.wait("coil", 3, 0)
    action.close()
    assert not server.coil(3)  # what is tried again is what was refused


def test_a_server_that_hangs_is_a_fault_and_the_safe_state_comes_first_after(server: ModbusServer) -> None:
    action = act(server.url, timeout_s=0.2, queue=3)
    action.safe_state()
    server.wait("register", 5, 70)
    server.hang()
    action.apply(event(speed=1))
    assert "does not answer within 0.2 s" in fault(action)
    for _ in range(5):
        with pytest.raises(OutriderError):
            action.apply(event(speed=2))
    with pytest.raises(OutriderError):
        action.safe_state()
    server.hang(on=False)
    server.wait("register", 5, 70)
    well(action)
    assert (server.coil(3), server.register(5)) == (True, 70)
    action.close()


def test_the_safe_state_does_not_wait_for_an_answer_that_does_not_come() -> None:
    """The first connection is dead; a new one works, as after a restart that nobody has told of."""
    with socket.create_server(("127.0.0.1", 0)) as dead:
        port = dead.getsockname()[1]
        action = act(f"tcp://127.0.0.1:{port}", timeout_s=10.0)
        action.apply(event(speed=1))
        connection, _ = dead.accept()
    with connection:
        assert len(connection.recv(100)) == 12  # the request
        with ModbusServer(port=port) as server:
            begun_s = monotonic()
            action.safe_state()
            server.wait("register", 5, 70)
            assert monotonic() - begun_s < 2.0
            action.close()


def test_a_server_that_goes_away_and_comes_back(server: ModbusServer) -> None:
    action = act(server.url, timeout_s=0.2)
    action.apply(event(speed=1))
    server.wait("register", 5, 10)
    server.stop()
    action.apply(event(speed=2))
    assert "cannot be reached" in fault(action)
    with pytest.raises(OutriderError):
        action.safe_state()
    with ModbusServer(port=server.port) as again:
        again.wait("register", 5, 70)
        again.wait("coil", 3, 1)
        well(action)
        action.apply(event(speed=3))
        again.wait("register", 5, 30)
        assert 20 not in {write.value for write in again.writes}  # its moment is over
        action.close()


def test_a_connection_that_was_closed_meanwhile_is_opened_anew_at_once(server: ModbusServer) -> None:
    action = act(server.url)
    action.apply(event(speed=1))
    server.wait("register", 5, 10)
    server.stop()
    with ModbusServer(port=server.port) as again:
        begun_s = monotonic()
        action.safe_state()
        assert again.wait("register", 5, 70) - begun_s < SAFE_S
        action.close()


def test_the_end_does_not_wait_for_a_server_that_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    action = act(f"tcp://127.0.0.1:{port}", timeout_s=0.2)
    action.safe_state()
    begun_s = monotonic()
    action.close()
    assert monotonic() - begun_s < 4.0
    assert "cannot be reached" in fault(action)


def test_the_last_values_are_repeated_for_a_watchdog(server: ModbusServer) -> None:
    action = act(server.url, SPEED, watchdog_s=0.02)
    action.apply(event(speed=1))
    end_s = monotonic() + 10
    while len(server.writes) < 4:
        assert monotonic() < end_s
        threading.Event().wait(0.005)
    action.close()
    assert {write[:3] for write in server.writes} == {("register", 5, 10)}


def test_a_serial_line_that_is_not_there_is_a_fault() -> None:
    action = act("rtu:///dev/outrider-none")
    action.safe_state()
    assert "rtu:///dev/outrider-none cannot be reached" in fault(action)
    action.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "http://host"}, "tcp://host:502"),
        ({"url": "rtu://host/dev"}, "rtu:///dev"),
        ({"url": "rtu:"}, "rtu:///dev"),
        ({"url": "tcp://"}, "host"),
        ({"url": "tcp://host:0"}, "port"),
        ({"url": "tcp://host:x"}, "url|Port|port"),
        ({"url": "rtu:///dev/ttyS0", "unit": 0}, "unit"),
        ({"url": "tcp://host", "unit": 256}, "unit"),
        ({"outputs": []}, "outputs"),
        ({"outputs": [{"key": "x", "table": "coil", "address": 1}]}, "safe"),
        ({"outputs": [GATE, {**GATE, "key": "other"}]}, "coil 3 twice"),
        ({"outputs": [{**GATE, "scale": 2}]}, "coil has no scale"),
        ({"outputs": [{**SPEED, "safe": 7000}]}, "does not fit"),
        ({"outputs": [{**SPEED, "address": 65_536}]}, "address"),
        ({"outputs": [{**SPEED, "table": "input"}]}, "table"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(options: Mapping[str, Any], words: str) -> None:
    table = {"kind": "modbus", "url": "tcp://host", "outputs": [GATE], **options}
    part, faults = parts.find(parts.ACTIONS, table, "actions[0]")
    assert part is None
    assert any(word in faults[0] for word in words.split("|")), faults
