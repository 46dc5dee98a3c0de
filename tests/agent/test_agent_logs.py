"""The log: lines, JSON, and the journal with its fields."""

import io
import json
import logging
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from outrider_agent import journal, logs, records


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    records.tell_run("")
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    records.tell_run("")


def record(name: str = "outrider.belt", text: str = "it fails", error: bool = False) -> logging.LogRecord:  # noqa: FBT001, FBT002
    info = None
    if error:
        try:
            int("odd")
        except ValueError:
            info = sys.exc_info()
    return logging.LogRecord(name, logging.WARNING, "loop.py", 7, text, None, info, "tick")


def test_json_is_a_line_with_what_is_known() -> None:
    records.tell_run("0123456789abcdef")
    line = logs.JsonFormatter().format(record(text="one\ntwo"))
    assert "\n" not in line
    said = json.loads(line)
    assert said.pop("time").endswith("Z")
    assert said == {
        "level": "warning",
        "logger": "outrider.belt",
        "message": "one\ntwo",
        "pipeline": "belt",
        "run": "0123456789abcdef",
        "thread": "MainThread",
        "function": "tick",
    }
    assert "invalid literal" in json.loads(logs.JsonFormatter().format(record(error=True)))["error"]
    assert "pipeline" not in json.loads(logs.JsonFormatter().format(record("outrider_agent.link")))


@pytest.mark.parametrize(("form", "begin"), [("plain", "20"), ("auto", "20"), ("json", '{"time"')])
def test_the_form_can_be_chosen(form: str, begin: str) -> None:
    stream = io.StringIO()
    logs.start("info", stream, form)
    logging.getLogger("outrider.belt").warning("it fails")
    logging.getLogger("outrider.belt").debug("not this")
    (line,) = stream.getvalue().splitlines()
    assert line.startswith(begin)
    assert "it fails" in line


def fields(datagram: bytes) -> dict[str, str]:
    """Return what journald reads in a datagram."""
    found: dict[str, str] = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        key, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack_from("<Q", datagram)
            value, datagram = datagram[8 : 8 + size], datagram[8 + size + 1 :]
        found[key.decode()] = value.decode()
    return found


def test_the_journal_gets_fields(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    records.tell_run("0123456789abcdef")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(path))
        journald.settimeout(5)
        handler = journal.JournalHandler(logging.NullHandler(), path)
        handler.handle(record(text="one\ntwo"))
        said = fields(journald.recv(100_000))
        handler.handle(record("outrider_agent.link", "x" * 1_000_000, error=True))
        long = fields(journald.recv(100_000))
        handler.close()
    assert said == {
        "MESSAGE": "one\ntwo",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "outrider",
        "LOGGER": "outrider.belt",
        "CODE_FILE": "loop.py",
        "CODE_LINE": "7",
        "CODE_FUNC": "tick",
        "THREAD_NAME": "MainThread",
        "OUTRIDER_PIPELINE": "belt",
        "OUTRIDER_RUN": "0123456789abcdef",
    }
    assert len(long["MESSAGE"]) == journal.MAX_TEXT
    assert "OUTRIDER_PIPELINE" not in long


def test_without_journald_lines_carry_their_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal.JournalHandler.__init__, "__defaults__", (tmp_path / "nobody",))
    stream = io.StringIO()
    logs.start("info", stream, "journal")
    logging.getLogger("outrider.belt").warning("one\ntwo")
    assert stream.getvalue() == "<4>outrider.belt: one\n<4>two\n"
