"""Sounds in the forms in which servers send them, made by libsndfile and FFmpeg."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from edgebird.types import FloatArray

_LIBSNDFILE = {"mp3": ("MP3", None), "vorbis": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "flac": ("FLAC", "PCM_16")}
_FFMPEG = {
    "adts": ("adts", "aac"),
    "aac in ts": ("mpegts", "aac"),
    "mp2 in ts": ("mpegts", "mp2"),
    "opus in webm": ("webm", "libopus"),
    "flac in ogg": ("ogg", "flac"),
    "wav": ("wav", "pcm_s16le"),
}
FORMS = (*_LIBSNDFILE, *_FFMPEG)


class Pipe:
    """Takes what is written, as a server does: nothing can be changed later, so no header has a size."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def tones(pitch: float, seconds: float, rate: int, channels: int = 1) -> FloatArray:
    """A steady tone, float32 [frames, channels] at `rate`, Hz: known by its pitch, Hz, wherever it comes."""
    tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)
    return np.repeat(tone.astype(np.float32)[:, None], channels, axis=1)


def encoded(sound: FloatArray, rate: int, form: str) -> bytes:
    """Encode sound, float32 [frames, channels] at `rate`, Hz, as one of FORMS."""
    file = io.BytesIO()
    if form in _LIBSNDFILE:
        kind, subtype = _LIBSNDFILE[form]
        soundfile.write(file, sound, rate, format=kind, subtype=subtype)
        return file.getvalue()
    import av

    kind, codec = _FFMPEG[form]
    pipe = Pipe()
    layout = {1: "mono", 2: "stereo"}[sound.shape[1]]
    with av.open(pipe, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound.T), "fltp", layout)
        frame.sample_rate = rate
        convert = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        for part in [*convert.resample(frame), None]:
            container.mux([packet for packet in stream.encode(part) if packet.size])
    return bytes(pipe.content)


def seconds_of(sound: FloatArray, rate: int, pitch: float) -> float:
    """How long a tone of this pitch, Hz, sounds in mono sound at `rate`, Hz: in hundredths, whatever lies between."""
    size = rate // 100
    pieces = sound[: len(sound) // size * size].reshape(-1, size)
    wave = np.exp(-2j * np.pi * pitch * np.arange(size) / rate)
    power = 2 * np.abs(pieces @ wave) ** 2 / size**2  # of this tone
    return float(np.count_nonzero((power > 0.02) & (power > 0.5 * (pieces**2).mean(1)))) / 100
