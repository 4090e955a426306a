"""Sound files: finding them, and reading them as mono blocks at the model's rate, whatever their length."""

from __future__ import annotations

import logging
import math
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from copy import copy
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path, PurePath
from typing import BinaryIO, TypeAlias

import numpy as np

from edgebird.errors import AudioError, IncompleteAudioError
from edgebird.prefetch import prefetch
from edgebird.reading.ffmpeg import has_ffmpeg
from edgebird.reading.mixing import Mixer
from edgebird.reading.opening import NotSoundError, open_sound
from edgebird.reading.sound import CUT_OFF, Decoded, Sound
from edgebird.reading.spoiled import NOT_FINITE, sound_parts
from edgebird.reading.triggered import NOT_TRIGGERED, Expander
from edgebird.remote.file import RemoteFile
from edgebird.remote.path import RemotePath, place
from edgebird.remote.storage import RemoteStatus
from edgebird.resampling import ResampledBlocks
from edgebird.timestamps import is_triggered, recording_start
from edgebird.types import AudioBlock, FloatArray, Origin

logger = logging.getLogger(__name__)

Tell: TypeAlias = Callable[[int, str], None]  # who is told what is odd: a level of `logging`, and a line

AUDIO_SUFFIXES = frozenset(
    ".wav .wave .bwf .flac .ogg .oga .opus .mp3 .mp2 .aif .aiff .aifc .w64 .rf64 .caf .au .snd".split()
)
FFMPEG_SUFFIXES = frozenset(".m4a .m4b .aac .wma .webm .weba .mka .3gp .3ga .amr .ac3 .ape .wv .tta .spx".split())
# Sound that nothing here reads: Wildlife Acoustics' compressed forms, and those of dictating machines.
_OTHER_SUFFIXES = frozenset(".wac .w4v .dss .ds2 .dvf .msv .m4p .aax .dsf .dff .ra .rm".split())

_SUFFIXES = AUDIO_SUFFIXES | FFMPEG_SUFFIXES | _OTHER_SUFFIXES
_SHOWN_LOSSES = 3
_SETTLING_S = 1.0  # of resamplers and filters: they remember an eighth of a second at most


@dataclass(frozen=True, slots=True)
class FoundAudio:
    """A file to read: its path, and its place below the folder that was given (its bare name if the file was).

    listed: what a list of files elsewhere said of it.
    """

    path: Path
    relative: PurePath
    listed: RemoteStatus | None = None


def tell_log(level: int, line: str) -> None:
    """Write it to the log."""
    logger.log(level, "%s", line)


