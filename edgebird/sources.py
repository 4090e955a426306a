"""Sound files: finding them, and reading them as mono blocks at the model's rate, whatever their length."""

from __future__ import annotations

import logging
import mmap
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path, PurePath
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from edgebird.errors import AudioError
from edgebird.timestamps import Chunk, recording_start, riff_chunks
from edgebird.types import AudioBlock, FloatArray, Origin

logger = logging.getLogger(__name__)

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".w64", ".rf64", ".caf", ".au"})

_BLOCK_SECONDS = 10
_BLOCK_SAMPLES = 1 << 22  # of all channels: 16 MiB, also for files that claim absurd rates or channels
_UNKNOWN_FRAMES = 2**63 - 1  # libsndfile: the header does not say
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)  # bytes of a WAV data chunk: never finished, or written to a pipe
_MP3_MAX_UNREAD = 4096  # bytes at the end: room for tags, less than a second of sound


@dataclass(frozen=True, slots=True)
class FoundAudio:
    """A file to read: its path, and its place below the folder that was given (its bare name if the file was)."""

    path: Path
    relative: PurePath


class Resampler:
    """Streaming sample-rate conversion (soxr HQ) of one unbroken piece of mono audio.

    rate_in, rate_out: samples per second. How the input is cut makes no difference: the output is that of
    `soxr.resample` over all of it, n * rate_out / rate_in samples rounded to the nearest integer.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._stream = soxr.ResampleStream(rate_in, rate_out, 1, "float32", "HQ") if rate_in != rate_out else None

    def push(self, samples: FloatArray) -> FloatArray:
        """Take float32 [n]; return the samples that are certain now, float32 [any], which may be the same array."""
        return self._convert(samples, last=False)

    def finish(self) -> FloatArray:
        """Return the last samples; nothing may be pushed afterwards."""
        return self._convert(np.empty(0, np.float32), last=True)

    def _convert(self, samples: FloatArray, last: bool) -> FloatArray:
        if self._stream is None:
            return samples
        converted: FloatArray = self._stream.resample_chunk(samples, last)
        return converted


class FileSource:
    """A sound file as blocks of mono float32 at `rate`, channels averaged; what libsndfile reads is read.

    path: the file. rate: samples per second of the blocks. name: what events call it, by default its path.
    timezone: where names and headers without an offset were recorded, see `recording_start`.
    Opens the file to read its header: raises AudioError if it is missing or holds no sound. A WAV file that was cut
    off or never finished is read as far as it goes, with a warning.
    """

    origin: Origin
    rate: int  # of the blocks, in Hz
    duration_s: float | None  # None where the header does not say; a guess for MP3 files without a Xing header

    def __init__(self, path: Path | str, rate: int, name: str | None = None, timezone: tzinfo | None = None) -> None:
        self._path = Path(path)
        self.rate = rate
        with _opened(self._path) as opened:
            frames, rate_in = opened.decoder.frames, opened.decoder.samplerate
            if frames == 0:
                raise _error(self._path, "it holds no samples")
            self.duration_s = None if frames == _UNKNOWN_FRAMES else frames / rate_in
            _warn_if_cut_off(opened)
        self.origin = Origin(name or _shown(self._path), self._path, recording_start(self._path, timezone))
        logger.debug("%s: %d Hz, started %s", self.origin.name, rate_in, self.origin.started or "nobody knows when")

    def blocks(self) -> Iterator[AudioBlock]:
        """Yield the file from its start, about ten seconds a block.

        Raises AudioError at the first damage: a decoder's error, fewer frames than the header promised, samples that
        are not finite.
        """
        position = 0
        for samples in self._resampled():
            if len(samples):
                yield AudioBlock(samples, position)
                position += len(samples)

    def _resampled(self) -> Iterator[FloatArray]:
        with _opened(self._path) as opened:
            resampler = Resampler(opened.decoder.samplerate, self.rate)
            for samples in _decoded(opened):
                yield resampler.push(samples)
            yield resampler.finish()


def find_audio(paths: Sequence[Path]) -> tuple[list[FoundAudio], list[AudioError]]:
    """Return the files to read: those given, whatever they are called, and the sound files below the folders given.

    Folders come in alphabetical order, links followed; hidden files and folders (also `._x`, which macOS leaves on
    memory cards) are left out. A file that is reached twice is returned once. The errors are those of paths that do
    not exist and of folders without sound files; they leave the others alone.
    """
    found: dict[str, FoundAudio] = {}
    errors: list[AudioError] = []
    for path in paths:
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except OSError as error:
            errors.append(_error(path, _reason(error)))
            continue
        files = sorted(_sound_files_below(path)) if is_folder else [path]
        if not files:
            errors.append(_error(path, f"no sound files in this folder ({' '.join(sorted(AUDIO_SUFFIXES))})"))
        for file in files:
            relative = file.relative_to(path) if is_folder else PurePath(file.name)
            found.setdefault(os.path.realpath(file), FoundAudio(file, relative))
    return list(found.values()), errors


def _sound_files_below(top: Path) -> Iterator[Path]:
    seen = set()  # a link to a folder above would otherwise be followed for ever
    for folder, subfolders, names in os.walk(top, onerror=_warn_unreadable, followlinks=True):
        real = os.path.realpath(folder)
        subfolders[:] = [] if real in seen else sorted(name for name in subfolders if not name.startswith("."))
        if real not in seen:
            files = (Path(folder, name) for name in names if not name.startswith("."))
            yield from (file for file in files if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file())
        seen.add(real)


def _warn_unreadable(error: OSError) -> None:
    logger.warning("%s: left out, %s", _shown(error.filename), _reason(error))


class _Decoder(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """Reads straight on: soundfile otherwise seeks after every read, which garbles MP3 at each block."""

    def seekable(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open file and its decoder, which share one position; data: the data chunk of a WAV file."""

    path: Path
    file: BinaryIO
    bytes: int
    data: Chunk | None
    decoder: _Decoder


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    with ExitStack() as stack:
        try:
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode):  # opening a pipe would wait for its writer
                raise _error(path, "it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file")
            file = stack.enter_context(path.open("rb", buffering=0))
            size = os.fstat(file.fileno()).st_size
            chunks = list(riff_chunks(file))
        except OSError as error:
            raise _error(path, _reason(error)) from None
        if size == 0:
            raise _error(path, "it is empty (0 bytes)")
        data = next((chunk for chunk in chunks if chunk.id == b"data"), None)
        source: int | mmap.mmap = file.fileno()
        if data and _is_unfinished(data, chunks, size):
            source = stack.enter_context(_finished(file, data, size))
        file.seek(0)
        try:
            decoder = stack.enter_context(_Decoder(source, closefd=False))
        except soundfile.LibsndfileError as error:
            problem = f"not sound that libsndfile can read ({_decoder_reason(error)})"
            raise _error(path, f"{problem}; convert it to WAV or FLAC if it is sound") from None
        yield _Opened(path, file, size, data, decoder)


