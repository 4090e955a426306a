"""How fast `edgebird detect` reads: many recordings, and a long one, against another version of edgebird in turns.

    git worktree add ../before VERSION
    python -m edgebird.benchmarks.studies.feeding BUNDLE --before ../before --rounds 5

The demo's recording, resampled to 48 kHz, with a little noise so that FLAC packs it as it packs the outdoors: eight
recordings of five minutes, and one of forty. Every run is a command of its own; what one takes for six seconds of audio
is subtracted (not from CPU seconds), so that starting does not count. With `--runtime null` nothing is scored, so the
figure is that of all else; with an engine it shows what reading takes from it. Both versions must print the same.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
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
from edgebird.demo import RECORDING
from edgebird.resampling import Resampler
from edgebird.types import FloatArray

_RATE = 48000
_SHORT = "six seconds"
_WALL = re.compile(rb'"wall_s":[0-9.]+')


@dataclass(slots=True)
class Version:
    """A version of edgebird: where it is, and wall and CPU seconds of each round for each material."""

    name: str
    folder: Path
    wall_s: dict[str, list[float]] = field(default_factory=dict)
    cpu_s: dict[str, list[float]] = field(default_factory=dict)

    def steady_s(self, material: str) -> FloatArray:
        """Seconds of each round without what the short recording took."""
        return np.subtract(self.wall_s[material], self.wall_s[_SHORT])

    def run(self, material: str, audio: Path, options: list[str]) -> bytes:
        """Time it; return what it prints, but for times of its own."""
        command = [sys.executable, "-m", "edgebird", "detect", "-q", "--format", "jsonl", *options, str(audio)]
        environment = os.environ | {"PYTHONPATH": str(self.folder.absolute())}
        start, cpu = time.perf_counter(), _cpu_of_children()
        told = subprocess.run(
            command, env=environment, cwd=self.folder, check=True, stdout=subprocess.PIPE
        ).stdout  # `-m` looks in the working folder first
        self.wall_s.setdefault(material, []).append(time.perf_counter() - start)
        self.cpu_s.setdefault(material, []).append(_cpu_of_children() - cpu)
        return _WALL.sub(b"", told)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make_recordings(folder: Path, count: int, minutes: float) -> dict[str, Path]:
    """A short recording, `count` of so many minutes in a folder, and one as long as all of them."""
    audio, rate = soundfile.read(RECORDING, dtype="float32")
    resampler, noise = Resampler(rate, _RATE), np.random.default_rng(0)
    once = np.concatenate([resampler.push(audio), resampler.finish()])
    short, many, long = folder / "short.flac", folder / "many", folder / "long.flac"
    soundfile.write(short, once[: 6 * _RATE], _RATE)
    many.mkdir()
    with soundfile.SoundFile(long, "w", _RATE, 1) as whole:
        for number in range(count):
            samples = np.resize(once, round(60 * minutes * _RATE))
            samples = np.clip(samples + noise.normal(0, 0.002, len(samples)), -1, 1)
            soundfile.write(many / f"{number:02}.flac", samples, _RATE)
            whole.write(samples)
    return {_SHORT: short, f"{count} x {minutes:g} min": many, f"1 x {count * minutes:g} min": long}


def compare(versions: list[Version], recordings: dict[str, Path], options: list[str], rounds: int) -> None:
    """Let the versions take turns."""
    told: dict[str, set[bytes]] = {material: set() for material in recordings}
    for order in islice(orders(len(versions)), rounds):
        for material, audio in recordings.items():
            for version in (versions[position] for position in order):
                told[material].add(version.run(material, audio, options))
                seconds = f"{version.wall_s[material][-1]:.2f} s, CPU {version.cpu_s[material][-1]:.2f} s"
                print(f"{material}: {version.name}: {seconds}", file=sys.stderr, flush=True)
    if different := [material for material, texts in told.items() if len(texts) > 1]:
        raise SystemExit(f"results differ: {', '.join(different)}")


def report(versions: list[Version], seconds: float) -> None:
    """Print a table in Markdown. seconds: of audio in each material."""
    print("| recordings | version | seconds, fastest / median | x real time | CPU seconds | times as fast |")
    print("|---|---|---|---|---|---|")
    for material in (name for name in versions[0].wall_s if name != _SHORT):
        first = versions[0].steady_s(material)
        for version in versions:
            wall, cpu = version.steady_s(material), np.median(version.cpu_s[material])
            print(
                f"| {material} | {version.name} | {wall.min():.2f} / {np.median(wall):.2f} "
                f"| {seconds / np.median(wall):.0f} | {cpu:.2f} "
                f"| {np.median(first) / np.median(wall):.2f}, fastest {first.min() / wall.min():.2f} |"
            )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--before", type=Path, required=True, metavar="FOLDER", help="a checkout of another version")
    parser.add_argument("--runtime", default="null")
    parser.add_argument("--recordings", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    here = Path(__file__).resolve().parents[2]
    versions = [Version("before", args.before), Version("this", here)]
    with tempfile.TemporaryDirectory() as scratch:
        recordings = make_recordings(Path(scratch), args.recordings, args.minutes)
        options = ["--bundle", str(args.bundle.absolute()), "--runtime", args.runtime]
        compare(versions, recordings, options, args.rounds)
    report(versions, 60 * args.minutes * args.recordings)


if __name__ == "__main__":
    main()
