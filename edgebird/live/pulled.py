"""Sources that wait for their reader: files and standard input. Nothing of them is ever lost."""

from __future__ import annotations

import logging
import math
import os
import queue
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from edgebird.capture.blocks import SHORTEST_S, Boundaries
from edgebird.errors import AudioError, UsageError
from edgebird.live.arrival import Arrival
from edgebird.live.feed import Change
from edgebird.live.ring import Heard, Lost, Piece, Ring
from edgebird.reading.mixing import one_channel
from edgebird.reading.spoiled import NOT_FINITE, sound_parts
from edgebird.resampling import ResampledBlocks
from edgebird.types import AudioBlock, FloatArray

log = logging.getLogger(__name__)

_SAMPLES = {"s16le": "<i2", "s24le": "s24le", "s32le": "<i4", "f32le": "<f4"}
_PIECE_S = 1.0  # of audio handed over at once
_PIECES_AHEAD = 4
_PATIENCE_S = 0.25

Blocks = Callable[[], Iterable[AudioBlock]]


class _Threaded:
    """What both kinds share: a thread that goes through blocks, and a state."""

    live: bool
    _piece_s = _PIECE_S

    def __init__(self, name: str, blocks: Blocks, rate: int) -> None:
        self.name = name
        self.drift_ppm: float | None = None
        self.pid: int | None = None
        self.failure: str | None = None
        self._blocks, self._rate = blocks, rate
        self._changes: deque[Change] = deque()
        self._stopping = threading.Event()
        self._wake: Callable[[], None] = lambda: None
        self._ended = False
        self._position = 0
        self._lock = threading.Lock()  # of the state: what comes after "closed" is refused
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"source {name}", daemon=True)

    def start(self, wake: Callable[[], None]) -> None:
        """See `Feed`."""
        self._wake = wake
        if self.live:
            self._change("open", "")
        self._thread.start()

    def changes(self) -> list[Change]:
        """See `Feed`."""
        return [self._changes.popleft() for _ in range(len(self._changes))]

    def stop(self) -> None:
        """See `Feed`."""
        self._stopping.set()

    def _run(self) -> None:
        detail = ""
        try:
            asked = time.monotonic()
            for block in self._blocks():
                self._arrive(block, asked)
                if self._stopping.is_set():
                    return
                for piece in _pieces(block, round(self._piece_s * self._rate)):
                    if self._stopping.is_set() or not self._pass_on(piece):
                        return
                    self._position = piece.end
                asked = time.monotonic()
        except (AudioError, OSError) as error:
            self.failure = detail = str(error)
        except Exception as error:
            log.exception("%s: a fault in edgebird", self.name)
            self.failure = detail = f"{self.name}: a fault in edgebird: {type(error).__name__}: {error}"
        finally:
            with self._lock:
                self._close(detail)
            self._ended = True
            self._wake()

    def _arrive(self, block: AudioBlock, asked: float) -> None:
        """Take that a block has come, which was asked for at `asked`, monotonic seconds."""

    def _pass_on(self, piece: AudioBlock) -> bool:
        raise NotImplementedError

    def _close(self, detail: str) -> None:
        """Tell once that it is closed, a file only with a reason; called with the lock."""
        if (self.live or detail) and not self._closed:
            self._closed = True
            self._change("closed", detail)

    def _change(self, state: str, detail: str) -> None:
        self._changes.append(Change(state, detail, time.monotonic(), self._position))


class PulledSource(_Threaded):
    """As fast as its reader: decoding overlaps inference by a few seconds of audio; see `Feed`.

    live: what comes is heard as it comes, as from a pipe of a recorder. pipe_s: see `arrival`.
    """

    def __init__(self, name: str, blocks: Blocks, rate: int, live: bool = False, pipe_s: float = math.inf) -> None:
        super().__init__(name, blocks, rate)
        self.live = live
        self._arrival = Arrival(rate, pipe_s)
        self._came = (0, 0.0)  # the end of the last block, and when that came
        self._queue: queue.SimpleQueue[tuple[AudioBlock, float]] = queue.SimpleQueue()
        self._room = threading.Semaphore(_PIECES_AHEAD)  # in the queue
        self._next: tuple[AudioBlock, float] | None = None  # taken from the queue, but not read
        self._read_to = 0  # position
        self._put = self._taken = 0  # samples; each is counted by one thread alone

    @property
    def waiting(self) -> int:
        """See `Feed`."""
        return max(0, self._put - self._taken)

    @property
    def finished(self) -> bool:
        """See `Feed`."""
        return (self._ended or self._stopping.is_set()) and self._queue.empty() and self._next is None

    def read(self) -> Piece | None:
        """See `Feed`."""
        try:
            taken = self._next or self._queue.get_nowait()
        except queue.Empty:
            return None
        if taken is not self._next:
            self._room.release()
        block, at = taken
        read_to, self._read_to, self._next = self._read_to, block.start, None
        if block.start > read_to:
            self._next = taken if len(block.samples) else None
            return Lost(read_to, block.start, block.lost)
        self._read_to = block.end
        self._taken += len(block.samples)
        return Heard(block, at)

    def expect(self, position: int) -> None:
        """See `Feed`; this one wakes for every piece."""

    def stop(self) -> None:
        """See `Feed`; what its thread reads from now on is refused, so that it need not be waited for."""
        with self._lock:
            super().stop()
            self._close("")

    def _arrive(self, block: AudioBlock, asked: float) -> None:
        self._came = block.end, self._arrival.came(block.start, block.end, asked, time.monotonic())

    def _pass_on(self, piece: AudioBlock) -> bool:
        while not self._room.acquire(timeout=_PATIENCE_S):
            if self._stopping.is_set():
                return False
        with self._lock:
            if self._stopping.is_set():
                return False
            end, at = self._came
            self._queue.put((piece, at - (end - piece.end) / self._rate))
            self._put += len(piece.samples)
            self._position = piece.end
        self._wake()
        return True


