"""A camera of our own: RTSP over TCP and UDP, with what cheap cameras do; it knows exactly what it has sent.

It is reached from this machine alone, on threads of this process, and ends with its `with` block.
"""

from __future__ import annotations

import math
import re
import socket
import struct
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import md5

PACKET_S = 0.02
_METHOD = re.compile(r"(\w+) (\S+) RTSP/1\.0")


@dataclass(frozen=True)
class Track:
    """A track: its name in the SDP, sampling rate, RTP payload type; clock is RTP's rate.

    hertz: of a tone of whole periods in 20 ms. amplitude: of it, where the codec keeps that.
    """

    encoding: str
    rate: int
    payload: int
    clock: int = 0
    parameters: str = ""
    hertz: int = 400
    amplitude: float = 0.25

    @property
    def channels(self) -> int:
        """As the SDP says it."""
        return int(self.parameters[1:] or 1)

    @property
    def step(self) -> int:
        """Timestamps a packet."""
        return round((self.clock or self.rate) * PACKET_S)

    @cached_property
    def packet(self) -> bytes:
        """20 ms of its tone, which all packets are, or of silence where a codec is not that simple."""
        count = round(self.rate * PACKET_S)
        tone = [math.sin(2 * math.pi * self.hertz * i / self.rate) for i in range(count)]
        if self.encoding in ("L16", "L24"):
            bits = int(self.encoding[1:])
            values = [round(self.amplitude * 2 ** (bits - 1) * value) for value in tone for _ in range(self.channels)]
            return b"".join(value.to_bytes(bits // 8, "big", signed=True) for value in values)
        if self.encoding == "G722":
            return bytes(160)
        if self.encoding == "PCMU":
            return bytes(127 + 60 * (1 if value > 0 else 0) for value in tone)
        return bytes((0xF8, 0xFF, 0xFE))  # Opus: 20 ms of silence


PCMU = Track("PCMU", 8000, 0)
L16 = Track("L16", 16000, 97)
L16_STEREO = Track("L16", 16000, 97, parameters="/2")
L24 = Track("L24", 48000, 99)
G722 = Track("G722", 8000, 9)
OPUS = Track("opus", 48000, 98, parameters="/2")


@dataclass(frozen=True)
class Habits:
    """What a camera does.

    jitter: of timestamps, in samples, to either side by turns. ppm: how much faster than nominal it records. steps:
    second -> seconds by which its timestamps step. first: of its timestamps. new_source: the second from which on they
    come from another source (SSRC). lost: every so manieth packet never leaves it. stalls: second ->
    seconds in which nothing leaves it; caught_up: what it recorded meanwhile comes then, at once. needs_video: it
    sends nothing before its video is set up. deaf: it sends nothing. auth: what it wants of who asks, Basic or Digest
    with an algorithm: the user `user` and the password `hunter2`.
    """

    tracks: tuple[Track, ...] = (PCMU,)
    jitter: int = 0
    ppm: float = 0.0
    steps: dict[float, float] = field(default_factory=dict)
    first: int = 0
    new_source: float = math.inf
    lost: int = 0
    stalls: dict[float, float] = field(default_factory=dict)
    caught_up: bool = False
    needs_video: bool = False
    deaf: bool = False
    auth: str = ""


@dataclass
class _Session:
    """One client. channels: of what it has set up, by track: interleaved channel, or UDP port."""

    connection: socket.socket
    udp: bool = False
    channels: dict[str, int] = field(default_factory=dict)
    playing: bool = False
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Camera:
    """A camera with habits. requests: the methods it was asked, in order. sent, missing: packets of the first track."""

    def __init__(self, habits: Habits) -> None:
        self._habits = habits
        self._server = socket.create_server(("127.0.0.1", 0))
        self._media = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._media.bind(("127.0.0.1", 0))
        self.requests: list[str] = []
        self.sent = self.missing = 0
        self._sessions: list[_Session] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, credentials: str = "") -> str:
        """Its address."""
        return f"rtsp://{credentials}127.0.0.1:{self._server.getsockname()[1]}/birds"

    @property
    def sent_s(self) -> float:
        """Seconds of sound that left it."""
        return self.sent * PACKET_S

    @property
    def missing_s(self) -> float:
        """Seconds of sound that did not, while somebody listened."""
        return self.missing * PACKET_S

    def close(self) -> None:
        """End it, and its connections."""
        self._server.close()
        self._media.close()
        for session in self._sessions:
            session.ended.set()
            with suppress(OSError):
                session.connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                session = _Session(self._server.accept()[0])
                self._sessions.append(session)
                threading.Thread(target=self._serve, args=(session,), daemon=True).start()

    def _serve(self, session: _Session) -> None:
        with suppress(OSError), session.connection:
            received = b""
            while data := session.connection.recv(4096):
                received += data
                while received[:1] == b"$" and len(received) >= 4:  # what it reports about what it has heard
                    received = received[4 + int.from_bytes(received[2:4], "big") :]
                while b"\r\n\r\n" in received:
                    head, _, received = received.partition(b"\r\n\r\n")
                    self._answer(session, head.decode("latin1"))
        session.ended.set()

    def _answer(self, session: _Session, head: str) -> None:
        found = _METHOD.search(head)
        if not found:
            return
        method, url = found.groups()
        self.requests.append(method)
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head.split("\r\n")[1:])}
        status, more, body = "200 OK", "", ""
        if self._habits.auth and not _is_known(self._habits.auth, method, headers.get("authorization", "")):
            status, more = "401 Unauthorized", f"WWW-Authenticate: {self._habits.auth}\r\n"
        elif method == "DESCRIBE":
            body = self._sdp()
            more = f"Content-Type: application/sdp\r\nContent-Base: {url}/\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            more = self._set_up(session, url, headers["transport"])
        with session.lock:
            answer = f"RTSP/1.0 {status}\r\nCSeq: {headers['cseq']}\r\n{more}\r\n{body}"
            session.connection.sendall(answer.encode())
        if method == "PLAY" and status == "200 OK" and not session.playing:
            session.playing = True
            threading.Thread(target=self._play, args=(session,), daemon=True).start()
        if method == "TEARDOWN":
            session.ended.set()

    def _sdp(self) -> str:
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=camera", "t=0 0"]
        lines += ["m=video 0 RTP/AVP 96", "a=rtpmap:96 H264/90000", "a=control:video"]
        for number, track in enumerate(self._habits.tracks):
            lines += [f"m=audio 0 RTP/AVP {track.payload}"]
            lines += [f"a=rtpmap:{track.payload} {track.encoding}/{track.rate}{track.parameters}"]
            lines += [f"a=control:audio{number}"]
        return "\r\n".join([*lines, ""])

    def _set_up(self, session: _Session, url: str, transport: str) -> str:
        name = url.rpartition("/")[2]
        interleaved = re.search(r"interleaved=(\d+)", transport)
        session.udp = interleaved is None
        port = re.search(r"client_port=(\d+)", transport)
        channel = int((interleaved or port or [0, 0])[1])
        session.channels[name] = channel
        ours = self._media.getsockname()[1]
        where = f"TCP;unicast;interleaved={channel}-{channel + 1}"
        if session.udp:
            where = f"UDP;unicast;client_port={channel}-{channel + 1};server_port={ours}-{ours + 1}"
        return f"Session: 1;timeout=60\r\nTransport: RTP/AVP/{where}\r\n"

    # ------------------------------------------------------------------------------------------------------------ media
    def _play(self, session: _Session) -> None:
        habits, began = self._habits, time.monotonic()
        silent = habits.deaf or (habits.needs_video and "video" not in session.channels)
        stalls = [(at, at + length) for at, length in sorted(habits.stalls.items())]
        pace, number = PACKET_S / (1 + habits.ppm / 1e6), 0
        while not session.ended.is_set():
            at = (number + 1) * pace
            stall = next((until for since, until in stalls if since <= at < until), None)
            due = stall if stall and habits.caught_up else at
            if session.ended.wait(max(0.0, began + due - time.monotonic())):
                return
            if silent:
                number += 1
                continue
            missing = (stall and not habits.caught_up) or (habits.lost and number % habits.lost == habits.lost - 1)
            step = sum(seconds for when, seconds in habits.steps.items() if at >= when)
            for index, track in enumerate(habits.tracks):
                if f"audio{index}" in session.channels and not missing:
                    self._send(session, index, track, number, step)
            self.sent += not missing
            self.missing += bool(missing)
            number += 1

    def _send(self, session: _Session, index: int, track: Track, number: int, step: float) -> None:
        jitter = self._habits.jitter * (1 if number % 2 else -1)
        stamp = self._habits.first + number * track.step + jitter + round(step * (track.clock or track.rate))
        source = 7 + index + (90 if number * PACKET_S >= self._habits.new_source else 0)
        head = struct.pack(">BBHII", 0x80, track.payload, number & 0xFFFF, stamp & 0xFFFFFFFF, source)
        packet, channel = head + track.packet, session.channels[f"audio{index}"]
        with suppress(OSError), session.lock:
            if session.udp:
                self._media.sendto(packet, ("127.0.0.1", channel))
            else:
                session.connection.sendall(b"$" + bytes([channel]) + struct.pack(">H", len(packet)) + packet)


def _is_known(wanted: str, method: str, header: str) -> bool:
    """Whether who asks knows the password."""
    if wanted.startswith("Basic"):
        return header == "Basic " + b64encode(b"user:hunter2").decode()
    said = dict(re.findall(r'(\w+)="([^"]*)"', header))
    first = md5(f"user:{said.get('realm')}:hunter2".encode()).hexdigest()
    second = md5(f"{method}:{said.get('uri')}".encode()).hexdigest()
    answer = md5(f"{first}:{said.get('nonce')}:{second}".encode()).hexdigest()
    return "SHA-256" not in wanted and said.get("response") == answer


@contextmanager
def camera(habits: Habits | None = None) -> Iterator[Camera]:
    """Run a camera."""
    running = Camera(habits or Habits())
    try:
        yield running
    finally:
        running.close()
