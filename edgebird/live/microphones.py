"""The microphones of this machine and how loud each is, asked of processes that are ended even if PortAudio hangs."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from edgebird.capture import wire
from edgebird.capture.devices import Device
from edgebird.errors import AudioError
from edgebird.live.process import Capture, CaptureProcess

_LIST_TIMEOUT_S = 30
_GRACE_S = 5  # a device may take this long to open
_STREAM_GRACE_S = 25  # a camera is tried in two ways, see capture.stream


@dataclass(frozen=True, slots=True)
class Loudness:
    """How loud a microphone is, all channels together; -inf for digital silence, None with the problem otherwise."""

    peak_dbfs: float | None
    rms_dbfs: float | None
    problem: str | None = None

    @property
    def is_silence(self) -> bool:
        """Whether every sample was zero, as no real microphone in a real place gives them."""
        return self.peak_dbfs == -math.inf


def list_microphones() -> list[Device]:
    """All microphones, found by a process of its own. Raises AudioError if PortAudio is missing, crashes or hangs."""
    command = [sys.executable, "-m", "edgebird.capture.listing"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIST_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise AudioError(f"PortAudio did not list its devices within {_LIST_TIMEOUT_S} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise AudioError(f"PortAudio could not list its devices: {last}")
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise AudioError(answer["error"])
    return [Device(**device) for device in answer["devices"]]


def measure(device: str, seconds: float) -> Loudness:
    """Listen to a microphone for some seconds in a capture process, which is ended even if it hangs."""
    return _measure(Capture("edgebird.capture.microphone", {"device": device}), seconds, _GRACE_S)


def measure_stream(url: str, seconds: float) -> Loudness:
    """Listen to a stream for some seconds, in the same way."""
    return _measure(Capture("edgebird.capture.stream", {"url": url}), seconds, _STREAM_GRACE_S)


def _measure(capture: Capture, seconds: float, grace_s: float) -> Loudness:
    with CaptureProcess(capture) as process:
        came = _until(process, time.monotonic() + seconds + grace_s)
        messages = (message for message in came if message.kind in (wire.OPEN, wire.FAIL) or message.payload)
        first = next((message for message in messages if message.kind != wire.NOTE), None)
        if first is None:
            return Loudness(None, None, "its capture process crashed" if process.ended else _no_sound(grace_s))
        content = first.json()
        if first.kind == wire.FAIL:
            return Loudness(None, None, content["text"])
        return _level(messages, seconds * content["rate"] * content["channels"], _no_sound(grace_s))


def _until(process: CaptureProcess, deadline: float) -> Iterator[wire.Message]:
    while not process.ended and (left := deadline - time.monotonic()) > 0:
        yield from process.messages(left)


def _level(messages: Iterator[wire.Message], wanted: float, nothing: str) -> Loudness:
    """Of so many samples, or of those that come. nothing: what to say if none do."""
    import numpy as np

    from edgebird.reading.spoiled import is_sound

    peak, energy, samples = 0.0, 0.0, 0
    for message in messages:
        if message.kind == wire.FAIL:
            return Loudness(None, None, message.json()["text"])
        if message.kind == wire.DATA:
            heard = np.frombuffer(message.payload, np.float32)
            if not is_sound(heard):
                return Loudness(None, None, "it gives samples that are no sound (NaN, infinite or beyond all reason)")
            peak, energy = max(peak, float(np.abs(heard).max())), energy + float(heard @ heard)
            samples += len(heard)
        if samples >= wanted:
            break
    if not samples:
        return Loudness(None, None, nothing)
    return Loudness(_decibels(peak), _decibels(math.sqrt(energy / samples)))


def _no_sound(grace_s: float) -> str:
    return f"it gives no sound, also after {grace_s:g} s"


def _decibels(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf
