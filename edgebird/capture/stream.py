"""`python -m edgebird.capture.stream`: the capture process of a network stream (RTSP, HTTP, HLS, ...), see wire.py.

Options: {"url": "rtsp://user:pass@host/path", "transport": "tcp" | "udp", "timeout_s": 5, "block_s": 0.1, "verbose":
false}; the transport is that of RTSP. The first audio of the stream is decoded at its own rate and channels. A stream
that ends is `ended`, whatever the reason: a server that dies and one that has finished look alike. Its address comes
over stdin because everyone can read the arguments of a process, and credentials are in no message.
"""

from __future__ import annotations

import time
from typing import BinaryIO

from edgebird.capture.addresses import redact
from edgebird.capture.blocks import SHORTEST_S
from edgebird.capture.opening import decoded, load_av, open_container, told
from edgebird.capture.sender import Sender
from edgebird.capture.serve import CaptureError, Options, serve


def capture(options: Options, pipe: BinaryIO) -> None:
    """Decode until it ends. Raises CaptureError."""
    av = load_av()
    url, timeout_s = options["url"], options.get("timeout_s", 5)
    name = redact(url)
    sender, heard = None, time.monotonic()
    try:
        container = open_container(av, url, options.get("transport", "tcp"), timeout_s)
        try:
            for frame in decoded(av, container, name):
                sender = sender or Sender(pipe, name, frame, options.get("block_s", SHORTEST_S))
                sender.send(frame)
                heard = time.monotonic()
        finally:
            if sender:
                sender.flush()
    except av.error.FFmpegError as error:
        if time.monotonic() - heard < timeout_s:
            raise told(error, url) from error  # which keeps the container: to close it may wait for the server
    if time.monotonic() - heard < timeout_s:
        raise CaptureError("ended", f"{name}: the stream ended")
    # Our timeout interrupts FFmpeg, which then calls it what it likes: damaged data, for example.
    raise CaptureError("stalled", f"{name}: nothing came for {timeout_s:g} s")


if __name__ == "__main__":
    serve(capture)
