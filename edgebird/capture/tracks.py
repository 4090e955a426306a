"""The audio of an open stream: which track is taken, its frames, and how many packets are missing between them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgebird.capture.serve import CaptureError

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

_MISSED = re.compile(r"RTP: missed (-?\d+) packets")
# Codecs that carry less than their sampling rate says, Hz.
_NARROW = {"pcm_mulaw": 8000, "pcm_alaw": 8000, "gsm": 8000, "amrnb": 8000, "amr_nb": 8000}


class SilenceError(Exception):
    """Nothing came for too long."""


class Missed:
    """How many packets FFmpeg says are missing: nowhere but in its log."""

    def __init__(self, av: Any) -> None:
        av.logging.set_level(av.logging.WARNING)
        av.logging.set_skip_repeated(False)  # each counts
        # Of all threads, for good: what is captured is printed nowhere, and its text may hold credentials.
        self._lines: list[tuple[int, str, str]] = av.logging.Capture(local=False).__enter__()

    def take(self) -> int:
        """Those since the last call."""
        if not self._lines:
            return 0
        lines = self._lines[:]
        del self._lines[: len(lines)]
        return sum(max(0, int(found[1])) for _, _, text in lines if (found := _MISSED.search(text)))


def choose(tracks: Sequence[AudioStream], track: int | None, name: str) -> AudioStream:
    """The track with a number, from 1 on, else the one that carries the highest tones, of equal ones the first.

    Raises CaptureError if there is none.
    """
    if not tracks:
        raise CaptureError("error", f"{name}: there is no audio in this stream")
    if track is None:
        return max(tracks, key=_band)
    if track > len(tracks):
        raise CaptureError("error", f"{name}: there is no audio track {track}, it has {len(tracks)}")
    return tracks[track - 1]


def _band(track: AudioStream) -> int:
    context = track.codec_context
    return _NARROW.get(context.name, context.sample_rate or 0)


def describe(tracks: Sequence[AudioStream]) -> str:
    """The tracks of a stream, for a log: `1 aac 16000 Hz, 2 opus 48000 Hz`."""
    return ", ".join(
        f"{number} {one.codec_context.name} {one.codec_context.sample_rate} Hz" for number, one in enumerate(tracks, 1)
    )


def frames(
    av: Any, container: InputContainer, audio: AudioStream, patience_s: tuple[float, float], missed: Missed
) -> Iterator[tuple[AudioFrame | None, int]]:
    """Decode a track: each frame, and how many packets are missing before it; None now and then while nothing comes.

    patience_s: until the first audio, and without any later on. Raises SilenceError after that, and FFmpegError.
    """
    from av.stream import Discard

    for stream in container.streams:
        stream.discard = Discard.default if stream is audio else Discard.all
    alone = len(container.streams) == 1  # or nobody knows of which track the packets are that are missing
    (patience, later), lost, heard = patience_s, 0, time.monotonic()
    for packet in _packets(av, container):
        found = missed.take()  # always: what is not taken fills the memory
        lost += found if alone else 0
        if packet is None or packet.stream is not audio:
            if time.monotonic() - heard > patience:
                raise SilenceError
            if packet is None:
                yield None, 0
            continue
        try:
            decoded = packet.decode()
        except av.error.FFmpegError:
            lost += 1  # it is damaged
            continue
        for frame in decoded:
            if audio.codec_context.name.startswith("mp3"):  # calls the first one at a new rate by the old one
                frame.sample_rate = audio.codec_context.sample_rate
            heard, patience = time.monotonic(), later
            yield frame, lost
            lost = 0


def _packets(av: Any, container: InputContainer) -> Iterator[Any]:
    """All packets; None where the time for one reading was over, which RTSP goes on after."""
    slices = container.format.name == "rtsp"
    while True:
        try:
            yield from container.demux()
            return
        except av.error.ExitError:
            if not slices:
                raise
        yield None
