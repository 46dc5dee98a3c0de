from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_bundle.errors import MessageError
from outrider_bundle.messages import codec
from outrider_bundle.messages.event import Event
from outrider_bundle.messages.reported import PipelineReport, Reported
from outrider_bundle.messages.state import State
from outrider_bundle.messages.telemetry import PipelineMetrics, Telemetry
from outrider_bundle.topics import Topics
from outrider_fleet.demo.ledger import BROKER_VERSION, Ledger, Verdict, check
from outrider_fleet.demo.records import AgentReport, Truth

TOPICS = Topics("demo", "line-1")
PIPELINE = "sorter"
RUN, OTHER_RUN = "0123456789abcdef", "fedcba9876543210"
LABELS = ("shirt", "bag", "sneaker")
BINS = {"shirt": "tops", "bag": "bags", "sneaker": "shoes"}
PREDICTIONS = (0, 1, 2, 0, 1)
TRUTH = Truth(
    schema=1,
    name="toy",
    test_images=5,
    labels={f"{i:05d}": LABELS[p] for i, p in enumerate((0, 1, 2, 0, 2))},
)
"""Five frames; on the last one the variant itself is wrong."""


def event(seq: int, index: int, frame: str = "", run: str = RUN) -> tuple[str, bytes]:
    data = {"label": LABELS[index], "index": index, "score": 0.9, "bin": BINS[LABELS[index]]}
    sent = Event(
        run=run, seq=seq, time=1.0, pipeline=PIPELINE, kind="decision", frame=frame or f"{seq:05d}", data=data
    )
    return TOPICS.events, codec.encode(sent)


def act(seq: int, index: int, **changes: object) -> tuple[str, bytes]:
    label = LABELS[index]
    said = {"run": RUN, "seq": seq, "frame": f"{seq:05d}", "label": label, "bin": BINS[label], **changes}
    return TOPICS.act(PIPELINE), msgspec.json.encode(said)


def state(status: str, run: str = RUN) -> tuple[str, bytes]:
    said = {"status": status, "run": run, "version": "1", "app": "sorting", "hardware": "any"}
    return TOPICS.state, codec.encode(msgspec.convert(said, State))


def report(variant: str = "tflite-int8") -> tuple[str, bytes]:
    running = PipelineReport(
        bundle="toy",
        version="1.0.0",
        digest="00",
        variant=variant,
        runtime="tflite",
        placement={},
        state="RUNNING",
    )
    return TOPICS.reported, codec.encode(Reported(run=RUN, phase="IDLE", pipelines={PIPELINE: running}))


def telemetry(frames: int, seq: int = 0) -> tuple[str, bytes]:
    counted = PipelineMetrics(
        frames=frames,
        dropped=0,
        decisions=frames,
        events=frames,
        no_input=0,
        late=0,
        errors=0,
        stages={},
        classes={},
        rss_mb=1.0,
        cpu_s=1.0,
    )
    sent = Telemetry(run=RUN, seq=seq, start=0.0, duration_s=1.0, pipelines={PIPELINE: counted})
    return TOPICS.telemetry, codec.encode(sent)


def account(**changes: object) -> AgentReport:
    plain = AgentReport(
        run=RUN,
        frames=5,
        dropped=0,
        late=0,
        decisions=5,
        events=5,
        p50_ms=1.0,
        p99_ms=2.0,
        variant="tflite-int8",
        placement="cpu",
    )
    return msgspec.structs.replace(plain, **changes)


EVENTS = [event(i, p) for i, p in enumerate(PREDICTIONS)]
ACTS = [act(i, p) for i, p in enumerate(PREDICTIONS)]
FRAME = [state("online"), report(), telemetry(2), telemetry(3, seq=1)]
END = [state("offline")]
RIGHT = [*FRAME, *EVENTS, *ACTS, *END]


def judge(messages: list[tuple[str, bytes]], **changes: object) -> Verdict:
    ledger = Ledger(TOPICS, PIPELINE)
    for topic, payload in messages:
        ledger.take(topic, payload)
    return check(ledger, TRUTH, BINS, PREDICTIONS, account(**changes))


def without(messages: list[tuple[str, bytes]], *gone: tuple[str, bytes]) -> list[tuple[str, bytes]]:
    return [message for message in messages if message not in gone]


def test_a_run_without_fault() -> None:
    assert judge(RIGHT) == Verdict(
        fed=5,
        decided=5,
        right=0.8,
        exact=0,
        lost=0,
        duplicates=0,
        dropped_share=0.0,
        bins={"tops": 2, "bags": 2, "shoes": 1},
        faults=(),
    )