class FileSource:
    """A sound file as blocks of mono float32 at `rate`: all that can be decoded of it, each sample in its place.

    path: the file. rate: samples per second of the blocks. name: what events call it, by default its path.
    timezone: where names and headers without an offset were recorded, see `recording_start`.
    channel: which one to take, from 1 on; None for the mean of all.
    tell: who is told what is odd about a file of which nothing is missing.

    Opens the file to read its header: raises AudioError if it is missing, holds no sound or not this channel.
    """

    origin: Origin
    rate: int  # of the blocks, in Hz
    channels: int  # of the file
    duration_s: float | None  # None where the header does not say; a guess for MP3 files without a Xing header

    def __init__(
        self,
        path: Path | str,
        rate: int,
        name: str | None = None,
        timezone: tzinfo | None = None,
        channel: int | None = None,
        tell: Tell = tell_log,
    ) -> None:
        self._path, self._tell = path if isinstance(path, Path) else Path(path), tell
        self.rate = rate
        with _opened(self._path) as (file, size), _whole(self._path, file):
            self._sound = sound = _found(self._path, file, size)
            begun = recording_start(self._path, timezone, file if isinstance(file, RemoteFile) else None)
        self.channels = sound.channels
        if channel is not None and channel > sound.channels:
            has = "one channel" if sound.channels == 1 else f"{sound.channels} channels"
            raise _error(self._path, f"channel {channel} was asked for, and it has {has}")
        self.duration_s = None if sound.expected is None else sound.expected / sound.rate
        self.origin = Origin(
            name or _shown(self._path),
            self._path,
            begun.moment if begun else None,
            begun.zone_assumed if begun else None,
            channel,
        )
        for note in sound.notes:
            tell(logging.WARNING, f"{_shown(self._path)}: {note}")
        warn_of_missing_band(self.origin.name, sound.rate, rate, tell)
        started = self.origin.started or "nobody knows when"
        tell(logging.DEBUG, f"{self.origin.name}: {sound.rate} Hz, started {started}")

    def of_channel(self, channel: int) -> FileSource:
        """Return the same file as a source of one of its channels, from 1 on, which tells no warnings."""
        other = copy(self)
        other.origin = replace(self.origin, channel=channel)
        other._tell = lambda _level, _line: None
        return other

    @property
    def seeks(self) -> bool:
        """Whether it can be read from the middle on, sample for sample."""
        return self._sound.decode_from is not None and not is_triggered(self._path)

    def start_before(self, position: int) -> int:
        """Where to begin, so that all blocks from a position on are what they are from the start on.

        That is a second before, for filters to settle, where both rates have a sample. In samples at `rate`.
        """
        unit = self.rate // math.gcd(self.rate, self._sound.rate)
        return max(0, position - round(_SETTLING_S * self.rate)) // unit * unit

    def blocks(self, decode_ahead: bool = False, start: int = 0) -> Iterator[AudioBlock]:
        """Yield the file from its start, about ten seconds a block.

        decode_ahead: decode the next block on a thread of its own while this one is resampled. start: where to begin
        instead, see `start_before`.

        Where audio is missing the next block starts later, and says why; at the end an empty one may. Raises
        IncompleteAudioError as the last thing if that is so, except for silence that a recorder left out by design;
        AudioError if nothing can be decoded.
        """
        with _opened(self._path) as (file, _), _whole(self._path, file):
            sound, frame = self._sound, start * self._sound.rate // self.rate
            reading = _Reading(sound, self.rate, self.origin, frame)
            decoded = sound.decode_from(file, frame) if frame and sound.decode_from else sound.decode(file)
            if decode_ahead:
                with closing(prefetch(decoded, 1)) as ahead:
                    yield from reading.blocks(ahead)
            else:
                yield from reading.blocks(decoded)
        for verdict in reading.verdicts():
            self._tell(logging.WARNING, f"{self.origin.name}: {verdict}")
        if problem := reading.problem():
            error = IncompleteAudioError if reading.heard else AudioError
            raise error(f"cannot read {'all of ' * reading.heard}{_shown(self._path)}: {problem}")


def warn_of_missing_band(name: str, rate_in: int, rate: int, tell: Tell = tell_log) -> None:
    """Say of a source if its rate, Hz, is lower than the model's: higher tones are absent, whatever the engine."""
    if rate_in < rate:
        heard = f"nothing above {rate_in / 2000:g} kHz can be heard in it; the model listens up to {rate / 2000:g} kHz"
        tell(logging.WARNING, f"{name}: its rate is {rate_in} Hz, so that {heard}")


