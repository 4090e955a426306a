"""The sound of a source before it is scored: louder or softer, and without what is too low or too high."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgebird.settings.model import SourceSettings
from edgebird.types import AudioBlock, FloatArray

_ORDER = 4  # of the Butterworth filters whose magnitude it has: 24 dB an octave
_KERNEL_S = 0.128
_LEAST = 1e-5  # of a magnitude: -100 dB
_DESIGN = 8  # kernels long


@dataclass(frozen=True, slots=True)
class SoundOptions:
    """What to do with sound. gain_db: dB. high_pass_hz, low_pass_hz: where it is 3 dB softer. in_clips: kept so too."""

    gain_db: float = 0.0
    high_pass_hz: float | None = None
    low_pass_hz: float | None = None
    in_clips: bool = False


def sound_options(source: SourceSettings) -> SoundOptions | None:
    """What is to be done with the sound of a source, None for nothing."""
    options = SoundOptions(source.gain_db, source.high_pass_hz, source.low_pass_hz, source.process_clips)
    return None if options == SoundOptions(in_clips=source.process_clips) else options


class Conditioner:
    """Does it to blocks as they come; how they are cut does not matter, and after a loss it begins anew.

    The filter has the magnitude of Butterworth's and the least phase that goes with it (by the cepstrum: Oppenheim and
    Schafer, Discrete-Time Signal Processing, 13.6), so that sound is late by a fraction of a period of what is cut.
    rate: Hz.
    """

    def __init__(self, options: SoundOptions, rate: int) -> None:
        self._kernel = _kernel(options, rate)
        self._before = np.zeros(len(self._kernel) - 1, np.float32)
        self._expected = 0
        self._spectrum: NDArray[np.complexfloating] = np.empty(0, np.complex64)

    def apply(self, block: AudioBlock) -> AudioBlock:
        """Return the block as it is to be heard, as long as it was."""
        if not len(block.samples):
            return block
        if block.start != self._expected:
            self._before[:] = 0
        self._expected = block.end
        sound = np.concatenate([self._before, block.samples])
        size = 1 << (len(sound) - 1).bit_length()
        if len(self._spectrum) != size // 2 + 1:
            self._spectrum = np.fft.rfft(self._kernel, size)
        heard = np.fft.irfft(np.fft.rfft(sound, size) * self._spectrum, size)[len(self._before) : len(sound)]
        self._before = sound[len(sound) - len(self._before) :]
        return AudioBlock(heard.astype(np.float32), block.start, block.lost)


def _kernel(options: SoundOptions, rate: int) -> FloatArray:
    """The answer to an impulse, float32 [taps]."""
    gain = 10 ** (options.gain_db / 20)
    if options.high_pass_hz is None and options.low_pass_hz is None:
        return np.array([gain], np.float32)
    taps = 1 << round(np.log2(rate * _KERNEL_S))
    size = _DESIGN * taps
    hertz = np.arange(size // 2 + 1) * rate / size
    magnitude = np.full(len(hertz), gain)
    if options.high_pass_hz is not None:
        ratio = options.high_pass_hz / np.maximum(hertz, 1e-9)
        magnitude /= np.sqrt(1 + np.minimum(ratio, 1e9) ** (2 * _ORDER))
    if options.low_pass_hz is not None:
        magnitude /= np.sqrt(1 + (hertz / options.low_pass_hz) ** (2 * _ORDER))
    cepstrum = np.fft.irfft(np.log(np.maximum(magnitude, _LEAST * gain)), size)
    cepstrum[1 : size // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    response = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[:taps]
    response[taps // 2 :] *= np.hanning(taps)[taps // 2 :]  # it ends softly
    return response.astype(np.float32)