@pytest.mark.parametrize(
    ("messages", "changes", "expected"),
    [
        pytest.param(
            without(RIGHT, EVENTS[2]), {}, {"lost": 1, "exact": 1, "faults": ()}, id="an event in the middle"
        ),
        pytest.param(without(RIGHT, EVENTS[4]), {}, {"lost": 1, "exact": 1}, id="the last event"),
        pytest.param(without(RIGHT, *EVENTS), {}, {"lost": 5, "exact": 5, "right": 0.0}, id="all events"),
        pytest.param(without(RIGHT, ACTS[0], ACTS[3]), {}, {"lost": 2, "exact": 0}, id="two bin messages"),
        pytest.param(
            without(RIGHT, EVENTS[1]),
            {"events": 4},
            {"lost": 1},
            id="a gap that the agent's count hides",
        ),
        pytest.param(
            without(RIGHT, EVENTS[4], ACTS[4]),
            {"events": 4, "decisions": 4, "dropped": 1},
            {"lost": 0, "exact": 0, "dropped_share": 0.2, "decided": 4},
            id="a dropped frame",
        ),
        pytest.param(
            without(RIGHT, EVENTS[4], ACTS[4]),
            {"events": 4, "decisions": 4, "late": 1},
            {"lost": 0, "exact": 0, "dropped_share": 0.2},
            id="a late frame",
        ),
        pytest.param(
            without(RIGHT, EVENTS[4], ACTS[4]),
            {"events": 4, "decisions": 4},
            {"lost": 0, "exact": 1, "dropped_share": 0.0},
            id="a frame that nobody accounts for",
        ),
        pytest.param([*RIGHT, EVENTS[0], ACTS[0]], {}, {"duplicates": 2, "lost": 0}, id="duplicates"),
        pytest.param(
            [*without(RIGHT, EVENTS[1], ACTS[1]), event(1, 2), act(1, 2)],
            {},
            {"exact": 1, "right": 0.6, "faults": ()},
            id="a decision that is not the variant's own",
        ),
        pytest.param(
            [*without(RIGHT, EVENTS[4], ACTS[4]), event(4, 2), act(4, 2)],
            {},
            {"exact": 1, "right": 1.0},
            id="a decision that is right where the variant is wrong",
        ),
        pytest.param(
            [*RIGHT, event(5, 1, frame="00000"), act(5, 1, frame="00000")],
            {"events": 6, "decisions": 6},
            {"exact": 1, "right": 0.6},
            id="two decisions on a frame, one of them the variant's",
        ),
        pytest.param(
            [*RIGHT, event(5, 0, frame="00009")],
            {"events": 6, "decisions": 5},
            {"exact": 1, "decided": 6},
            id="a frame that was never fed",
        ),
        pytest.param(
            [*without(RIGHT, ACTS[0]), event(0, 2, run=OTHER_RUN), act(0, 2, run=OTHER_RUN)],
            {},
            {"exact": 0, "lost": 1, "duplicates": 0, "faults": ()},
            id="messages of another run",
        ),
    ],
)
def test_what_arrived(
    messages: list[tuple[str, bytes]], changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    verdict = msgspec.structs.asdict(judge(messages, **changes))
    assert {
        name: pytest.approx(verdict[name]) if name == "right" else verdict[name] for name in expected
    } == (expected)


@pytest.mark.parametrize(
    ("messages", "changes", "fault"),
    [
        (without(RIGHT, FRAME[0]), {}, "the agent's birth did not arrive"),
        (without(RIGHT, *END), {}, "the agent did not say that it went offline"),
        ([*without(RIGHT, *END), state("offline", OTHER_RUN)], {}, "did not say that it went offline"),
        ([*RIGHT, state("online")], {}, "did not say that it went offline"),
        (without(RIGHT, FRAME[1]), {}, "no report named the variant tflite-int8"),
        (RIGHT, {"variant": "onnx-int8"}, "no report named the variant onnx-int8"),
        (without(RIGHT, FRAME[3]), {}, "telemetry counted 2 frames, the agent 5"),
        (RIGHT, {"errors": 3}, "the agent counted 3 errors"),
        ([*without(RIGHT, ACTS[0]), act(0, 0, bin="bags")], {}, "1 articles were sent to a bin"),
        ([*without(RIGHT, ACTS[0]), act(0, 1)], {}, "1 articles were sent to a bin"),
        ([*without(RIGHT, ACTS[0]), act(0, 0, frame="00003")], {}, "1 articles were sent to a bin"),
    ],
)
def test_what_an_agent_must_report(
    messages: list[tuple[str, bytes]], changes: dict[str, Any], fault: str
) -> None:
    faults = judge(messages, **changes).faults
    assert len(faults) == 1
    assert fault in faults[0]


@pytest.mark.parametrize("topic", [TOPICS.events, TOPICS.state, TOPICS.telemetry, TOPICS.act(PIPELINE)])
def test_a_broken_message_is_an_error(topic: str) -> None:
    with pytest.raises(MessageError):
        Ledger(TOPICS, PIPELINE).take(topic, b'{"schema": 1')


def test_the_broker_says_what_it_is() -> None:
    ledger = Ledger(TOPICS, PIPELINE)
    ledger.take(BROKER_VERSION, b"mosquitto version 2.0.11")
    assert ledger.broker == "mosquitto 2.0.11"
    assert BROKER_VERSION in ledger.filters


@given(st.data())
def test_order_and_repetition_change_only_the_count_of_duplicates(data: st.DataObject) -> None:
    middle = [*EVENTS, *ACTS]
    shuffled = data.draw(st.permutations(middle))
    repeated = data.draw(st.lists(st.sampled_from(middle), max_size=10))
    verdict = judge([*FRAME, *shuffled, *repeated, *END])
    calm = msgspec.structs.replace(judge(RIGHT), duplicates=len(repeated), bins=verdict.bins)
    assert verdict == calm
    assert dict(verdict.bins) == judge(RIGHT).bins


@given(st.sets(st.integers(0, 4)))
def test_lost_is_exactly_what_did_not_arrive(gone: set[int]) -> None:
    verdict = judge(without(RIGHT, *(EVENTS[i] for i in gone)))
    assert (verdict.lost, verdict.exact) == (len(gone), len(gone))
