"""What libsndfile does not read and FFmpeg does, where PyAV is installed: AAC in .m4a, WMA, WebM, ..."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgebird.reading.sound import DAMAGED, Decoded, Sound
from edgebird.remote.file import RemoteFile

_JITTER_S = 0.1  # timestamps may be so far off without a meaning: some containers count milliseconds
_DELAY_S = 0.1  # that an encoder adds, and a header may or may not count


def has_ffmpeg() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def open_ffmpeg(path: Path, file: BinaryIO) -> Sound | None:
    """Find what an open file holds; None if FFmpeg finds no sound in it either."""
    import av

    try:
        with av.open(_source(path, file)) as container:
            if not container.streams.audio:
                return None
            stream = container.streams.audio[0]
            rate, channels = int(stream.rate or 0), int(stream.channels or 0)
            length = stream.duration * stream.time_base if stream.duration else None
            if length is None and container.duration and container.format.name not in ("aac", "mp3", "amr"):
                length = container.duration / 1_000_000  # for these it is a guess from the bit rate
    except (av.FFmpegError, OSError, ValueError):
        return None
    if not rate or not channels:
        return None
    stated = round(float(length) * rate) if length else None

    def decode(file: BinaryIO) -> Iterator[Decoded]:
        return _decode(_source(path, file), rate, channels)

    return Sound(rate, channels, stated, stated, decode, slack=round(_DELAY_S * rate))


def _source(path: Path, file: BinaryIO) -> Any:
    """What FFmpeg opens: it reads a file of this machine by itself."""
    file.seek(0)
    return file if isinstance(file, RemoteFile) else str(path)


def _decode(source: Any, rate: int, channels: int) -> Iterator[Decoded]:
    import av

    layout = {1: "mono", 2: "stereo"}.get(channels)
    first = None
    with av.open(source) as container:
        stream = container.streams.audio[0]
        convert = av.AudioResampler(format="fltp", layout=layout or stream.layout, rate=rate)
        at = 0
        for decoded in _frames(av, container, stream):
            if decoded.pts is not None:
                moment = float(decoded.pts * decoded.time_base)
                first = moment - at / rate if first is None else first
                place = round((moment - first) * rate)
                at = place if place - at > _JITTER_S * rate else at
            for frame in convert.resample(decoded):
                samples = np.ascontiguousarray(frame.to_ndarray().T, dtype=np.float32)  # [n, channels]
                yield Decoded(samples, at, DAMAGED)
                at += len(samples)


def _frames(av: Any, container: Any, stream: Any) -> Iterator[Any]:
    """Decoded frames; packets that are damaged leave a hole in the timestamps, and where reading fails all ends."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue
