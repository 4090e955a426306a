"""Clips: the sound of every detection as a file that says what it is, with a spectrogram if asked for."""

from __future__ import annotations

import io
import math
import re
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from edgebird.errors import OutputError, UsageError
from edgebird.events import Event, encodable, seconds
from edgebird.files import atomic_path, make_folder
from edgebird.settings.model import ClipSettings
from edgebird.sinks import Memory, Sink
from edgebird.sinks.chain import failure
from edgebird.sinks.guano import guano_text, with_guano
from edgebird.sinks.lines import now
from edgebird.sinks.spectrogram import spectrogram_png
from edgebird.types import FloatArray
from edgebird.voices import AFTER_S, HEARD_S, Voices

# 20230501_050012_comcuc_0.93.flac; T+0000012_... where nobody knows the time; ..._0.93_2.flac for a second of one name
CLIP_NAME = re.compile(
    r"(?P<when>\d{8}_\d{6}|T\+\d{7,})_(?P<code>.+)_(?P<score>\d+\.\d\d)(?:_\d+)?\.(?:flac|wav)", re.DOTALL
)

_PATIENCE_S = 10.0  # for sound that should have come: longer than streams hold back at once
_NAME_LENGTH = 50  # characters of a source or code in a name: at four bytes each it stays below the 255 of a name


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where clips come from, as each of them says.

    position: latitude and longitude in degrees (WGS84). model: what scored. Raises UsageError for a position that
    cannot be.
    """

    position: tuple[float, float] | None = None
    model: str = ""

    def __post_init__(self) -> None:
        if self.position and not (abs(self.position[0]) <= 90 and abs(self.position[1]) <= 180):
            raise UsageError(f"no such position {self.position}: give latitude (-90 to 90) and longitude (-180 to 180)")


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A clip whose last sound has not come: positions of its span, and when to wait no longer. It holds no sound.

    heard: the position up to which sound is needed.
    """

    event: Event
    memory: Memory
    start: int
    end: int
    heard: int
    until: float


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """The sound of a clip: float32 [n] from position `start` on, and how many samples before it are no longer held."""

    samples: FloatArray
    start: int
    missing: int


