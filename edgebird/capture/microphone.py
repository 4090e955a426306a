"""`python -m edgebird.capture.microphone`: the capture process of a microphone, see wire.py.

Options: {"device": null | "2" | "name or part of it" | "pulse:SOURCE", "channel": null | 1 ..., "rate": null | Hz,
"block_s": 0.1, "verbose": false}. A device is opened at its own rate. With `channel` it is opened with so many channels
that this one is among them, otherwise with as few as it allows. What to do with the channels is up to the parent.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, BinaryIO

from edgebird.capture import wire
from edgebird.capture.blocks import SHORTEST_S, Beginnings, Boundaries, lead
from edgebird.capture.devices import VIRTUAL_LATE_S, Device, choose, choose_source, inputs, load_sounddevice
from edgebird.capture.pulse import (
    PULSE,
    SERVED,
    is_monitor,
    pulse_sources,
    recorded_source,
    recording_changes,
    recording_env,
)
from edgebird.capture.serve import CaptureError, Ending, Options, serve

_PERIOD_S = 0.25  # at most, between two calls: sound servers hand over so much, and are late by less than that
_BUFFER_S, _BUFFER_PERIODS = 0.5, 3  # so long may all cores be busy with scores before the sound card overruns
_QUEUED_S = 10  # audio that waits for a parent who does not read; later audio is dropped
_POLL_S = 1.0
_SOON_S, _LATEST_S = 2.0, 30.0  # a look at the sound server costs 10 ms: it tells when there is something to see
_UNKNOWN_S = 10.0  # after which a sound server that does not know us is not asked again

# PortAudio's error codes.
_INVALID_CHANNELS, _INVALID_RATE, _INVALID_DEVICE, _UNAVAILABLE = -9998, -9997, -9996, -9985
_REASONS = {_INVALID_DEVICE: "not_found", _UNAVAILABLE: "busy"}


@dataclass(frozen=True, slots=True)
class _Choice:
    """What to open. name: as `--device` takes it. source: the sound server's, where one stands behind the device and
    tells about it.
    """

    device: Device
    name: str
    source: Device | None = None

    @property
    def late_s(self) -> float:
        """See `Device`; of a source of which its server tells nothing, as its name allows."""
        if self.source:
            return self.source.late_s
        return VIRTUAL_LATE_S if is_monitor(self.name) else self.device.late_s

    def as_recorded(self, sources: Sequence[Device]) -> _Choice | None:
        """The same with the source that is recorded, None if nobody knows: a sound server may remember where the user
        put us before.
        """
        recorded = recorded_source(os.getpid()) if self.source else None
        source = next((source for source in sources if source.name == recorded), None)
        return _Choice(self.device, source.name, source) if source else None


class _Recorded:
    """What PortAudio's thread leaves for the one that writes: messages, with `_QUEUED_S` of audio at most.

    rate: Hz. block_s, beginnings: see `blocks`.
    """

    def __init__(self, rate: int, channels: int, block_s: float, beginnings: Beginnings | None = None) -> None:
        self._rate, self._frame_bytes = rate, 4 * channels
        self._boundaries = Boundaries(rate, block_s, beginnings)
        self._messages: queue.SimpleQueue[wire.Message] = queue.SimpleQueue()
        self._waiting: list[bytes] = []  # for their block to be full
        self._start = self._end = 0  # positions of what waits
        self._at = 0.0  # when its last frame came
        self._put_bytes = self._taken_bytes = 0  # of audio; each is counted by one thread alone

    def take(self, block: Any, frames: int, _times: Any, status: Any) -> None:
        """Be PortAudio's callback: copy, put, return. Of the first block all but the lead is left out."""
        heard = frames if self._end else min(lead(self._rate), frames)
        if status.input_overflow:
            self._hand_over()
            self._boundaries.begin(self._end)
            note = b'{"kind": "overflow", "text": "the sound card was read too late: samples are lost"}'
            self._put(wire.Message(wire.NOTE, note, time.monotonic(), self._end))
        self._waiting.append(bytes(block[(frames - heard) * self._frame_bytes :]))
        self._end += heard
        self._at = time.monotonic()
        if self._boundaries.advance(self._end):
            self._hand_over()

    def next(self) -> wire.Message:
        """Wait for a message; raises queue.Empty if none comes for a while."""
        message = self._messages.get(timeout=_POLL_S)
        self._taken_bytes += len(message.payload) if message.kind == wire.DATA else 0
        return message

    def rest(self) -> Iterator[wire.Message]:
        """Give what is left when no more is taken."""
        self._hand_over()
        while not self._messages.empty():
            yield self.next()

    def _hand_over(self) -> None:
        if self._waiting:
            self._put(wire.Message(wire.DATA, b"".join(self._waiting), self._at, self._start))
            self._waiting, self._start = [], self._end

    def _put(self, message: wire.Message) -> None:
        """Put it, or drop it where too much waits: the position of the next tells it."""
        if self._put_bytes - self._taken_bytes >= _QUEUED_S * self._rate * self._frame_bytes:
            self._boundaries.begin(self._end)
            return
        self._put_bytes += len(message.payload) if message.kind == wire.DATA else 0
        self._messages.put(message)


class _Watch:
    """Notices that the sound server moved our recording to another source, which PortAudio cannot see.

    source: the one that was asked for; None for the one where we are first seen, which need not be the server's
    default: it may remember where the user put us before. May be set while it is None.
    """

    def __init__(self, source: str | None) -> None:
        self.source = source
        self.moved: str | None = None  # what happened, one line

    def run(self) -> None:
        """Watch until it is moved; stop where no sound server knows us."""
        seen, source = time.monotonic(), None
        with recording_changes() as wait:
            while source or time.monotonic() - seen < _UNKNOWN_S:
                before, source = source, recorded_source(os.getpid())
                seen = time.monotonic() if source else seen
                linked = source not in (None, PULSE)
                if linked and self.source is None:
                    self.source = source
                elif self.source and source != self.source and (linked or source == before == PULSE):
                    to = source if linked else "nothing"  # for longer than it takes to be linked anew
                    self.moved = f"the sound server moved the recording from {self.source} to {to}"
                    return
                wait(_LATEST_S if linked else _SOON_S)


def capture(options: Options, pipe: BinaryIO, _ending: Ending, beginnings: Beginnings) -> None:
    """Record until it ends. Raises CaptureError."""
    wanted, sources = options.get("device"), pulse_sources()
    named = wanted if wanted and wanted.startswith(PULSE) else None
    if named:
        if sources:
            choose_source(sources, named)
        os.environ.update(recording_env(named, os.environ))  # before PortAudio loads the client libraries
    sounddevice = load_sounddevice()
    choice = _choose(inputs(sounddevice), sources, wanted)
    stream, recorded = _open(sounddevice, choice, options, beginnings)
    watch = _Watch(named)
    threading.Thread(target=watch.run, name="watch", daemon=True).start()
    messages = _messages(stream, recorded, watch)
    first = next(messages)  # the device is open when it is heard: a sound server may take two seconds
    if not named and (recorded_from := choice.as_recorded(sources)):
        choice, watch.source = recorded_from, watch.source or recorded_from.name
    opened = {"rate": round(stream.samplerate), "channels": stream.channels, "device": choice.name}
    wire.say(pipe, wire.OPEN, **opened | {"late_s": choice.late_s, "period": stream.blocksize})
    for message in itertools.chain([first], messages):
        wire.write(pipe, message)


def _choose(devices: Sequence[Device], sources: Sequence[Device], wanted: str | None) -> _Choice:
    served = [device for device in devices if device.name in SERVED]
    if wanted and wanted.startswith(PULSE):
        device, asked = _server(devices, wanted), wanted
    else:
        device, asked = choose(devices, wanted), PULSE + os.environ.get("PULSE_SOURCE", "")
        if device not in served or {device.name for device in served} == {"default"}:
            return _Choice(device, device.name)
    source = next((s for s in sources if s.name == asked or (asked == PULSE and s.default)), None)
    if source is None:  # of which nobody knows more than that there is a server
        device = replace(device, late_s=max(device.late_s for device in served))
    return _Choice(device, source.name if source else wanted or device.name, source)


