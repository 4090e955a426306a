"""The tables of `test_fault_matrix`: what happens to sources, to sinks and to engines. A new fault is one row here.

The model hears tones in windows of half a second, and `TONE` is one of them: who hears it must find it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import soundfile

from edgebird.errors import RuntimeUnavailableError
from edgebird.live.captured import LiveOptions, LiveSource
from edgebird.live.feed import Feed
from edgebird.live.process import Capture
from edgebird.live.pulled import PacedSource, PcmFormat, PulledSource, pcm_blocks
from edgebird.runtimes import Runtime
from edgebird.sinks import Memory, Sink
from edgebird.sinks.database import DatabaseSink
from edgebird.sources import FileSource
from edgebird.types import AudioBlock, FloatArray
from tests.camera import Habits, Track, camera
from tests.conftest import require
from tests.foreign import HERTZ, RATE, tone

WINDOW_S, HOP_S = 0.5, 0.25
SECONDS = 1.5  # of sound that a source without a fault gives at least
TONE = tone(1, 0.8, 2.0)


# ------------------------------------------------------------------------------------------------------------- sources
Making: TypeAlias = Callable[[Path, ExitStack], Feed]  # a folder of its own, what ends with the run -> a source


@dataclass(frozen=True)
class SourceFault:
    """A source to which something happens, and what must be told of it.

    gaps: the reasons of all its gaps. lost_s: how much of it is in them, from and to. failure: a part of what is told
    of a file at the end. states: what must be told, in this order.
    """

    source: str
    fault: str
    make: Making
    gaps: frozenset[str] = frozenset()
    lost_s: tuple[float, float] = (0.0, 0.0)
    failure: str = ""
    states: tuple[str, ...] = ()
    hears: bool = True

    @property
    def name(self) -> str:
        """As events call it."""
        return f"{self.source}-{self.fault}".replace(" ", "-")


def _file(samples: FloatArray, spoil: Callable[[bytes], bytes] = bytes, form: str = "wav") -> Making:
    """A file as fast as it can be read."""

    def make(folder: Path, _stack: ExitStack) -> Feed:
        source = _written(folder, samples, spoil, form)
        return PulledSource(source.origin.name, source.blocks, RATE)

    return make


def _paced(samples: FloatArray, spoil: Callable[[bytes], bytes] = bytes) -> Making:
    """A file at the pace of its sound."""

    def make(folder: Path, _stack: ExitStack) -> Feed:
        source = _written(folder, samples, spoil, "flac")
        return PacedSource(source.origin.name, source.blocks, RATE, buffer_s=5)

    return make


def _written(folder: Path, samples: FloatArray, spoil: Callable[[bytes], bytes], form: str) -> FileSource:
    path = folder / f"a.{form}"
    soundfile.write(path, samples, RATE, subtype="FLOAT" if form == "wav" else "PCM_16")
    path.write_bytes(spoil(path.read_bytes()))
    return FileSource(path, RATE, folder.name)


def _stdin(*pieces: bytes | float) -> Making:
    """What a recorder pipes: bytes of f32le, and pauses in seconds."""

    def make(folder: Path, _stack: ExitStack) -> Feed:
        reader, writer = os.pipe()

        def play() -> None:
            with os.fdopen(writer, "wb", buffering=0) as pipe:
                for piece in pieces:
                    if isinstance(piece, bytes):
                        pipe.write(piece)
                    else:
                        time.sleep(piece)

        def blocks() -> Iterator[AudioBlock]:
            with os.fdopen(reader, "rb", buffering=0) as pipe:
                yield from pcm_blocks(pipe, PcmFormat.parse(f"f32le:{RATE}:1"), None, RATE)

        threading.Thread(target=play, daemon=True).start()
        return PulledSource(folder.name, blocks, RATE, live=True)

    return make


def microphone(*script: Sequence[Any]) -> Making:
    """A capture that plays a script, see `fake_capture`."""

    def make(folder: Path, _stack: ExitStack) -> Feed:
        capture = Capture("tests.fake_capture", {"rate": RATE, "hertz": HERTZ[1], "script": script})
        return LiveSource(folder.name, capture, LiveOptions(RATE))

    return make


def _camera(**habits: Any) -> Making:
    """A camera with habits, which plays a tone."""

    def make(folder: Path, stack: ExitStack) -> Feed:
        require("av")
        url = stack.enter_context(
            camera(Habits(tracks=(Track("L16", RATE, 97, hertz=HERTZ[1], amplitude=0.8),), **habits))
        ).url()
        capture = Capture("edgebird.capture.stream", {"url": url, "transport": "udp", "timeout_s": 1.0})
        return LiveSource(folder.name, capture, LiveOptions(RATE, clocked=False))

    return make


def _with(samples: FloatArray, at_s: float, value: float) -> FloatArray:
    spoiled = samples.copy()
    spoiled[round(at_s * RATE)] = value
    return spoiled


_BYTES = TONE.tobytes()
_HALF = len(_BYTES) // 2
_ON = ["audio", 99, 0.8]

SOURCE_FAULTS = (
    SourceFault("file", "none", _file(TONE)),
    SourceFault("file", "cut off", _file(TONE, lambda data: data[:_HALF]),
                frozenset({"cut_off"}), (0.9, 1.1), "cut off"),
    SourceFault("file", "a sample of 1e30", _file(_with(TONE, 1.0, 1e30)),
                frozenset({"not_finite"}), (0.0001, 0.2), "finite"),
    SourceFault("file", "a sample is no number", _file(_with(TONE, 1.0, np.nan)),
                frozenset({"not_finite"}), (0.0001, 0.2), "finite"),
    SourceFault("flac", "cut off", _file(TONE, lambda data: data[: len(data) // 2], "flac"),
                frozenset({"cut_off"}), (0.5, 1.5), "cut off"),
    SourceFault("paced file", "none", _paced(TONE)),
    SourceFault("paced file", "cut off", _paced(TONE, lambda data: data[: len(data) // 2]),
                frozenset({"cut_off"}), (0.5, 1.5), "cut off"),
    SourceFault("stdin", "none", _stdin(_BYTES), states=("open", "closed")),
    SourceFault("stdin", "ends in a sample", _stdin(_BYTES[:-3]), states=("open", "closed")),
    SourceFault("stdin", "pauses", _stdin(_BYTES[:_HALF], 0.5, _BYTES[_HALF:]), states=("open", "closed")),
    SourceFault("stdin", "no sound", _stdin(), states=("open", "closed"), hears=False),
    SourceFault("microphone", "none", microphone(_ON), states=("open", "closed")),
    SourceFault("microphone", "loses frames", microphone(["audio", 1, 0.8], ["skip", 0.3], _ON),
                frozenset({"dropped"}), (0.29, 0.31)),
    SourceFault("microphone", "is late", microphone(["audio", 1, 0.8], ["wait", 0.4], ["burst", 0.4, 0.8], _ON)),
    SourceFault("microphone", "dies", microphone(["audio", 1.0, 0.8], ["exit"]),
                frozenset({"disconnected"}), (0.05, 30), states=("open", "lost", "recovered")),
    SourceFault("microphone", "stalls", microphone(["audio", 1.0, 0.8], ["hang"]),
                frozenset({"stalled"}), (0.5, 30), states=("open", "lost", "recovered")),
    SourceFault("microphone", "samples of 1e30", microphone(["audio", 1, 0.8], ["audio", 0.1, 1e30], _ON),
                frozenset({"not_finite"}), (0.05, 0.5)),
    SourceFault("microphone", "is muted", microphone(["audio", 99, 0.0]), states=("open",), hears=False),
    SourceFault("camera", "none", _camera(), states=("open", "closed")),
    SourceFault("camera", "jitters", _camera(jitter=320), states=("open", "closed")),
    SourceFault("camera", "sets its clock", _camera(steps={0.5: 1.0, 1.0: -3.0}), states=("open", "closed")),
    SourceFault("camera", "loses packets", _camera(lost=20), frozenset({"dropped"}), (0.02, 5),
                states=("open", "closed")),
    SourceFault("camera", "stalls", _camera(stalls={0.8: 60.0}), frozenset({"stalled"}), (0.5, 30),
                states=("open", "lost")),
    SourceFault("camera", "is deaf", _camera(deaf=True), frozenset({"stalled"}), (0.5, 30), states=("lost",),
                hears=False),
)  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- sinks
@dataclass(frozen=True)
class SinkFault:
    """What happens to a sink.

    name: of the sink, as events call it. wreck: what to do to the folder before. full: whether nothing can be written
    after it was opened. own: a sink beside the usual ones.
    """

    fault: str
    name: str
    wreck: Callable[[Path], object] = lambda folder: None
    full: bool = False
    own: type[Sink] | None = None


class Raising(Sink):
    """A user's own sink, with a mistake in it."""

    name = "own"

    def take(self, event: dict[str, Any], memory: Memory | None) -> None:
        """Fail."""
        raise KeyError("a mistake")