class PacedSource(_Threaded):
    """As fast as the clock, like a live source: what nobody reads in time is lost; see `Feed`."""

    live = True

    def __init__(self, name: str, blocks: Blocks, rate: int, buffer_s: float, block_s: float = SHORTEST_S) -> None:
        super().__init__(name, blocks, rate)
        self._piece_s = block_s
        self._ring = Ring(round(buffer_s * rate))
        self._began: float | None = None

    @property
    def waiting(self) -> int:
        """See `Feed`."""
        return self._ring.waiting

    @property
    def finished(self) -> bool:
        """See `Feed`."""
        return self._ended and self._ring.empty

    def read(self) -> Piece | None:
        """See `Feed`."""
        return self._ring.read()

    def expect(self, position: int) -> None:
        """See `Feed`."""
        self._ring.expect(position, self._wake)

    def _pass_on(self, piece: AudioBlock) -> bool:
        self._began = time.monotonic() if self._began is None else self._began
        self._ring.lose(piece.start, piece.lost)
        if not len(piece.samples):
            return True
        due = self._began + piece.end / self._rate
        if self._stopping.wait(max(0.0, due - time.monotonic())):
            return False
        self._ring.write(piece, due)
        return True


def _pieces(block: AudioBlock, size: int) -> Iterator[AudioBlock]:
    """Cut a block that is longer than a size where positions are multiples of it.

    An empty one has no pieces, unless it says that audio before it was lost.
    """
    start, short = 0, len(block.samples) <= size
    if not len(block.samples) and block.lost:
        yield block
    while start < len(block.samples):
        end = len(block.samples) if short else start + size - (block.start + start) % size
        yield AudioBlock(block.samples[start:end], block.start + start, block.lost if start == 0 else "")
        start = end


@dataclass(frozen=True)
class PcmFormat:
    """Raw PCM: the type of its samples, their rate in Hz and how many channels are interleaved."""

    samples: str
    rate: int
    channels: int

    @classmethod
    def parse(cls, text: str) -> PcmFormat:
        """Read `s16le:48000:1`. Raises UsageError."""
        samples, _, rest = text.partition(":")
        rate, _, channels = rest.partition(":")
        if samples not in _SAMPLES or not rate.isdecimal() or not (channels or "1").isdecimal():
            raise UsageError(f"PCM format {text!r}: wanted {'|'.join(_SAMPLES)}:RATE:CHANNELS, as s16le:48000:1")
        result = cls(samples, int(rate), int(channels or "1"))
        if not (1000 <= result.rate <= 1_000_000 and 1 <= result.channels <= 64):
            raise UsageError(f"PCM format {text!r}: wanted a rate of 1000 to 1000000 and 1 to 64 channels")
        return result

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * (3 if self.samples == "s24le" else 2 if self.samples == "s16le" else 4)

    def decode(self, data: bytes, channel: int | None) -> FloatArray:
        """Whole frames -> float32 [n], full scale 1: one channel (1-based), or the mean of all; see `sound_parts`."""
        if self.samples == "s24le":
            bytes3 = np.frombuffer(data, np.uint8).reshape(-1, 3)
            wide = np.zeros((len(bytes3), 4), np.uint8)
            wide[:, 1:] = bytes3
            values = wide.view("<i4")[:, 0] / np.float32(2**31)
        else:
            values = np.frombuffer(data, _SAMPLES[self.samples])
            scale = {"s16le": 2.0**-15, "s32le": 2.0**-31, "f32le": 1.0}[self.samples]
            values = values.astype(np.float32) * np.float32(scale)
        return one_channel(values.astype(np.float32, copy=False).reshape(-1, self.channels), channel)


def pcm_blocks(
    stream: BinaryIO, form: PcmFormat, channel: int | None, rate: int, block_s: float = SHORTEST_S
) -> Iterator[AudioBlock]:
    """Raw PCM as blocks of mono audio at `rate`, or less before a pause; a last half frame is dropped.

    Where samples are no sound (`sound_parts`), a tenth of a second is missing. While nothing comes, empty blocks come
    now and then, so that nobody waits for ever. Raises OSError.
    """
    resampled = ResampledBlocks(form.rate, rate)
    boundaries = Boundaries(form.rate, block_s)
    most = max(1, round(form.rate * block_s)) * form.frame_bytes
    rest, came, decoded, ended = b"", 0, 0, False
    while not ended:
        if select.select([stream], [], [], _PATIENCE_S)[0]:
            data = os.read(stream.fileno(), most)
            ended, came, rest = not data, came + len(data), rest + data
            if not ended and not boundaries.advance(came // form.frame_bytes):
                continue
        elif len(rest) < form.frame_bytes:
            yield AudioBlock(np.empty(0, np.float32), resampled.position)
            continue
        whole = len(rest) // form.frame_bytes * form.frame_bytes
        for samples, start in sound_parts(form.decode(rest[:whole], channel), decoded, form.rate):
            if start > resampled.end:
                boundaries.begin(start)
            yield from resampled.take(samples, start, NOT_FINITE)
        decoded, rest = decoded + whole // form.frame_bytes, rest[whole:]
    yield from resampled.finish()