def _server(devices: Sequence[Device], wanted: str) -> Device:
    """The device that records a named source."""
    found = {device.name: device for device in devices}
    server = found.get("pulse") or found.get("pipewire")
    if server is None:
        problem = "the sound server does not run, or libasound2-plugins (on PipeWire pipewire-alsa) is not installed"
        raise CaptureError("not_found", f"no microphone {wanted!r}: {problem}")
    return server


def _formats(choice: _Choice, options: Options) -> list[tuple[int, int]]:
    """Rates and channels to try, the best first."""
    own = choice.source or choice.device  # what PortAudio says of a sound server's rate and channels means nothing
    rate, channel = options.get("rate"), options.get("channel")
    if channel is not None and not 1 <= channel <= own.channels:
        raise CaptureError("error", f"there is no channel {channel} in {choice.name!r}, which has {own.channels}")
    rates = [rate] if rate else [own.rate, 48000, 44100]
    if channel is None:
        channels = [1, 2, own.channels]
    elif choice.source:
        channels = [own.channels]  # with fewer, the server would mix them
    else:
        channels = [channel, own.channels]
    return [
        (rate, count) for rate in dict.fromkeys(rates) for count in dict.fromkeys(channels) if count <= own.channels
    ]


def _period(rate: int, block_s: float) -> int:
    """Frames of a call, so that calls make a block, or if that has no whole frames as few blocks as can be."""
    for blocks in range(1, 17):
        frames, fewest = rate * block_s * blocks, math.ceil(block_s * blocks / _PERIOD_S)
        calls = (calls for calls in range(fewest, 2 * fewest + 1) if round(frames) % calls == 0)
        if abs(frames - round(frames)) < 1e-6 and (found := next(calls, None)):
            return round(frames) // found
    return round(rate * min(block_s, _PERIOD_S))


def _open(sounddevice: ModuleType, choice: _Choice, options: Options, beginnings: Beginnings) -> tuple[Any, _Recorded]:
    """Return the running stream, and what it records.

    Raises CaptureError: `busy`, `not_found`, or `error` with what was refused.
    """
    formats = _formats(choice, options)
    block_s = options.get("block_s", SHORTEST_S)
    for rate, channels in formats:
        recorded, period = _Recorded(rate, channels, block_s, beginnings), _period(rate, block_s)
        try:
            stream = sounddevice.RawInputStream(
                device=choice.device.index,
                samplerate=rate,
                channels=channels,
                dtype="float32",
                blocksize=period,
                latency=max(_BUFFER_S, _BUFFER_PERIODS * period / rate),
                callback=recorded.take,
            )
            stream.start()
            return stream, recorded
        except sounddevice.PortAudioError as error:
            code = error.args[1] if len(error.args) > 1 else None
            if code not in (_INVALID_CHANNELS, _INVALID_RATE):
                reason = _REASONS.get(int(code or 0), "error")
                raise CaptureError(reason, f"cannot open {choice.name!r}: {_one_line(error)}") from None
    refused = ", ".join(f"{rate} Hz with {channels} channels" for rate, channels in formats)
    raise CaptureError("error", f"{choice.name!r} refuses {refused}")


def _messages(stream: Any, recorded: _Recorded, watch: _Watch) -> Iterator[wire.Message]:
    """Give what was recorded. Raises CaptureError: `disconnected`."""
    while watch.moved is None:
        try:
            yield recorded.next()
        except queue.Empty:
            if not stream.active:
                yield from recorded.rest()
                raise CaptureError("disconnected", "the microphone has gone") from None
    note = json.dumps({"kind": "moved", "text": watch.moved}).encode()
    yield wire.Message(wire.NOTE, note, time.monotonic(), 0)
    raise CaptureError("disconnected", watch.moved)


def _one_line(error: Exception) -> str:
    return " ".join(str(error.args[0]).split())


if __name__ == "__main__":
    serve(capture)
