"""What listening costs without an engine: many paced sources through a station with the null runtime.

    python -m edgebird.benchmarks.studies.scheduler BUNDLE --sources 64 --seconds 30

Prints the CPU time of this process, in per cent of one core. Sources are at the model's rate and in this process, so
neither resampling nor capture processes are in the figure; `--rate 48000` resamples in each source's thread as a live
source does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from edgebird.bundle import Bundle, open_bundle
from edgebird.capture.blocks import block_s
from edgebird.detection import HOP_S, settings_for
from edgebird.events import Event
from edgebird.live.hush import ListenOptions
from edgebird.live.listener import Listener
from edgebird.live.pulled import PacedSource
from edgebird.live.station import Station, StationOptions
from edgebird.live.telling import Telling
from edgebird.resampling import Resampler
from edgebird.runtimes import open_runtime
from edgebird.sinks import Memory
from edgebird.types import AudioBlock, FloatArray, Origin


class _Nowhere(Telling):
    """Takes events and counts those that say that audio was lost."""

    def __init__(self) -> None:
        self.gaps = 0

    def take(self, event: Event, memory: Memory | None) -> None:
        self.gaps += event["event"] == "gap"


def _blocks(audio: FloatArray, seconds: float, length_s: float, rates: tuple[int, int]) -> Iterator[AudioBlock]:
    """Real audio over and over, as blocks at the first rate, resampled one by one if the second is another."""
    resampler, size, position = Resampler(*rates), round(length_s * rates[0]), 0
    for index in range(round(seconds / length_s)):
        start = index * size % (len(audio) - size)
        samples = resampler.push(audio[start : start + size])
        if len(samples):
            yield AudioBlock(samples, position)
            position += len(samples)


def measure(bundle: Bundle, sources: int, seconds: float, rate_in: int) -> tuple[float, int, int]:
    """CPU in per cent of one core, windows, gaps."""
    card = bundle.card
    audio = bundle.golden().windows().reshape(-1)
    runtime, nowhere = open_runtime(bundle, "null"), _Nowhere()
    station = Station(runtime, nowhere, StationOptions(HOP_S))
    settings, rate = settings_for(card), card.sample_rate
    length_s = block_s(card.window_samples, settings.hop, rate)
    longest_s = 2 * length_s  # what a resampler gives varies
    for index in range(sources):
        feed = PacedSource(str(index), lambda: _blocks(audio, seconds, length_s, (rate_in, rate)), rate, 15, longest_s)
        station.add(Listener(feed, card, settings, ListenOptions(), Origin(feed.name)))
    began, cpu = time.monotonic(), time.process_time()
    station.run()
    wall, cpu = time.monotonic() - began, time.process_time() - cpu
    return 100 * cpu / wall, station.status().performance.windows, nowhere.gaps


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="What listening costs without an engine.")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--sources", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=0, help="of the sources, Hz; default: the model's")
    args = parser.parse_args()
    bundle = open_bundle(args.bundle)
    percent, windows, gaps = measure(bundle, args.sources, args.seconds, args.rate or bundle.card.sample_rate)
    print(f"{args.sources} sources for {args.seconds:g} s: {percent:.1f} % of one core, {windows} windows, {gaps} gaps")


if __name__ == "__main__":
    main()
