"""Messages: what a device says is what the fleet reads."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from outrider_bundle.errors import MessageError
from outrider_bundle.messages.codec import MAX_BYTES, decode, encode
from outrider_bundle.messages.event import Event
from outrider_bundle.messages.reported import PipelineReport, Reported
from outrider_bundle.messages.state import State
from outrider_bundle.messages.telemetry import Latency, PipelineMetrics, Telemetry

RUN = "0123456789abcdef"

REPORT = PipelineReport(
    bundle="fashion",
    version="1.0.0",
    digest="0" * 64,
    variant="onnx-int8",
    runtime="onnx",
    placement={"device": "cpu", "backend": "CPUExecutionProvider", "nodes": {"cpu": 3}, "threads": 1},
    state="DEGRADED",
    reason="the first variant does not reproduce",
)
METRICS = PipelineMetrics(
    frames=10,
    dropped=1,
    decisions=9,
    events=9,
    no_input=0,
    late=1,
    errors=0,
    stages={"engine": Latency(count=10, p50_ms=0.5, p95_ms=0.7, p99_ms=0.9, max_ms=1.1)},
    classes={"Ankle boot": 9},
    rss_mb=80.5,
    cpu_s=0.1,
)
MESSAGES: dict[str, Struct] = {
    "state": State(status="online", run=RUN, version="0.1.0", app="sorting", hardware="bench"),
    "reported": Reported(run=RUN, phase="IDLE", pipelines={"line": REPORT}),
    "telemetry": Telemetry(run=RUN, seq=3, start=1.5, duration_s=10.0, pipelines={"line": METRICS}),
    "event": Event(
        run=RUN,
        seq=0,
        time=2.5,
        pipeline="line",
        kind="decision",
        frame="00042",
        data={"label": "bag", "score": 0.9, "more": [1, None, {"x": True}]},
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_survives_the_way(name: str) -> None:
    message = MESSAGES[name]
    raw = encode(message)
    assert decode(raw, type(message)) == message
    assert decode(bytearray(raw), type(message)) == message
    assert msgspec.json.decode(raw)["schema"] == 1


@pytest.mark.parametrize("name", MESSAGES)
def test_a_field_of_a_later_version_is_ignored(name: str) -> None:
    message = MESSAGES[name]
    data = msgspec.json.decode(encode(message)) | {"later": {"much": 1}}
    assert decode(msgspec.json.encode(data), type(message)) == message


@pytest.mark.parametrize("name", MESSAGES)
def test_another_schema_is_refused(name: str) -> None:
    message = MESSAGES[name]
    data = msgspec.json.decode(encode(message)) | {"schema": 2}
    with pytest.raises(MessageError, match="schema"):
        decode(msgspec.json.encode(data), type(message))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("state", {"run": "0123456789ABCDEF"}),
        ("state", {"run": RUN + "\n"}),
        ("state", {"status": "away"}),
        ("state", {"app": "a/b"}),
        ("state", {"reason": "x" * 5000}),
        ("reported", {"rev": -1}),
        ("reported", {"rev": 1 << 60}),
        ("reported", {"pipelines": {"a/b": msgspec.to_builtins(REPORT)}}),
        ("reported", {"pipelines": {"a": {}}}),
        ("telemetry", {"seq": 0.5}),
        ("telemetry", {"duration_s": -1.0}),
        ("telemetry", {"pipelines": []}),
        ("event", {"kind": "rumour"}),
        ("event", {"data": None}),
        ("event", {"pipeline": ""}),
    ],
)
def test_a_value_out_of_its_limits_is_refused(name: str, change: dict[str, Any]) -> None:
    message = MESSAGES[name]
    data = msgspec.json.decode(encode(message)) | change
    with pytest.raises(MessageError, match=f"not a {type(message).__name__} message"):
        decode(msgspec.json.encode(data), type(message))
    with pytest.raises(MessageError):
        encode(msgspec.structs.replace(message, **change))


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"[]", b"[" * 100_000, b'{"run":"\xff"}', b"9" * 5000, b'{"a":' * 40_000],
    ids=["empty", "table", "list", "deep", "utf8", "int", "deep-table"],
)
@pytest.mark.parametrize("name", MESSAGES)
def test_noise_is_refused(name: str, raw: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        decode(raw, type(MESSAGES[name]))
    assert caught.value.exit_code == 10


def test_data_nested_without_end_is_refused() -> None:
    raw = encode(MESSAGES["event"]).replace(b'"label"', b'"x":' + b"[" * 9000 + b"]" * 9000 + b',"label"')
    with pytest.raises(MessageError):
        decode(raw, Event)


def test_a_message_has_a_limit_both_ways() -> None:
    data = {str(n): "x" * 1000 for n in range(300)}
    event = msgspec.structs.replace(MESSAGES["event"], data=data)
    with pytest.raises(MessageError, match="too long"):
        encode(event)
    with pytest.raises(MessageError, match=str(MAX_BYTES)):
        decode(msgspec.json.encode(event), Event)


def test_a_number_that_is_none_is_not_sent() -> None:
    """JSON has no NaN: msgspec would write null, which every receiver refuses."""
    broken = msgspec.structs.replace(MESSAGES["telemetry"], start=float("nan"))
    with pytest.raises(MessageError):
        encode(broken)


def test_what_is_not_json_is_not_sent() -> None:
    with pytest.raises(MessageError, match="cannot be written"):
        encode(msgspec.structs.replace(MESSAGES["event"], data={"x": object()}))


@given(st.binary(max_size=300), st.sampled_from(sorted(MESSAGES)))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_an_error(raw: bytes, name: str) -> None:
    with pytest.raises(MessageError):
        decode(raw, type(MESSAGES[name]))