class Slow(Sink):
    """A disk that takes its time."""

    name = "slow"

    def take(self, event: dict[str, Any], memory: Memory | None) -> None:
        """Take long."""
        time.sleep(0.05)


def _full(*names: str) -> Callable[[Path], object]:
    """Let files be on a disk that is full."""

    def wreck(folder: Path) -> None:
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to("/dev/full")

    return wreck


def _damaged(folder: Path) -> None:
    """Leave a database of ours as a power cut may."""
    sink = DatabaseSink(folder / "birds.db")
    sink.open()
    sink.close()
    content = bytearray((folder / "birds.db").read_bytes())
    content[100:4096] = bytes(3996)
    (folder / "birds.db").write_bytes(content)


def _in_the_way(folder: Path) -> None:
    """Put a file where the clips of a source belong."""
    (folder / "clips").mkdir()
    (folder / "clips" / "healthy-none").write_bytes(b"")


_DAYS = [f"log/{datetime.now() + timedelta(days=days):%Y%m%d}.jsonl" for days in range(2)]  # perhaps it is midnight

SINK_FAULTS = (
    SinkFault("none", ""),
    SinkFault("log on a full disk", "lines", _full(*_DAYS)),
    SinkFault("table on a full disk", "table", full=True),
    SinkFault("database is damaged", "database", _damaged),
    SinkFault("clips have no place", "clips", _in_the_way),
    SinkFault("folder on a full disk", "folder", _full("out/healthy-none.jsonl")),
    SinkFault("own sink has a mistake", "own", own=Raising),
    SinkFault("slow", "", own=Slow),
)


