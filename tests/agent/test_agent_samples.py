"""Messages with samples: where numbers are found, and what is no use."""

import json
import math
import sys
from typing import Any

import cbor2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_agent.samples import MAX_BYTES, Layout, Samples
from outrider_bundle.errors import MissingExtraError

NUMBERED = Layout(fields=("x", "in.y"), seq="n")


def samples(layout: Layout = NUMBERED) -> Samples:
    return Samples("json", layout, "the source")


def packed(*held: Any) -> bytes:  # noqa: ANN401 - anything that JSON holds
    return json.dumps(held[0] if len(held) == 1 else held).encode()


def test_numbers_come_in_the_order_of_the_fields() -> None:
    (one,) = samples().read(packed({"in": {"y": 2, "z": 9}, "n": 7, "x": 1.5, "other": "text"}))
    assert one.place == 7
    assert one.values.tolist() == [1.5, 2.0]
    assert one.values.dtype == np.float64


def test_a_message_may_hold_a_list_of_which_the_good_ones_count() -> None:
    made = samples()
    good = [{"n": n, "x": n, "in": {"y": 0}} for n in (3, 4)]
    assert [s.place for s in made.read(packed(good[0], {"n": 9}, 5, good[1]))] == [3, 4]
    assert made.bad == {"it has no 'x'": 2}


def test_cbor_is_read_too() -> None:
    made = Samples("cbor", NUMBERED, "the source")
    payload = cbor2.dumps([{"n": 1, "x": 0.25, "in": {"y": -1}}])
    assert made.read(payload)[0].values.tolist() == [0.25, -1.0]
    for bad in (b"", b"\x81" * 100_000, b"\x9b" + b"\xff" * 8, b"\xc1\x61a"):
        assert made.read(bad) == []
    assert sum(made.bad.values()) == 4


def test_without_its_library_the_cure_is_a_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cbor2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'outrider\[cbor\]'"):
        Samples("cbor", NUMBERED, "the source")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "it is no JSON"),
        (b"\xff\xfe", "it is no JSON"),
        (b'{"n": 1, "x": NaN, "in": {"y": 0}}', "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b" " * (MAX_BYTES + 1), f"it has more than {MAX_BYTES} bytes"),
        (b'"text"', "it has no 'x'"),
        (b'{"n": 1, "x": 1}', "it has no 'in.y'"),
        (b'{"n": 1, "x": 1, "in": 3}', "it has no 'in.y'"),
        (b'{"x": 1, "in": {"y": 0}}', "it has no 'n'"),
        (b'{"n": 1, "x": true, "in": {"y": 0}}', "its 'x' is no number"),
        (b'{"n": 1, "x": "1", "in": {"y": 0}}', "its 'x' is no number"),
        (b'{"n": 1, "x": 1e39, "in": {"y": 0}}', "its 'x' is too large"),
        (b'{"n": 1, "x": 1' + b"0" * 400 + b', "in": {"y": 0}}', "its 'x' is too large"),
        (b'{"n": true, "x": 1, "in": {"y": 0}}', "its 'n' is no running number"),
        (b'{"n": 1.5, "x": 1, "in": {"y": 0}}', "its 'n' is no running number"),
        (b'{"n": 1e300, "x": 1, "in": {"y": 0}}', "its 'n' is no running number"),
    ],
)
def test_what_is_no_use_is_counted_and_said_once(
    payload: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = samples()
    for _ in range(3):
        assert made.read(payload) == []
    assert made.bad == {reason: 3}
    assert [record.message for record in caplog.records if reason in record.message] == [
        caplog.records[0].message
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_cbor_can_say_what_is_not_finite(value: float) -> None:
    made = Samples("cbor", Layout(fields=("x",), seq="n"), "the source")
    assert made.read(cbor2.dumps({"n": 1, "x": value})) == []
    assert made.bad == {"its 'x' is not finite": 1}


@given(st.binary(max_size=200))
def test_no_bytes_stop_it(payload: bytes) -> None:
    assert samples().read(payload) == []
    Samples("cbor", NUMBERED, "the source").read(payload)


def test_times_get_the_nearest_place_of_a_grid_that_begins_with_the_first() -> None:
    made = samples(Layout(fields=("x",), time="t", period_s=0.01))
    begun_s = 1_700_000_000.005  # between two places of a grid that begins at 0
    times = [begun_s + n * 0.01 + 0.003 * (-1) ** n for n in range(1, 50)]
    held = [{"t": t, "x": 0} for t in [begun_s, *times]]
    assert [s.place for s in made.read(packed(*held))] == list(range(50))
    assert made.label(0) == "1700000000.005000"
    assert made.label(3) == "1700000000.035000"


def test_running_numbers_are_their_own_label() -> None:
    assert samples().label(12) == "12"
