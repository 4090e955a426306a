"""Scenes to train on: calls of known birds put at known times into other sounds, seeded.

A scene is one window of audio and, for each label, whether it is heard. Calls are shifted in time, made faster or
slower, filtered, given a room, mixed with each other and with noise, cut short by digital silence, and put at any
level. Other birds, the known ones far too fast, too slow or backwards, noises and bird-like songs made by rule are
there as often without calls, so that they get low scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.random import Generator

from edgebird.export.families.folds.experiments import SAMPLE_RATE, WINDOW_SAMPLES
from edgebird.export.training.recordings import BLACKBIRD, CUCKOO, LABELS, YELLOWTHROAT, Recording
from edgebird.types import FloatArray

# Seconds of a label's calls in a window from which on it counts as heard; with less, but some, nobody can tell.
HEARD_S = {CUCKOO: 0.5, BLACKBIRD: 0.8, YELLOWTHROAT: 0.8}

_TAPERED_S = 0.02
_LONGEST_ROOM_S = 0.5
_BINS = 1025  # of the mean spectrum of a place
_PADDED = 180_000  # a window and a room's echo; a fast length for the Fourier transform


@dataclass(frozen=True)
class Scene:
    """audio: float32 [160000]. heard: 0 or 1 for each label. counts: 0 where nobody can tell, else 1."""

    audio: FloatArray
    heard: FloatArray
    counts: FloatArray


@dataclass(frozen=True)
class _Clip:
    """A stretch of a recording, and when its calls are in it (samples)."""

    audio: FloatArray
    calls: dict[str, tuple[tuple[int, int], ...]]
    unknown: tuple[str, ...]


class SceneMaker:
    """Makes scenes of recordings."""

    def __init__(self, recordings: Sequence[Recording], folder: Path, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._recordings = recordings
        self._audio = {recording.name: recording.read(folder) for recording in recordings}
        self._callers = {label: [r for r in recordings if label in r.calls] for label in LABELS}
        self._quiet = [(r, span) for r in recordings for span in r.quiet]
        self._places = [self._spectrum(r) for r in recordings if r.calls]

    def batches(self, size: int) -> Iterator[tuple[FloatArray, FloatArray, FloatArray]]:
        """Audio [size, 160000], heard [size, labels] and counts [size, labels], for ever."""
        while True:
            scenes = [self.make() for _ in range(size)]
            yield (
                np.stack([scene.audio for scene in scenes]),
                np.stack([scene.heard for scene in scenes]),
                np.stack([scene.counts for scene in scenes]),
            )

    def make(self) -> Scene:
        """One scene."""
        random = self._random
        mix = np.zeros(WINDOW_SAMPLES, np.float32)
        called = dict.fromkeys(LABELS, 0.0)
        unknown: set[str] = set()
        for _ in range(random.choice(3, p=(0.4, 0.45, 0.15))):
            clip = self._call_clip(LABELS[random.integers(len(LABELS))])
            start = self._place(mix, clip.audio, -random.uniform(0, 30))
            unknown.update(clip.unknown)
            for label, spans in clip.calls.items():
                called[label] += sum(
                    max(0, min(start + end, WINDOW_SAMPLES) - max(start + begin, 0)) for begin, end in spans
                )
        for _ in range(random.choice(4, p=(0.35, 0.35, 0.2, 0.1))):
            other = (self._other_clip, self._disguised_clip, self._made_song)[random.choice(3, p=(0.5, 0.15, 0.35))]
            self._place(mix, other(), -random.uniform(0, 35))
        if random.random() < 0.85:
            mix += (noise(random) if random.random() < 0.5 else self._place_noise()) * _amplitude(
                -random.uniform(25, 60)
            )
        if random.random() < 0.2:
            mix += hum(random) * _amplitude(-random.uniform(5, 45))
        if random.random() < 0.15:
            _silence_a_part(mix, random, called)
        seconds = {label: samples / SAMPLE_RATE for label, samples in called.items()}
        return Scene(
            _at_a_level(mix, random),
            np.array([seconds[label] >= HEARD_S[label] for label in LABELS], np.float32),
            np.array([_certain(label, seconds[label], unknown) for label in LABELS], np.float32),
        )

    def _call_clip(self, label: str) -> _Clip:
        """Up to five seconds around a call of the label."""
        random = self._random
        recording = self._callers[label][random.integers(len(self._callers[label]))]
        audio = self._audio[recording.name]
        spans = recording.calls[label]
        begin, end = (round(t * SAMPLE_RATE) for t in spans[random.integers(len(spans))])
        length = max(end - begin + 3200, round(random.uniform(1.0, 5.0) * SAMPLE_RATE))
        start = int(random.integers(min(begin, max(0, end - length)), begin + 1))
        piece = audio[start : start + length]
        speed = random.uniform(0.94, 1.06)
        calls = {
            name: tuple(
                (round((b * SAMPLE_RATE - start) / speed), round((e * SAMPLE_RATE - start) / speed)) for b, e in s
            )
            for name, s in recording.calls.items()
        }
        return _Clip(self._treated(piece, speed), _clipped(calls, round(len(piece) / speed)), recording.unknown)

    def _other_clip(self) -> FloatArray:
        """A stretch in which no label is heard."""
        random = self._random
        recording, (begin, end) = self._quiet[random.integers(len(self._quiet))]
        audio = self._audio[recording.name][round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        length = min(len(audio), round(random.uniform(0.5, 5.0) * SAMPLE_RATE))
        start = int(random.integers(len(audio) - length + 1))
        return self._treated(audio[start : start + length], random.uniform(0.8, 1.25))

    def _disguised_clip(self) -> FloatArray:
        """A known call at half or twice its pitch, or backwards: no longer that bird's."""
        random = self._random
        label = LABELS[random.integers(len(LABELS))]
        recording = self._callers[label][random.integers(len(self._callers[label]))]
        begin, end = recording.calls[label][random.integers(len(recording.calls[label]))]
        audio = self._audio[recording.name][round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        if label == YELLOWTHROAT and random.random() < 0.5:
            return self._treated(audio[::-1].copy(), random.uniform(0.8, 1.25))
        return self._treated(audio, random.choice((random.uniform(0.5, 0.7), random.uniform(1.5, 2.0))))

    def _spectrum(self, recording: Recording) -> FloatArray:
        """The mean spectrum of a recording where no label is heard, magnitudes [_BINS]."""
        audio = self._audio[recording.name]
        spans = [audio[round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for begin, end in recording.quiet]
        frames = [np.lib.stride_tricks.sliding_window_view(span, 2 * _BINS - 2)[::512] for span in spans]
        power = np.abs(np.fft.rfft(np.concatenate(frames) * np.hanning(2 * _BINS - 2))) ** 2
        magnitudes: FloatArray = np.sqrt(power.mean(axis=0)).astype(np.float32)
        return magnitudes

    def _place_noise(self) -> FloatArray:
        """Noise with the spectrum of a place where a known bird calls, a rms of 1: the place alone is no bird."""
        random = self._random
        spectrum = np.fft.rfft(random.standard_normal(WINDOW_SAMPLES, dtype=np.float32))
        place = self._places[random.integers(len(self._places))]
        bins = np.linspace(0, 1, len(spectrum))
        spectrum *= np.interp(bins, np.linspace(0, 1, _BINS), place)
        if random.random() < 0.5:
            spectrum *= _microphone(random, WINDOW_SAMPLES)
        audio = np.fft.irfft(spectrum, WINDOW_SAMPLES)
        result: FloatArray = (audio / max(float(audio.std()), 1e-9)).astype(np.float32)
        return result

    def _made_song(self) -> FloatArray:
        return bird_like_song(self._random)

    def _treated(self, audio: FloatArray, speed: float) -> FloatArray:
        """Another speed, another room and microphone; peak 1."""
        random = self._random
        if len(audio) > 64:
            audio = soxr.resample(audio, SAMPLE_RATE * speed, SAMPLE_RATE, quality="LQ").astype(np.float32)
        audio = _tapered(audio[:WINDOW_SAMPLES])
        room_s = random.uniform(0.05, _LONGEST_ROOM_S) if random.random() < 0.4 else 0.0
        spectrum = np.fft.rfft(audio, _PADDED) * _microphone(random, _PADDED)
        if room_s:
            echo = random.normal(size=round(room_s * SAMPLE_RATE)) * np.exp(
                -6.9 * np.linspace(0, 1, round(room_s * SAMPLE_RATE))
            )
            echo *= random.uniform(0.05, 0.5) / np.linalg.norm(echo)
            echo[0] = 1.0
            spectrum *= np.fft.rfft(echo, _PADDED)
        treated = np.fft.irfft(spectrum, _PADDED)[: min(WINDOW_SAMPLES, len(audio) + round(room_s * SAMPLE_RATE))]
        result: FloatArray = (treated / max(float(np.abs(treated).max()), 1e-9)).astype(np.float32)
        return result

    def _place(self, mix: FloatArray, sound: FloatArray, level_db: float) -> int:
        """Add a sound anywhere, now and then beyond an edge; return where it starts."""
        random = self._random
        slack = len(sound) // 2 if random.random() < 0.3 else 0
        low, high = sorted((-slack, WINDOW_SAMPLES - len(sound) + slack))
        start = int(random.integers(low, high + 1))
        begin, end = max(start, 0), min(start + len(sound), WINDOW_SAMPLES)
        mix[begin:end] += sound[begin - start : end - start] * _amplitude(level_db) * random.choice((-1, 1))
        return start


def _certain(label: str, seconds: float, unknown: set[str]) -> bool:
    return seconds >= HEARD_S[label] or (seconds == 0 and label not in unknown)


def _clipped(calls: dict[str, tuple[tuple[int, int], ...]], length: int) -> dict[str, tuple[tuple[int, int], ...]]:
    return {
        label: tuple((max(b, 0), min(e, length)) for b, e in spans if b < length and e > 0)
        for label, spans in calls.items()
    }


def _silence_a_part(mix: FloatArray, random: Generator, called: dict[str, float]) -> None:
    """Digital silence at the end or the start, as in a padded window; the share of calls lost is unknown."""
    cut = int(random.integers(8_000, WINDOW_SAMPLES - 32_000))
    where = slice(WINDOW_SAMPLES - cut, None) if random.random() < 0.7 else slice(0, cut)
    mix[where] = 0.0
    for label, samples in called.items():
        if samples:
            called[label] = min(samples, 1.0)  # some, nobody can tell how much


def _amplitude(level_db: float) -> float:
    return float(10.0 ** (level_db / 20.0))


def _tapered(audio: FloatArray) -> FloatArray:
    size = min(len(audio) // 2, round(_TAPERED_S * SAMPLE_RATE))
    ramp = np.linspace(0, 1, size, dtype=np.float32)
    envelope = np.ones(len(audio), np.float32)
    envelope[:size], envelope[len(audio) - size :] = ramp, ramp[::-1]
    result: FloatArray = audio * envelope
    return result


def _microphone(random: Generator, size: int) -> FloatArray:
    """A smooth frequency response over the bins of `size` samples, +- 10 dB, now and then without lows or highs."""
    hertz = np.linspace(0, SAMPLE_RATE / 2, size // 2 + 1)
    knots = np.geomspace(60, SAMPLE_RATE / 2, 7)
    level_db = np.interp(np.log(hertz + 1), np.log(knots), random.normal(0, 4, len(knots)).clip(-10, 10))
    if random.random() < 0.3:
        level_db -= 10 * np.log10(1 + (random.uniform(60, 350) / np.maximum(hertz, 1)) ** 4)
    if random.random() < 0.3:
        level_db -= 10 * np.log10(1 + (hertz / random.uniform(6_000, 14_000)) ** 8)
    result: FloatArray = (10.0 ** (level_db / 20)).astype(np.float32)
    return result


def noise(random: Generator) -> FloatArray:
    """Wind, rain, a brook, a hum: noise of a random colour, a rms of 1, now and then in gusts or with drops."""
    spectrum = np.fft.rfft(random.standard_normal(WINDOW_SAMPLES, dtype=np.float32))
    hertz = np.linspace(0, SAMPLE_RATE / 2, len(spectrum))
    spectrum *= (hertz / 1000 + 0.05) ** random.uniform(-1.5, 0.3) * _microphone(random, WINDOW_SAMPLES)
    audio = np.fft.irfft(spectrum, WINDOW_SAMPLES)
    if random.random() < 0.3:
        knots = random.uniform(0.1, 1.0, 9)
        audio *= np.interp(np.linspace(0, 8, WINDOW_SAMPLES), np.arange(9), knots)
    if random.random() < 0.15:
        drops = random.integers(0, WINDOW_SAMPLES, random.integers(5, 200))
        audio[drops] += random.normal(0, 20 * audio.std(), len(drops))
    result: FloatArray = (audio / max(float(audio.std()), 1e-9)).astype(np.float32)
    return result


def hum(random: Generator) -> FloatArray:
    """An engine, a pump, an insect: harmonics that go on for seconds, wander and swell; peak 1."""
    knots = np.linspace(0, 1, 6)
    time = np.linspace(0, 1, WINDOW_SAMPLES)
    wander = np.interp(time, knots, random.normal(0, random.choice((0.002, 0.02)), 6))
    phase = 2 * np.pi * np.cumsum(np.exp(wander)) / SAMPLE_RATE
    base = float(np.exp(random.uniform(np.log(40), np.log(1500))))
    audio = np.zeros(WINDOW_SAMPLES)
    for harmonic in range(1, int(random.integers(2, 9))):
        if base * harmonic < 12_000:
            swell = np.interp(time, knots, random.uniform(0, 1, 6) ** 2)
            audio += swell * np.sin(base * harmonic * phase + random.uniform(0, 6))
    result: FloatArray = (audio / max(float(np.abs(audio).max()), 1e-9)).astype(np.float32)
    return result


def bird_like_song(random: Generator) -> FloatArray:
    """One to four phrases of a note that is repeated, in one range of pitch; peak 1."""
    low, high = (250.0, 1200.0) if random.random() < 0.4 else (1000.0, 8000.0)
    centre = float(np.exp(random.uniform(np.log(low), np.log(high))))
    parts: list[FloatArray] = []
    for _ in range(random.integers(1, 5)):
        note = _note(random, float(np.clip(centre * np.exp(random.normal(0, 0.25)), 200, 11_000)))
        pause: FloatArray = np.zeros(round(random.uniform(0.01, 0.3) * SAMPLE_RATE), np.float32)
        # Two level low notes that fall would be a cuckoo's call: low notes come three and more times.
        times = int(random.choice((1, 2, 4, 8, 16) if centre > 1200 else (3, 4, 6)))
        parts += [note, pause] * times
    audio = np.concatenate(parts)[:WINDOW_SAMPLES]
    result: FloatArray = audio / max(float(np.abs(audio).max()), 1e-9)
    return result


def _note(random: Generator, start: float) -> FloatArray:
    """One to four harmonics from `start` Hz on, level, gliding or shaking."""
    time = np.arange(round(random.uniform(0.03, 0.5) * SAMPLE_RATE)) / SAMPLE_RATE
    kind = random.choice(("level", "glide", "shake"), p=(0.35, 0.4, 0.25))
    hertz = np.full_like(time, start)
    if kind == "glide":
        hertz *= np.geomspace(1, np.clip(start * np.exp(random.normal(0, 0.4)), 200, 12_000) / start, len(time))
    elif kind == "shake":
        hertz *= 1 + random.uniform(0.01, 0.15) * np.sin(2 * np.pi * random.uniform(15, 120) * time)
    phase = 2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE
    shares = random.uniform(0, 1, random.integers(1, 5))
    note = np.sin(phase) + sum(share**k * np.sin((k + 1) * phase) / (k + 1) for k, share in enumerate(shares, 1))
    envelope = np.sin(np.pi * np.linspace(0, 1, len(time))) ** random.uniform(0.3, 2.0)
    result: FloatArray = (note * envelope * random.uniform(0.3, 1)).astype(np.float32)
    return result


def _at_a_level(mix: FloatArray, random: Generator) -> FloatArray:
    """Peak at -55 to 0 dB of full scale, now and then clipping, off-centre or rounded to 16 bit."""
    peak = max(float(np.abs(mix).max()), 1e-9)
    audio = mix / peak * _amplitude(random.uniform(-55, 6 if random.random() < 0.2 else 0))
    if random.random() < 0.1:
        audio = audio + np.float32(random.normal(0, 0.01))
    if random.random() < 0.5:
        audio = np.round(audio * 32768.0) / 32768.0
    result: FloatArray = np.clip(audio, -1, 1).astype(np.float32)
    return result
