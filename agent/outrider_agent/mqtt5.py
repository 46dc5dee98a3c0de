"""A paho client with what the configuration says of the broker."""

import ssl
from pathlib import Path
from socket import IPPROTO_TCP, TCP_NODELAY, socket

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from outrider_agent.broker import BrokerOptions
from outrider_bundle.errors import UsageError

CONNECT_TIMEOUT_S = 5.0


def client(link: BrokerOptions, name: str) -> Client:
    """Return a client called `name` that is not connected yet.

    Raises:
        UsageError: the password or a certificate cannot be read.
    """
    made = Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5)
    made.connect_timeout = CONNECT_TIMEOUT_S
    # The window is kept by the link, which knows what the broker allows.
    made.max_inflight_messages_set(0)
    made.max_queued_messages_set(0)
    made.on_socket_open = _no_delay
    if link.username is not None:
        made.username_pw_set(link.username, _password(link.password_file))
    if link.tls:
        made.tls_set_context(_tls(link))
    host, port = link.address
    made.connect_async(host, port, link.keepalive_s, clean_start=False, properties=_connect(link))
    return made


def set_will(made: Client, topic: str, payload: bytes, delay_s: int) -> None:
    """Leave a retained message with the broker for when this client is gone for `delay_s`."""
    properties = Properties(PacketTypes.WILLMESSAGE)  # type: ignore[no-untyped-call]
    properties.WillDelayInterval = delay_s
    made.will_set(topic, payload, qos=1, retain=True, properties=properties)


def expiring(after_s: int) -> Properties:
    """Return what tells a broker not to deliver a message after so many seconds."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = min(after_s, (1 << 32) - 1)
    return properties


def _connect(link: BrokerOptions) -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = link.session_expiry_s
    properties.ReceiveMaximum = link.receive_maximum
    return properties


def _password(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The password in {file} cannot be read: {error}") from error


def _tls(link: BrokerOptions) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=link.ca)
        if link.cert and link.key:
            context.load_cert_chain(link.cert, link.key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"The certificates for the broker cannot be used: {error}", "Check its ca, cert and key"
        ) from error
    return context


def _no_delay(_client: Client, _data: object, connection: object) -> None:
    """Send small packets at once: Nagle's algorithm costs 80 ms a round trip here."""
    if isinstance(connection, socket):
        connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
