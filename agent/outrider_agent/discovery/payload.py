"""The discovery message of a device, in the words that Home Assistant documents.

Fields are called by their full names here and go out abbreviated. What has its default is left out.
Source: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload (since 2024.12).
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from msgspec import Struct

Platform = Literal["sensor", "binary_sensor", "event"]

ENTITY: Final[Mapping[str, str]] = {
    "platform": "p",
    "unique_id": "uniq_id",
    "state_topic": "stat_t",
    "value_template": "val_tpl",
    "device_class": "dev_cla",
    "state_class": "stat_cla",
    "unit_of_measurement": "unit_of_meas",
    "entity_category": "ent_cat",
    "suggested_display_precision": "sug_dsp_prc",
    "options": "ops",
    "event_types": "evt_typ",
    "expire_after": "exp_aft",
    "json_attributes_topic": "json_attr_t",
    "json_attributes_template": "json_attr_tpl",
}
DEVICE: Final[Mapping[str, str]] = {
    "identifiers": "ids",
    "manufacturer": "mf",
    "model": "mdl",
    "sw_version": "sw",
    "suggested_area": "sa",
}
ORIGIN: Final[Mapping[str, str]] = {"sw_version": "sw"}
ROOT: Final[Mapping[str, str]] = {
    "device": "dev",
    "origin": "o",
    "components": "cmps",
    "availability_topic": "avty_t",
    "availability_template": "avty_tpl",
}


class Entity(Struct, frozen=True, kw_only=True, omit_defaults=True, rename=ENTITY):
    """One component. With nothing but its platform it takes back the component of that key."""

    platform: Platform
    unique_id: str = ""
    name: str = ""
    state_topic: str = ""
    value_template: str = ""
    device_class: str = ""
    state_class: str = ""
    unit_of_measurement: str = ""
    entity_category: str = ""
    suggested_display_precision: int = -1
    options: tuple[str, ...] = ()
    event_types: tuple[str, ...] = ()
    expire_after: int = 0
    json_attributes_topic: str = ""
    json_attributes_template: str = ""


class Device(Struct, frozen=True, kw_only=True, omit_defaults=True, rename=DEVICE):
    """What the entities belong to."""

    identifiers: tuple[str, ...]
    name: str
    manufacturer: str = ""
    model: str = ""
    sw_version: str = ""
    suggested_area: str = ""


class Origin(Struct, frozen=True, kw_only=True, rename=ORIGIN):
    """Who says so."""

    name: str
    sw_version: str


class Announcement(Struct, frozen=True, kw_only=True, rename=ROOT):
    """The whole message; `qos` is that of Home Assistant's subscriptions."""

    device: Device
    origin: Origin
    components: dict[str, Entity]
    availability_topic: str
    availability_template: str
    qos: int


def encode(announcement: Announcement) -> bytes:
    """Return the message."""
    return msgspec.json.encode(announcement)
