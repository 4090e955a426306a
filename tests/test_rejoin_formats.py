"""A radio whose next track has another format, and whose connection breaks about then: every second is heard once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soxr

from edgebird.capture import wire
from edgebird.live.intake import Intake, LiveOptions
from edgebird.live.ring import Heard
from edgebird.types import FloatArray

RATE, BEGIN_S, AWAY_S, BURST_S, MORE_S = 8000, 10.0, 1.0, 4.0, 3.0
# Until which second a track is on the air, its rate and channels.
HALVED = ((17.0, 16000, 2), (40.0, 8000, 1))
MONO = ((17.0, 8000, 2), (40.0, 8000, 1))
SHORT = ((17.0, 16000, 2), (19.0, 8000, 1), (40.0, 16000, 2))


def broadcast(seconds: float) -> FloatArray:
    """Noise without its highest tones, which no resampler keeps."""
    noise = np.random.default_rng(7).normal(0, 0.1, round(seconds * RATE))
    return np.convolve(noise, np.hanning(9), "same").astype(np.float32)


class Listener:
    """What hears a radio in blocks of a tenth of a second."""

    def __init__(self, tracks: tuple[tuple[float, int, int], ...]) -> None:
        self.sound = broadcast(40)
        self._tracks = tracks
        self._encoded = {rate: soxr.resample(self.sound, RATE, rate) for _, rate, _ in tracks}
        self.intake = Intake("radio", LiveOptions(rate=RATE, buffer_s=60, clocked=False), 0.1, lambda _: None)

    def hear(self, first_s: float, last_s: float, opened_s: float) -> None:
        """Hear what is on the air between two moments, in a connection that is opened at a third, and breaks then."""
        now, position = (0, 0), 0
        for start_s in np.arange(first_s, last_s - 0.05, 0.1):
            _, rate, channels = next(track for track in self._tracks if start_s < track[0] - 0.01)
            came = max(start_s + 0.1, opened_s)
            if (rate, channels) != now:
                now, position = (rate, channels), 0
                opened = {"rate": rate, "channels": channels, "device": "radio"}
                self.intake.take(wire.Message(wire.OPEN, json.dumps(opened).encode(), came, 0))
            part = self._encoded[rate][round(start_s * rate) : round((start_s + 0.1) * rate)]
            payload = np.repeat(part.astype("<f4"), channels).tobytes()
            self.intake.take(wire.Message(wire.DATA, payload, came, position))
            position += len(part)
        self.intake.end_capture(wait=True)

    def heard(self) -> FloatArray:
        parts = []
        while piece := self.intake.ring.read():
            assert isinstance(piece, Heard), "something is told as lost"
            parts.append(piece.block.samples)
        return np.concatenate(parts)


@pytest.mark.parametrize("tracks", [HALVED, MONO, SHORT], ids=["another rate", "other channels", "a short track"])
@pytest.mark.parametrize("breaks_s", [16.0, 16.9, 17.3, 18.5, 19.3, 20.0, 25.0])
def test_what_is_sent_again_may_have_more_than_one_format(
    tracks: tuple[tuple[float, int, int], ...], breaks_s: float
) -> None:
    listener = Listener(tracks)
    listener.hear(BEGIN_S, breaks_s, BEGIN_S)
    again_s = breaks_s + AWAY_S
    listener.hear(again_s - BURST_S, again_s + MORE_S, again_s)
    heard = listener.heard()
    sent = listener.sound[round(BEGIN_S * RATE) : round((again_s + MORE_S) * RATE)]
    assert len(heard) == pytest.approx(len(sent), abs=0.02 * RATE)
    both = min(len(heard), len(sent))
    for second in range(0, both - RATE, RATE):
        alike = np.corrcoef(heard[second : second + RATE], sent[second : second + RATE])[0, 1]
        assert alike > 0.8, f"second {second // RATE} is not the one that was on the air"
