"""`python -m edgebird.capture.stream`: the capture process of a network stream (RTSP, HTTP, HLS, ...), see wire.py.

Options: {"url": "rtsp://user:pass@host/path", "transport": "tcp" | "udp", "timeout_s": 15, "track": null, "all_tracks":
false, "verify": true | false | "sha256:...", "resume": {}, "block_s": 0.1, "verbose": false}. The transport is that of
RTSP, `verify` is for certificates, `resume` as in wire.py. One track of audio is decoded at its own rate
and channels: the one with that number (1 is the first), else the one that carries most. A stream that ends is `ended`,
whatever the reason: a server that dies and one that has finished look alike. Its address comes over stdin because
everyone can read the arguments of a process, and credentials are in no message.

There are cameras that send no audio unless their video is asked for too. So where an RTSP server sends nothing, all
tracks are asked for, and all but the audio are thrown away; `all_tracks` says that this is known to be needed.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, BinaryIO

from edgebird.capture import wire
from edgebird.capture.addresses import redact
from edgebird.capture.blocks import SHORTEST_S, Beginnings
from edgebird.capture.certificates import Trust
from edgebird.capture.connection import Connection, connect
from edgebird.capture.opening import end_reading, is_rtsp, load_av, told
from edgebird.capture.sender import Sender
from edgebird.capture.serve import CaptureError, Ending, Options, serve
from edgebird.capture.tracks import Missed, SilenceError, choose, describe, frames

_ALONE_S = 5.0  # without a sound, after which audio alone is not enough
_DEFAULTS: Options = {"transport": "tcp", "timeout_s": 15.0, "track": None, "all_tracks": False}
_DEFAULTS |= {"verify": True, "resume": {}, "block_s": SHORTEST_S}


class _Stream:
    """One stream, opened as often as it takes to hear something of it."""

    def __init__(self, av: Any, options: Options, pipe: BinaryIO, ending: Ending, beginnings: Beginnings) -> None:
        self._av, self._options, self._pipe, self._ending, self._beginnings = av, options, pipe, ending, beginnings
        self._name = redact(options["url"])
        self._sender: Sender | None = None
        self._heard = time.monotonic()

    def capture(self) -> None:
        """Decode until it ends, or the end is wanted. Raises CaptureError."""
        timeout_s, all_tracks = self._options["timeout_s"], self._options["all_tracks"]
        tries = [(all_tracks, timeout_s)]
        if is_rtsp(self._options["url"]) and not all_tracks:
            tries = [(False, min(_ALONE_S, timeout_s)), (True, timeout_s)]
        for all_tracks, patience_s in tries:
            try:
                self._hear(all_tracks, patience_s)
                return
            except SilenceError:
                if self._sender:
                    break
                self._ending.close_now()
        raise CaptureError("stalled", f"{self._name}: nothing came for {timeout_s:g} s")

    def _hear(self, all_tracks: bool, patience_s: float) -> None:
        """Open it, and decode. patience_s: until the first sound. Raises SilenceError, CaptureError."""
        began, stream = time.monotonic(), None
        try:
            self._ending.at_end(lambda: None, end_reading)  # what is being opened has to be closed, too
            stream = connect(self._av, self._options, all_tracks, partial(_beat, self._pipe))
            self._ending.at_end(stream.close, end_reading)
            if not self._ending.wanted:
                self._decode(stream, all_tracks, patience_s)
        except self._av.error.FFmpegError as error:
            if stream and stream.failure:
                raise stream.failed(stream.failure) from None
            # Our timeout interrupts FFmpeg, which then calls it what it likes: damaged data, for example.
            if time.monotonic() - max(self._heard, began) >= self._options["timeout_s"]:
                raise SilenceError from None
            raise told(error, self._options["url"], Trust.of(self._options["verify"])) from None
        finally:
            if self._sender:
                self._sender.finish()
        if not self._ending.wanted:
            raise stream.failed(CaptureError("ended", f"{self._name}: the stream ended"))

    def _decode(self, stream: Connection, all_tracks: bool, patience_s: float) -> None:
        shown, missed = self._introduce(stream), Missed(self._av)
        later = stream.patience_s(self._options["timeout_s"])
        patience = stream.patience_s(patience_s), later
        while True:
            tracks = stream.container.streams.audio
            audio = choose(tracks, self._options["track"], self._name)
            for frame, lost in frames(self._av, stream.container, audio, patience, missed):
                if self._ending.wanted:
                    return
                if frame is None:
                    continue
                if self._sender is None:
                    block_s = self._options["block_s"]
                    self._sender = Sender(self._pipe, shown, block_s, self._beginnings, stream.segmented)
                    self._note(tracks, audio, all_tracks)
                self._sender.send(frame, lost)
                self._heard = time.monotonic()
            if not stream.go_on(self._av):
                return
            patience = later, later

    def _introduce(self, stream: Connection) -> str:
        """Say what is known of a stream before its first audio; what it is called from now on."""
        if stream.lost_s is not None:
            wire.say(self._pipe, wire.NOTE, kind="resumed", lost_s=stream.lost_s)
        if not stream.note:
            return self._name
        wire.say(self._pipe, wire.NOTE, kind="certificate", text=f"{self._name}: {stream.note}")
        return f"{self._name} ({stream.note})"

    def _note(self, tracks: Any, audio: Any, all_tracks: bool) -> None:
        """Say what is worth knowing about a stream of which something is heard."""
        if all_tracks and not self._options["all_tracks"]:
            text = "it sends audio only together with its video: both are asked for from now on"
            wire.say(self._pipe, wire.NOTE, kind="tracks", text=text, remember={"all_tracks": True})
        if len(tracks) > 1 and self._options["track"] is None:
            text = f"of its audio tracks ({describe(tracks)}) number {tracks.index(audio) + 1} is heard"
            wire.say(self._pipe, wire.NOTE, kind="tracks", text=text)


def capture(options: Options, pipe: BinaryIO, ending: Ending, beginnings: Beginnings) -> None:
    """Decode a stream until it ends, or the end is wanted. Raises CaptureError."""
    _Stream(load_av(), _DEFAULTS | options, pipe, ending, beginnings).capture()


def _beat(pipe: BinaryIO) -> None:
    """Say that we are alive, and wait for a server that may take its time."""
    wire.write(pipe, wire.Message(wire.DATA, b"", time.monotonic(), 0))


if __name__ == "__main__":
    serve(capture)
