"""A double of a GPIO chip with the surface of `gpiod.request_lines` and `gpiod.LineRequest`.

No kernel is asked: it only keeps what it is told. That its methods take what gpiod's take is checked against
the installed gpiod in tests/agent/test_agent_gpio.py.
"""

import errno
import os
import threading
from collections.abc import Iterable

from gpiod import LineSettings
from gpiod.line import Value

Line = int | str


class FakeRequest:
    """Lines that were given out."""

    def __init__(self, chip: "FakeChip", lines: Iterable[Line]) -> None:
        self._chip, self._lines = chip, set(lines)

    def set_values(self, values: dict[Line, Value]) -> None:
        if self._chip.broken:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        assert self._lines, "the lines were released"
        assert set(values) <= self._lines
        with self._chip.change:
            for line, value in values.items():
                self._chip.write(line, value)
            self._chip.change.notify_all()

    def release(self) -> None:
        with self._chip.change:
            self._chip.held -= self._lines
            self._lines = set()


class FakeChip:
    """A chip. `levels` are physical; `history` has every write of each line."""

    def __init__(self, path: str = "/dev/gpiochip0") -> None:
        self.path = path
        self.broken = False
        self.held: set[Line] = set()
        self.values: dict[Line, Value] = {}
        self.levels: dict[Line, int] = {}
        self.history: dict[Line, list[int]] = {}
        self.asked = 0
        self.consumer: str | None = None
        self.change = threading.Condition()
        self._settings: dict[Line, LineSettings] = {}

    def request_lines(
        self,
        path: str,
        config: dict[Iterable[Line] | Line, LineSettings | None],
        consumer: str | None = None,
        event_buffer_size: int | None = None,
        output_values: dict[Line, Value] | None = None,
    ) -> FakeRequest:
        del event_buffer_size, output_values
        self.asked += 1
        if path != self.path or self.broken:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        with self.change:
            lines = [line for line in config if isinstance(line, int | str)]
            if self.held & set(lines):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            self.held |= set(lines)
            self.consumer = consumer
            for line in lines:
                settings = config[line]
                assert settings is not None
                self._settings[line] = settings
                self.write(line, settings.output_value)
        return FakeRequest(self, lines)

    def write(self, line: Line, value: Value) -> None:
        self.values[line] = value
        self.levels[line] = int(bool(value) != self._settings[line].active_low)
        self.history.setdefault(line, []).append(int(bool(value)))

    def wait(self, line: Line, value: int, wait_s: float = 10.0) -> None:
        with self.change:
            assert self.change.wait_for(lambda: int(bool(self.values[line])) == value, wait_s), self.history
