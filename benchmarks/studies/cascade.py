"""What a cascade saves: `edgebird detect` with and without, and of another version without, in turns.

    git worktree add ../before VERSION
    python -m edgebird.benchmarks.studies.cascade BUNDLE AUDIO --before ../before --before-bundle OLD --rounds 5

Every run is a command of its own; what one takes for a single window is subtracted, so that starting does not count.
The version before cannot read a bundle with a cascade: it is given one of the same folds without.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile

from edgebird.benchmarks.method import orders
from edgebird.bundle import open_bundle


@dataclass(slots=True)
class DetectWay:
    """A way to detect, and the seconds that each round took."""

    name: str
    folder: Path
    options: list[str]
    seconds: list[float] = field(default_factory=list)
    told: list[dict[str, object]] = field(default_factory=list)

    def run(self, audio: Path, hop: str) -> float:
        """Seconds of one command."""
        command = [sys.executable, "-m", "edgebird", "detect", "-q", "--format", "jsonl", "--hop", hop]
        environment = os.environ | {"PYTHONPATH": str(self.folder.absolute())}
        start = time.perf_counter()
        done = subprocess.run(
            [*command, *self.options, str(audio.absolute())],
            env=environment, cwd=self.folder, check=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        self.told = [json.loads(line) for line in done.stdout.splitlines()]
        return seconds


def measure(ways: list[DetectWay], audio: Path, short: Path, hop: str, rounds: int) -> None:
    """Let the ways take turns."""
    for order in islice(orders(len(ways)), rounds):
        for way in (ways[position] for position in order):
            before = way.run(short, hop)
            way.seconds.append(way.run(audio, hop) - before)
            print(f"{way.name}: {way.seconds[-1]:.2f} s", file=sys.stderr, flush=True)


def report(ways: list[DetectWay]) -> None:
    """Print a table in Markdown."""
    print("| way | seconds, fastest / median | of the first: medians, fastest | detections | windows stopped |")
    print("|---|---|---|---|---|")
    first = ways[0].seconds
    for way in ways:
        summaries = [event for event in way.told if event["event"] == "summary"]
        found = sum(int(str(event["detections"])) for event in summaries)
        windows = sum(int(str(event["windows"])) for event in summaries)
        stopped = [sum(int(str(event.get(f"stopped_{stage}", 0))) for event in summaries) for stage in ("gate", "fold")]
        print(
            f"| {way.name} | {min(way.seconds):.2f} / {np.median(way.seconds):.2f} "
            f"| {np.median(way.seconds) / np.median(first):.2f}, {min(way.seconds) / min(first):.2f} "
            f"| {found} | {stopped[0]} by the gate, {stopped[1]} by the fold, of {windows} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="a checkout of another version")
    parser.add_argument("--before-bundle", type=Path, metavar="BUNDLE", help="of the same folds, without a cascade")
    parser.add_argument("--runtime", default="ort-cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--hop", default="5")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    here = Path(__file__).resolve().parents[2]
    cascade = open_bundle(args.bundle).card.cascade
    if cascade is None:
        raise SystemExit(f"{args.bundle} has no cascade")
    engine = ["--runtime", args.runtime, "--precision", args.precision, "--threshold", str(cascade.threshold)]
    common = ["--bundle", str(args.bundle.absolute()), *engine]
    ways = [DetectWay("in full", here, common), DetectWay("--cascade", here, [*common, "--cascade"])]
    if args.before:
        old = ["--bundle", str((args.before_bundle or args.bundle).absolute()), *engine]
        ways.insert(0, DetectWay("before", args.before, old))
    with tempfile.TemporaryDirectory() as scratch:
        short = Path(scratch) / "short.wav"
        rate = soundfile.info(args.audio).samplerate
        soundfile.write(short, np.random.default_rng(0).normal(0, 0.01, 5 * rate), rate)
        measure(ways, args.audio, short, args.hop, args.rounds)
    report(ways)


if __name__ == "__main__":
    main()