class ClipSink(Sink):
    """Cuts a clip for every detection, as soon as the sound after it has come, or will not come.

    Every clip is told as an event `clip`: the detection's keys, `path` (null if none of its sound was still held),
    `clip_start_s`, `clip_end_s`, `missing_s` and, with a spectrogram, `spectrogram`. Files are whole or absent, also
    after a power cut. Each source has its own folder. A clip that cannot be written is given up. clock: monotonic
    seconds. voices: finds voices in a clip before anything of it is written; mutes: their seconds become silent, else
    such a clip is not written. Raises UsageError for settings that cannot be.
    """

    name = "clips"

    def __init__(
        self,
        settings: ClipSettings,
        provenance: Provenance = Provenance(),
        clock: Callable[[], float] = time.monotonic,
        voices: Voices | None = None,
        mutes: bool = False,
    ) -> None:
        _require_possible(settings)
        self._voices, self._mutes = voices, mutes
        self._settings, self._provenance, self._clock = settings, provenance, clock
        self._waiting: list[_Waiting] = []
        self._told: list[Event] = []

    def open(self) -> None:
        """Make the folder, and load what finds voices."""
        make_folder(self._settings.folder)
        if self._voices:
            self._voices.open()

    def take(self, event: Event, memory: Memory | None) -> None:
        """Remember a detection."""
        if event["event"] != "detection":
            return
        if memory is None:
            raise OutputError(f"no clip of {event['source']}: its sound is not kept")
        rate, settings = memory.rate, self._settings
        start = max(0, round((event["start_s"] - settings.pre_s) * rate))
        end = round((event["end_s"] + settings.post_s) * rate)
        heard = end + (round((self._voices.margin_s + AFTER_S) * rate) if self._voices else 0)
        due = self._clock() + max(0, heard - memory.newest) / rate
        self._waiting.append(_Waiting(event, memory, start, end, heard, due + _PATIENCE_S))

    def tick(self) -> list[Event]:
        """Write the clips whose sound is there, or will not come."""
        for clip in [clip for clip in self._waiting if self._is_due(clip)]:
            self._waiting.remove(clip)
            self._write(clip)  # if it fails, the others have their turn at the next tick
        return self._events()

    def close(self) -> list[Event]:
        """Write what waits, with the sound there is. A clip that fails is told as a `sink` event, the first only."""
        failures: list[Event] = []
        for clip in self._waiting:
            try:
                self._write(clip)
            except Exception as error:  # noqa: BLE001  whatever it is, the next clip may be whole
                failures.append(failure(self.name, error, now()))
        self._waiting = []
        return self._events() + failures[:1]

    def abandon(self) -> None:
        """Give up what waits."""
        self._waiting = []

    def _events(self) -> list[Event]:
        told, self._told = self._told, []
        return told

    def _is_due(self, clip: _Waiting) -> bool:
        # Without a deadline a source that is lost would keep its clips waiting until its sound is forgotten.
        return clip.memory.newest >= clip.heard or clip.memory.ended or self._clock() >= clip.until

    def _write(self, clip: _Waiting) -> None:
        rate = clip.memory.rate
        cut, sound, begun = _cut(clip, round(HEARD_S * rate) if self._voices else 0)
        told = {
            **{key: clip.event[key] for key in ("source", "time", "start_s", "end_s", "code")},
            **{key: clip.event[key] for key in ("scientific_name", "common_name", "score")},
            "path": None,
            "clip_start_s": seconds(cut.start, rate),
            "clip_end_s": seconds(cut.start + len(cut.samples), rate),
            "missing_s": seconds(cut.missing, rate),
        }
        if self._voices:
            flagged = _flagged(self._voices, cut, sound, begun, rate)
            cut, voice_s = self._without_voices(cut, rate, flagged)
            told["voice_s"] = voice_s
        if len(cut.samples):
            path = self._path(clip.event, cut.start / rate)
            _write_file(path, self._encoded(clip, cut, path.name))
            told["path"] = str(path.absolute())
        self._told.append({"event": "clip", **told})
        if told["path"] and self._settings.spectrogram:
            picture = Path(told["path"]).with_suffix(".png")
            _write_file(picture, spectrogram_png(cut.samples, rate))
            self._told[-1]["spectrogram"] = str(picture)

    def _without_voices(self, cut: _Cut, rate: int, flagged: NDArray[np.bool_]) -> tuple[_Cut, float]:
        """The clip as it may be written, perhaps with nothing left, and how many seconds have voices."""
        if not flagged.any():
            return cut, 0.0
        samples = np.where(flagged, np.float32(0), cut.samples) if self._mutes else cut.samples[:0]
        return _Cut(samples, cut.start, cut.missing), round(float(flagged.sum()) / rate, 3)

    def _path(self, event: Event, start_s: float) -> Path:
        """A name that is free: by the time of the first sample, in the local time of the event."""
        moment = _moment(event, start_s)
        when = f"{moment:%Y%m%d_%H%M%S}" if moment else f"T+{int(start_s):07}"
        folder = self._settings.folder / safe_name(event["source"])
        stem = f"{when}_{safe_name(event['code'])}_{event['score']:.2f}"
        path, number = folder / f"{stem}.{self._settings.format}", 1
        while path.exists():
            number += 1
            path = folder / f"{stem}_{number}.{self._settings.format}"
        return path

    def _encoded(self, clip: _Waiting, cut: _Cut, name: str) -> bytes:
        text = guano_text(self._fields(clip, cut, name))
        pcm, rate = _pcm16(cut.samples), clip.memory.rate
        if self._settings.format == "wav":
            return with_guano(_wav(pcm, rate), text)
        buffer = io.BytesIO()
        with soundfile.SoundFile(buffer, "w", rate, 1, "PCM_16", format="FLAC") as file:
            file.title, file.comment = encodable(clip.event["common_name"]), text
            file.write(pcm)
        return buffer.getvalue()

    def _fields(self, clip: _Waiting, cut: _Cut, name: str) -> dict[str, str]:
        """What the clip says of itself."""
        event, rate, position = clip.event, clip.memory.rate, self._provenance.position
        start_s = cut.start / rate
        moment = _moment(event, start_s)
        fields = {
            "Timestamp": moment.isoformat(timespec="milliseconds") if moment else "",
            "Length": f"{len(cut.samples) / rate:.3f}",
            "Samplerate": str(rate),
            "Loc Position": f"{position[0]:.6f} {position[1]:.6f}" if position else "",
            "Species Auto ID": event["scientific_name"],
            "Original Filename": name,
            "edgebird|Code": event["code"],
            "edgebird|Common Name": event["common_name"],
            "edgebird|Score": f"{event['score']:.6f}",
            "edgebird|Probability": f"{event['probability']:.4f}" if "probability" in event else "",
            "edgebird|Start": f"{event['start_s'] - start_s:.3f}",
            "edgebird|End": f"{event['end_s'] - start_s:.3f}",
            "edgebird|Model": self._provenance.model,
            "edgebird|Source": event["source"],
        }
        return {key: encodable(value) for key, value in fields.items() if value}


