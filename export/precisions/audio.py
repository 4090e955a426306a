"""Real audio for lower precisions: windows to calibrate with, and others to prove with.

By default both come with edgebird (shipped.py). Of recordings that are given every third proves (of two the second),
beside those that come with edgebird, and the others calibrate. A recording does only one of the two, and windows are
cut as detection cuts them, the last of each filled up with silence. To both some are added that were made quiet,
clipped or silent in part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgebird import demo
from edgebird.errors import AudioError
from edgebird.export.precisions.shipped import Shipped, shipped
from edgebird.files import file_sha256
from edgebird.sources import FileSource, find_audio
from edgebird.types import FloatArray
from edgebird.windows import MIN_TAIL_S, Windower

MOST_WINDOWS = 96  # of all recordings given, of each kind; of more every second, every fourth, ... window is taken
_HELD_OUT = 3  # every third recording
_CHANGED = 8  # windows for each that is added changed
_IN_DEMO = "242A2604603691DD_20250503_031400"  # heard in the demo's recording, and golden


class Hearing(Protocol):
    """What takes windows: a family of networks, or the card of a model. Hz, and samples at that rate."""

    @property
    def sample_rate(self) -> int:
        """Hz."""

    @property
    def window_samples(self) -> int:
        """Length of a window."""


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Windows that prove, with the scores that the FP32 graph gives them, [windows, classes]."""

    audio: FloatArray
    scores: FloatArray
    names: tuple[str, ...]

    def windows(self) -> FloatArray:
        """float32 [windows, samples]."""
        return self.audio


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Real windows, float32 [windows, samples], where each is from: `dawn.wav at 35 s`, and of how many recordings."""

    audio: FloatArray
    names: tuple[str, ...]
    recordings: int


@dataclass(frozen=True, slots=True)
class _Recording:
    """A file, and the recording that it is, or is a part of."""

    path: Path
    name: str


def read_calibration(
    recordings: Sequence[Path], family: Hearing, tell: Callable[[str], None] = lambda _line: None
) -> tuple[Windows, Windows]:
    """Windows as a family takes them, to calibrate with and held out, of recordings and folders; none: those shipped.

    tell: takes what is left out, and why. Raises AudioError for what cannot be read or is too short.
    """
    used = [_Recording(part.file, part.recording) for part in shipped("calibration") if part.file]
    held_out = shipped("held-out")
    given: list[_Recording] = []
    if recordings:
        used, given, held_out = _divided(recordings, held_out, tell)
    proving = [_Recording(part.file, part.recording) for part in held_out if part.file]
    calibration = _read(used, family, MOST_WINDOWS)
    if calibration is None:
        names = ", ".join(map(str, recordings))
        raise AudioError(f"{names}: nothing to calibrate with: give recordings of {MIN_TAIL_S:g} s or more")
    parts = [found for found in (_read(proving, family), _read(given, family, MOST_WINDOWS)) if found]
    return _with_changes(calibration), _with_changes(_joined(parts, family))


def _divided(
    recordings: Sequence[Path], held_out: Sequence[Shipped], tell: Callable[[str], None]
) -> tuple[list[_Recording], list[_Recording], list[Shipped]]:
    """Files to calibrate with, files to hold out, and what is left to hold out of what came with edgebird."""
    found, errors = find_audio(recordings)
    if errors:
        raise errors[0]
    digests = {file_sha256(audio.path): audio.path for audio in found}  # a copy is the same recording
    known = _known_digests()
    golden = {part.recording for part in shipped("golden")}
    files = []
    for digest, path in digests.items():
        name = known.get(digest, str(path))
        if name in golden:
            tell(f"left out  {path}: golden windows are of this recording")
        else:
            files.append(_Recording(path, name))
    names = list(dict.fromkeys(file.name for file in files))
    proving = {name for index, name in enumerate(names) if index % _HELD_OUT == 1}
    used = [file for file in files if file.name not in proving]
    given = [file for file in files if file.name in proving]
    return used, given, [part for part in held_out if part.recording not in names]


def _known_digests() -> dict[str, str]:
    """SHA-256 of a file -> the recording that it is a part of, as it comes with edgebird or as its package has it.

    The demo's recording is put together of several; one of the golden ones stands for all.
    """
    known = {}
    for part in shipped("golden", "held-out", "calibration"):
        known[part.sha256] = part.recording
        if part.file:
            known[file_sha256(part.file)] = part.recording
    return known | {file_sha256(demo.RECORDING): _IN_DEMO}


def varied(audio: FloatArray, count: int, seed: int) -> FloatArray:
    """Windows made of real ones, [windows, samples] -> [count, samples], the same for the same seed.

    Moved in time, mixed, filtered, with noise; then, in turn, silent in part, much quieter, clipped, or left so; and
    one silent altogether: what a station meets that the recordings do not have. Rounded to 16 bits as recordings are.
    """
    random = np.random.default_rng(seed)
    made = [_variation(audio, index, random) for index in range(count - 1)]
    return np.stack([*made, np.zeros_like(audio[0])])


def _variation(audio: FloatArray, index: int, random: np.random.Generator) -> FloatArray:
    """Another window, made of one or two of real audio; index: tells what is done to it at the end."""
    size = audio.shape[1]
    window, other = (np.roll(audio[random.integers(len(audio))], random.integers(size)) for _ in range(2))
    window = window.astype(np.float64)
    if random.random() < 0.5:
        window += other * 10 ** random.uniform(-1.5, 0.5)
    if random.random() < 0.3:
        window = window[::-1]
    if random.random() < 0.5:
        window = _filtered(window, random)
    if random.random() < 0.5:
        window += random.standard_normal(size) * np.sqrt(np.mean(window**2)) * 10 ** random.uniform(-2.5, 0)
    kind = index % 4
    if kind == 0:
        window[slice(random.integers(size), None) if random.random() < 0.7 else slice(random.integers(size))] = 0
    elif kind == 1:
        window *= 10 ** random.uniform(-2.5, -1)
    elif kind == 2:
        window = _clipping(window, 10 ** random.uniform(0.3, 1.5))
    return _rounded(window)


def _clipping(window: NDArray[np.float64], peak: float) -> NDArray[np.float64]:
    """So loud that its largest sample would be at `peak` of full scale."""
    return window * (peak / max(float(np.abs(window).max()), 1e-6))


def _filtered(window: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """With another balance of low and high: a tilt of up to 20 dB, and waves of about 8 dB on it."""
    spectrum = np.fft.rfft(window)
    place = np.linspace(0, 1, len(spectrum))
    waves = np.interp(place, np.linspace(0, 1, 9), random.standard_normal(9))
    return np.fft.irfft(spectrum * 10 ** (random.uniform(-1, 1) * (place - 0.3) + 0.4 * waves), len(window))


def _changed(audio: FloatArray, index: int) -> tuple[FloatArray, str]:
    """A window [samples] as stations have them too, the kinds in turn, and what was done to it."""
    size = len(audio)
    window = audio.astype(np.float64)
    part = (0.12, 0.35, 0.6, 0.85)[index // 6 % 4]
    kind = index % 6
    if kind == 0:
        window[round(part * size) :] = 0
        told = "then silent"
    elif kind == 1:
        window *= 10**-2.5
        told = "50 dB down"
    elif kind == 2:
        window = np.concatenate([np.zeros(size - round(part * size)), window[: round(part * size)]])
        told = "silent before"
    elif kind == 3:
        window = _clipping(window, 4.0)
        told = "clipped, its peak 12 dB above full scale"
    elif kind == 4:
        window += 0.02
        told = "with a DC offset of 0.02"
    else:
        window[:] = 0
        told = "silent altogether"
    return _rounded(window), told


def _rounded(window: NDArray[np.float64]) -> FloatArray:
    """To 16 bits, as recordings are."""
    rounded: FloatArray = (np.round(window * 32768).clip(-32768, 32767) / 32768).astype(np.float32)
    return rounded


def _with_changes(windows: Windows) -> Windows:
    """With one in eight added changed, the windows that are taken for it evenly spread."""
    taken = range(0, len(windows.names), _CHANGED)
    changed = [_changed(windows.audio[place], index) for index, place in enumerate(taken)]
    names = [f"{windows.names[place]}, {told}" for place, (_, told) in zip(taken, changed, strict=True)]
    if not changed:
        return windows
    audio = np.concatenate([windows.audio, np.stack([audio for audio, _ in changed])])
    return Windows(audio, (*windows.names, *names), windows.recordings)


def _read(recordings: Sequence[_Recording], family: Hearing, most: int | None = None) -> Windows | None:
    """Windows of recordings, at most so many, evenly over all; None if there are none."""
    named = ((recording.name, *window) for recording in recordings for window in _windows(recording.path, family))
    kept = _spread(named, most)
    if not kept:
        return None
    names, audio = tuple(name for _, name, _ in kept), np.stack([audio for _, _, audio in kept])
    return Windows(audio, names, len({recording for recording, _, _ in kept}))


def _joined(parts: Sequence[Windows], family: Hearing) -> Windows:
    """Windows of several sets without a recording in common."""
    none = np.zeros((0, family.window_samples), np.float32)
    return Windows(
        np.concatenate([none, *(part.audio for part in parts)]),
        tuple(name for part in parts for name in part.names),
        sum(part.recordings for part in parts),
    )


def _windows(path: Path, family: Hearing) -> Iterator[tuple[str, FloatArray]]:
    """Windows of a recording, one after the other, the last filled up with zeros; with their names."""
    size, rate = family.window_samples, family.sample_rate
    windower = Windower(size, size, min_tail=round(MIN_TAIL_S * rate))
    for block in FileSource(path, rate).blocks():
        for window in windower.push(block):
            yield f"{path.name} at {window.start / rate:g} s", window.samples
    for window in windower.finish():
        yield f"{path.name} at {window.start / rate:g} s, its end", window.samples


_Named = tuple[str, str, FloatArray]


def _spread(windows: Iterable[_Named], most: int | None) -> list[_Named]:
    """At most so many, evenly over the recordings, however long they are."""
    kept: list[_Named] = []
    step = 1
    for index, window in enumerate(windows):
        if index % step == 0:
            kept.append(window)
        if most and len(kept) > most:
            kept, step = kept[::2], step * 2
    return kept
