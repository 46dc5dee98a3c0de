import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider_bundle.errors import MessageError, UsageError
from outrider_bundle.topics import KINDS, Address, Topics, every, parse

IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)

EXPECTED = {
    "state": "outrider/v1/plant/d/cam-7/up/state",
    "reported": "outrider/v1/plant/d/cam-7/up/rep",
    "telemetry": "outrider/v1/plant/d/cam-7/up/tele",
    "events": "outrider/v1/plant/d/cam-7/up/evt",
    "act": "outrider/v1/plant/d/cam-7/up/act/line",
    "desired": "outrider/v1/plant/d/cam-7/dn/des",
    "commands": "outrider/v1/plant/d/cam-7/dn/cmd",
    "blocks": "outrider/v1/plant/d/cam-7/dn/blk",
    "get": "outrider/v1/plant/ota/get/cam-7",
}


def topic(topics: Topics, kind: str, pipeline: str = "line") -> str:
    return topics.act(pipeline) if kind == "act" else str(getattr(topics, kind))


def matches(pattern: str, name: str) -> bool:
    """MQTT's own rule, for filters with `+` only."""
    levels = zip(pattern.split("/"), name.split("/"), strict=False)
    return pattern.count("/") == name.count("/") and all(want in ("+", got) for want, got in levels)


def test_topics_are_as_documented() -> None:
    topics = Topics("plant", "cam-7")
    assert {kind: topic(topics, kind) for kind in KINDS} == EXPECTED


@given(IDS, IDS, IDS, st.sampled_from(KINDS))
def test_what_is_built_is_taken_apart_again(fleet: str, device: str, pipeline: str, kind: str) -> None:
    name = topic(Topics(fleet, device), kind, pipeline)
    assert parse(name) == Address(fleet, device, kind, pipeline if kind == "act" else "")


@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_catches_its_kind_of_every_device_and_no_other(kind: str) -> None:
    pattern = every("plant", kind)
    caught = {other for other in KINDS if matches(pattern, topic(Topics("plant", "x"), other))}
    assert caught == {kind}
    assert not matches(pattern, topic(Topics("farm", "x"), kind))


@pytest.mark.parametrize("bad", ["", "a b", "a/b", "+", "#", "ä", "a\n", "x" * 65, "a\0"])
def test_only_plain_ids_will_do(bad: str) -> None:
    for build in (
        lambda: Topics(bad, "x"),
        lambda: Topics("x", bad),
        lambda: Topics("x", "y").act(bad),
        lambda: every(bad, "state"),
    ):
        with pytest.raises(UsageError, match=r"is not a (fleet|device|pipeline) id"):
            build()
    for name in (
        f"outrider/v1/{bad}/d/x/up/state",
        f"outrider/v1/x/d/{bad}/up/state",
        f"outrider/v1/x/d/y/up/act/{bad}",
        f"outrider/v1/x/ota/get/{bad}",
    ):
        with pytest.raises(MessageError, match="not a topic of ours"):
            parse(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "outrider/v1",
        "outrider/v2/x/d/y/up/state",
        "outrider/v1/x/d/y/up",
        "outrider/v1/x/d/y/up/act",
        "outrider/v1/x/d/y/up/state/more",
        "outrider/v1/x/d/y/dn/state",
        "other/outrider/v1/x/d/y/up/state",
        "$share/g/outrider/v1/x/ota/get/y",
    ],
)
def test_a_foreign_topic_is_refused(name: str) -> None:
    with pytest.raises(MessageError, match="not a topic of ours"):
        parse(name)


@given(st.text())
def test_any_text_is_a_topic_or_an_error(name: str) -> None:
    with pytest.raises(MessageError):
        parse(name)


def test_an_unknown_kind_is_told_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"kind 'tele'.*telemetry"):
        every("plant", "tele")