def _require_possible(settings: ClipSettings) -> None:
    if settings.format not in ("flac", "wav"):
        raise UsageError(f"unknown clip format {settings.format!r}: choose flac or wav")
    for name, value in (("before", settings.pre_s), ("after", settings.post_s)):
        if not (math.isfinite(value) and value >= 0):
            raise UsageError(f"clips cannot have {value} s {name} the detection: give 0 or more")


def safe_name(text: str) -> str:
    """A source or code as part of a file name: letters, digits, dots, dashes and underscores, not a hidden file."""
    name = re.sub(r"[^\w.-]+", "-", encodable(text)).strip("-.")[:_NAME_LENGTH]
    return name or "unnamed"


def _cut(clip: _Waiting, before: int) -> tuple[_Cut, FloatArray, int]:
    """What is held of a clip's span; all sound from `before` samples earlier on, and where that begins."""
    memory = clip.memory
    last = max(clip.start, min(clip.heard, memory.newest))
    first = min(max(0, clip.start - before, memory.oldest), last)
    samples = memory.read(first, last)
    # The memory goes on being filled: what it forgot meanwhile was perhaps read as zeros.
    begun = min(max(first, memory.oldest), last)
    samples = samples[begun - first :]
    end = min(clip.end, last)
    start = min(max(clip.start, begun), end)
    return (
        _Cut(samples[start - begun : end - begun] if end > begun else samples[:0], start, start - clip.start),
        samples,
        begun,
    )


def _flagged(voices: Voices, cut: _Cut, sound: FloatArray, begun: int, rate: int) -> NDArray[np.bool_]:
    """Which samples of a clip are of voices: also of one that ends just before it, or begins just after."""
    if not len(cut.samples):
        return np.zeros(0, np.bool_)
    try:
        return voices.flagged(sound, rate, cut.start - begun)[: len(cut.samples)]
    except OutputError as error:
        raise OutputError(f"no clip is written: {error}") from error


def _moment(event: Event, position_s: float) -> datetime | None:
    """When a position of the source was heard, at the offset of the event; None where nobody knows."""
    if event["time"] is None:
        return None
    return datetime.fromisoformat(event["time"]) + timedelta(seconds=position_s - event["start_s"])


def _pcm16(samples: FloatArray) -> NDArray[np.int16]:
    """int16 [n]: exactly the samples of a 16-bit microphone."""
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)


def _wav(pcm: NDArray[np.int16], rate: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.astype("<i2").tobytes())
    return buffer.getvalue()


def _write_file(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary, temporary.open("xb") as file:
        file.write(content)
