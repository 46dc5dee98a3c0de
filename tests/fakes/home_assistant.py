"""Home Assistant as far as its documentation tells what it makes of messages; it refuses all else.

Sources: https://www.home-assistant.io/integrations/mqtt/ (discovery, abbreviations), and the pages of the
platforms, such as https://www.home-assistant.io/integrations/sensor.mqtt/.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct

Node = dict[str, Any]

TOPIC = re.compile(r"(?P<component>\w+)/(?:(?P<node>[a-zA-Z0-9_-]+)/)?(?P<object>[a-zA-Z0-9_-]+)/config")
ABBREVIATIONS: Mapping[str, str] = {
    "avty": "availability", "avty_mode": "availability_mode", "avty_t": "availability_topic",
    "avty_tpl": "availability_template", "cmps": "components", "def_ent_id": "default_entity_id",
    "dev": "device", "dev_cla": "device_class", "e": "encoding", "en": "enabled_by_default",
    "ent_cat": "entity_category", "ent_pic": "entity_picture", "evt_typ": "event_types",
    "exp_aft": "expire_after", "frc_upd": "force_update", "ic": "icon",
    "json_attr_t": "json_attributes_topic", "json_attr_tpl": "json_attributes_template",
    "lrst_val_tpl": "last_reset_value_template", "o": "origin", "off_dly": "off_delay", "ops": "options",
    "p": "platform", "pl_avail": "payload_available", "pl_not_avail": "payload_not_available",
    "pl_off": "payload_off", "pl_on": "payload_on", "stat_cla": "state_class", "stat_t": "state_topic",
    "sug_dsp_prc": "suggested_display_precision", "t": "topic", "uniq_id": "unique_id",
    "unit_of_meas": "unit_of_measurement", "val_tpl": "value_template",
}  # fmt: skip
DEVICE_ABBREVIATIONS: Mapping[str, str] = {
    "cu": "configuration_url", "cns": "connections", "ids": "identifiers", "mf": "manufacturer",
    "mdl": "model", "mdl_id": "model_id", "hw": "hw_version", "sw": "sw_version", "sa": "suggested_area",
    "sn": "serial_number",
}  # fmt: skip
ORIGIN_ABBREVIATIONS: Mapping[str, str] = {"sw": "sw_version", "url": "support_url"}

ROOT: Mapping[str, type] = {
    "device": dict, "origin": dict, "components": dict, "availability_topic": str,
    "availability_template": str, "qos": int,
}  # fmt: skip
DEVICE: Mapping[str, type] = {
    "identifiers": list, "name": str, "manufacturer": str, "model": str, "sw_version": str,
    "suggested_area": str,
}  # fmt: skip
ORIGIN: Mapping[str, type] = {"name": str, "sw_version": str}
EVERY: Mapping[str, type] = {
    "platform": str, "unique_id": str, "name": str, "state_topic": str, "value_template": str,
    "device_class": str, "entity_category": str, "json_attributes_topic": str,
    "json_attributes_template": str,
}  # fmt: skip
PLATFORMS: Mapping[str, Mapping[str, type]] = {
    "sensor": {
        "expire_after": int, "options": list, "state_class": str, "suggested_display_precision": int,
        "unit_of_measurement": str,
    },
    "binary_sensor": {"expire_after": int},
    "event": {"event_types": list},
}  # fmt: skip
VALUES: Mapping[str, frozenset[str]] = {
    "sensor.device_class": frozenset({"duration", "enum", "temperature"}),
    "binary_sensor.device_class": frozenset({"problem", "running"}),
    "event.device_class": frozenset({"button", "doorbell", "motion"}),
    "sensor.state_class": frozenset({"measurement", "total", "total_increasing"}),
}
UNITS: Mapping[str, frozenset[str]] = {
    "duration": frozenset({"d", "h", "min", "s", "ms"}),
    "temperature": frozenset({"°C", "°F", "K"}),
}
NUMERIC = ("state_class", "unit_of_measurement", "suggested_display_precision")
MOST_STATE = 255


class Entity(Struct):
    """One entity; its state is `unknown` before anything has come."""

    config: Node
    availability: tuple[str, str]
    state: str = "unknown"
    available: bool = False
    attributes: Node = {}
    happened: list[Node] = []


class HomeAssistant:
    """Hears messages in the order in which a broker sends them.

    Args:
        prefix: of discovery.
    """

    def __init__(self, prefix: str = "homeassistant") -> None:
        """Know nothing."""
        self._prefix = prefix
        self._jinja = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
        self._compiled: dict[str, Template] = {}
        self._kept: dict[str, bytes] = {}
        self.devices: dict[str, Node] = {}
        self.entities: dict[str, Entity] = {}

    def shown(self, name: str) -> str:
        """Return the state that a person sees of the entity of that name."""
        entity = self[name]
        return entity.state if entity.available else "unavailable"

    def __getitem__(self, name: str) -> Entity:
        """Return the entity of that name."""
        (found,) = [entity for entity in self.entities.values() if entity.config["name"] == name]
        return found

    @property
    def names(self) -> set[str]:
        """What all entities are called."""
        return {entity.config["name"] for entity in self.entities.values()}

    def hear(self, topic: str, payload: bytes, *, kept: bool = False) -> None:
        """Hear a message; one that is `kept` is what its topic retains, for entities that come later."""
        if kept:
            self._kept[topic] = payload
        if topic.startswith(f"{self._prefix}/") and topic.endswith("/config"):
            self._configure(topic, payload)
            return
        for entity in self.entities.values():
            self._tell(entity, topic, payload)

    def _configure(self, topic: str, payload: bytes) -> None:
        match = TOPIC.fullmatch(topic.removeprefix(f"{self._prefix}/"))
        assert match, topic
        assert match["component"] == "device"
        if not payload:
            self.devices.pop(topic, None)
            for key in [key for key in self.entities if key.startswith(f"{topic} ")]:
                del self.entities[key]
            return
        config = expanded(json.loads(payload))
        assert not list(faults(config)), list(faults(config))
        self.devices[topic] = config["device"]
        for name, component in config["components"].items():
            key = f"{topic} {name}"
            if component.keys() == {"platform"}:
                self.entities.pop(key, None)
            elif key in self.entities:
                self.entities[key].config = component
            else:
                self._add(key, component, config)

    def _add(self, key: str, component: Node, config: Node) -> None:
        taken = {entity.config["unique_id"] for entity in self.entities.values()}
        assert component["unique_id"] not in taken, "another entity has this unique id"
        entity = Entity(component, (config["availability_topic"], config["availability_template"]))
        self.entities[key] = entity
        for topic, payload in self._kept.items():
            self._tell(entity, topic, payload)

    def _tell(self, entity: Entity, topic: str, payload: bytes) -> None:
        available, template = entity.availability
        config = entity.config
        if topic == available:
            entity.available = self._render(template, payload, entity) == "online"
        if topic == config.get("json_attributes_topic"):
            entity.attributes = json.loads(self._render(config["json_attributes_template"], payload, entity))
        if topic == config["state_topic"]:
            self._take(entity, self._render(config["value_template"], payload, entity))

    def _take(self, entity: Entity, value: str) -> None:
        config, platform = entity.config, entity.config["platform"]
        if platform == "event":
            if value:
                told = json.loads(value)
                assert told.pop("event_type") in config["event_types"]
                entity.happened = [*entity.happened, told]
        elif value == "None":
            entity.state = "unknown"
        elif platform == "binary_sensor":
            if value:
                assert value in {"ON", "OFF"}, value
                entity.state = {"ON": "on", "OFF": "off"}[value]
        elif any(key in config for key in NUMERIC):
            if value:
                entity.state = str(float(value))
        else:
            assert "options" not in config or value in config["options"], value
            assert len(value) <= MOST_STATE
            entity.state = value

    def _render(self, template: str, payload: bytes, entity: Entity) -> str:
        state = entity.state if entity.available else "unavailable"
        if template not in self._compiled:
            self._compiled[template] = self._jinja.from_string(template)
        told = {"value": payload.decode(), "value_json": json.loads(payload), "this": {"state": state}}
        return self._compiled[template].render(told).strip()


def expanded(config: Node) -> Node:
    """Return a discovery message with full names, as Home Assistant reads it."""
    whole = _named(config, ABBREVIATIONS)
    return {
        **whole,
        "device": _named(whole["device"], DEVICE_ABBREVIATIONS),
        "origin": _named(whole["origin"], ORIGIN_ABBREVIATIONS),
        "components": {key: _named(one, ABBREVIATIONS) for key, one in whole["components"].items()},
    }


def faults(config: Node) -> Iterator[str]:
    """Yield what a message with full names has that is not documented so."""
    yield from _typed("root", config, ROOT)
    yield from _typed("device", config["device"], DEVICE)
    yield from _typed("origin", config["origin"], ORIGIN)
    if not config["device"].get("identifiers") or not config["origin"].get("name"):
        yield "device.identifiers or origin.name: missing"
    for key, one in config["components"].items():
        platform = one.get("platform")
        if platform not in PLATFORMS or not re.fullmatch(r"[a-zA-Z0-9_-]+", key):
            yield f"{key}: platform {platform}"
        elif one.keys() != {"platform"}:
            yield from _component(key, one, platform)


def _component(where: str, one: Node, platform: str) -> Iterator[str]:
    yield from _typed(where, one, {**EVERY, **PLATFORMS[platform]})
    wanted = ["unique_id", "state_topic", "name", *(["event_types"] if platform == "event" else [])]
    yield from (f"{where}.{key}: missing" for key in wanted if not one.get(key))
    for key in ("device_class", "state_class"):
        if key in one and one[key] not in VALUES[f"{platform}.{key}"]:
            yield f"{where}.{key}: {one[key]}"
    if one.get("entity_category", "diagnostic") != "diagnostic":  # sensors cannot be of `config`
        yield f"{where}.entity_category: {one['entity_category']}"
    kind = one.get("device_class", "")
    if kind in UNITS and one.get("unit_of_measurement") not in UNITS[kind]:
        yield f"{where}.unit_of_measurement: none of {kind}"
    if ("options" in one) != (platform == "sensor" and kind == "enum"):
        yield f"{where}.options: they and the class enum need each other"
    if "options" in one and any(key in one for key in NUMERIC):
        yield f"{where}: options are no numbers"
    if ("json_attributes_topic" in one) != ("json_attributes_template" in one):
        yield f"{where}.json_attributes_topic: without a template"


def _typed(where: str, table: Node, known: Mapping[str, type]) -> Iterator[str]:
    for key, value in table.items():
        if key not in known:
            yield f"{where}.{key}: unknown"
        elif type(value) is not known[key]:
            yield f"{where}.{key}: {value!r}"


def _named(table: Node, names: Mapping[str, str]) -> Node:
    return {names.get(key, key): value for key, value in table.items()}
