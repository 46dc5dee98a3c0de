"""The broker of a configuration: where it is and how to talk to it."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct

PORTS = {"mqtt": 1883, "mqtts": 8883}

Seconds = Annotated[float, Meta(gt=0.0, le=86_400.0)]


class BrokerOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker and how to talk to it.

    Args:
        url: `mqtt://host:port` or `mqtts://host:port`.
        telemetry_interval_s: one message with all metrics per interval.
        keepalive_s: after one and a half of it the broker takes a silent device for gone.
        username: where the broker asks for one; by convention the device's id.
        password_file: holds the password in its first line.
        ca: PEM file of the authorities to trust; left out for the system's.
        cert: PEM file of this device's certificate.
        key: PEM file of its key.
        session_expiry_s: how long the broker keeps what waits for this device.
        receive_maximum: how many messages it may send us before we answer.
        will_delay_s: how long it waits for us to return before it tells others.
        retry_s: the longest wait between two tries to connect.
        drain_s: at the end, how long to wait for acknowledgements.
        queue_messages: how many messages are kept in memory while the disk takes none.
        queue_bytes: how much is kept on the disk, in bytes, for a broker that is away.
        queue_age_s: what is older is given up.
        replay_per_s: how many of the messages that wait on the disk are sent a second, beside new ones.
    """

    url: str
    telemetry_interval_s: Seconds = 10.0
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    username: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    session_expiry_s: Annotated[int, Meta(ge=0, le=(1 << 32) - 2)] = 3600
    receive_maximum: Annotated[int, Meta(ge=1, le=65_535)] = 32
    will_delay_s: Annotated[int, Meta(ge=0, le=3600)] = 5
    retry_s: Seconds = 30.0
    drain_s: Annotated[float, Meta(ge=0.0, le=600.0)] = 5.0
    queue_messages: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000
    queue_bytes: Annotated[int, Meta(ge=1024, le=1 << 34)] = 64 << 20
    queue_age_s: Annotated[float, Meta(ge=1.0, le=3.2e8)] = 7 * 86_400.0
    replay_per_s: Annotated[float, Meta(gt=0.0, le=1e6)] = 200.0

    def __post_init__(self) -> None:
        """Refuse a url that names no broker or holds a secret, and half a certificate."""
        parts = urlsplit(self.url)
        port = parts.port  # raises ValueError where it is no number
        if parts.scheme not in PORTS or not parts.hostname or port == 0 or parts.path.strip("/"):
            raise ValueError("url must be like mqtt://host:1883 or mqtts://host:8883")
        if parts.username is not None:  # nobody would ask for it, and logs tell the url
            raise ValueError("url may not hold a user; use username and password_file")
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together")
        if (self.ca or self.cert) and parts.scheme != "mqtts":
            raise ValueError("ca, cert and key need a url that begins with mqtts://")

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or PORTS[parts.scheme]
