"""Spectrograms: a tone is where it sounds, whatever the length."""

from __future__ import annotations

import numpy as np
import pytest

from edgebird.sinks.spectrogram import spectrogram_png
from tests.sinking import RATE, decoded_png


def test_a_tone_is_where_it_sounds_in_the_spectrogram() -> None:
    rate, hertz = 32000, 3000
    times = np.arange(10 * rate) / rate
    tone = (0.5 * np.sin(2 * np.pi * hertz * times) * (times >= 5)).astype(np.float32)
    pixels, texts = decoded_png(spectrogram_png(tone, rate))
    height, width = pixels.shape
    assert (height, width) == (385, 1000)  # 0 to 12 kHz in steps of 31.25 Hz, 10 ms a column
    assert height - 1 - int(pixels[:, 750].argmax()) == hertz / 31.25
    assert pixels[:, :490].max() == 0
    assert np.flatnonzero(pixels.max(axis=0) > 200)[0] == pytest.approx(500, abs=2)
    assert texts["Time range (s)"] == "0 10.000"
    assert texts["Frequency range (Hz)"] == "0 12000"
    assert texts["Level range (dBFS)"] == "-76.0 -6.0"


@pytest.mark.parametrize("samples", [1, 100, RATE, 70 * RATE])
def test_a_spectrogram_of_any_length_and_of_silence(samples: int) -> None:
    pixels, texts = decoded_png(spectrogram_png(np.zeros(samples, np.float32), RATE))
    assert pixels.max() == 0
    assert pixels.shape[1] <= 2000
    assert texts["Frequency range (Hz)"] == "0 4000"
