"""Which entities a device has: a pure function of its pipelines."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from outrider_agent.discovery import templates
from outrider_agent.discovery.payload import Entity
from outrider_bundle.manifest import ControlDecoder, Manifest, RegressionDecoder
from outrider_bundle.topics import Topics

MOST_VALUES = 16
"""Of a model that gives more numbers only the first become entities."""
LEAST_EXPIRY_S = 60
EXPIRY_INTERVALS = 3
"""Telemetry that failed to come so many times makes its entities unavailable."""
STATES = ("STARTING", "RUNNING", "DEGRADED", "STOPPED")
DIAGNOSTIC: Final = "diagnostic"

_SAID: Final[Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]] = {
    "classification": ({"label": templates.LABEL}, {"score": templates.SCORE}),
    "detection": (
        {"label": templates.SUREST},
        {"score": templates.SUREST_SCORE, "count": templates.COUNT},
    ),
    "control": ({"action": templates.ACTION}, {}),
    "anomaly": ({}, {"score": templates.STRANGENESS}),
}
"""By task, what decisions tell in words and in numbers."""

_MEASURED: Final = (
    ("fps", "frame rate", "fps", "measurement", templates.RATE),
    ("latency", "latency p95", "ms", "measurement", templates.LATENCY),
    ("dropped", "dropped", "frames", "measurement", "p['dropped']"),
    ("restarts", "restarts", "", "total_increasing", "p.get('restarts', 0)"),
)
"""What telemetry tells of a pipeline: key, name, unit, state class, expression."""


class Subject(Struct, frozen=True, kw_only=True):
    """What decides on the entities of a pipeline.

    Args:
        id: the pipeline's.
        task: of its bundle.
        numbers: names of the numbers that the model gives, if that is what it does.
    """

    id: str
    task: str
    numbers: tuple[str, ...] = ()


def subject(name: str, manifest: Manifest) -> Subject:
    """Return what decides on the entities of the pipeline `name` that runs a bundle."""
    decoder = manifest.outputs[0].decoder
    numbers: tuple[str, ...] = ()
    if isinstance(decoder, RegressionDecoder) or (
        isinstance(decoder, ControlDecoder) and decoder.space == "continuous"
    ):
        numbers = decoder.names[:MOST_VALUES]
    return Subject(id=name, task=manifest.task, numbers=numbers)


def entities(
    topics: Topics, interval_s: float, subjects: Sequence[Subject], *, thermal: bool
) -> dict[str, Entity]:
    """Return the entities by their keys, which no other entity of the device ever has.

    Args:
        topics: of the device.
        interval_s: of its telemetry.
        subjects: its pipelines.
        thermal: whether its board tells how hot it is.
    """
    expiry_s = max(LEAST_EXPIRY_S, round(EXPIRY_INTERVALS * interval_s))
    made = dict(_of_device(topics))
    made |= dict(_of_board(topics, expiry_s)) if thermal else {}
    for one in subjects:
        for kinds in (_decisions(topics, one), _telemetry(topics, one, expiry_s), _reports(topics, one)):
            made.update(kinds)
    return made


def identifier(topics: Topics, key: str = "") -> str:
    """Return what stands for the device, or for one of its entities, and for nothing else anywhere."""
    return "/".join(filter(None, ("outrider", topics.fleet, topics.device, key)))


def _of_device(topics: Topics) -> Iterator[tuple[str, Entity]]:
    yield _entity(
        topics,
        "agent_phase",
        Entity(
            platform="sensor",
            name="Phase",
            state_topic=topics.reported,
            value_template=templates.PHASE,
            entity_category=DIAGNOSTIC,
        ),
    )
    yield _entity(
        topics,
        "agent_problem",
        Entity(
            platform="binary_sensor",
            name="Problem",
            state_topic=topics.reported,
            value_template=templates.TROUBLE,
            device_class="problem",
            entity_category=DIAGNOSTIC,
            json_attributes_topic=topics.reported,
            json_attributes_template=templates.TROUBLE_WHY,
        ),
    )


def _of_board(topics: Topics, expiry_s: int) -> Iterator[tuple[str, Entity]]:
    yield _entity(
        topics,
        "agent_throttled",
        Entity(
            platform="binary_sensor",
            name="Throttled",
            state_topic=topics.telemetry,
            value_template=templates.THROTTLED,
            device_class="problem",
            entity_category=DIAGNOSTIC,
            expire_after=expiry_s,
            json_attributes_topic=topics.telemetry,
            json_attributes_template=templates.THROTTLED_BY,
        ),
    )
    yield _entity(
        topics,
        "agent_temperature",
        Entity(
            platform="sensor",
            name="Temperature",
            state_topic=topics.telemetry,
            value_template=templates.TEMPERATURE,
            device_class="temperature",
            state_class="measurement",
            unit_of_measurement="°C",
            suggested_display_precision=1,
            entity_category=DIAGNOSTIC,
            expire_after=expiry_s,
        ),
    )


def _decisions(topics: Topics, one: Subject) -> Iterator[tuple[str, Entity]]:
    """Yield what decisions tell; they come as events, so nothing is known before the first."""
    words, numbers = _SAID.get(one.task, ({}, {}))
    if one.numbers:
        words, numbers = {}, {}
    for what, expression in words.items():
        template = templates.text(one.id, expression)
        yield _piped(
            topics, one, what, Entity(platform="sensor", state_topic=topics.events, value_template=template)
        )
    if one.task == "anomaly":
        template = templates.truth(one.id, templates.STRANGE)
        entity = Entity(
            platform="binary_sensor",
            state_topic=topics.events,
            value_template=template,
            device_class="problem",
        )
        yield _piped(topics, one, "anomaly", entity)
    for what, expression in numbers.items():
        yield _piped(topics, one, what, _number(topics.events, templates.number(one.id, expression)))
    for at, name in enumerate(one.numbers):
        number = _number(topics.events, templates.number(one.id, templates.named(name)))
        yield _piped(topics, one, f"value_{at}", number, name)
    event = Entity(
        platform="event",
        state_topic=topics.events,
        value_template=templates.happened(one.id),
        event_types=("decision",),
    )
    yield _piped(topics, one, "decision", event)


def _telemetry(topics: Topics, one: Subject, expiry_s: int) -> Iterator[tuple[str, Entity]]:
    for what, name, unit, kind, expression in _MEASURED:
        counting = kind == "total_increasing"
        entity = Entity(
            platform="sensor",
            state_topic=topics.telemetry,
            value_template=templates.measured(one.id, expression),
            state_class=kind,
            unit_of_measurement=unit,
            device_class="duration" if unit == "ms" else "",
            suggested_display_precision=0 if counting or unit == "frames" else 1,
            entity_category=DIAGNOSTIC,
            expire_after=expiry_s,
        )
        yield _piped(topics, one, what, entity, name)


def _reports(topics: Topics, one: Subject) -> Iterator[tuple[str, Entity]]:
    state = Entity(
        platform="sensor",
        state_topic=topics.reported,
        value_template=templates.reported(one.id, "p['state']"),
        device_class="enum",
        options=STATES,
        entity_category=DIAGNOSTIC,
    )
    yield _piped(topics, one, "state", state)
    problem = Entity(
        platform="binary_sensor",
        state_topic=topics.reported,
        value_template=templates.reported(one.id, "('ON' if p.get('reason') else 'OFF')"),
        device_class="problem",
        entity_category=DIAGNOSTIC,
        json_attributes_topic=topics.reported,
        json_attributes_template=templates.why(one.id),
    )
    yield _piped(topics, one, "problem", problem)


def _number(topic: str, template: str) -> Entity:
    return Entity(
        platform="sensor",
        state_topic=topic,
        value_template=template,
        state_class="measurement",
        suggested_display_precision=3,
    )


def _piped(topics: Topics, one: Subject, what: str, entity: Entity, name: str = "") -> tuple[str, Entity]:
    """Return an entity of a pipeline, called after both."""
    named = replace(entity, name=f"{one.id} {name or what}")
    return _entity(topics, f"{one.id}_{what}", named)


def _entity(topics: Topics, key: str, entity: Entity) -> tuple[str, Entity]:
    return key, replace(entity, unique_id=identifier(topics, key))
