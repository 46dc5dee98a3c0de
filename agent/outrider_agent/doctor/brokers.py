"""Brokers: can one be reached, is it who it should be, and does it take an MQTT 5 client?

The client has no id and a clean session: it neither pushes the device itself off the broker nor leaves
anything there. MQTT 5, sections 3.1 (CONNECT), 3.2 (CONNACK) and 3.14 (DISCONNECT).
"""

import socket
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from outrider_agent.doctor.row import Row

PORTS = {"mqtt": 1883, "mqtts": 8883}
TIMEOUT_S = 3.0
CONNACK, DISCONNECT = 0x20, b"\xe0\x00"
MQTT5 = b"\x00\x04MQTT\x05"
CLEAN, PASSWORD, USERNAME = 0x02, 0x40, 0x80
OLD = {0x01, 0x84}
"""What MQTT 3 and MQTT 5 brokers say to a version that they do not know."""
REASONS = {
    0x86: "user name or password is wrong",
    0x87: "this client may not connect",
    0x88: "it is not available",
}
REASONS |= {
    0x85: "it wants a client id",
    0x89: "it is busy",
    0x8A: "this client is banned",
    0x8C: "it wants another login",
}

FAULTS: tuple[tuple[type[Exception], str, str], ...] = (
    (socket.gaierror, "its name is not known", "Correct the host, or mend the name service"),
    (TimeoutError, "no answer in time", "Is it on? Does a firewall let the port through?"),
    (
        ConnectionResetError,
        "it closes the connection",
        "Check the port: one for TLS needs mqtts://, others mqtt://",
    ),
    (ConnectionRefusedError, "nothing listens there", "Start a broker: sudo apt-get install mosquitto"),
)


class Broker(Struct, frozen=True, kw_only=True):
    """Where a broker is and how to log in, as `[link]` of a configuration has it."""

    url: str
    username: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


def broker(wanted: Broker, timeout_s: float = TIMEOUT_S) -> Row:
    """Connect to a broker and say what came of it, within `timeout_s` and the time to look up its name."""
    try:
        parts = urlsplit(wanted.url)
        host, port = parts.hostname, parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        host, port = None, 0
    if not host or not port:
        return _problem(wanted.url, "no address of a broker", "Give mqtt://host:1883 or mqtts://host:8883")
    try:
        return _tried(wanted, host, port, time.monotonic() + timeout_s)
    except (OSError, ValueError) as error:
        detail, cure = _told(error)
        return _problem(wanted.url, detail, cure)


def _tried(wanted: Broker, host: str, port: int, until_s: float) -> Row:
    begun_s = time.monotonic()
    login = _connect(wanted)
    with socket.create_connection((host, port), _left_s(until_s)) as plain:
        over = "TCP"
        connection: socket.socket = plain
        if wanted.url.startswith("mqtts:"):
            plain.settimeout(_left_s(until_s))
            connection = secured = _context(wanted).wrap_socket(plain, server_hostname=host)
            over = secured.version() or "TLS"
        with connection:
            connection.settimeout(_left_s(until_s))
            connection.sendall(login)
            reason = _connack(connection, until_s)
            if reason == 0:
                connection.sendall(DISCONNECT)
    if reason in OLD:
        cure = "Use one that does: mosquitto 1.6 or later, EMQX, HiveMQ, VerneMQ"
        return _problem(wanted.url, "it does not speak MQTT 5", cure)
    if reason:
        why = REASONS.get(reason, f"reason code {reason:#04x}")
        return _problem(wanted.url, f"it refuses us: {why}", "Correct username and password_file of [link]")
    took_ms = 1000 * (time.monotonic() - begun_s)
    return Row(part="broker", name=wanted.url, state="ok", detail=f"MQTT 5 over {over}, {took_ms:.0f} ms")


def _left_s(until_s: float) -> float:
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _connect(wanted: Broker) -> bytes:
    """Return the CONNECT packet, without properties and will."""
    flags, fields = CLEAN, [b""]
    if wanted.username is not None:
        flags |= USERNAME
        fields.append(wanted.username.encode())
    if wanted.username is not None and wanted.password_file is not None:
        flags |= PASSWORD
        fields.append(wanted.password_file.read_bytes().partition(b"\n")[0].rstrip(b"\r"))
    payload = b"".join(len(field).to_bytes(2, "big") + field for field in fields)
    body = MQTT5 + bytes([flags, 0, 10, 0]) + payload  # keep-alive 10 s, no properties
    return bytes([0x10]) + _length(len(body)) + body


def _length(number: int) -> bytes:
    """Return a variable byte integer (section 1.5.5)."""
    encoded = bytearray()
    while True:
        number, low = divmod(number, 128)
        encoded.append(low | (0x80 if number else 0))
        if not number:
            return bytes(encoded)


def _connack(connection: socket.socket, until_s: float) -> int:
    """Return the reason code, which follows type, length (1 to 4 bytes) and flags."""
    first = _exactly(connection, 1, until_s)[0]
    if first != CONNACK:
        raise ValueError("what answers is no MQTT broker")
    for _ in range(4):
        if _exactly(connection, 1, until_s)[0] < 0x80:  # noqa: PLR2004 - the last byte of the length
            break
    return _exactly(connection, 2, until_s)[1]


def _exactly(connection: socket.socket, count: int, until_s: float) -> bytes:
    received = b""
    while len(received) < count:
        connection.settimeout(_left_s(until_s))
        piece = connection.recv(count - len(received))
        if not piece:
            raise ConnectionResetError
        received += piece
    return received


def _context(wanted: Broker) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=wanted.ca)
    if wanted.cert and wanted.key:
        context.load_cert_chain(wanted.cert, wanted.key)
    return context


def _told(error: Exception) -> tuple[str, str]:
    """Return what went wrong and its cure."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not accepted: {error.verify_message}",
            "Set link.ca, and check host and clock",
        )
    if isinstance(error, ssl.SSLError):
        return (
            f"TLS failed: {error.reason or error}",
            "Check ca, cert and key of [link], and that the port is for TLS",
        )
    if isinstance(error, FileNotFoundError | PermissionError):
        return f"{error.filename or 'a file of [link]'}: {error.strerror}", "Correct the files of [link]"
    for kind, detail, cure in FAULTS:
        if isinstance(error, kind):
            return detail, cure
    cure = "Check host and port; a broker that wants TLS needs mqtts://"
    return str(getattr(error, "strerror", None) or error), cure


def _problem(url: str, detail: str, cure: str) -> Row:
    return Row(part="broker", name=url, state="problem", detail=detail, cure=cure)