class _Reading:
    """One way through a file, from a frame on. heard: whether anything was decoded."""

    def __init__(self, sound: Sound, rate: int, origin: Origin, start: int = 0) -> None:
        self._sound = sound
        self._mixer = Mixer(sound.channels, origin.channel)
        self._expander = Expander() if sound.channels == 1 and is_triggered(origin.path) else None
        self._blocks = ResampledBlocks(sound.rate, rate, start)
        self._losses: list[tuple[int, int, str]] = []  # frames of the file
        self.heard = False

    def blocks(self, decoded: Iterable[Decoded]) -> Iterator[AudioBlock]:
        """See `FileSource`."""
        sound = self._sound
        for frames in self._expander.expand(decoded) if self._expander else decoded:
            for samples, start in sound_parts(self._mixer.mix(frames.samples), frames.start, sound.rate):
                yield from self._take(samples, start, frames.lost if start == frames.start else NOT_FINITE)
        added = self._expander.added if self._expander else 0
        stated = None if sound.stated is None else sound.stated + added
        if stated is not None and stated > self._blocks.end + sound.slack:
            yield from self._take(np.empty(0, np.float32), stated, CUT_OFF)
        yield from self._blocks.finish()

    def _take(self, samples: FloatArray, start: int, lost: str) -> Iterator[AudioBlock]:
        """Blocks of samples [n] that stand at a frame of the file."""
        if start > self._blocks.end:
            self._lose(start, lost)
        self.heard = self.heard or len(samples) > 0
        yield from self._blocks.take(samples, start, lost)

    def _lose(self, start: int, reason: str) -> None:
        end = self._blocks.end
        if self._losses and self._losses[-1][1:] == (end, reason):
            self._losses[-1] = (self._losses[-1][0], start, reason)
        else:
            self._losses.append((end, start, reason))

    def verdicts(self) -> Iterator[str]:
        """What is odd, when all is read, although nothing is missing."""
        rate = self._sound.rate
        if verdict := self._mixer.verdict(rate):
            yield verdict
        if self._sound.stated is None and not self._sound.unread:
            yield f"length unknown, decoding ended at {self._blocks.end / rate:.1f} s"

    def problem(self) -> str:
        """What is missing, in words; empty if nothing is."""
        rate, unread = self._sound.rate, self._sound.unread
        losses = [loss for loss in self._losses if loss[2] != NOT_TRIGGERED]
        said = [_words(*loss, rate) for loss in losses[:_SHOWN_LOSSES]]
        if len(losses) > _SHOWN_LOSSES:
            missing = sum(end - start for start, end, _ in losses)
            said.append(
                f"and so on, {len(losses)} times: {missing / rate:.1f} s of {self._blocks.end / rate:.1f} s are missing"
            )
        elif not self.heard and not said:
            said.append("nothing of it can be decoded")
        elif unread and not losses:
            unknown = "length unknown, " if self._sound.stated is None else ""
            said.append(f"{unknown}decoding ended at {self._blocks.end / rate:.1f} s, and {unread} bytes stay unread")
        return "; ".join(said)


def _words(start: int, end: int, reason: str, rate: int) -> str:
    """A loss, by frames of the file."""
    missing = f"{(end - start) / rate:.{1 if end - start >= rate else 3}f} s"
    if reason == CUT_OFF:
        where = f"damaged or cut off, decoding ended at {start / rate:.1f} s"
        return f"{where}: the last {missing} of {end / rate:.1f} s are missing"
    if reason == NOT_FINITE:
        kind = "samples that are no sound (NaN, infinite or beyond all reason)"
        return f"{kind} at {start / rate:.3f} s: {missing} are left out"
    return f"damaged at {start / rate:.3f} s: {missing} are missing"


def find_audio(paths: Sequence[Path]) -> tuple[list[FoundAudio], list[AudioError]]:
    """Return the files to read: those given, whatever they are called, and the sound files below the folders given.

    Folders come in alphabetical order, links followed; hidden files and folders (also `._x`, which macOS leaves on
    memory cards) are left out. A file that is reached twice is returned once. The errors are those of paths that do
    not exist and of folders without sound files; they leave the others alone. Sound files in folders that cannot be
    read are left out, with one warning for all.
    """
    found: dict[str, FoundAudio] = {}
    left_out: dict[str, str] = {}  # suffixes of paths
    errors: list[AudioError] = []
    readable = AUDIO_SUFFIXES | FFMPEG_SUFFIXES if has_ffmpeg() else AUDIO_SUFFIXES
    for path in paths:
        try:
            path = place(path)
            is_folder = stat.S_ISDIR(path.stat().st_mode)
            listed = path.find() if is_folder and isinstance(path, RemotePath) else {}
        except OSError as error:
            errors.append(_error(path, _reason(error)))
            continue
        files = sorted(_sound_files_below(path, listed)) if is_folder else [path]
        if is_folder:
            others = [file for file in files if file.suffix.lower() not in readable]
            left_out |= {_identity(file): file.suffix.lower() for file in others}
            files = [file for file in files if file.suffix.lower() in readable]
        if not files:
            errors.append(_error(path, f"no sound files in this folder ({' '.join(sorted(readable))})"))
        for file in files:
            relative = file.relative_to(path) if is_folder else PurePath(file.name)
            found.setdefault(_identity(file), FoundAudio(file, relative, listed.get(str(relative))))
    if left_out:
        logger.warning("%s", _left_out(left_out.values()))
    return list(found.values()), errors


