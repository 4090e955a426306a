"""Sound of detections, and its spectrograms: of files in the clips folder and no others."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import soundfile

from edgebird.errors import AudioError
from edgebird.sinks.guano import read_guano
from edgebird.sinks.spectrogram import Size, spectrogram_png

LARGE, SMALL = Size(800, 240), Size(320, 120)
_ENDINGS = (".flac", ".wav")
_KEPT = 64  # pictures in memory
_LONGEST_S = 150  # of a clip: a detection is a minute at most, and up to a minute may be around it


@dataclass(frozen=True, slots=True)
class ClipFile:
    """A clip. start_s, end_s: where the detection is in it; length_s: of it."""

    path: Path
    length_s: float
    start_s: float
    end_s: float
    highest_hz: float


def clip_path(folder: Path | None, stored: str | None) -> Path | None:
    """Return the file of a clip that the station wrote as `.../SOURCE/NAME`; None if it is not there.

    Only its last two parts count, so that the folder may be elsewhere for this computer; neither they nor links lead
    out of it, or to what is no clip.
    """
    if folder is None or stored is None or "\0" in stored:
        return None
    parts = PurePath(stored).parts[-2:]
    if len(parts) != 2 or ".." in parts or not parts[1].endswith(_ENDINGS):
        return None
    try:
        path, root = folder.joinpath(*parts).resolve(), folder.resolve()
        is_clip = path.suffix in _ENDINGS and path.is_relative_to(root) and path.is_file()
        return path if is_clip else None
    except (OSError, RuntimeError, ValueError):  # a circle of links, a name that cannot be
        return None


def clips_there(folder: Path | None) -> set[tuple[str, str]]:
    """Return source and name of all clips in the folder, looked at once: a station has many."""
    found: set[tuple[str, str]] = set()
    try:
        sources = [entry for entry in os.scandir(folder) if entry.is_dir()] if folder else []
        for source in sources:
            found.update((source.name, entry.name) for entry in os.scandir(source) if entry.name.endswith(_ENDINGS))
    except OSError:  # it is not there, or goes away meanwhile
        return found
    return found


def read_clip(path: Path, padding_s: float = 3.0) -> ClipFile:
    """Return what a clip says of itself. padding_s: around the detection, where it does not. Raises AudioError."""
    try:
        with soundfile.SoundFile(path) as sound:
            length, rate = sound.frames / sound.samplerate, sound.samplerate
    except (OSError, soundfile.LibsndfileError) as error:
        raise AudioError(f"cannot read {path.name}: {error}") from error
    start, end = padding_s, length - padding_s
    fields = read_guano(path)
    with suppress(KeyError, ValueError):
        start, end = float(fields["edgebird|Start"]), float(fields["edgebird|End"])
    start = min(max(0.0, start), length)
    return ClipFile(path, length, start, min(max(start, end), length), min(12_000.0, rate / 2))


class Spectrograms:
    """Makes pictures of clips, one at a time, and keeps the last ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Path, int, Size], bytes] = OrderedDict()

    def of(self, path: Path, size: Size) -> bytes:
        """Return a PNG. Raises AudioError."""
        try:
            key = path, path.stat().st_mtime_ns, size
            with self._lock:
                if key not in self._kept:
                    self._kept[key] = self._make(path, size)
                self._kept.move_to_end(key)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
                return self._kept[key]
        except (OSError, soundfile.LibsndfileError) as error:
            raise AudioError(f"cannot read {path.name}: {error}") from error

    def _make(self, path: Path, size: Size) -> bytes:
        with soundfile.SoundFile(path) as sound:
            samples = sound.read(_LONGEST_S * sound.samplerate, dtype="float32", always_2d=True).mean(axis=1)
            if not len(samples):
                raise AudioError(f"cannot read {path.name}: it holds no sound")
            return spectrogram_png(np.ascontiguousarray(samples, np.float32), sound.samplerate, size)