def _is_unfinished(data: Chunk, chunks: list[Chunk], size: int) -> bool:
    """Tell a recording whose size was never written from one that is empty: that has nothing, or chunks, after it."""
    return data.size == 0 and not any(
        chunk.offset > data.offset and chunk.offset + chunk.size <= size for chunk in chunks
    )


def _finished(file: BinaryIO, data: Chunk, size: int) -> mmap.mmap:
    """Return a private image of the file in which the data chunk has the size it really has."""
    image = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    image[:4] = b"RIFF"  # in RF64 the size would be elsewhere
    image[data.offset - 4 : data.offset] = struct.pack("<I", min(size - data.offset, 0xFFFFFFFE))
    return image


def _warn_if_cut_off(opened: _Opened) -> None:
    if opened.data is None:
        return
    present = opened.bytes - opened.data.offset
    present_s = opened.decoder.frames / opened.decoder.samplerate
    if opened.data.size in _UNKNOWN_SIZES:
        problem = "its header does not say how long it is"
    elif opened.data.size > present:
        problem = f"{(opened.data.size - present) / present * present_s:.1f} s that its header promises are missing"
    else:
        return
    logger.warning("%s: %s (recorder cut off?); reading the %.1f s there are", _shown(opened.path), problem, present_s)


def _decoded(opened: _Opened) -> Iterator[FloatArray]:
    """Yield float32 [n], mono, at the file's rate."""
    decoder = opened.decoder
    size = max(1, min(_BLOCK_SECONDS * decoder.samplerate, _BLOCK_SAMPLES // decoder.channels))
    done = 0
    while True:
        try:
            frames = decoder.read(size, dtype="float32", always_2d=True)  # [n, channels]
        except soundfile.LibsndfileError as error:
            span = f"between {done / decoder.samplerate:.1f} and {(done + size) / decoder.samplerate:.1f} s"
            raise _error(opened.path, f"damaged {span} ({_decoder_reason(error)})") from None
        if len(frames) == 0:
            break
        mono: FloatArray = frames.mean(axis=1, dtype=np.float32)
        finite = np.isfinite(mono)
        if not finite.all():
            second = (done + int(finite.argmin())) / decoder.samplerate
            raise _error(opened.path, f"a sample that is not a number (NaN or infinite) at {second:.3f} s")
        done += len(mono)
        yield mono
    _require_all(opened, done)


def _require_all(opened: _Opened, done: int) -> None:
    """Raise AudioError unless `done` frames are all there are."""
    decoder = opened.decoder
    unread = opened.bytes - opened.file.tell()
    seconds = done / decoder.samplerate
    if decoder.format == "MP3" and not _mp3_tells_length(opened.file):
        # libsndfile guesses the length from the first frames, and stops there.
        if unread > _MP3_MAX_UNREAD:
            problem = f"its length is not in its header, and {unread} bytes after {seconds:.1f} s stay unread"
            raise _error(opened.path, f"{problem}; convert it to WAV or FLAC")
        return
    if decoder.frames != _UNKNOWN_FRAMES and done < decoder.frames:
        promised = decoder.frames / decoder.samplerate
        raise _error(opened.path, f"damaged or cut off, only {seconds:.1f} of {promised:.1f} s can be decoded")


def _mp3_tells_length(file: BinaryIO) -> bool:
    """Tell whether the first frame, after the ID3 tag if there is one, is the Xing or VBRI header."""
    file.seek(0)
    tag = file.read(10)
    tag_bytes = sum((byte & 127) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
    file.seek(10 + tag_bytes if tag[:3] == b"ID3" else 0)
    frame = file.read(1024)
    return any(name in frame for name in (b"Xing", b"Info", b"VBRI"))


def _error(path: Path, problem: str) -> AudioError:
    return AudioError(f"cannot read {_shown(path)}: {problem}")


def _shown(path: Path | str) -> str:
    """Return the path as it can be printed on one line."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _reason(error: OSError) -> str:
    return "no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()


def _decoder_reason(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).removeprefix("Error : ").rstrip(".")