def _left_out(suffixes: Collection[str]) -> str:
    files = f"{len(suffixes)} sound file{'s' * (len(suffixes) > 1)} left out ({' '.join(sorted(set(suffixes)))})"
    needs_ffmpeg = FFMPEG_SUFFIXES.intersection(suffixes)
    advice = f"pip install 'edgebird[stream]' reads {' '.join(sorted(needs_ffmpeg))}" if needs_ffmpeg else ""
    return f"{files}: {advice or 'convert to WAV or FLAC what shall be listened to'}"


def _identity(file: Path) -> str:
    return str(file) if isinstance(file, RemotePath) else os.path.realpath(file)


def _sound_files_below(top: Path, listed: Iterable[str]) -> Iterator[Path]:
    """Those of a folder. listed: what is below it, where it is elsewhere."""
    if isinstance(top, RemotePath):
        visible = (name for name in listed if not re.search(r"(?:^|/)\.", name))
        yield from (top / name for name in visible if PurePath(name).suffix.lower() in _SUFFIXES)
        return
    seen = set()  # a link to a folder above would otherwise be followed for ever
    for folder, subfolders, names in os.walk(top, onerror=_warn_unreadable, followlinks=True):
        real = os.path.realpath(folder)
        subfolders[:] = [] if real in seen else sorted(name for name in subfolders if not name.startswith("."))
        if real not in seen:
            files = (Path(folder, name) for name in names if not name.startswith("."))
            yield from (file for file in files if file.suffix.lower() in _SUFFIXES and file.is_file())
        seen.add(real)


def _warn_unreadable(error: OSError) -> None:
    logger.warning("%s: left out, %s", _shown(error.filename), _reason(error))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The open file and its size in bytes. Raises AudioError."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would wait for its writer
            raise _error(path, "it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file")
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise _error(path, _reason(error)) from None
    with file:
        yield file, file.size if isinstance(file, RemoteFile) else os.fstat(file.fileno()).st_size


@contextmanager
def _whole(path: Path, file: BinaryIO) -> Iterator[None]:
    """Raise AudioError if parts of a file elsewhere could not be had: that does not mean that they are missing."""
    try:
        yield
    except AudioError:
        if not (isinstance(file, RemoteFile) and file.failure):
            raise
    except OSError as error:
        raise _error(path, _reason(error)) from None
    if isinstance(file, RemoteFile) and file.failure:
        raise _error(path, _reason(file.failure))


def _found(path: Path, file: BinaryIO, size: int) -> Sound:
    """What the file holds. Raises AudioError."""
    if size == 0:
        raise _error(path, "it is empty (0 bytes)")
    try:
        sound = open_sound(path, file, size)
    except OSError as error:
        raise _error(path, _reason(error)) from None
    except NotSoundError as error:
        extra = "" if has_ffmpeg() else " (what else FFmpeg reads needs `pip install 'edgebird[stream]'`)"
        problem = f"not sound that libsndfile can read ({error})"
        raise _error(path, f"{problem}; convert it to WAV or FLAC if it is sound{extra}") from None
    if sound.expected == 0:
        raise _error(path, "it holds no samples")
    return sound


def _error(path: Path, problem: str) -> AudioError:
    return AudioError(f"cannot read {_shown(path)}: {problem}")


def _shown(path: Path | str) -> str:
    """Return the path as it can be printed on one line."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _reason(error: OSError) -> str:
    return "no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()
