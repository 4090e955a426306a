"""A spectrogram as a PNG file, with numpy alone: time to the right, low tones at the bottom."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgebird.types import FloatArray

_HIGHEST_HZ = 12_000.0
_WINDOW_S = 0.032
_PIXELS_PER_S = 100
_MAX_WIDTH = 2000
_LOWEST_HZ = 200.0  # wind and hum below it are shown, but do not decide how bright the rest is
_SMALLEST_DB, _LARGEST_DB = 40.0, 70.0  # between them, black lies at the median: half of a picture is background
_QUIETEST_PEAK_DB = -60.0  # dBFS: the noise of a quiet microphone is not stretched to full brightness
# Nine colours of matplotlib's magma (CC0), equally spaced: equal steps of level look equally large.
_MAGMA = (0x000004, 0x1C1044, 0x4F127B, 0x812581, 0xB5367A, 0xE55064, 0xFB8761, 0xFEC287, 0xFCFDBF)


@dataclass(frozen=True, slots=True)
class Size:
    """The largest size of a picture, in pixels; what is drawn in one of them is the loudest of it."""

    width: int
    height: int


def spectrogram_png(samples: FloatArray, rate: int, size: Size | None = None) -> bytes:
    """The PNG file of float32 [n], n > 0, at `rate` samples per second. size: a smaller picture, in 32 colours.

    From 0 Hz to 12 kHz, or what the rate allows; a column for 10 ms, wider steps in a clip of more than 20 s. The
    axes are in the file as text: seconds, hertz, and dB below a full-scale sine.
    """
    window = max(16, round(_WINDOW_S * rate))
    step = max(1, round(rate / _PIXELS_PER_S), -(-len(samples) // _MAX_WIDTH))
    highest = min(_HIGHEST_HZ, rate / 2)
    level = _levels(samples, window, step)[: int(highest / rate * window) + 1]  # [frequencies, columns]
    voices = level[int(_LOWEST_HZ / rate * window) :]
    peak = max(float(voices.max()), _QUIETEST_PEAK_DB)
    span = min(max(peak - float(np.median(voices)), _SMALLEST_DB), _LARGEST_DB)
    if size:
        level = _shrunk(_shrunk(level, size.height).T, size.width).T
    pixels = np.clip((level - (peak - span)) * (255 / span), 0, 255).astype(np.uint8)
    if size:
        pixels &= np.uint8(0xF8)  # a third of the bytes, and no difference that an eye sees
    text = {
        "Time range (s)": f"0 {len(samples) / rate:.3f}",
        "Frequency range (Hz)": f"0 {highest:g}",
        "Level range (dBFS)": f"{peak - span:.1f} {peak:.1f}",
        "Software": "edgebird",
    }
    return _png(np.ascontiguousarray(pixels[::-1]), text)


def _levels(samples: FloatArray, window: int, step: int) -> FloatArray:
    """dBFS [frequencies, columns]; a column stands for the `step` samples around the middle of its window."""
    columns = -(-len(samples) // step)
    padded = np.zeros((columns - 1) * step + window, np.float32)
    before = (window - step) // 2 if window > step else 0
    kept = samples[: len(padded) - before]
    padded[before : before + len(kept)] = kept
    shape = np.hanning(window).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::step]  # [columns, window]
    power = np.empty((columns, window // 2 + 1), np.float32)
    for first in range(0, columns, 256):  # all at once would take a hundred times the memory of the clip
        spectrum = np.fft.rfft(frames[first : first + 256] * shape)
        power[first : first + 256] = np.abs(spectrum / (shape.sum() / 2)) ** 2
    level: FloatArray = 10 * np.log10(np.maximum(power.T, np.float32(1e-14)))
    return level


def _shrunk(level: FloatArray, rows: int) -> FloatArray:
    """At most so many rows: each the loudest of those it stands for."""
    if len(level) <= rows:
        return level
    shrunk: FloatArray = np.maximum.reduceat(level, np.arange(rows) * len(level) // rows)
    return shrunk


def _png(pixels: NDArray[np.uint8], text: Mapping[str, str]) -> bytes:
    """uint8 [height, width], an index into the colours each (PNG specification, colour type 3)."""
    height, width = pixels.shape
    rows = np.zeros((height, 1 + width), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = pixels
    chunks = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))]
    chunks += [_chunk(b"tEXt", f"{key}\0{value}".encode("latin-1")) for key, value in text.items()]
    chunks += [_chunk(b"PLTE", _palette()), _chunk(b"IDAT", zlib.compress(rows.tobytes())), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _palette() -> bytes:
    """256 colours, three bytes each."""
    anchors = np.array([struct.unpack("4B", struct.pack(">I", colour))[1:] for colour in _MAGMA])  # [9, 3]
    at = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(at, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    return bytes(np.stack(channels, axis=1).round().astype(np.uint8))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
