"""A live HLS channel for tests: segments of a sound, and a playlist that grows and forgets."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgebird.types import FloatArray
from tests.web_server import RATE, Request, WebServer


def encoded_segments(
    sound: FloatArray, seconds: float, folder: Path, kind: str = "mpegts"
) -> list[tuple[bytes, float]]:
    """AAC in segments and their seconds: MPEG-TS, or fMP4, whose header is the file `init.mp4`."""
    import av

    folder.mkdir(exist_ok=True)
    options = {"hls_time": str(seconds), "hls_list_size": "0", "hls_segment_type": kind}
    with av.open(str(folder / "all.m3u8"), "w", format="hls", options=options) as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None]), "fltp", "mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    lines = (folder / "all.m3u8").read_text().splitlines()
    lengths = [float(line.removeprefix("#EXTINF:").rstrip(",")) for line in lines if line.startswith("#EXTINF:")]
    names = [line for line in lines if line and not line.startswith("#")]
    return [((folder / name).read_bytes(), length) for name, length in zip(names, lengths, strict=True)]


@dataclass
class Channel:
    """Segments that appear as they sound. window: how many the playlist has. It begins with one window.

    breaks: indices of the segments that do not continue what was before.
    """

    segments: list[tuple[bytes, float]]
    seconds: float
    window: int
    first_number: int = 7
    breaks: tuple[int, ...] = ()
    since: float = field(default_factory=time.monotonic)

    @property
    def count(self) -> int:
        """How many have appeared."""
        return min(len(self.segments), self.window + int((time.monotonic() - self.since) / self.seconds))

    def serve(self, server: WebServer) -> None:
        """Serve it at /live/birds.m3u8."""
        server.routes["/live/birds.m3u8"] = self._playlist
        for index, (data, _) in enumerate(self.segments):
            server.add(f"/live/{self.first_number + index}.ts", data, "video/mp2t")

    def _playlist(self, request: Request) -> None:
        start = max(0, self.count - self.window)
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{round(self.seconds)}"]
        lines += [f"#EXT-X-MEDIA-SEQUENCE:{self.first_number + start}"]
        for number in range(start, self.count):
            lines += ["#EXT-X-DISCONTINUITY"] * (number in self.breaks)
            lines += [f"#EXTINF:{self.segments[number][1]:.6f},", f"{self.first_number + number}.ts"]
        request.answer("\n".join(lines).encode(), "application/vnd.apple.mpegurl")
