"""A long recording through `edgebird detect --submission`, against the original's way of running: README's table.

    python -m edgebird.benchmarks.studies.detecting BUNDLE --original fold_0_model_jit_bs4.pt ... \\
        --subject ort-cpu/fp32 --subject openvino/bf16

Every subject is a command of its own, and they take turns. Each is also timed on one window; what counts is the
difference, so that starting, loading and the first inference do not. The original: its TorchScript files one after the
other on batches of four windows, in one process with all threads (`baseline.py`).
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile

from edgebird.benchmarks.baseline import open_baseline
from edgebird.benchmarks.method import orders
from edgebird.bundle import open_bundle
from edgebird.demo import RECORDING
from edgebird.detection import settings_for
from edgebird.recordings import Work, process
from edgebird.sinks import opened
from edgebird.sinks.submission import SubmissionSink
from edgebird.sources import find_audio
from edgebird.types import FloatArray

ORIGINAL = "the original's way"


@dataclass(slots=True)
class Way:
    """A way of running, as a command that ends with the recording; seconds of each round for both recordings."""

    name: str
    command: Sequence[str]
    long_s: list[float] = field(default_factory=list)
    short_s: list[float] = field(default_factory=list)

    def run(self, recording: Path, table: Path) -> float:
        """Seconds it takes to write the table of a recording."""
        start = time.perf_counter()
        subprocess.run([*self.command, "--submission", str(table), str(recording)], check=True)
        return time.perf_counter() - start

    def steady_s(self) -> FloatArray:
        """Seconds of each round without what the short recording took."""
        return np.subtract(self.long_s, self.short_s)


def recordings(folder: Path, minutes: float) -> tuple[Path, Path]:
    """The demo's recording again and again, and one window of it."""
    audio, rate = soundfile.read(RECORDING, dtype="int16")
    long, short = folder / "long.flac", folder / "short.flac"
    soundfile.write(long, np.resize(audio, round(60 * minutes * rate)), rate)
    soundfile.write(short, audio[: 5 * rate], rate)
    return long, short


def ways_of(bundle: Path, original: Sequence[Path], names: Sequence[str], threads: int | None) -> list[Way]:
    """The original first, then `runtime/precision` of each name."""
    many = [] if threads is None else ["--threads", str(threads)]
    found = []
    if original:
        files = [part for file in original for part in ("--original", str(file))]
        module = [sys.executable, "-m", "edgebird.benchmarks.studies.detecting"]
        found.append(Way(ORIGINAL, [*module, str(bundle), *files, *many]))
    for name in names:
        runtime, _, precision = name.partition("/")
        chosen = ["--runtime", runtime, "--precision", precision or "fp32"]
        found.append(
            Way(name, [sys.executable, "-m", "edgebird", "detect", "-q", "--bundle", str(bundle), *chosen, *many])
        )
    return found


def run_original(bundle_path: Path, files: Sequence[Path], threads: int | None, table: Path, recording: Path) -> None:
    """Write the table of a recording as the original would."""
    card = open_bundle(bundle_path).card
    runtime = open_baseline(files, card, threads)
    settings = settings_for(card, card.window_samples / card.sample_rate)
    found, _ = find_audio([recording])
    sinks = [SubmissionSink(table, card.labels, card.sample_rate)]
    with opened(sinks):
        process(found, Work(runtime, settings), sinks, _Nobody())


class _Nobody:
    """Watches nothing."""

    def begin(self, source: object) -> None: ...
    def advance(self, seconds: float) -> None: ...
    def done(self, source: object, summary: object) -> None: ...
    def failed(self, error: Exception) -> None:
        raise error


def scores(table: Path) -> FloatArray:
    """The scores of a submission, float32 [rows, labels]."""
    with table.open(newline="") as stream:
        rows = list(csv.reader(stream))[1:]
    return np.array([row[1:] for row in rows], np.float32)


def compare(ways: Sequence[Way], minutes: float, rounds: int) -> None:
    """Let the ways take turns; print a table in Markdown."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        long, short = recordings(folder, minutes)
        tables = {way.name: folder / f"{index}.csv" for index, way in enumerate(ways)}
        for round_, order in enumerate(islice(orders(len(ways)), rounds), 1):
            for way in (ways[position] for position in order):
                way.short_s.append(way.run(short, folder / "short.csv"))
                way.long_s.append(way.run(long, tables[way.name]))
                told = f"{way.long_s[-1]:.1f} s, one window {way.short_s[-1]:.1f} s"
                print(f"round {round_}: {way.name}: {told}", file=sys.stderr, flush=True)
        reference = scores(tables[ways[0].name])
        difference = {name: np.abs(scores(table) - reference) for name, table in tables.items()}
    print(
        "| way | seconds, fastest / median | x real time | times as fast: median, range "
        "| largest score difference | 99 % within |"
    )
    print("|---|---|---|---|---|---|")
    for way in ways:
        steady = way.steady_s()
        faster = ways[0].steady_s() / steady  # round by round
        off = difference[way.name]
        print(
            f"| {way.name} | {steady.min():.1f} / {np.median(steady):.1f} | {60 * minutes / np.median(steady):.0f} "
            f"| {np.median(faster):.2f}, {faster.min():.2f} to {faster.max():.2f} "
            f"| {off.max():.1e} | {np.percentile(off, 99):.1e} |"
        )


def main() -> None:
    """Print the table, or, given a recording, be the original."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("recording", type=Path, nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--original", type=Path, action="append", default=[], metavar="FILE.pt")
    parser.add_argument("--subject", action="append", default=[], metavar="RUNTIME/PRECISION")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--submission", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_intermixed_args()
    if args.recording:
        run_original(args.bundle, args.original, args.threads, args.submission, args.recording)
    else:
        compare(ways_of(args.bundle, args.original, args.subject, args.threads), args.minutes, args.rounds)


if __name__ == "__main__":
    main()
