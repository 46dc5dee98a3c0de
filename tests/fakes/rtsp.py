"""A camera on the network as better ones are: RTSP (RFC 2326) and in it JPEG over RTP (RFC 2435).

It asks for user and password, as cameras do, and knows only what a client needs that reads one stream.
"""

import base64
import itertools
import socket
import struct
import threading

from tests.fakes.mjpeg import MjpegServer, jpeg

USER, PASSWORD = "viewer", "open-sesame"
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 26\r\na=control:track1\r\n"
)
MORE = {
    "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
    "PLAY": "Session: 1\r\n",
}
PIECE = 1000
"""Bytes of a picture in a packet."""


class RtspServer(MjpegServer):
    """Serves sessions as `MjpegServer` does, after a login."""

    scheme = "rtsp"

    @property
    def url(self) -> str:
        """Where the stream is, with user and password."""
        return f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/stream"

    def _serve(self, connection: socket.socket, pictures: int) -> None:
        if not pictures:
            self._drain(connection)
            return
        if not self._negotiated(connection):
            return
        listening = threading.Thread(target=self._drain, args=(connection,), daemon=True)
        listening.start()
        packets = itertools.count()
        for number in range(pictures):
            for packet in _packets(jpeg(number), 900 * number, packets):
                connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
            if self._end.wait(self._period_s):
                break
        connection.shutdown(socket.SHUT_RDWR)
        listening.join(10)

    def _negotiated(self, connection: socket.socket) -> bool:
        """Answer requests until the client wants to see pictures."""
        login = b"Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode())
        with connection.makefile("rb") as lines:
            while request := b"".join(iter(lines.readline, b"\r\n")):
                self.requests.append(request)
                method = request.split(b" ", 1)[0].decode()
                head = {k.lower(): v.strip() for k, _, v in (x.partition(b":") for x in request.splitlines())}
                allowed = head.get(b"authorization") == login or method == "OPTIONS"
                connection.sendall(_answer(method, head[b"cseq"].decode(), allowed=allowed))
                if allowed and method == "PLAY":
                    return True
        return False


def _answer(method: str, number: str, *, allowed: bool) -> bytes:
    if not allowed:
        login = 'WWW-Authenticate: Basic realm="camera"'
        return f"RTSP/1.0 401 Unauthorized\r\nCSeq: {number}\r\n{login}\r\n\r\n".encode()
    head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{MORE.get(method, '')}"
    if method == "DESCRIBE":
        return f"{head}Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n\r\n{SDP}".encode()
    return f"{head}\r\n".encode()


def _packets(picture: bytes, clock: int, numbers: "itertools.count[int]") -> list[bytes]:
    """Return the RTP packets of a JPEG with the usual Huffman tables and 4:2:0 colours."""
    tables, (height, width), scan = _parts(picture)
    made: list[bytes] = []
    for start in range(0, len(scan), PIECE):
        piece = scan[start : start + PIECE]
        last = start + PIECE >= len(scan)
        rtp = struct.pack(">BBHII", 0x80, 26 | (0x80 if last else 0), next(numbers) & 0xFFFF, clock, 7)
        head = struct.pack(">IBBBB", start, 1, 255, width // 8, height // 8)
        if not start:
            head += struct.pack(">BBH", 0, 0, len(tables)) + tables
        made.append(rtp + head + piece)
    return made


def _parts(picture: bytes) -> tuple[bytes, tuple[int, int], bytes]:
    """Return the quantization tables of a JPEG, its height and width, and what comes behind its headers."""
    tables, size, at = b"", (0, 0), 2
    while True:
        marker, length = struct.unpack_from(">HH", picture, at)
        body = picture[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xFFDB:
            tables += b"".join(body[n + 1 : n + 65] for n in range(0, len(body), 65))
        elif marker == 0xFFC0:
            size = struct.unpack_from(">HH", body, 1)
        elif marker == 0xFFDA:
            return tables, size, picture[at:-2]