# -------------------------------------------------------------------------------------------------------------- engines
@dataclass(frozen=True)
class EngineFault:
    """What an engine does at a call.

    for_good: whether it does so until it is opened again. lost: whether windows cannot be scored. states: what is told
    of it.
    """

    fault: str
    strike: Callable[[FloatArray], FloatArray]
    for_good: bool = False
    lost: bool = True
    states: tuple[str, ...] = ()


class Struck:
    """An engine that a fault strikes. when: whether at a call, by its number from 1 on."""

    def __init__(self, runtime: Runtime, fault: EngineFault, when: Callable[[int], bool] = lambda call: call == 3):
        self._runtime, self._fault, self._when = runtime, fault, when
        self._calls, self._is_struck = 0, False
        self.name, self.card, self.provider = runtime.name, runtime.card, runtime.provider
        self.batch_size, self.concurrency = runtime.batch_size, runtime.concurrency

    def infer(self, windows: FloatArray) -> FloatArray:
        """Score, or do what the fault does."""
        self._calls += 1
        self._is_struck = self._when(self._calls) or (self._is_struck and self._fault.for_good)
        scores = self._runtime.infer(windows)
        return self._fault.strike(scores) if self._is_struck else scores

    def close(self) -> None:
        """Close it."""
        self._runtime.close()


def _raise(error: Exception) -> Callable[[FloatArray], FloatArray]:
    def strike(scores: FloatArray) -> FloatArray:
        raise error

    return strike


def _delayed(scores: FloatArray) -> FloatArray:
    time.sleep(0.5)
    return scores


ENGINE_FAULTS = (
    EngineFault("none", lambda scores: scores, lost=False),
    EngineFault("slow", _delayed, lost=False),
    EngineFault("no number", lambda scores: scores * np.float32(np.nan)),
    EngineFault("wrong shape", lambda scores: scores[:, :1]),
    EngineFault(
        "device lost",
        _raise(RuntimeUnavailableError("the device is lost")),
        for_good=True,
        lost=False,
        states=("failed", "recovered"),
    ),
)
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8+bf16")  # int8+fp16 is a graph of its own, as int8 is
